"""A worker stopped by SIGSTOP past its lease, while another goes on; then it wakes."""

from __future__ import annotations

import os
import random
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.rotation.ledger import Entry, State
from tests.chaos.rotation_rig import GRACE, PAST_A_LEASE, ROTATION, Points, Rig
from tests.chaos.test_rotation_kill import IDS, KINDS, points_of
from tests.scale import NIGHTLY

pytestmark = pytest.mark.timeout(3600)


def stopped_at(folder: Path, slots: str, native: bool, point: int) -> int:
    """A worker in a process of its own that has stopped itself at a point; its pid."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            points = Points(point, lambda: os.kill(os.getpid(), signal.SIGSTOP))
            Rig(folder, slots, native, points).work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return pid


def woken(pid: int) -> int:
    """Let it go on to its end; its exit code."""
    os.kill(pid, signal.SIGCONT)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def proved(entry: Entry) -> tuple[object, ...]:
    """What a record says; one that had not claimed it yet may still do so, and finds nothing to do."""
    return entry.state, entry.version, entry.base, entry.due, entry.facts, entry.attempts, entry.promoted


@pytest.mark.parametrize(("slots", "native"), KINDS, ids=IDS)
def test_a_worker_that_wakes_after_its_lease_changes_nothing_that_lasts(
    tmp_path: Path, slots: str, native: bool
) -> None:
    """It finishes the effect that it was at, which ends the same; it records nothing, and begins nothing: a
    credential that it makes so it takes back itself."""
    first = [point for worker, point in points_of(tmp_path / "counted", slots, native) if not worker]
    for point in first if NIGHTLY else random.sample(first, 1):
        folder = tmp_path / str(point)
        folder.mkdir()
        Rig.prepare(folder, slots, native)
        pid = stopped_at(folder, slots, native, point)
        rig = Rig(folder, slots, native, ahead=PAST_A_LEASE)
        entry = rig.work()
        assert entry.state in (State.GRACE, State.DONE), (point, entry)
        live, current = rig.target.live(), rig.store.get("db/password")
        before = len(rig.target.changes())
        assert woken(pid) == 0
        assert proved(rig.ledger.get(ROTATION)) == proved(entry), point
        assert rig.target.live() == live, point
        assert rig.store.get("db/password").version == current.version, point
        late = rig.target.changes()[before:]
        assert [change.effect for change in late] in ([], ["issue", "withdraw"]), point
        rig.close()
        end = Rig(folder, slots, native, ahead=PAST_A_LEASE + GRACE + timedelta(minutes=1))
        assert end.work().state is State.DONE
        assert end.settled(), point
        end.close()
