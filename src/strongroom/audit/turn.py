"""Turns between processes: an advisory lock on a file, taken for one piece of work and given back."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from strongroom.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_held: set[int] = set()


@contextlib.contextmanager
def turn(path: Path) -> Iterator[bool]:
    """Whether it is our turn, until the block ends; it is nobody's who was killed or whose file was replaced.

    Raises:
        UnavailableError: the file cannot be made or locked.
    """
    descriptor = _locked(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _held.discard(descriptor)
            # Said, not left to close: a child that was forked meanwhile has the same lock until it runs.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _held.add(descriptor)
        if _is_ours(path, descriptor):
            return descriptor
        _held.discard(descriptor)
        os.close(descriptor)
    except OSError as exc:
        failure = UnavailableError(f"{path} cannot be locked", hint=os.strerror(exc.errno or 0))
    else:
        return None
    raise failure


def _is_ours(path: Path, descriptor: int) -> bool:
    """The lock was free, and the file that has it is still the one that others find there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.stat(path, follow_symlinks=False)
    except (BlockingIOError, FileNotFoundError):
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _after_fork() -> None:
    """Close without unlocking: the lock is the parent's, and must not outlive it in us."""
    while _held:
        with contextlib.suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_after_fork)
