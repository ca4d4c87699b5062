"""Versions of a transit key are rotated, against OpenBao: the new one signs, all old ones verify on."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Rotation
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_vault.key_versions import TransitKeyRotator
from tests.integration.transit_support import MOUNT, made
from tests.integration.vault_support import policy_token
from tests.servers.openbao import OpenBao


class Key:
    """A key of the server's transit engine."""

    def __init__(self, server: OpenBao, kind: str = "ecdsa-p256"):
        self.server, self.name = server, made(server, type=kind).name

    def write(self, path: str, **facts: Any) -> Any:
        return self.server.client().write_data(f"{MOUNT}/{path}", data=facts)

    def newest(self) -> int:
        answer: Any = self.server.client().read(f"{MOUNT}/keys/{self.name}")
        return int(answer["data"]["latest_version"])

    def rotator(self, **changes: Any) -> TransitKeyRotator:
        token = SecretValue(changes.pop("token", self.server.token))
        return TransitKeyRotator(
            **{"address": self.server.address, "key": self.name, "credential": lambda: token, **changes}
        )

    def rotated(self, current: SecretValue | None = None) -> SecretValue:
        return SecretValue.of(self.rotator().create_secret(rotation(current=current)))


def rotation(**facts: Any) -> Rotation:
    return Rotation(**{"id": str(uuid.uuid4()), "name": "keys/orders", **facts})


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ed25519", "aes256-gcm96"])
def test_a_version_is_added_and_the_old_one_makes_nothing_new(openbao_server: OpenBao, kind: str) -> None:
    """Both are used until the old one is revoked; what it made verifies or decrypts on."""
    key = Key(openbao_server, kind)
    old = key.rotated()
    verb, sent = ("encrypt", "plaintext") if kind.startswith("aes") else ("sign", "input")
    before = key.write(f"{verb}/{key.name}", **{sent: "AAAA"})["data"]
    new = key.rotated(old)
    rotator, r = key.rotator(), rotation(current=old, pending=new)
    for value in (old, new):
        rotator.test_secret(r, value)
    for _ in range(2):
        rotator.revoke_secret(r, old)
    assert rotator.refuses(r, old)
    assert not rotator.refuses(r, new)
    with pytest.raises(PermissionDeniedError):
        rotator.test_secret(r, old)
    if verb == "sign":
        checked = key.write(f"verify/{key.name}", input="AAAA", signature=before["signature"])
        assert checked["data"]["valid"]
    else:
        assert key.write(f"decrypt/{key.name}", ciphertext=before["ciphertext"])["data"]["plaintext"]


def test_a_version_that_a_crashed_attempt_added_is_taken(openbao_server: OpenBao) -> None:
    """However often it crashes, one version is added for each rotation."""
    key = Key(openbao_server)
    current = key.rotated()
    first, again = key.rotated(current), key.rotated(current)
    assert first == again
    assert key.newest() == current.reveal_json("/version") + 1


def test_a_key_of_another_name_is_not_touched(openbao_server: OpenBao) -> None:
    """A secret that names another key ends nothing."""
    key, other = Key(openbao_server), Key(openbao_server)
    foreign, rotator = other.rotated(), key.rotator()
    for hook in (rotator.revoke_secret, rotator.refuses, rotator.test_secret):
        with pytest.raises(IntegrityError):
            hook(rotation(), foreign)


def test_the_version_in_use_is_not_ended(openbao_server: OpenBao) -> None:
    """Neither by name, nor because no later one is there."""
    key = Key(openbao_server)
    value = key.rotated()
    for pending in (value, None):
        with pytest.raises(IntegrityError):
            key.rotator().revoke_secret(rotation(pending=pending), value)
    assert not key.rotator().refuses(rotation(), value)


def test_a_secret_that_names_another_public_key_fails_the_test(openbao_server: OpenBao) -> None:
    """Verifiers go by what the secret says."""
    key = Key(openbao_server)
    changed = SecretValue.of({**key.rotated().reveal_json(), "public_key": "AAAA"})
    with pytest.raises(IntegrityError, match="public key"):
        key.rotator().test_secret(rotation(), changed)
    with pytest.raises(PermissionDeniedError):
        key.rotator().test_secret(rotation(), SecretValue("{}"))


def test_a_refusal_of_the_rotator_is_no_refusal_of_the_version(openbao_server: OpenBao) -> None:
    """A login that may look and not sign says nothing of the key: the revoke is not taken for proved."""
    key = Key(openbao_server)
    value = key.rotated()
    path = f"{MOUNT}/keys/{key.name}"
    token = policy_token(openbao_server, f'path "{path}" {{ capabilities = ["read"] }}')
    with pytest.raises(UnavailableError, match="the rotator"):
        key.rotator(token=token).refuses(rotation(), value)


def test_what_cannot_be_rotated_is_refused(openbao_server: OpenBao) -> None:
    """No such key, a derived one, a name that could climb."""
    key = Key(openbao_server)
    with pytest.raises(InvalidRequestError, match="no such"):
        key.rotator(key="nothing-here").create_secret(rotation())
    with pytest.raises(InvalidRequestError):
        key.rotator(key="../sys")
    key.write(f"keys/{key.name}-d", type="aes256-gcm96", derived=True)
    with pytest.raises(InvalidRequestError, match="derived"):
        key.rotator(key=f"{key.name}-d").create_secret(rotation())


def test_the_engine_rotates_a_version_from_a_first_secret_that_names_none(openbao_server: OpenBao) -> None:
    """Twice, each adding one version, and nothing before the newest signs at the end."""
    key, clock = Key(openbao_server), FakeClock()
    store = SecretStore(MemoryBackend(clock=clock), alias="prod", clock=clock)
    store.put("keys/orders", "{}")
    policy = Policy("keys/orders", store, key.rotator(), grace=timedelta(hours=1))
    engine = Engine(MemoryLedger(clock), [policy], clock=clock)
    for newest in (2, 3):
        entry = engine.advance(engine.start("keys/orders").id)
        assert entry.state is State.GRACE, entry.error
        clock.advance(3600)
        assert engine.advance(entry.id).state is State.DONE
        assert key.newest() == newest
    older = store.versions("keys/orders")[1].id
    assert key.rotator().refuses(rotation(), store.get("keys/orders", version=older).value)
