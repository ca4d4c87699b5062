"""Keys in a real token are rotated: the new one signs, the old one verifies or unwraps on."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.registry import create_key, open_key, open_signer
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Rotation
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_pkcs11.key_versions import TokenKeyRotator
from tests.scale import NIGHTLY
from tests.servers.softhsm import TestToken

SIGNING = ("p256", "secp256k1", "ed25519", "hmac")
WRAPPING = {"aes-256": "aes-key-wrap-pad", "aes-256-gcm": "aes-gcm"}
CONTEXT = {"name": "x"}


class World:
    """Keys of one label on a token."""

    def __init__(self, token: TestToken, kind: str = "p256"):
        self.token, self.kind, self.label = token, kind, token.unique("rotated")

    def rotator(self, **changes: Any) -> TokenKeyRotator:
        pin = SecretValue(changes.pop("pin", self.token.pin))
        url = self.token.url(changes.pop("label", self.label))
        options = {"module": self.token.module, "kind": self.kind, **changes}
        return TokenKeyRotator(token=url, pin=lambda: pin, **options)

    def made(self, r: Rotation | None = None) -> SecretValue:
        return SecretValue.of(self.rotator().create_secret(r or rotation()))

    def labels(self) -> set[str]:
        with self.token.native() as session:
            classes = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)
            found = [key for each in classes for key in session.get_objects({Attribute.CLASS: each})]
            return {key.label for key in found if key.label.startswith(self.label)}


def rotation(**facts: Any) -> Rotation:
    return Rotation(**{"id": str(uuid.uuid4()), "name": "keys/trading", **facts})


def label_of(value: SecretValue) -> str:
    return str(value.reveal_json("/key")).partition("object=")[2].partition(";")[0]


@pytest.fixture
def world(softhsm_token: TestToken) -> World:
    return World(softhsm_token)


@pytest.mark.parametrize("kind", SIGNING if NIGHTLY else SIGNING[:1])
def test_a_key_that_signs_is_replaced_and_verifies_on(softhsm_token: TestToken, kind: str) -> None:
    """The secret leads an application to the new key; of the old one the public half stays, and is told."""
    world = World(softhsm_token, kind)
    old = world.made()
    new = world.made(rotation(current=old))
    rotator, r = world.rotator(), rotation(current=old, pending=new)
    for value in (old, new):
        rotator.test_secret(r, value)
    signer = open_signer(new.reveal_json("/key"), world.token.settings())
    assert signer.sign(b"order")
    assert signer.algorithm == new.reveal_json("/algorithm")
    for _ in range(2):
        rotator.revoke_secret(r, old)
    assert rotator.refuses(r, old)
    assert not rotator.refuses(r, new)
    with pytest.raises(InvalidRequestError, match="does not let this key"):
        open_signer(old.reveal_json("/key"), world.token.settings()).sign(b"order")
    if kind != "hmac":
        public = open_signer(old.reveal_json("/key"), world.token.settings()).public_key()
        assert public is not None
        assert world.labels() == {label_of(old), label_of(new)}


@pytest.mark.parametrize("kind", WRAPPING if NIGHTLY else ["aes-256"])
def test_a_key_that_wraps_is_replaced_and_unwraps_on(softhsm_token: TestToken, kind: str) -> None:
    """What was wrapped under the old key opens; nothing new can be wrapped under it."""
    world = World(softhsm_token, kind)
    settings = world.token.settings(options={"mechanism": WRAPPING[kind]})
    old, rotator = world.made(), world.rotator()
    kek = open_key(old.reveal_json("/key"), settings)
    wrapped = kek.wrap(bytes(32), CONTEXT)
    kek.close()
    rotator.revoke_secret(rotation(), old)
    assert rotator.refuses(rotation(), old)
    with pytest.raises(PermissionDeniedError):
        rotator.test_secret(rotation(), old)
    reader = open_key(old.reveal_json("/key"), settings)
    assert reader.unwrap(wrapped, CONTEXT) == bytes(32)
    reader.close()


def test_a_key_of_a_rotation_never_leaves_the_token(world: World) -> None:
    """Its use can be ended, which is all that can be changed of it."""
    value = world.made()
    with world.token.native() as session:
        [key] = session.get_objects(
            {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: label_of(value)}
        )
        assert key[Attribute.SENSITIVE]
        assert not key[Attribute.EXTRACTABLE]
        for attribute, wanted in ((Attribute.EXTRACTABLE, True), (Attribute.SENSITIVE, False)):
            with pytest.raises(pkcs11.PKCS11Error):
                key[attribute] = wanted


def test_what_a_crashed_attempt_left_is_destroyed_and_nothing_else(world: World) -> None:
    """Of this rotation, with a lower epoch; keys that were in use are kept, others that sign are reported."""
    r = rotation(epoch=2)
    lost, higher = world.made(replace(r, epoch=1)), world.made(replace(r, epoch=3))
    old, stranger = world.made(), world.made()
    assert world.rotator().reclaim(replace(r, current=old)) == (label_of(stranger),)
    assert world.labels() == {label_of(value) for value in (higher, old, stranger)}
    assert label_of(lost) not in world.labels()


def test_a_key_of_another_place_is_not_touched(world: World) -> None:
    """Whoever can write the secret could otherwise have any key of the token ended."""
    other = World(world.token)
    foreign = other.made()
    rotator = world.rotator()
    for hook in (rotator.revoke_secret, rotator.refuses, rotator.test_secret):
        with pytest.raises(IntegrityError):
            hook(rotation(), foreign)
    assert not other.rotator().refuses(rotation(), foreign)


def test_the_key_in_use_is_not_ended(world: World) -> None:
    """The new value must name another key than the one that is to be ended."""
    value = world.made()
    with pytest.raises(IntegrityError, match="to be ended"):
        world.rotator().revoke_secret(rotation(pending=value), value)
    assert not world.rotator().refuses(rotation(), value)


def test_a_secret_that_names_another_public_key_fails_the_test(world: World) -> None:
    """Verifiers go by what the secret says; a key of the same label in another token is another key."""
    value = world.made()
    changed = SecretValue.of({**value.reveal_json(), "public_key": "AAAA"})
    with pytest.raises(IntegrityError, match="public key"):
        world.rotator().test_secret(rotation(), changed)


def test_a_key_that_no_rotation_made_has_to_be_ended_by_hand(world: World) -> None:
    """`key create` makes keys that nobody can change; that is told, and the key is not destroyed."""
    url = create_key(world.token.url(world.label), world.token.settings(), "p256")
    value = SecretValue.of({"key": url})
    with pytest.raises(InvalidRequestError, match="lets nobody end"):
        world.rotator().revoke_secret(rotation(), value)
    assert world.labels() == {world.label}


def test_a_refusal_of_the_rotator_is_no_refusal_of_the_key(softhsm_tokens: list[TestToken]) -> None:
    """A wrong PIN says nothing of the key: the revoke is not taken for proved."""
    token = next(token for token in softhsm_tokens if token.label == "refusing")
    world = World(token)
    value = SecretValue.of({"key": token.url(f"{world.label}.x")})
    with pytest.raises(UnavailableError, match="refuses the rotator"):
        world.rotator(pin="wrong-pin").refuses(rotation(), value)


@pytest.mark.parametrize("changes", [{"kind": "rsa-3072"}, {"kind": "dsa"}, {"label": ""}])
def test_what_cannot_be_rotated_is_refused_at_once(world: World, changes: dict[str, Any]) -> None:
    """Asymmetric KEKs, unknown kinds, and a URL without a label."""
    with pytest.raises(InvalidRequestError):
        world.rotator(**changes)


def test_the_engine_rotates_a_key_from_a_first_secret_that_names_none(world: World) -> None:
    """Twice: the old key signs until its grace is over, and each rotation makes exactly one."""
    clock = FakeClock()
    store = SecretStore(MemoryBackend(clock=clock), alias="prod", clock=clock)
    store.put("keys/trading", "{}")
    policy = Policy("keys/trading", store, world.rotator(), grace=timedelta(hours=1))
    engine = Engine(MemoryLedger(clock), [policy], clock=clock)
    for count in (1, 2) if NIGHTLY else (1,):
        entry = engine.advance(engine.start("keys/trading").id)
        assert entry.state is State.GRACE, entry.error
        clock.advance(3600)
        assert engine.advance(entry.id).state is State.DONE
        assert len(world.labels()) == count
    current, previous = (v.id for v in store.versions("keys/trading")[:2])
    assert world.rotator().refuses(rotation(), store.get("keys/trading", version=previous).value)
    world.rotator().test_secret(rotation(), store.get("keys/trading", version=current).value)
