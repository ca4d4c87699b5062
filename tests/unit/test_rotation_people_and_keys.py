"""The rotators without a target of their own: HMAC keys, random values, people, keyrings."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import InvalidRequestError, PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.rotation.rotator import Rotation, WaitingForHumanError
from strongroom.rotation.rotators.hmac_key import HmacKeyRotator
from strongroom.rotation.rotators.human import HumanRotator
from strongroom.rotation.rotators.keyring_rewrap import KeyringRotator
from strongroom.rotation.rotators.random_value import RandomRotator
from strongroom.value import SecretValue
from strongroom.webhooks import sign, sign_request
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.keyring_support import Root, World, opens, sealed

BODY = b"{}"


def rotation(current: SecretValue | None = None, pending: SecretValue | None = None) -> Rotation:
    return Rotation(str(uuid.uuid4()), "signing/key", current=current, pending=pending)


@pytest.mark.parametrize("form", ["whsec", "hex", "base64"])
def test_an_hmac_key_is_new_each_time_and_passes_its_own_test(form: Any) -> None:
    """Two keys differ, are of the stated length, and a longer or shorter one is not accepted."""
    rotator, r = HmacKeyRotator(form=form), rotation()
    made = {SecretValue.of(rotator.create_secret(r)).reveal_text() for _ in range(3)}
    assert len(made) == 3
    for text in made:
        rotator.test_secret(r, SecretValue(text))
        with pytest.raises(InvalidRequestError):
            HmacKeyRotator(form=form, length=48).test_secret(r, SecretValue(text))


def test_a_webhook_key_signs_as_standard_webhooks_does() -> None:
    """What the rotator makes, the signer of webhooks takes as it is."""
    made = HmacKeyRotator().create_secret(rotation())
    assert isinstance(made, str)
    assert sign(made, "msg_1", 1_700_000_000, BODY).startswith("v1,")


def test_a_client_keeps_its_public_id_and_gets_another_secret() -> None:
    """Form client renews the secret alone, so that the receiver's lookup by key goes on."""
    current = SecretValue.of({"key": "trader-1", "secret": f"{CANARY}{CANARY}", "note": "eu"})
    rotator, r = HmacKeyRotator(form="client"), rotation(current)
    made = SecretValue.of(rotator.create_secret(r))
    assert made.reveal_json("/key") == "trader-1"
    assert made.reveal_json("/note") == "eu"
    assert not SecretValue(made.reveal_json("/secret")).matches(current.reveal_json("/secret"))
    rotator.test_secret(r, made)
    assert sign_request(made, "GET", "/orders")


@pytest.mark.parametrize("text", [CANARY, f'["{CANARY}"]', f'"{CANARY}"'])
def test_a_client_that_is_no_json_object_is_refused_without_its_text(text: str) -> None:
    """The error names what is wrong, and nothing reachable from it holds the value."""
    with pytest.raises(InvalidRequestError, match="no JSON object") as caught:
        HmacKeyRotator(form="client").create_secret(rotation(SecretValue(text)))
    assert_no_canary_in(caught.value)


def test_a_value_that_is_no_key_is_refused_without_its_text() -> None:
    """A wrong value under test does not travel with the error."""
    with pytest.raises(InvalidRequestError) as caught:
        HmacKeyRotator().test_secret(rotation(), SecretValue(f"whsec_{CANARY}"))
    assert_no_canary_in(caught.value)


@pytest.mark.parametrize("options", [{"length": 16}, {"length": 65}, {"form": "pem"}])
def test_an_hmac_key_that_cannot_be_is_refused_at_once(options: dict[str, Any]) -> None:
    """A policy mistake shows when the rotator is made, not at its first run."""
    with pytest.raises(InvalidRequestError):
        HmacKeyRotator(**options)


def test_a_random_value_follows_its_policy() -> None:
    """Length, classes and exclusions hold; a value of another policy fails the test."""
    rotator = RandomRotator(length=40, classes=["lower", "digits"], exclude="0o1l")
    made = SecretValue.of(rotator.create_secret(rotation()))
    rotator.test_secret(rotation(), made)
    with pytest.raises(InvalidRequestError) as caught:
        rotator.test_secret(rotation(), SecretValue(CANARY))
    assert_no_canary_in(caught.value)


def test_random_bytes_have_their_size() -> None:
    """With a size the value is binary and exactly so long."""
    rotator = RandomRotator(size=48)
    made = SecretValue.of(rotator.create_secret(rotation()))
    assert (made.kind, len(made.reveal())) == ("binary", 48)
    rotator.test_secret(rotation(), made)
    with pytest.raises(InvalidRequestError):
        rotator.test_secret(rotation(), SecretValue(b"\0" * 47))


@pytest.mark.parametrize("options", [{"size": 8}, {"length": 4}, {"classes": ["runes"]}])
def test_a_random_value_that_would_be_weak_is_refused_at_once(options: dict[str, Any]) -> None:
    """Too little entropy is a configuration error."""
    with pytest.raises(InvalidRequestError):
        RandomRotator(**options)


def test_a_person_is_asked_with_the_command_that_answers() -> None:
    """The wait names the rotation's id, or the page that the configuration names."""
    r = rotation()
    with pytest.raises(WaitingForHumanError) as caught:
        HumanRotator().create_secret(r)
    assert f"put {r.name} --rotation {r.id}" in str(caught.value)
    with pytest.raises(WaitingForHumanError, match=r"exchange\.example/keys"):
        HumanRotator(instructions="https://exchange.example/keys").create_secret(r)


