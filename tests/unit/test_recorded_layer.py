"""The layer of a source: whatever reads lag behind and whoever else writes, each write gets its own place."""

from __future__ import annotations

import threading
import uuid

import pytest

from strongroom.backend import ABSENT, Capability, Stage
from strongroom.errors import (
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.layers.recorded import Recorded
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Companion, Name, Reserved
from strongroom.replication.page import page_key, read_page
from strongroom.replication.record import Record
from strongroom.stages import Pending, rollback
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, lost_answer, unavailable
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.scale import scaled

NAME = Name("db/password")
COMPANION = ALL & ~Capability.NATIVE_PENDING


def value(text: str) -> SecretValue:
    return SecretValue(f"{CANARY} {text}")


class Source:
    """A store that lags and fails as it is told to."""

    def __init__(self, capabilities: Capability = ALL, *, eventual: bool = False):
        self.store = MemoryBackend(capabilities)
        self.store.eventual = eventual
        self.faulty, self.clock = FaultyBackend(self.store), FakeClock()
        self.clock.spread = 1.0
        self.layer = Recorded(self.faulty, "prod", alias="prod-eu", clock=self.clock)

    def seq(self, version: str | Stage = Stage.CURRENT) -> int:
        """Of the record that a version bears itself."""
        return Record.parse(self.store.get(NAME, version).record or "").seq


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.mark.parametrize("capabilities", [ALL, COMPANION])
def test_racing_writers_have_one_place_each(capabilities: Capability) -> None:
    """Unconditional writes are never refused, none is lost, and the records are in the versions' order."""
    source, writers, writes = Source(capabilities), 4, scaled(50, "writes of each of 4 racing writers")
    layers = [Recorded(source.store, "prod", alias="prod-eu", clock=source.clock) for _ in range(writers)]
    failed: list[Exception] = []

    def write(layer: Recorded) -> None:
        try:
            for _ in range(writes):
                layer.put(NAME, value(uuid.uuid4().hex), None)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(layer,)) for layer in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [source.seq(version.id) for version in reversed(source.store.versions(NAME))]
    assert failed == []
    assert found == list(range(1, writers * writes + 1))


def test_an_unconditional_write_goes_on_top_of_who_was_first(source: Source) -> None:
    """Of our own writers, and of a console, which is bound first."""
    source.layer.put(NAME, value("old"), None)
    source.faulty.run("put", lambda: source.store.put(NAME, value("console"), None))
    source.layer.put(NAME, value("ours"), None)
    assert source.store.get(NAME, Stage.CURRENT).value == value("ours")
    assert source.seq() == 3


def test_a_create_that_meets_another_goes_on_top(source: Source) -> None:
    """Both were acknowledged, and the later one is current."""
    other = Recorded(source.store, "prod", alias="prod-eu")
    source.layer.put(Name("db/first"), value("begins the sheet"), None)
    source.faulty.run("put", lambda: other.put(NAME, value("theirs"), None))
    source.layer.put(NAME, value("ours"), None)
    assert source.store.get(NAME, Stage.CURRENT).value == value("ours")
    assert source.seq() == 2


def test_a_name_in_the_bin_is_a_conflict_at_once(source: Source) -> None:
    """Nobody was first: it is not tried again and again."""
    source.layer.put(NAME, value("old"), None)
    source.layer.delete(NAME)
    with pytest.raises(SecretConflictError, match="bin"):
        source.layer.put(NAME, value("late"), None)
    assert len(source.clock.slept) <= 1


def test_a_conditional_write_is_refused_where_the_provider_refuses_it(source: Source) -> None:
    """A conflict is the provider's word, and nothing was written."""
    first = source.layer.put(NAME, value("one"), ABSENT).id
    second = source.layer.put(NAME, value("two"), first).id
    for condition in (first, "never", ABSENT):
        with pytest.raises(SecretConflictError):
            source.layer.put(NAME, value("late"), condition)
    assert source.store.get(NAME, Stage.CURRENT).version == second


