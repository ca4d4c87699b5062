"""Cloud KMS keys and signing keys pass the suites, on the wire double in a process of its own: cases fork."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from strongroom.backend import Settings
from strongroom.keys import KeyWrapper, Signer
from strongroom.registry import open_key, open_signer
from strongroom.testing.clock import FakeClock
from tests.conformance.support import SignerSuite, WrapperSuite
from tests.servers.process import free_port
from tests.unit.google_support import made_key

if TYPE_CHECKING:
    from tests.servers.google import Process


def _settings() -> Settings:
    """Waits between attempts pass on the injected clock."""
    return Settings(clock=FakeClock(), timeout=5)


@contextmanager
def _wrapper(key: str, url: str) -> Iterator[KeyWrapper]:
    wrapper = open_key(f"gcp-kms://{key}?endpoint={url}", _settings())
    yield wrapper
    wrapper.close()


@contextmanager
def _signer(version: str, url: str, settings: Settings) -> Iterator[Signer]:
    signer = open_signer(f"gcp-kms://{version}?endpoint={url}", settings)
    yield signer
    signer.close()


class _WrapperOnTheDouble(WrapperSuite):
    @pytest.fixture
    def key(self, google_process: Process) -> str:
        """A fresh key."""
        return made_key(google_process.address).partition("/cryptoKeyVersions/")[0]

    @pytest.fixture
    def wrapper(self, google_process: Process, key: str) -> Iterator[KeyWrapper]:
        with _wrapper(self.named(key), google_process.url) as wrapper:
            yield wrapper

    @pytest.fixture
    def other(self, google_process: Process) -> Iterator[KeyWrapper]:
        key = made_key(google_process.address).partition("/cryptoKeyVersions/")[0]
        with _wrapper(self.named(key), google_process.url) as wrapper:
            yield wrapper

    @pytest.fixture
    def refused(self, google_denying: Process, key: str) -> Iterator[KeyWrapper]:
        with _wrapper(self.named(key), google_denying.url) as wrapper:
            yield wrapper

    @pytest.fixture
    def unreachable(self, key: str) -> Iterator[KeyWrapper]:
        with _wrapper(self.named(key), f"http://127.0.0.1:{free_port()}") as wrapper:
            yield wrapper

    def named(self, key: str) -> str:
        """What the URL names."""
        return key


class TestCloudKMSKey(_WrapperOnTheDouble):
    """A key by its own name."""


class TestCloudKMSKeyVersion(_WrapperOnTheDouble):
    """A key by the name of a version."""

    second_way = True

    def named(self, key: str) -> str:
        return f"{key}/cryptoKeyVersions/1"


class _SignerOnTheDouble(SignerSuite):
    google: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def version(self, google_process: Process) -> str:
        """A fresh key's first version."""
        return made_key(google_process.address, self.google)

    @pytest.fixture
    def signer(self, google_process: Process, version: str) -> Iterator[Signer]:
        with _signer(version, google_process.url, self.settings()) as signer:
            yield signer

    @pytest.fixture
    def other(self, google_process: Process) -> Iterator[Signer]:
        version = made_key(google_process.address, self.google)
        with _signer(version, google_process.url, self.settings()) as signer:
            yield signer

    @pytest.fixture
    def refused(self, google_denying: Process, version: str) -> Iterator[Signer]:
        with _signer(version, google_denying.url, self.settings(algorithm=self.algorithm)) as signer:
            yield signer

    @pytest.fixture
    def unreachable(self, version: str) -> Iterator[Signer]:
        url = f"http://127.0.0.1:{free_port()}"
        with _signer(version, url, self.settings(algorithm=self.algorithm)) as signer:
            yield signer

    def settings(self, **options: Any) -> Settings:
        """With the options of the class."""
        return Settings(clock=FakeClock(), timeout=5, options=options)


class TestES256(_SignerOnTheDouble):
    google = "EC_SIGN_P256_SHA256"


class TestES384(_SignerOnTheDouble):
    second_way = True
    algorithm = "ES384"
    google = "EC_SIGN_P384_SHA384"


class TestES256K(_SignerOnTheDouble):
    algorithm = "ES256K"
    google = "EC_SIGN_SECP256K1_SHA256"


class TestEd25519(_SignerOnTheDouble):
    """Of data alone; an empty message is none to Cloud KMS."""

    algorithm = "Ed25519"
    google = "EC_SIGN_ED25519"
    lengths = range(1, 65_537)


class TestPS256(_SignerOnTheDouble):
    algorithm = "PS256"
    google = "RSA_SIGN_PSS_2048_SHA256"


class TestRS256(_SignerOnTheDouble):
    second_way = True
    algorithm = "RS256"
    google = "RSA_SIGN_PKCS1_2048_SHA256"


class TestHS256(_SignerOnTheDouble):
    """A key's bytes are known in tests/unit/test_gcp_kms.py."""

    algorithm = "HS256"
    google = "HMAC_SHA256"
    lengths = range(1, 65_537)
