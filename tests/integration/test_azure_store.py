"""Key Vault through the store and through the SDK's own client: each reads what the other wrote."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from strongroom.backend import Backend, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.names import Companion, Key, Name, Reserved
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_azure import _values
from tests.canary import CANARY, not_ours
from tests.integration.azure_support import DB, FLAT, open_store, text
from tests.servers.azure import Vault
from tests.servers.azure_objects import Version
from tests.servers.azure_secrets import Content

TEXTS = {
    "text": CANARY,
    "JSON": f'{{"user": "app", "password": "{CANARY}"}}',
    "empty": "",
    "one byte": "x",
    "unicode": f"{CANARY} ä 秘密 🔐 \u202e",
    "the largest": "x" * _values.LARGEST,
}
EXPIRES = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
NOT_BEFORE = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
RECORD = "v1.1.2.abc.def"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(azure_server: Vault, clock: FakeClock) -> Iterator[Backend]:
    store = open_store(azure_server, clock=clock)
    yield store
    store.close()


@pytest.fixture
def plain(azure_server: Vault) -> Iterator[Any]:
    """Another program's client."""
    with azure_server.client(retry_total=0) as client, not_ours():
        yield client


def current(store: Backend) -> SecretValue:
    return store.get(DB, Stage.CURRENT).value


class TestInterop:
    @pytest.mark.parametrize("written", TEXTS.values(), ids=TEXTS.keys())
    def test_what_the_sdk_wrote_is_read(self, store: Backend, plain: Any, written: str) -> None:
        """As text, to the largest that the service takes."""
        plain.set_secret(FLAT, written)
        read = current(store)
        assert read.matches(written)
        assert read.kind == "text"

    @pytest.mark.parametrize("written", TEXTS.values(), ids=TEXTS.keys())
    def test_what_we_wrote_is_read_by_the_sdk(self, store: Backend, plain: Any, written: str) -> None:
        """Text as it is; the largest that leaves room for a rotation."""
        written = written[: _values.LARGEST_ROTATABLE]
        store.put(DB, SecretValue(written), None)
        assert plain.get_secret(FLAT).value == written

    @pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xfe", bytes(range(256)), b"text"])
    def test_bytes_are_base64_under_a_content_type(self, store: Backend, plain: Any, data: bytes) -> None:
        """Any program can decode them, and none can take them for text unknowingly."""
        store.put(DB, SecretValue(data), None)
        found = plain.get_secret(FLAT)
        assert base64.b64decode(found.value) == data
        assert found.properties.content_type == _values.BINARY
        assert (current(store).reveal(), current(store).kind) == (data, "binary")

    def test_damaged_bytes_are_not_handed_out_as_text(self, store: Backend, plain: Any) -> None:
        """Our content type, and no base64."""
        plain.set_secret(FLAT, f"{CANARY}!", content_type=_values.BINARY)
        with pytest.raises(IntegrityError):
            current(store)

    def test_the_name_is_found_in_any_case(self, store: Backend, plain: Any) -> None:
        """Key Vault's names know none, so another program may have written it in capitals."""
        plain.set_secret(FLAT.upper(), CANARY)
        assert current(store) == text()
        assert [info.key for info in store.list_info("")] == [DB]

    def test_a_listing_shows_our_prefix_and_nothing_else(self, store: Backend, plain: Any) -> None:
        """Companions count as ours; records of our own and other people's secrets do not."""
        for name in ("other--db", "app", "app-x", "app--db---------x", "Some-Certificate"):
            plain.set_secret(name, "x")
        kept: list[Key] = [DB, Name("a.b/c_d"), Companion(DB)]
        for key in (*kept, Reserved("ledger", DB)):
            store.put(key, text(), None)
        assert sorted(map(str, (info.key for info in store.list_info("")))) == sorted(map(str, kept))

    def test_a_listing_in_detail_tells_tags_and_records(self, store: Backend, plain: Any) -> None:
        """Of the newest version, whose id the list does not tell."""
        store.put(DB, text(), None, RECORD)
        store.set_tags(DB, {"team": "core"})
        plain.set_secret("app--off", "x", enabled=False, tags={"a": "b"})
        infos = {str(info.key): info for info in store.list_info("", detail=True)}
        assert (dict(infos["db/password"].tags), infos["db/password"].record) == ({"team": "core"}, RECORD)
        assert (dict(infos["off"].tags), infos["off"].newest) == ({"a": "b"}, None)


