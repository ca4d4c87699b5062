"""Claims of a companion: epochs tell whose value may be held; and versions that are retired one by one."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from strongroom.backend import Capability
from strongroom.companion import Frame, find
from strongroom.errors import IntegrityError, SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.memory import ALL
from strongroom.stages import Pending
from strongroom.store import SecretStore
from strongroom.testing.faults import Fault, FaultyBackend, lost_answer
from strongroom.value import SecretValue
from tests.unit.core_support import COMPANION, KEY, NAME, memory, overwrite, text

ONE, TWO = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def fine() -> None:
    """The rotation is the caller's still."""


def overtaken() -> None:
    raise SecretConflictError("overtaken")


@pytest.fixture
def backend() -> FaultyBackend:
    backend = memory(COMPANION)
    overwrite(backend.inner, "old")
    return backend


@pytest.fixture
def store(backend: FaultyBackend) -> SecretStore:
    return SecretStore(backend, cache=None)


def put(store: SecretStore, rotation: str, epoch: int | None, label: str = "new") -> str:
    pending = store.pending(NAME, rotation)
    return pending.put(text(label), base_version=store.get(NAME).version, epoch=epoch).id


def test_a_value_is_held_over_the_claim_under_which_it_was_made(store: SecretStore) -> None:
    """Claimed, held, promoted; a repeat of each is one."""
    pending = store.pending(NAME, ONE)
    for _ in range(2):
        pending.claim(1, fine)
    assert put(store, ONE, 1) == put(store, ONE, 1)
    pending.promote()
    assert store.get(NAME).value == SecretValue(text("new"))


@pytest.mark.parametrize(
    "prepare",
    [
        lambda store: None,
        lambda store: store.pending(NAME, ONE).claim(2, fine),
        lambda store: store.pending(NAME, TWO).claim(1, fine),
    ],
    ids=["no claim", "a higher epoch's", "another rotation's"],
)
def test_a_value_without_its_claim_is_refused(
    store: SecretStore, prepare: Callable[[SecretStore], None]
) -> None:
    """Who was overtaken while it made a value holds nothing; nothing of it is kept."""
    prepare(store)
    with pytest.raises(SecretConflictError, match="another worker has claimed"):
        put(store, ONE, 1)
    with pytest.raises(SecretNotFoundError):
        store.pending(NAME, ONE).get()


def test_a_higher_epoch_takes_a_claim_and_a_lower_one_stops(store: SecretStore) -> None:
    """The ledger gives each worker a higher one."""
    pending = store.pending(NAME, ONE)
    pending.claim(1, fine)
    pending.claim(3, fine)
    with pytest.raises(SecretConflictError, match="another worker"):
        pending.claim(2, fine)


def test_a_claim_that_a_dead_rotation_left_behind_blocks_nobody(store: SecretStore) -> None:
    """The ledger has ended it: the next rotation claims over it, whatever its epoch."""
    store.pending(NAME, ONE).claim(9, fine)
    store.pending(NAME, TWO).claim(1, fine)
    put(store, TWO, 1)


def test_nothing_is_claimed_by_who_is_told_that_it_was_overtaken(
    store: SecretStore, backend: FaultyBackend
) -> None:
    """The ledger is asked between the read and the write of the companion."""
    with pytest.raises(SecretConflictError, match="overtaken"):
        store.pending(NAME, ONE).claim(1, overtaken)
    assert find(backend, KEY) is None


def test_a_claim_between_the_read_and_the_write_of_another_is_a_conflict(store: SecretStore) -> None:
    """Compare-and-set: the slower one sees who was faster."""
    with pytest.raises(SecretConflictError):
        store.pending(NAME, ONE).claim(1, lambda: store.pending(NAME, TWO).claim(1, fine))


def test_a_claim_whose_answer_was_lost_is_found_again(store: SecretStore, backend: FaultyBackend) -> None:
    """As every write."""
    backend.plan(Fault("put", lost_answer, after=True))
    store.pending(NAME, ONE).claim(1, fine)
    put(store, ONE, 1)


def test_a_held_or_ended_rotation_is_not_claimed(store: SecretStore) -> None:
    """A value waits already; or it is over."""
    pending = store.pending(NAME, ONE)
    put(store, ONE, None)
    with pytest.raises(SecretConflictError, match="is held"):
        pending.claim(1, fine)
    pending.discard()
    with pytest.raises(SecretConflictError, match="is done"):
        pending.claim(1, fine)


def test_a_claimed_rotation_is_discarded(store: SecretStore) -> None:
    """Then it is done, and holds nothing for ever."""
    pending = store.pending(NAME, ONE)
    pending.claim(1, fine)
    pending.discard()
    with pytest.raises(SecretConflictError, match="is done"):
        put(store, ONE, 1)


def test_a_fence_stops_a_promote_and_changes_no_value(store: SecretStore) -> None:
    """What was on its way finds another base; a second fence writes nothing."""
    put(store, ONE, None)
    base, pending = store.get(NAME), store.pending(NAME, ONE)
    pending.fence(base_version=base.version)
    fenced = store.get(NAME)
    assert (fenced.value, fenced.version != base.version) == (base.value, True)
    pending.fence(base_version=base.version)
    assert store.get(NAME).version == fenced.version
    with pytest.raises(SecretConflictError, match="superseded"):
        pending.promote()


def test_a_frame_of_a_claim_is_read_again() -> None:
    """With its epoch; one without is damaged."""
    frame = Frame(ONE, False, epoch=7)
    read, _ = Frame.split(frame.with_value(SecretValue("")))
    assert read == frame
    assert read.claimed
    damaged = frame.with_value(SecretValue("")).reveal().replace(b'"epoch": 7', b'"epoch": "7"')
    with pytest.raises(IntegrityError):
        Frame.split(SecretValue(damaged))


def test_one_version_is_retired_and_the_current_one_never() -> None:
    """The others can be read still."""
    backend = memory(ALL)
    versions = [overwrite(backend.inner, label).id for label in ("one", "two", "three")]
    store = SecretStore(backend, cache=None)
    store.retire(NAME, version=versions[1])
    store.retire(NAME, version=versions[1])
    with pytest.raises(SecretNotFoundError):
        store.get(NAME, version=versions[1])
    assert store.get(NAME, version=versions[0]).value == SecretValue(text("one"))
    with pytest.raises(SecretConflictError, match="is current"):
        store.retire(NAME, version=versions[2])


def test_a_claim_that_cannot_be_looked_at_again_is_unknown(
    store: SecretStore, backend: FaultyBackend
) -> None:
    """The write may have happened: nothing may say that nothing did."""
    backend.plan(Fault("put", lost_answer, after=True, action=backend.unreachable))
    with pytest.raises(UnavailableError) as caught:
        store.pending(NAME, ONE).claim(1, fine)
    assert caught.value.performed is None


def test_where_pending_values_are_native_there_is_nothing_to_claim() -> None:
    """Only the ledger is asked."""
    backend = memory(ALL)
    overwrite(backend.inner, "old")
    store = SecretStore(backend, cache=None)
    with pytest.raises(SecretConflictError, match="overtaken"):
        store.pending(NAME, ONE).claim(1, overtaken)
    store.pending(NAME, ONE).claim(1, fine)
    put(store, ONE, 1)
    assert isinstance(store.pending(NAME, ONE), Pending)
    assert Capability.NATIVE_PENDING in store.capabilities
