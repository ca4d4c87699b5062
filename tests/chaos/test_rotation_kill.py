"""Rotations under SIGKILL: at every point of every effect, and then again while another worker resumes."""

from __future__ import annotations

import os
import random
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.rotation.ledger import State
from tests.chaos.rotation_rig import GRACE, NAME, PAST_A_LEASE, ROTATION, Points, Rig
from tests.scale import NIGHTLY, scaled

pytestmark = pytest.mark.timeout(3600)
KINDS = [(slots, native) for slots in ("single", "two") for native in (True, False)]
IDS = [f"{slots}-{'native' if native else 'companion'}" for slots, native in KINDS]


class Killings:
    """Workers, one after another, each killed at a point or left alone."""

    def __init__(self, folder: Path, slots: str, native: bool):
        self.folder, self.slots, self.native = folder, slots, native
        self.ahead = timedelta()
        Rig.prepare(folder, slots, native)

    def worker(self, point: int = 0) -> bool:
        """Run one in a process of its own; whether it was killed."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                Rig(self.folder, self.slots, self.native, Points(point), self.ahead).work()
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL), f"the worker failed: {code}"
        self.ahead += GRACE + PAST_A_LEASE
        return code != 0

    def watch(self) -> None:
        """Nothing is wrong at this moment for a reader."""
        rig = Rig(self.folder, self.slots, self.native, ahead=self.ahead)
        assert rig.reader_is_served() or rig.may_be_refused()
        rig.close()

    def finish(self) -> None:
        """Left alone, the rotation comes to its end, and the next one begins and comes to its own."""
        while self.unfinished():
            self.worker()
            self.watch()
        rig = Rig(self.folder, self.slots, self.native, ahead=self.ahead)
        entry = rig.ledger.get(ROTATION)
        assert entry.state is State.DONE, entry
        assert rig.settled()
        assert rig.engine.start(NAME).state is State.STARTED
        rig.close()

    def unfinished(self) -> bool:
        rig = Rig(self.folder, self.slots, self.native, ahead=self.ahead)
        try:
            found = rig.ledger.find()
            return not found or found[0].state.open
        finally:
            rig.close()

    def new_credentials(self) -> int:
        """How many the target has got at most at one time, beside the first."""
        rig = Rig(self.folder, self.slots, self.native, ahead=self.ahead)
        rig.close()
        live, most = 0, 0
        for change in rig.target.changes()[1:]:
            live += {"issue": 1, "change": 0, "withdraw": 0 if change.id == "app" else -1}[change.effect]
            most = max(most, live)
        return most


def points_of(folder: Path, slots: str, native: bool) -> list[tuple[int, int]]:
    """The points of a whole rotation: of the worker that begins it, and of the one after its grace."""
    folder.mkdir()
    Rig.prepare(folder, slots, native)
    points = []
    for worker, ahead in enumerate((timedelta(), GRACE)):
        rig = Rig(folder, slots, native, ahead=ahead)
        rig.work()
        points += [(worker, point) for point in range(1, rig.points.passed + 1)]
        rig.close()
    return points


@pytest.mark.parametrize(("slots", "native"), KINDS, ids=IDS)
def test_a_worker_killed_at_any_point_leaves_what_another_finishes(
    tmp_path: Path, slots: str, native: bool
) -> None:
    """Killed before and after every effect: the same rotation ends DONE, exactly the current credential is
    live, at most one new one ever was, readers were served throughout, and the next rotation begins."""
    points = points_of(tmp_path / "counted", slots, native)
    assert len(points) >= 28
    for worker, point in points if NIGHTLY else random.sample(points, 1):
        folder = tmp_path / f"{worker}-{point}"
        folder.mkdir()
        killings = Killings(folder, slots, native)
        if worker:
            killings.worker()
        assert killings.worker(point), f"point {point} of worker {worker}"
        killings.watch()
        killings.finish()
        assert killings.new_credentials() <= 1, f"point {point} of worker {worker}"


@pytest.mark.parametrize(("slots", "native"), KINDS, ids=IDS)
def test_a_worker_killed_while_it_resumes_leaves_what_another_finishes(
    tmp_path: Path, slots: str, native: bool
) -> None:
    """Three in a row die, each at a point of its own, before one is left alone."""
    points = points_of(tmp_path / "counted", slots, native)
    chance = random.Random()
    for turn in range(scaled(40, f"rotations killed three times, {slots} {native}", 40)):
        folder = tmp_path / str(turn)
        folder.mkdir()
        killings = Killings(folder, slots, native)
        for _ in range(3):
            killings.worker(chance.choice(points)[1])
            killings.watch()
        killings.finish()
        assert killings.new_credentials() <= 1
