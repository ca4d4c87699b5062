"""The divergence report: a returning source's writes are kept before anything is written over them."""

from __future__ import annotations

import pytest

from strongroom.backend import ABSENT, Stage
from strongroom.errors import IntegrityError, InvalidRequestError, SecretNotFoundError
from strongroom.layers.encrypted import Encrypted
from strongroom.memory import MemoryBackend
from strongroom.names import Key, Name, Reserved
from strongroom.replication.divergence import INDEX, KIND, ROOM, Divergence, DivergenceReport
from strongroom.replication.record import Record
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import Killed, kill
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in

from .core_support import NAME, memory, text
from .envelope_support import local_key

CLOCK = FakeClock()


def diverged(seq: int = 6, name: str = NAME, *, deleted: bool = False) -> Divergence:
    """A write that only the old source had."""
    record = Record(1, seq, f"{seq:032x}", "d" * 32)
    return Divergence(name, record, "prod-eu", f"v{seq}", deleted, None, CLOCK.now())


@pytest.mark.parametrize("value", [SecretValue(text("kept")), SecretValue(CANARY.encode() + b"\xff\x00\n")])
def test_what_is_kept_comes_back_as_it_was(value: SecretValue) -> None:
    """Value, kind and every fact of the write."""
    report = DivergenceReport(memory())
    assert report.keep(diverged(), value)
    assert report.of(NAME) == (diverged(),)
    found = report.value(NAME)
    assert (found, found.kind) == (value, value.kind)
    assert report.names() == (NAME,)


def test_a_repeat_keeps_a_write_once() -> None:
    """A pass that was killed after the first write comes back to the same name."""
    report = DivergenceReport(memory())
    assert [report.keep(diverged(), SecretValue(text("a"))) for _ in range(3)] == [True, False, False]
    assert len(report.of(NAME)) == 1


def test_who_was_stopped_before_the_list_is_listed_by_the_repeat() -> None:
    """The value is kept first: a listed name without a value would be a lie."""
    backend = memory()
    report = DivergenceReport(backend)
    backend.fault("put", kill, skip=1)
    with pytest.raises(Killed):
        report.keep(diverged(), SecretValue(text("a")))
    assert not report.names()
    assert report.of(NAME) == (diverged(),)
    assert not report.keep(diverged(), SecretValue(text("a")))
    assert report.names() == (NAME,)


def test_several_writes_of_a_name_are_all_kept_the_newest_first() -> None:
    """Each is in a key of its own, so that one at the provider's limit fits."""
    report = DivergenceReport(memory())
    for seq in (6, 8, 7):
        report.keep(diverged(seq), SecretValue(text(f"write {seq}")))
    assert [one.record.seq for one in report.of(NAME)] == [8, 7, 6]
    assert report.value(NAME) == SecretValue(text("write 8"))
    assert report.value(NAME, diverged(6).record.write_id) == SecretValue(text("write 6"))


def test_a_deletion_is_kept_without_a_value() -> None:
    """It was acknowledged as any write; there is nothing to read."""
    report = DivergenceReport(memory())
    report.keep(diverged(deleted=True), None)
    assert report.of(NAME) == (diverged(deleted=True),)
    with pytest.raises(SecretNotFoundError):
        report.value(NAME)


def test_what_a_person_lets_go_is_destroyed_and_makes_room() -> None:
    """Older versions of the report's keys hold no value any more."""
    backend = memory()
    report = DivergenceReport(backend)
    for seq in (6, 7):
        report.keep(diverged(seq), SecretValue(text("a")))
    key = Reserved(KIND, Name(NAME))
    before = backend.get(key, Stage.CURRENT).version
    assert report.discard(NAME) == 2
    assert report.names() == ()
    assert report.of(NAME) == ()
    assert report.discard(NAME) == 0
    with pytest.raises(SecretNotFoundError):
        backend.get(key, before)
    assert report.keep(diverged(8), SecretValue(text("b")))
    assert (report.names(), len(report.of(NAME))) == ((NAME,), 1)


