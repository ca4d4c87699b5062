"""An apply of `strongroom_rotation` that is killed, wherever that is, rotates once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from strongroom.memory import MemoryBackend
from strongroom.rotation.ledger import State
from strongroom.rotation.sqlledger import SQLLedger
from strongroom_terraform.rotating import PATIENCE
from strongroom_terraform.schema import Values
from terraform.tests.rotation_rig import SAID, Rig
from tests.rotation_target import Target
from tests.scale import NIGHTLY
from tests.unit.rotation_cli_support import NAME


class DiedError(BaseException):
    """The process was killed here."""


class Deaths:
    """Kills at the n-th effect of an apply, in the ledger, the store or the target, before or after it."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.left = -1
        for owner, names in (
            (SQLLedger, ("begin", "claim", "renew", "record", "release", "move")),
            (MemoryBackend, ("put_pending", "promote_pending", "discard_pending", "retire")),
            (Target, ("_effect",)),
        ):
            for name in names:
                patch.setattr(owner, name, self._mortal(getattr(owner, name)))

    def _mortal(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(effect)
        def mortal(*args: Any, **facts: Any) -> Any:
            self._count()
            done = effect(*args, **facts)
            self._count()
            return done

        return mortal

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise DiedError


def _killed_everywhere(rig: Rig, deaths: Deaths, said: Values) -> Iterator[int]:
    """Apply, killed at its first effect, then at its second, and so on until one comes through."""
    for at in range(1, 1000):
        deaths.left, rotations = at, len(rig.ledger())
        rig.again()
        try:
            rig.life.apply(said)
        except DiedError:
            yield rotations
        else:
            return


@pytest.mark.parametrize("before", [None, "zeroth"], ids=["create", "update"])
def test_an_apply_that_is_killed_anywhere_rotates_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Killed at each effect in turn, each time in a new process that goes on where the last one died."""
    rig = Rig(tmp_path)
    if before:
        rig.life.apply({"name": NAME, "trigger": before})
        rig.later()
    done, deaths = rig.changes(), Deaths(monkeypatch)
    died = sum(1 for _ in _killed_everywhere(rig, deaths, SAID))
    monkeypatch.undo()
    assert died > 10
    assert (rig.changes(), len(rig.ledger())) == (done + 1, done + 1)
    assert (rig.place.works(), rig.ledger()[0].state) == (True, State.DONE)
    assert rig.life.is_empty(SAID)


@pytest.mark.parametrize("at", range(1, 60, 1 if NIGHTLY else 9))
def test_an_apply_killed_once_anywhere_rotates_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """And the second apply is the last; it waits for the lease of the dead, not for a person."""
    rig, deaths = Rig(tmp_path), Deaths(monkeypatch)
    deaths.left = at
    try:
        rig.life.apply(SAID)
    except DiedError:
        rig.again()
        rig.life.apply(SAID)
    assert (rig.changes(), len(rig.ledger()), rig.place.works()) == (1, 1, True)
    assert sum(rig.clock.slept) <= PATIENCE.total_seconds()
