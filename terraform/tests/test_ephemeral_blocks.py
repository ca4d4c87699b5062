"""The ephemerals without Terraform: what they open, what they refuse at which attribute, what they renew."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import strongroom
from strongroom.config import Config, key
from strongroom.envelope.cipher import encrypt
from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.registry import create_key
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_terraform.blocks import Ephemeral, Opened
from strongroom_terraform.decrypt import Decrypt
from strongroom_terraform.ephemeral_secret import SecretEphemeral
from strongroom_terraform.generated import RandomValue
from strongroom_terraform.problems import ProblemError
from strongroom_terraform.schema import UNKNOWN, Value
from strongroom_terraform.stores import Stores
from terraform.tests.life import configured, told
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary, assert_no_canary_in
from tests.unit.cli_support import new_store_url

NAME = "db/password"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """Two stores of a file, the first the default one, and a key."""
    text = (
        f'default = "prod"\n[store.prod]\nurl = "{new_store_url()}"\n'
        f'[store.other]\nurl = "{new_store_url()}"\n[key.file]\nurl = "local-key://{tmp_path}/keys.json"\n'
    )
    (tmp_path / "strongroom.toml").write_text(text)
    found = Stores(Config.load(tmp_path / "strongroom.toml"), FakeClock())
    yield found
    found.close()


@pytest.fixture
def store(stores: Stores) -> SecretStore:
    return stores.store("prod")


def opened(block: Ephemeral, **said: Value) -> Opened:
    config = configured(block, said)
    assert not block.validate(config)
    found = block.open(config)
    assert found.values.keys() == block.schema.attributes.keys()
    assert {**found.values, **said} == found.values, (
        "Terraform refuses an answer that contradicts its question"
    )
    assert_no_canary(repr(found), found.private)
    return found


def refused(block: Ephemeral, **said: Value) -> list[tuple[str, tuple[str | int, ...]]]:
    with pytest.raises(ProblemError) as failed:
        block.open(configured(block, said))
    assert_no_canary_in(failed.value)
    return told(failed.value)


def revealed(value: Value) -> str:
    assert isinstance(value, SecretValue)
    return value.reveal_text()


class TestSecret:
    def test_a_current_value_is_opened_with_its_version(self, stores: Stores, store: SecretStore) -> None:
        """The default store's; as text and in base64; nothing of it is kept for renew or close."""
        version = store.put(NAME, CANARY)
        found = opened(SecretEphemeral(stores), name=NAME)
        assert revealed(found.values["value"]) == CANARY
        assert base64.b64decode(revealed(found.values["value_base64"])).decode() == CANARY
        assert found.values["version"] == version.id
        assert (found.renew_at, found.private) == (None, b"")

    def test_a_version_and_the_previous_stage_are_opened(self, stores: Stores, store: SecretStore) -> None:
        """Each gives the value before."""
        first = store.put(NAME, f"{CANARY}-1").id
        store.put(NAME, f"{CANARY}-2")
        block = SecretEphemeral(stores)
        for said in ({"version": first}, {"stage": "previous"}):
            found = opened(block, name=NAME, **said)
            assert (revealed(found.values["value"]), found.values["version"]) == (f"{CANARY}-1", first)

    def test_another_store_is_named_by_alias_or_url(self, stores: Stores) -> None:
        """The same secret both ways."""
        stores.store("other").put(NAME, CANARY)
        assert stores.config
        for target in ("other", stores.config.stores["other"].url):
            assert (
                revealed(opened(SecretEphemeral(stores), store=target, name=NAME).values["value"]) == CANARY
            )

    def test_an_answer_in_doubt_is_given_with_a_warning(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A failover's second member answers while the first does not; nobody knows how new it is."""
        text = (
            f'[store.away]\nurl = "vault:///secret/app?endpoint=http://127.0.0.1:9"\n'
            f'auth = {{ token = "env://NO_TOKEN" }}\n[store.here]\nurl = "{new_store_url()}"\n'
            '[store.app]\nfailover = ["away", "here"]\n'
        )
        (tmp_path / "strongroom.toml").write_text(text)
        monkeypatch.setenv("NO_TOKEN", "none")
        stores = Stores(Config.load(tmp_path / "strongroom.toml"), FakeClock())
        stores.store("here").put(NAME, CANARY)
        [warning] = opened(SecretEphemeral(stores), store="app", name=NAME).warnings
        assert ("degraded" in warning.summary, warning.path, warning.warning) == (True, ("name",), True)
        stores.close()

    def test_each_opening_asks_the_store(self, stores: Stores, store: SecretStore) -> None:
        """What another process has rotated in between is not answered from memory."""
        store.put(NAME, f"{CANARY}-1")
        block = SecretEphemeral(stores)
        opened(block, name=NAME)
        with strongroom.open("prod", config=stores.config) as other:
            other.put(NAME, f"{CANARY}-2")
        assert revealed(opened(block, name=NAME).values["value"]) == f"{CANARY}-2"

    def test_a_pointer_takes_one_part(self, stores: Stores, store: SecretStore) -> None:
        """A text as it is, anything else as JSON."""
        store.put(NAME, {"user": "app", "password": CANARY, "ports": [1, 2]})
        block = SecretEphemeral(stores)
        assert revealed(opened(block, name=NAME, pointer="/password").values["value"]) == CANARY
        assert revealed(opened(block, name=NAME, pointer="/ports").values["value"]) == "[1, 2]"

    @pytest.mark.parametrize("value", [b"\xff" + CANARY.encode(), f"e\u0301{CANARY}"], ids=["binary", "nfd"])
    def test_what_terraform_would_change_comes_in_base64_alone(
        self, stores: Stores, store: SecretStore, value: str | bytes
    ) -> None:
        """Its strings are Unicode in form C: a password in form D would be another one without a word."""
        store.put(NAME, value)
        found = opened(SecretEphemeral(stores), name=NAME)
        assert found.values["value"] is None
        raw = value if isinstance(value, bytes) else value.encode()
        assert base64.b64decode(revealed(found.values["value_base64"])) == raw

    def test_an_error_blames_its_attribute(self, stores: Stores, store: SecretStore) -> None:
        """And says no value."""
        store.put(NAME, CANARY)
        block = SecretEphemeral(stores)
        assert refused(block, name="db/passwort")[0][1] == ("name",)
        assert refused(block, name="NO SUCH")[0][1] == ("name",)
        assert refused(block, name=NAME, version="7")[0][1] == ("version",)
        assert refused(block, name=NAME, store="prdo")[0] == ("no store is called 'prdo'", ("store",))
        assert refused(block, name=NAME, pointer="/a")[0] == ("the value is not JSON", ("pointer",))

    @pytest.mark.parametrize(
        ("said", "blamed"),
        [
            ({"stage": "pending"}, "stage"),
            ({"stage": "current", "version": "1"}, "version"),
            ({"pointer": "password"}, "pointer"),
            ({"recheck": "often"}, "recheck"),
            ({"recheck": "0s"}, "recheck"),
        ],
    )
    def test_what_needs_no_store_is_refused_by_validate(
        self, stores: Stores, said: dict[str, Value], blamed: str
    ) -> None:
        """`terraform validate` tells it, at the attribute."""
        block = SecretEphemeral(stores)
        [problem] = block.validate(configured(block, {"name": NAME, **said}))
        assert problem.path == (blamed,)

    def test_what_is_not_known_yet_is_no_mistake(self, stores: Stores) -> None:
        """A validate passes over it."""
        block = SecretEphemeral(stores)
        assert not block.validate(dict.fromkeys(block.schema.attributes, UNKNOWN))


class TestRenew:
    def test_a_value_that_is_current_is_renewed_in_silence(self, stores: Stores, store: SecretStore) -> None:
        """Until the next look, which comes after as long again."""
        store.put(NAME, CANARY)
        block = SecretEphemeral(stores)
        found = opened(block, name=NAME, recheck="5m")
        assert found.renew_at == stores.clock.now() + timedelta(minutes=5)
        stores.clock.sleep(300)
        renewed = block.renew(found.private)
        assert (renewed.warnings, renewed.private) == ((), found.private)
        assert renewed.renew_at == stores.clock.now() + timedelta(minutes=5)
        assert (block.close(found.private), block.close(b"")) == ((), ())

    def test_a_previous_value_is_warned_of_and_an_older_one_fails(
        self, stores: Stores, store: SecretStore
    ) -> None:
        """In its grace it works; after that nothing is to be expected of it."""
        first = store.put(NAME, f"{CANARY}-1").id
        block = SecretEphemeral(stores)
        private = opened(block, name=NAME, recheck="5m").private
        store.put(NAME, f"{CANARY}-2")
        [warning] = block.renew(private).warnings
        assert warning.warning
        assert first in warning.summary
        assert list(block.close(private)) == [warning]
        store.put(NAME, f"{CANARY}-3")
        for look in (block.renew, block.close):
            with pytest.raises(ProblemError, match="no longer in use"):
                look(private)

    def test_what_was_asked_for_as_previous_or_by_its_id_may_be_it(
        self, stores: Stores, store: SecretStore
    ) -> None:
        """No warning; a version that is gone is one to fail at."""
        first = store.put(NAME, f"{CANARY}-1").id
        store.put(NAME, f"{CANARY}-2")
        block = SecretEphemeral(stores)
        previous = opened(block, name=NAME, stage="previous", recheck="5m").private
        pinned = opened(block, name=NAME, version=first, recheck="5m").private
        assert not block.renew(previous).warnings
        store.put(NAME, f"{CANARY}-3")
        assert not block.renew(pinned).warnings
        store.purge(NAME)
        with pytest.raises(ProblemError, match="no longer in use"):
            block.renew(pinned)

    def test_a_store_that_is_away_is_warned_of_and_one_that_denies_fails(
        self, stores: Stores, store: SecretStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was read may be as good as before; but nobody is told so for ever."""
        store.put(NAME, CANARY)
        block = SecretEphemeral(stores)
        private = opened(block, name=NAME, recheck="5m").private
        errors: list[SecretStoreError] = [UnavailableError("away"), PermissionDeniedError("denied")]

        def fails(*_: object) -> None:
            raise errors.pop(0)

        monkeypatch.setattr(SecretStore, "versions", fails)
        [warning] = block.renew(private).warnings
        assert (warning.detail, warning.warning) == ("away", True)
        with pytest.raises(ProblemError) as failed:
            block.renew(private)
        assert told(failed.value) == [("denied", ("recheck",))]

    def test_a_store_without_versions_refuses_a_recheck_at_once(
        self, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not in the middle of the apply."""
        monkeypatch.setenv("APP__DB__PASSWORD", CANARY)
        found = refused(SecretEphemeral(stores), store="env://APP", name=NAME, recheck="5m")
        assert found == [("this store keeps no versions that could be looked at", ("recheck",))]


class TestRandom:
    def test_each_opening_makes_another_password(self, stores: Stores) -> None:
        """32 characters by default, as `strongroom put --generate`."""
        block = RandomValue(stores)
        made = {revealed(opened(block).values["value"]) for _ in range(2)}
        assert len(made) == 2
        assert all(len(one) == 32 and one.isalnum() for one in made)

    def test_a_policy_is_kept(self, stores: Stores) -> None:
        """Length, classes and what is excluded."""
        found = opened(RandomValue(stores), length=40, classes=["digits"], exclude="01")
        value = revealed(found.values["value"])
        assert len(value) == 40
        assert set(value) <= set("23456789")

    @pytest.mark.parametrize(
        ("said", "blamed"),
        [
            ({"length": 8}, "length"),
            ({"length": 2000}, "length"),
            ({"length": Decimal("32.5")}, "length"),
            ({"classes": ["letters"]}, "classes"),
            ({"classes": []}, "classes"),
            ({"classes": ["digits"], "exclude": "0123456789"}, "exclude"),
        ],
    )
    def test_a_policy_that_cannot_work_is_refused_at_its_attribute(
        self, stores: Stores, said: dict[str, Value], blamed: str
    ) -> None:
        """By validate, and by open where it was not known before."""
        block = RandomValue(stores)
        [problem] = block.validate(configured(block, said))
        assert problem.path == (blamed,)
        assert refused(block, **said)[0][1] == (blamed,)

    def test_what_is_not_known_yet_is_no_mistake(self, stores: Stores) -> None:
        """Nor is an unknown class in a list that is known."""
        block = RandomValue(stores)
        assert not block.validate(configured(block, {"length": UNKNOWN}))
        assert not block.validate(configured(block, {"classes": ["digits", UNKNOWN]}))


CONTEXT = {"purpose": "terraform"}


class TestDecrypt:
    @pytest.fixture(scope="class")
    @staticmethod
    def keyset(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Made once: it takes longer than a test."""
        path = tmp_path_factory.mktemp("keys") / "keys.json"
        create_key(f"local-key://{path}", None, "aes-256")
        return path

    @pytest.fixture
    def block(self, stores: Stores, keyset: Path, tmp_path: Path) -> Decrypt:
        for path in keyset.parent.iterdir():
            shutil.copy(path, tmp_path)
        return Decrypt(stores)

    @staticmethod
    def message(block: Decrypt, value: bytes = CANARY_BYTES, **context: str) -> str:
        with closing(key("file", config=block.stores.config)) as kek:
            made = encrypt(value, keys=[kek], context=context or CONTEXT)
        return base64.b64encode(made).decode()

    def test_a_message_is_opened(self, block: Decrypt) -> None:
        """By any of its keys, with the whole context; line breaks in the base64 are no error."""
        message = self.message(block)
        for text in (message, "\n".join(message[i : i + 76] for i in range(0, len(message), 76))):
            found = opened(block, message=text, keys=["file"], context=dict(CONTEXT))
            assert revealed(found.values["value"]) == CANARY
            assert base64.b64decode(revealed(found.values["value_base64"])) == CANARY_BYTES

    def test_binary_comes_in_base64_alone(self, block: Decrypt) -> None:
        """Every byte of it."""
        raw = b"\xff\0" + CANARY_BYTES
        found = opened(block, message=self.message(block, raw), keys=["file"], context=dict(CONTEXT))
        assert found.values["value"] is None
        assert base64.b64decode(revealed(found.values["value_base64"])) == raw

    def test_a_message_of_another_context_is_refused(self, block: Decrypt) -> None:
        """Else it could be put in the place of another under the same key."""
        message = self.message(block, purpose="other")
        for context in (CONTEXT, {}, {"purpose": "other", "more": "x"}):
            found = refused(block, message=message, keys=["file"], context=dict(context))
            assert found[0][1] == ("message",)

    def test_a_changed_message_is_refused_whole(self, block: Decrypt) -> None:
        """The last byte counts as the first does."""
        raw = base64.b64decode(self.message(block))
        for position in (0, len(raw) // 2, len(raw) - 1):
            bad = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
            text = base64.b64encode(bad).decode()
            found = refused(block, message=text, keys=["file"], context=dict(CONTEXT))
            assert found[0][1] == ("message",)

    def test_a_mistake_is_blamed_on_its_attribute(self, block: Decrypt) -> None:
        """By validate where it needs no key; none is ever guessed."""
        said: dict[str, Value] = {"message": self.message(block), "keys": ["file"], "context": dict(CONTEXT)}
        wrong: list[tuple[dict[str, Value], tuple[str | int, ...]]] = [
            ({"message": "no base64!"}, ("message",)),
            ({"keys": []}, ("keys",)),
            ({"keys": ["file", "fiel"]}, ("keys", 1)),
            ({"keys": [None]}, ("keys", 0)),
            ({"context": {"purpose": None}}, ("context", "purpose")),
        ]
        for change, path in wrong:
            assert refused(block, **{**said, **change})[0][1] == path

    def test_what_is_not_known_yet_is_no_mistake(self, block: Decrypt) -> None:
        """A validate passes over it."""
        unknown: dict[str, Value] = {"message": UNKNOWN, "keys": UNKNOWN, "context": {"purpose": UNKNOWN}}
        assert not block.validate(configured(block, unknown))
