"""The watcher on a real journal: what is read, what is written back, what a crash or a full disk leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.detect.settings import DetectSettings
from strongroom.audit.detect.suppressing import suppression
from strongroom.audit.detect.watcher import Watcher
from strongroom.audit.journal import Journal
from strongroom.audit.reading import Reader
from strongroom.audit.record import stamp
from strongroom.audit.verify import verify
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.testing import FakeClock
from tests.scale import scaled
from tests.unit.detection_fixtures import FOLDER, SCENES, SETTINGS
from tests.unit.detection_support import Scene

NEVER_LEARN = DetectSettings.parse({"learn": 0})
CHAIN = f"{1:032x}"


@pytest.fixture
def clock() -> FakeClock:
    """The time of day of writer and watcher."""
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path, clock: FakeClock) -> Path:
    """A journal in which nobody has done anything."""
    Journal.open(tmp_path / "journal", clock=clock).close()
    return tmp_path / "journal"


def place(folder: Path, *scenes: Scene) -> None:
    """Put the chains of scenes into a journal."""
    for scene in scenes:
        chain = folder / "chains" / scene.chain
        chain.mkdir(parents=True, exist_ok=True)
        (chain / "00000001.jsonl").write_bytes(scene.lines())


def here(clock: FakeClock, chain: int = 1) -> Scene:
    """A scene that plays now."""
    return Scene(clock.now(), chain)


def watching(folder: Path, clock: FakeClock, **extra: Any) -> Watcher:
    """A watcher that does not learn."""
    return Watcher(folder, settings=NEVER_LEARN, clock=clock, **extra)


def look(folder: Path, clock: FakeClock) -> list[str]:
    """The rules that a new watcher tells of."""
    with watching(folder, clock) as watcher:
        return [told["rule"] for told in watcher.poll(drain=True)]


def recorded(folder: Path) -> list[dict[str, Any]]:
    """The detections that stand in the journal."""
    return [record for _, _, record in Reader(folder).records() if record["kind"] == "detection"]


@pytest.mark.parametrize("name", sorted(SCENES))
def test_a_fixture_that_is_replayed_leaves_one_record(name: str, folder: Path) -> None:
    """Copied into a journal, as the README of the fixtures says; the journal's chains hold after it."""
    lines = (FOLDER / f"{name}.jsonl").read_bytes()
    (folder / "chains" / CHAIN).mkdir(parents=True)
    (folder / "chains" / CHAIN / "00000001.jsonl").write_bytes(lines)
    last = datetime.fromisoformat(json.loads(lines.splitlines()[-1])["time"][:26] + "+00:00")
    clock = FakeClock(last + timedelta(minutes=5))
    settings = DetectSettings.parse(SETTINGS)
    for _ in range(2):
        with Watcher(folder, settings=settings, clock=clock) as watcher:
            watcher.poll(drain=True)
    assert [record["rule"] for record in recorded(folder)] == [name]
    assert verify(folder, [], []).first is None


def test_a_detection_is_told_once(folder: Path, clock: FakeClock) -> None:
    """By the watcher that found it, and by none after it."""
    scene = here(clock)
    scene.reads("eve", "db/ledger")
    place(folder, scene)
    clock.advance(60)
    assert look(folder, clock) == ["first-seen-principal"]
    assert look(folder, clock) == []
    assert len(recorded(folder)) == 1


def test_what_comes_later_is_judged_by_what_was_before(folder: Path, clock: FakeClock) -> None:
    """The memory outlives the process: five refusals, another process, five more."""
    scene = here(clock)
    for _ in range(2):
        for _ in range(5):
            scene.wait(seconds=1).reads("web", "db/ledger", outcome="PermissionDeniedError")
        place(folder, scene)
        clock.advance(30)
        found = look(folder, clock)
    assert found == ["denied-burst"]


def test_young_records_wait_for_those_that_others_write_late(folder: Path, clock: FakeClock) -> None:
    """Two processes at the same second: read too early, the revocation would come after the read."""
    reader, revoker = here(clock, 1), here(clock, 2)
    revoker.wait(seconds=1).does("ops", "revoke", "db/ledger", version="v1")
    reader.wait(seconds=2).warm("web", ("db/ledger", "v1", 1))
    place(folder, reader)
    with watching(folder, clock) as watcher:
        clock.advance(4)
        assert watcher.poll() == []
        place(folder, revoker)
        clock.advance(4)
        assert {told["rule"] for told in watcher.poll()} >= {"use-after-revoke"}


