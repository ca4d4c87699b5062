"""The order of one store: which record counts, what binds what bears none, what deletions leave behind."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from strongroom.backend import ABSENT, Secret, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.recorded import Recorded
from strongroom.localkey import LocalKey
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.replication.order import DIGEST_KEY, LOOKS_BACK, Order
from strongroom.replication.page import page_key, read_page
from strongroom.replication.record import Record, digest_of
from strongroom.replication.sheet import SHEET_KEY, Sheet, read_sheet, write_sheet
from strongroom.replication.standing import GAP
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, lost_answer
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.conformance.support import Counter

NAME = Name("db/password")


def value(text: str) -> SecretValue:
    return SecretValue(f"{CANARY} {text}")


class Source:
    """A store and its order, as applications and as a console write it."""

    def __init__(self) -> None:
        self.store = MemoryBackend()
        self.faulty = FaultyBackend(self.store)
        self.clock = FakeClock()
        self.layer = Recorded(self.faulty, "prod", alias="prod-eu", clock=self.clock)
        self.order = Order(self.store, "prod", clock=self.clock, alias="prod-eu")

    def write(self, text: str) -> str:
        return self.layer.put(NAME, value(text), None).id

    def console(self, text: str, record: str | None = None) -> str:
        return self.store.put(NAME, value(text), None, record).id

    def place(self) -> tuple[int, int]:
        """Of what is current, bound if need be."""
        standing = self.order.standing(NAME)
        record = standing.record or self.order.bind(NAME, standing.version or "")
        return record.order


@pytest.fixture
def source() -> Source:
    return Source()


def test_each_write_is_right_after_the_one_it_replaces(source: Source) -> None:
    """Epoch 1 from the first on, with a digest of exactly its value, and nothing on a page."""
    for seq in (1, 2, 3):
        source.write(f"v{seq}")
        standing = source.order.standing(NAME)
        assert standing.record is not None
        assert standing.record.order == (1, seq)
        assert standing.secret is not None
        assert source.order.verify(NAME, standing.secret)
        assert not standing.bound
    assert read_page(source.store, NAME)[1] is None


def test_what_a_console_wrote_is_bound_once_above_what_it_replaced(source: Source) -> None:
    """Its version has one record from then on, whoever asks; the next write is above it."""
    source.write("ours")
    version = source.console("theirs")
    assert source.order.standing(NAME).record is None
    record = source.order.bind(NAME, version)
    assert record.order == (1, 2)
    assert source.order.bind(NAME, version) == record
    standing = source.order.standing(NAME)
    assert (standing.record, standing.bound) == (record, True)
    assert source.order.proves(NAME, record, value("theirs"))
    source.write("ours again")
    assert source.place() == (1, 3)


def test_a_writer_binds_what_it_writes_over(source: Source) -> None:
    """Of two that were written by a console the last record is found below both."""
    source.write("ours")
    source.console("first")
    source.console("second")
    source.write("ours again")
    assert source.place() == (1, 3)


def test_the_last_record_is_looked_for_so_far_back_and_a_replica_s_told(source: Source) -> None:
    """Beyond that only what a replica holds tells how high it was."""
    source.write("ours")
    held = source.order.standing(NAME).record
    for number in range(LOOKS_BACK):
        source.console(f"theirs {number}")
    version = source.console("the last")
    record = source.order.bind(NAME, version, floor=held)
    assert record.order == (1, 2)
    assert source.order.bind(NAME, version, floor=record).order == (1, 3)


def test_a_copied_record_counts_for_nothing(source: Source) -> None:
    """A console's copy of our tags bears our record and another value; its place is not taken twice."""
    source.write("ours")
    standing = source.order.standing(NAME)
    assert standing.record is not None
    version = source.console("theirs", standing.record.text)
    copied = source.order.standing(NAME)
    assert (copied.record, copied.own) == (None, standing.record)
    assert copied.secret is not None
    assert not source.order.verify(NAME, copied.secret)
    assert source.order.bind(NAME, version).order == (1, 2)


