"""Signing keys of KMS are rotated, against moto: the new one signs, the old one is disabled, none deleted."""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from strongroom.backend import Settings
from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.registry import open_signer
from strongroom.rotation.rotator import Rotation
from strongroom.value import SecretValue
from strongroom_aws.key_versions import SPECS, KMSKeyRotator
from tests.scale import NIGHTLY
from tests.servers import moto_kms
from tests.servers.boto import REGION
from tests.servers.moto import Moto

ADMIN = SecretValue.of({"access_key_id": "test", "secret_access_key": "test"})


def rotator(moto: Moto, **changes: Any) -> KMSKeyRotator:
    return KMSKeyRotator(**{"region": REGION, "endpoint": moto.url, "admin": lambda: ADMIN, **changes})


def rotation(**facts: Any) -> Rotation:
    return Rotation(**{"id": str(uuid.uuid4()), "name": "keys/trading", **facts})


def made(moto: Moto, r: Rotation | None = None, **changes: Any) -> SecretValue:
    return SecretValue.of(rotator(moto, **changes).create_secret(r or rotation()))


def state(moto: Moto, value: SecretValue) -> str:
    key = str(value.reveal_json("/key")).rpartition("/")[2]
    return str(moto.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"])


@pytest.mark.parametrize("spec", SPECS if NIGHTLY else SPECS[:1])
def test_a_key_is_replaced_and_its_public_half_stays(kms: Moto, spec: str) -> None:
    """Both sign until the old one is revoked; then KMS refuses it, and verifiers have its public half."""
    old = made(kms, spec=spec)
    new = made(kms, rotation(current=old), spec=spec)
    rotates, r = rotator(kms, spec=spec), rotation(current=old, pending=new)
    for value in (old, new):
        rotates.test_secret(r, value)
    for _ in range(2):
        rotates.revoke_secret(r, old)
    assert rotates.refuses(r, old)
    assert not rotates.refuses(r, new)
    assert (state(kms, old), state(kms, new)) == ("Disabled", "Enabled")
    load_der_public_key(base64.b64decode(old.reveal_json("/public_key")))
    settings = Settings(endpoint=kms.url)
    signer = open_signer(new.reveal_json("/key"), settings)
    assert signer.sign(b"order")
    assert signer.algorithm == new.reveal_json("/algorithm")
    signer.close()
    check_refusals(kms, rotates, new)


def check_refusals(kms: Moto, rotates: KMSKeyRotator, value: SecretValue) -> None:
    """The key in use is not ended; another public key is none; who may not sign says nothing of the key."""
    with pytest.raises(IntegrityError, match="to be ended"):
        rotates.revoke_secret(rotation(pending=value), value)
    with pytest.raises(IntegrityError, match="public key"):
        rotates.test_secret(rotation(), SecretValue.of({**value.reveal_json(), "public_key": "AAAA"}))
    with pytest.raises(PermissionDeniedError):
        rotates.test_secret(rotation(), SecretValue("{}"))
    denied = SecretValue.of({**ADMIN.reveal_json(), "access_key_id": moto_kms.REFUSED})
    with pytest.raises(UnavailableError, match="rotator"):
        rotator(kms, admin=lambda: denied).refuses(rotation(), value)


def test_what_a_crashed_attempt_left_is_disabled_and_deleted_later(kms: Moto) -> None:
    """Of this rotation, with a lower epoch, and not the one that is held; nothing else is touched."""
    r = rotation(epoch=3)
    lost, held = made(kms, replace(r, epoch=1)), made(kms, replace(r, epoch=2))
    for _ in range(2 if NIGHTLY else 1):
        assert rotator(kms).reclaim(replace(r, pending=held)) == ()
    assert state(kms, lost) == "PendingDeletion"
    assert state(kms, held) == "Enabled"
    assert rotator(kms).refuses(r, lost)
    assert rotator(kms).reclaim(replace(r, epoch=1)) == ()
    assert state(kms, held) == "Enabled"


def test_a_key_of_another_region_is_not_touched(kms: Moto) -> None:
    """Whoever can write the secret could otherwise have any key ended that the rotator may reach."""
    value = SecretValue.of({"key": "aws-kms://us-east-1/1234"})
    rotates = rotator(kms)
    for hook in (rotates.revoke_secret, rotates.refuses, rotates.test_secret):
        with pytest.raises(IntegrityError):
            hook(rotation(), value)


def test_a_key_that_does_not_sign_is_refused_at_once(kms: Moto) -> None:
    """KMS rotates symmetric keys itself."""
    with pytest.raises(InvalidRequestError):
        rotator(kms, spec="SYMMETRIC_DEFAULT")
