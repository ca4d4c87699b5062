"""The audit seam: two events for each operation, before any I/O and after, and never a value."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Backend, Capability, Secret, SecretVersion
from strongroom.errors import (
    InvalidRequestError,
    PartialFailureError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.memory import ALL, MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.faults import Fault, FaultyBackend, Killed, kill
from tests.canary import CANARY, assert_no_canary
from tests.unit.core_support import COMPANION, DEADLINE, NAME, Recorder, Running, memory, overwrite, text

ROTATION = "00000000-0000-4000-8000-000000000001"
OPERATIONS: dict[str, Callable[[SecretStore], object]] = {
    "get": lambda store: store.get(NAME),
    "get_many": lambda store: store.get_many([NAME, "missing"]),
    "put": lambda store: store.put(NAME, text("second")),
    "list": lambda store: list(store.list_names("db/")),
    "versions": lambda store: store.versions(NAME),
    "describe": lambda store: store.describe(NAME),
    "set_tags": lambda store: store.set_tags(NAME, {"team": "ops"}),
    "delete": lambda store: store.delete(NAME),
    "restore": lambda store: store.restore(NAME),
    "purge": lambda store: store.purge(NAME),
    "rollback": lambda store: store.rollback(NAME, if_version="any"),
    "refresh": lambda store: store.refresh(NAME, rejected="any"),
    "pending.put": lambda store: store.pending(NAME, ROTATION).put(text("next"), base_version="any"),
    "pending.get": lambda store: store.pending(NAME, ROTATION).get(),
    "pending.promote": lambda store: store.pending(NAME, ROTATION).promote(),
    "pending.discard": lambda store: store.pending(NAME, ROTATION).discard(),
}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=[ALL, COMPANION], ids=["native", "companion"])
def backend(request: pytest.FixtureRequest) -> FaultyBackend:
    backend = memory(request.param)
    overwrite(backend.inner, "first")
    return backend


@pytest.fixture
def store(backend: FaultyBackend, recorder: Recorder) -> SecretStore:
    return SecretStore(backend, hooks=[recorder], alias="prod")


class TestVeto:
    """A hook that refuses."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize(
        ("raised", "expected"),
        [
            (PermissionDeniedError("not at night", performed=None), PermissionDeniedError),
            (UnavailableError("disk full", performed=None), UnavailableError),
            (SecretNotFoundError("its own sink's"), UnavailableError),
            (KeyError(CANARY), UnavailableError),
        ],
        ids=["veto", "unavailable", "stranger", "crash"],
    )
    def test_nothing_is_sent(
        self,
        store: SecretStore,
        backend: FaultyBackend,
        recorder: Recorder,
        operation: str,
        raised: Exception,
        expected: type[SecretStoreError],
    ) -> None:
        """Only PermissionDeniedError is a veto; whatever else a hook raises is UnavailableError."""
        recorder.fails_before = raised
        with pytest.raises(expected) as caught:
            OPERATIONS[operation](store)
        assert caught.value.performed is False
        assert caught.value.operation == operation
        assert not backend.calls
        assert not recorder.events
        assert_no_canary(str(caught.value))

    def test_hooks_before_the_one_that_vetoes_learn_of_it(
        self, backend: FaultyBackend, recorder: Recorder
    ) -> None:
        """A journal before a policy shows a denial, not an operation without an end."""
        policy = Recorder()
        policy.fails_before = PermissionDeniedError("not at night")
        never = Recorder()
        store = SecretStore(backend, hooks=[recorder, policy, never])
        with pytest.raises(PermissionDeniedError):
            store.get(NAME)
        assert recorder.told() == [("get", None), ("get", "PermissionDeniedError")]
        assert never.events == []

    def test_a_hook_interrupted_before_leaves_no_open_intent(
        self, backend: FaultyBackend, recorder: Recorder
    ) -> None:
        """Ctrl-C in the second hook: the first hears how it ended, and nothing is sent."""
        second = Recorder()
        second.fails_before = KeyboardInterrupt()
        store = SecretStore(backend, hooks=[recorder, second])
        with pytest.raises(KeyboardInterrupt):
            store.get(NAME)
        assert recorder.told() == [("get", None), ("get", "KeyboardInterrupt")]
        assert not backend.calls

    def test_what_is_refused_before_the_gate_is_not_audited(
        self, store: SecretStore, recorder: Recorder, backend: FaultyBackend
    ) -> None:
        """A call that can never be sent (name, value, size, capability) is the program's bug, not an access.

        This holds for a pending value as for a put.
        """
        rotation = store.pending(NAME, ROTATION)
        for call in (
            lambda: store.get("Illegal Name"),
            lambda: store.put(NAME, 1),  # type: ignore[arg-type]
            lambda: store.put(NAME, b"x" * (1 << 21)),
            lambda: rotation.put(b"x" * (1 << 21), base_version="any"),
            lambda: rotation.put(1, base_version="any"),  # type: ignore[arg-type]
        ):
            with pytest.raises(InvalidRequestError):
                call()
        assert recorder.events == []
        assert not backend.calls


