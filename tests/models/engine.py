"""The engine that ships, under the checker: PROTOCOLS section 6 as `strongroom.rotation` really runs it.

Store, companion, ledger and target are the model's; every call to one of them is a point at which any other
worker may go on for as long as it likes. Leases are not modelled: whoever wants to may take the rotation
over, as after a pause. Not modelled: replacing rejected values, schedules, the clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast

from strongroom.backend import Backend
from strongroom.clock import Clock
from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import LEASE_SECONDS, Entry, Ledger, OvertakenError, State
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Credential, Rotation, TwoSlot
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.models import kv2, native_backend
from tests.models.kv2 import KV, SECRET, Value
from tests.models.native_backend import Native, NativeBackend
from tests.models.port_backend import PortBackend
from tests.models.replay import Budget, Call, Lost, Port, Program, Refused, System
from tests.models.replay import State as Reached

NAME, ID = "db/password", str(uuid.UUID(int=1))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, THEIRS = "old", "theirs"
WRITES = kv2.WRITES | native_backend.WRITES | {"issue", "withdraw", "begin", "record"}
AGAIN = frozenset({"tried", "unavailable"})
CHANGED = ("base", "version", "replaced", "attempts")


class Record(NamedTuple):
    """What the ledger has of the rotation."""

    state: str
    epoch: int
    base: str
    version: str | None = None
    replaced: int = 0
    attempts: int = 0
    facts: tuple[tuple[str, str], ...] = ()


class World(NamedTuple):
    """`live` are the credentials that the target accepts, with the epochs that made them."""

    kv: kv2.World = kv2.World(kv2.Entry(0, (Value(OLD),)))
    live: frozenset[tuple[str, int]] = frozenset({(OLD, 0), (THEIRS, 0)})
    issued: int = 0
    record: Record | None = None
    native: Native | None = None

    def texts(self) -> tuple[str | None, ...]:
        """What was current, oldest first; None once retired. The last is what readers get."""
        if self.native:
            return self.native.texts
        found = self.kv.secret.versions
        return tuple(value.text if isinstance(value, Value) else None for value in found)


def apply(world: World, actor: str, call: Call) -> tuple[World, Hashable]:
    """One call, atomically."""
    if call.name in kv2.WRITES or call.name == "read":
        kv, answer = kv2.apply(world.kv, actor, call)
        return world._replace(kv=kv), answer
    if call.name.startswith("native."):
        assert world.native
        native, answer = native_backend.apply(world.native, call)
        return world._replace(native=native), answer
    done: tuple[World, Hashable] = _CALLS[call.name](world, *call.args)
    return done


def _begin(world: World, base: str) -> tuple[World, Hashable]:
    if world.record is None:
        world = world._replace(record=Record(State.STARTED.value, 0, base))
    return world, world.record


def _claim(world: World, most: int) -> tuple[World, Hashable]:
    record = world.record
    assert record
    if record.epoch >= most or not State(record.state).open:
        return world, Refused("not now")
    taken = record._replace(epoch=record.epoch + 1)
    return world._replace(record=taken), taken


def _renew(world: World, epoch: int) -> tuple[World, Hashable]:
    assert world.record
    mine = world.record.epoch == epoch and State(world.record.state).open
    return world, "ok" if mine else Refused("overtaken")


def _write(
    world: World, epoch: int, state: str, changes: tuple[tuple[str, Any], ...]
) -> tuple[World, Hashable]:
    record = world.record
    assert record
    if record.epoch != epoch:
        return world, Refused("overtaken")
    written = record._replace(state=state, **dict(changes))
    return world._replace(record=written), written


def _issue(world: World, epoch: int) -> tuple[World, Hashable]:
    """A hook's hard limit is over long before the grace is."""
    assert world.record
    if epoch < world.record.epoch and world.record.state in ("revoking", "done"):
        return world, Refused("the hook's time is over")
    made = f"key-{world.issued + 1}"
    return world._replace(live=world.live | {(made, epoch)}, issued=world.issued + 1), made


def _withdraw(world: World, made: str) -> tuple[World, Hashable]:
    return world._replace(live=frozenset(one for one in world.live if one[0] != made)), "ok"


_CALLS: Mapping[str, Any] = {
    "begin": _begin,
    "ledger": lambda world: (world, world.record),
    "claim": _claim,
    "renew": _renew,
    "record": _write,
    "live": lambda world: (world, world.live),
    "issue": _issue,
    "withdraw": _withdraw,
}


def said(answer: Any) -> Any:
    """An answer, or what none means."""
    if isinstance(answer, Lost):
        raise UnavailableError("the answer was lost", performed=None)
    return answer


