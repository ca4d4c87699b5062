"""How many time series metrics may become: a budget that no label set goes beyond."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Final, final

from .errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .telemetry import Labels

OTHER: Final = "other"
"""Every label of what found no room."""


@final
class Budget:
    """Gives label sets room as they come; those of a metric that find none share one, free from the start.

    A metrics' store keeps each label set, and each bucket of a histogram, as a series of its own, and is paid
    or sized by them. What was given room keeps it: the first to come are what a deployment uses every day.
    Each metric may have room of its own, so that a storm of one takes nothing from the others.

    Args:
        series: how many there may be.
    """

    def __init__(self, series: int):
        self._left = series
        self._known: set[tuple[str, Labels]] = set()
        self._kept: dict[str, int] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """With a lock of our own."""
        self._lock = threading.Lock()

    def reserve(self, metric: str, labels: Iterable[str], cost: int = 1, keep: int = 0) -> None:
        """Keep room for what of a metric finds none.

        Args:
            metric: its name.
            labels: its labels' names.
            cost: series of one label set: of a histogram its buckets, its sum and its count.
            keep: series that are this metric's alone, besides.

        Raises:
            InvalidRequestError: there is not even room for that.
        """
        self._left -= cost + keep
        self._kept[metric] = keep
        self._known.add((metric, _others(labels)))
        if self._left < 0:
            raise InvalidRequestError("too few series for every metric to have one", hint="allow 50 or more")

    def admit(self, metric: str, labels: Labels, cost: int = 1) -> Labels:
        """The labels; or, where there is no room for them, ``other`` for each."""
        if (metric, labels) in self._known:
            return labels
        with self._lock:
            if (metric, labels) not in self._known:
                if not self._pay(metric, cost):
                    return _others(name for name, _ in labels)
                self._known.add((metric, labels))
        return labels

    def _pay(self, metric: str, cost: int) -> bool:
        """Whether there is room; what is the metric's own goes first."""
        own = min(cost, self._kept.get(metric, 0))
        if cost - own > self._left:
            return False
        self._kept[metric] = self._kept.get(metric, 0) - own
        self._left -= cost - own
        return True


@final
class ShownNames:
    """Which secrets' names may be told: those that patterns allow, and of them no more than so many.

    Args:
        allowed: whether a name may be told.
        most: how many different ones; later ones are ``other``.
    """

    def __init__(self, allowed: Callable[[str], bool], most: int):
        self._allowed, self._most = allowed, most
        self._shown: dict[str, int] = {}
        self._numbers = itertools.count()

    def shown(self, name: str | None) -> str | None:
        """The name, ``other``, or None if it is not to be told at all."""
        if name is None or not self._allowed(name):
            return None
        number = self._shown.get(name)
        if number is None:
            if len(self._shown) >= self._most:
                return OTHER
            # Each gets a number of its own: of threads that came here at once not all are within the bound.
            number = self._shown.setdefault(name, next(self._numbers))
        return name if number < self._most else OTHER


def _others(labels: Iterable[str]) -> Labels:
    return tuple((name, OTHER) for name in labels)
