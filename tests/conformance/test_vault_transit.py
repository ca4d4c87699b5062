"""Keys of the real OpenBao's transit engine: KEKs of every kind that can bind a context, and signing keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from strongroom.keys import KeyWrapper, Signer
from tests.conformance.support import SignerSuite, WrapperSuite
from tests.integration.transit_support import Key, imported_hmac, made, outsider
from tests.servers.openbao import OpenBao

NOWHERE = "http://127.0.0.1:9"


class _Wrappers(WrapperSuite):
    """Of what kind the KEK is, the subclass says."""

    kind: ClassVar[dict[str, object]] = {}
    options: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def key(cls, openbao_server: OpenBao) -> Key:
        return made(openbao_server, **cls.kind)

    @pytest.fixture(scope="class")
    @classmethod
    def other(cls, openbao_server: OpenBao) -> Iterator[KeyWrapper]:
        with made(openbao_server, **cls.kind).opened(options=cls.options) as other:
            yield other

    @pytest.fixture
    def wrapper(self, key: Key) -> Iterator[KeyWrapper]:
        with key.opened(options=self.options) as wrapper:
            yield wrapper

    @pytest.fixture
    def refused(self, key: Key) -> Iterator[KeyWrapper]:
        with key.opened(auth=outsider(key), options=self.options) as refused:
            yield refused


class TestDerived(_Wrappers):
    """Each context has a key of its own."""

    kind: ClassVar[dict[str, object]] = {"type": "aes256-gcm96", "derived": True}


class TestAES(_Wrappers):
    """The context is associated data."""

    kind: ClassVar[dict[str, object]] = {"type": "aes256-gcm96"}


class TestXChaCha(_Wrappers):
    """The same with the longer nonce."""

    second_way = True

    kind: ClassVar[dict[str, object]] = {"type": "xchacha20-poly1305"}


class TestConvergent(_Wrappers):
    """Derived keys that encrypt the same to the same: data keys never are the same."""

    second_way = True

    kind: ClassVar[dict[str, object]] = {
        "type": "chacha20-poly1305", "derived": True, "convergent_encryption": True
    }  # fmt: skip


class TestRSA(_Wrappers):
    """Bound to the context's digest; anybody who reads the public key can wrap, so no store takes it."""

    kind: ClassVar[dict[str, object]] = {"type": "rsa-2048"}
    options: ClassVar[dict[str, str]] = {"algorithm": "RSA-OAEP-256"}
    symmetric = False


class _Signers(SignerSuite):
    """Of what type the key is, the subclass says."""

    type: ClassVar[str] = ""
    options: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def key(cls, openbao_server: OpenBao) -> Key:
        return made(openbao_server, type=cls.type, **({"key_size": 32} if cls.type == "hmac" else {}))

    @pytest.fixture(scope="class")
    @classmethod
    def other(cls, openbao_server: OpenBao) -> Iterator[Signer]:
        more = {"key_size": 32} if cls.type == "hmac" else {}
        with made(openbao_server, type=cls.type, **more).signing(options=cls.options) as other:
            yield other

    @pytest.fixture
    def signer(self, key: Key) -> Iterator[Signer]:
        with key.signing(options=self.options) as signer:
            yield signer

    @pytest.fixture
    def refused(self, key: Key) -> Iterator[Signer]:
        with key.signing(auth=outsider(key), options={"algorithm": self.algorithm}) as refused:
            yield refused

    @pytest.fixture
    def unreachable(self, key: Key) -> Iterator[Signer]:
        options = {"algorithm": self.algorithm}
        with key.signing(address=NOWHERE, options=options, attempts=1) as unreachable:
            yield unreachable


class TestP256(_Signers):
    type = "ecdsa-p256"


class TestP384(_Signers):
    second_way = True
    type = "ecdsa-p384"
    algorithm = "ES384"


class TestEd25519(_Signers):
    type = "ed25519"
    algorithm = "Ed25519"


class TestPSS(_Signers):
    """What an RSA key signs by default."""

    type = "rsa-2048"
    algorithm = "PS256"


class TestPKCS1(_Signers):
    """What an RSA key signs if it is told to."""

    second_way = True

    type = "rsa-3072"
    algorithm = "RS256"
    options: ClassVar[dict[str, str]] = {"algorithm": "RS256"}


class TestHMAC(_Signers):
    type = "hmac"
    algorithm = "HS256"

    @pytest.fixture
    def known(self, openbao_server: OpenBao) -> Iterator[tuple[Signer, bytes]]:
        key, secret = imported_hmac(openbao_server)
        with key.signing() as signer:
            yield signer, secret
