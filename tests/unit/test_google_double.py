"""The Google double keeps Secret Manager's documented rules, as the real SDK client sees them.

Each rule's source stands beside it in tests/servers/google_*.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import secretmanager_v1 as api
from google.protobuf.field_mask_pb2 import FieldMask

from strongroom.testing.clock import FakeClock
from tests.canary import CANARY_BYTES, not_ours
from tests.servers.google_rules import crc32c
from tests.unit.google_support import AUTOMATIC, NAME, PARENT, added, client_of, code, made

if TYPE_CHECKING:
    from tests.servers.google import Google


@pytest.fixture(autouse=True)
def _plain_sdk() -> Iterator[None]:
    """Google's own clients log requests at DEBUG, unless a store of ours happens to be open."""
    with not_ours():
        yield


KEY = "projects/p/locations/{}/keyRings/r/cryptoKeys/k"
State = api.SecretVersion.State


@pytest.fixture
def client(google_server: Google) -> Any:
    return client_of(google_server)


def _update(client: Any, *paths: str, etag: str = "", **fields: Any) -> Any:
    return client.update_secret(
        secret={"name": NAME, "etag": etag, **fields}, update_mask=FieldMask(paths=paths)
    )


class TestSecrets:
    def test_names_in_answers_hold_the_projects_number(self, client: Any) -> None:
        """A request says the project's id or number; the answer says the number."""
        name = made(client).name
        assert name != NAME
        assert name.endswith("/secrets/db")
        assert client.get_secret(name=name).name == client.get_secret(name=NAME).name == name

    def test_creating_twice_is_already_exists(self, client: Any) -> None:
        """Also under the project's number."""
        parent = made(client).name.partition("/secrets/")[0]
        assert code(client.create_secret, parent=parent, secret_id="db", secret=AUTOMATIC) == "ALREADY_EXISTS"

    @pytest.mark.parametrize("name", ["a" * 256, "a.b", "a b", "é", ""])
    def test_ids_are_letters_digits_hyphen_underscore(self, client: Any, name: str) -> None:
        """At most 255 of them."""
        made(client, "A-z_9" + "a" * 250)
        assert code(made, client, name) == "INVALID_ARGUMENT"

    @pytest.mark.parametrize("name", ["db", "projects/p", f"{NAME}/versions/1", "projects//secrets/db"])
    def test_resource_names_are_whole(self, client: Any, name: str) -> None:
        """A name of another form is refused, not looked for."""
        assert code(client.get_secret, name=name) == "INVALID_ARGUMENT"

    def test_the_etag_is_quoted_and_changes_with_every_update(self, client: Any) -> None:
        """An update under the etag succeeds once; the second writer is told FAILED_PRECONDITION."""
        first = made(client).etag
        assert first.startswith('"')
        second = _update(client, "annotations", etag=first, annotations={"a": "1"}).etag
        assert second != first
        assert code(_update, client, "annotations", etag=first) == "FAILED_PRECONDITION"
        assert client.get_secret(name=NAME).annotations == {"a": "1"}
        assert _update(client, "annotations").etag != second  # no etag: not checked

    def test_a_version_does_not_change_the_secrets_etag(self, client: Any) -> None:
        """Nor does a change of one."""
        etag = made(client).etag
        client.disable_secret_version(name=added(client).name)
        assert client.get_secret(name=NAME).etag == etag

    def test_an_update_replaces_what_the_mask_names_and_nothing_else(self, client: Any) -> None:
        """A map is replaced whole; a field that the request leaves out is cleared."""
        made(client, labels={"team": "a"}, annotations={"x": "1", "y": "2"})
        changed = _update(client, "annotations", annotations={"z": "3"}, labels={"lost": "never"})
        assert (changed.annotations, changed.labels) == ({"z": "3"}, {"team": "a"})
        assert not _update(client, "labels").labels

    @pytest.mark.parametrize("path", ["name", "create_time", "policy_member", "tags", "nonsense", "*"])
    def test_an_update_names_changeable_fields(self, client: Any, path: str) -> None:
        """And at least one."""
        made(client)
        assert code(_update, client, path) == code(_update, client) == "INVALID_ARGUMENT"

    def test_deleting_under_an_old_etag_fails(self, client: Any) -> None:
        """Without one it succeeds, is final, and numbers start again."""
        old = made(client).etag
        added(client)
        _update(client, "labels", labels={"a": "b"})
        assert code(client.delete_secret, request={"name": NAME, "etag": old}) == "FAILED_PRECONDITION"
        client.delete_secret(name=NAME)
        assert code(client.get_secret, name=NAME) == code(client.delete_secret, name=NAME) == "NOT_FOUND"
        made(client)
        assert added(client).name.endswith("/versions/1")

    @pytest.mark.parametrize(
        "fields",
        [
            {"labels": {"Upper": "x"}},
            {"labels": {"a": "Upper"}},
            {"labels": {"1a": "x"}},
            {"labels": {"a" * 64: "x"}},
            {"labels": {"é" * 63 + "x": "x"}},
            {"labels": {f"a{number}": "" for number in range(65)}},
            {"annotations": {"a": "x" * 16 * 1024}},
            {"annotations": {"-a": "x"}},
            {"annotations": {"a b": "x"}},
            {"version_aliases": {"latest": 1}},
            {"version_aliases": {"NEW": 1}},
            {"version_aliases": {"1a": 1}},
            {"version_aliases": {f"a{number}": 1 for number in range(51)}},
            {"topics": [{"name": f"projects/p/topics/{number}"} for number in range(11)]},
            {"topics": [{"name": "t"}]},
            {"version_destroy_ttl": timedelta(hours=23)},
            {"expire_time": datetime(2020, 1, 1, tzinfo=UTC)},
            {"rotation": {"next_rotation_time": datetime(2030, 1, 1, tzinfo=UTC)}},
        ],
        ids=lambda fields: f"{next(iter(fields))}",
    )
    def test_fields_over_their_limits_are_refused(self, client: Any, fields: dict[str, Any]) -> None:
        """On create and on update alike."""
        assert code(made, client, "other", **fields) == "INVALID_ARGUMENT"
        made(client)
        assert code(_update, client, *fields, **fields) == "INVALID_ARGUMENT"

    def test_fields_at_their_limits_are_kept(self, client: Any) -> None:
        """The largest legal of each."""
        labels = {"a" + "b" * 62: "c" * 63, "ß": ""} | {f"l{number}": "" for number in range(62)}
        annotations = {"A.b-c_9": "x" * (16 * 1024 - 8)}
        aliases = {f"a{number}": 1 for number in range(50)}
        shown = made(client, labels=labels, annotations=annotations, version_aliases=aliases)
        assert (shown.labels, shown.annotations, shown.version_aliases) == (labels, annotations, aliases)

    def test_a_rotation_needs_topics_and_its_times(self, client: Any, google_server: Google) -> None:
        """At least 5 minutes ahead, every hour at most, and a next time with a period."""
        clock = FakeClock()
        google_server.reset(clock)
        topics = [{"name": "projects/p/topics/t"}]

        def rotating(ahead: int | None, period: int | None) -> dict[str, Any]:
            rotation: dict[str, Any] = {}
            if ahead is not None:
                rotation["next_rotation_time"] = clock.now() + timedelta(seconds=ahead)
            if period is not None:
                rotation["rotation_period"] = timedelta(seconds=period)
            return {"rotation": rotation, "topics": topics}

        assert made(client, **rotating(300, 3600)).rotation.rotation_period == timedelta(hours=1)
        for ahead, period in ((299, None), (300, 3599), (None, 3600)):
            assert code(made, client, "other", **rotating(ahead, period)) == "INVALID_ARGUMENT"

    def test_an_expired_secret_is_gone(self, client: Any, google_server: Google) -> None:
        """A ttl is answered as the expire_time it comes to."""
        clock = FakeClock()
        google_server.reset(clock)
        shown = made(client, ttl=timedelta(hours=1))
        assert (shown.expire_time, "ttl" in shown) == (clock.now() + timedelta(hours=1), False)
        clock.advance(3600)
        assert code(client.get_secret, name=NAME) == "NOT_FOUND"
        assert not list(client.list_secrets(parent=PARENT))


