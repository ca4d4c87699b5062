"""ReadOnly: a store that takes no writes of applications, and says why: a replica's come from its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

from strongroom.errors import UnsupportedOperationError

from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.backend import Absent, Backend, Capability, SecretVersion
    from strongroom.names import Key
    from strongroom.value import SecretValue


@final
class ReadOnly(Layer):
    """Reads go through, and nothing else does, whatever key it is about.

    What was written to a replica would never come to be anywhere else, and would be taken for somebody's
    tampering by the next replication.

    Args:
        inner: the store.
        why: for people: it ends their error.
    """

    def __init__(self, inner: Backend, why: str):
        super().__init__(inner)
        self._why = why

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        return self.inner.capabilities.reads

    @property
    def read_only(self) -> str:  # type: ignore[override]
        return self._why

    @property
    def writer(self) -> Backend:
        return self

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._refuse("put")

    def purge(self, key: Key) -> None:
        self._refuse("purge")

    def delete(self, key: Key) -> None:
        self._refuse("delete")

    def restore(self, key: Key) -> None:
        self._refuse("restore")

    def retire(self, key: Key, version: str) -> None:
        self._refuse("retire")

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        self._refuse("set_tags")

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        self._refuse("put_pending")

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        self._refuse("promote_pending")

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        self._refuse("discard_pending")

    def _refuse(self, operation: str) -> NoReturn:
        raise UnsupportedOperationError(self._why, operation=operation, backend=self.origin)


def said_of(alias: str, source: str) -> str:
    """Why a replica takes no writes."""
    return f"{alias} is a replica of {source}: write to {source}, and replication brings it here"
