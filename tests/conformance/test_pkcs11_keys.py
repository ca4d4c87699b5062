"""Keys in tokens pass the suites of key services: on SoftHSM, and key wrap on NSS softokn too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from pkcs11 import Attribute, KeyType
from pkcs11.util.ec import encode_named_curve_parameters

from strongroom.backend import Settings
from strongroom.keys import KeyWrapper, Signer
from strongroom.registry import open_key, open_signer
from strongroom.testing import KeyWrapperConformance, SignerConformance
from strongroom.value import SecretValue
from strongroom_pkcs11.create import create_key
from tests.canary import CANARY
from tests.scale import scaled
from tests.servers.softhsm import TestToken

Opener = Callable[..., KeyWrapper]
SignerOpener = Callable[..., Signer]


def _wrong(settings: Settings) -> Settings:
    """Somebody else's settings: the process is logged in, and still nobody enters with a wrong PIN."""
    return replace(settings, auth={"pin": SecretValue(f"{CANARY}-wrong")})


class _Wrapped(KeyWrapperConformance):
    """The KEK suite; a subclass says which token, mechanism and kind of key."""

    mechanism: ClassVar[str] = "aes-key-wrap-pad"
    kind: ClassVar[str] = "aes-256"

    @pytest.fixture(scope="class")
    @classmethod
    def token(cls, softhsm_token: TestToken) -> TestToken:
        """Where the keys are."""
        return softhsm_token

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, token: TestToken) -> Settings:
        """With one attempt only: nothing here fails for the moment."""
        return token.settings(options={"mechanism": cls.mechanism}, attempts=1)

    @pytest.fixture(scope="class")
    @classmethod
    def urls(cls, token: TestToken, settings: Settings) -> list[str]:
        """Two keys made in the token."""
        return [create_key(token.url(token.unique("kek")), settings, cls.kind) for _ in range(2)]

    @pytest.fixture
    def wrapper(self, urls: list[str], settings: Settings) -> Iterator[KeyWrapper]:
        """The first."""
        yield from _closing(open_key(urls[0], settings))

    @pytest.fixture
    def other(self, urls: list[str], settings: Settings) -> Iterator[KeyWrapper]:
        """The second."""
        yield from _closing(open_key(urls[1], settings))

    @pytest.fixture
    def refused(self, wrapper: KeyWrapper, urls: list[str], settings: Settings) -> Iterator[KeyWrapper]:
        """The first, with a wrong PIN."""
        yield from _closing(open_key(urls[0], _wrong(settings)))

    @pytest.fixture
    def unreachable(self, urls: list[str], settings: Settings) -> Iterator[KeyWrapper]:
        """The first, on a token that is not there: the serial number is another's."""
        yield from _closing(open_key(urls[0] + ";serial=gone", settings))

    def count(self, nightly: int) -> int:
        """The issue's scale."""
        return scaled(nightly)


def _closing(key: KeyWrapper) -> Iterator[KeyWrapper]:
    yield key
    key.close()


class TestKeyWrapOnSoftHSM(_Wrapped):
    """AES-KEY-WRAP-PAD, the default."""


class TestKeyWrapOnNSS(_Wrapped):
    """The same code on another module: nothing of it is SoftHSM's habit."""

    @pytest.fixture(scope="class")
    @classmethod
    def token(cls, nss_token: TestToken) -> TestToken:
        """NSS softokn's database."""
        return nss_token


class TestGcmOnSoftHSM(_Wrapped):
    """AES-GCM with the context as additional data."""

    mechanism = "aes-gcm"
    kind = "aes-256-gcm"


class TestOaepOnSoftHSM(_Wrapped):
    """RSA-OAEP, which says of itself that it is asymmetric."""

    symmetric = False
    mechanism = "rsa-oaep"

    @pytest.fixture(scope="class")
    @classmethod
    def urls(cls, token: TestToken) -> list[str]:
        """Two keys made by another program, of 2048 bits: larger ones take seconds to make and to try."""
        labels = [token.unique("kek") for _ in range(2)]
        with token.native() as session:
            for label in labels:
                session.generate_keypair(KeyType.RSA, 2048, label=label, store=True)
        return [token.url(label) for label in labels]


class _Signed(SignerConformance):
    """The signers' suite; a subclass says which algorithm and kind of key."""

    kind: ClassVar[str] = "p256"

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, softhsm_token: TestToken) -> Settings:
        """With one attempt only: nothing here fails for the moment."""
        return softhsm_token.settings(attempts=1)

    @pytest.fixture(scope="class")
    @classmethod
    def urls(cls, softhsm_token: TestToken, settings: Settings) -> list[str]:
        """Two keys made in the token."""
        labels = [softhsm_token.unique("signer") for _ in range(2)]
        return [create_key(softhsm_token.url(label), settings, cls.kind) for label in labels]

    @pytest.fixture
    def signer(self, urls: list[str], settings: Settings) -> Iterator[Signer]:
        """The first."""
        yield from _closing_signer(open_signer(urls[0], settings))

    @pytest.fixture
    def other(self, urls: list[str], settings: Settings) -> Iterator[Signer]:
        """The second."""
        yield from _closing_signer(open_signer(urls[1], settings))

    @pytest.fixture
    def refused(self, signer: Signer, urls: list[str], settings: Settings) -> Iterator[Signer]:
        """The first, with a wrong PIN, while the right one is logged in."""
        assert signer.algorithm == self.algorithm
        stated = replace(settings, options={**settings.options, "algorithm": self.algorithm})
        yield from _closing_signer(open_signer(urls[0], _wrong(stated)))

    @pytest.fixture
    def unreachable(self, urls: list[str], settings: Settings) -> Iterator[Signer]:
        """The first, on a token that is not there."""
        stated = replace(settings, options={**settings.options, "algorithm": self.algorithm})
        yield from _closing_signer(open_signer(urls[0] + ";serial=gone", stated))

    def count(self, nightly: int) -> int:
        """The issue's scale."""
        return scaled(nightly)


def _closing_signer(signer: Signer) -> Iterator[Signer]:
    yield signer
    signer.close()


class TestES256(_Signed):
    """P-256."""


class TestES256K(_Signed):
    """secp256k1, with the low s."""

    algorithm = "ES256K"
    kind = "secp256k1"


class TestEd25519(_Signed):
    """Ed25519 over the message itself."""

    algorithm = "Ed25519"
    kind = "ed25519"


class TestHS256(_Signed):
    """HMAC-SHA256 over the message itself."""

    algorithm = "HS256"
    kind = "hmac"


class TestES384(_Signed):
    """P-384, which other programs make."""

    algorithm = "ES384"

    @pytest.fixture(scope="class")
    @classmethod
    def urls(cls, softhsm_token: TestToken) -> list[str]:
        """Two keys made by another program."""
        labels = [softhsm_token.unique("signer") for _ in range(2)]
        with softhsm_token.native() as session:
            for label in labels:
                params = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp384r1")}
                domain = session.create_domain_parameters(KeyType.EC, params, local=True)
                domain.generate_keypair(label=label, store=True)
        return [softhsm_token.url(label) for label in labels]