@pytest.mark.parametrize(
    ("value", "lacks"),
    [
        (f'{{"key": "{CANARY}"}}', "secret"),
        (f'{{"key": "", "secret": "{CANARY}"}}', "key"),
        (CANARY, "key, secret"),
        (f'["{CANARY}"]', "key, secret"),
        (f'{{"key": 1, "secret": "{CANARY}"}}', "key"),
    ],
)
def test_what_a_person_brings_must_have_its_fields(value: str, lacks: str) -> None:
    """The answer is refused by the names of what is missing, never by a word of it."""
    with pytest.raises(InvalidRequestError, match=f"lacks {lacks} ") as caught:
        HumanRotator(fields=["key", "secret"]).test_secret(rotation(), SecretValue(value))
    assert_no_canary_in(caught.value)


def test_what_a_person_brings_must_match_its_pattern() -> None:
    """The whole value, not a part of it."""
    rotator = HumanRotator(pattern="CANARY-[0-9a-f]{24}")
    rotator.test_secret(rotation(), SecretValue(CANARY))
    for wrong in (f"{CANARY} ", f"x{CANARY}", ""):
        with pytest.raises(InvalidRequestError) as caught:
            rotator.test_secret(rotation(), SecretValue(wrong))
        assert_no_canary_in(caught.value)


def test_the_current_value_is_no_answer() -> None:
    """A person who brings the old key once more has renewed nothing; a test of current itself is none."""
    value = SecretValue(CANARY)
    with pytest.raises(InvalidRequestError, match="current value"):
        HumanRotator().test_secret(rotation(value, SecretValue(CANARY)), value)
    HumanRotator().test_secret(rotation(value), value)
    with pytest.raises(InvalidRequestError, match="empty"):
        HumanRotator().test_secret(rotation(value), SecretValue(""))


@pytest.mark.parametrize("options", [{"pattern": "("}, {"pattern": "a", "fields": ["b"]}])
def test_a_form_that_nobody_can_meet_is_refused_at_once(options: dict[str, Any]) -> None:
    """A broken pattern is told when the rotator is made."""
    with pytest.raises(InvalidRequestError):
        HumanRotator(**options)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.create().close()
    return world


def rotated(rotator: KeyringRotator, current: SecretValue | None = None) -> SecretValue:
    """One rotation's create and test, as the engine calls them."""
    made = SecretValue.of(rotator.create_secret(rotation(current)))
    rotator.test_secret(rotation(current, made), made)
    return made


def test_a_keyring_gets_a_version_that_wraps_and_old_messages_still_open(world: World) -> None:
    """The secret says which version is primary; what the one before it wrapped opens still."""
    before = sealed(keys=[world.open()])
    made = rotated(KeyringRotator(keyring=world.open))
    keyring = world.open()
    primary = [version.name for version in keyring.versions if version.primary]
    assert [made.reveal_json("/version")] == primary
    assert len(keyring.versions) == 2
    assert opens(keyring, before)


def test_a_crash_after_the_keyring_was_rotated_makes_no_third_version(world: World) -> None:
    """The attempt after it finds a version that the current value does not know, and takes it."""
    rotator = KeyringRotator(keyring=world.open)
    current = rotated(rotator)
    lost = SecretValue.of(rotator.create_secret(rotation(current)))
    again = rotated(rotator, current)
    assert again.reveal_json("/version") == lost.reveal_json("/version") != current.reveal_json("/version")
    assert len(world.open().versions) == 3


def test_a_keyring_is_rewrapped_under_another_root(world: World) -> None:
    """After a root was exchanged: the new one opens it alone, and the versions are what they were."""
    new = Root("two")
    both = lambda: world.open(world.root, new)  # noqa: E731
    before = world.open().versions
    made = rotated(KeyringRotator(keyring=both, add_version=False))
    assert made.reveal_json("/roots") == ["one", "two"]
    assert world.open(new).versions == before


def test_a_root_that_was_configured_away_is_dropped_when_that_is_wanted(world: World) -> None:
    """Without drop_roots it is refused by name; with it the old root opens the keyring no more."""
    new = Root("two")
    rotated(KeyringRotator(keyring=lambda: world.open(world.root, new), add_version=False))
    with pytest.raises(InvalidRequestError, match="one"):
        KeyringRotator(keyring=lambda: world.open(new)).create_secret(rotation())
    rotated(KeyringRotator(keyring=lambda: world.open(new), drop_roots=True))
    with pytest.raises(SecretStoreError):
        world.open(world.root)


def test_a_root_that_does_not_answer_stops_the_rotation(world: World) -> None:
    """The keyring is left as it was, and the error is one that is tried again."""
    world.root.error = UnavailableError("the KMS is away")
    with pytest.raises(UnavailableError):
        KeyringRotator(keyring=world.open).create_secret(rotation())
    world.root.error = None
    assert len(world.open().versions) == 1


def test_a_version_that_the_keyring_does_not_have_fails_the_test(world: World) -> None:
    """A value of before the keyring was restored from a backup is not promoted."""
    rotator = KeyringRotator(keyring=world.open)
    made = rotated(rotator)
    other = {"id": made.reveal_json("/id"), "version": "no-such-version"}
    with pytest.raises(PermissionDeniedError):
        rotator.test_secret(rotation(), SecretValue.of(other))
