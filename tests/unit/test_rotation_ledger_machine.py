"""All ledgers do the same, whatever is asked of them in whatever order, and fence whom they must."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from strongroom.errors import SecretStoreError
from strongroom.memory import MemoryBackend
from strongroom.rotation.ledger import Entry, Ledger, State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.rotation.storeledger import StoreLedger
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.scale import NIGHTLY

pytestmark = pytest.mark.timeout(1800)
SECRETS = st.sampled_from(["prod:a", "prod:b"])
SECONDS = st.sampled_from([0.0, 1.0, 59.0, 60.0, 61.0, 120.0, 3600.0])
STATES = st.sampled_from(list(State))


class Machine(RuleBasedStateMachine):
    """Asks three ledgers the same; of the one in a store, some answers are lost on the way."""

    @initialize()
    def opened(self) -> None:
        self.ends = ExitStack()
        folder = Path(self.ends.enter_context(tempfile.TemporaryDirectory()))
        self.clock = FakeClock()
        self.backend = FaultyBackend(MemoryBackend(clock=self.clock), clock=self.clock)
        sqlite = SQLiteLedger(folder / "ledger.db", self.clock)
        self.ends.callback(sqlite.close)
        sqlite._file._open().execute("PRAGMA synchronous = OFF")  # no power is cut here
        self.ledgers: list[Ledger] = [MemoryLedger(self.clock), sqlite, StoreLedger(self.backend, self.clock)]
        self.begun = 0
        self.held: list[list[Entry]] = []
        self.epochs: dict[str, int] = {}

    def teardown(self) -> None:
        self.ends.close()

    def ask(self, call: Callable[[Ledger], Any]) -> list[Any]:
        """What each of them answers, which must be the same; a store's waits move no clock meanwhile."""
        now = self.clock._passed
        answers = []
        for ledger in self.ledgers:
            self.clock._passed = now
            answers.append(_answer(ledger, call))
        self.clock._passed = now
        plain = [_plain(answer) for answer in answers]
        assert plain == plain[:1] * len(plain)
        return answers

    def keep(self, answers: list[Any]) -> None:
        if all(isinstance(answer, Entry) and answer.lease_until for answer in answers):
            self.held.append(answers)

    @rule(secret=SECRETS, tick=st.booleans(), planned=st.booleans())
    def begin(self, secret: str, tick: bool, planned: bool) -> None:
        self.begun += 1
        due = self.ledgers[0].next_due(secret) if tick else None
        following = self.clock.now() + timedelta(hours=1) if planned else None
        name = f"id-{self.begun}"
        self.ask(lambda ledger: ledger.begin(name, secret, base="b", tick=due, next_due=following))

    @rule(secret=SECRETS, number=st.integers(1, 20))
    def begin_again(self, secret: str, number: int) -> None:
        self.ask(lambda ledger: ledger.begin(f"id-{min(number, self.begun)}", secret, base=None))

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.begun))
        self.keep(self.ask(lambda ledger: ledger.claim(f"id-{number}")))

    @rule(limit=st.integers(1, 3))
    def claim_due(self, limit: int) -> None:
        answers = self.ask(lambda ledger: list(ledger.claim_due(limit)))
        self.held += [list(each) for each in zip(*answers, strict=True)]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), state=STATES, attempts=st.integers(0, 3), seconds=SECONDS)
    def record(self, data: st.DataObject, state: State, attempts: int, seconds: float) -> None:
        mine = data.draw(st.sampled_from(self.held))
        changes: dict[str, Any] = {"attempts": attempts} if attempts else {}
        changes |= {"due": timedelta(seconds=seconds)} if seconds else {}
        self.keep(self.each(mine, lambda ledger, entry: ledger.record(entry, state, **changes)))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self.keep(self.each(data.draw(st.sampled_from(self.held)), lambda ledger, entry: ledger.renew(entry)))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), seconds=SECONDS)
    def release(self, data: st.DataObject, seconds: float) -> None:
        mine = data.draw(st.sampled_from(self.held))
        self.each(
            mine, lambda ledger, entry: ledger.release(entry, due=timedelta(seconds=seconds), attempts=1)
        )

    def each(self, mine: list[Entry], call: Callable[[Ledger, Entry], Any]) -> list[Any]:
        """Each ledger is asked with the record that it gave."""
        of = dict(zip(map(id, self.ledgers), mine, strict=True))
        return self.ask(lambda ledger: call(ledger, of[id(ledger)]))

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), states=st.sets(STATES, min_size=1), to=STATES)
    def move(self, data: st.DataObject, states: set[State], to: State) -> None:
        number = data.draw(st.integers(1, self.begun))
        self.ask(lambda ledger: ledger.move(f"id-{number}", states, to))

    @rule(secret=SECRETS, right=st.booleans(), seconds=SECONDS)
    def plan(self, secret: str, right: bool, seconds: float) -> None:
        expected = self.ledgers[0].next_due(secret) if right else self.clock.now()
        due = self.clock.now() + timedelta(seconds=seconds)
        self.ask(lambda ledger: ledger.plan(secret, due, expected=expected))

    @rule(seconds=SECONDS)
    def purge(self, seconds: float) -> None:
        before = self.clock.now() - timedelta(seconds=seconds)
        self.ask(lambda ledger: ledger.purge(before))

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(operation=st.sampled_from(["get", "put"]), after=st.booleans())
    def lose(self, operation: str, after: bool) -> None:
        """The next answer of the store, or the next request to it if that is a write."""
        if operation == "put" and after:
            self.backend.timeout("put", after=True)

    @invariant()
    def all_know_the_same(self) -> None:
        if self.begun:
            self.ask(lambda ledger: list(ledger.find()))
            self.ask(lambda ledger: list(ledger.due(9)))
            self.ask(lambda ledger: [ledger.last_success(name) for name in ("prod:a", "prod:b")])

    @invariant()
    def one_is_open_and_epochs_only_grow(self) -> None:
        found = self.ledgers[0].find()
        opened = [entry.secret for entry in found if entry.state.open]
        assert len(opened) == len(set(opened))
        assert all(entry.epoch >= self.epochs.get(entry.id, 0) for entry in found)
        self.epochs = {entry.id: entry.epoch for entry in found}  # one that was forgotten may begin anew


def _answer(ledger: Ledger, call: Callable[[Ledger], Any]) -> Any:
    try:
        return call(ledger)
    except SecretStoreError as error:
        return error


def _plain(answer: Any) -> Any:
    if isinstance(answer, Entry):
        return replace(answer, token="")
    if isinstance(answer, list):
        return [_plain(each) for each in answer]
    return type(answer) if isinstance(answer, SecretStoreError) else answer


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=200 if NIGHTLY else 8, stateful_step_count=60 if NIGHTLY else 25, deadline=None
)
