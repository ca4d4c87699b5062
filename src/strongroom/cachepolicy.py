"""How long a store may serve what it has read, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InvalidRequestError

_BELOW = "/**"


@dataclass(frozen=True)
class Bounds:
    """How long one value may be served.

    Attributes:
        fresh: seconds without asking the provider.
        stale: seconds beyond ``fresh`` while the provider is unavailable.

    Raises:
        InvalidRequestError: negative, endless, or not a number.
    """

    fresh: float
    stale: float

    def __post_init__(self) -> None:
        if not (_is_duration(self.fresh) and _is_duration(self.stale)):
            raise InvalidRequestError("cache bounds are seconds, zero or more")


@dataclass(frozen=True)
class CachePolicy:
    """How long a value may be served, and how much is kept.

    Attributes:
        fresh: seconds a value is served without asking; from 80 % of it on it is refreshed behind the reader.
        stale: seconds beyond ``fresh`` in which an unavailable provider's last value is served, marked.
        absent: seconds a "not found" is remembered; a denial never is. 0 asks each time.
        size: the most names kept; the least recently confirmed goes first.
        poll: seconds between two looks at the names that somebody watches.
        names: bounds of their own for a name, or for all below a prefix (``exchange/**``); the first that
            matches counts.
        spread: seconds over which the reads after a hint are spread: all instances of a fleet get it at once.

    Raises:
        InvalidRequestError: a bound is negative or not a number, the size or ``poll`` is nothing, or a
            pattern is neither a name nor a prefix.
    """

    fresh: float = 300.0
    stale: float = 3300.0
    absent: float = 1.0
    size: int = 10_000
    poll: float = 30.0
    names: tuple[tuple[str, Bounds], ...] = ()
    spread: float = 1.0

    def __post_init__(self) -> None:
        Bounds(self.fresh, self.stale)
        if not _is_duration(self.absent):
            raise InvalidRequestError("a cache remembers what is absent for zero seconds or more")
        if not (self.size >= 1 and _is_duration(self.size)):
            raise InvalidRequestError("a cache keeps one name or more")
        if not (_is_duration(self.poll) and self.poll > 0):
            raise InvalidRequestError("watched names are looked at every so many seconds, more than none")
        if not _is_duration(self.spread):
            raise InvalidRequestError("reads after a hint are spread over zero seconds or more")
        for pattern, _ in self.names:
            if not pattern or "*" in pattern.removesuffix(_BELOW) or pattern == _BELOW:
                problem = f"{pattern[:200]!r} is neither a name nor a prefix"
                raise InvalidRequestError(problem, hint="write db/password, or exchange/** for all below")

    def bounds(self, name: str) -> Bounds:
        """What holds for a name."""
        own = (bounds for pattern, bounds in self.names if _matches(pattern, name))
        return next(own, None) or Bounds(self.fresh, self.stale)


def _is_duration(seconds: float) -> bool:
    return 0 <= seconds < float("inf")


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-2]) if pattern.endswith(_BELOW) else name == pattern
