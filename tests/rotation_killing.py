"""Rotations on real targets in processes that are killed: at any effect, and again while they resume.

A crash point stands before and after each effect at the target, in the store and in the ledger. The child
that reaches the one it is told to dies there by SIGKILL; nothing of it is left but what it did.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from strongroom.errors import SecretConflictError
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import Entry, State
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Rotator
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_local.backend import LocalBackend
from tests.chaos.forked import Forked, Say
from tests.unit.local_support import encrypted, local

NAME = "target/credential"
GRACE = timedelta(hours=2)
_DAY = 86_400.0
_START = datetime(2026, 1, 1, tzinfo=UTC)
_STORE = ("put", "put_pending", "promote_pending", "discard_pending", "retire")


@dataclass(frozen=True)
class Effect:
    """What changes something outside of the process.

    Attributes:
        owner: class or module.
        attribute: of the function that does it.
        name: of one call, for the crash points; None for a call that changes nothing.
    """

    owner: Any
    attribute: str
    name: Callable[..., str | None]


@dataclass(frozen=True)
class Case:
    """A target, seen with the eyes of its administrator.

    Attributes:
        rotator: of that target.
        first: a value that it accepts.
        effects: how the rotator reaches it.
        live: what it calls the credentials that it accepts.
        id: what it calls the credential in a value.
    """

    rotator: Rotator
    first: SecretValue
    effects: Sequence[Effect]
    live: Callable[[], set[str]]
    id: Callable[[SecretValue], str]


class Killed:
    """One rotation of a case, by workers that die.

    Args:
        folder: for the store and the ledger.
        grace: of the policy.

    Attributes:
        deaths: how many workers were killed so far.
    """

    def __init__(self, case: Case, folder: Path, grace: timedelta = GRACE):
        self._case, self._folder, self._grace = case, folder, grace
        self._workers = self.deaths = 0
        self.rotation_id = str(uuid.uuid4())
        with self._store(FakeClock(_START)) as store:
            store.put(NAME, case.first)

    def points(self) -> list[str]:
        """Carry the rotation to its end, and tell the crash points on the way."""
        return self.work(lambda _reached: False)

    def work(self, dies: Callable[[list[str]], bool], *, aborts: bool = False) -> list[str]:
        """A worker begins or resumes the rotation a day later, and dies at the first point that is told.

        Args:
            dies: is told the points that were reached, the last one last.
            aborts: whether a person aborts the rotation first, if it has not promoted.
        """
        self._workers += 1
        clock = FakeClock(_START + timedelta(seconds=self._workers * _DAY))
        child = Forked(lambda say: self._worker(clock, dies, say, aborts=aborts))
        reached = [str(point) for point in child.rest()]
        code = child.wait()
        self.deaths += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL), f"the worker ended with {code} after {reached[-3:]}"
        return reached

    def check_readers(self) -> None:
        """What a reader gets now, the target accepts."""
        with self._store(FakeClock()) as store:
            current = store.get(NAME).value
        wanted = self._case.id(current)
        assert wanted in self._case.live()

    def check_end(self, expected: State | None = State.DONE) -> State:
        """It is done or aborted, nothing but current is live, and the next rotation may begin."""
        clock = FakeClock(_START + timedelta(seconds=(self._workers + 1) * _DAY))
        with self._store(clock) as store, closing(SQLiteLedger(self._ledger, clock)) as ledger:
            state = ledger.get(self.rotation_id).state
            assert state in ([expected] if expected else [State.DONE, State.ABORTED])
            current = store.get(NAME).value
            assert (current == self._case.first) is (state is State.ABORTED)
            wanted = {self._case.id(current)}
            assert self._case.live() == wanted
            engine = Engine(ledger, [self._policy(store)], clock=clock)
            assert engine.start(NAME).state is State.STARTED
            return state

    def _worker(self, clock: FakeClock, dies: Callable[[list[str]], bool], say: Say, *, aborts: bool) -> None:
        reached: list[str] = []

        def point(name: str) -> None:
            reached.append(name)
            say(name)
            if dies(reached):
                os.kill(os.getpid(), signal.SIGKILL)

        effects = [Effect(LocalBackend, name, _named(f"store.{name}")) for name in _STORE]
        effects += [Effect(SQLiteLedger, "record", lambda _self, _entry, state, **_: f"ledger.{state.value}")]
        for effect in (*effects, *self._case.effects):
            _watch(effect, point)
        with self._store(clock) as store, closing(SQLiteLedger(self._ledger, clock)) as ledger:
            engine = Engine(ledger, [self._policy(store)], clock=clock)
            if aborts:
                with suppress(SecretConflictError):  # promoted, or over
                    engine.abort(self.rotation_id)
            _finish(engine, self.rotation_id, clock)

    @property
    def _ledger(self) -> Path:
        return self._folder / "ledger.db"

    def _policy(self, store: SecretStore) -> Policy:
        return Policy(NAME, store, self._case.rotator, grace=self._grace)

    @contextmanager
    def _store(self, clock: FakeClock) -> Iterator[SecretStore]:
        backend = encrypted(local(self._folder))
        with closing(SecretStore(backend, cache=None, alias="prod", clock=clock)) as store:
            yield store


def _finish(engine: Engine, rotation_id: str, clock: FakeClock) -> Entry:
    """Carry it on, waiting as long as it wants, until it is over."""
    entry = engine.start(NAME, rotation_id=rotation_id)
    for _ in range(40):
        entry = engine.advance(rotation_id)
        if not entry.state.open or entry.state is State.ORPHANED:
            return entry
        ends = max(entry.due, entry.lease_until or entry.due)
        clock.advance(max(1.0, (ends - clock.now()).total_seconds()))
    raise AssertionError(f"stuck in {entry.state}: {entry.error}")


def _named(name: str) -> Callable[..., str]:
    return lambda *_args, **_kwargs: name


def _watch(effect: Effect, point: Callable[[str], None]) -> None:
    """In this process, for good: it is a child that ends."""
    original = getattr(effect.owner, effect.attribute)

    @wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        name = effect.name(*args, **kwargs)
        if name is None:
            return original(*args, **kwargs)
        point(f"before {name}")
        outcome = original(*args, **kwargs)
        point(f"after {name}")
        return outcome

    setattr(effect.owner, effect.attribute, watched)
