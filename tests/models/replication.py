"""Writers of a source, and replicators, as PROTOCOLS section 7 has them: the code that ships, over a `Port`.

Each broken form leaves one rule out; the tests show what is lost by it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar, cast

from strongroom.backend import Absent, Backend, Capability, SecretVersion, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.layers.layer import Layer
from strongroom.layers.recorded import Recorded
from strongroom.names import Key, Name
from strongroom.replication.applying import Applier
from strongroom.replication.events import Events
from strongroom.replication.order import Order
from strongroom.replication.page import Page, Quarantine, page_key, read_page, write_page
from strongroom.replication.record import Record, Verdict, digest_of
from strongroom.replication.standing import Standing
from strongroom.value import SecretValue
from tests.models.replay import NO_FAULTS, Budget, Port, Program, State, System
from tests.models.replication_world import (
    DELETED,
    DOMAIN,
    KEY,
    NAME,
    REPLICA,
    SOURCE,
    WRITES,
    Slot,
    Still,
    Store,
    Version,
    World,
    apply,
    log,
    slot,
    world,
)

T = TypeVar("T")
ROTATION = "00000000-0000-4000-8000-000000000001"
TRIED = "tried"
AGAIN = frozenset({TRIED})

Layered = Callable[[Store], Backend]


def recorded(store: Store) -> Backend:
    return Recorded(store, DOMAIN, clock=Still())


def one_id() -> str:
    """Nothing but what `Record` asks for: two records of one place differ by their digests."""
    return "1" * 32


def born(text: str, seq: int, *, epoch: int = 1, number: int = 1) -> Version:
    """A version of ours."""
    digest = digest_of(KEY, str(NAME), SecretValue(text), epoch, seq)
    return Version(number, text, Record(epoch, seq, one_id(), digest).text)


def start(text: str = "old") -> World:
    """Source and replica, in step."""
    mine = Slot((born(text, 1),), given=1)
    told = Slot((Version(0, text),))
    return world(source_secret=mine, replica_secret=mine, source_log=told, replica_log=told)


def acts(act: Callable[[Backend], object], layer: Layered = recorded) -> Program:
    """An application at the source; its errors are results."""

    def program(port: Port) -> Hashable:
        try:
            act(layer(Store(port, "source", SOURCE)))
        except (SecretConflictError, SecretNotFoundError) as error:
            return type(error).__name__
        except UnavailableError:
            return "unknown"
        return "done"

    return program


def puts(*texts: str, layer: Layered = recorded) -> Program:
    """Unconditional writes, one after the other."""

    def act(store: Backend) -> None:
        for text in texts:
            store.put(NAME, SecretValue(text), None)

    return acts(act, layer)


def replaces(text: str, layer: Layered = recorded) -> Program:
    """A write on the version that was read."""

    def act(store: Backend) -> SecretVersion:
        return store.put(NAME, SecretValue(text), store.get(NAME, Stage.CURRENT).version)

    return acts(act, layer)


def foreign(*texts: str) -> Program:
    """A console: it writes over whatever is there, and knows nothing of records."""
    return puts(*texts, layer=lambda store: store)


def deletes(*, restores: bool = False, layer: Layered = recorded) -> Program:
    """An operator deletes, and may think better of it."""

    def act(store: Backend) -> None:
        store.delete(NAME)
        if restores:
            store.restore(NAME)

    return acts(act, layer)


def purges(*, then: str | None = None, layer: Layered = recorded) -> Program:
    """An operator purges; somebody may use the name again."""

    def act(store: Backend) -> None:
        store.purge(NAME)
        if then:
            store.put(NAME, SecretValue(then), None)

    return acts(act, layer)


def rotates(text: str, layer: Layered = recorded) -> Program:
    """A native pending value is held over what is current, and promoted."""

    def act(store: Backend) -> None:
        base = store.get(NAME, Stage.CURRENT).version
        store.put_pending(NAME, ROTATION, SecretValue(text), base)
        store.promote_pending(NAME, ROTATION)

    return acts(act, layer)


class Replicator:
    """One name, brought from source to replica: what section 7 asks of an apply, in its shortest form."""

    def __init__(self, port: Port, order: type[Order] = Order):
        self.source = order(Store(port, "source", SOURCE), DOMAIN, clock=Still())
        self.replica = Store(port, "replica", REPLICA)

    def sync(self) -> str:
        page, at = read_page(self.replica, NAME)
        held = self.held()
        own = Record.parse(held[1]) if held and held[1] else None
        highest = max((one for one in (own, page.tombstone) if one), key=lambda one: one.order, default=None)
        standing = self.source.standing(NAME)
        record = standing.record or self.ordered(standing, highest, held is not None)
        if record is None:
            return TRIED
        verdict = record.verdict(highest)
        if verdict is Verdict.QUARANTINE:
            write_page(self.replica, NAME, Page(quarantine=Quarantine("two values", record, own)), at)
        elif verdict is Verdict.APPLY and standing.secret:
            self.put(standing.secret.value, record, held[0] if held else 0, page)
        elif standing.deleted and verdict in (Verdict.APPLY, Verdict.SAME):
            self.delete(record, page, at, held is not None)
        return TRIED

    def ordered(self, standing: Standing, highest: Record | None, present: bool) -> Record | None:
        if standing.version:
            return self.source.bind(NAME, standing.version, floor=highest)
        return self.source.bury(NAME, floor=highest, gone=True) if present or highest else None

    def held(self) -> tuple[int, str | None] | None:
        try:
            found = self.replica.get(NAME, Stage.CURRENT)
        except SecretNotFoundError:
            return None
        return int(found.version), found.record

    def put(self, value: SecretValue, record: Record, base: int, page: Page) -> None:
        if base == 0 and page.tombstone:
            with contextlib.suppress(SecretNotFoundError):
                self.replica.purge(NAME)
        self.replica._call("put", NAME, value.reveal_text(), record.text, base)

    def delete(self, record: Record, page: Page, at: str | None, present: bool) -> None:
        if page.tombstone != record:
            write_page(self.replica, NAME, page.with_tombstone(record), at)
        if present:
            self.replica.delete(NAME)


class AppliesBlindly(Replicator):
    """Obvious: the record was compared already, so just write."""

    def put(self, value: SecretValue, record: Record, base: int, page: Page) -> None:
        self.replica._call("put", NAME, value.reveal_text(), record.text, None)


def replicates(kind: type[Replicator] = Replicator, order: type[Order] = Order) -> Program:
    """A process that brings the replica up, again and again."""

    def program(port: Port) -> str:
        try:
            return kind(port, order).sync()
        except SecretStoreError:
            return TRIED

    return program


def not_taken_for_two(state: State[World]) -> bool:
    """Only one source ever wrote: nothing may look as if two had."""
    pages = [found for (_, key), found in state.world if key == "page" and found.current]
    return all('"quarantine"' not in found.text for found in pages)


def seen(texts: tuple[str, ...]) -> list[str]:
    """Values, one after the other, however often each was gone in between: no provider deletes under
    compare-and-set, so that a late deletion at a replica hits what the next run restores."""
    values = [text for text in texts if text != DELETED]
    return [text for at, text in enumerate(values) if at == 0 or values[at - 1] != text]


def never_back(state: State[World]) -> bool:
    """What the replica's readers got is what the source's got, in that order."""
    at_source = iter(seen(log(state.world, "source")))
    return all(text in at_source for text in seen(log(state.world, "replica")))


def in_step(state: State[World]) -> bool:
    """Writers have ended, and the replica is as the source."""
    ended = all(actor.result is not None for actor in state.actors)
    same = slot(state.world, "source").text == slot(state.world, "replica").text
    return ended and same


FALSE_ALARM = "with one source nothing is quarantined"
BACK = "the replica never goes back"
RULES: Mapping[str, Callable[[State[World]], bool]] = {FALSE_ALARM: not_taken_for_two, BACK: never_back}


def replication(name: str, programs: Mapping[str, Program], budget: Budget = NO_FAULTS) -> System[World]:
    """A model in which the replica can always still come in step."""
    label = f"replication/{name}"
    return System(label, start(), programs, apply, WRITES, RULES, in_step, budget, AGAIN)


class ReadsThePageFirst(Order):  # type: ignore[misc]
    """Obvious: the page, then what is current."""

    def standing(self, name: Name, *, value: bool = True) -> Standing:
        page, _ = read_page(self.backend, name)
        return self._judged(name, page, self._read(name), proved=value)


class BindsBlindly(Order):  # type: ignore[misc]
    """Obvious: nobody else writes the page, and what was current is so. Either look alone would save it."""

    def _written(self, name: Name, page: Page, if_version: str | None) -> bool:
        self.backend.put(page_key(name), SecretValue(page.text), None)
        return True

    def _require_current(self, name: Name, version: str) -> None:
        """It was."""


class BuriesOnce(Order):  # type: ignore[misc]
    """Obvious: the tombstone is above what was read before it."""

    def _is_above(self, name: Name, tombstone: Record) -> bool:
        return True


class WritesBlindly(Layer):
    """Obvious: the record says it all."""

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        _, make = Order(self.inner, DOMAIN, clock=Still()).next(NAME)
        return self.inner.put(key, value, None, make(value).text)


class BuriesAfterwards(Layer):
    """Obvious: delete, then say so."""

    def purge(self, key: Key) -> None:
        self.inner.inner.purge(key)  # type: ignore[attr-defined]
        Order(self.inner, DOMAIN, clock=Still()).bury(NAME, gone=True)


class Quiet:
    """Nobody is told of anything."""

    def run(self, operation: str, name: str, call: Callable[[], T], *, version: str | None = None) -> T:
        return call()

    def tell(self, operation: str, name: str, *, version: str | None = None) -> None:
        """Nobody."""


def brings(replica_has: Capability = REPLICA) -> Program:
    """The apply that ships, run again and again."""

    def program(port: Port) -> str:
        source = Order(Store(port, "source", SOURCE), DOMAIN, clock=Still())
        replica = Order(Store(port, "replica", replica_has), DOMAIN, clock=Still())
        with contextlib.suppress(SecretStoreError):
            Applier(source, replica, cast("Events", Quiet())).bring(NAME)
        return TRIED

    return program
