"""For tests of files: something happens at the call to the system with a given number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from strongroom.envelope import atomic

ATTEMPT = atomic.attempt
_WATCHED = ("open", "close", "fchmod", "fsync", "link", "replace", "unlink", "stat", "fstat")
_METHODS = ("__init__", "readinto", "write")  # of io.FileIO


class Calls:
    """Stands for `os` in the module, and keeps the names of the calls; at one of them it acts."""

    def __init__(self, position: int, act: Callable[[], None]):
        self.names: list[str] = []
        self.position, self.act = position, act

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return partial(self._call, name, real) if name in _WATCHED else real

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.names.append(name)
        if len(self.names) == self.position:
            if name == "close":  # where it reports an error, it has closed all the same
                real(*arguments)
            self.act()
        return real(*arguments, **options)

    def attempt(self, path: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The product's own, over watched methods."""
        name = getattr(call, "__name__", "")
        if name in _METHODS:
            return ATTEMPT(path, self._call, name, call, *arguments, **options)
        return ATTEMPT(path, call, *arguments, **options)


@contextmanager
def acting(position: int, act: Callable[[], None]) -> Iterator[Calls]:
    """In this block, `act` is called before the call to the system with that number; 0 is none."""
    calls = Calls(position, act)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(atomic, "os", calls)
        patched.setattr(atomic, "attempt", calls.attempt)
        yield calls


def failing(number: int) -> Callable[[], None]:
    """An act: the call fails so."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail
