"""What stands over a replica: nothing is written through it, and nothing is read that was revoked."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.audit.note import NoteSigner
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.backend import ABSENT, Backend, Secret, Stage
from strongroom.errors import (
    IntegrityError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.layers.replica import ReadOnly, said_of
from strongroom.layers.revocable import Revocable
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Companion, Key, Name
from strongroom.patterns import matcher
from strongroom.replication.record import Record
from strongroom.revokedlist import EVERY, CopyPlace, KnownRevocations
from strongroom.rotation.revocation_places import Held, StorePlace
from strongroom.rotation.revocations import Revocation, Revocations
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.canary import CANARY

NAME, MARKED = Name("db/password"), Name("exchange/key")
ID = str(uuid.UUID(int=1))
AT = datetime(2026, 1, 1, tzinfo=UTC)

WRITES: dict[str, Callable[[Backend], object]] = {
    "put": lambda b: b.put(NAME, SecretValue("n"), None),
    "put with a record": lambda b: b.put(NAME, SecretValue("n"), ABSENT, record("1.1")),
    "put a companion": lambda b: b.put(Companion(NAME), SecretValue("n"), None),
    "purge": lambda b: b.purge(NAME),
    "delete": lambda b: b.delete(NAME),
    "restore": lambda b: b.restore(NAME),
    "retire": lambda b: b.retire(NAME, "1"),
    "set_tags": lambda b: b.set_tags(NAME, {"a": "b"}),
    "put_pending": lambda b: b.put_pending(NAME, ID, SecretValue("n"), "1"),
    "promote_pending": lambda b: b.promote_pending(NAME, ID),
    "discard_pending": lambda b: b.discard_pending(NAME, ID),
}


def record(place: str, write: int = 1) -> str:
    epoch, seq = map(int, place.split("."))
    return Record(epoch, seq, uuid.UUID(int=write).hex, "0" * 32).text


class Place(FaultyBackend):
    """Keeps the list, and can be out of reach."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())


class World:
    """A replica, its readers, and who signs the list that they believe."""

    def __init__(self, folder: Path):
        create_note_key(folder / "k", "prod/revocations")
        self.signer = NoteSigner("prod/revocations", FileSigner.open(folder / "k"))
        self.clock, self.far, self.near = FakeClock(), Place(), MemoryBackend()
        self.writer = Revocations(
            StorePlace(self.far, "prod"), domain="prod", signer=self.signer, clock=self.clock
        )
        self.replica = MemoryBackend()
        self.checker = KnownRevocations([self.at(self.far), self.at(self.near)], self.clock)
        self.layer = Revocable(self.replica, self.checker, matcher(["exchange/**"]))

    def at(self, backend: Backend) -> Callable[[ExitStack], Revocations]:
        place = CopyPlace(backend, "prod")
        return lambda _: Revocations(place, [self.signer.key], domain="prod", clock=self.clock)

    def holds(self, name: Name, text: str | None = None) -> str:
        return self.replica.put(name, SecretValue(CANARY), None, text).id

    def read(self, name: Name) -> SecretValue:
        return self.layer.get(name, Stage.CURRENT).value

    def carried(self) -> None:
        """The list stands at the replica too."""
        held = StorePlace(self.far, "prod").read()
        assert held
        CopyPlace(self.near, "prod").write(held.note, CopyPlace(self.near, "prod").read())

    def later(self, seconds: float = EVERY) -> None:
        self.clock.advance(seconds)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("write", WRITES)
def test_a_replica_takes_no_write_and_says_whose_it_is(write: str) -> None:
    """Not of a companion either, nor one that seems to come from replication."""
    held = MemoryBackend()
    held.put(NAME, SecretValue("one"), None)
    with pytest.raises(UnsupportedOperationError, match="us is a replica of eu: write to eu"):
        WRITES[write](ReadOnly(held, said_of("us", "eu")))
    assert held.get(NAME, Stage.CURRENT).value == SecretValue("one")


