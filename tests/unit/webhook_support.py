"""A sender and its secret, as the webhook tests need them."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom.webhooks import signed_headers
from tests.canary import CANARY, CANARY_BYTES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
NAME = "webhooks/acme"
BODY = b'{"type":"key.rotated","data":{"n":1}}'


def secret(number: int = 0) -> str:
    """A symmetric secret of its own for each number."""
    return "whsec_" + base64.b64encode(CANARY_BYTES + str(number).encode()).decode()


def client(number: int = 0) -> dict[str, str]:
    """A client's key for signed requests."""
    return {"key": f"client-{number}", "secret": f"{CANARY}-{number}"}


def private_key(number: int = 0) -> str:
    """An Ed25519 key made of the canary."""
    return "whsk_" + base64.b64encode(_seed(number)).decode()


def public_key(number: int = 0) -> str:
    """What belongs to `private_key`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(_seed(number)).public_key().public_bytes_raw()
    return "whpk_" + base64.b64encode(public).decode()


def _seed(number: int) -> bytes:
    return hashlib.sha256(CANARY_BYTES + str(number).encode()).digest()


def headers(body: bytes = BODY, *, id_: str = "msg_1", at: int = SECONDS, number: int = 0) -> dict[str, str]:
    """A genuine delivery's."""
    return signed_headers([SecretValue(secret(number))], id_, body, at=at)


def after(seconds: float) -> datetime:
    """So long after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def opened(backend: MemoryBackend, clock: FakeClock) -> SecretStore:
    """One process's store, with a cache of its own."""
    return SecretStore(backend, clock=clock)
