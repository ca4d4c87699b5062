"""Failover: several stores as one. Reads go on with the next member when one is unavailable.

Writes go to the first member, and so does every read that feeds a write. Only ``UnavailableError`` makes
a read go on: a denial or a missing secret is an answer, and asking around until somebody agrees would
bring revoked secrets back.

Members are ordered by replication's records where they have them. A version that is older than one that this
process has handed out is never handed out again; one that is older than the newest known of is marked
``behind``, and served only if no member with the newer one answers. An answer without a record that is common
with the first member is ``degraded``: it cannot prove how new it is (docs/decisions/0022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from strongroom import observing
from strongroom.backend import READ_FLAGS, Absent, Backend, Capability, Clock, Stage
from strongroom.errors import InvalidRequestError, SecretConflictError, SecretStoreError, UnavailableError
from strongroom.names import Name

from .breaker import Breaker, BreakerPolicy, WithheldError
from .edge import edge
from .layer import Layer
from .racing import Lanes, Race
from .reading import Reading
from .sightings import Sightings, readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.backend import Secret, SecretInfo, SecretVersion
    from strongroom.names import Key
    from strongroom.telemetry import Family, Labels
    from strongroom.value import SecretValue

    from .sightings import Sight

T = TypeVar("T")
_DEFAULT_BREAKER = BreakerPolicy()


class Replica(Protocol):
    """What a member has of the secrets of another one."""

    @property
    def whole(self) -> bool:
        """Whether it is all of them."""
        ...

    def covers(self, name: str) -> bool:
        """Whether the secret of that name is one of them."""
        ...


_NO_REPLICAS: Mapping[str, Replica] = {}


class Failover(Layer):
    """Ordered members by alias; version ids name their member (``alias:id``).

    Args:
        members: the first takes the writes.
        replicas: the members that are replicas of another one, and of which names. They are not asked for
            others: that such a secret is not found there says nothing. The first member that is none is the
            source: whose word counts where two contradict each other.
        hedge: seconds after which a second member is asked for a current version as well, if the first has
            not answered; the first good answer wins. 0 for never. Batches and lists are not hedged.
        breaker: when a member is passed over; writes never are.
        clock: injected in tests.

    Raises:
        InvalidRequestError: no members, a member that leases, an alias with a colon in it, or a hedge that
            is no time.
    """

    def __init__(
        self,
        members: Mapping[str, Backend],
        *,
        replicas: Mapping[str, Replica] = _NO_REPLICAS,
        hedge: float = 0.0,
        breaker: BreakerPolicy = _DEFAULT_BREAKER,
        clock: Clock | None = None,
    ):
        if not members or any(":" in alias or not alias for alias in members):
            raise InvalidRequestError("failover needs members, and their aliases hold no colon")
        if any(member.leases for member in members.values()):
            raise InvalidRequestError("a store of leased credentials is no member of a failover")
        if not 0 <= hedge < float("inf"):
            raise InvalidRequestError("a hedge is seconds, zero or more")
        self._hedge, self._clock, self._replicas = hedge, clock or Clock(), dict(replicas)
        self._first = next(iter(members))
        self._source = next((alias for alias in members if alias not in replicas), self._first)
        self._breakers = {alias: Breaker(alias, breaker, self._clock) for alias in members}
        self._sights, self._lanes = Sightings(), Lanes()
        self._members: dict[str, Layer] = {alias: edge(member) for alias, member in members.items()}
        source = _Source(self._members[self._first], self._sights, self._breakers[self._first])
        self._members[self._first] = source
        super().__init__(source)
        observing.tell_of(self)

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
            if alias not in self._members:
                raise SecretConflictError("the version names no member of this store")
            return self._marked(alias, self._ask(alias, lambda member: member.get(key, own)))
        if not isinstance(key, Name):  # one member's pending values and leases are not another's
            return self._marked(self._first, self.inner.get(key, version))
        if version is Stage.CURRENT:
            return self._current(key)
        return self._marked(*self._answer(lambda member: member.get(key, version), self._having(key)))

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        began = {key: self._sights.of(key) for key in keys}
        having = self._having(*keys)
        alias, outcomes = self._answer(lambda member: _all_or_unavailable(member.get_many(keys)), having)
        return {key: self._of_batch(alias, key, began[key], found) for key, found in outcomes.items()}

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        wanted = self.own_version(if_version) if isinstance(if_version, str) else if_version
        return self._qualified(self._first, self.inner.put(key, value, wanted, record))

    def retire(self, key: Key, version: str) -> None:
        self.inner.retire(key, self.own_version(version))

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        alias, found = self._answer(lambda member: member.versions(key), self._having(key))
        return [self._qualified(alias, version) for version in found]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        after = self.inner.versions_after(key, self.own_version(base))
        return [self._qualified(self._first, version) for version in after]

    def describe(self, key: Key) -> SecretInfo:
        return self._described(*self._answer(lambda member: member.describe(key), self._having(key)))

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        """Another member may go on only before the first item: two members' pages do not join."""
        whole = self._having()
        alias, (first, rest) = self._answer(lambda member: _begun(member.list_info(prefix, detail)), whole)
        for info in chain(first, rest):
            yield self._described(alias, info)

    def families(self) -> Iterator[Family]:
        """Which members are passed over, for `strongroom.observing`."""
        opened: dict[Labels, float] = {
            (("member", alias),): float(breaker.open) for alias, breaker in self._breakers.items()
        }
        meaning = "Whether a member of a failover is not asked for a while, since it did not answer."
        yield "strongroom_breaker_open", "gauge", meaning, opened

    def after_fork(self) -> None:
        self._sights.after_fork()
        self._lanes.after_fork()
        for breaker in self._breakers.values():
            breaker.after_fork()
        for member in self._members.values():
            member.after_fork()

    def close(self) -> None:
        """Close every member, after the reads that a hedge left behind have ended."""
        observing.tell_no_more_of(self)
        self._lanes.close()
        error: SecretStoreError | None = None
        for member in self._members.values():
            try:
                member.close()
            except SecretStoreError as exc:
                error = error or exc
        if error:
            raise error

    def _current(self, key: Name) -> Secret:
        reading, aliases = Reading(key, self._source, self._sights), self._having(key)

        def ask(alias: str) -> Secret | SecretStoreError:
            return self._asked(alias, key, reading.began)

        if self._hedge:
            Race(aliases, ask, reading, self._clock).run(self._lanes, self._hedge)
            return reading.result()
        for alias in aliases:
            reading.hear(alias, ask(alias))
            if reading.settled:
                break
        return reading.result()

    def _asked(self, alias: str, key: Name, began: Sight) -> Secret | SecretStoreError:
        try:
            secret = self._ask(alias, lambda member: member.get(key, Stage.CURRENT))
        except SecretStoreError as error:
            return error.with_traceback(None)
        self._sights.heard(key, secret.record, first=alias == self._source, began=began)
        return secret

    def _of_batch(
        self, alias: str, key: Key, began: Sight, found: Secret | SecretStoreError
    ) -> Secret | SecretStoreError:
        if isinstance(key, Name) and (isinstance(found, WithheldError) or not self._has(alias, key)):
            return self._alone(key)
        if isinstance(found, SecretStoreError):
            return found
        if not isinstance(key, Name):
            return self._marked(alias, found)
        first = alias == self._source
        judgement = began.judge(self._sights.heard(key, found.record, first=first, began=began), first=first)
        if judgement.served and not judgement.behind:
            self._sights.gave(key, readable(found.record), first=first)
            return replace(self._marked(alias, found), degraded=found.degraded or judgement.degraded)
        return self._alone(key)

    def _alone(self, key: Name) -> Secret | SecretStoreError:
        """One of a batch, asked of the others: half a batch is better than an old value."""
        try:
            return self._current(key)
        except SecretStoreError as error:
            return error.with_traceback(None)

    def _ask(self, alias: str, ask: Callable[[Backend], T]) -> T:
        return self._breakers[alias].call(lambda: ask(self._members[alias]))

    def _having(self, *keys: Key) -> list[str]:
        """The members that would have one of these keys, or any there is; where none would, all."""
        having = [alias for alias in self._members if self._has(alias, *keys)]
        return having or list(self._members)

    def _has(self, alias: str, *keys: Key) -> bool:
        replica = self._replicas.get(alias)
        if replica is None or replica.whole:
            return True
        return any(isinstance(key, Name) and replica.covers(str(key)) for key in keys)

    def _answer(self, ask: Callable[[Backend], T], aliases: Sequence[str]) -> tuple[str, T]:
        error: UnavailableError | None = None
        for alias in aliases:
            try:
                return alias, self._ask(alias, ask)
            except UnavailableError as exc:
                error = error or exc
        raise cast("UnavailableError", error)

    def _marked(self, alias: str, secret: Secret) -> Secret:
        # Without a record common to the members nobody can tell how new another member's answer is.
        degraded = secret.degraded or alias not in (self._first, self._source)
        return replace(secret, version=f"{alias}:{secret.version}", degraded=degraded)

    def _qualified(self, alias: str, version: SecretVersion) -> SecretVersion:
        return replace(version, id=f"{alias}:{version.id}")

    def _described(self, alias: str, info: SecretInfo) -> SecretInfo:
        self._sights.heard(info.key, info.record, first=alias == self._source)
        newest = info.newest and self._qualified(alias, info.newest)
        pending = {rotation_id: f"{alias}:{base}" for rotation_id, base in info.pending.items()}
        return replace(info, newest=newest, pending=pending)


