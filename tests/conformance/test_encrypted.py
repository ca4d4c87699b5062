"""The Encrypted layer over memory and over the embedded store, and in each way it is configured.

Over every other backend it runs beside that backend's own classes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.backend import Backend, Capability
from strongroom.envelope.datakeys import DataKeyCache
from strongroom.envelope.keyring import Keyring, StorePlace
from strongroom.keys import KeyWrapper
from strongroom.layers.encrypted import Encrypted
from strongroom.localkey import LocalKey
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.testing.conformance_base import Plant
from strongroom.value import SecretValue
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import KEY_BYTES, Counter, encrypted
from tests.conformance.test_local import local

COMPANION = ALL & ~Capability.NATIVE_PENDING


def key(name: str = "test") -> LocalKey:
    return LocalKey(KEY_BYTES, name=name, counter=Counter())


class TestEncrypted(EncryptedSuite):
    """Over native pending values."""

    @pytest.fixture
    def backend(self) -> Backend:
        return encrypted(MemoryBackend())


class TestEncryptedCompanion(EncryptedSuite):
    """Over a companion, whose messages are bound to the companion's own key."""

    undeclared = Capability.NATIVE_PENDING

    @pytest.fixture
    def backend(self) -> Backend:
        return encrypted(MemoryBackend(COMPANION))


class TestEncryptedLocal(EncryptedSuite):
    """Over the embedded store, which is encrypted under its own key below: a message in a message."""

    second_way = True

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return encrypted(local(tmp_path))


class TestUnderAKeyring(EncryptedSuite):
    """The keyring is kept in the very store that it encrypts."""

    undeclared = Capability.NATIVE_PENDING
    second_way = True

    @pytest.fixture
    def backend(self) -> Backend:
        inner = MemoryBackend(COMPANION)
        keyring = Keyring.create(StorePlace(inner, "main"), [key("root")], name="main")
        return Encrypted(inner, [keyring], "conformance")


class TestUnderManyKeys(EncryptedSuite):
    """Three keys for what is written, and two old ones."""

    second_way = True

    @pytest.fixture
    def backend(self) -> Backend:
        keys: list[KeyWrapper] = [key(name) for name in "abcde"]
        return Encrypted(MemoryBackend(), keys[:3], "conformance", old_keys=keys[3:])


class TestWithADataKeyCache(EncryptedSuite):
    """What is read again is not unwrapped again; nothing else may be seen of it."""

    undeclared = Capability.NATIVE_PENDING
    second_way = True

    @pytest.fixture
    def backend(self) -> Backend:
        remote = key()
        remote.remote = True
        return Encrypted(MemoryBackend(COMPANION), [remote], "conformance", data_keys=DataKeyCache())


class TestInTransition(EncryptedSuite):
    """What is planted below the layer stands there in plaintext; whatever the store writes is a message."""

    undeclared = Capability.NATIVE_PENDING
    second_way = True

    @pytest.fixture
    def backend(self) -> Backend:
        return Encrypted(MemoryBackend(COMPANION), [key()], "conformance", allow_plaintext=True)

    @pytest.fixture
    def plant(self, backend: Backend) -> Plant:
        inner = self.layer(backend).inner
        return lambda name, text: inner.put(Name(name), SecretValue(text), None)
