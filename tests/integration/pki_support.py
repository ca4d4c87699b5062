"""A PKI engine on the real OpenBao, and stores of its certificates on a clock to turn."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from strongroom.backend import Secret, Settings
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.integration.vault_support import policy_token, token_auth
from tests.servers.openbao import OpenBao

ROLE = {"allow_any_name": True, "key_type": "any", "max_ttl": "3h", "allowed_uri_sans": "spiffe://*"}
HOUR = 3600.0
_numbers = itertools.count(1)


@dataclass
class Engine:
    """A mount with a root of its own and the roles ``web`` (no leases) and ``leased``."""

    server: OpenBao
    mount: str
    root: str

    def policy(self, *more: str) -> str:
        """The policy of the page, for this mount, and what else is to be on it."""
        lines = [f'path "{self.mount}/{path}" {{ capabilities = ["update"] }}' for path in ("sign/*", *more)]
        return "\n".join(lines)

    def token(self, *more: str) -> str:
        """A login that may have certificates signed, and what else is given."""
        return policy_token(self.server, self.policy(*more), ttl="8h")

    @contextmanager
    def store(self, clock: FakeClock, address: str = "", **more: Any) -> Iterator[SecretStore]:
        """A store of this engine's certificates, closed in the end."""
        auth = more.pop("auth", None) or token_auth(self.token("revoke"))
        url = f"vault-pki:///{self.mount}?endpoint={address or self.server.address}"
        backend = open_backend(url, Settings(auth=auth, clock=clock, **more))
        with SecretStore(backend, clock=clock, names=more.get("names", "portable")) as store:
            yield store

    def write(self, path: str, **facts: Any) -> Any:
        """What an operator writes below the mount."""
        with not_ours():
            return self.server.client().write_data(f"{self.mount}/{path}", data=facts)

    def revoked(self, serial: str) -> bool:
        """Whether the authority calls it revoked."""
        with not_ours():
            known: Any = self.server.client().read(f"{self.mount}/cert/{serial}")
        return bool(known["data"]["revocation_time"])

    def soon_revoked(self, serial: str) -> bool:
        """The same, within ten seconds: Vault revokes leases behind its answer."""
        until = time.monotonic() + 10
        while not self.revoked(serial) and time.monotonic() < until:
            pass
        return self.revoked(serial)


def new_engine(server: OpenBao) -> Engine:
    """A fresh mount."""
    mount = f"pki-{next(_numbers)}"
    with not_ours():
        client = server.client()
        client.sys.enable_secrets_engine("pki", mount, config={"max_lease_ttl": "87600h"})
        facts = {"common_name": "Test root", "ttl": "87600h", "key_type": "ec"}
        made: Any = client.write_data(f"{mount}/root/generate/internal", data=facts)
    engine = Engine(server, mount, made["data"]["certificate"])
    engine.write("roles/web", **ROLE)
    engine.write("roles/leased", **ROLE, generate_lease=True)
    return engine


def certificate_of(secret: Secret) -> x509.Certificate:
    """The certificate alone."""
    return x509.load_pem_x509_certificate(secret.value.reveal_json("/certificate").encode())


def key_of(secret: Secret) -> Any:
    """Its private key."""
    return serialization.load_pem_private_key(secret.value.reveal_json("/private_key").encode(), None)


def root_file(engine: Engine, folder: Path) -> str:
    """A file of the authority that peers trust."""
    path = folder / "root.pem"
    path.write_text(engine.root)
    return str(path)


def userpass(engine: Engine, *more: str, ttl: str = "8h") -> dict[str, str | SecretValue]:
    """A user who may have certificates signed, and log in again."""
    path = f"userpass-{next(_numbers)}"
    with not_ours():
        client = engine.server.client()
        client.sys.create_or_update_policy(path, engine.policy(*more))
        client.sys.enable_auth_method("userpass", path=path)
        facts = {"password": "DEMO", "token_policies": [path], "token_ttl": ttl}
        client.write_data(f"auth/{path}/users/ann", data=facts)
    return {"method": "userpass", "username": "ann", "password": SecretValue("DEMO"), "mount": path}
