"""A circuit breaker: a member that failed several times in a row is not asked for a while.

Our own, because the libraries hold a lock during the call, which puts all reads of a member in one queue, or
hold none at all, and none takes a clock (docs/decisions/0021).
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, final

from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.backend import Clock

T = TypeVar("T")


@dataclass(frozen=True)
class BreakerPolicy:
    """When a member is passed over, and for how long.

    Attributes:
        failures: so many in a row open the breaker; only ``UnavailableError`` is one.
        pause: seconds until one read tries the member again.

    Raises:
        InvalidRequestError: no failure at all, or no time.
    """

    failures: int = 5
    pause: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1 or not 0 < self.pause < float("inf"):
            raise InvalidRequestError("a breaker takes one failure or more, and a pause of more than nothing")


class WithheldError(UnavailableError):
    """A member that is there does not hand one secret out; others may, and it is asked for all others."""


@final
class Breaker:
    """One member's. Calls run side by side; while it is open there are none, then one that tries.

    Args:
        alias: whose it is, for errors and the log.
        policy: when it opens, and for how long.
        clock: what the pause is measured on.
    """

    def __init__(self, alias: str, policy: BreakerPolicy, clock: Clock):
        self._alias, self._policy, self._clock = alias, policy, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until: float | None = None  # closed
        self._trying = False
        self._round = 0

    def call(self, ask: Callable[[], T]) -> T:
        """Ask, unless the breaker is open.

        Raises:
            UnavailableError: it is open, at once; or the member's own.
            SecretStoreError: the member's own, which shows that it is there.
        """
        number = self._admitted()
        answered: bool | None = None
        try:
            answer = ask()
            answered = True
            return answer
        except SecretStoreError as error:
            answered = isinstance(error, WithheldError) or not isinstance(error, UnavailableError)
            raise
        finally:  # interrupted: says nothing of the member, and the next one may try
            self._settle(number, answered)

    def reset(self) -> None:
        """Close: the member has just done something else."""
        with self._lock:
            self._close()

    @property
    def open(self) -> bool:
        """Whether the member is passed over."""
        return self._until is not None

    def after_fork(self) -> None:
        """In a forked child: what was known counts on, but who held the lock, or was trying, is not here."""
        self._lock = threading.Lock()
        self._trying = False

    def _admitted(self) -> int:
        """The round in which this call begins."""
        with self._lock:
            remaining = 0.0 if self._until is None else self._until - self._clock.monotonic()
            if self._until is None or (remaining <= 0 and not self._trying):
                self._trying = self._until is not None
                return self._round
        raise self._refusal(max(0.0, remaining))

    def _refusal(self, remaining: float) -> UnavailableError:
        return UnavailableError(
            f"{self._alias} did not answer lately and is not asked for now",
            backend=self._alias,
            hint=f"it is tried again in {math.ceil(remaining)} s" if remaining else "it is being tried again",
            retry_after=remaining,
        )

    def _settle(self, number: int, answered: bool | None) -> None:
        with self._lock:
            if number != self._round:
                return  # it began before the breaker last opened or closed, and says nothing of now
            self._trying = False
            if answered:
                self._close()
            elif answered is False:
                self._failures += 1  # only an answer sets them back, so that a trial that fails opens again
                if self._failures >= self._policy.failures:
                    self._open()

    def _open(self) -> None:
        if self._until is None:
            _warn(f"{self._alias} did not answer {self._failures} times, it is not asked for now")
        self._until = self._clock.monotonic() + self._policy.pause
        self._round += 1

    def _close(self) -> None:
        if self._until is not None:
            _warn(f"{self._alias} is asked again")
            self._until = None
            self._round += 1
        self._failures, self._trying = 0, False


def _warn(text: str) -> None:
    import logging  # when it is needed: this module is part of every start

    logging.getLogger("strongroom.failover").warning(text)
