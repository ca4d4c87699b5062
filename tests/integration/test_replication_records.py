"""Where replication's record lies at each provider; it fits there beside a full set of the user's tags."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pkcs11 import Attribute

from strongroom.backend import Backend, Capability, Stage
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.testing.conformance_records import LONGEST
from strongroom.value import SecretValue
from tests.canary import CANARY, not_ours
from tests.integration.azure_support import FLAT, open_store
from tests.integration.gcp_support import SECRET, native, opened
from tests.integration.pkcs11_support import Place
from tests.integration.vault_support import open_kv1
from tests.integration.vault_support import open_store as open_vault
from tests.servers.azure import Vault
from tests.servers.google import Google
from tests.servers.openbao import OpenBao
from tests.servers.softhsm import TestToken
from tests.unit.local_support import local

DB = Name("db/password")
OTHER = LONGEST[:-1] + "b"


class Fits:
    """What holds of every provider; a subclass says what it takes, and where the record lies.

    Parameter Store's is beside its other tests.

    Attributes:
        secret: the value begins with it.
        full: as many tags, as long, as the provider takes of a user of Strongroom's.
    """

    secret: ClassVar[str] = CANARY
    full: ClassVar[dict[str, str]] = {f"tag{number}": "x" * 256 for number in range(100)}

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    def lies(self, backend: Backend) -> str:
        """The record of the newest version, read past Strongroom."""
        raise NotImplementedError

    def test_the_longest_record_fits_beside_all_that_users_may_put_there(self, backend: Backend) -> None:
        """200 characters, a value at its limit and a full set of tags, whichever comes first."""
        largest = SecretValue(self.secret.ljust(backend.limit(DB) or 0, "x"))
        backend.put(DB, largest, None, LONGEST)
        if Capability.TAGS in backend.capabilities:
            backend.set_tags(DB, self.full)
            assert self.lies(backend) == LONGEST
        written = backend.put(DB, largest, None, OTHER)
        [info] = backend.list_info("", detail=True)
        assert (info.record, self.lies(backend)) == (OTHER, OTHER)
        found = backend.get(DB, written.id)
        assert (found.record, found.value == largest) == (OTHER, True)
        if Capability.TAGS in backend.capabilities:
            assert dict(backend.describe(DB).tags) == self.full


class TestGoogle(Fits):
    """An annotation of the secret, which tells it of the newest two versions."""

    full: ClassVar = {f"tag{number}": "x" * 246 for number in range(40)}  # 10 KiB of the 16, names included

    @pytest.fixture
    def backend(self, google_server: Google) -> Iterator[Backend]:
        self.client = native(google_server)
        yield (backend := opened(google_server))
        backend.close()

    def lies(self, backend: Backend) -> str:
        told = self.client.get_secret(name=SECRET).annotations["strongroom.record"]
        number, _, record = str(told.split()[-1]).partition(":")
        assert number == backend.get(DB, Stage.CURRENT).version.partition(".")[0]
        return record


class TestAzure(Fits):
    """A tag of the version."""

    full: ClassVar = {f"tag{number}".ljust(256, "n"): "x" * 256 for number in range(13)}  # of 15

    @pytest.fixture
    def backend(self, azure_server: Vault) -> Iterator[Backend]:
        with azure_server.client(retry_total=0) as self.client:
            yield (backend := open_store(azure_server))
        backend.close()

    def lies(self, backend: Backend) -> str:
        with not_ours():
            return str(self.client.get_secret(FLAT).properties.tags["strongroom-record"])


class TestVault(Fits):
    """Beside the value in the same map. Tags are custom_metadata, which is written by another request."""

    full: ClassVar = {f"tag{number}".ljust(128, "n"): "x" * 512 for number in range(64)}

    @pytest.fixture
    def backend(self, openbao_server: OpenBao, kv2_mount: str) -> Iterator[Backend]:
        self.client, self.mount = openbao_server.client(), kv2_mount
        yield (backend := open_vault(openbao_server, kv2_mount))
        backend.close()

    def lies(self, backend: Backend) -> str:
        with not_ours():
            told = self.client.secrets.kv.v2.read_secret_version(
                "prod/db/password", mount_point=self.mount, raise_on_deleted_version=True
            )
        return str(told["data"]["data"]["strongroom"]["record"])


class TestVault1(Fits):
    """Likewise; there are no tags."""

    @pytest.fixture
    def backend(self, openbao_server: OpenBao, kv1_mount: str) -> Iterator[Backend]:
        self.client, self.mount = openbao_server.client(), kv1_mount
        yield (backend := open_kv1(openbao_server, kv1_mount))
        backend.close()

    def lies(self, backend: Backend) -> str:
        with not_ours():
            told = self.client.secrets.kv.v1.read_secret("prod/db/password", mount_point=self.mount)
        return str(told["data"]["strongroom"]["record"])


class TestPkcs11(Fits):
    """In CKA_APPLICATION of the version's object, which is set when it is made."""

    @pytest.fixture
    def backend(self, softhsm_store: TestToken) -> Iterator[Backend]:
        self.place = Place(softhsm_store)
        yield (backend := self.place.open())
        backend.close()

    def lies(self, backend: Backend) -> str:
        with self.place.native() as session:
            [found] = session.get_objects({Attribute.LABEL: self.place.label(DB)})
            _, _, facts = str(found[Attribute.APPLICATION]).partition(" ")
        return str(json.loads(facts)["record"])


class TestLocal(Fits):
    """In the secret's row, whose checksum covers it."""

    secret = "not so secret"  # nothing encrypts it here

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        yield (backend := local(tmp_path))
        backend.close()

    def lies(self, backend: Backend) -> str:
        with sqlite3.connect(backend.origin.removeprefix("local://")) as database:
            rows: list[Any] = database.execute("SELECT * FROM secret").fetchall()
        found = [record for record in (LONGEST, OTHER) if record in str(rows)]
        return found[-1]


class TestMemory(Fits):
    """With the version."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()

    def lies(self, backend: Backend) -> str:
        return str(backend.get(DB, Stage.CURRENT).record)
