"""Faults that the Google double plays on chosen calls, before or after it does them.

Every planner takes a method's name as the API writes it, such as ``"AddSecretVersion"``, or ``"*"``.
``before`` means that the call is not performed, ``after`` that it is and only its answer suffers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc

from tests.servers.google_refusal import Refusal

When = Literal["before", "after"]
ANY = "*"


class Gate:
    """Where a held call waits, until `open` or until its caller gives up.

    Attributes:
        reached: set once a call stands before it.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def open(self) -> None:
        """Let everything through, now and later."""
        self._open.set()

    def wait(self, context: grpc.ServicerContext, seconds: float | None = None) -> None:
        """Stand here for `seconds`, or without end; a caller that hangs up ends it too."""
        gone = self._open if seconds is None else threading.Event()
        context.add_callback(gone.set)
        self.reached.set()
        gone.wait(seconds)


@dataclass(eq=False)
class Fault:
    """What happens to matching calls, after `skip` of them passed untouched, `times` times."""

    method: str
    when: When
    play: Callable[[Any, grpc.ServicerContext], object]
    skip: int = 0
    times: int = 1


@dataclass
class Faults:
    """The faults waiting to happen; safe across threads."""

    _waiting: list[Fault] = field(default_factory=list)
    _denied: set[str] = field(default_factory=set)
    _gates: list[Gate] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refuse(
        self, method: str, refusal: Refusal, when: When = "before", *, skip: int = 0, times: int = 1
    ) -> None:
        """Answer with an error."""

        def play(*_: object) -> None:
            raise refusal

        self._plan(Fault(method, when, play, skip, times))

    def drop(self, method: str, when: When = "after", *, skip: int = 0, times: int = 1) -> None:
        """Answer UNAVAILABLE; by default after the call was done, so that only its answer is lost."""
        self.refuse(method, Refusal("UNAVAILABLE", "The service is currently unavailable."), when,
                    skip=skip, times=times)  # fmt: skip

    def throttle(
        self, method: str, *, retry_after: float | None = None, skip: int = 0, times: int = 1
    ) -> None:
        """Answer RESOURCE_EXHAUSTED, with RetryInfo of `retry_after` seconds if given."""
        refusal = Refusal("RESOURCE_EXHAUSTED", "Quota exceeded.", retry_after=retry_after)
        self.refuse(method, refusal, skip=skip, times=times)

    def run(
        self,
        method: str,
        action: Callable[[], object],
        when: When = "before",
        *,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Call `action` (another writer, an advance of the clock, a cut of the relay) and go on."""
        self._plan(Fault(method, when, lambda *_: action(), skip, times))

    def alter(
        self,
        method: str,
        change: Callable[[Any], object],
        when: When = "after",
        *,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Damage on the way: `change` mutates the answer, or the request where `when` is ``before``."""
        self._plan(Fault(method, when, lambda message, _: change(message), skip, times))

    def hold(self, method: str, when: When = "before", *, skip: int = 0, times: int = 1) -> Gate:
        """Let calls stand until the gate is opened, or until their callers give up."""
        gate = Gate()
        self._gates.append(gate)
        self._plan(Fault(method, when, lambda _, context: gate.wait(context), skip, times))
        return gate

    def delay(
        self, method: str, seconds: float, when: When = "before", *, skip: int = 0, times: int = 1
    ) -> None:
        """Answer `seconds` of real time late."""
        self._plan(Fault(method, when, lambda _, context: Gate().wait(context, seconds), skip, times))

    def deny(self, permission: str) -> None:
        """Deny an IAM permission, such as ``"secretmanager.versions.access"``, or ``"*"``, until `clear`."""
        self._denied.add(permission)

    def allow(self, permission: str) -> None:
        """Grant it again."""
        self._denied.discard(permission)

    def denies(self, permission: str) -> bool:
        """Whether this permission is denied."""
        return permission in self._denied or ANY in self._denied

    def clear(self) -> None:
        """Forget what has not happened yet, grant everything, and let go what is held."""
        with self._lock:
            self._waiting.clear()
            self._denied.clear()
            gates, self._gates = self._gates, []
        for gate in gates:
            gate.open()

    def play(self, method: str, when: When, message: Any, context: grpc.ServicerContext) -> None:
        """Play what is planned for this call, in order; those behind a refusal wait for the next call."""
        with self._lock:
            planned = [fault for fault in self._waiting if fault.method in (method, ANY)]
        for fault in planned:
            if fault.when == when and self._due(fault):
                fault.play(message, context)

    def _due(self, fault: Fault) -> bool:
        with self._lock:
            if fault not in self._waiting:
                return False  # another call has just spent it
            if fault.skip > 0:
                fault.skip -= 1
                return False
            fault.times -= 1
            if fault.times == 0:
                self._waiting.remove(fault)
            return True

    def _plan(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)