class TestReplication:
    def test_a_global_secret_names_its_policy(self, client: Any) -> None:
        """And a regional one must not."""
        assert code(client.create_secret, parent=PARENT, secret_id="db", secret={}) == "INVALID_ARGUMENT"
        regional = {"parent": f"{PARENT}/locations/europe-west6", "secret_id": "db", "secret": AUTOMATIC}
        assert code(client.create_secret, request=regional) == "INVALID_ARGUMENT"

    def test_regional_secrets_are_apart_from_global_ones(self, client: Any) -> None:
        """The same id may stand in both, and neither lists the other's."""
        regional = f"{PARENT}/locations/europe-west6"
        name = client.create_secret(parent=regional, secret_id="db", secret={}).name
        assert "/locations/europe-west6/secrets/db" in name
        assert not list(client.list_secrets(parent=PARENT))
        made(client)
        assert [secret.name for secret in client.list_secrets(parent=regional)] == [name]
        added(client, CANARY_BYTES, name)
        assert client.access_secret_version(name=f"{name}/versions/1").payload.data == CANARY_BYTES

    def test_the_places_are_immutable_and_the_keys_are_not(self, client: Any) -> None:
        """A version shows the key it was written under."""

        def managed(*places: str, key: bool) -> dict[str, Any]:
            cmek = {"kms_key_name": KEY.format("europe-west6")} if key else None
            replicas = [{"location": place, "customer_managed_encryption": cmek} for place in places]
            return {"user_managed": {"replicas": replicas}}

        made(client, replication=managed("europe-west6", key=False))
        assert code(_update, client, "replication", replication={"automatic": {}}) == "INVALID_ARGUMENT"
        more = managed("europe-west6", "europe-west3", key=False)
        assert code(_update, client, "replication", replication=more) == "INVALID_ARGUMENT"
        _update(client, "replication", replication=managed("europe-west6", key=True))
        [replica] = added(client).replication_status.user_managed.replicas
        used = replica.customer_managed_encryption.kms_key_version_name
        assert used.startswith(KEY.format("europe-west6") + "/")

    @pytest.mark.parametrize(
        "replication",
        [
            {"user_managed": {"replicas": []}},
            {"user_managed": {"replicas": [{"location": "a"}, {"location": "a"}]}},
            {"automatic": {"customer_managed_encryption": {"kms_key_name": KEY.format("europe-west6")}}},
            {"automatic": {"customer_managed_encryption": {"kms_key_name": "k"}}},
        ],
        ids=["nowhere", "twice", "key elsewhere", "not a key"],
    )
    def test_a_policy_names_places_once_and_keys_that_lie_there(
        self, client: Any, replication: dict[str, Any]
    ) -> None:
        """The key of automatic replication lies in `global`."""
        assert code(made, client, replication=replication) == "INVALID_ARGUMENT"