class PortLedger(Ledger):
    """One rotation's record. It is due at any time, and taken over at most so often."""

    def __init__(self, port: Port, most: int):
        self._port, self._most = port, most

    def now(self) -> datetime:
        return NOW

    def begin(
        self,
        rotation_id: str,
        secret: str,
        *,
        base: str | None,
        tick: datetime | None = None,
        next_due: datetime | None = None,
    ) -> Entry:
        return _entry(said(self._port.call("begin", base or "")))

    def get(self, rotation_id: str) -> Entry:
        return _entry(self._port.call("ledger"))

    def find(
        self, *, secret: str | None = None, states: Collection[State] | None = None, limit: int = 1000
    ) -> Sequence[Entry]:
        return ()

    def claim(self, rotation_id: str, seconds: float = LEASE_SECONDS) -> Entry | None:
        taken = self._port.call("claim", self._most)
        return None if isinstance(taken, Refused) else _entry(taken)

    def claim_due(self, limit: int, seconds: float = LEASE_SECONDS) -> Sequence[Entry]:
        return ()

    def renew(self, entry: Entry, seconds: float = LEASE_SECONDS) -> Entry:
        if isinstance(self._port.call("renew", entry.epoch), Refused):
            raise OvertakenError("overtaken")
        return entry

    def record(self, entry: Entry, state: State, **changes: Any) -> Entry:
        told = {name: changes[name] for name in CHANGED if name in changes}
        if "facts" in changes:
            told["facts"] = tuple(sorted(changes["facts"].items()))
        written = said(self._port.call("record", entry.epoch, state.value, tuple(sorted(told.items()))))
        if isinstance(written, Refused):
            raise OvertakenError("overtaken")
        return _entry(written)

    def release(self, entry: Entry, *, due: datetime | timedelta | None = None, **changes: Any) -> None:
        """Leases are not modelled."""

    def move(self, rotation_id: str, states: Collection[State], to: State, **changes: Any) -> Entry:
        raise NotImplementedError

    def last_success(self, secret: str) -> datetime | None:
        return None

    def next_due(self, secret: str) -> datetime | None:
        return None

    def plan(self, secret: str, due: datetime, *, expected: datetime | None) -> bool:
        return False

    def due(self, limit: int) -> Sequence[tuple[str, datetime]]:
        return ()

    def purge(self, before: datetime, limit: int = 10_000) -> int:
        return 0


def _entry(record: Record) -> Entry:
    return Entry(
        ID,
        f"model:{NAME}",
        State(record.state),
        record.epoch,
        NOW,
        NOW,
        NOW,
        base=record.base,
        version=record.version,
        lease_until=NOW + timedelta(seconds=LEASE_SECONDS),
        attempts=record.attempts,
        replaced=record.replaced,
        facts=dict(record.facts),
    )


class PortRotator(TwoSlot):
    """Keys of a target that lists them with the epochs that made them."""

    def __init__(self, port: Port):
        self._port = port

    def issue(self, r: Rotation) -> SecretValue:
        made = said(self._port.call("issue", r.epoch))
        if isinstance(made, Refused):
            raise UnavailableError("timed out")
        return SecretValue(str(made))

    def listed(self, r: Rotation) -> Iterable[Credential]:
        for made, epoch in sorted(self._port.call("live")):
            yield Credential(made, ID if epoch else None, epoch or None)

    def withdraw(self, r: Rotation, credential: str) -> None:
        said(self._port.call("withdraw", credential))

    def credential(self, value: SecretValue) -> str:
        return value.reveal_text()

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        if value.reveal_text() not in {made for made, _ in self._port.call("live")}:
            raise PermissionDeniedError("refused")


class Unpaused(Clock):
    """No hook is ever too long."""

    def monotonic(self) -> float:
        return 0.0

    def chance(self) -> float:
        return 0.0


def worker(most: int, native: bool = False) -> Program:
    """What a timer starts again and again."""

    def program(port: Port) -> str:
        backend: Backend = NativeBackend(port) if native else PortBackend(KV(port))
        store = SecretStore(backend, cache=None, alias="model")
        policy = Policy(NAME, store, PortRotator(port), grace=timedelta(), attempts=1000)
        engine = Engine(PortLedger(port, most), [policy], clock=Unpaused())
        try:
            engine.start(NAME, rotation_id=ID)
            return "tried" if engine.advance(ID).state.open else "ended"
        except SecretStoreError:
            return "unavailable"

    return program


def writer(port: Port) -> str:
    """Somebody puts another value that the target accepts, over what is current."""
    found = cast("Any", KV(port).read(SECRET))
    answer = port.call("put", SECRET, Value(THEIRS, "writer", found.number), found.number)
    return "refused" if isinstance(answer, Refused) else "put"


def is_accepted(state: Reached[World]) -> bool:
    return state.world.texts()[-1] in {made for made, _ in state.world.live}


def nothing_unknown_is_live(state: Reached[World]) -> bool:
    """Once it is over, and nobody is at it any more: what is live is in a version that was current."""
    record = state.world.record
    resting = not state.flying and all(actor.result is not None for actor in state.actors)
    if record is None or State(record.state).open or not resting:
        return True
    known = {*state.world.texts(), THEIRS}
    if record.state == State.DONE.value and record.base == "1":  # else somebody had replaced it by hand
        known -= {OLD}
    return {made for made, _ in state.world.live} <= known


ACCEPTED, KNOWN = "what is current is accepted by the target", "no credential is live that nobody knows"
RULES = {ACCEPTED: is_accepted, KNOWN: nothing_unknown_is_live}


def system(
    name: str, programs: Mapping[str, Program], most: int, budget: Budget, native: bool = False
) -> System[World]:
    """The rotation can always still end, but where it was taken over as often as the model follows it."""

    def goal(state: Reached[World]) -> bool:
        record = state.world.record
        return record is not None and (not State(record.state).open or record.epoch == most > 1)

    world = World(native=Native() if native else None)
    return System(f"engine/{name}", world, programs, apply, WRITES, RULES, goal, budget, AGAIN)
