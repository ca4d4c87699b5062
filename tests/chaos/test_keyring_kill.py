"""Keyrings under SIGKILL at every step and at any instant, rotated by two processes, and across forks."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from strongroom.envelope.keyring import FilePlace, Keyring, KeyringPlace, StorePlace
from strongroom.errors import SecretConflictError, SecretNotFoundError
from strongroom.keys import KeyWrapper
from strongroom.localkey import FIRST_BLOCK, LocalKey
from tests.chaos.forked import Forked, Say, forked
from tests.conformance.support import Counter
from tests.scale import scaled, stride
from tests.unit.keyring_support import NAME, opens, round_trips, sealed
from tests.unit.local_support import local

pytestmark = pytest.mark.timeout(600)

STEPS = ("open", "close", "write", "fsync", "fchmod", "link", "replace", "unlink")
Change = Callable[[KeyringPlace], object]


def _roots(*names: str) -> list[KeyWrapper]:
    return [
        LocalKey(name.encode().ljust(32, b"."), name=name, counter=Counter()) for name in names or ("one",)
    ]


def _file(folder: Path) -> KeyringPlace:
    return FilePlace(folder / "main.keyring")


def _store(folder: Path) -> KeyringPlace:
    return StorePlace(
        local(folder, None if (folder / "data" / "a.db").exists() else "keyset", timeout=60), NAME
    )


def _create(place: KeyringPlace) -> object:
    return Keyring.create(place, _roots(), name=NAME)


def _rotate(place: KeyringPlace) -> object:
    return Keyring.open(place, _roots(), name=NAME).rotate()


def _rewrap(place: KeyringPlace) -> object:
    return Keyring.open(place, _roots("one", "two"), name=NAME).rewrap()


def _wrap(place: KeyringPlace) -> object:
    return sealed(keys=[Keyring.open(place, _roots(), name=NAME)])


def _killed_before(step: int, change: Change, folder: Path, say: Say) -> None:
    """Run `change`, and die before the call to the system with this number."""
    left = step

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return original(*args, **kwargs)

        return call

    place = _file(folder)
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    change(place)


@pytest.mark.parametrize("change", [_create, _rotate, _rewrap, _wrap])
def test_a_change_that_is_killed_at_any_step_happened_or_did_not(tmp_path: Path, change: Change) -> None:
    """Before each call to the system in turn (by day every third): a whole keyring whose primary has its
    counter, or the one that was; what it wrapped before still opens, and the change can be repeated."""
    step, code = 0, -signal.SIGKILL
    far = stride(3, "calls at which a change of a keyring is killed")
    while code:
        folder = tmp_path / str(step)
        folder.mkdir()
        before = None if change is _create else Keyring.create(_file(folder), _roots(), name=NAME)
        message = sealed(keys=[before]) if before else b""
        child = Forked(partial(_killed_before, step, change, folder))
        code = child.wait()
        assert code in (0, -signal.SIGKILL)
        _check(_file(folder), message)
        change_again = _rotate if change is _create else change
        change_again(_file(folder))
        _check(_file(folder), message)
        assert [file for file in folder.iterdir() if file.name.startswith(".")] == []
        step += far
    assert step > 5


def _check(place: KeyringPlace, message: bytes) -> None:
    """There is a keyring that wraps, or none and it can be made; and no number is given twice."""
    try:
        keyring = Keyring.open(place, _roots(), name=NAME)
    except SecretNotFoundError:
        assert not message
        keyring = Keyring.create(place, _roots(), name=NAME)
    assert round_trips(keyring)
    assert not message or opens(keyring, message)


def _turn(folder: Path, make: Callable[[Path], KeyringPlace], say: Say) -> None:
    """Rotate and rewrap for ever, and say each version with a message under it once it is acknowledged."""
    keyring = Keyring.open(make(folder), _roots(), name=NAME)
    while True:
        version = keyring.rotate()
        say([version, sealed(keys=[keyring]).hex()])
        keyring.rewrap()


@pytest.mark.parametrize("make", [_file, _store])
def test_a_killed_writer_loses_no_acknowledged_version(
    tmp_path: Path, make: Callable[[Path], KeyringPlace]
) -> None:
    """Two processes rotate and rewrap one keyring and are killed at any instant: what they said is there."""
    place, dice = make(tmp_path), random.Random(4)
    Keyring.create(place, _roots(), name=NAME)
    place.close()
    for _ in range(scaled(100, f"kills of{make.__name__}")):
        children = [Forked(partial(_turn, tmp_path, make)) for _ in range(2)]
        said = [children[0].hear()]  # SQLite's waiting is not fair, so that the other may need seconds
        children[0].hear(dice.random() / 50)  # an instant that no step of the writer determines
        for child in children:
            child.kill()
        said += [one for child in children for one in child.rest()]
        assert [child.wait() for child in children] == [-signal.SIGKILL] * 2
        _check_said(make(tmp_path), said)


def _check_said(place: KeyringPlace, said: list[list[str]]) -> None:
    keyring = Keyring.open(place, _roots(), name=NAME)
    assert {version for version, _ in said} <= {version.name for version in keyring.versions}
    assert all(opens(keyring, bytes.fromhex(message)) for _, message in said)
    assert round_trips(keyring)
    place.close()


@pytest.mark.parametrize("make", [_file, _store])
def test_two_processes_rotate_at_once_and_lose_nothing(
    tmp_path: Path, make: Callable[[Path], KeyringPlace]
) -> None:
    """Each knows every version of the other's afterwards, and opens its messages."""
    place = make(tmp_path)
    Keyring.create(place, _roots(), name=NAME)
    place.close()
    rounds = scaled(50)

    def rotate(say: Say) -> None:
        keyring = Keyring.open(make(tmp_path), _roots(), name=NAME)
        for _ in range(rounds):
            say([keyring.rotate(), sealed(keys=[keyring]).hex()])

    with forked(rotate, rotate) as children:
        said = [one for child in children for one in child.rest()]
    assert len(said) == 2 * rounds
    _check_said(make(tmp_path), said)


