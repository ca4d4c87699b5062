"""Replicas have keys of their own: the source's may be destroyed, and no ciphertext stands for another."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from strongroom.backend import Stage
from strongroom.envelope.message import decode_header
from strongroom.errors import IntegrityError, SecretStoreError
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.replicas import domains, replicas
from strongroom.replication.plan import Action
from strongroom.toml.file import Config, read_text
from strongroom.value import SecretValue
from strongroom_local.keyset import KeysetFile
from tests.canary import CANARY
from tests.integration.transit_support import MOUNT, made
from tests.servers.openbao import OpenBao

A, B = Name("db/password"), Name("exchange/key")
TOKEN = "REPLICATED_VAULT_TOKEN"


class Regions:
    """A source on OpenBao under a transit key, a replica in memory under a local key, one in a database."""

    def __init__(self, folder: Path, server: OpenBao, mount: str):
        self.kek, self.us = made(server), uuid.uuid4().hex
        for one in ("data", "keys"):
            (folder / one).mkdir(mode=0o700)
        KeysetFile(folder / "keys" / "us.json").create()
        auth = f'auth = {{ token = "env://{TOKEN}" }}\n'
        text = (
            f'[key.eu]\nurl = "vault-transit:///{MOUNT}/{self.kek.name}?endpoint={server.address}"\n{auth}'
            f'[key.us]\nurl = "local-key://{folder}/keys/us.json"\n'
            f'[store.eu]\nurl = "vault:///{mount}/app?endpoint={server.address}"\n{auth}'
            'encrypt = { keys = ["eu"], domain = "prod" }\ncache = false\n'
            f'[store.us]\nurl = "memory://{self.us}"\nencrypt = {{ keys = ["us"], domain = "prod" }}\n'
            f'[store.dr]\nurl = "local://{folder}/data/dr.db?create=keyset"\n'
            f'options = {{ keyset = "{folder}/keys/dr.json" }}\n'
            f'[store.test]\nurl = "memory://{self.us}"\nencrypt = {{ keys = ["us"], domain = "test" }}\n'
            '[replica]\nus = { source = "eu" }\ndr = { source = "eu" }\n'
        )
        self.config: Config = read_text(Path("c.toml"), text, "")

    def sync(self) -> None:
        with replicas(self.config) as found:
            assert all(one.sync().complete for one in found.values())

    @property
    def raw(self) -> MemoryBackend:
        """What the replica in memory holds, as it is stored."""
        return MemoryBackend._shared[self.us]


@pytest.fixture
def regions(
    tmp_path: Path, openbao_server: OpenBao, kv2_mount: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Regions]:
    monkeypatch.setenv(TOKEN, openbao_server.token)
    found = Regions(tmp_path, openbao_server, kv2_mount)
    with strongroom.open("eu", config=found.config) as eu:
        eu.put(str(A), f"{CANARY} a")
        eu.put(str(B), f"{CANARY} b")
    found.sync()
    yield found
    MemoryBackend._shared.pop(found.us, None)


def test_the_sources_key_destroyed_every_replica_still_opens(regions: Regions) -> None:
    """Values, the order among them and the digest key: whoever takes over can go on."""
    regions.kek.call("/config", deletion_allowed=True)
    regions.kek.server.client().secrets.transit.delete_key(regions.kek.name, MOUNT)
    with strongroom.open("eu", config=regions.config) as eu, pytest.raises(SecretStoreError):
        eu.get(str(A))
    for alias in ("us", "dr"):
        with strongroom.open(alias, config=regions.config) as replica:
            found = replica.get(str(A))
            assert (found.value.reveal_text(), bool(found.record)) == (f"{CANARY} a", True)
    with domains(regions.config) as opened:
        from strongroom.replication.order import Order

        for alias in ("us", "dr"):
            order = Order(opened.members[alias].backend, "prod", alias=alias)
            assert order.standing(A).record
            assert order.digest_key() is not None


def test_no_replica_has_a_data_key_that_the_sources_key_wrapped(regions: Regions) -> None:
    """It would be readable by whoever has the source's account, and its message by nobody else."""
    stored = regions.raw.get(A, Stage.CURRENT).value.reveal()
    header, _ = decode_header(stored)
    assert len(header.wrapped_keys) == 1
    assert regions.kek.name.encode() not in stored
    with domains(regions.config) as opened:
        source = opened.members["eu"].backend.inner.get(A, Stage.CURRENT).value.reveal()  # type: ignore[attr-defined]
    assert regions.kek.name.encode() in source