class TestCarriedOn:
    def test_a_new_version_keeps_what_belongs_to_the_secret(self, store: Backend, plain: Any) -> None:
        """Tags, content type, expiry and not-before: Key Vault itself hands nothing on."""
        plain.set_secret(
            FLAT,
            "x",
            tags={"team": "core"},
            content_type="password",
            expires_on=EXPIRES,
            not_before=NOT_BEFORE,
        )
        store.put(DB, text(), None)
        found = plain.get_secret(FLAT).properties
        assert {"team": "core"}.items() <= found.tags.items()
        assert (found.content_type, found.expires_on, found.not_before) == ("password", EXPIRES, NOT_BEFORE)

    def test_it_is_all_in_the_one_request_that_sets_the_value(
        self, store: Backend, plain: Any, azure_server: Vault
    ) -> None:
        """No reader can see the value without its kind, record and tags."""
        plain.set_secret(FLAT, "x", tags={"team": "core"})
        azure_server.calls.clear()
        store.put(DB, SecretValue(b"\xff"), None, RECORD)
        assert dict(azure_server.calls) == {"secrets.get": 1, "secrets.set": 1}
        assert store.get(DB, Stage.CURRENT).record == RECORD

    def test_tags_of_ours_are_hidden_and_kept(self, store: Backend, plain: Any) -> None:
        """Setting a user's tags replaces all of them at the provider."""
        store.put(DB, text("1"), None)
        store.put(DB, text("2"), None, RECORD)
        store.set_tags(DB, {"team": "core"})
        assert dict(store.describe(DB).tags) == {"team": "core"}
        assert store.get(DB, Stage.PREVIOUS).value == text("1")
        assert store.get(DB, Stage.CURRENT).record == RECORD
        assert len(plain.get_secret(FLAT).properties.tags) == 3

    def test_tags_set_while_somebody_writes_are_not_lost(
        self, store: Backend, azure_server: Vault, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They belong to a version; the one that became the newest meanwhile gets them too."""
        store.put(DB, text("1"), None)
        vault, update = azure_server.secrets, azure_server.secrets.update

        def overtaken(*arguments: Any) -> Any:
            monkeypatch.undo()
            answer = update(*arguments)
            vault.objects.add(FLAT, Version(Content("theirs"), vault.objects.now()))
            return answer

        monkeypatch.setattr(vault, "update", overtaken)
        store.set_tags(DB, {"team": "core"})
        assert store.get(DB, Stage.CURRENT).value.matches("theirs")
        assert dict(store.describe(DB).tags) == {"team": "core"}

    def test_fifteen_foreign_tags_leave_no_room(
        self, store: Backend, plain: Any, azure_server: Vault
    ) -> None:
        """The error says how many to remove, and nothing is written."""
        plain.set_secret(FLAT, "x", tags={f"t{n}": "x" for n in range(15)})
        with pytest.raises(InvalidRequestError, match="15 tags") as caught:
            store.put(DB, text(), None)
        assert caught.value.hint == "remove 1"
        assert azure_server.calls["secrets.set"] == 1


class TestLimits:
    def test_one_byte_over_the_limit_is_refused_before_any_request(
        self, store: Backend, azure_server: Vault
    ) -> None:
        """Text or bytes, counted as they are stored."""
        with SecretStore(store, cache=None) as secrets:
            for over in (
                "x" * (_values.LARGEST_ROTATABLE + 1),
                b"\xff" * (_values.LARGEST_ROTATABLE // 4 * 3 + 1),
            ):
                with pytest.raises(InvalidRequestError):
                    secrets.put("db/password", over)
        assert not azure_server.calls

    def test_the_service_takes_exactly_what_the_limit_says(self, store: Backend) -> None:
        """The largest companion, and not one byte more."""
        store.put(Companion(DB), SecretValue("x" * _values.LARGEST), None)
        with pytest.raises(InvalidRequestError):
            store.put(Companion(DB), SecretValue("x" * (_values.LARGEST + 1)), None)


class TestDisabled:
    def test_a_disabled_newest_version_is_not_found_with_a_hint(self, store: Backend, plain: Any) -> None:
        """The older one is not what anybody meant, and it is no denial either."""
        store.put(DB, text("1"), None)
        newest = store.put(DB, text("2"), None)
        plain.update_secret_properties(FLAT, newest.id, enabled=False)
        for call in (
            lambda: store.get(DB, Stage.CURRENT),
            lambda: store.get(DB, newest.id),
            lambda: store.describe(DB),
        ):
            with pytest.raises(SecretNotFoundError, match="disabled") as caught:
                call()
            assert caught.value.hint

    def test_a_put_over_it_follows_it_and_keeps_its_tags(self, store: Backend, plain: Any) -> None:
        """It stays in the line of versions; it is not shown, and it is not what was before."""
        store.put(DB, text("1"), None)
        store.set_tags(DB, {"team": "core"})
        off = store.put(DB, text("2"), None)
        plain.update_secret_properties(FLAT, off.id, enabled=False)
        third = store.put(DB, text("3"), None)
        assert dict(store.describe(DB).tags) == {"team": "core"}
        shown = store.versions(DB)
        assert off.id not in [version.id for version in shown]
        assert [set(version.stages) for version in shown] == [{Stage.CURRENT}, set()]
        assert shown[0].id == third.id
        with pytest.raises(SecretNotFoundError):
            store.get(DB, Stage.PREVIOUS)

    def test_retire_disables_exactly_that_version(self, store: Backend) -> None:
        """And may be repeated, also for what is not there."""
        first, second = store.put(DB, text("1"), None), store.put(DB, text("2"), None)
        for _ in range(2):
            store.retire(DB, first.id)
        with pytest.raises(SecretNotFoundError):
            store.get(DB, first.id)
        assert store.get(DB, second.id).value == text("2")
        store.retire(DB, "0" * 32)
        store.retire(DB, "never-given")


class TestOrder:
    def test_a_foreign_version_is_the_newest_and_stands_in_the_line(self, store: Backend, plain: Any) -> None:
        """Somebody else's program wrote between two versions of ours."""
        first = store.put(DB, text("1"), None)
        foreign = plain.set_secret(FLAT, "theirs").properties.version
        assert store.get(DB, Stage.CURRENT).version == foreign
        assert store.get(DB, Stage.PREVIOUS).version == first.id
        third = store.put(DB, text("3"), None)
        assert [version.id for version in store.versions(DB)] == [third.id, foreign, first.id]
        assert store.get(DB, Stage.PREVIOUS).version == foreign
        assert [version.id for version in store.versions_after(DB, first.id)] == [foreign, third.id]

    def test_versions_of_one_second_are_told_in_order(self, store: Backend) -> None:
        """The double lists them by their random ids, all dated alike."""
        ids = [store.put(DB, text(str(n)), None).id for n in range(30)]
        assert [version.id for version in store.versions(DB)] == ids[::-1]

    def test_lists_that_lag_do_not_hide_what_was_just_written(
        self, store: Backend, azure_server: Vault
    ) -> None:
        """The newest is asked for by name."""
        first = store.put(DB, text("1"), None)
        with azure_server.secrets.objects.stale_lists():
            second = store.put(DB, text("2"), None)
            assert [version.id for version in store.versions(DB)] == [second.id, first.id]


class TestBin:
    def test_a_name_in_the_bin_offers_restore(self, store: Backend, plain: Any) -> None:
        """Whoever put it there."""
        plain.set_secret(FLAT, "theirs")
        plain.begin_delete_secret(FLAT)
        with pytest.raises(SecretConflictError) as caught:
            store.put(DB, text(), None)
        assert "restore" in (caught.value.hint or "")
        store.restore(DB)
        assert plain.get_secret(FLAT).value == "theirs"

    def test_what_takes_the_service_some_seconds_is_waited_for(
        self, store: Backend, azure_server: Vault, clock: FakeClock
    ) -> None:
        """On the store's clock, so that the next call finds it done."""
        azure_server.secrets.objects.moves = 4
        version = store.put(DB, text(), None)
        store.delete(DB)
        store.restore(DB)
        assert store.get(DB, Stage.CURRENT).version == version.id
        store.purge(DB)
        store.put(DB, text("new life"), None)
        assert len(store.versions(DB)) == 1
        assert clock.slept

    def test_the_wait_ends_with_the_time_of_a_read(
        self, store: Backend, azure_server: Vault, clock: FakeClock
    ) -> None:
        """Then the deletion stands, a restore is in doubt, and a purge can be repeated."""
        store.put(DB, text(), None)
        azure_server.secrets.objects.moves = 100
        store.delete(DB)
        assert 0 < sum(clock.slept) <= 15
        with pytest.raises(SecretNotFoundError):
            store.get(DB, Stage.CURRENT)

    def test_a_restore_that_takes_long_is_in_doubt(self, store: Backend, azure_server: Vault) -> None:
        """It was accepted, but nobody can read the secret yet."""
        store.put(DB, text(), None)
        store.delete(DB)
        azure_server.secrets.objects.moves = 100
        with pytest.raises(UnavailableError) as caught:
            store.restore(DB)
        assert caught.value.performed is None

    def test_a_purge_that_takes_long_says_to_repeat_it(self, store: Backend, azure_server: Vault) -> None:
        """The secret is on its way into the bin, whence the repeat takes it."""
        store.put(DB, text(), None)
        azure_server.secrets.objects.moves = 30
        with pytest.raises(UnavailableError) as caught:
            store.purge(DB)
        assert caught.value.performed is None
        azure_server.secrets.objects._all[FLAT].moving = 0
        store.purge(DB)
        assert FLAT not in azure_server.secrets.objects._all

    def test_purge_protection_is_a_denial_that_says_so(self, store: Backend, azure_server: Vault) -> None:
        """The secret stays in the bin."""
        store.put(DB, text(), None)
        azure_server.secrets.objects.recovery_level = "Recoverable"
        with pytest.raises(PermissionDeniedError) as caught:
            store.purge(DB)
        assert "purge protection" in (caught.value.hint or "")
        store.restore(DB)

    def test_who_may_not_look_into_the_bin_may_still_delete(
        self, store: Backend, azure_server: Vault
    ) -> None:
        """Waiting needs a right that deleting does not."""
        store.put(DB, text(), None)
        azure_server.faults.deny("deletedsecrets.get")
        store.delete(DB)
        with pytest.raises(SecretNotFoundError):
            store.get(DB, Stage.CURRENT)