def test_reads_that_lag_behind_delay_a_write_and_do_not_reorder_it() -> None:
    """An old answer to which version is current makes a conflict, not a second write at its place."""
    source = Source(eventual=True)
    source.layer.put(NAME, value("one"), None)
    source.layer.put(NAME, value("two"), None)
    Recorded(source.store, "prod", alias="prod-eu").put(NAME, value("three"), None)
    source.faulty.stale("get", times=6)
    source.layer.put(NAME, value("four"), None)
    versions = source.store.versions(NAME)
    assert [source.seq(version.id) for version in versions] == [4, 3, 2, 1]
    assert sum(source.clock.slept) > 0


def test_a_conditional_write_does_not_ask_which_version_is_current() -> None:
    """The version is read by its id, so that a label that lags makes no conflict of a write that is right."""
    source = Source(eventual=True)
    source.layer.put(NAME, value("one"), None)
    newer = Recorded(source.store, "prod", alias="prod-eu").put(NAME, value("two"), None)
    source.faulty.stale("get", times=1 << 30)
    source.layer.put(NAME, value("three"), newer.id)
    assert source.seq() == 3


def test_a_lost_answer_of_the_write_stays_unknown(source: Source) -> None:
    """It may have happened; a repeat is a new write, above it."""
    source.layer.put(NAME, value("one"), None)
    source.faulty.fault("put", lost_answer, after=True)
    with pytest.raises(UnavailableError) as caught:
        source.layer.put(NAME, value("two"), None)
    assert caught.value.performed is None
    source.layer.put(NAME, value("two"), None)
    assert source.seq() == 3


def test_a_lost_answer_before_the_write_says_that_nothing_was_written(source: Source) -> None:
    """Whatever became of the page: the secret is as it was."""
    source.layer.put(NAME, value("one"), None)
    source.store.put(NAME, value("console"), None)
    for fault in (lost_answer, unavailable):
        source.faulty.fault("get", fault, skip=3)
        with pytest.raises(UnavailableError) as caught:
            source.layer.put(NAME, value("two"), None)
        assert caught.value.performed is False
    assert source.store.get(NAME, Stage.CURRENT).value == value("console")


def test_what_comes_with_a_record_keeps_it(source: Source) -> None:
    """A fence writes the very version again."""
    source.layer.put(NAME, value("one"), None)
    before = source.store.get(NAME, Stage.CURRENT)
    source.layer.put(NAME, value("one"), before.version, before.record)
    assert source.store.get(NAME, Stage.CURRENT).record == before.record


def test_what_is_no_secret_has_no_record(source: Source) -> None:
    """Companions, leases and ledgers are one store's own."""
    for key in (Companion(NAME), Reserved("lease", NAME)):
        source.layer.put(key, value("ours"), None)
        assert source.store.get(key, Stage.CURRENT).record is None
        source.layer.purge(key)
    assert source.faulty.calls["get"] == 0


def test_what_is_not_replicated_is_written_as_it_is(source: Source) -> None:
    """No sheet, no page, no reads before the write."""
    layer = Recorded(source.faulty, "prod", alias="prod-eu", covers=lambda name: name.startswith("db/"))
    other, rotation = Name("app/key"), str(uuid.uuid4())
    base = layer.put(other, value("one"), None)
    layer.put_pending(other, rotation, value("two"), base.id)
    layer.promote_pending(other, rotation)
    layer.delete(other)
    layer.restore(other)
    assert source.store.get(other, Stage.CURRENT).record is None
    layer.purge(other)
    assert source.faulty.calls["get"] == 0


def test_a_write_asks_for_its_sheet_what_is_current_and_its_page(source: Source) -> None:
    """Three reads and the write; the digest key is read once in the life of a process."""
    source.layer.put(NAME, value("one"), None)
    source.faulty.calls.clear()
    source.layer.put(NAME, value("two"), None)
    assert dict(source.faulty.calls) == {"get": 3, "put": 1}