class TestOnce:
    """One intent and one outcome, whatever happens in between."""

    @pytest.mark.parametrize("fault", ["none", "unavailable", "lost", "killed"])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_every_operation_has_one_pair(
        self, store: SecretStore, backend: FaultyBackend, recorder: Recorder, operation: str, fault: str
    ) -> None:
        """With one correlation id, also when it fails, is killed, or its answer is lost."""
        faults: dict[str, Callable[[], None]] = {
            "none": backend.clear,
            "unavailable": backend.unreachable,
            "lost": lambda: backend.timeout("*", after=True, times=99),
            "killed": lambda: backend.fault("*", kill),
        }
        faults[fault]()
        ended: BaseException | None = None
        try:
            OPERATIONS[operation](store)
        except (SecretStoreError, Killed) as error:
            ended = error
        intent, outcome = recorder.events
        assert (intent.operation, outcome.operation) == (operation, operation)
        assert (intent.phase, outcome.phase) == ("intent", "outcome")
        assert intent.correlation_id == outcome.correlation_id
        assert intent.outcome is None
        assert outcome.outcome == (type(ended).__name__ if ended else "ok")
        assert outcome.performed == getattr(ended, "performed", None)

    def test_no_two_operations_share_an_id(self, store: SecretStore, recorder: Recorder) -> None:
        """An id pairs two events and no more."""
        for _ in range(20):
            store.get(NAME)
        assert len({event.correlation_id for event in recorder.events}) == 20

    def test_a_cached_read_is_audited_like_any_other(
        self, store: SecretStore, backend: FaultyBackend, recorder: Recorder
    ) -> None:
        """The value leaves the library each time, whoever answered."""
        for _ in range(3):
            store.get(NAME)
        assert backend.calls["get"] == 1
        assert recorder.told() == [("get", None), ("get", "ok")] * 3

    def test_a_layer_beneath_is_not_audited_again(
        self, store: SecretStore, recorder: Recorder, backend: FaultyBackend
    ) -> None:
        """A promote is many requests and one operation."""
        pending = store.pending(NAME, ROTATION)
        pending.put(text("next"), base_version=store.get(NAME).version)
        pending.promote()
        assert recorder.told()[2:] == [
            ("pending.put", None),
            ("pending.put", "ok"),
            ("pending.promote", None),
            ("pending.promote", "ok"),
        ]
        assert {event.rotation_id for event in recorder.events[2:]} == {ROTATION}

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), MemoryError()])
    def test_an_interrupt_has_an_outcome(
        self, recorder: Recorder, backend: FaultyBackend, error: BaseException
    ) -> None:
        """Whatever ends a call, the trail says how."""
        backend.fault("put", lambda: error)
        store = SecretStore(backend, hooks=[recorder])
        with pytest.raises((type(error), SecretStoreError)):
            store.put(NAME, text("x"))
        assert recorder.events[-1].phase == "outcome"
        assert recorder.events[-1].outcome != "ok"


class TestListing:
    """A listing begins with its first name and ends when its reader does."""

    def test_exhausted(self, store: SecretStore, recorder: Recorder) -> None:
        """One pair for all pages."""
        assert list(store.list_names()) == [NAME]
        assert recorder.told() == [("list", None), ("list", "ok")]

    def test_never_begun(self, store: SecretStore, recorder: Recorder, backend: FaultyBackend) -> None:
        """Nothing was read, nothing is told."""
        store.list_names()
        assert recorder.events == []
        assert not backend.calls

    def test_abandoned(self, store: SecretStore, recorder: Recorder) -> None:
        """Who stops early has listed; that is no error."""
        names = store.list_names()
        next(names)
        assert recorder.told() == [("list", None)]
        names.close()  # type: ignore[attr-defined]
        assert recorder.told() == [("list", None), ("list", "ok")]

    @pytest.mark.parametrize("fault", [UnavailableError("gone"), KeyboardInterrupt()])
    def test_broken_in_the_middle(
        self, store: SecretStore, recorder: Recorder, backend: FaultyBackend, fault: BaseException
    ) -> None:
        """The outcome is the error, not ``ok``; an interrupt too."""

        def broken(pages: Iterator[object]) -> Iterator[object]:
            yield next(pages)
            raise fault

        backend.plan(Fault("list_info", change=broken))
        names = store.list_names()
        next(names)
        with pytest.raises(type(fault)):
            next(names)
        assert recorder.told() == [("list", None), ("list", type(fault).__name__)]