def test_a_clock_that_runs_ahead_makes_nothing_overdue(folder: Path, clock: FakeClock) -> None:
    """A host in the year 2040 does not make every secret of the fleet old, nor stop the reading."""
    good, mad = here(clock, 1), Scene(clock.now() + timedelta(days=5000), 2)
    good.rotates("rotator", "db/ledger", "v2")
    mad.reads("web", "db/other")
    mad.reads("web", "db/other", outcome="PermissionDeniedError")
    good.wait(seconds=5).does("a11ce", "get", "break-glass/root", "PermissionDeniedError")
    place(folder, good, mad)
    clock.advance(60)
    assert look(folder, clock) == ["break-glass", "first-seen-principal"]


def test_a_reminder_is_a_record_of_its_own(folder: Path, clock: FakeClock) -> None:
    """Week by week, of one rotation, by one watcher."""
    scene = here(clock)
    scene.rotates("rotator", "db/ledger", "v2")
    place(folder, scene)
    with watching(folder, clock) as watcher:
        for days in (90, 1, 6, 1, 3):
            clock.advance(days * 86_400)
            watcher.poll()
    assert [record["facts"]["age_days"] for record in recorded(folder)] == [90, 97]


def test_records_that_were_cut_off_are_told(folder: Path, clock: FakeClock) -> None:
    """Somebody shortened a file that had been judged; what is written after it is judged too."""
    scene = here(clock)
    for _ in range(3):
        scene.reads("web", "db/ledger")
    place(folder, scene)
    clock.advance(60)
    look(folder, clock)
    segment = folder / "chains" / scene.chain / "00000001.jsonl"
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:4]))
    assert look(folder, clock) == ["audit-gap"]
    assert look(folder, clock) == []


def test_a_chain_that_is_gone_is_told_once(folder: Path, clock: FakeClock) -> None:
    """Not again with each look."""
    scene = here(clock)
    scene.reads("web", "db/ledger")
    place(folder, scene)
    clock.advance(60)
    look(folder, clock)
    shutil.rmtree(folder / "chains" / scene.chain)
    assert [look(folder, clock), look(folder, clock)] == [["audit-gap"], []]


@pytest.mark.parametrize(
    "damage", [lambda lines: lines[:2] + lines[4:], lambda lines: [*lines[:3], b"{}\n", *lines[4:]]]
)
def test_records_that_are_missing_or_unreadable_are_told(
    damage: Callable[[list[bytes]], list[bytes]], folder: Path, clock: FakeClock
) -> None:
    """Their sequence numbers are."""
    scene = here(clock)
    for _ in range(3):
        scene.does("web", "list", "db/")
    place(folder, scene)
    segment = folder / "chains" / scene.chain / "00000001.jsonl"
    segment.write_bytes(b"".join(damage(segment.read_bytes().splitlines(keepends=True))))
    clock.advance(60)
    assert look(folder, clock) == ["audit-gap"]


class Crash(BaseException):
    """The process ends here."""


class Dying:
    """A journal of a process that ends before what it was given is durable, or right after."""

    failed: SecretStoreError | None = None

    def __init__(self, journal: Journal, after: bool, end: BaseException):
        self._journal, self._after, self._end = journal, after, end
        self._given: list[Mapping[str, Any]] = []

    def append(self, fields: Mapping[str, Any], *, durable: bool = True) -> str:
        self._given.append(fields)
        return ""

    def flush(self) -> None:
        for fields in self._given if self._after else ():
            self._journal.append(fields)
        raise self._end

    def close(self) -> None:
        self._journal.close()


@pytest.mark.parametrize("end", [Crash(), UnavailableError("no space left on device", performed=False)])
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_or_a_full_disk_loses_and_repeats_nothing(
    after: bool, end: BaseException, folder: Path, clock: FakeClock
) -> None:
    """It is remembered before it is written, and the journal is asked before it is written again."""
    scene = here(clock)
    scene.reads("eve", "db/ledger")
    place(folder, scene)
    clock.advance(60)
    dying = Dying(Journal.open(folder, clock=clock), after, end)
    with pytest.raises(type(end)), watching(folder, clock, trail=lambda: dying) as watcher:
        watcher.poll(drain=True)
    dying.close()
    look(folder, clock)
    look(folder, clock)
    assert [record["rule"] for record in recorded(folder)] == ["first-seen-principal"]


def _watch_for_ever(folder: str) -> None:
    while True:
        with suppress(UnavailableError), Watcher(folder, settings=NEVER_LEARN) as watcher:
            while True:
                watcher.poll(drain=True)