@pytest.mark.parametrize("text", ["no record", "v2.1.1.a.b", "v1.9.9." + "0" * 32 + "." + "0" * 32])
def test_a_forged_record_stops_no_write(source: Source, text: str) -> None:
    """One of a later epoch, that nothing proves, would otherwise take the source its writes."""
    source.write("ours")
    source.console("theirs", text)
    source.write("ours again")
    epoch, seq = source.place()
    assert epoch == 1
    assert seq > 1


def test_a_record_of_a_later_epoch_that_proves_itself_stops_the_writers(source: Source) -> None:
    """The new source's value was replicated here before anybody fenced this store."""
    source.write("ours")
    key = source.order.digest_key()
    assert key is not None
    theirs = Record(2, 9, "a" * 32, digest_of(key, str(NAME), value("theirs"), 2, 9))
    source.console("theirs", theirs.text)
    for attempt in (lambda: source.write("late"), lambda: source.layer.delete(NAME)):
        with pytest.raises(PermissionDeniedError, match="since epoch 2"):
            attempt()
    assert source.store.get(NAME, Stage.CURRENT).value == value("theirs")


def test_a_version_that_is_not_current_any_more_is_not_bound(source: Source) -> None:
    """Bound late it would stand above what replaced it."""
    first = source.console("first")
    source.console("second")
    with pytest.raises(SecretConflictError, match="not current"):
        source.order.bind(NAME, first)
    assert read_page(source.store, NAME)[1] is None


def test_two_who_bind_at_once_agree(source: Source) -> None:
    """The page's compare-and-set gives the place out once."""
    version = source.console("theirs")
    source.order.begin()
    other = Order(source.store, "prod", alias="prod-eu")
    faulty = FaultyBackend(source.store)
    faulty.run("put", lambda: other.bind(NAME, version))
    record = Order(faulty, "prod", alias="prod-eu", clock=source.clock).bind(NAME, version)
    assert record == other.bind(NAME, version)


def test_a_lost_answer_of_the_page_is_looked_up(source: Source) -> None:
    """The record that was bound then is the one that counts."""
    version = source.console("theirs")
    source.order.begin()
    source.faulty.fault("put", lost_answer, after=True)
    record = Order(source.faulty, "prod", alias="prod-eu", clock=source.clock).bind(NAME, version)
    assert source.order.standing(NAME).record == record


def test_a_deletion_has_a_place_and_a_restored_version_a_higher_one(source: Source) -> None:
    """Its tombstone outlives it; the version's own record is below, and would be late."""
    source.write("ours")
    source.layer.delete(NAME)
    gone = source.order.standing(NAME)
    assert gone.deleted
    assert gone.record is not None
    assert gone.record.order == (1, 2)
    assert source.order.proves(NAME, gone.record, None)
    source.layer.restore(NAME)
    back = source.order.standing(NAME)
    assert back.record is not None
    assert (back.record.order, back.bound, back.deleted) == ((1, 3), True, False)
    assert back.own is not None
    assert back.own.order == (1, 1)


def test_a_rotation_s_value_promoted_after_a_restore_is_ordered_anew(source: Source) -> None:
    """Its record was made before the deletion, and stands where the tombstone does."""
    rotation = "12345678-1234-4678-9234-567812345678"
    base = source.write("ours")
    source.layer.put_pending(NAME, rotation, value("rotated"), base)
    source.layer.delete(NAME)
    source.layer.restore(NAME)
    source.layer.promote_pending(NAME, rotation)
    assert source.order.standing(NAME).record is None
    assert source.place() == (1, 4)


def test_a_new_life_is_above_everything_its_name_ever_had(source: Source) -> None:
    """Also above what landed between the tombstone and the purge, of which nobody knows."""
    source.write("old life")
    source.layer.purge(NAME)
    source.layer.put(NAME, value("new life"), ABSENT)
    assert source.place() == (1, 2 + GAP)


