"""Failover: several stores as one. Reads go on with the next member when one is unavailable.

Writes go to the first member, and so does every read that feeds a write. Only ``UnavailableError`` makes
a read go on: a denial or a missing secret is an answer, and asking around until somebody agrees would
bring revoked secrets back.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, TypeVar, cast

from strongroom.backend import READ_FLAGS, Absent, Backend, Capability
from strongroom.errors import InvalidRequestError, SecretConflictError, SecretStoreError, UnavailableError
from strongroom.names import Name

from .edge import edge
from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.backend import Secret, SecretInfo, SecretVersion, Stage
    from strongroom.names import Key
    from strongroom.value import SecretValue

T = TypeVar("T")


class Failover(Layer):
    """Ordered members by alias; version ids name their member (``alias:id``).

    Args:
        members: the first takes the writes.

    Raises:
        InvalidRequestError: no members, or an alias with a colon in it.
    """

    def __init__(self, members: Mapping[str, Backend]):
        if not members or any(":" in alias or not alias for alias in members):
            raise InvalidRequestError("failover needs members, and their aliases hold no colon")
        self._members = {alias: edge(member) for alias, member in members.items()}
        self._first = next(iter(self._members))
        super().__init__(self._members[self._first])

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        shared = READ_FLAGS
        for member in self._members.values():
            shared &= member.capabilities
        return self.inner.capabilities.writes | shared

    @property
    def origin(self) -> str:  # type: ignore[override]
        return "failover:" + ",".join(self._members)

    @property
    def writer(self) -> Backend:
        return self.inner.writer

    def own_version(self, version: str) -> str:
        alias, _, own = version.partition(":")
        if alias != self._first:
            raise SecretConflictError(
                "the version is not one of the member that takes the writes",
                hint=f"read it again when {self._first} answers",
            )
        return self.inner.own_version(own)

    def public_version(self, version: str) -> str:
        return f"{self._first}:{self.inner.public_version(version)}"

    def get(self, key: Key, version: str | Stage) -> Secret:
        if isinstance(version, str):
            alias, _, own = version.partition(":")
            member = self._members.get(alias)
            if member is None:
                raise SecretConflictError("the version names no member of this store")
            return self._marked(alias, member.get(key, own))
        if not isinstance(key, Name):  # one member's pending values and leases are not another's
            return self._marked(self._first, self.inner.get(key, version))
        alias, secret = self._answer(lambda member: member.get(key, version))
        return self._marked(alias, secret)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        alias, outcomes = self._answer(lambda member: _all_or_unavailable(member.get_many(keys)))
        return {
            key: found if isinstance(found, SecretStoreError) else self._marked(alias, found)
            for key, found in outcomes.items()
        }

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        wanted = self.own_version(if_version) if isinstance(if_version, str) else if_version
        return self._qualified(self._first, self.inner.put(key, value, wanted, record))

    def retire(self, key: Key, version: str) -> None:
        self.inner.retire(key, self.own_version(version))

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        alias, found = self._answer(lambda member: member.versions(key))
        return [self._qualified(alias, version) for version in found]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        after = self.inner.versions_after(key, self.own_version(base))
        return [self._qualified(self._first, version) for version in after]

    def describe(self, key: Key) -> SecretInfo:
        return self._described(*self._answer(lambda member: member.describe(key)))

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        """Another member may go on only before the first item: two members' pages do not join."""
        alias, (first, rest) = self._answer(lambda member: _begun(member.list_info(prefix, detail)))
        for info in chain(first, rest):
            yield self._described(alias, info)

    def after_fork(self) -> None:
        for member in self._members.values():
            member.after_fork()

    def close(self) -> None:
        error: SecretStoreError | None = None
        for member in self._members.values():
            try:
                member.close()
            except SecretStoreError as exc:
                error = error or exc
        if error:
            raise error

    def _answer(self, ask: Callable[[Backend], T]) -> tuple[str, T]:
        error: UnavailableError | None = None
        for alias, member in self._members.items():
            try:
                return alias, ask(member)
            except UnavailableError as exc:
                error = error or exc
        raise cast("UnavailableError", error)

    def _marked(self, alias: str, secret: Secret) -> Secret:
        # Without a record common to the members nobody can tell how new another member's answer is.
        degraded = secret.degraded or alias != self._first
        return replace(secret, version=f"{alias}:{secret.version}", degraded=degraded)

    def _qualified(self, alias: str, version: SecretVersion) -> SecretVersion:
        return replace(version, id=f"{alias}:{version.id}")

    def _described(self, alias: str, info: SecretInfo) -> SecretInfo:
        newest = info.newest and self._qualified(alias, info.newest)
        pending = {rotation_id: f"{alias}:{base}" for rotation_id, base in info.pending.items()}
        return replace(info, newest=newest, pending=pending)


def _all_or_unavailable(
    outcomes: Mapping[Key, Secret | SecretStoreError],
) -> Mapping[Key, Secret | SecretStoreError]:
    for outcome in outcomes.values():
        if isinstance(outcome, UnavailableError):
            raise outcome
    return outcomes


def _begun(infos: Iterator[SecretInfo]) -> tuple[list[SecretInfo], Iterator[SecretInfo]]:
    first = next(infos, None)
    return ([] if first is None else [first]), infos
