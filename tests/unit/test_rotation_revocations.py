"""The signed list of revoked versions: what it says, who is believed, how old it may be, where it lies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from strongroom.audit.note import NoteSigner
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.backend import ANY_CAS
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.memory import ALL, MemoryBackend
from strongroom.replication.record import Record
from strongroom.rotation.revocation_places import FilePlace, Held, RevocationPlace, StorePlace
from strongroom.rotation.revocations import Revocation, RevocationList, Revocations
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from tests.scale import scaled

AT = datetime(2026, 1, 1, tzinfo=UTC)
LEAKED = Revocation("db/password", "v7", AT, "found in a public repository")


class World(NamedTuple):
    """One place, one signer, and readers that know its public half."""

    place: RevocationPlace
    signer: NoteSigner
    clock: FakeClock

    def writer(self) -> Revocations:
        return Revocations(self.place, domain="prod", signer=self.signer, clock=self.clock)

    def reader(self) -> Revocations:
        return Revocations(self.place, [self.signer.key], domain="prod", clock=self.clock)


def signer(folder: Path, name: str = "prod/revocations") -> NoteSigner:
    path = folder / f"{name.replace('/', '-')}.key"
    create_note_key(path, name)
    return NoteSigner(name, FileSigner.open(path))


@pytest.fixture(params=["file", "store"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    file = FilePlace(tmp_path / "prod.revocations")
    place = file if request.param == "file" else StorePlace(MemoryBackend(), "prod")
    return World(place, signer(tmp_path), FakeClock())


def test_a_revoked_version_is_refused_by_who_reads_the_list(world: World) -> None:
    """Exactly that version of that name, with the reason; everything else goes on."""
    reader = world.reader()
    reader.check("db/password", "v7")
    world.writer().publish(LEAKED)
    with pytest.raises(SecretNotFoundError, match="public repository"):
        reader.check("db/password", "v7")
    reader.check("db/password", "v8")
    reader.check("db/other", "v7")


def test_a_replicas_copy_is_known_by_its_record(world: World) -> None:
    """Its version id is another; the write that its record names is the same, whatever order it has there."""
    record = Record(1, 4, "a" * 32, "b" * 32)
    world.writer().publish(replace(LEAKED, record=record.text))
    with pytest.raises(SecretNotFoundError):
        world.reader().check("db/password", "its-own-id", replace(record, seq=9).text)
    world.reader().check("db/password", "its-own-id", replace(record, write_id="c" * 32).text)
    world.reader().check("db/password", "its-own-id")


def test_a_revocation_is_entered_once_and_signed_each_time(world: World) -> None:
    """A repeat after a lost answer adds no second line; the sequence rises all the same."""
    first = world.writer().publish(LEAKED)
    again = world.writer().publish(replace(LEAKED, reason="said once more"))
    assert (first.sequence, again.sequence) == (1, 2)
    assert again.revocations == (LEAKED,)


def test_a_list_that_is_too_old_is_not_believed_until_it_is_signed_anew(world: World) -> None:
    """Past its age it may lack what was revoked since; renewing it keeps every line."""
    world.writer().publish(LEAKED)
    reader = world.reader()
    world.clock.advance(24 * 3600 - 1)
    assert reader.read() is not None
    world.clock.advance(1)
    with pytest.raises(UnavailableError, match="expired"):
        reader.check("db/password", "v8")
    renewed = world.writer().renew()
    assert renewed.revocations == (LEAKED,)
    assert renewed.expires == world.clock.now() + timedelta(hours=24)
    reader.check("db/password", "v8")


def test_a_list_is_signed_anew_once_half_of_its_age_is_over(world: World) -> None:
    """By whoever keeps it: not before, not where there is none, and also when it has expired."""
    writer = world.writer()
    assert writer.keep() is None
    writer.publish(LEAKED)
    world.clock.advance(12 * 3600 - 1)
    assert writer.keep() is None
    for seconds in (1, 90_000):
        world.clock.advance(seconds)
        kept = writer.keep()
        assert kept
        assert kept.issued == world.clock.now()
        assert kept.revocations == (LEAKED,)


def test_an_older_list_that_is_put_back_is_found_out(world: World) -> None:
    """However well signed: a reader that saw a newer one refuses it, and so does the writer."""
    world.writer().publish(LEAKED)
    old = world.place.read()
    assert old
    reader, writer = world.reader(), world.writer()
    writer.publish(replace(LEAKED, version="v8"))
    reader.read()
    world.place.write(old.note, world.place.read())
    for who in (reader.read, lambda: reader.check("db/password", "v8"), lambda: writer.publish(LEAKED)):
        with pytest.raises(IntegrityError, match="older"):
            who()


def test_a_list_that_was_removed_is_found_out(tmp_path: Path) -> None:
    """A reader that saw one does not take its absence for a clean slate, nor does a writer begin at one."""
    path = tmp_path / "prod.revocations"
    world = World(FilePlace(path), signer(tmp_path), FakeClock())
    writer, reader = world.writer(), world.reader()
    writer.publish(LEAKED)
    reader.read()
    path.unlink()
    for who in (reader.read, writer.renew):
        with pytest.raises(IntegrityError, match="removed"):
            who()


def test_only_the_named_signer_is_believed(world: World, tmp_path: Path) -> None:
    """Another key, even under the same name, revokes nothing and un-revokes nothing."""
    stranger = signer(tmp_path / ".", "prod/other")
    world.place.write(stranger.sign(RevocationList("prod", 9, AT).text), None)
    with pytest.raises(IntegrityError, match="no key"):
        world.reader().read()
    with pytest.raises(IntegrityError, match="no key"):
        world.writer().publish(LEAKED)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("v7", "v6"),
        lambda note: note.replace("prod\n1\n", "prod\n2\n"),
        lambda note: note[: note.index("{")] + note[note.index("\n\n") :],
        lambda note: note.replace("\n86400\n", "\n99999\n"),
        lambda note: note.rpartition("\n\n")[0] + "\n",
        lambda note: "",
    ],
)
def test_a_list_that_was_changed_is_not_believed(world: World, change: object) -> None:
    """A version, the sequence, a dropped line, the age, no signature, nothing at all."""
    world.writer().publish(LEAKED)
    held = world.place.read()
    assert held
    assert callable(change)
    world.place.write(change(held.note), held)
    with pytest.raises(IntegrityError):
        world.reader().read()


@pytest.mark.parametrize(
    "text", ["", "x\n", "strongroom-revocations/v2\nprod\n1\n2026-01-01T00:00:00Z\n60\n"]
)
def test_a_signed_text_that_is_no_list_is_refused(world: World, text: str) -> None:
    """The key may sign other notes too, such as checkpoints; none of them is taken for a list."""
    world.place.write(world.signer.sign(text), None)
    with pytest.raises(IntegrityError):
        world.reader().read()


def test_a_list_of_another_domain_or_of_the_future_is_refused(world: World) -> None:
    """A replica of another store's list would hide this one's revocations."""
    world.place.write(world.signer.sign(RevocationList("test", 1, AT).text), None)
    with pytest.raises(IntegrityError, match="'test'"):
        world.reader().read()
    held = world.place.read()
    world.place.write(world.signer.sign(RevocationList("prod", 1, AT + timedelta(hours=1)).text), held)
    with pytest.raises(IntegrityError, match="future"):
        world.reader().read()


def test_two_revocations_at_once_are_both_in_the_list(world: World) -> None:
    """Each writes over what it read, so that neither is lost."""
    count = scaled(40, share=8)
    revoked = [replace(LEAKED, version=f"v{n}") for n in range(count)]
    for one, other in zip(revoked[::2], revoked[1::2], strict=False):
        at_once([partial(world.writer().publish, each) for each in (one, other)])
    found = world.reader().read()
    assert found
    assert {one.version for one in found.revocations} >= {r.version for r in revoked[: count // 2 * 2]}


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 201, "bell\a"])
def test_a_reason_is_one_line(world: World, reason: str) -> None:
    """It stands in the list, in logs and in alarms."""
    with pytest.raises(InvalidRequestError):
        world.writer().publish(replace(LEAKED, reason=reason))


def test_who_only_reads_signs_nothing(world: World) -> None:
    """A reader has no signer, and says so instead of failing later."""
    with pytest.raises(InvalidRequestError, match="nobody signs"):
        world.reader().publish(LEAKED)


def test_a_list_that_nobody_could_believe_or_keep_is_refused_at_once(tmp_path: Path) -> None:
    """Neither key nor signer; a name that is no domain; a store without compare-and-set."""
    place = FilePlace(tmp_path / "list")
    with pytest.raises(InvalidRequestError):
        Revocations(place, domain="prod")
    with pytest.raises(InvalidRequestError):
        Revocations(place, domain="Prod!", signer=signer(tmp_path))
    with pytest.raises(UnsupportedOperationError):
        StorePlace(MemoryBackend(ALL & ~ANY_CAS), "prod")


def test_a_file_is_replaced_only_over_what_was_read(tmp_path: Path) -> None:
    """Whoever read another list, or none, is told of a conflict; the file holds what it held."""
    place = FilePlace(tmp_path / "list")
    place.write("one", None)
    for over in (None, Held("two")):
        with pytest.raises(SecretConflictError):
            place.write("three", over)
    assert place.read() == Held("one")