def test_a_write_between_tombstone_and_purge_is_not_met_again(source: Source) -> None:
    """A replica may have it: the new life has another place."""
    source.write("old life")
    landed: list[Record | None] = []

    def write() -> None:
        Recorded(source.store, "prod", alias="prod-eu").put(NAME, value("meanwhile"), None)
        landed.append(source.order.standing(NAME).record)

    source.faulty.run("purge", write)
    source.layer.purge(NAME)
    source.write("new life")
    assert landed[0] is not None
    assert source.place() > landed[0].order


def test_a_secret_that_vanished_is_buried_above_what_a_replica_holds(source: Source) -> None:
    """Somebody purged it past us: no page tells, the replica does. A repeat is the same tombstone."""
    source.write("ours")
    held = source.order.standing(NAME).record
    source.store.purge(NAME)
    assert source.order.standing(NAME).record is None
    tombstone = source.order.bury(NAME, floor=held, gone=True)
    assert held is not None
    assert tombstone.order > held.order
    assert source.order.bury(NAME, floor=held, gone=True) == tombstone


def test_what_is_there_is_not_buried_as_gone(source: Source) -> None:
    """Somebody has written it meanwhile."""
    source.write("ours")
    with pytest.raises(SecretConflictError, match="the secret is there"):
        source.order.bury(NAME, gone=True)