def test_a_full_name_refuses_the_next_write_instead_of_dropping_one() -> None:
    """Whoever would be written over stays as it is until a person has read the report."""
    report = DivergenceReport(memory())
    for seq in range(1, ROOM + 1):
        report.keep(diverged(seq), SecretValue(text("a")))
    with pytest.raises(InvalidRequestError, match="wait in the divergence report"):
        report.keep(diverged(ROOM + 1), SecretValue(text("a")))
    assert len(report.of(NAME)) == ROOM


def test_a_value_that_does_not_fit_is_refused_before_anything_is_written() -> None:
    """The old source keeps it: nothing is cut, nothing lost."""
    backend = Small()
    with pytest.raises(InvalidRequestError, match="does not fit") as caught:
        DivergenceReport(backend).keep(diverged(), SecretValue(text("x" * 600)))
    assert_no_canary_in(caught.value)
    assert DivergenceReport(backend).names() == ()


def test_the_list_of_names_grows_beyond_one_key() -> None:
    """A source that was away for long may have written many names."""
    report = DivergenceReport(Small())
    names = [f"service-{number}/a-long-name-of-a-secret" for number in range(40)]
    for name in names:
        report.keep(diverged(name=name), None)
    assert report.names() == tuple(sorted(names))
    report.discard(names[0])
    assert names[0] not in report.names()
    assert len(report.names()) == len(names) - 1


def test_the_report_is_encrypted_as_its_store_is() -> None:
    """Neither what the provider holds nor an error or repr shows a value; a moved one does not open."""
    raw = MemoryBackend()
    report = DivergenceReport(Encrypted(raw, [local_key()], "prod"))
    report.keep(diverged(), SecretValue(text("a")))
    assert report.value(NAME) == SecretValue(text("a"))
    message = raw.get(Reserved(KIND, Name(NAME)), Stage.CURRENT).value
    assert_no_canary(message.reveal(), repr(report.of(NAME)))
    raw.put(Reserved(KIND, Name("db/other")), message, ABSENT)
    with pytest.raises(IntegrityError):
        report.value("db/other")


@pytest.mark.parametrize(
    "damage", ["", "{}\n", '{"strongroom":"divergence","kind":"text"}\n', "[]\n" + CANARY]
)
def test_anything_else_under_the_key_is_an_integrity_error(damage: str) -> None:
    """Another tool's value is never taken for a write, nor shown."""
    backend = memory()
    backend.put(Reserved(KIND, Name(NAME)), SecretValue(damage), None)
    with pytest.raises(IntegrityError) as caught:
        DivergenceReport(backend).of(NAME)
    assert_no_canary_in(caught.value)


@pytest.mark.parametrize("damage", ["x", "{}", "[1]"])
def test_a_damaged_list_is_an_integrity_error(damage: str) -> None:
    """An empty answer would say that nothing diverged."""
    backend = memory()
    backend.put(Reserved(INDEX, Name("a")), SecretValue(damage), None)
    with pytest.raises(IntegrityError):
        DivergenceReport(backend).names()


@pytest.mark.parametrize("at", [0, 1])
def test_two_who_keep_at_once_lose_nothing(at: int) -> None:
    """The other's writes land between this one's read and its write: compare-and-set, then again."""
    backend = memory()
    other = DivergenceReport(backend.inner)
    backend.run("put", lambda: other.keep(diverged(7), SecretValue(text("theirs"))), skip=at)
    assert DivergenceReport(backend).keep(diverged(6), SecretValue(text("ours")))
    assert {one.record.seq for one in other.of(NAME)} == {6, 7}
    assert other.names() == (NAME,)


class Small(MemoryBackend):
    """A provider with little room for a value."""

    def limit(self, key: Key) -> int | None:
        return 600
