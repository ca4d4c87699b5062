"""AWS KMS against moto, mended where it is not KMS: KEKs and signing keys of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from strongroom.backend import Settings
from strongroom.keys import KeyWrapper, Signer, WrappedKey
from strongroom.registry import open_key, open_signer
from strongroom.value import SecretValue
from tests.conformance.support import SignerSuite, WrapperSuite
from tests.servers import moto_kms
from tests.servers.boto import REGION
from tests.servers.moto import Moto

NOWHERE = "http://127.0.0.1:9"
NOBODY: dict[str, str | SecretValue] = {
    "access_key_id": moto_kms.REFUSED,
    "secret_access_key": SecretValue("x"),
}


@dataclass(frozen=True)
class Place:
    """One key of a KMS, and the ways to open it."""

    name: str
    url: str
    options: dict[str, str]

    def settings(self, **more: Any) -> Settings:
        return Settings(options=self.options, **more)

    def at(self, endpoint: str | None = None) -> str:
        return f"aws-kms://{REGION}/{self.name}?endpoint={endpoint or self.url}"


def made(kms: Moto, options: dict[str, str] | None = None, *, alias: str = "", **params: Any) -> Place:
    """A new key, named by its alias if it is to have one."""
    client = kms.client("kms")
    key_id = client.create_key(**params)["KeyMetadata"]["KeyId"]
    if alias:
        client.create_alias(AliasName=alias, TargetKeyId=key_id)
    return Place(alias or key_id, kms.url, options or {})


class _Wrappers(WrapperSuite):
    """How a KEK of one kind is made is the subclass's."""

    kind: ClassVar[dict[str, Any]] = {}
    options: ClassVar[dict[str, str]] = {}
    alias = ""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, kms: Moto) -> Place:
        return made(kms, cls.options, alias=cls.alias, **cls.kind)

    @pytest.fixture(scope="class")
    @classmethod
    def other(cls, kms: Moto) -> Iterator[KeyWrapper]:
        place = made(kms, cls.options, **cls.kind)
        key = open_key(place.at(), place.settings())
        yield key
        key.close()

    @pytest.fixture
    def wrapper(self, place: Place) -> Iterator[KeyWrapper]:
        key = open_key(place.at(), place.settings())
        yield key
        key.close()

    @pytest.fixture
    def refused(self, place: Place) -> Iterator[KeyWrapper]:
        key = open_key(place.at(), place.settings(auth=NOBODY))
        yield key
        key.close()

    @pytest.fixture
    def unreachable(self, place: Place) -> Iterator[KeyWrapper]:
        key = open_key(place.at(NOWHERE), place.settings(attempts=1))
        yield key
        key.close()


class TestKMSKey(_Wrappers):
    """Named by its id."""


class TestKMSAlias(_Wrappers):
    """Named by an alias: until KMS has answered, nobody knows which key it is."""

    second_way = True

    alias = "alias/strongroom/conformance"


class TestMultiRegionKMSKey(_Wrappers):
    """With an id that is the same in all its regions."""

    second_way = True

    kind: ClassVar[dict[str, Any]] = {"MultiRegion": True}

    @staticmethod
    def is_refused(wrapper: KeyWrapper, wrapped: WrappedKey) -> bool:
        """The ARN of another region means the same key, and opens."""
        ours, theirs = (text.split(":") for text in (wrapper.key_id, wrapped.key_info.decode("latin-1")))
        replica = len(theirs) == len(ours) and theirs[3] != ours[3]
        if replica and wrapper.matches(wrapped):
            return theirs[:3] + theirs[4:] == ours[:3] + ours[4:]
        return WrapperSuite.is_refused(wrapper, wrapped)


class TestAsymmetricKMSKey(_Wrappers):
    """RSA, which encrypted stores refuse."""

    kind: ClassVar[dict[str, Any]] = {"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "RSA_2048"}
    options: ClassVar[dict[str, str]] = {"algorithm": "RSAES_OAEP_SHA_256"}
    symmetric = False


class _Signers(SignerSuite):
    """How a signing key of one kind is made is the subclass's."""

    spec = ""
    usage = "SIGN_VERIFY"
    options: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, kms: Moto) -> Place:
        return made(kms, cls.options, KeyUsage=cls.usage, KeySpec=cls.spec)

    @pytest.fixture(scope="class")
    @classmethod
    def other(cls, kms: Moto) -> Iterator[Signer]:
        place = made(kms, cls.options, KeyUsage=cls.usage, KeySpec=cls.spec)
        key = open_signer(place.at(), place.settings())
        yield key
        key.close()

    @pytest.fixture
    def signer(self, place: Place) -> Iterator[Signer]:
        key = open_signer(place.at(), place.settings())
        yield key
        key.close()

    @pytest.fixture
    def refused(self, place: Place) -> Iterator[Signer]:
        key = open_signer(place.at(), Settings(options={"algorithm": self.algorithm}, auth=NOBODY))
        yield key
        key.close()

    @pytest.fixture
    def unreachable(self, place: Place) -> Iterator[Signer]:
        settings = Settings(options={"algorithm": self.algorithm}, attempts=1)
        key = open_signer(place.at(NOWHERE), settings)
        yield key
        key.close()


class TestES256(_Signers):
    algorithm = "ES256"
    spec = "ECC_NIST_P256"


class TestES384(_Signers):
    second_way = True
    algorithm = "ES384"
    spec = "ECC_NIST_P384"


class TestES256K(_Signers):
    algorithm = "ES256K"
    spec = "ECC_SECG_P256K1"


class TestPS256(_Signers):
    algorithm = "PS256"
    spec = "RSA_2048"


class TestRS256(_Signers):
    """Only if it is asked for: PS256 is the better signature of the same key."""

    second_way = True

    algorithm = "RS256"
    spec = "RSA_2048"
    options: ClassVar[dict[str, str]] = {"algorithm": "RS256"}


class TestHS256(_Signers):
    algorithm = "HS256"
    spec = "HMAC_256"
    usage = "GENERATE_VERIFY_MAC"
    lengths = range(1, 4097)
