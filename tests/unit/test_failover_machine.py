"""Any order of writes, replication, outages, lag and forks: never an older value in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from strongroom.backend import Secret, Stage
from strongroom.errors import SecretStoreError, UnavailableError
from strongroom.layers.breaker import BreakerPolicy
from strongroom.layers.failover import Failover
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.replication.record import Record
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.scale import scaled

T = TypeVar("T")
NAMES = [Name("db/one"), Name("db/two")]
PAUSE = 30.0
names, indexes, perhaps = st.sampled_from(NAMES), st.integers(0, 2), st.booleans()


@dataclass
class Known:
    """What the test knows of one secret, whose versions are numbered in the order of their writing.

    Attributes:
        records: of each version; None if it was written without one.
        given: the newest with a record that was handed out, or written by us.
        told: the newest with a record that this process can know of.
        ours: the newest that we wrote after we knew of any.
    """

    records: list[Record | None] = field(default_factory=list)
    given: int = -1
    told: int = -1
    ours: int = -1

    def new(self, *, recorded: bool) -> tuple[int, SecretValue, str | None]:
        """The next version; its number is its value."""
        number = len(self.records)
        record = Record(1, number + 1, "0" * 32, f"{number:032x}") if recorded else None
        self.records.append(record)
        return number, SecretValue(str(number)), record.text if record else None


class Machine(RuleBasedStateMachine):
    """A failover of three, with the records that replication would have written."""

    hedge = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.members = [FaultyBackend(MemoryBackend(), clock=self.clock) for _ in range(3)]
        self.known = {name: Known() for name in NAMES}
        self.failover = Failover(
            dict(zip(("one", "two", "three"), self.members, strict=True)),
            breaker=BreakerPolicy(failures=2, pause=PAUSE),
            hedge=self.hedge,
            clock=self.clock,
        )

    @rule(name=names, recorded=perhaps)
    def others_write(self, name: Name, recorded: bool) -> None:
        """Another process writes to the first member."""
        _, value, record = self.known[name].new(recorded=recorded)
        self.members[0].inner.put(name, value, None, record)

    @rule(name=names, recorded=perhaps, lost=perhaps)
    def we_write(self, name: Name, recorded: bool, lost: bool) -> None:
        """This process does; the answer may be lost on its way."""
        known = self.known[name]
        number, value, record = known.new(recorded=recorded)
        if lost:
            self.members[0].timeout("put", after=True)
        try:
            self.failover.put(name, value, None, record)
        except UnavailableError as error:
            if error.performed is False:
                known.records.pop()
                return
        else:
            if record:
                known.given = known.told = number
        if known.told >= 0:
            known.ours = number

    @rule(name=names, to=st.integers(1, 2), late=st.integers(0, 3), bare=perhaps)
    def replicate(self, name: Name, to: int, late: int, bare: bool) -> None:
        """A replica gets some version, an old one too, or one without its record."""
        records = self.known[name].records
        if records:
            number = max(0, len(records) - 1 - late)
            record = records[number]
            text = record.text if record and not bare else None
            self.members[to].inner.put(name, SecretValue(str(number)), None, text)

    @rule(name=names)
    def the_first_goes_back(self, name: Name) -> None:
        """Its label lags, or an old source has returned."""
        recorded = [(number, record) for number, record in enumerate(self.known[name].records) if record]
        if recorded:
            number, record = recorded[0]
            self.members[0].inner.put(name, SecretValue(str(number)), None, record.text)

    @rule(index=indexes)
    def down(self, index: int) -> None:
        """One is unreachable."""
        self.members[index].unreachable()

    @rule(index=indexes)
    def up(self, index: int) -> None:
        """It is back."""
        self.members[index].clear()

    @rule(seconds=st.sampled_from([1.0, PAUSE]))
    def time_passes(self, seconds: float) -> None:
        """Pauses end."""
        self.clock.advance(seconds)

    @rule()
    def fork(self) -> None:
        """The child goes on with what was known."""
        self.failover.after_fork()

    @rule(name=names)
    def describe(self, name: Name) -> None:
        """This tells of records without handing out a value."""
        info = answer_of(lambda: self.failover.describe(name))
        if info and info.record:
            known = self.known[name]
            known.told = max(known.told, Record.parse(info.record).seq - 1)

    @rule(name=names)
    def read(self, name: Name) -> None:
        """The current version."""
        self.judge(name, answer_of(lambda: self.failover.get(name, Stage.CURRENT)))

    @rule()
    def read_many(self) -> None:
        """Both, in a batch."""
        for key, outcome in (answer_of(lambda: self.failover.get_many(NAMES)) or {}).items():
            if isinstance(outcome, Secret):
                assert isinstance(key, Name)
                self.judge(key, outcome)

    def judge(self, name: Name, secret: Secret | None) -> None:
        """Nothing goes back behind what was handed out, and what may be older bears a mark."""
        if secret is None:
            return
        known, number = self.known[name], int(secret.value.reveal_text())
        if secret.record:
            assert number >= known.given, "older than what was handed out"
            assert secret.behind or number >= known.told, "a newer one is known of"
            known.given, known.told = max(known.given, number), max(known.told, number)
            assert secret.behind >= known.told - number, "more are known to be missing"
            assert secret.behind <= len(known.records) - 1 - number, "as many are not missing"
        if not (secret.behind or secret.degraded):
            assert number >= known.given, "older than what was handed out, in silence"
            assert number >= known.ours, "older than what we wrote, in silence"

    @invariant()
    def writes_go_to_the_first_member_only(self) -> None:
        """Two that take writes are two truths."""
        assert not any(member.calls["put"] for member in self.members[1:])

    def teardown(self) -> None:
        """Everything heals, and the newest version is served without a mark, whatever was before."""
        for member in self.members:
            member.clear()
        self.clock.advance(PAUSE)
        for name in NAMES:
            number, value, record = self.known[name].new(recorded=True)
            self.members[0].inner.put(name, value, None, record)
            secret = self.failover.get(name, Stage.CURRENT)
            assert secret.value.matches(str(number))
            assert (secret.behind, secret.degraded) == (0, False)
        self.failover.close()


class Hedged(Machine):
    """The same with hedged reads: threads change nothing of it."""

    hedge = 0.05


def answer_of(ask: Callable[[], T]) -> T | None:
    """None for an error: one is never an older value."""
    try:
        return ask()
    except SecretStoreError:
        return None


def test_whatever_happens_no_older_value_is_served_in_silence() -> None:
    """Sequences of writes, replication, outages, forks and reads of three members."""
    count = scaled(1_000, "sequences of the failover machine", share=20)
    run_state_machine_as_test(Machine, settings=settings(max_examples=count, stateful_step_count=30))


def test_hedged_reads_hold_the_same() -> None:
    """Fewer, since each read is two threads."""
    count = scaled(200, "sequences of the failover machine, hedged", share=20)
    run_state_machine_as_test(Hedged, settings=settings(max_examples=count, stateful_step_count=30))
