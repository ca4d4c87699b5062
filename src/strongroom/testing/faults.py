"""FaultyBackend: a layer that plays scripted faults on chosen calls, and counts all of them.

::

    faulty = FaultyBackend(MemoryBackend())
    faulty.timeout("put", after=True)           # the next put happens, its answer is lost
    faulty.fault("*", kill, skip=2)             # the third call of any kind kills the caller

Placed under ``Encrypted`` or in ``Failover`` it stands for that member's provider.
"""

from __future__ import annotations

import copy
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from strongroom.backend import Absent, Backend, Capability, Clock, Secret, SecretInfo, SecretVersion, Stage
from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.layers.layer import Layer
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from strongroom.names import Key

ANY: Final = "*"
Raised = Callable[[], BaseException]


class Killed(BaseException):
    """The process died here, as far as the code under test can tell."""


@dataclass
class Fault:
    """What happens to a call.

    Attributes:
        operation: a method of Backend, or ``"*"``.
        raises: makes what the caller sees instead of the answer; None lets the call go on.
        after: the call is performed first, so that only its answer is lost.
        skip: how many matching calls pass untouched.
        times: how many calls are then hit.
        action: called before (or after) the call: another writer, the clock.
        change: makes the answer that the caller sees from the real one.
        stale: the caller sees the answer that the same read gave before.
    """

    operation: str
    raises: Raised | None = None
    after: bool = False
    skip: int = 0
    times: int = 1
    action: Callable[[], object] | None = None
    change: Callable[[Any], Any] | None = None
    stale: bool = False


def unavailable() -> UnavailableError:
    """The request did not reach the provider."""
    return UnavailableError("no connection (scripted)", performed=False)


def lost_answer() -> UnavailableError:
    """The request may have reached the provider; its answer did not come."""
    return UnavailableError("no answer in time (scripted)", performed=None)


def throttled() -> UnavailableError:
    """The provider refused for now."""
    return UnavailableError("too many requests (scripted)", performed=False)


def denied() -> PermissionDeniedError:
    """The provider refused the identity."""
    return PermissionDeniedError("denied (scripted)", hint="grant it")


def kill() -> Killed:
    """The caller's process ends."""
    return Killed()


