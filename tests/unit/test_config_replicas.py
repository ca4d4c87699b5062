"""[replica] opened: who writes what, what is carried along, and what a replica refuses."""

from __future__ import annotations

import subprocess
import sys
import uuid
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

import strongroom
from strongroom.audit.notekey import create_note_key
from strongroom.backend import Stage
from strongroom.errors import (
    PartialFailureError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.layering import replica_of
from strongroom.memory import MemoryBackend
from strongroom.names import Name, Reserved
from strongroom.registry import open_backend
from strongroom.replicas import domains, replicas
from strongroom.replication.plan import Action
from strongroom.replication.record import Record
from strongroom.revoking import bound_record, replicas_with, revocations
from strongroom.rotation.compromise import Compromise
from strongroom.rotation.revocations import Revocation
from strongroom.testing.clock import FakeClock
from strongroom.toml.file import Config, read_text
from strongroom.value import SecretValue
from tests.canary import CANARY

NAME = "db/password"
AT = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400.0


class Place:
    """A file with a source, a replica and a failover of both; its stores are memory, shared by URL."""

    def __init__(self, folder: Path):
        self.folder, self.clock = folder, FakeClock()
        self.eu, self.us = (f"memory://{uuid.uuid4().hex}" for _ in range(2))
        create_note_key(folder / "list.key", "prod/revocations")

    def config(self, replica: str = "", more: str = "") -> Config:
        stores = (
            f'[store.eu]\nurl = "{self.eu}"\n[store.us]\nurl = "{self.us}"\n'
            '[store.both]\nfailover = ["eu", "us"]\ncache = false\n'
        )
        text = f'{stores}[replica.us]\nsource = "eu"\n{replica}\n{more}'
        return read_text(Path("c.toml"), text, "")

    def listed(self, store: str = "eu") -> str:
        key = f'signer = "{self.folder}/list.key"\n'
        return f'[revocations]\ndomain = "prod"\nstore = "{store}"\n{key}'

    def open(self, config: Config, target: str) -> strongroom.SecretStore:
        return strongroom.open(target, config=config, clock=self.clock)

    def sync(self, config: Config) -> None:
        with replicas(config, clock=self.clock) as found:
            assert found["us"].sync().complete

    def lose(self, url: str) -> None:
        """What was at that place is gone, and the place answers no more."""
        MemoryBackend._shared[url.removeprefix("memory://")].__class__ = Lost


class Lost(MemoryBackend):
    """A region that is lost."""

    def __getattribute__(self, name: str) -> object:
        if name in ("get", "put", "list_info", "get_many", "describe", "versions"):
            raise UnavailableError("the region is lost")
        return super().__getattribute__(name)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_source_orders_what_is_written_and_its_replica_has_it_in_the_same_order(place: Place) -> None:
    """The record is made with the write, and travels with the value."""
    config = place.config()
    with place.open(config, "eu") as eu:
        eu.put(NAME, CANARY)
        eu.put(NAME, f"{CANARY} two")
        told = eu.get(NAME).record
    assert told
    assert Record.parse(told).order == (1, 2)
    place.sync(config)
    with place.open(config, "us") as us:
        found = us.get(NAME)
        assert (found.value.reveal_text(), found.record) == (f"{CANARY} two", told)
        with pytest.raises(UnsupportedOperationError, match="us is a replica of eu"):
            us.put(NAME, "n")


def test_a_failover_reads_the_replica_when_its_source_is_lost(place: Place) -> None:
    """And says how far behind it is known to be: the write that never got there."""
    config = place.config()
    with place.open(config, "both") as both:
        both.put(NAME, CANARY)
        place.sync(config)
        assert both.get(NAME).version.startswith("eu:")
        both.put(NAME, f"{CANARY} two")
        place.lose(place.eu)
        found = both.get(NAME)
        assert (found.value.reveal_text(), found.version[:3]) == (CANARY, "us:")
        assert (found.behind, found.degraded) == (1, True)


@pytest.mark.parametrize("target", ["us", "other", "url"])
def test_a_replica_is_one_by_whatever_way_it_is_opened(place: Place, target: str) -> None:
    """By another alias of the same place, and by its URL: what is written there would be lost."""
    config = place.config(more=f'[store.other]\nurl = "{place.us}"\n')
    opened = place.open(config, place.us if target == "url" else target)
    with opened, pytest.raises(UnsupportedOperationError, match="us is a replica of eu"):
        opened.put(NAME, "n")
    with place.open(config, place.eu) as eu:
        eu.put(NAME, CANARY)
        assert eu.get(NAME).record


def test_how_a_database_would_be_made_is_no_part_of_which_it_is() -> None:
    """`?create=` stands where it may be new; another endpoint is another store."""
    stores = '[store.eu]\nurl = "memory://eu"\n[store.us]\nurl = "local:///srv/us.db?create=keyset"\n'
    config = read_text(Path("c.toml"), stores + '[replica.us]\nsource = "eu"\n', "")
    assert replica_of(config, config.entry("local:///srv/us.db")) is config.replicas["us"]
    assert replica_of(config, config.entry("local:///srv/us.db?endpoint=http://127.0.0.1:1")) is None


def test_what_is_not_replicated_is_written_as_ever(place: Place) -> None:
    """It costs no more than before."""
    config = place.config('names = ["exchange/**"]')
    with place.open(config, "eu") as eu:
        eu.put(NAME, CANARY)
        assert eu.get(NAME).record is None


def test_members_are_the_stores_without_what_stands_over_them(place: Place) -> None:
    """A takeover writes to both."""
    with domains(place.config(), clock=place.clock) as found:
        assert {alias: one.domain for alias, one in found.members.items()} == {"eu": "eu", "us": "eu"}
        found.members["us"].backend.put(Name("a"), SecretValue(CANARY), None)


def test_a_replica_behind_the_revocation_refuses(place: Place) -> None:
    """Acceptance 6: the version leaks, its replacement never comes to the replica, and the source is lost.

    The list was carried there, so that nobody is given the leaked value; what is marked is refused once the
    list is too old, by a program that begins anew as well; all else is served.
    """
    config = place.config('revocable = ["exchange/**"]', place.listed())
    with place.open(config, "eu") as eu:
        for name in (NAME, "exchange/key", "other"):
            eu.put(name, CANARY)
        leaked = eu.get(NAME)
    place.sync(config)
    with revocations(config, place.clock) as signed:
        assert signed
        signed.publish(Revocation(NAME, leaked.version, AT, "leaked", leaked.record))
    place.sync(config)
    place.lose(place.eu)
    with place.open(config, "both") as both:
        with pytest.raises(SecretNotFoundError, match="revoked"):
            both.get(NAME)
        assert both.get("exchange/key").degraded
    place.clock.advance(DAY)
    with place.open(config, "us") as us:
        with pytest.raises(SecretNotFoundError, match="revoked"):
            us.get(NAME)
        with pytest.raises(UnavailableError, match="expired"):
            us.get("exchange/key")
        assert us.get("other").value == SecretValue(CANARY)


def test_a_name_that_is_withheld_does_not_have_the_replica_passed_over(place: Place) -> None:
    """It is there, and has all the other names: the failures that open a breaker are those of a member."""
    config = place.config('revocable = ["exchange/**"]', place.listed())
    with place.open(config, "eu") as eu:
        eu.put(NAME, CANARY)
        eu.put("exchange/key", CANARY)
    place.sync(config)
    place.lose(place.eu)
    place.clock.advance(DAY)
    with place.open(config, "both") as both:
        for _ in range(20):
            with pytest.raises(UnavailableError):
                both.get("exchange/key")
        assert both.get(NAME).version.startswith("us:")
        with pytest.raises(PartialFailureError) as caught:
            both.get_many([NAME, "exchange/key"])
        assert (set(caught.value.results), set(caught.value.errors)) == ({NAME}, {"exchange/key"})


def test_the_first_list_is_signed_by_the_first_sync_that_may(place: Place) -> None:
    """Without one nothing marked could be read, and nobody has revoked anything yet."""
    config = place.config('revocable = ["**"]', place.listed())
    with place.open(config, "eu") as eu:
        eu.put(NAME, CANARY)
    place.sync(config)
    with place.open(config, "us") as us:
        assert us.get(NAME).value == SecretValue(CANARY)
        place.clock.advance(DAY / 2)
        place.sync(config)
        place.clock.advance(DAY / 2)
        assert us.get(NAME).value == SecretValue(CANARY)


@pytest.mark.parametrize("somebody", ["removes it", "puts an old one back", "writes another"])
def test_a_list_that_somebody_took_away_is_put_back_from_a_replicas_copy(place: Place, somebody: str) -> None:
    """It is signed, wherever it was kept; begun anew it would take all revocations back."""
    config, key = place.config('revocable = ["**"]', place.listed()), Reserved("revocations", Name("prod"))
    place.sync(config)
    with domains(config, clock=place.clock) as found:
        old = found.members["eu"].backend.get(key, Stage.CURRENT).value
    with revocations(config, place.clock) as signed:
        assert signed
        signed.publish(Revocation(NAME, "1", AT, "leaked"))
    place.sync(config)
    with domains(config, clock=place.clock) as found:
        if somebody == "removes it":
            found.members["eu"].backend.purge(key)
        else:
            other = old if somebody == "puts an old one back" else SecretValue("none")
            found.members["eu"].backend.put(key, other, None)
    place.sync(config)
    with revocations(config, place.clock) as signed:
        assert signed
        listed = signed.newest()
        assert listed
        assert listed.revoked(NAME, "1")


def test_no_list_is_begun_while_another_replica_may_have_one(place: Place) -> None:
    """It knows what was revoked, though it does not answer now."""
    third = f"memory://{uuid.uuid4().hex}"
    more = f'[store.ap]\nurl = "{third}"\n[replica.ap]\nsource = "eu"\n'
    config = place.config('revocable = ["**"]', more + place.listed())
    with place.open(config, "ap"):
        place.lose(third)
    with replicas(config, clock=place.clock) as found:
        found["us"].sync()
    with revocations(config, place.clock) as signed:
        assert signed
        assert signed.newest() is None


def test_a_revoked_version_is_not_carried_any_further(place: Place) -> None:
    """A replica that has not got it yet does not get it."""
    config = place.config(more=place.listed())
    with place.open(config, "eu") as eu:
        eu.put(NAME, CANARY)
        leaked = eu.get(NAME)
    with revocations(config, place.clock) as signed:
        assert signed
        signed.publish(Revocation(NAME, leaked.version, AT, "leaked", leaked.record))
    with replicas(config, clock=place.clock) as found:
        report = found["us"].sync()
        assert [step.action for step in report.skipped] == [Action.REFUSED]
    with place.open(config, "us") as us, pytest.raises(SecretNotFoundError):
        us.get(NAME)


def test_what_a_console_wrote_is_revoked_at_the_replica_too(place: Place) -> None:
    """It bears no record: its copy is known by the one that the source keeps for it."""
    config = place.config(more=place.listed())
    open_backend(place.eu).put(Name.parse(NAME), SecretValue(CANARY), None)
    place.sync(config)
    with place.open(config, "us") as us:
        assert us.get(NAME).value == SecretValue(CANARY)
    with revocations(config, place.clock) as signed, place.open(config, "eu") as eu:
        bound = partial(bound_record, config, "both")
        Compromise(eu, revocations=signed, bound=bound, clock=place.clock).revoke(NAME, reason="leaked")
    with place.open(config, "us") as us, pytest.raises(SecretNotFoundError, match="revoked"):
        us.get(NAME)


@pytest.mark.parametrize("adopt", [True, False])
def test_what_somebody_else_wrote_is_taken_over_where_the_file_says_so(place: Place, adopt: bool) -> None:
    """And waits for a person where it does not."""
    config = place.config("adopt = true" if adopt else "")
    with domains(config, clock=place.clock) as found:
        found.members["us"].backend.put(Name.parse(NAME), SecretValue("somebody's"), None)
    with place.open(config, "eu") as eu:
        eu.put(NAME, CANARY)
    with replicas(config, clock=place.clock) as opened:
        expected = Action.UPDATE if adopt else Action.FOREIGN
        assert [step.action for step in opened["us"].plan().steps] == [expected]
        report = opened["us"].sync()
        assert report.complete is adopt
        assert opened["us"].status().in_sync == int(adopt)


def test_reading_loads_nothing_of_what_writes_replicas(tmp_path: Path) -> None:
    """A program that reads a replica, or a failover over one; nor does one that reads the source."""
    path = tmp_path / "c.toml"
    stores = (
        '[store.eu]\nurl = "memory://eu"\n[store.us]\nurl = "memory://us"\n[store.b]\nfailover = ["us"]\n'
    )
    path.write_text(f'{stores}[replica.us]\nsource = "eu"\n')
    path.chmod(0o600)
    code = (
        "import sys, strongroom\n"
        "for one in ('us', 'b', 'eu'):\n"
        f"    with strongroom.open(one, config={str(path)!r}) as store:\n"
        "        list(store.list_names())\n"
        "    found = [name for name in sys.modules if name.startswith('strongroom.replication.')]\n"
        "    print(sorted(found), 'strongroom.rotation' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *replicas_read, source_read = run.stdout.splitlines()
    assert replicas_read == ["[] False", "['strongroom.replication.record'] False"]
    assert "replicator" not in source_read
    assert source_read.endswith("False")


def test_who_has_a_copy_of_a_leaked_secret_is_told(place: Place) -> None:
    """Of the source and of a failover over it; of a name that is not replicated nobody has."""
    config = place.config('names = ["db/**"]')
    assert replicas_with(config, "eu", NAME) == replicas_with(config, "both", NAME) == ("us",)
    assert replicas_with(config, "eu", "exchange/key") == ()
