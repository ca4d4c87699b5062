"""Files under SIGKILL at any instant: the target is whole, old or new, or absent; what is left is known."""

from __future__ import annotations

import os
import random
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from strongroom import decrypt, decrypt_file, encrypt_file
from strongroom.envelope.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from strongroom.envelope.sealing import FRAME_LENGTH
from tests.canary import CANARY_BYTES, holds_canary, plaintext
from tests.chaos.forked import Forked, Say
from tests.scale import scaled, stride
from tests.unit.envelope_support import local_key
from tests.unit.file_faults import acting

pytestmark = pytest.mark.timeout(600)

CONTEXT = {"tenant": "t1"}
VALUES = [CANARY_BYTES + bytes([number]) * (2 * FRAME_LENGTH + number) for number in range(2)]
"""Two plaintexts of three frames."""

nameless = pytest.mark.parametrize("nameless", [True, False], ids=["files without a name", "named files"])


class Ground:
    """A folder with two plaintexts and their messages, and one for targets that are checked for plaintext."""

    def __init__(self, folder: Path):
        self.plain = plaintext(folder / "plain", "what is encrypted, and what was decrypted")
        self.sealed = folder / "sealed"
        for path in (self.plain, self.sealed):
            path.mkdir()
        for number, value in enumerate(VALUES):
            self.source(number).write_bytes(value)
            seal(self.source(number), self.message(number), lambda _: None)

    def source(self, number: int) -> Path:
        return self.plain / f"source-{number}"

    def message(self, number: int) -> Path:
        return self.sealed / f"message-{number}"


def seal(source: Path, target: Path, say: Say) -> None:
    encrypt_file(source, target, keys=[local_key()], context=CONTEXT, overwrite=True, progress=say)


def unseal(source: Path, target: Path, say: Say) -> None:
    decrypt_file(source, target, keys=[local_key()], context=CONTEXT, overwrite=True, progress=say)


def strays(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def kill_at_random(work: Callable[[Say], None], dice: random.Random) -> None:
    """Start the work, and end it at an instant that none of its steps determines."""

    def for_ever(say: Say) -> None:
        while True:
            work(say)

    child = Forked(for_ever)
    for _ in range(dice.randrange(5)):
        child.hear()
    child.hear(dice.random() / 200)
    child.kill()
    assert child.wait() == -9


def without_nameless_files(monkeypatch: pytest.MonkeyPatch, nameless: bool) -> None:
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")


def check_strays(folder: Path) -> int:
    found = strays(folder)
    for path in found:
        assert path.name.startswith(TEMPORARY_PREFIX)
        assert path.name.endswith(TEMPORARY_SUFFIX)
        path.unlink()
    return len(found)


@nameless
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "over an old file"])
def test_killed_at_each_call_to_the_system_the_target_is_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool, overwrite: bool
) -> None:
    """Every one of them (by day every third), in order; not by chance."""
    without_nameless_files(monkeypatch, nameless)
    ground, position, killed = Ground(tmp_path), 0, True
    step = stride(3, "calls at which a decryption is killed")
    target, old = ground.plain / "target", VALUES[1] if overwrite else None
    while killed:
        position += step
        target.unlink(missing_ok=True)
        if old:
            target.write_bytes(old)
        child = Forked(partial(unseal_until, position, ground.message(0), target, overwrite))
        killed = child.wait() == -9
        assert (target.read_bytes() if target.exists() else None) in (old, VALUES[0])
        left = check_strays(ground.plain)
        assert left == 0 or overwrite or not nameless
    assert position > 10
    assert target.read_bytes() == VALUES[0]


def unseal_until(position: int, message: Path, target: Path, overwrite: bool, say: Say) -> None:
    with acting(position, partial(os.kill, os.getpid(), signal.SIGKILL)):
        decrypt_file(message, target, keys=[local_key()], context=CONTEXT, overwrite=overwrite)


@nameless
def test_a_killed_encryption_leaves_a_whole_message_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    """First there is no target, then an old one: at every instant it is absent, or opens to one of the two.

    What is left beside it holds ciphertext only, so that nobody has to hurry to remove it.
    """
    without_nameless_files(monkeypatch, nameless)
    ground, dice = Ground(tmp_path), random.Random(1)
    target = ground.sealed / "target"
    for number in range(scaled(100, f"killed encryptions, nameless {nameless}", 20)):
        if dice.random() < 0.3:
            target.unlink(missing_ok=True)
        existed = target.exists()
        kill_at_random(partial(seal, ground.source(number % 2), target), dice)
        assert target.exists() or not existed
        if target.exists():
            found = decrypt(target.read_bytes(), keys=[local_key()], context=CONTEXT).value
            assert found in VALUES
        for path in strays(ground.sealed):
            assert not holds_canary(path.read_bytes())
        check_strays(ground.sealed)


@nameless
def test_a_killed_decryption_leaves_the_whole_plaintext_or_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    """What is left beside it, where it has a name, nobody else may read."""
    without_nameless_files(monkeypatch, nameless)
    ground, dice = Ground(tmp_path), random.Random(2)
    target = ground.plain / "target"
    for number in range(scaled(100, f"killed decryptions, nameless {nameless}", 20)):
        if dice.random() < 0.3:
            target.unlink(missing_ok=True)
        existed = target.exists()
        kill_at_random(partial(unseal, ground.message(number % 2), target), dice)
        assert target.exists() or not existed
        assert not target.exists() or target.read_bytes() in VALUES
        for path in strays(ground.plain):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        check_strays(ground.plain)


def test_a_killed_decryption_to_a_new_file_leaves_nothing_at_all(tmp_path: Path) -> None:
    """Where files without a name exist, plaintext not verified to its end is gone with the process."""
    ground, dice = Ground(tmp_path), random.Random(3)
    target = ground.plain / "target"
    before = sorted(ground.plain.iterdir())

    def work(say: Say) -> None:
        decrypt_file(ground.message(0), target, keys=[local_key()], context=CONTEXT, progress=say)
        target.unlink()

    for _ in range(scaled(200, share=20)):
        kill_at_random(work, dice)
        target.unlink(missing_ok=True)
        assert sorted(ground.plain.iterdir()) == before


def test_what_a_kill_leaves_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run succeeds beside it, and it never passes for the target of anything."""
    without_nameless_files(monkeypatch, nameless=False)
    ground, dice = Ground(tmp_path), random.Random(4)
    target, left = ground.sealed / "target", 0
    for _ in range(scaled(100)):
        kill_at_random(partial(seal, ground.source(0), target), dice)
        left = len(strays(ground.sealed))
        seal(ground.source(1), target, lambda _: None)
        assert decrypt(target.read_bytes(), keys=[local_key()], context=CONTEXT).value == VALUES[1]
        assert len(strays(ground.sealed)) == left
    assert left
    assert check_strays(ground.sealed) == left
