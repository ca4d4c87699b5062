"""Attempts and pace, the same for every provider, on the injected clock.

The SDKs' own retries are off: each repeats other calls, waits on the system's clock, and would repeat a
write whose answer was lost, which can undo what another writer did since.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, TypeVar

from .errors import SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .backend import Clock, Settings

T = TypeVar("T")
LONGEST_WAIT: Final = 30.0
"""Seconds. A provider that asks for more gets no second attempt: the caller learns `retry_after` at once."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_PACED_KEYS: Final = 4096


def attempts(settings: Settings, attempt: Callable[[], T | SecretStoreError], *, again: bool) -> T:
    """Call `attempt` up to `settings.attempts` times; it returns its error: the SDK's frames end there.

    A retryable `UnavailableError` is tried again if nothing was performed, or if `again`: for reads, and for
    writes that carry an idempotency token, so that twice is once.

    Raises:
        SecretStoreError: the last attempt's. After an attempt whose answer was lost it is an
            `UnavailableError` with `performed=None`, whatever the attempt after it was told.
    """
    unknown = False
    for number in range(1, max(1, settings.attempts) + 1):
        outcome = attempt()
        if not isinstance(outcome, SecretStoreError):
            return outcome
        error, unknown = outcome, unknown or outcome.performed is None
        if number >= settings.attempts or not _passing(error) or not (again or error.performed is False):
            break
        settings.clock.sleep(pause(number, error.retry_after))
    if unknown and not isinstance(error, UnavailableError):
        # The repeat was refused; whether the attempt before it arrived is the caller's to find out.
        error = UnavailableError("the provider did not answer")
    error.performed = None if unknown else error.performed
    raise error


def pause(attempt: int, retry_after: float | None = None) -> float:
    """Seconds to wait after the attempt of this number: what the provider asks, else doubling with jitter."""
    if retry_after is not None:
        return max(0.0, retry_after)
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return random.uniform(longest / 2, longest)  # noqa: S311  (spreads load, hides nothing)


def _passing(error: SecretStoreError) -> bool:
    patient = error.retry_after is None or error.retry_after <= LONGEST_WAIT
    return isinstance(error, UnavailableError) and error.retryable and patient


class Pace:
    """At most `count` calls in any `seconds`, for each key on its own. Safe across threads.

    Args:
        count: a provider's published limit, such as Google's 2 new versions of a secret.
        seconds: in which time.
        clock: waits on this one.
    """

    def __init__(self, count: int, seconds: float, clock: Clock):
        self._count, self._seconds, self._clock = count, seconds, clock
        self.after_fork()

    def wait(self, key: str = "") -> None:
        """Return when the next call may be made; those that wait go in the order in which they came."""
        delay = self._reserve(key)
        if delay > 0:
            self._clock.sleep(delay)

    def after_fork(self) -> None:
        """Forget the parent's calls, and its lock, which may be held by a thread that is not here."""
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, deque[float]] = OrderedDict()

    def _reserve(self, key: str) -> float:
        with self._lock:
            now = self._clock.monotonic()
            calls = self._calls.setdefault(key, deque(maxlen=self._count))
            self._calls.move_to_end(key)
            at = max(now, calls[0] + self._seconds) if len(calls) == self._count else now
            calls.append(at)
            if len(self._calls) > _PACED_KEYS:  # the key longest unused has waited out its time
                self._calls.popitem(last=False)
            return at - now
