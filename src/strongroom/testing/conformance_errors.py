"""Areas of the conformance suite: what goes wrong, what is not declared, and what is audited."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import ABSENT, Backend, Capability, Stage
from strongroom.errors import (
    PartialFailureError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.layers.edge import edge

from .conformance_base import Harness, Plant, Test, needs
from .faults import FaultyBackend

if TYPE_CHECKING:
    from strongroom.store import SecretStore

C = Capability
PENDS = C.PUT | C.VERSIONS | C.CAS
ROTATION = "6f1c7f0e-8f0e-4d57-9a6f-2f6d3c0c6b11"

# What each operation needs of the backend, and how it is called on a name.
Call = Callable[[Any, str, str, str], Any]  # store, name, value, a version id that was never given
OPERATIONS: dict[str, tuple[Capability, Call]] = {
    "get": (C(0), lambda store, name, *_: store.get(name)),
    "get_many": (C(0), lambda store, name, *_: store.get_many([name])),
    "get_version": (C.VERSIONS, lambda store, name, _, version: store.get(name, version=version)),
    "get_previous": (C.VERSIONS, lambda store, name, *_: store.get(name, stage=Stage.PREVIOUS)),
    "versions": (C.VERSIONS, lambda store, name, *_: store.versions(name)),
    "describe": (C.DESCRIBE, lambda store, name, *_: store.describe(name)),
    "list_names": (C.LIST, lambda store, *_: list(store.list_names())),
    "put": (C.PUT, lambda store, name, text, _: store.put(name, text)),
    "put_if": (C.PUT | C.CAS, lambda store, name, text, version: store.put(name, text, if_version=version)),
    "put_absent": (
        C.PUT | C.CREATE_ONLY,
        lambda store, name, text, _: store.put(name, text, if_version=ABSENT),
    ),
    "set_tags": (C.TAGS, lambda store, name, *_: store.set_tags(name, {"a": "b"})),
    "delete": (C.DELETE, lambda store, name, *_: store.delete(name)),
    "restore": (C.DELETE, lambda store, name, *_: store.restore(name)),
    "purge": (C.PURGE, lambda store, name, *_: store.purge(name)),
    "rollback": (PENDS, lambda store, name, _, version: store.rollback(name, if_version=version)),
    "pending.put": (
        PENDS,
        lambda store, name, text, version: store.pending(name, ROTATION).put(text, base_version=version),
    ),
    "pending.get": (PENDS, lambda store, name, *_: store.pending(name, ROTATION).get()),
    "pending.promote": (PENDS, lambda store, name, *_: store.pending(name, ROTATION).promote()),
    "pending.discard": (PENDS, lambda store, name, *_: store.pending(name, ROTATION).discard()),
}
GATED = [(name, flag) for name, (flags, _) in OPERATIONS.items() for flag in flags]
ON_MISSING: dict[str, tuple[type[Exception], ...]] = {
    "get_many": (PartialFailureError,),
    "put_if": (SecretConflictError,),
    "pending.discard": (SecretNotFoundError, AssertionError),  # nothing held is not an error
}
NEVER_MISSING = {"put", "put_absent", "list_names"}


def _call(
    suite: Harness,
    operation: str,
    store: SecretStore,
    name: str = "db/password",
    version: str | None = None,
) -> Any:
    call = OPERATIONS[operation][1]
    return call(store, suite.name(name), suite.text("new"), version or suite.version_id("none"))


def _possible(operation: str, capabilities: Capability) -> bool:
    return not OPERATIONS[operation][0] & ~_generous(capabilities)


def _of_operation(test: Test) -> Test:
    """A case for each operation needs what the operation needs."""

    def lacking(capabilities: Capability, *, operation: str = "get", **_parameters: object) -> list[str]:
        return list((OPERATIONS[operation][0] & ~_generous(capabilities)).names)

    test.lacking = lacking  # type: ignore[attr-defined]
    return test


def _generous(capabilities: Capability) -> Capability:
    """What counts as having compare-and-set and pending values for calling them."""
    if C.CAS_GUARDED in capabilities:
        capabilities |= C.CAS
    return capabilities


class Errors(Harness):
    """Each error means one thing on every backend."""

    @pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - NEVER_MISSING))
    def test_a_missing_secret_is_not_found(self, store: SecretStore, operation: str) -> None:
        """On every method a name that never was is SecretNotFoundError (a conflict for `if_version`)."""
        if not _possible(operation, store.capabilities):
            with pytest.raises((UnsupportedOperationError, SecretNotFoundError)):
                _call(self, operation, store, "missing")
            return
        try:
            _call(self, operation, store, "missing")
        except SecretStoreError as error:
            assert isinstance(error, ON_MISSING.get(operation, (SecretNotFoundError,)))  # noqa: PT017
            return
        assert operation == "pending.discard"

    @pytest.mark.parametrize("operation", sorted(OPERATIONS))
    @_of_operation
    def test_denied_is_never_missing(
        self, store: SecretStore, refused: Backend, plant: Plant, operation: str
    ) -> None:
        """An identity without rights gets PermissionDeniedError, on every method, for what exists."""
        plant(self.name(), self.text("theirs"))
        with pytest.raises((PermissionDeniedError, PartialFailureError)) as caught:
            _call(self, operation, self.open(refused), version=store.get(self.name()).version)
        if isinstance(caught.value, PartialFailureError):
            assert isinstance(caught.value.errors[self.name()], PermissionDeniedError)
        assert store.get(self.name()).value == self.value("theirs")

    @pytest.mark.parametrize("operation", sorted(OPERATIONS))
    @_of_operation
    def test_no_answer_is_unavailable(
        self, store: SecretStore, faulty: FaultyBackend, operation: str
    ) -> None:
        """Without a connection every method is UnavailableError, which says that nothing happened."""
        faulty.unreachable()
        with pytest.raises((UnavailableError, PartialFailureError)) as caught:
            _call(self, operation, store)
        if isinstance(caught.value, UnavailableError):
            assert caught.value.retryable
            assert caught.value.performed is False

    def test_after_a_failure_the_store_recovers(
        self, store: SecretStore, faulty: FaultyBackend, plant: Plant
    ) -> None:
        """A failed request leaves nothing behind that fails the next one."""
        plant(self.name(), self.text("one"))
        for fault in (faulty.throttle, faulty.timeout):
            fault("get")
            with pytest.raises(UnavailableError):
                store.get(self.name())
            assert store.get(self.name()).value == self.value("one")

    @needs(Capability.PUT)
    def test_a_put_whose_answer_is_lost_is_not_a_conflict(
        self, store: SecretStore, faulty: FaultyBackend
    ) -> None:
        """The provider had committed: the put succeeds, or says that nobody knows."""
        store.put(self.name(), self.text("old"))
        faulty.timeout("put", after=True)
        try:
            store.put(self.name(), self.text("new"))
        except UnavailableError as error:
            assert error.performed is None  # noqa: PT017
        assert store.get(self.name()).value == self.value("new")

    @needs(Capability.LIST)
    def test_half_a_listing_is_an_error(
        self, store: SecretStore, faulty: FaultyBackend, plant: Plant
    ) -> None:
        """A listing that breaks off is UnavailableError, never a short answer."""
        plant(self.name("one"), self.text("1"))
        plant(self.name("two"), self.text("2"))
        faulty.half_page()
        with pytest.raises(UnavailableError):
            list(store.list_names(self.name("")))

    def test_an_error_is_one_line_that_says_where(self, store: SecretStore) -> None:
        """Operation, name and backend are known; the text is one line."""
        with pytest.raises(SecretNotFoundError) as caught:
            store.get(self.name("missing"))
        error = caught.value
        assert (error.operation, error.name) == ("get", self.name("missing"))
        assert error.backend
        assert "\n" not in str(error)
        assert self.name("missing") in str(error)


class Gate(Harness):
    """What a backend does not declare is refused before any request."""

    @pytest.mark.parametrize(("operation", "flag"), GATED, ids=lambda part: getattr(part, "name", part))
    def test_what_is_not_declared_sends_nothing(
        self, backend: Backend, operation: str, flag: Capability
    ) -> None:
        """Without the capability the operation is UnsupportedOperationError, and no call is made."""
        taken = flag | (C.CAS_GUARDED if flag is C.CAS else C(0))
        taken |= C.NATIVE_PENDING if operation.startswith("pending") else C(0)
        lesser = FaultyBackend(edge(backend), capabilities=~taken)
        with pytest.raises(UnsupportedOperationError):
            _call(self, operation, self.open(lesser))
        assert not lesser.calls

    def test_a_store_may_require_what_it_needs(self, backend: Backend) -> None:
        """`require` of something missing fails when the store is opened."""
        lesser = FaultyBackend(edge(backend), capabilities=~C.PUT)
        with pytest.raises(UnsupportedOperationError):
            self.open(lesser, require=C.PUT)
        self.open(lesser, require=lesser.capabilities)

    def test_the_flags_agree_with_each_other(self, backend: Backend) -> None:
        """Compare-and-set, deleting and pending values without put make no sense."""
        flags = backend.capabilities
        of_put = C.CAS | C.CAS_GUARDED | C.CREATE_ONLY | C.NATIVE_PENDING
        assert C.PUT in flags or not flags & of_put
        assert not (C.CAS in flags and C.CAS_GUARDED in flags)


class Recorder(AuditHook):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def before(self, event: AuditEvent) -> None:
        self.events.append(event)

    def after(self, event: AuditEvent) -> None:
        self.events.append(event)


class Audit(Harness):
    """Each operation is announced once and recorded once, whatever comes of it."""

    @pytest.mark.parametrize("operation", sorted(OPERATIONS))
    @_of_operation
    def test_every_operation_is_audited_once(
        self, store: SecretStore, faulty: FaultyBackend, plant: Plant, operation: str
    ) -> None:
        """One event before, one after, under one correlation id; failures are recorded as such."""
        plant(self.name(), self.text("audited"))
        recorder = Recorder()
        outcome = "ok"
        try:
            _call(self, operation, self.open(faulty, hooks=[recorder]))
        except SecretStoreError as error:
            outcome = type(error).__name__
        assert [event.phase for event in recorder.events] == ["intent", "outcome"]
        assert len({event.correlation_id for event in recorder.events}) == 1
        assert recorder.events[1].outcome == outcome
        assert self.marker not in repr(recorder.events)

    def test_a_veto_sends_nothing(self, faulty: FaultyBackend) -> None:
        """A hook that refuses stops the operation before any request."""

        class Veto(AuditHook):
            def before(self, event: AuditEvent) -> None:
                raise PermissionDeniedError("not today")

        store = self.open(faulty, hooks=[Veto()])
        with pytest.raises(PermissionDeniedError):
            store.get(self.name())
        assert not faulty.calls
