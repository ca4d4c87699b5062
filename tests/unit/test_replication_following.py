"""Following: everything now and then, what was told at once, and nobody waits for a replica that is down."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.backend import Stage
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.layers.recorded import Recorded
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.replication.following import EVERY, STUCK, Following
from strongroom.replication.marks import file_mark
from strongroom.replication.member import Member
from strongroom.replication.plan import Action, Plan, Report, Step
from strongroom.replication.replicator import Replicator
from strongroom.replication.running import Run
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.scale import scaled

Answer = Report | Exception
DOWN = UnavailableError("the replica does not answer")


class PassingClock(Clock):
    """Who waits has waited: time passes at once."""

    def __init__(self) -> None:
        fake, self.spread = FakeClock(), 0.0
        self._now, self._elapsed, self.advance = fake.now, fake.monotonic, fake.advance

    def now(self) -> datetime:
        return self._now()

    def monotonic(self) -> float:
        return self._elapsed()

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        if not event.is_set():
            self.advance(seconds or 0)
        return event.is_set()

    def chance(self) -> float:
        return self.spread


class Replica:
    """Answers passes from a list, then has the following stop; remembers when it was asked for what.

    A plan among the answers is what such a pass leaves.
    """

    def __init__(self, clock: Clock, *answers: Answer | Plan):
        self.clock, self.answers = clock, list(answers)
        self.asked: list[tuple[float, Sequence[str] | None]] = []
        self.left = Plan(())
        self.goes_on: object = None
        self.then: Callable[[], object] = lambda: None
        self.end: Callable[[], object] = lambda: None

    def sync(
        self, names: Sequence[str] | None = None, progress: Callable[[int, int], object] | None = None
    ) -> Report:
        assert progress
        self.goes_on = progress(1, 2)
        self.asked.append((self.clock.monotonic(), names))
        self.then()
        answer = self.answers.pop(0)
        if not self.answers and (answer == Report() or isinstance(answer, Exception)):
            self.end()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Report):
            return answer
        self.left = answer
        return Report(skipped=answer.steps)

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        if not self.answers:
            self.end()
        return self.left


def _following(clock: Clock, *answers: Answer | Plan, **more: Any) -> tuple[Replica, Following]:
    replica = Replica(clock, *answers)
    following = Following({"prod-us": replica}, clock=clock, **more)
    replica.end = following.stop
    return replica, following


def _step(name: str, action: Action = Action.UPDATE, **more: Any) -> Step:
    return Step(name, action, **more)


@pytest.fixture
def clock() -> PassingClock:
    return PassingClock()


def test_everything_is_looked_at_first_and_then_now_and_then(clock: PassingClock) -> None:
    """Nobody has told of anything; a fleet that started together is spread by a tenth."""
    replica, following = _following(clock, Report(), Report(), Report())
    clock.spread = 1.0
    following.run()
    assert replica.asked == [(0, None), (0.9 * EVERY, None), (1.8 * EVERY, None)]


def test_what_is_told_is_looked_at_at_once_and_alone(clock: PassingClock) -> None:
    """Names that are told during a pass wait for its end, each of them once."""
    replica, following = _following(clock, Report(), Report(), Report())

    def told() -> None:
        if len(replica.asked) == 1:
            for name in ("db/b", "db/a", "db/b"):
                following.wake(name, "7")

    replica.then = told
    following.run()
    assert replica.asked == [(0, None), (0, ["db/a", "db/b"]), (EVERY, None)]


def test_hints_that_never_end_do_not_put_off_the_look_at_everything(clock: PassingClock) -> None:
    """A source that is written every second is compared as often as any other."""
    replica, following = _following(clock, *[Report()] * 70)

    def told() -> None:
        clock.advance(1)
        following.wake("db/busy")

    replica.then = told
    following.run()
    everything = [at for at, names in replica.asked if names is None]
    assert everything == [0, 31, 62]


def test_a_hint_does_not_hide_what_else_has_changed(clock: PassingClock) -> None:
    """The mark is of everything: a look at one name says nothing of the others."""
    mark = ["before"]
    replica, following = _following(clock, Report(), Report(), Report(), marks={"prod-us": lambda: mark[0]})

    def happens() -> None:
        if len(replica.asked) == 1:
            following.wake("db/a")
        elif len(replica.asked) == 2:
            mark[0] = "another name's write, before the look at db/a"

    replica.then = happens
    following.run()
    assert replica.asked == [(0, None), (0, ["db/a"]), (0, None)]


@pytest.mark.parametrize("hints", [[None], [f"n/{number}" for number in range(1001)]])
def test_a_hint_without_a_name_and_too_many_names_are_everything(
    clock: PassingClock, hints: list[str | None]
) -> None:
    """A million names in memory would be no hint any more."""
    replica, following = _following(clock, Report(), Report())
    wake: Callable[[str | None], Any] = following.wake
    replica.then = lambda: len(replica.asked) == 1 and [wake(name) for name in hints]
    following.run()
    assert replica.asked == [(0, None), (0, None)]


def test_a_replica_that_is_down_is_asked_ever_more_rarely_whatever_is_told(clock: PassingClock) -> None:
    """Up to once a minute: a busy source would otherwise have it asked without end."""
    told: list[tuple[str, object]] = []
    replica, following = _following(
        clock, DOWN, DOWN, DOWN, Report(), Report(), every=10, tell=lambda *said: told.append(said)
    )
    wake: Callable[[str], Any] = following.wake
    replica.then = lambda: len(replica.asked) < 4 and wake("db/a")
    following.run()
    assert replica.asked == [(0, None), (20, None), (60, None), (120, None), (130, None)]
    assert told == [("prod-us", DOWN), ("prod-us", Report())]


def test_a_replica_that_is_down_delays_no_other(clock: PassingClock) -> None:
    """Each has its own thread: one that hangs in a call included."""
    hung, released = threading.Event(), threading.Event()
    slow, quick = Replica(clock, Report()), Replica(clock, Report(), Report(), Report())
    following = Following({"slow": slow, "quick": quick}, clock=clock)

    def hang() -> None:
        hung.set()
        released.wait(10)

    def end() -> None:
        following.stop()
        released.set()

    slow.then, quick.then, quick.end = hang, lambda: hung.wait(10), end
    following.run()
    assert len(quick.asked) == 3
    assert following.replicas == ("slow", "quick")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("replica-")]


def test_a_bug_is_told_by_its_class_alone_and_ends_nothing(clock: PassingClock) -> None:
    """Whatever was not foreseen may quote what it choked on ▲."""
    told: list[object] = []
    replica, following = _following(
        clock, KeyError(CANARY), Report(), tell=lambda _replica, outcome: told.append(outcome)
    )
    following.run()
    [first, second] = told
    assert isinstance(first, SecretStoreError)
    assert ("KeyError" in str(first), CANARY in str(first), first.__context__) == (True, False, None)
    assert (second, len(replica.asked)) == (Report(), 2)


def test_a_hint_of_a_name_that_no_such_store_has_is_no_trouble(clock: PassingClock) -> None:
    """Another store of the process may name its secrets otherwise; what is wrong with all of them is told."""
    told: list[object] = []
    wrong = InvalidRequestError("illegal name")
    replica, following = _following(
        clock, Report(), wrong, wrong, Report(), tell=lambda _, outcome: told.append(outcome)
    )
    wake: Callable[[str], Any] = following.wake
    replica.then = lambda: len(replica.asked) == 1 and wake("MyKey")
    following.run()
    assert [names for _, names in replica.asked] == [None, ["MyKey"], None, None]
    assert told == [wrong, Report()]


def test_what_stays_as_it_was_is_told_once(clock: PassingClock) -> None:
    """A name that is denied for weeks is no news every half minute; another one is."""
    denied = Report(failed={"db/a": SecretStoreError("denied")})
    stopped = Report(skipped=(_step("db/q", Action.QUARANTINE),), failed=denied.failed)
    told: list[object] = []
    _, following = _following(
        clock, denied, denied, stopped, stopped, Report(), tell=lambda _, outcome: told.append(outcome)
    )
    following.run()
    assert told == [denied, stopped]


def test_a_mark_that_changes_has_everything_looked_at_within_a_second(clock: PassingClock) -> None:
    """Another process wrote to an embedded source, after the first look and again during the second."""
    marks = iter(["a", "a", "b", "b", "c", "c", "c"])
    replica, following = _following(
        clock, Report(), Report(), Report(), marks={"prod-us": lambda: next(marks, "c")}
    )
    following.run()
    assert replica.asked == [(0, None), (1, None), (1, None)]


def test_an_embedded_store_is_marked_by_every_commit_of_any_process(tmp_path: Path) -> None:
    """Also in its log; a read leaves the mark as it is."""
    path = tmp_path / "s.db"
    mark = file_mark(f"local://{path}")
    assert mark
    before = mark()
    with closing(sqlite3.connect(path, isolation_level=None)) as one, closing(sqlite3.connect(path)) as other:
        one.execute("PRAGMA journal_mode = WAL")
        one.execute("CREATE TABLE t (x)")
        made = mark()
        other.execute("SELECT * FROM t").fetchall()
        assert mark() == made != before
        with other:
            other.execute("INSERT INTO t VALUES (1)")
        assert mark() != made


def test_other_stores_have_no_mark() -> None:
    """They are polled."""
    assert file_mark("aws-sm://eu-west-1") is None
    assert file_mark(MemoryBackend().origin) is None


def test_what_this_process_writes_is_looked_at_next(clock: PassingClock) -> None:
    """By a store's hook: writes that happened, and neither reads nor writes that failed."""
    replica, following = _following(clock, Report(), Report(), Report())
    with SecretStore(MemoryBackend(), hooks=[following.hook()], cache=None) as store:

        def use() -> None:
            if len(replica.asked) > 1:
                return
            store.put("db/password", CANARY)
            store.put("db/old", CANARY)
            store.get("db/old")
            store.purge("db/old")
            with pytest.raises(SecretStoreError):
                store.put("db/lost", CANARY, if_version="7")

        replica.then = use
        following.run()
    assert replica.asked[1] == (0, ["db/old", "db/password"])


def test_on_change_of_a_store_wakes(clock: PassingClock) -> None:
    """Its signature is a callback's."""
    _, following = _following(clock, Report())
    with SecretStore(MemoryBackend(), cache=None) as store:
        store.put("db/password", CANARY)
        store.on_change("db/password", following.wake)()


LATE = timedelta(minutes=7)


def test_metrics_tell_what_a_look_left_behind(clock: PassingClock) -> None:
    """Lag is the age of the oldest change that was not applied, and grows until it is; no name is told."""
    late = _step("db/a", since=clock.now() - LATE)
    replica, following = _following(clock, Report((_step("db/b"),), {"db/a": DOWN}))
    replica.left = Plan((late, _step("db/q", Action.QUARANTINE)))
    following.run()
    clock.advance(60 - clock.monotonic())
    text = following.metrics()
    lines = text.splitlines()
    for said in (
        'strongroom_replica_lag_seconds{replica="prod-us"} 480',
        'strongroom_replica_lag_versions{replica="prod-us"} 1',
        'strongroom_replica_quarantined{replica="prod-us"} 1',
        'strongroom_replica_drift_total{replica="prod-us"} 1',
        'strongroom_replica_writes_total{replica="prod-us",outcome="ok"} 1',
        'strongroom_replica_writes_total{replica="prod-us",outcome="failed"} 1',
        'strongroom_replica_passes_total{replica="prod-us",outcome="ok"} 1',
        'strongroom_replica_silence_seconds{replica="prod-us"} 60',
    ):
        assert said in lines
    assert "db/" not in text


