"""Keeps SDKs' loggers at INFO or above while a store is open: at DEBUG they print requests and answers."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_lock = threading.Lock()
_holders: Counter[str] = Counter()
_levels: dict[str, tuple[int, int]] = {}  # name -> the level before, and the one set here


def hush(names: Iterable[str]) -> tuple[str, ...]:
    """Clamp these loggers and those below them; return the names to give to `release`.

    Each call clamps anew: a program may have lowered a level while another store held the logger.
    """
    names = tuple(names)
    if not names:  # no SDK, no loggers: do not import logging for a store that has none
        return ()
    import logging

    held: list[str] = []
    with _lock:
        for name in names:
            below = [other for other in logging.root.manager.loggerDict if other.startswith(f"{name}.")]
            for one in (name, *(other for other in below if logging.getLogger(other).level)):
                held.append(one)
                _holders[one] += 1
                _clamp(one)
    return tuple(held)


def release(held: Iterable[str]) -> None:
    """Give back the level of each logger that nobody else holds, unless somebody set another meanwhile."""
    if not held:
        return
    import logging

    with _lock:
        for name in held:
            _holders[name] -= 1
            if not _holders[name]:
                before, ours = _levels.pop(name)
                logger = logging.getLogger(name)
                if logger.level == ours:
                    logger.setLevel(before)


@contextmanager
def hushed(names: Iterable[str]) -> Iterator[None]:
    """Clamp these loggers, and those below them, for as long as the block runs."""
    held = hush(names)
    try:
        yield
    finally:
        release(held)


def _clamp(name: str) -> None:
    import logging

    logger = logging.getLogger(name)
    if name in _levels and logger.level == _levels[name][1]:
        return
    # The effective level: INFO below a root at WARNING would show lines that were not shown before.
    ours = max(logger.getEffectiveLevel(), logging.INFO)
    _levels[name] = logger.level, ours
    logger.setLevel(ours)