def test_two_secrets_ciphertexts_swapped_at_a_replica_open_under_neither_name(regions: Regions) -> None:
    """And the next comparison finds both: what does not open is not this replication's."""
    a, b = (regions.raw.get(name, Stage.CURRENT) for name in (A, B))
    regions.raw.put(A, b.value, a.version, a.record)
    regions.raw.put(B, a.value, b.version, b.record)
    with strongroom.open("us", config=regions.config) as us:
        for name in (A, B):
            with pytest.raises(IntegrityError):
                us.get(str(name))
    with replicas(regions.config) as found:
        plan = found["us"].plan([str(A), str(B)])
        assert [step.action for step in plan.steps] == [Action.FOREIGN, Action.FOREIGN]
        assert found["us"].adopt([str(A), str(B)]).complete
    with strongroom.open("us", config=regions.config) as us:
        assert us.get(str(A)).value == SecretValue(f"{CANARY} a")


def test_two_secrets_ciphertexts_swapped_at_the_source_go_nowhere(regions: Regions) -> None:
    """The replicas keep the good ones, and the reason stands in the plan."""
    with domains(regions.config) as opened:
        raw = opened.members["eu"].backend.inner  # type: ignore[attr-defined]
        a, b = (raw.get(name, Stage.CURRENT) for name in (A, B))
        raw.put(A, b.value, None)
        raw.put(B, a.value, None)
    with strongroom.open("eu", config=regions.config) as eu, pytest.raises(IntegrityError):
        eu.get(str(A))
    with replicas(regions.config) as found:
        report = found["us"].sync()
        assert [step.action for step in report.skipped] == [Action.REFUSED, Action.REFUSED]
    with strongroom.open("us", config=regions.config) as us:
        assert us.get(str(A)).value == SecretValue(f"{CANARY} a")


def test_another_domains_ciphertext_does_not_open_under_the_very_same_key(regions: Regions) -> None:
    """Of a test system, for one, whose secrets are others' to choose."""
    held = regions.raw.get(A, Stage.CURRENT)
    test = Config(stores={"test": regions.config.stores["test"]}, keys=regions.config.keys)
    with strongroom.open("test", config=test) as store:
        store.put(str(A), f"{CANARY} chosen by somebody")
    with strongroom.open("us", config=regions.config) as us, pytest.raises(IntegrityError):
        us.get(str(A))
    regions.raw.put(A, held.value, None, held.record)
    with strongroom.open("test", config=test) as store, pytest.raises(IntegrityError):
        store.get(str(A))


def test_another_regions_ciphertext_does_not_open(regions: Regions) -> None:
    """It is under that region's key, whoever copied it here."""
    with domains(regions.config) as opened:
        message = opened.members["eu"].backend.inner.get(A, Stage.CURRENT).value  # type: ignore[attr-defined]
    regions.raw.put(A, message, None)
    with strongroom.open("us", config=regions.config) as us, pytest.raises(IntegrityError):
        us.get(str(A))


def test_an_older_version_put_back_as_if_it_were_the_newest_is_found(regions: Regions) -> None:
    """It opens, as it did: but its digest is not the one of that place in the order."""
    old = regions.raw.get(A, Stage.CURRENT)
    with strongroom.open("eu", config=regions.config) as eu:
        eu.put(str(A), f"{CANARY} two")
    regions.sync()
    new = regions.raw.get(A, Stage.CURRENT)
    regions.raw.put(A, old.value, None, new.record)
    with replicas(regions.config) as found:
        [step] = found["us"].plan([str(A)]).steps
        assert step.action in (Action.FOREIGN, Action.QUARANTINE)
