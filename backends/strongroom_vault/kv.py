"""Secrets in a KV version 2 engine of HashiCorp Vault or OpenBao: ``vault://HOST:PORT/MOUNT/PREFIX``.

The newest version is the current one, for every reader. Every put carries ``cas``, also an unconditional one:
so a request that arrives late can never overwrite a newer value. `bao kv delete` deletes the newest version
alone: the secret is in the bin then, but its older versions can still be read by id.

Three things KV2 cannot do. A put racing a ``delete`` may land on a name in the bin, since ``cas`` does not
see deletions. A purge followed by N new versions between our check of the metadata and our ``cas=N`` is not
seen, since ``cas`` compares numbers alone. A standby that answers reads itself (performance standbys of Vault
Enterprise) may be behind; then ``X-Vault-Index`` makes this client's own writes visible to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from strongroom.backend import ABSENT, Absent, Capability, Secret, SecretInfo, SecretVersion, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)

from . import layout
from ._errors import garbage
from .address import Address
from .metadata import Metadata, moment, version_id, version_number
from .place import Place, join
from .transport import Request, json_body

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import Key, StoreURL
    from strongroom.value import SecretValue

    from .transport import Answer

RACES = 64
"""How often an unconditional put starts again because another writer came first: each time somebody won."""
_DECIDE = "read it again and decide"
MERGE_PATCH = "application/merge-patch+json"
TAG_LIMITS = (64, 128, 512)
"""Tags a secret, bytes a key, bytes a value (OpenBao ``path_metadata.go``, ``validateCustomMetadata``)."""


class VaultKV(Place):
    """A KV version 2 engine; ``?kv=1`` opens a `VaultKV1` instead.

    Tags are the secret's custom_metadata, changed by merge patch, so that two who set different tags at once
    both succeed and foreign keys stay; there is no compare-and-set on them. A description reads the newest
    version too, for replication's record, where the policy allows it.
    """

    capabilities = (
        Capability.LIST
        | Capability.VERSIONS
        | Capability.DESCRIBE
        | Capability.PUT
        | Capability.CREATE_ONLY
        | Capability.CAS
        | Capability.DELETE
        | Capability.PURGE
        | Capability.TAGS
    )

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        address = Address.of(url, settings)
        if address.kv == 1:
            from .kv1 import VaultKV1

            return cast("Self", VaultKV1(address, settings))
        return cls(address, settings)

    def get(self, key: Key, version: str | Stage) -> Secret:
        if version is Stage.CURRENT:
            return self._read(key, None, version)
        if version is Stage.PREVIOUS:
            previous = self._living(key).previous
            if previous is None:
                raise SecretNotFoundError("there is no previous version")
            return self._read(key, previous.id, version)
        if isinstance(version, Stage) or version_number(version) is None:
            raise SecretNotFoundError("no such version")
        return self._read(key, version, None)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._check_engine()
        for _ in range(RACES if if_version is None else 1):
            base = self._base(key, if_version)
            written = self._write(key, value, record, base)
            if written is not None:
                return written
        if if_version is ABSENT:
            raise SecretConflictError("exists already")
        raise SecretConflictError("another writer came first", retryable=if_version is None, hint=_DECIDE)

    def purge(self, key: Key) -> None:
        life = self._existing(key).created
        request = self._request("purge", "DELETE", "metadata", key)

        def purged() -> bool:
            found = self._metadata(key)
            return found is None or found.created != life

        self._client.write(request, purged)

    def delete(self, key: Key) -> None:
        numbers = [version.number for version in self._living(key).versions if version.readable]
        if not numbers:
            raise SecretNotFoundError("every version is destroyed", hint="purge removes what is left")
        self._mark("delete", "delete", key, numbers, lambda: self._existing(key).in_bin)

    def restore(self, key: Key) -> None:
        found = self._existing(key)
        if not found.in_bin:
            raise SecretNotFoundError("not in the bin")
        numbers = [version.number for version in found.versions if not version.destroyed]
        self._mark("restore", "undelete", key, numbers, lambda: not self._existing(key).in_bin)

    def retire(self, key: Key, version: str) -> None:
        found = self._metadata(key)
        retired = found.find(version) if found else None
        if retired is None or retired.destroyed:
            return

        def destroyed() -> bool:
            now = self._existing(key).find(version)
            return now is None or now.destroyed

        self._mark("retire", "destroy", key, [retired.number], destroyed)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        found = self._living(key)
        return [found.public(version) for version in reversed(found.versions) if version.readable]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        found = self._living(key)
        known = found.find(base)
        if known is None:
            raise SecretNotFoundError("the base version is not known any more")
        return [found.public(version) for version in found.versions if version.number > known.number]

    def describe(self, key: Key) -> SecretInfo:
        return self._described(key, self._living(key))

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        kept = {**self._living(key).tags, **tags}
        _check_tags({name: text for name, text in kept.items() if text is not None})
        body = json_body({"custom_metadata": dict(tags)})
        request = self._request("set_tags", "PATCH", "metadata", key, body, content_type=MERGE_PATCH)

        def tagged() -> bool:
            now = self._existing(key).tags
            return all(now.get(name) == text for name, text in tags.items())

        self._client.write(request, tagged)

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        _check_tags(tags)

    def _list_path(self, folder: str) -> str:
        return join(self._address.mount, "metadata", folder)

    def _listed(self, key: Key, detail: bool) -> SecretInfo | None:
        """One request more for each name: a LIST does not tell which are in the bin.

        In detail it reads the newest version, since replication's record stands in no other place that is
        written with the value: custom_metadata is another request's.
        """
        told = self._told(key) if detail else None
        if told is not None:
            return told
        found = self._metadata(key)
        if found is None or found.newest is None or found.in_bin:
            return None
        return self._described(key, found) if detail else SecretInfo(key)

    def _told(self, key: Key) -> SecretInfo | None:
        """What reading the newest version tells; None where it cannot be read."""
        try:
            answer = self._data(key, None)
        except PermissionDeniedError:  # metadata alone may be granted
            return None
        facts = answer.data.get("metadata")
        if not answer.ok or not isinstance(facts, dict):
            return None
        tags = dict(facts.get("custom_metadata") or {})
        return SecretInfo(key, tags, _version_of(facts), record=layout.record_of(_map(answer)))

    def _described(self, key: Key, found: Metadata) -> SecretInfo:
        newest = found.public(found.newest) if found.newest else None
        return SecretInfo(key, found.tags, newest, moment(found.created), self._record(key, found))

    def _record(self, key: Key, found: Metadata) -> str | None:
        if found.current is None:
            return None
        try:
            return self._read(key, found.current.id, None).record
        except (PermissionDeniedError, SecretNotFoundError):  # metadata alone is granted; or gone meanwhile
            return None

    def _read(self, key: Key, id_: str | None, stage: Stage | None) -> Secret:
        answer = self._data(key, version_number(id_) if id_ else None)
        facts = answer.data.get("metadata")
        if answer.ok and not isinstance(facts, dict):
            raise garbage("get")
        if not isinstance(facts, dict) or not facts.get("version"):
            raise self._missing()
        if not answer.ok:
            binned = not facts.get("destroyed")
            raise self._missing("it is in the bin: restore brings it back" if binned else "it was destroyed")
        created = str(facts.get("created_time"))
        found = version_id(facts["version"], created)
        if id_ is not None and found != id_:  # the same number in another life of the name
            raise self._missing()
        stored = layout.decode(_map(answer))
        return self._secret(key, stored, found, stage, moment(created))

    def _data(self, key: Key, number: int | None) -> Answer:
        params = {"version": number} if number else {}
        return self._client.read(self._request("get", "GET", "data", key, params=params), missing_ok=True)

    def _base(self, key: Key, if_version: str | Absent | None) -> int:
        """The number to hand to ``cas``: the newest version's, once it is the one the caller meant."""
        found = self._metadata(key)
        if found is not None and found.in_bin:
            raise SecretConflictError("the name is in the bin", hint="restore or purge it first")
        current = found.current if found else None
        if if_version is ABSENT and current is not None:
            raise SecretConflictError("exists already")
        if isinstance(if_version, str) and (current is None or current.id != if_version):
            raise SecretConflictError("if_version is not the current version", hint=_DECIDE)
        return found.newest.number if found and found.newest else 0

    def _write(self, key: Key, value: SecretValue, record: str | None, base: int) -> SecretVersion | None:
        """Write right after version `base`; None if another version stands there."""
        write_id = layout.new_write_id()
        body = json_body({"options": {"cas": base}, "data": layout.encode(value, record, write_id)})
        found: list[SecretVersion] = []

        def performed() -> bool:
            found.extend(self._written(key, base + 1, write_id))
            return bool(found)

        try:
            answer = self._client.write(self._request("put", "POST", "data", key, body), performed)
        except SecretConflictError:
            return None
        return found[0] if answer is None else _version_of(answer.data)

    def _written(self, key: Key, number: int, write_id: str) -> list[SecretVersion]:
        """The version with this number, if it holds what was written under this id."""
        answer = self._data(key, number)
        if not answer.ok or layout.decode(_map(answer)).write_id != write_id:
            return []
        return [_version_of(answer.data.get("metadata") or {})]

    def _mark(
        self, operation: str, kind: str, key: Key, numbers: list[int], done: Callable[[], bool]
    ) -> None:
        body = json_body({"versions": numbers})
        self._client.write(self._request(operation, "POST", kind, key, body), done)

    def _living(self, key: Key) -> Metadata:
        found = self._existing(key)
        if found.newest is None:
            raise self._missing()
        if found.in_bin:
            raise SecretNotFoundError("the secret is in the bin", hint="restore brings it back")
        return found

    def _existing(self, key: Key) -> Metadata:
        found = self._metadata(key)
        if found is None:
            raise self._missing()
        return found

    def _metadata(self, key: Key) -> Metadata | None:
        request = self._request("get", "GET", "metadata", key)
        answer = self._client.read(request, missing_ok=True)
        if not answer.ok:
            return None
        found = Metadata.of(answer.data, answer.date or self._clock.now())
        if found is None:
            raise garbage("get")
        return found

    def _request(
        self,
        operation: str,
        method: str,
        kind: str,
        key: Key,
        body: SecretValue | None = None,
        **more: Any,
    ) -> Request:
        path = f"{self._address.mount}/{kind}/{self._path(key)}"
        return Request(operation, method, path, body, grant=self._grant(key, kind), **more)


def _map(answer: Answer) -> Mapping[str, Any]:
    data = answer.data.get("data")
    return data if isinstance(data, dict) else {}


def _version_of(facts: Mapping[str, Any]) -> SecretVersion:
    number, created = facts.get("version"), facts.get("created_time")
    if not isinstance(number, int) or not isinstance(created, str):
        raise UnavailableError("the answer does not tell which version was written", performed=None)
    return SecretVersion(version_id(number, created), moment(created), frozenset({Stage.CURRENT}))


def _check_tags(tags: Mapping[str, str]) -> None:
    most, key_bytes, value_bytes = TAG_LIMITS
    if len(tags) > most:
        raise InvalidRequestError(f"{len(tags)} tags; Vault takes {most}")
    for name, text in tags.items():
        if not 0 < len(_utf8(name)) <= key_bytes or not 0 < len(_utf8(text)) <= value_bytes:
            raise InvalidRequestError(
                "a tag's key or text is empty or too long for Vault",
                hint=f"1 to {key_bytes} bytes a key, 1 to {value_bytes} a text",
            )


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # refused when the request is made