class _Source(Layer):
    """The member that takes the writes: notes each, whatever way it came, and that the member is there."""

    def __init__(self, inner: Layer, sights: Sightings, breaker: Breaker):
        super().__init__(inner)
        self._sights, self._breaker = sights, breaker

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        with self._writing(key, record):
            return self.inner.put(key, value, if_version, record)

    def purge(self, key: Key) -> None:
        with self._writing(key):
            self.inner.purge(key)

    def delete(self, key: Key) -> None:
        with self._writing(key):
            self.inner.delete(key)

    def restore(self, key: Key) -> None:
        with self._writing(key):
            self.inner.restore(key)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        with self._writing(key):
            return self.inner.promote_pending(key, rotation_id)

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        with self._writing(key, certain=False):  # it may write the current value anew
            self.inner.discard_pending(key, rotation_id)

    @contextmanager
    def _writing(self, key: Key, record: str | None = None, *, certain: bool = True) -> Iterator[None]:
        performed: bool | None = None
        try:
            yield
            performed = True
        except SecretStoreError as error:
            performed = error.performed
            raise
        finally:
            if performed is not False:
                self._sights.wrote(key, record if performed else None, surely=certain and bool(performed))
            if performed:
                self._breaker.reset()


def _all_or_unavailable(
    outcomes: Mapping[Key, Secret | SecretStoreError],
) -> Mapping[Key, Secret | SecretStoreError]:
    for outcome in outcomes.values():
        if isinstance(outcome, UnavailableError) and not isinstance(outcome, WithheldError):
            raise outcome
    return outcomes


def _begun(infos: Iterator[SecretInfo]) -> tuple[list[SecretInfo], Iterator[SecretInfo]]:
    first = next(infos, None)
    return ([] if first is None else [first]), infos
