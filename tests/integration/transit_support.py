"""What the tests of Vault's transit engine share: making keys, and opening them as KEKs or signers."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import hvac.exceptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from strongroom.backend import Settings
from strongroom.keys import KeyWrapper, Signer
from strongroom.registry import open_key, open_signer
from strongroom.value import SecretValue
from tests.integration.vault_support import policy_token, token_auth
from tests.servers.openbao import OpenBao

MOUNT = "transit"
Auth = Mapping[str, str | SecretValue]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Key:
    """A key of the server's transit engine."""

    server: OpenBao
    name: str

    @contextmanager
    def opened(self, *, address: str = "", **settings: Any) -> Iterator[KeyWrapper]:
        """The key as a KEK, as root unless `auth` says otherwise."""
        key = open_key(self.url(address), self.settings(**settings))
        yield key
        key.close()

    @contextmanager
    def signing(self, *, address: str = "", **settings: Any) -> Iterator[Signer]:
        """The key as a signing key."""
        signer = open_signer(self.url(address), self.settings(**settings))
        yield signer
        signer.close()

    def url(self, address: str = "") -> str:
        return f"vault-transit:///{MOUNT}/{self.name}?endpoint={address or self.server.address}"

    def settings(self, **settings: Any) -> Settings:
        auth: Auth = settings.pop("auth", None) or token_auth(self.server.token)
        ca = str(self.server.ca_file) if self.server.ca_file else None
        return Settings(auth=auth, **{"ca": ca, **settings})

    def call(self, path: str = "", /, **facts: object) -> None:
        """Change the key as its administrator does: rotate, config."""
        self.server.client().write_data(f"{MOUNT}/keys/{self.name}{path}", data=facts)


def made(server: OpenBao, **facts: object) -> Key:
    """A fresh key."""
    _mount(server)
    key = Key(server, f"key-{os.getpid()}-{next(_numbers)}")
    key.call(**facts)
    return key


def imported_hmac(server: OpenBao) -> tuple[Key, bytes]:
    """A key whose bytes are known: wrapped as the server asks (RSA-OAEP over AES-KWP), and imported."""
    _mount(server)
    key, secret, wrapping = (
        Key(server, f"known-{os.getpid()}-{next(_numbers)}"),
        os.urandom(32),
        os.urandom(32),
    )
    answer: Any = server.client().read(f"{MOUNT}/wrapping_key")
    public: Any = load_pem_public_key(answer["data"]["public_key"].encode())
    sha256 = hashes.SHA256()
    outer = public.encrypt(wrapping, padding.OAEP(padding.MGF1(sha256), sha256, None))
    blob = base64.b64encode(outer + aes_key_wrap_with_padding(wrapping, secret)).decode()
    key.call("/import", ciphertext=blob, type="hmac", hash_function="SHA256")
    return key, secret


def outsider(key: Key) -> Auth:
    """A token that may do nothing with any key."""
    return token_auth(policy_token(key.server, 'path "elsewhere/*" { capabilities = ["read"] }'))


def _mount(server: OpenBao) -> None:
    try:
        server.client().sys.enable_secrets_engine("transit", MOUNT)
    except hvac.exceptions.InvalidRequest:
        return  # the path is in use: mounted by an earlier test
