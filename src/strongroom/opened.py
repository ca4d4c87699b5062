"""The stores that this process has open, which a forked child has to hear of."""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from typing import Any, Protocol


class Opened(Protocol):
    """A store, as far as it matters here: `Reads` and what imports it stand above this module."""

    _reads: Any

    def _after_fork(self) -> None:
        """Drop what is the parent's, and take new locks."""


stores: weakref.WeakSet[Opened] = weakref.WeakSet()
"""Those that something still refers to."""


def _after_fork() -> None:
    # Parent and child would write on the same sockets, and a lock may be held by a thread that is gone.
    with ExitStack() as every:  # one backend that fails must not leave the other stores' locks held
        for store in list(stores):
            every.callback(store._after_fork)  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