def test_a_watcher_that_is_killed_anywhere_tells_each_finding_once(folder: Path) -> None:
    """SIGKILL at moments of chance, while break-glass secrets are asked for; each time is one finding."""
    kills, spawn = scaled(30, "kills of the watcher"), multiprocessing.get_context("spawn")
    with_journal = Journal.open(folder)
    for number in range(kills):
        child = spawn.Process(target=_watch_for_ever, args=(str(folder),))
        child.start()
        for part in range(5):
            who = {"uid": f"u{number}-{part}", "how": "os"}
            event = {"op": "get", "name": "break-glass/root", "cid": f"c{number}-{part}", "actor": who}
            with_journal.append(
                {"kind": "event", "phase": "outcome", "outcome": "PermissionDeniedError", **event}
            )
        child.join(0.4 + int.from_bytes(os.urandom(1)) / 500)
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        child.close()
    with_journal.close()
    look(folder, FakeClock(datetime.now().astimezone() + timedelta(minutes=1)))
    told = sorted(record["facts"]["actor.uid"] for record in recorded(folder))
    assert told == sorted(f"u{number}-{part}" for number in range(kills) for part in range(5))


def test_without_its_memory_it_tells_nothing_twice(folder: Path, clock: FakeClock) -> None:
    """Whoever deletes what it remembers gets the same findings again, which the journal has."""
    scene = here(clock)
    for _ in range(12):
        scene.wait(seconds=1).reads("web", "db/ledger", outcome="PermissionDeniedError")
    place(folder, scene)
    clock.advance(60)
    assert look(folder, clock) == ["denied-burst"]
    shutil.rmtree(folder / "detect")
    assert look(folder, clock) == []
    assert len(recorded(folder)) == 1


def test_two_watchers_of_one_journal_are_one_too_many(folder: Path, clock: FakeClock) -> None:
    """The second is refused, and may begin when the first has ended."""
    with watching(folder, clock), pytest.raises(UnavailableError, match="another process watches"):
        watching(folder, clock)
    watching(folder, clock).close()


def test_a_folder_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """And nothing is made in it."""
    with pytest.raises(InvalidRequestError, match="is no journal"):
        Watcher(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_memory_that_is_damaged_is_told_in_one_line(folder: Path, clock: FakeClock) -> None:
    """With the file that a person may delete."""
    (folder / "detect").mkdir(mode=0o700)
    (folder / "detect" / "state.db").write_bytes(b"not a database at all" * 99)
    with pytest.raises(UnavailableError) as raised:
        look(folder, clock)
    assert "state.db" in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_what_was_learned_is_no_alert(folder: Path, clock: FakeClock) -> None:
    """`learn` takes what is there for normal; from then on the same is normal and other things are not."""
    scene = here(clock)
    scene.reads("web", "db/ledger")
    place(folder, scene)
    clock.advance(60)
    with watching(folder, clock) as watcher:
        watcher.learn()
        assert watcher.poll(drain=True) == []
    scene.wait(minutes=5).reads("web", "db/ledger")
    scene.reads("eve", "db/ledger")
    place(folder, scene)
    clock.advance(3600)
    with watching(folder, clock) as watcher:
        [told] = watcher.poll(drain=True)
    assert told["facts"]["actor.uid"] == "eve"


def test_a_suppression_is_a_record_that_the_watcher_obeys(folder: Path, clock: FakeClock) -> None:
    """And counts what it kept quiet."""
    with closing(Journal.open(folder, clock=clock)) as journal:
        fields = suppression(
            "break-glass", ["break-glass"], now=clock.now(), span=3600 * 10**9, reason="drill"
        )
        journal.append(fields)
    scene = here(clock)
    scene.wait(minutes=1).reads("a11ce", "break-glass/root", outcome="PermissionDeniedError")
    place(folder, scene)
    clock.advance(120)
    with watching(folder, clock) as watcher:
        assert watcher.poll(drain=True) == []
        assert watcher.suppressed == {"break-glass": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rule": "other"}, "no rule is called"),
        ({"reason": " "}, "needs a reason"),
        ({"span": 91 * 86400 * 10**9}, "90 days"),
    ],
)
def test_a_suppression_says_what_why_and_until_when(change: dict[str, Any], reason: str) -> None:
    """None is for ever."""
    given = {
        "rule": "break-glass",
        "known": ["break-glass"],
        "now": FakeClock().now(),
        "span": 1,
        "reason": "drill",
    }
    with pytest.raises(InvalidRequestError, match=reason):
        suppression(**{**given, **change})


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    """A watcher that a test forgot would hold its lock."""
    yield
    assert not multiprocessing.active_children()


def test_times_of_the_scene_are_times_of_the_journal() -> None:
    """What the tests write is what a journal's writer would."""
    assert Scene().records[0]["time"] == stamp(Scene().now)