def test_a_promote_has_the_place_after_its_base(source: Source) -> None:
    """Natively: its record waits with it, and a repeat bears the very same."""
    base, rotation = source.layer.put(NAME, value("one"), None).id, str(uuid.uuid4())
    source.layer.put_pending(NAME, rotation, value("two"), base)
    first = source.store.get_pending(NAME, rotation).record
    source.layer.put_pending(NAME, rotation, value("two"), base)
    assert source.store.get_pending(NAME, rotation).record == first
    source.layer.promote_pending(NAME, rotation)
    assert source.seq() == 2
    assert source.layer.order.verify(NAME, source.store.get(NAME, Stage.CURRENT))


def test_a_promote_through_a_companion_has_its_place_too() -> None:
    """It is a write of the secret; so is a rollback, which is never below what it replaces."""
    source = Source(COMPANION)
    base = source.layer.put(NAME, value("one"), None).id
    pending = Pending(source.layer, NAME, str(uuid.uuid4()))
    pending.put(value("two"), base_version=base)
    promoted = pending.promote()
    assert source.seq(promoted.id) == 2
    back = rollback(source.layer, NAME, promoted.id)
    assert source.seq(back.id) == 3
    assert source.store.get(NAME, Stage.CURRENT).value == value("one")


def test_a_pending_value_over_what_a_console_wrote_is_above_it(source: Source) -> None:
    """The base is bound first, and its page is where its record is."""
    base, rotation = source.store.put(NAME, value("console"), None).id, str(uuid.uuid4())
    source.layer.put_pending(NAME, rotation, value("ours"), base)
    page, _ = read_page(source.store, NAME)
    assert page.bindings[base].seq == 1
    source.layer.promote_pending(NAME, rotation)
    assert source.seq() == 2


def test_a_pending_value_is_refused_in_the_backend_s_words(source: Source) -> None:
    """A base that is not current, or no secret at all."""
    old = source.layer.put(NAME, value("one"), None).id
    source.layer.put(NAME, value("two"), None)
    with pytest.raises(SecretConflictError):
        source.layer.put_pending(NAME, str(uuid.uuid4()), value("late"), old)
    with pytest.raises(SecretNotFoundError):
        source.layer.put_pending(Name("db/none"), str(uuid.uuid4()), value("late"), old)


def test_deleting_what_is_not_there_leaves_no_page(source: Source) -> None:
    """A misspelled name costs no record for ever."""
    for act in (source.layer.delete, source.layer.purge, source.layer.restore):
        with pytest.raises(SecretNotFoundError):
            act(NAME)
    with pytest.raises(SecretNotFoundError):
        source.store.get(page_key(NAME), Stage.CURRENT)


def test_a_deletion_that_dies_before_the_secret_is_gone_is_undone_by_the_next_write(source: Source) -> None:
    """Its tombstone stands on the page; what is current stands above it once more."""
    source.layer.put(NAME, value("one"), None)
    source.faulty.unreachable("delete", times=1)
    with pytest.raises(UnavailableError):
        source.layer.delete(NAME)
    standing = source.layer.order.standing(NAME)
    assert (standing.deleted, standing.record) == (False, None)
    source.layer.put(NAME, value("two"), None)
    assert source.seq() == 4
    source.layer.delete(NAME)
    assert source.layer.order.standing(NAME).deleted


def test_a_restore_that_cannot_be_ordered_at_once_has_happened(source: Source) -> None:
    """The secret is back, and the caller is not told otherwise: who reads it next orders it."""
    source.layer.put(NAME, value("one"), None)
    source.layer.delete(NAME)
    source.faulty.run("restore", lambda: source.faulty.unreachable("get", times=1), after=True)
    source.layer.restore(NAME)
    assert source.layer.order.standing(NAME, value=False).record is None
    source.layer.put(NAME, value("two"), None)
    assert source.seq() == 4


def test_a_store_without_compare_and_set_is_no_source() -> None:
    """Two writes could have one place."""
    lacking = ALL & ~Capability.CAS
    with pytest.raises(UnsupportedOperationError, match="compare-and-set"):
        Recorded(MemoryBackend(lacking), "prod")
