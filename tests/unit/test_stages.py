"""Pending values in a companion: PROTOCOLS section 1 as a table, with the answers lost that can be lost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from strongroom.backend import Capability, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.memory import ALL
from strongroom.names import Companion
from strongroom.stages import FRAME_BYTES, Pending
from strongroom.store import SecretStore
from strongroom.testing.faults import Fault, FaultyBackend, Killed, kill, lost_answer
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.core_support import COMPANION, KEY, NAME, current, memory, overwrite, text

ONE, TWO = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
BESIDE = Companion(KEY)


@pytest.fixture
def backend() -> FaultyBackend:
    backend = memory(COMPANION)
    overwrite(backend.inner, "old")
    return backend


@pytest.fixture
def store(backend: FaultyBackend) -> SecretStore:
    return SecretStore(backend, cache=None)


def held(store: SecretStore, rotation: str = ONE, label: str = "new") -> Pending:
    pending = store.pending(NAME, rotation)
    pending.put(text(label), base_version=store.get(NAME).version)
    return pending


def values(store: SecretStore) -> list[str]:
    """Every value that the secret has had, newest first."""
    read = (store.get(NAME, version=version.id).value.reveal_text() for version in store.versions(NAME))
    return [value.removeprefix(text("")) for value in read]


def write_companion(backend: FaultyBackend, data: bytes | str) -> None:
    backend.inner.put(BESIDE, SecretValue(data), None)


class TestLostAnswers:
    """Each write of a rotation may happen without its answer; the same call again finishes it."""

    @pytest.mark.parametrize("skip", range(4))
    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("ending", ["promote", "discard"])
    @pytest.mark.parametrize("fault", ["lost", "killed"])
    def test_the_same_call_again_finishes(
        self, store: SecretStore, backend: FaultyBackend, skip: int, after: bool, ending: str, fault: str
    ) -> None:
        """Lost or killed before or after any write: a repeat ends it, nothing is written twice that shows."""
        pending = held(store)
        for operation in ("put", "retire"):
            if fault == "lost":
                backend.timeout(operation, after=after, skip=skip % 2)
            else:
                backend.fault(operation, kill, after=after, skip=skip % 2)
        again(getattr(pending, ending))
        backend.clear()
        getattr(pending, ending)()
        expected = ["new", "old"] if ending == "promote" else ["old"]
        assert [value for n, value in enumerate(values(store)) if n == 0 or value != "old"] == expected[:1]
        assert values(store).count("new") == expected.count("new")
        assert held(store, TWO, "next").promote().id == store.get(NAME).version

    def test_a_lost_hold_is_found_again(self, store: SecretStore, backend: FaultyBackend) -> None:
        """The companion was written: the put returns it as if the answer had come."""
        backend.timeout("put", after=True)
        pending = held(store)
        assert pending.get().value.matches(text("new"))
        assert backend.calls["put"] == 1

    def test_a_hold_that_was_not_written_says_so(self, store: SecretStore, backend: FaultyBackend) -> None:
        """Unavailable, and nothing is held."""
        backend.timeout("put")
        with pytest.raises(UnavailableError):
            held(store)
        with pytest.raises(SecretNotFoundError):
            store.pending(NAME, ONE).get()

    def test_a_lost_promote_is_not_written_twice(self, store: SecretStore, backend: FaultyBackend) -> None:
        """The secret's write was lost: it is found right after the base, and counts."""
        pending = held(store)
        backend.timeout("put", after=True)
        version = pending.promote()
        assert version.id == store.get(NAME).version
        assert values(store) == ["new", "old"]

    @pytest.mark.parametrize("step", ["hold", "promote"])
    def test_what_cannot_be_looked_up_is_unknown(
        self, store: SecretStore, backend: FaultyBackend, step: str
    ) -> None:
        """The write's answer is lost and the read back fails: ``performed`` is None, never False."""
        pending = store.pending(NAME, ONE) if step == "hold" else held(store)
        base = store.get(NAME).version
        backend.plan(Fault("put", lost_answer, after=True, action=backend.unreachable))
        with pytest.raises(UnavailableError) as caught:
            pending.put(text("new"), base_version=base) if step == "hold" else pending.promote()
        assert caught.value.performed is None

    def test_a_promote_that_stopped_half_way_is_unknown(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """The secret is written, the companion unreachable: "nothing happened" would be a lie."""
        pending = held(store)
        backend.fault("put", _refused, skip=1)
        with pytest.raises(UnavailableError) as caught:
            pending.promote()
        assert caught.value.performed is None
        assert store.get(NAME).value.matches(text("new"))
        assert pending.promote().id == store.get(NAME).version

    @pytest.mark.parametrize("end", ["delete", "purge", "restore"])
    def test_half_a_pair_is_unknown_and_finished_by_a_repeat(
        self, store: SecretStore, backend: FaultyBackend, end: str
    ) -> None:
        """One of secret and companion went: the caller is not told that nothing did; a repeat ends it."""
        held(store)
        if end == "restore":
            store.delete(NAME)
        backend.fault(end, _refused, skip=1)
        with pytest.raises(UnavailableError) as caught:
            getattr(store, end)(NAME)
        assert caught.value.performed is None
        getattr(store, end)(NAME)
        assert (current(backend) is None) is (end != "restore")
        with pytest.raises(SecretNotFoundError):
            getattr(store, end)(NAME)

    def test_a_pair_that_was_not_begun_did_not_happen(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """The first call was refused unsent."""
        held(store)
        backend.fault("delete", _refused)
        with pytest.raises(UnavailableError) as caught:
            store.delete(NAME)
        assert caught.value.performed is False


def _refused() -> UnavailableError:
    return UnavailableError("no connection", performed=False)


def again(call: Callable[[], object]) -> None:
    """As a worker does: once more after every failure, and a new worker after every kill."""
    for _ in range(5):
        try:
            call()
            return
        except (UnavailableError, Killed):
            continue
    raise AssertionError("five times is not enough")


class TestTwoWorkers:
    """Two processes run the same rotation, or two."""

    def test_one_id_and_two_values(self, store: SecretStore) -> None:
        """The second worker made another password: the first one's is kept."""
        held(store)
        with pytest.raises(SecretConflictError):
            held(store, label="other")
        assert store.pending(NAME, ONE).get().value.matches(text("new"))

    def test_who_holds_is_named(self, store: SecretStore) -> None:
        """So that a person can find the rotation that stands in the way."""
        held(store)
        with pytest.raises(SecretConflictError) as caught:
            held(store, TWO)
        assert ONE in str(caught.value)

    @pytest.mark.parametrize("late", ["put", "retire"])
    def test_both_promote(self, store: SecretStore, backend: FaultyBackend, late: str) -> None:
        """The second runs whole between two calls of the first: one version, and both know it."""
        first, second = held(store), store.pending(NAME, ONE)
        seen: list[str] = []
        backend.run(late, lambda: seen.append(second.promote().id))
        assert first.promote().id == seen[0] == store.get(NAME).version
        assert values(store) == ["new", "old"]

    def test_a_done_rotation_holds_nothing_again(self, store: SecretStore) -> None:
        """Promoted or discarded, its id is spent; a repeated promote returns the same version."""
        done = held(store)
        version = done.promote()
        assert done.promote().id == version.id
        for _ in range(2):
            with pytest.raises(SecretConflictError):
                held(store)
            with pytest.raises(SecretConflictError):
                done.discard()

    def test_the_held_version_is_destroyed(self, store: SecretStore, backend: FaultyBackend) -> None:
        """After the end no companion version holds the value any more."""
        held(store).promote()
        for version in backend.inner.versions(BESIDE):
            assert CANARY.encode() not in backend.inner.get(BESIDE, version.id).value.reveal()


class TestPutOnTop:
    """A person changes the secret while a rotation waits."""

    def test_promote_is_superseded_for_ever(self, store: SecretStore) -> None:
        """A conflict, however often it is tried; the person's value stays."""
        pending = held(store)
        store.put(NAME, text("by hand"))
        for _ in range(3):
            with pytest.raises(SecretConflictError, match="superseded"):
                pending.promote()
        assert values(store) == ["by hand", "old"]
        pending.discard()
        held(store, TWO, "next").promote()
        assert values(store)[0] == "next"

    def test_promoted_and_then_put_on_top_is_promoted(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """Promote wrote, crashed, and somebody put on top: it was promoted, and discard says so."""
        pending = held(store)
        backend.fault("put", kill, after=True)
        with pytest.raises(Killed):
            pending.promote()
        store.put(NAME, text("by hand"))
        with pytest.raises(SecretConflictError):
            pending.discard()
        assert pending.promote().id == store.versions(NAME)[1].id
        assert values(store) == ["by hand", "new", "old"]

    def test_a_late_promote_cannot_land_after_discard(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """A worker is paused in the middle of promote; discard moves the base, so its write fails."""
        pending, other = held(store), store.pending(NAME, ONE)
        backend.run("put", other.discard)
        with pytest.raises(SecretStoreError):
            pending.promote()
        assert "new" not in values(store)


class TestPair:
    """A companion lives as long as its secret."""

    def test_purge_leaves_no_pending_value(self, store: SecretStore, backend: FaultyBackend) -> None:
        """A secret that is created again does not find the old life's rotation."""
        held(store)
        store.purge(NAME)
        assert list(backend.inner.list_info("")) == []
        store.put(NAME, text("new life"))
        with pytest.raises(SecretNotFoundError):
            store.pending(NAME, ONE).get()
        held(store, ONE, "again").promote()
        assert values(store) == ["again", "new life"]

    def test_purge_takes_the_companion_first(self, store: SecretStore, backend: FaultyBackend) -> None:
        """Killed in between, the secret is still there to be purged, not a pending value without one."""
        held(store)
        backend.fault("purge", kill, skip=1)
        with pytest.raises(Killed):
            store.purge(NAME)
        assert [info.key for info in backend.inner.list_info("")] == [KEY]

    def test_delete_and_restore_take_it_along(self, store: SecretStore) -> None:
        """What was pending waits in the bin too."""
        pending = held(store)
        store.delete(NAME)
        for call in (pending.get, pending.promote):
            with pytest.raises(SecretNotFoundError):
                call()
        store.restore(NAME)
        assert pending.get().value.matches(text("new"))
        pending.promote()
        assert values(store) == ["new", "old"]


FACTS = {"strongroom": "held", "kind": "text", "rotation": ONE, "base": "1", "version": None, "was": None}
GARBAGE = [
    b"",
    b"\xff\xfe",
    CANARY.encode(),
    json.dumps({"password": CANARY}).encode(),
    b"[" * 100_000,
    b"null\nx",
    b'["strongroom"]\nx',
    *(json.dumps({**FACTS, key: CANARY}).encode() + b"\nx" for key in ("strongroom", "kind", "rotation")),
    *(json.dumps({**FACTS, key: [CANARY]}).encode() + b"\nx" for key in FACTS),
    *(json.dumps({k: v for k, v in FACTS.items() if k != key}).encode() + b"\nx" for key in FACTS),
    json.dumps(FACTS).encode() + b"\n\xff",
]


class TestFrames:
    """What stands in a companion."""

    @pytest.mark.parametrize("value", [text("ü\n\n{}"), "", b"", b"\xff\n\x00", text("x").encode()])
    def test_text_stays_text_and_binary_binary(self, store: SecretStore, value: str | bytes) -> None:
        """Line breaks, nothing, and what is not UTF-8: held and promoted as they were given."""
        pending = store.pending(NAME, ONE)
        pending.put(value, base_version=store.get(NAME).version)
        kind = "text" if isinstance(value, str) else "binary"
        for got in (pending.get().value, (pending.promote(), store.get(NAME).value)[1]):
            assert got.matches(value)
            assert got.kind == kind

    def test_a_value_at_the_limit_can_be_rotated(self, store: SecretStore, backend: FaultyBackend) -> None:
        """The frame fits into what the limit keeps free, with the longest ids we know."""
        limit = backend.limit(KEY)
        assert limit is not None
        pending = store.pending(NAME, ONE)
        pending.put(b"x" * limit, base_version=store.get(NAME).version)
        pending.promote()
        assert len(store.get(NAME).value.reveal()) == limit
        room = backend.limit(BESIDE)
        assert room is not None
        assert room - limit >= FRAME_BYTES

    def test_a_native_reader_sees_current(self, store: SecretStore, backend: FaultyBackend) -> None:
        """Whoever asks the provider for "the secret" does not get the pending value."""
        held(store)
        assert current(backend.inner) == SecretValue(text("old"))
        assert values(store) == ["old"]

    @pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
    def test_garbage_is_an_integrity_error(
        self, store: SecretStore, backend: FaultyBackend, garbage: bytes
    ) -> None:
        """Another tool's value, a damaged one, a later format: no value, and none in a traceback."""
        base = store.get(NAME).version
        write_companion(backend, garbage)
        pending = store.pending(NAME, ONE)
        calls: list[Callable[[], object]] = [
            pending.get,
            pending.promote,
            pending.discard,
            lambda: pending.put(text("new"), base_version=base),
        ]
        for call in calls:
            with pytest.raises(IntegrityError) as caught:
                call()
            assert_no_canary_in(caught.value)
        assert values(store) == ["old"]

    def test_a_whole_frame_is_read(self, store: SecretStore, backend: FaultyBackend) -> None:
        """The cases above differ from this one in one fact each."""
        write_companion(backend, json.dumps(FACTS).encode() + b"\nx")
        assert store.pending(NAME, ONE).get().value.matches("x")


class TestBase:
    """``base_version`` says what a value is to follow."""

    @pytest.mark.parametrize("capabilities", [ALL, COMPANION])
    def test_no_pending_without_a_current(self, capabilities: Capability) -> None:
        """Nothing, deleted, destroyed: a first version that is pending would be what native readers get."""
        backend = memory(capabilities)
        store = SecretStore(backend, cache=None)
        pending = store.pending(NAME, ONE)
        with pytest.raises(SecretNotFoundError):
            pending.put(text("x"), base_version="1")
        base = store.put(NAME, text("old")).id
        backend.inner.retire(KEY, base)
        with pytest.raises(SecretNotFoundError):
            pending.put(text("x"), base_version=base)
        store.purge(NAME)
        store.put(NAME, text("old"))
        store.delete(NAME)
        with pytest.raises(SecretNotFoundError):
            pending.put(text("x"), base_version=base)

    def test_rollback_writes_a_new_version(self, store: SecretStore) -> None:
        """Stages never move back: the previous value is current again under an id of its own."""
        bad = store.put(NAME, text("bad")).id
        good = store.rollback(NAME, if_version=bad)
        assert values(store) == ["old", "bad", "old"]
        assert good.id == store.get(NAME).version
        with pytest.raises(SecretConflictError):
            store.rollback(NAME, if_version=bad)

    def test_rollback_without_a_previous_value(self, store: SecretStore, backend: FaultyBackend) -> None:
        """The first version has none, as the error says; a destroyed (revoked) one does not come back."""
        first = store.get(NAME).version
        with pytest.raises(SecretNotFoundError, match="there is no previous value to roll back to"):
            store.rollback(NAME, if_version=first)
        second = store.put(NAME, text("second")).id
        backend.inner.retire(KEY, first)
        with pytest.raises(SecretNotFoundError):
            store.rollback(NAME, if_version=second)
        assert store.get(NAME, stage=Stage.CURRENT).version == second


def test_a_rotation_id_is_checked_by_pending_itself() -> None:
    """Who makes one without a store cannot skip the check."""
    with pytest.raises(InvalidRequestError):
        Pending(memory(COMPANION), KEY, "1")