class FaultyBackend(Layer):
    """Counts every call to ``inner`` and plays the faults that were planned.

    Args:
        inner: the backend that really answers.
        clock: what ``delay`` advances.
        capabilities: claim only these of the inner backend's.

    Attributes:
        calls: how often each method was called.
    """

    def __init__(
        self, inner: Backend, *, clock: Clock | None = None, capabilities: Capability | None = None
    ) -> None:
        super().__init__(inner)
        self.clock = clock or Clock()
        self.calls: Counter[str] = Counter()
        self._only = ~Capability(0) if capabilities is None else capabilities
        self._faults: list[Fault] = []
        self._answers: dict[object, Any] = {}
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        return self.inner.capabilities & self._only

    @property
    def writer(self) -> Backend:
        """The inner writer behind the same faults and counts: failover's writes do not slip past them."""
        inner = self.inner.writer
        if inner is self.inner:
            return self
        twin = copy.copy(self)
        twin.inner = inner
        return twin

    def plan(self, fault: Fault) -> None:
        """Add a fault; those added first are played first."""
        with self._lock:
            self._faults.append(fault)

    def fault(
        self, operation: str, raises: Raised, *, after: bool = False, skip: int = 0, times: int = 1
    ) -> None:
        """Raise what ``raises`` makes, before the call or after it was performed."""
        self.plan(Fault(operation, raises, after, skip, times))

    def timeout(self, operation: str, *, after: bool = False, skip: int = 0, times: int = 1) -> None:
        """No answer in time; with ``after`` the provider had committed."""
        self.fault(operation, lost_answer, after=after, skip=skip, times=times)

    def unreachable(self, operation: str = ANY, *, skip: int = 0, times: int = 1 << 30) -> None:
        """No connection, until ``clear``."""
        self.fault(operation, unavailable, skip=skip, times=times)

    def throttle(self, operation: str, *, skip: int = 0, times: int = 1) -> None:
        """Too many requests."""
        self.fault(operation, throttled, skip=skip, times=times)

    def deny(self, operation: str = ANY, *, skip: int = 0, times: int = 1 << 30) -> None:
        """Refuse the identity, until ``clear``."""
        self.fault(operation, denied, skip=skip, times=times)

    def delay(self, operation: str, seconds: float, *, skip: int = 0, times: int = 1) -> None:
        """Let the injected clock move before the call."""
        self.run(operation, lambda: self.clock.sleep(seconds), skip=skip, times=times)

    def run(
        self,
        operation: str,
        action: Callable[[], object],
        *,
        after: bool = False,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Do something between the caller and the provider, such as another caller's write."""
        self.plan(Fault(operation, None, after, skip, times, action))

    def half_page(self, *, skip: int = 0, times: int = 1) -> None:
        """The connection breaks in the middle of a listing."""
        self.plan(Fault("list_info", skip=skip, times=times, change=_half))

    def garbage(self, operation: str = "get", *, skip: int = 0, times: int = 1) -> None:
        """An answer that is not what was stored (reads of values), or not an answer at all."""
        if operation == "get":
            self.plan(Fault(operation, skip=skip, times=times, change=_garbled))
        else:
            self.timeout(operation, after=True, skip=skip, times=times)

    def stale(self, operation: str = "get", *, skip: int = 0, times: int = 1) -> None:
        """The read answers what it answered last time, whatever was written since."""
        self.plan(Fault(operation, skip=skip, times=times, stale=True))

    def clear(self) -> None:
        """Forget the faults that have not happened."""
        with self._lock:
            self._faults.clear()

    def _hit(self, operation: str) -> Fault | None:
        with self._lock:
            self.calls[operation] += 1
            due = [fault for fault in self._faults if fault.operation in (operation, ANY) and _due(fault)]
            self._faults[:] = [fault for fault in self._faults if fault.times > 0]
        return due[0] if due else None

    def _call(self, operation: str, *args: Any) -> Any:
        fault = self._hit(operation)
        _play(fault, after=False)
        if fault and fault.stale and (operation, args) in self._answers:
            return self._answers[operation, args]
        answer = getattr(self.inner, operation)(*args)
        if operation in ("get", "versions", "describe"):
            self._answers[operation, args] = answer
        _play(fault, after=True)
        return fault.change(answer) if fault and fault.change else answer

    def get(self, key: Key, version: str | Stage) -> Secret:
        return self._call("get", key, version)  # type: ignore[no-any-return]

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return self._call("put", key, value, if_version, record)  # type: ignore[no-any-return]

    def purge(self, key: Key) -> None:
        self._call("purge", key)

    def delete(self, key: Key) -> None:
        self._call("delete", key)

    def restore(self, key: Key) -> None:
        self._call("restore", key)

    def retire(self, key: Key, version: str) -> None:
        self._call("retire", key, version)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        yield from self._call("list_info", prefix, detail)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        return self._call("versions", key)  # type: ignore[no-any-return]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        return self._call("versions_after", key, base)  # type: ignore[no-any-return]

    def describe(self, key: Key) -> SecretInfo:
        return self._call("describe", key)  # type: ignore[no-any-return]

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        self._call("set_tags", key, tags)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return self._call("get_many", keys)  # type: ignore[no-any-return]

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        return self._call("put_pending", key, rotation_id, value, base_version, record)  # type: ignore[no-any-return]

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        return self._call("get_pending", key, rotation_id)  # type: ignore[no-any-return]

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        return self._call("promote_pending", key, rotation_id)  # type: ignore[no-any-return]

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        self._call("discard_pending", key, rotation_id)


def _due(fault: Fault) -> bool:
    if fault.skip > 0:
        fault.skip -= 1
        return False
    fault.times -= 1
    return True


def _play(fault: Fault | None, *, after: bool) -> None:
    if fault is None or fault.after is not after:
        return
    if fault.action:
        fault.action()
    if fault.raises:
        raise fault.raises()


def _half(pages: Iterator[SecretInfo]) -> Iterator[SecretInfo]:
    items = list(pages)
    yield from items[: len(items) // 2]
    raise lost_answer()


def _garbled(secret: Secret) -> Secret:
    return replace(secret, value=SecretValue(b"garbage " + os.urandom(64)))
