"""A tree that is being reencrypted, under SIGKILL: every file is whole at any time, and a repeat finishes."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.reencrypt import Outcome
from strongroom.envelope.tree import Report, Step, reencrypt_tree
from strongroom.errors import IntegrityError
from strongroom.localkey import LocalKey
from tests.canary import CANARY_BYTES
from tests.chaos.forked import Forked, Say
from tests.scale import scaled
from tests.unit.envelope_support import local_key

pytestmark = pytest.mark.timeout(600)

OLD, NEW = local_key(bytes(32), "old"), local_key(bytes(range(32)), "new")
CONTEXT = {"purpose": "backup"}
FRAME = 1 << 20
LENGTHS = (0, 100, FRAME, FRAME + 1)


def _value(number: int) -> bytes:
    return CANARY_BYTES + number.to_bytes(2, "big") + bytes(LENGTHS[number % len(LENGTHS)])


def _plant(folder: Path, count: int) -> dict[Path, bytes]:
    """Messages under the old key, in folders of three."""
    values = {folder / str(number // 3) / f"m{number}": _value(number) for number in range(count)}
    for number, (path, value) in enumerate(values.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encrypt(value, keys=[OLD], context=CONTEXT, signed=number % 5 == 4))
    return values


def _run(folder: Path, progress: Callable[[Step], None] | None = None) -> Report:
    return reencrypt_tree(folder, opens=[OLD, NEW], keys=[NEW], progress=progress)


def _opened(path: Path, key: LocalKey) -> bytes | None:
    try:
        return decrypt(path.read_bytes(), keys=[key], context=CONTEXT).value
    except IntegrityError:
        return None


def _check_whole(values: dict[Path, bytes]) -> int:
    """Every file holds its value under the old key or the new one; how many under the new."""
    new = [path for path, value in values.items() if _opened(path, NEW) == value]
    assert all(_opened(path, OLD) == values[path] for path in values.keys() - set(new))
    return len(new)


def _left_over(folder: Path, values: dict[Path, bytes]) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path not in values]


def test_killed_at_any_instant_every_file_is_whole_and_a_repeat_finishes(tmp_path: Path) -> None:
    """The repeat does exactly what the killed run had not done."""
    dice = random.Random(4)
    for number in range(scaled(100, "reencrypt_kills")):
        folder = tmp_path / str(number)
        values = _plant(folder, 6)
        said = _killed(folder, dice)
        done = _check_whole(values)
        assert said <= done
        report = _run(folder)
        assert report.complete
        assert (report.counts[Outcome.ALREADY], report.counts[Outcome.REENCRYPTED]) == (done, 6 - done)
        assert _check_whole(values) == 6


def _killed(folder: Path, dice: random.Random) -> int:
    """Start a run and end it at an instant that none of its steps determines; how many steps it had said."""

    def work(say: Say) -> None:
        _run(folder, lambda step: say(step.outcome.value))
        signal.pause()  # one that is done before is killed too

    child = Forked(work)
    for _ in range(wanted := dice.randrange(6)):
        child.hear()
    heard = wanted + (child.hear(dice.random() / 100) is not None)
    child.kill()
    heard += sum(1 for _ in child.rest())
    assert child.wait() == -signal.SIGKILL
    return heard


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["fchown", "fchmod", "fsync", "link", "replace", "lstat"])
def test_killed_around_each_step_of_a_replacement(tmp_path: Path, call: str, after: bool) -> None:
    """At most the instant between link and rename leaves a file beside it, whose name says what it is."""
    values = _plant(tmp_path, 3)

    def work(say: Say) -> None:
        _kill_at(call, after)
        _run(tmp_path)

    child = Forked(work)
    assert child.wait() == -signal.SIGKILL
    done = _check_whole(values)
    beside = _left_over(tmp_path, values)
    assert len(beside) <= 1
    assert all(name.startswith(".strongroom-") for name in beside)
    report = _run(tmp_path)
    assert report.complete
    assert report.counts[Outcome.SKIPPED] == len(beside)
    assert report.counts[Outcome.REENCRYPTED] == 3 - done
    assert _check_whole(values) == 3


def _kill_at(name: str, after: bool) -> None:
    """This process dies at its second call of ``os.<name>``."""
    real, calls = getattr(os, name), list[int]()

    def dying(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 2 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **more)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, name, dying)


def test_two_runs_at_once_leave_every_file_whole(tmp_path: Path) -> None:
    """One of them may find that the other was faster, and says so; together they finish."""
    values = _plant(tmp_path, 6)

    def work(say: Say) -> None:
        report = _run(tmp_path)
        say({outcome.value: count for outcome, count in report.counts.items()})

    children = [Forked(work), Forked(work)]
    said = [child.hear() for child in children]
    assert [child.wait() for child in children] == [0, 0]
    assert sum(counts["reencrypted"] for counts in said) >= 6
    assert _check_whole(values) == 6
    assert _left_over(tmp_path, values) == []
    assert _run(tmp_path).counts[Outcome.ALREADY] == 6