def test_drift_is_counted_when_it_is_found_and_not_at_every_look(clock: PassingClock) -> None:
    """A counter of looks would tell nothing; what was mended and comes again counts again."""
    stays, other = (_step(name, Action.QUARANTINE) for name in ("db/a", "db/b"))
    plans = [Plan((stays,)), Plan((stays, other)), Plan((stays,)), Plan((stays, other))]
    _, following = _following(clock, *plans)
    following.run()
    assert 'strongroom_replica_drift_total{replica="prod-us"} 3' in following.metrics()


def test_a_replica_that_cannot_be_compared_is_a_gap_and_a_silence(clock: PassingClock) -> None:
    """The last lag would look well for ever; the silence grows from the last comparison on."""
    _, following = _following(clock, Report(), DOWN)
    following.run()
    text = following.metrics()
    assert 'strongroom_replica_lag_seconds{replica="prod-us"}' not in text
    assert f'strongroom_replica_silence_seconds{{replica="prod-us"}} {clock.monotonic():g}' in text
    assert 'strongroom_replica_passes_total{replica="prod-us",outcome="failed"} 1' in text


def test_a_look_at_one_name_says_nothing_of_the_others(clock: PassingClock) -> None:
    """Neither lag nor silence."""
    late = Plan((_step("db/a", since=clock.now() - LATE),))
    replica, following = _following(clock, late, Report())
    wake: Callable[[str], Any] = following.wake
    replica.then = lambda: len(replica.asked) == 1 and wake("db/b")
    following.run()
    assert replica.asked[1] == (0, ["db/b"])
    assert 'strongroom_replica_lag_seconds{replica="prod-us"} 420' in following.metrics()


def test_a_program_is_unwell_if_a_pass_hangs_and_not_if_a_replica_is_down(clock: PassingClock) -> None:
    """Else an orchestrator would start a worker again and again for another region's outage."""
    _, following = _following(clock, DOWN, DOWN)
    following.run()
    assert following.trouble == ""
    clock.advance(STUCK + 1)
    assert "prod-us" in following.trouble


def test_a_pass_is_told_to_give_up_once_somebody_stops_it(clock: PassingClock) -> None:
    """Ten thousand names at a provider's pace outlast the patience of who sent a signal."""
    replica, following = _following(clock, Report())
    following.run()
    assert replica.goes_on is True
    again = Replica(clock, Report())
    following = Following({"prod-us": again}, clock=clock)
    [follower] = following._followers
    following.stop()
    follower._pass(None)
    assert again.goes_on is False


