"""Faults that the strict AWS server plays on chosen calls, before or after it does them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .aws_state import AwsError

When = Literal["before", "after"]
Kind = Literal["drop", "error", "garbage", "redirect", "run", "stale"]
ANY = "*"


@dataclass
class Fault:
    """What happens to a call, instead of or beside its answer.

    ``before`` means that the call is not performed, ``after`` that it is and only its answer is lost.
    ``stale`` and ``run`` let the call go on.

    Attributes:
        kind: ``drop`` closes the connection, ``error`` answers with ``error``, ``garbage`` answers 200 with
            bytes that are not JSON, ``redirect`` sends the caller to ``url``, ``run`` calls ``action``
            (another writer, a delay, an advance of the clock), ``stale`` makes a read miss the last change.
        skip: how many matching calls pass untouched first.
        times: how many calls are then hit.
    """

    operation: str
    kind: Kind
    when: When = "before"
    skip: int = 0
    times: int = 1
    error: AwsError | None = None
    action: Callable[[], object] | None = None
    url: str = ""


class Faults:
    """The faults waiting to happen; safe across threads.

    Every method that plans one takes the name of an operation, such as ``"PutSecretValue"``, or ``"*"``.
    """

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def drop(self, operation: str, when: When = "after", *, skip: int = 0, times: int = 1) -> None:
        """Close the connection without an answer."""
        self.plan(Fault(operation, "drop", when, skip, times))

    def error(
        self, operation: str, error: AwsError, when: When = "before", *, skip: int = 0, times: int = 1
    ) -> None:
        """Answer with an error."""
        self.plan(Fault(operation, "error", when, skip, times, error=error))

    def throttle(self, operation: str, *, skip: int = 0, times: int = 1) -> None:
        """Answer that the caller calls too often."""
        self.error(operation, AwsError("ThrottlingException", "Rate exceeded"), skip=skip, times=times)

    def server_error(self, operation: str, when: When = "before", *, skip: int = 0, times: int = 1) -> None:
        """Answer 500."""
        error = AwsError("InternalServiceError", "An error occurred on the server side.", 500)
        self.error(operation, error, when, skip=skip, times=times)

    def garbage(self, operation: str, when: When = "after", *, skip: int = 0, times: int = 1) -> None:
        """Answer 200 with bytes that are not JSON."""
        self.plan(Fault(operation, "garbage", when, skip, times))

    def redirect(self, operation: str, url: str) -> None:
        """Send the caller elsewhere, for as long as the server runs."""
        self.plan(Fault(operation, "redirect", times=1 << 30, url=url))

    def stale(self, operation: str, *, skip: int = 0, times: int = 1) -> None:
        """Let a read miss the last change."""
        self.plan(Fault(operation, "stale", skip=skip, times=times))

    def run(
        self,
        operation: str,
        action: Callable[[], object],
        when: When = "before",
        *,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Call ``action`` between the request and its effect, or between the effect and the answer."""
        self.plan(Fault(operation, "run", when, skip, times, action=action))

    def plan(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        """Forget what has not happened yet."""
        with self._lock:
            self._waiting.clear()

    def hit(self, operation: str) -> list[Fault]:
        """The faults that hit this call; counts it for all that match."""
        with self._lock:
            hits = [fault for fault in self._waiting if fault.operation in (operation, ANY) and _due(fault)]
            self._waiting = [fault for fault in self._waiting if fault.times > 0]
        return hits


def _due(fault: Fault) -> bool:
    if fault.skip > 0:
        fault.skip -= 1
        return False
    fault.times -= 1
    return True