class TestUnrecorded:
    """An outcome that a hook did not take has happened all the same."""

    RESULTS = ("get", "put", "get_many", "versions", "pending")

    def _flags(self, store: SecretStore, what: str) -> list[bool]:
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: [store.get(NAME)],
            "put": lambda: [store.put(NAME, text("second"))],
            "get_many": lambda: list(store.get_many([NAME]).values()),
            "versions": lambda: store.versions(NAME),
            "pending": lambda: [store.pending(NAME, ROTATION).put(text("next"), base_version=self._base)],
        }
        results = calls[what]()
        assert isinstance(results, list)
        assert results
        assert all(isinstance(result, (Secret, SecretVersion)) for result in results)
        return [result.audit_degraded for result in results]

    @pytest.mark.parametrize("what", RESULTS)
    def test_the_result_says_so(self, store: SecretStore, recorder: Recorder, what: str) -> None:
        """Each secret and version that is returned is flagged; with a hook that works none is."""
        self._base = store.get(NAME).version
        recorder.fails_after = OSError("disk full")
        assert set(self._flags(store, what)) == {True}
        recorder.fails_after = None
        assert set(self._flags(store, what)) == {False}

    def test_a_flag_does_not_stick_to_the_cache(self, store: SecretStore, recorder: Recorder) -> None:
        """The next read is recorded, and says so."""
        recorder.fails_after = OSError("disk full")
        assert store.get(NAME).audit_degraded
        recorder.fails_after = None
        assert not store.get(NAME).audit_degraded

    def test_the_next_operation_is_refused_until_it_is_recorded(
        self, store: SecretStore, recorder: Recorder, backend: FaultyBackend
    ) -> None:
        """Nothing more leaves the library while an outcome is owed, not even from the cache."""
        recorder.fails_after = OSError("disk full")
        store.get(NAME)
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                store.get(NAME)
            assert (caught.value.operation, caught.value.performed) == ("get", False)
        assert recorder.told() == [("get", None)]
        assert backend.calls["get"] == 1

    def test_the_owed_outcome_comes_first(self, store: SecretStore, recorder: Recorder) -> None:
        """In the order in which things happened, and once."""
        recorder.fails_after = OSError("disk full")
        store.put(NAME, text("second"))
        recorder.fails_after = None
        store.get(NAME)
        assert recorder.told() == [("put", None), ("put", "ok"), ("get", None), ("get", "ok")]

    def test_a_denial_while_handing_in_is_no_veto(self, store: SecretStore, recorder: Recorder) -> None:
        """The sink lost its rights: the caller, who may read, is not told that he may not."""
        recorder.fails_after = PermissionDeniedError("the sink's")
        store.get(NAME)
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_only_the_hook_that_failed_is_owed(self, backend: FaultyBackend, recorder: Recorder) -> None:
        """The others have it already."""
        other = Recorder()
        store = SecretStore(backend, hooks=[recorder, other])
        recorder.fails_after = OSError("disk full")
        store.get(NAME)
        recorder.fails_after = None
        store.get(NAME)
        assert recorder.told() == other.told() == [("get", None), ("get", "ok")] * 2

    def test_an_interrupt_while_recording_loses_nothing(
        self, backend: FaultyBackend, recorder: Recorder
    ) -> None:
        """Ctrl-C lands in a hook's ``after``: it and those behind it are owed the outcome."""
        other = Recorder()
        store = SecretStore(backend, hooks=[recorder, other])
        recorder.fails_after = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            store.put(NAME, text("second"))
        recorder.fails_after = None
        store.get(NAME)
        expected = [("put", None), ("put", "ok"), ("get", None), ("get", "ok")]
        assert recorder.told() == other.told() == expected

    def test_threads_hand_it_in_once(self, backend: FaultyBackend) -> None:
        """Two threads find it owed: one hands it in, and neither drops another's."""

        class Slow(AuditHook):
            def __init__(self) -> None:
                self.after_calls: list[AuditEvent] = []
                self.broken = True
                self.entered, self.go = threading.Event(), threading.Event()

            def after(self, event: AuditEvent) -> None:
                if self.broken:
                    raise OSError("disk full")
                self.after_calls.append(event)
                self.entered.set()
                assert self.go.wait(DEADLINE)

        hook = Slow()
        store = SecretStore(backend, hooks=[hook])
        calls = [Running(lambda: store.put(NAME, text("x"))) for _ in range(4)]
        for call in calls:
            with contextlib.suppress(UnavailableError):
                call.result()
        owed = len(store._auditor._unrecorded)
        hook.broken = False
        readers = [Running(lambda: store.get(NAME)) for _ in range(4)]
        assert hook.entered.wait(DEADLINE)
        hook.go.set()
        for reader in readers:
            reader.result()
        assert len(hook.after_calls) == owed + 4
        assert len({event.correlation_id for event in hook.after_calls}) == owed + 4