def test_a_store_over_a_replica_reads_and_says_why_it_does_not_write() -> None:
    """Before any request; its capabilities are those of reading."""
    held = FaultyBackend(MemoryBackend())
    held.put(NAME, SecretValue(CANARY), None)
    with SecretStore(ReadOnly(held, said_of("us", "eu")), cache=None, alias="us") as store:
        assert store.get("db/password").value == SecretValue(CANARY)
        assert store.capabilities == ALL.reads
        for write in (
            lambda: store.put("db/password", "n"),
            lambda: store.delete("db/password"),
            lambda: store.set_tags("db/password", {"a": "b"}),
            lambda: store.rollback("db/password", if_version="1"),
        ):
            with pytest.raises(UnsupportedOperationError, match="us is a replica of eu"):
                write()


def test_what_was_revoked_is_not_found_at_a_replica(world: World) -> None:
    """Its copy is known by the write that its record names, whatever id it has there; the next is not it."""
    world.writer.publish(Revocation(str(NAME), "the source's", AT, "leaked", record("1.7", write=7)))
    old = world.holds(NAME, record("1.7", write=7))
    for version in (Stage.CURRENT, old):
        with pytest.raises(SecretNotFoundError, match="revoked at 2026-01-01T00:00:00Z") as caught:
            world.layer.get(NAME, version)
    assert caught.value.hint == "leaked"
    assert isinstance(world.layer.get_many([NAME])[NAME], SecretNotFoundError)
    world.holds(NAME, record("1.8", write=8))
    assert world.read(NAME) == SecretValue(CANARY)


def test_a_replica_behind_the_revocation_refuses(world: World) -> None:
    """It was cut off before the version was revoked, and its own copy of the list is older than that too."""
    world.writer.renew()
    world.carried()
    world.holds(NAME, record("1.7", write=7))
    assert world.read(NAME) == SecretValue(CANARY)
    world.writer.publish(Revocation(str(NAME), "1", AT, "leaked", record("1.7", write=7)))
    world.later()
    with pytest.raises(SecretNotFoundError):
        world.read(NAME)


def test_the_replicas_own_copy_tells_when_the_place_of_the_list_is_lost(world: World) -> None:
    """As with the region of the source."""
    world.writer.publish(Revocation(str(MARKED), "1", AT, "leaked", record("1.7", write=7)))
    world.carried()
    world.far.unreachable()
    world.holds(MARKED, record("1.7", write=7))
    with pytest.raises(SecretNotFoundError):
        world.read(MARKED)
    world.holds(MARKED, record("1.8", write=8))
    assert world.read(MARKED) == SecretValue(CANARY)


def test_without_a_list_a_marked_name_is_refused_and_others_are_served(world: World) -> None:
    """Missing, or out of reach: nobody can tell what was revoked."""
    world.holds(NAME)
    world.holds(MARKED)
    assert world.read(NAME) == SecretValue(CANARY)
    with pytest.raises(UnavailableError, match="no list tells which versions are revoked"):
        world.read(MARKED)
    world.far.unreachable()
    world.later()
    with pytest.raises(UnavailableError):
        world.read(MARKED)
    outcomes = world.layer.get_many([NAME, MARKED])
    assert isinstance(outcomes[MARKED], UnavailableError)
    assert not isinstance(outcomes[NAME], SecretStoreError)


def test_a_list_that_is_too_old_refuses_marked_names_until_a_younger_one_comes(world: World) -> None:
    """To the second of its age; what it named stays revoked for every name."""
    world.writer.publish(Revocation(str(NAME), "1", AT, "leaked", record("1.7", write=7)))
    world.holds(MARKED)
    world.holds(NAME, record("1.7", write=7))
    assert world.read(MARKED) == SecretValue(CANARY)
    world.later(timedelta(hours=24).total_seconds() - 1)
    assert world.read(MARKED) == SecretValue(CANARY)
    world.later(1)
    with pytest.raises(UnavailableError, match="expired at 2026-01-02T00:00:00Z"):
        world.read(MARKED)
    with pytest.raises(SecretNotFoundError):
        world.read(NAME)
    world.writer.renew()
    world.later()
    assert world.read(MARKED) == SecretValue(CANARY)