def test_a_first_sheet_and_key_are_made_once(source: Source) -> None:
    """By whoever comes first; eight who come at once have one key, and all their records prove themselves."""
    stores = [Recorded(source.store, "prod", alias="prod-eu") for _ in range(8)]
    names = [Name(f"db/{number}") for number in range(8)]
    started = threading.Barrier(8)

    def write(number: int) -> None:
        started.wait()
        stores[number].put(names[number], value("first"), None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(source.order.verify(name, source.store.get(name, Stage.CURRENT)) for name in names)


def test_another_source_s_store_takes_no_writes(source: Source) -> None:
    """By its sheet, whatever the file says; what a fenced one is asked is refused alike."""
    source.write("ours")
    sheet, version = read_sheet(source.store)
    assert sheet is not None
    theirs = Sheet("prod", 2, "a" * 32, "prod-us", fenced=True)
    write_sheet(source.store, theirs, version)
    rotation = "12345678-1234-4678-9234-567812345678"
    layer, base = source.layer, source.store.get(NAME, Stage.CURRENT).version
    attempts: list[Callable[[], object]] = [
        lambda: layer.put(NAME, value("late"), None),
        lambda: layer.put(NAME, value("late"), base),
        lambda: layer.put(Name("db/new"), value("late"), ABSENT),
        lambda: layer.put_pending(NAME, rotation, value("late"), base),
        lambda: layer.promote_pending(NAME, rotation),
        lambda: layer.delete(NAME),
        lambda: layer.restore(NAME),
        lambda: layer.purge(NAME),
        lambda: source.order.bind(NAME, base),
        lambda: source.order.bury(NAME),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionDeniedError, match="prod-us is the source since epoch 2") as caught:
            attempt()
        assert caught.value.performed is False
    assert source.store.get(NAME, Stage.CURRENT).version == base


def test_another_domain_s_store_is_refused(source: Source) -> None:
    """Its digests would prove nothing, and its order is another."""
    source.write("ours")
    with pytest.raises(InvalidRequestError, match="domain prod, not other"):
        Order(source.store, "other", alias="prod-eu").begin()


def test_a_source_that_was_taken_over_never_makes_a_digest_key(source: Source) -> None:
    """Under a new one no replica would know a single version as ours."""
    write_sheet(source.store, Sheet("prod", 2, "a" * 32, "prod-eu"), None)
    with pytest.raises(IntegrityError, match="digest key is missing"):
        source.write("ours")
    source.order.copy_digest_key(SecretValue(bytes(32)))
    source.write("ours")
    assert source.place() == (2, 1)


def test_a_digest_key_is_copied_once(source: Source) -> None:
    """Who comes later is told the one that is there."""
    first, second = SecretValue(bytes(32)), SecretValue(b"\1" * 32)
    assert source.order.copy_digest_key(first) == first
    assert Order(source.store, "prod").copy_digest_key(second) == first
    assert source.store.get(DIGEST_KEY, Stage.CURRENT).value == first


def test_after_a_takeover_writes_go_on_in_the_next_epoch(source: Source) -> None:
    """One above, in order: the sequence is not begun anew."""
    source.write("ours")
    _, version = read_sheet(source.store)
    write_sheet(source.store, Sheet("prod", 2, "a" * 32, "prod-eu"), version)
    assert source.place() == (1, 1)
    source.write("theirs")
    assert source.place() == (2, 2)


def test_a_value_that_does_not_open_can_be_replaced_and_not_be_bound() -> None:
    """Its KEK is gone: an application's next value stands above it all the same."""
    store, name = MemoryBackend(), NAME

    def under(text: str) -> Recorded:
        keys = [LocalKey(text.encode() * 32, name=text, counter=Counter())]
        return Recorded(Encrypted(store, keys, "prod"), "prod")

    lost = under("a")
    lost.put(name, value("one"), None)
    lost.put(name, value("two"), None)
    page = page_key(name)
    for key in (SHEET_KEY, DIGEST_KEY):
        opened = lost.inner.get(key, Stage.CURRENT).value
        under("b").inner.put(key, opened, None)
    found = under("b")
    standing = found.order.standing(name)
    assert (standing.secret, standing.record) == (None, None)
    assert standing.version is not None
    with pytest.raises(IntegrityError):
        found.order.bind(name, standing.version)
    found.put(name, value("three"), None)
    record = found.order.standing(name).record
    assert record is not None
    assert record.order == (1, 3)
    assert read_page(found.inner, name)[1] is None, page


def test_a_damaged_page_stops_the_write_and_says_what_to_do(source: Source) -> None:
    """Written past it, a place could be given out for the second time."""
    source.write("ours")
    source.store.put(page_key(NAME), SecretValue("{"), None)
    with pytest.raises(IntegrityError, match="replication page") as caught:
        source.write("more")
    assert caught.value.performed is False
    assert "strongroom replica adopt" in (caught.value.hint or "")


def test_without_the_value_the_record_is_taken_at_its_word(source: Source) -> None:
    """A description costs no read of a value."""
    source.write("ours")
    told = source.order.standing(NAME, value=False)
    assert told.secret is None
    assert told.record == source.order.standing(NAME).record


def test_an_order_says_no_value_and_no_key(source: Source) -> None:
    """Not in what it shows of itself, its pages and sheets, nor in its errors."""
    source.write("ours")
    source.console("theirs")
    source.write("ours again")
    standing, page = source.order.standing(NAME), read_page(source.store, NAME)[0]
    assert_no_canary(repr(standing), page.text, repr(page), str(read_sheet(source.store)))
    source.faulty.fault("get", lost_answer, skip=2)
    with pytest.raises(UnavailableError) as caught:
        source.write("never")
    assert_no_canary_in(caught.value)


def test_a_secret_bears_its_own_record_and_no_other_name_s(source: Source) -> None:
    """The digest covers the name: moved to another, it proves nothing."""
    source.write("ours")
    found: Secret = source.store.get(NAME, Stage.CURRENT)
    assert source.order.verify(NAME, found)
    assert not source.order.verify(Name("db/other"), found)
    with pytest.raises(SecretStoreError):
        Order(MemoryBackend(ALL), "prod", alias="prod-eu").bind(NAME, "none")
