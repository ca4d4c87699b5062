"""How often an encrypted store asks AWS KMS, counted: plain, with a data-key cache, through a keyring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.config import keyring
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.reencryption import reencrypt_store
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom_aws._kms import Key
from tests.canary import CANARY
from tests.chaos.forked import Say, forked
from tests.scale import scaled
from tests.servers.boto import REGION
from tests.servers.moto import Moto

Calls = Counter[str]


@pytest.fixture(scope="module")
def aliases(kms: Moto) -> tuple[str, str]:
    """Two keys, named by aliases."""
    client, names = kms.client("kms"), ("alias/counted-old", "alias/counted-new")
    for name in names:
        client.create_alias(AliasName=name, TargetKeyId=client.create_key()["KeyMetadata"]["KeyId"])
    return names


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every request to KMS, by its operation."""
    counted, call = Calls(), Key.call

    def counting(self: Key, operation: str, *args: Any, **params: Any) -> Any:
        counted[operation] += 1
        return call(self, operation, *args, **params)

    monkeypatch.setattr(Key, "call", counting)
    return counted


@pytest.fixture
def toml(kms: Moto, aliases: tuple[str, str], tmp_path: Path) -> Iterator[Any]:
    """Writes strongroom.toml with both keys and a keyring under the first, and an `encrypt` for the store."""
    place = f"memory://{tmp_path.name}"

    def write(encrypt: str) -> Path:
        keys = "".join(
            f'[key.{name}]\nurl = "aws-kms://{REGION}/{alias}?endpoint={kms.url}"\n'
            for name, alias in zip(("old", "new"), aliases, strict=True)
        )
        ring = '[keyring.main]\nroots = ["old", "new"]\nstore = "prod"\n'
        store = f'[store.prod]\nurl = "{place}"\ncache = false\nencrypt = {{ {encrypt}, domain = "d" }}\n'
        path = tmp_path / "c.toml"
        path.write_text(keys + ring + store)
        return path

    yield write
    MemoryBackend._shared.pop(tmp_path.name, None)


def opened(path: Path, clock: FakeClock | None = None) -> SecretStore:
    return strongroom.open("prod", config=path, clock=clock)


def test_reads_of_a_version_within_the_caches_time_ask_kms_once(toml: Any, calls: Calls) -> None:
    """Each write asks for a data key of its own; a version read again within five minutes asks nobody."""
    clock, names = FakeClock(), [f"db/n{number}" for number in range(5)]
    with opened(toml('keys = ["old"], data_key_cache = "5m"'), clock) as store:
        for name in names:
            store.put(name, CANARY)
        assert calls == {"GenerateDataKey": 5}
        for _ in range(scaled(100)):
            assert all(store.get(name).value.matches(CANARY) for name in names)
        assert calls == {"GenerateDataKey": 5, "Decrypt": 5}
        clock.advance(299)
        store.get(names[0])
        assert calls["Decrypt"] == 5
        clock.advance(2)
        store.get(names[0])
        assert calls["Decrypt"] == 6


@pytest.mark.parametrize("end", ["delete", "purge", "rotation"])
def test_what_is_taken_away_takes_all_cached_data_keys_along(toml: Any, calls: Calls, end: str) -> None:
    """After a revocation nothing is opened that KMS was not asked for ▲."""
    with opened(toml('keys = ["old"], data_key_cache = "5m"')) as store:
        version = store.put("db/gone", CANARY).id
        store.put("db/password", CANARY)
        store.get("db/password")
        if end == "rotation":
            pending = store.pending("db/gone", "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11")
            pending.put(f"{CANARY}-new", base_version=version)
            store._backend.retire(Name("db/gone"), version)
        else:
            getattr(store, end)("db/gone")
        before = calls["Decrypt"]
        store.get("db/password")
        assert calls["Decrypt"] == before + 1


def test_a_forked_child_asks_kms_itself(toml: Any, calls: Calls) -> None:
    """Data keys do not pass into the child, and the parent keeps its own."""
    with opened(toml('keys = ["old"], data_key_cache = "5m"')) as store:
        store.put("db/password", CANARY)
        store.get("db/password")

        def child(say: Say) -> None:
            before = calls["Decrypt"]
            assert store.get("db/password").value.matches(CANARY)
            say(calls["Decrypt"] - before)

        with forked(child) as (process,):
            assert process.hear() == 1
        store.get("db/password")
        assert calls["Decrypt"] == 1


def test_a_thousand_writes_and_reads_through_a_keyring_ask_kms_once(toml: Any, calls: Calls) -> None:
    """When the store is first used: one root opens the keyring."""
    path = toml('keyring = "main"')
    keyring("main", config=path, create=True).close()
    calls.clear()
    with opened(path) as store:
        assert not calls
        for number in range(scaled(1000)):
            name = f"db/n{number}"
            store.put(name, CANARY)
            assert store.get(name).value.matches(CANARY)
        assert calls == {"Decrypt": 1}


def test_moving_to_another_alias_moves_everything(toml: Any, calls: Calls) -> None:
    """An alias may mean the old key until KMS answered: a fresh process takes nothing for done ▲."""
    names = [f"db/n{number}" for number in range(5)]
    with opened(toml('keys = ["old"]')) as store:
        for name in names:
            store.put(name, CANARY)
    path = toml('keys = ["new"], old_keys = ["old"]')
    with opened(path) as store:
        assert reencrypt_store(store, dry_run=True).due == names
    with opened(path) as store:
        assert reencrypt_store(store).done == names
    calls.clear()
    with opened(path) as store:
        assert reencrypt_store(store).already == len(names)
        assert calls == {"GenerateDataKey": 1}
    with opened(toml('keys = ["new"]')) as store:
        assert all(store.get(name).value.matches(CANARY) for name in names)
