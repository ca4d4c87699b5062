"""Run: one call for each of many names, several at once, until all are done or nobody answers."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from strongroom.errors import SecretStoreError

from .budget import is_away
from .plan import Action, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.names import Name

T = TypeVar("T")
GIVES_UP_AFTER: Final = 8
"""So many names in a row met a store that is away: the others would wait for it one by one."""


@final
class Run(Generic[T]):
    """Calls, and keeps what became of each name.

    Args:
        parallel: how many at once.
        call: what is called with each name.
        progress: called after each with how many are done, and how many there are; no more names are tried
            once it returns False.

    Attributes:
        failed: why a name's call failed, by name.
        left: of names that were not tried any more.
    """

    def __init__(
        self, parallel: int, call: Callable[[Name], T], progress: Callable[[int, int], object] | None = None
    ):
        self._parallel, self._call, self._progress = max(1, parallel), call, progress
        self._lock = threading.Lock()
        self._away = self._count = 0
        self._stopped = False
        self.failed: dict[str, SecretStoreError] = {}
        self.left: list[Step] = []

    def each(self, names: Iterable[Name]) -> list[T]:
        """The results of the names whose calls succeeded, in their order."""
        wanted = list(names)
        return [found for found in self._results(wanted) if found is not None]

    def all(self, names: Iterable[Name]) -> dict[Name, T]:
        """The results by name.

        Raises:
            SecretStoreError: the first name's that failed: without it nothing can be said of the whole.
        """
        wanted = list(names)
        found = self._results(wanted)
        if self.failed:
            raise next(iter(self.failed.values()))
        return {name: result for name, result in zip(wanted, found, strict=True) if result is not None}

    def _results(self, names: list[Name]) -> list[T | None]:
        if len(names) <= 1 or self._parallel == 1:
            return [self._one(name, len(names)) for name in names]
        with ThreadPoolExecutor(self._parallel, "replication") as pool:
            waiting = [
                pool.submit(contextvars.copy_context().run, self._one, name, len(names)) for name in names
            ]
            return [future.result() for future in waiting]

    def _one(self, name: Name, total: int) -> T | None:
        if self._stopped or self._away >= GIVES_UP_AFTER:
            why = "it was told to stop" if self._stopped else "the store does not answer"
            with self._lock:
                self.left.append(Step(str(name), Action.REFUSED, f"not tried: {why}", tried=False))
            return None
        error = result = None
        try:
            result = self._call(name)
        except SecretStoreError as exc:
            error = exc.with_traceback(None)
        with self._lock:
            self._away = self._away + 1 if is_away(error) else 0
            self._count += 1
            if error is not None:
                self.failed[str(name)] = error
            if self._progress and self._progress(self._count, total) is False:
                self._stopped = True
        return result
