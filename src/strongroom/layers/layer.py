"""Layer: a Backend that wraps a Backend and forwards what it does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.backend import Backend, Capability

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.backend import Absent, Secret, SecretInfo, SecretVersion, Stage, WriteBudget
    from strongroom.errors import SecretStoreError
    from strongroom.keys import KeyWrapper
    from strongroom.names import Key
    from strongroom.native import NativeReplication
    from strongroom.value import SecretValue


class Layer(Backend):
    """Forwards every method and fact to ``inner``; a layer overrides what it changes."""

    def __init__(self, inner: Backend):
        self.inner = inner

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        return self.inner.capabilities

    @property
    def origin(self) -> str:  # type: ignore[override]
        return self.inner.origin

    @property
    def newest_is_current(self) -> bool:  # type: ignore[override]
        return self.inner.newest_is_current

    @property
    def eventual(self) -> bool:  # type: ignore[override]
        return self.inner.eventual

    @property
    def domain(self) -> str:  # type: ignore[override]
        return self.inner.domain

    @property
    def read_only(self) -> str:  # type: ignore[override]
        return self.inner.read_only

    @property
    def lists_records(self) -> bool:  # type: ignore[override]
        return self.inner.lists_records

    @property
    def leases(self) -> bool:  # type: ignore[override]
        return self.inner.leases

    @property
    def write_budget(self) -> WriteBudget | None:  # type: ignore[override]
        return self.inner.write_budget

    @property
    def writer(self) -> Backend:
        inner = self.inner.writer
        return self if inner is self.inner else inner

    def error_for(self, exc: Exception, operation: str) -> SecretStoreError | None:  # type: ignore[override]
        return self.inner.error_for(exc, operation)

    def get(self, key: Key, version: str | Stage) -> Secret:
        return self.inner.get(key, version)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return self.inner.put(key, value, if_version, record)

    def purge(self, key: Key) -> None:
        self.inner.purge(key)

    def delete(self, key: Key) -> None:
        self.inner.delete(key)

    def restore(self, key: Key) -> None:
        self.inner.restore(key)

    def retire(self, key: Key, version: str) -> None:
        self.inner.retire(key, version)

    def refused(self, key: Key, version: str) -> None:
        self.inner.refused(key, version)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        return self.inner.list_info(prefix, detail)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        return self.inner.versions(key)

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        return self.inner.versions_after(key, base)

    def describe(self, key: Key) -> SecretInfo:
        return self.inner.describe(key)

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        self.inner.set_tags(key, tags)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return self.inner.get_many(keys)

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        return self.inner.put_pending(key, rotation_id, value, base_version, record)

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        return self.inner.get_pending(key, rotation_id)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        return self.inner.promote_pending(key, rotation_id)

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        self.inner.discard_pending(key, rotation_id)

    def locate(self, key: Key) -> str:
        return self.inner.locate(key)

    def limit(self, key: Key) -> int | None:
        return self.inner.limit(key)

    def size(self, value: SecretValue) -> int:
        return self.inner.size(value)

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        self.inner.check(key, value, tags)

    def own_version(self, version: str) -> str:
        return self.inner.own_version(version)

    def public_version(self, version: str) -> str:
        return self.inner.public_version(version)

    def native_replication(self) -> NativeReplication | None:
        return self.inner.native_replication()

    def own_key(self) -> KeyWrapper | None:
        return self.inner.own_key()

    def principal(self) -> str | None:
        return self.inner.principal()

    def after_fork(self) -> None:
        self.inner.after_fork()

    def close(self) -> None:
        self.inner.close()
