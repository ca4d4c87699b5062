"""Frames that are written while the next are sealed: in order, whole, and never after an error."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from strongroom import decrypt_file, encrypt_file
from strongroom.envelope.message import Buffer
from strongroom.envelope.outlet import Outlet, OutletBehind
from strongroom.envelope.sealing import FRAME_LENGTH
from strongroom.errors import UnavailableError
from tests.unit.envelope_support import local_key

CONTEXT = {"tenant": "t1"}


class Disk:
    """Takes what is written; that with the number `failing` fails once; all wait until they may go on."""

    def __init__(self, failing: int | None = None):
        self.written: list[int] = []
        self.threads: set[int] = set()
        self.go_on = threading.Event()
        self.go_on.set()
        self._failing = failing

    def write(self, data: Buffer) -> None:
        assert self.go_on.wait(30)
        if len(self.written) == self._failing:
            self._failing = None
            raise UnavailableError("the disk is full")
        self.threads.add(threading.get_ident())
        self.written.append(bytes(data)[0])


def send(outlet: Outlet, *numbers: int) -> None:
    for number in numbers:
        frame = outlet.buffer()[:1000]
        frame[:] = bytes([number]) * 1000
        outlet.send(frame)


@pytest.mark.parametrize("kind", [Outlet, OutletBehind])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 50])
def test_frames_arrive_in_order(kind: type[Outlet], count: int) -> None:
    """A buffer that were used again before it was written would bring a later number early."""
    disk = Disk()
    with kind(disk.write) as outlet:
        send(outlet, *range(count))
    assert disk.written == list(range(count))


def test_one_frame_needs_no_thread_and_more_need_one() -> None:
    """Most files are short."""
    short, long = Disk(), Disk()
    with OutletBehind(short.write) as outlet:
        send(outlet, 1)
    with OutletBehind(long.write) as outlet:
        send(outlet, *range(9))
    assert short.threads == {threading.get_ident()}
    assert len(long.threads) == 2


def test_sealing_goes_on_while_a_write_waits() -> None:
    """Two frames ahead, and no further: the memory is bounded."""
    disk, sent = Disk(), []

    def seal() -> None:
        with OutletBehind(disk.write) as outlet:
            for number in range(6):
                send(outlet, number)
                sent.append(number)
                if number == 0:
                    disk.go_on.clear()
                if number == 2:
                    ahead.set()

    ahead = threading.Event()
    thread = threading.Thread(target=seal)
    thread.start()
    assert ahead.wait(30)
    assert (disk.written, sent) == ([0], [0, 1, 2])
    disk.go_on.set()
    thread.join(30)
    assert disk.written == list(range(6))


@pytest.mark.parametrize("failing", range(6))
def test_a_write_that_fails_is_the_callers_error_and_the_last_write(failing: int) -> None:
    """What was sent after it is dropped, even if the disk has room again."""
    disk = Disk(failing)
    with pytest.raises(UnavailableError), OutletBehind(disk.write) as outlet:
        send(outlet, *range(6))
    assert disk.written == list(range(failing))
    assert not [thread.name for thread in threading.enumerate() if "outlet" in thread.name]


def test_after_an_error_in_the_block_no_write_is_under_way() -> None:
    """The sink is closed next: a write that came later would go to whatever has its descriptor then."""
    disk = Disk()

    def interrupted() -> None:
        with OutletBehind(disk.write) as outlet:
            send(outlet, *range(5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert disk.written == list(range(len(disk.written)))
    assert not [thread.name for thread in threading.enumerate() if "outlet" in thread.name]


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("signed", [False, True])
def test_files_of_many_frames_go_round(tmp_path: Path, frames: int, *, signed: bool) -> None:
    """With as many frames as buffers, and more; a byte beside a frame's edge."""
    source, sealed, opened = tmp_path / "source", tmp_path / "sealed", tmp_path / "opened"
    for extra in (-1, 0, 1):
        source.write_bytes(random.Random(frames).randbytes(max(0, frames * FRAME_LENGTH + extra)))
        encrypt_file(source, sealed, keys=[local_key()], context=CONTEXT, signed=signed, overwrite=True)
        decrypt_file(sealed, opened, keys=[local_key()], context=CONTEXT, overwrite=True)
        assert opened.read_bytes() == source.read_bytes()