class TestVersions:
    def test_numbers_count_up_and_latest_is_the_newest(self, client: Any) -> None:
        """Access gives the payload with its checksum."""
        made(client)
        assert code(client.access_secret_version, name=f"{NAME}/versions/latest") == "NOT_FOUND"
        names = [added(client, data).name for data in (b"one", CANARY_BYTES)]
        assert [name.rpartition("/")[2] for name in names] == ["1", "2"]
        got = client.access_secret_version(name=f"{NAME}/versions/latest")
        assert (got.name, got.payload.data) == (names[1], CANARY_BYTES)
        assert got.payload.data_crc32c == crc32c(CANARY_BYTES)
        assert code(client.access_secret_version, name=f"{NAME}/versions/3") == "NOT_FOUND"

    def test_the_checksum_is_castagnolis(self) -> None:
        """The check value of CRC-32C, RFC 3720 appendix B.4."""
        assert crc32c(b"123456789") == 0xE3069283

    def test_a_wrong_checksum_is_refused(self, client: Any) -> None:
        """A right one is said to have been seen."""
        made(client)
        payload = {"data": b"one", "data_crc32c": crc32c(b"one")}
        assert client.add_secret_version(parent=NAME, payload=payload).client_specified_payload_checksum
        assert not added(client).client_specified_payload_checksum
        payload["data"] = b"two"
        assert code(client.add_secret_version, parent=NAME, payload=payload) == "INVALID_ARGUMENT"

    def test_a_payload_is_1_to_65536_bytes(self, client: Any) -> None:
        """Empty and one over are refused."""
        made(client)
        added(client, b"x")
        added(client, b"x" * 65_536)
        assert code(added, client, b"x" * 65_537) == code(added, client, b"") == "INVALID_ARGUMENT"

    def test_only_an_enabled_version_is_accessed(self, client: Any) -> None:
        """Also if `latest` is disabled: it stays the newest, and the one before is not served for it."""
        made(client)
        added(client)
        name = added(client).name
        client.disable_secret_version(name=name)
        for asked in (name, f"{NAME}/versions/latest"):
            assert code(client.access_secret_version, name=asked) == "FAILED_PRECONDITION"
        client.enable_secret_version(name=name)
        assert client.access_secret_version(name=name).payload.data == b"one"
        destroyed = client.destroy_secret_version(name=name)
        assert (destroyed.state, "destroy_time" in destroyed) == (State.DESTROYED, True)
        assert code(client.access_secret_version, name=name) == "FAILED_PRECONDITION"

    @pytest.mark.parametrize("method", ["enable", "disable", "destroy"])
    def test_destroyed_is_final(self, client: Any, method: str) -> None:
        """No method moves a version from there."""
        made(client)
        name = added(client).name
        client.destroy_secret_version(name=name)
        assert code(getattr(client, f"{method}_secret_version"), name=name) == "FAILED_PRECONDITION"

    @pytest.mark.parametrize("method", ["enable", "disable", "destroy"])
    def test_states_are_changed_under_an_etag(self, client: Any, method: str) -> None:
        """Each call changes it, one that changes no state too; an alias names no version here."""
        made(client)
        first = added(client)
        client.enable_secret_version(name=first.name)
        change = getattr(client, f"{method}_secret_version")
        assert code(change, request={"name": first.name, "etag": first.etag}) == "FAILED_PRECONDITION"
        now = client.get_secret_version(name=first.name).etag
        change(request={"name": first.name, "etag": now})
        assert code(change, name=f"{NAME}/versions/latest") == "INVALID_ARGUMENT"

    def test_a_delayed_destruction_can_be_taken_back(self, client: Any, google_server: Google) -> None:
        """Disabled at once; destroyed when the time has come, unless enabled before."""
        clock = FakeClock()
        google_server.reset(clock)
        made(client, version_destroy_ttl=timedelta(days=1))
        saved, lost = added(client).name, added(client).name
        waiting = [client.destroy_secret_version(name=name) for name in (saved, lost)]
        assert {version.state for version in waiting} == {State.DISABLED}
        assert waiting[0].scheduled_destroy_time == clock.now() + timedelta(days=1)
        client.enable_secret_version(name=saved)
        clock.advance(86_400)
        assert client.get_secret_version(name=lost).state == State.DESTROYED
        assert client.access_secret_version(name=saved).payload.data == b"one"

    def test_an_alias_is_read_by_get_and_access(self, client: Any) -> None:
        """And follows the secret."""
        made(client)
        added(client)
        added(client, b"two")
        _update(client, "version_aliases", version_aliases={"stable": 1})
        assert client.access_secret_version(name=f"{NAME}/versions/stable").payload.data == b"one"
        _update(client, "version_aliases", version_aliases={"stable": 2})
        assert client.get_secret_version(name=f"{NAME}/versions/stable").name.endswith("/2")
        assert code(client.get_secret_version, name=f"{NAME}/versions/none") == "NOT_FOUND"