class TestContents:
    """What an event says, and what it can never say."""

    def test_no_event_holds_a_value(
        self, store: SecretStore, recorder: Recorder, backend: FaultyBackend
    ) -> None:
        """Not one of all operations, with and without errors."""
        for operation in OPERATIONS.values():
            with contextlib.suppress(SecretStoreError):
                operation(store)
        assert len(recorder.events) == 2 * len(OPERATIONS)
        assert_no_canary(*(repr(event) for event in recorder.events))

    def test_its_fields_are_an_allow_list(self) -> None:
        """A new field is a decision for a review: this is the list."""
        assert {field.name for field in dataclasses.fields(AuditEvent)} == {
            "operation",
            "name",
            "phase",
            "time",
            "correlation_id",
            "store",
            "backend",
            "location",
            "version",
            "stage",
            "rotation_id",
            "outcome",
            "performed",
            "request_id",
            "actor",
            "trace",
            "parts",
            "degraded",
        }

    def test_it_says_who_answered(self, store: SecretStore, recorder: Recorder) -> None:
        """The store's alias, the backend, the resource, the stage, and in the outcome the version."""
        secret = store.get(NAME)
        intent, outcome = recorder.events
        assert (intent.name, intent.store, intent.stage) == (NAME, "prod", "current")
        assert (intent.backend, intent.location) == ("memory", f"memory/{NAME}")
        assert (intent.version, outcome.version) == (None, secret.version)

    def test_an_error_names_the_request(
        self, store: SecretStore, recorder: Recorder, backend: FaultyBackend
    ) -> None:
        """The provider's request id and whether it happened stand in the outcome."""
        lost = UnavailableError("lost", request_id="r-7", performed=None)
        backend.fault("put", lambda: lost, after=True)
        with pytest.raises(UnavailableError):
            store.put(NAME, text("x"))
        assert (recorder.events[-1].request_id, recorder.events[-1].performed) == ("r-7", None)

    def test_a_rollback_names_the_version_as_the_caller_does(
        self, store: SecretStore, recorder: Recorder
    ) -> None:
        """Intent: the bad one; outcome: the one written."""
        store.put(NAME, text("bad"))
        bad = store.get(NAME).version
        written = store.rollback(NAME, if_version=bad).id
        assert [event.version for event in recorder.events[-2:]] == [bad, written]

    def test_a_part_that_failed_is_a_failed_batch(self, store: SecretStore, recorder: Recorder) -> None:
        """get_many is one operation on so many names."""
        with pytest.raises(PartialFailureError):
            store.get_many([NAME, "missing"])
        assert [event.name for event in recorder.events] == ["2 names"] * 2
        assert recorder.events[-1].outcome == "PartialFailureError"


def test_without_hooks_nothing_is_located() -> None:
    """What nobody hears is not computed: warm reads stay cheap."""

    class Costly(MemoryBackend):
        def locate(self, key: object) -> str:
            raise AssertionError("asked for a location")

    store = SecretStore(Costly())
    store.put(NAME, text("x"))
    store.get(NAME)


def test_a_hook_may_use_another_store(recorder: Recorder) -> None:
    """A journal kept in a store of its own does not wait for itself."""
    journal: Backend = MemoryBackend()
    sink = SecretStore(journal)

    class Keeping(AuditHook):
        def after(self, event: AuditEvent) -> None:
            sink.put("journal", event.operation)

    store = SecretStore(MemoryBackend(), hooks=[Keeping(), recorder])
    store.put(NAME, text("x"))
    assert sink.get("journal").value.matches("put")


def test_an_operation_the_store_lacks_is_not_audited(recorder: Recorder) -> None:
    """The capability gate stands before the audit: nothing could have been sent."""
    store = SecretStore(MemoryBackend(Capability.PUT), hooks=[recorder])
    with pytest.raises(UnsupportedOperationError):
        store.purge(NAME)
    assert recorder.events == []