def test_a_program_that_begins_with_an_old_list_knows_what_it_names(world: World) -> None:
    """Revocations are not taken back, so that one of yesterday is better than none."""
    world.writer.publish(Revocation(str(NAME), "1", AT, "leaked", record("1.7", write=7)))
    world.later(10**6)
    world.holds(NAME, record("1.7", write=7))
    with pytest.raises(SecretNotFoundError):
        world.read(NAME)


def test_an_old_list_that_somebody_put_back_is_not_believed(world: World) -> None:
    """The newest that was seen goes on counting; where it is removed too."""
    world.writer.renew()
    place = StorePlace(world.far, "prod")
    before = place.read()
    assert before
    world.writer.publish(Revocation(str(NAME), "1", AT, "leaked", record("1.7", write=7)))
    world.holds(NAME, record("1.7", write=7))
    with pytest.raises(SecretNotFoundError):
        world.read(NAME)
    place.write(before.note, place.read())
    world.later()
    with pytest.raises(SecretNotFoundError):
        world.read(NAME)
    world.far.purge(CopyPlace(world.far, "prod").key)
    world.later()
    with pytest.raises(SecretNotFoundError):
        world.read(NAME)


def test_a_list_that_nobody_signed_refuses_marked_names(world: World) -> None:
    """Its text is no part of the error."""
    world.far.put(CopyPlace(world.far, "prod").key, SecretValue(f"{CANARY}\n"), None)
    world.holds(MARKED)
    with pytest.raises(UnavailableError) as caught:
        world.read(MARKED)
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_a_record_that_cannot_be_read_does_not_hide_a_revoked_version(world: World) -> None:
    """Who may write tags could otherwise bring it back."""
    world.writer.publish(Revocation(str(NAME), "1", AT, "leaked", record("1.7", write=7)))
    world.holds(NAME, "v9.what")
    with pytest.raises(IntegrityError):
        world.read(NAME)


def test_a_copy_that_does_not_open_any_more_is_written_over(world: World) -> None:
    """Under keys that are gone it is nobody's list, and its version cannot be told."""

    class Closed(MemoryBackend):
        """Holds what no key opens, until it is purged."""

        def get(self, key: Key, version: str | Stage) -> Secret:
            found = super().get(key, version)
            if found.value == SecretValue("sealed"):
                raise IntegrityError("it does not open")
            return found

    world.writer.renew()
    place = CopyPlace(Closed(), "prod")
    place._backend.put(place.key, SecretValue("sealed"), None)
    world.writer.share(place)
    copied = place.read()
    assert copied == Held(StorePlace(world.far, "prod").read().note, copied.version)  # type: ignore[union-attr]


def test_the_list_is_read_once_in_a_while(world: World) -> None:
    """Not with every secret; a place that is down is asked again sooner."""
    world.writer.renew()
    world.holds(MARKED)
    before = world.far.calls["get"]
    for _ in range(100):
        world.read(MARKED)
    assert world.far.calls["get"] - before == 1
    world.later()
    world.far.unreachable(times=1)
    world.read(MARKED)
    world.later(EVERY / 3)
    world.read(MARKED)
    assert world.far.calls["get"] - before == 3


def test_in_a_forked_child_the_list_counts_on_and_is_opened_anew(world: World) -> None:
    """What it was read through is the parent's."""
    world.writer.publish(Revocation(str(NAME), "1", AT, "leaked", record("1.7", write=7)))
    world.holds(NAME, record("1.7", write=7))
    world.holds(MARKED)
    world.read(MARKED)
    world.far.unreachable()
    world.checker.after_fork()
    with pytest.raises(SecretNotFoundError):
        world.read(NAME)
    world.checker.close()