def test_two_processes_create_one_keyring(tmp_path: Path) -> None:
    """One of them; the other is told, and opens it."""

    def create(place: KeyringPlace, say: Say) -> None:
        try:
            say(Keyring.create(place, _roots(), name=NAME).key_id)
        except SecretConflictError:
            say("conflict")

    for number in range(scaled(50)):
        place = FilePlace(tmp_path / str(number))
        with forked(partial(create, place), partial(create, place)) as children:
            said = sorted(child.hear() for child in children)
        assert said == ["conflict", Keyring.open(place, _roots(), name=NAME).key_id]


def test_processes_share_no_number_of_a_version(tmp_path: Path) -> None:
    """Parent and forked children wrap under one keyring: each has a block of its own."""
    keyring = Keyring.create(_file(tmp_path), _roots(), name=NAME)
    assert round_trips(keyring)

    def wrap(say: Say) -> None:
        say(round_trips(keyring))

    with forked(*[wrap] * 4) as children:
        assert [child.hear() for child in children] == [True] * 4
    assert round_trips(keyring)
    [counter] = tmp_path.glob("*.wraps")
    assert counter.stat().st_size == 5
    version = counter.name.split(".")[-2]
    assert FilePlace(tmp_path / "main.keyring").counter(version).reserve(1) == 5 * FIRST_BLOCK


def test_a_child_forked_while_the_keyring_is_read_goes_on(tmp_path: Path) -> None:
    """The lock that the parent's thread held is nobody's in the child."""
    keyring = Keyring.create(_file(tmp_path), _roots(), name=NAME)
    with keyring._lock, forked(lambda say: say(keyring.rotate())) as (child,):
        version = child.hear(30)
    assert keyring.rotate() != version
    assert version in {found.name for found in keyring.versions}
