"""The keys of a source and of a replica are changed, and replication goes on when the old ones are gone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from strongroom.errors import IntegrityError, UnsupportedOperationError
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.reencryption import REPLICATION, reencrypt_store
from strongroom.replicas import domains, replicas
from strongroom.replication.order import Order
from strongroom.toml.file import Config, read_text
from strongroom.value import SecretValue
from strongroom_local.keyset import KeysetFile
from tests.canary import CANARY

NAME = "db/password"


class Place:
    """A source and a replica in memory, each under keys of its own, and the list that both have."""

    def __init__(self, folder: Path):
        self.folder, self.urls = folder, {one: f"memory://{uuid.uuid4().hex}" for one in ("eu", "us")}
        for one in ("eu", "us", "eu-new", "us-new"):
            KeysetFile(folder / f"{one}.json").create()

    def config(self, *encrypt: str) -> Config:
        """`encrypt`: with `ALIAS` for that of the store."""
        keys = "".join(
            f'[key.{one}]\nurl = "local-key://{self.folder}/{one}.json"\n'
            for one in ("eu", "us", "eu-new", "us-new")
        )
        stores = "".join(
            f'[store.{one}]\nurl = "{url}"\n'
            f'encrypt = {{ domain = "prod", {", ".join(encrypt).replace("ALIAS", one)} }}\n'
            for one, url in self.urls.items()
        )
        return read_text(Path("c.toml"), f'{keys}{stores}[replica.us]\nsource = "eu"\n', "")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for url in made.urls.values():
        MemoryBackend._shared.pop(url.removeprefix("memory://"), None)


def sync(config: Config) -> list[str]:
    """The names that were written."""
    with replicas(config) as found:
        report = found["us"].sync()
    assert report.complete
    return [step.name for step in report.done]


def test_replication_goes_on_when_the_old_keys_are_gone(place: Place) -> None:
    """Values keep their place in the order, and the digest key its bytes: nothing is copied anew.

    But for what something else wrote: its place was kept by its version id, which is another one now.
    """
    old = place.config('keys = ["ALIAS"]')
    with strongroom.open("eu", config=old) as eu:
        eu.put(NAME, CANARY)
        eu.put("exchange/key", CANARY)
        eu.delete("exchange/key")
    with domains(old) as opened:  # a console writes, so that a page has something to keep
        opened.members["eu"].backend.put(Name("by/console"), SecretValue(f"{CANARY} two"), None)
    sync(old)
    both = place.config('keys = ["ALIAS-new"]', 'old_keys = ["ALIAS"]')
    for alias in ("eu", "us"):
        with strongroom.open(alias, config=both) as store:
            dry = reencrypt_store(store, dry_run=True)
            assert REPLICATION in dry.left
            assert NAME in dry.left
            assert not reencrypt_store(store).left
            assert not reencrypt_store(store, dry_run=True).left
    new = place.config('keys = ["ALIAS-new"]')
    assert sync(new) == ["by/console"]
    with strongroom.open("eu", config=new) as eu:
        eu.put(NAME, f"{CANARY} three")
    assert sync(new) == [NAME]
    with strongroom.open("us", config=new) as us:
        assert us.get(NAME).value == SecretValue(f"{CANARY} three")


def test_without_it_the_order_is_lost_with_the_old_keys(place: Place) -> None:
    """Which is why it goes along: this is what a prefix alone leaves."""
    old = place.config('keys = ["ALIAS"]')
    with strongroom.open("eu", config=old) as eu:
        eu.put(NAME, CANARY)
    sync(old)
    with strongroom.open("eu", config=place.config('keys = ["ALIAS-new"]', 'old_keys = ["ALIAS"]')) as eu:
        assert reencrypt_store(eu, "db/").done == [NAME]
    with domains(place.config('keys = ["ALIAS-new"]')) as opened, pytest.raises(IntegrityError):
        Order(opened.members["eu"].backend, "prod", alias="eu").sheet()


def test_a_store_without_replication_is_asked_once_more_and_no_more(place: Place) -> None:
    """Whether it has a sheet."""
    config = Config(
        stores={"eu": place.config('keys = ["ALIAS"]').stores["eu"]},
        keys=place.config('keys = ["ALIAS"]').keys,
    )
    with strongroom.open("eu", config=config) as eu:
        eu.put(NAME, CANARY)
        report = reencrypt_store(eu)
    assert (report.already, report.done, report.left) == (1, [], [])


def test_a_replica_takes_no_other_write_though_its_keys_are_changed(place: Place) -> None:
    """What is written anew is what was there."""
    with strongroom.open("us", config=place.config('keys = ["ALIAS"]')) as us:
        with pytest.raises(UnsupportedOperationError, match="us is a replica of eu"):
            us.put(NAME, "n")
        assert reencrypt_store(us).left == []