def test_a_stop_that_comes_while_hints_are_taken_is_not_slept_through(clock: PassingClock) -> None:
    """With an hour between two looks, a supervisor would kill the process long before."""
    following = Following({"prod-us": Replica(clock)}, clock=clock)
    [follower] = following._followers
    following.stop()
    follower._hints.take()
    follower._pause()
    assert clock.monotonic() == 0


def test_a_run_that_is_told_to_stop_leaves_the_rest_untried() -> None:
    """What is under way is done; nobody is told that a person must decide about the others."""
    names = [Name(f"n/{number}") for number in range(5)]
    run: Run[Step] = Run(1, lambda name: _step(str(name)), lambda done, _total: done < 2)
    assert [step.name for step in run.each(names)] == ["n/0", "n/1"]
    assert [(step.name, step.tried) for step in run.left] == [(f"n/{n}", False) for n in (2, 3, 4)]


class Watched:
    """A replicator; before each pass the next thing happens, and after the last one all ends."""

    def __init__(self, replicator: Replicator, *happenings: Callable[[], object]):
        self.replicator, self.happenings = replicator, list(happenings)

    def sync(
        self, names: Sequence[str] | None = None, progress: Callable[[int, int], object] | None = None
    ) -> Report:
        self.happenings.pop(0)()
        return self.replicator.sync(names, progress)

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        return self.replicator.plan(names)


def test_an_outage_is_told_by_silence_and_what_was_missed_comes_once(clock: PassingClock) -> None:
    """A replica that was away has the newest version of each name, and not each version that it missed."""
    source, there = MemoryBackend(clock=clock), FaultyBackend(MemoryBackend(clock=clock))
    app = Recorded(source, "prod", alias="eu", clock=clock)
    replicator = Replicator(Member("eu", source, "prod"), Member("us", there, "prod"), clock=clock)
    kept, gone = Name("db/kept"), Name("db/gone")
    texts: list[str] = []

    def write(*values: str) -> None:
        for value in values:
            app.put(kept, SecretValue(value), None)

    def begin() -> None:
        write(f"{CANARY}-0")
        app.put(gone, SecretValue(CANARY), None)

    def cut() -> None:
        there.unreachable()
        write(*(f"{CANARY}-{number}" for number in range(1, 6)))
        app.purge(gone)

    def heal() -> None:
        texts.append(following.metrics())
        there.clear()

    told: list[object] = []
    watched = Watched(replicator, begin, cut, lambda: None, heal, lambda: None)
    following = Following({"us": watched}, clock=clock, tell=lambda _, outcome: told.append(outcome))
    watched.happenings[-1] = following.stop
    following.run()
    first, cut_off, last = told
    assert isinstance(first, Report)
    assert isinstance(cut_off, UnavailableError)
    assert isinstance(last, Report)
    assert sorted(step.action.value for step in last.done) == ["delete", "update"]
    assert there.get(kept, Stage.CURRENT).value.matches(f"{CANARY}-5")
    assert len(there.versions(kept)) == 2
    with pytest.raises(SecretNotFoundError):
        there.get(gone, Stage.CURRENT)
    [during] = texts
    assert "strongroom_replica_lag_seconds{" not in during
    assert 'strongroom_replica_silence_seconds{replica="us"} 150' in during
    after = following.metrics()
    assert 'strongroom_replica_lag_seconds{replica="us"} 0' in after
    assert 'strongroom_replica_silence_seconds{replica="us"} 0' in after


def test_two_that_follow_at_once_write_no_version_twice() -> None:
    """Somebody started a second worker: every write is compare-and-set, and the slower one finds it done."""
    source, there = MemoryBackend(), MemoryBackend()
    app, names = Recorded(source, "prod", alias="eu"), [Name(f"db/n{number}") for number in range(3)]
    members = Member("eu", source, "prod"), Member("us", there, "prod")
    both = [Following({"us": Replicator(*members)}) for _ in range(2)]
    threads = [threading.Thread(target=one.run) for one in both]
    for thread in threads:
        thread.start()
    writes = scaled(200, "writes under two that follow")
    for number in range(writes):
        name = names[number % len(names)]
        app.put(name, SecretValue(f"{CANARY}-{number}"), None)
        for one in both:
            one.wake(str(name))
    for one in both:
        one.stop()
    for thread in threads:
        thread.join()
    assert Replicator(*members).sync().complete
    for name in names:
        records = [there.get(name, version.id).record for version in there.versions(name)]
        assert len(set(records)) == len(records)
        current = source.get(name, Stage.CURRENT)
        held = there.get(name, Stage.CURRENT)
        assert (held.record, held.value) == (current.record, current.value)
