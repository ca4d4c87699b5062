"""Doubles that the tests of the core share: a recording hook, an eventual provider, a gate for readers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Absent, Backend, Capability, Secret, SecretVersion, Stage
from strongroom.errors import SecretNotFoundError
from strongroom.layers.layer import Layer
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Key, Name
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.canary import CANARY

T = TypeVar("T")
NAME = "db/password"
KEY = Name.parse(NAME)
COMPANION = ALL & ~Capability.NATIVE_PENDING
DEADLINE = 30.0
"""Seconds after which a thread that should have finished is taken for stuck."""


def text(label: str) -> str:
    """A secret text value."""
    return f"{CANARY} {label}"


def memory(capabilities: Capability = ALL, clock: FakeClock | None = None) -> FaultyBackend:
    """A memory backend that counts calls and plays faults."""
    clock = clock or FakeClock()
    return FaultyBackend(MemoryBackend(capabilities, clock), clock=clock)


class Recorder(AuditHook):
    """Keeps every event; fails or refuses when told to."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.fails_before: BaseException | None = None
        self.fails_after: BaseException | None = None

    def before(self, event: AuditEvent) -> None:
        if self.fails_before:
            raise self.fails_before
        self.events.append(event)

    def after(self, event: AuditEvent) -> None:
        if self.fails_after:
            raise self.fails_after
        self.events.append(event)

    def told(self) -> list[tuple[str, str | None]]:
        """Operation and outcome of each event, None for an intent."""
        return [(event.operation, event.outcome) for event in self.events]


class Eventual(Layer):
    """A provider whose ``current`` label lags: it tells what it told when ``freeze`` was called."""

    eventual = True

    def __init__(self, inner: Backend, *, newest_is_current: bool = False):
        super().__init__(inner)
        self._floor = newest_is_current
        self._lagging: Secret | None = None

    @property
    def newest_is_current(self) -> bool:  # type: ignore[override]
        return self._floor

    def freeze(self) -> None:
        """From now on the label names what it names now."""
        self._lagging = self.inner.get(KEY, Stage.CURRENT)

    def thaw(self) -> None:
        """The label has caught up."""
        self._lagging = None

    def get(self, key: Key, version: str | Stage) -> Secret:
        if version is Stage.CURRENT and self._lagging:
            return self._lagging
        return self.inner.get(key, version)


class Gate(Layer):
    """Holds back the next read's answer until it is opened; the value in it is read at once.

    Attributes:
        asked: set when the provider has answered, and the answer is on its way.
    """

    def __init__(self, inner: Backend):
        super().__init__(inner)
        self.asked = threading.Event()
        self._open = threading.Event()
        self._armed = False

    def arm(self) -> None:
        """Hold back the next answer."""
        self._armed = True

    def open(self) -> None:
        """Let it arrive."""
        self._open.set()

    def get(self, key: Key, version: str | Stage) -> Secret:
        held, self._armed = self._armed, False
        try:
            return self.inner.get(key, version)
        finally:
            if held:
                self.asked.set()
                assert self._open.wait(DEADLINE), "the gate was not opened"


class Running:
    """A call in a thread of its own; ``result`` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], T]):
        self._call = call
        self._answer: object = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        """The answer."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the call is stuck"
        if self._error:
            raise self._error
        return self._answer


def refreshed() -> None:
    """Wait until no refresh behind a reader's back is under way."""
    for thread in threading.enumerate():
        if thread.name == "strongroom-refresh":
            thread.join(DEADLINE)
            assert not thread.is_alive(), "the refresh is stuck"


def current(backend: Backend) -> SecretValue | None:
    """What the provider itself says is current."""
    try:
        return backend.get(KEY, Stage.CURRENT).value
    except SecretNotFoundError:
        return None


def overwrite(backend: Backend, label: str, if_version: str | Absent | None = None) -> SecretVersion:
    """Another program writes the secret."""
    return backend.put(KEY, SecretValue(text(label)), if_version)
