"""Google Secret Manager: what others wrote is read, what we wrote others read, and what is not ours stays."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.backend import ABSENT, Settings, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Companion, Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.integration.gcp_support import (
    NAME,
    PARENT,
    PROJECT,
    SECRET,
    added,
    made,
    native,
    opened,
    shown,
    store_of,
)
from tests.servers.google import Google

if TYPE_CHECKING:
    pass

VALUES: dict[str, bytes] = {
    "text": CANARY.encode(),
    "binary": b"\xff\x00" + CANARY.encode(),
    "JSON": json.dumps({"password": CANARY}).encode(),
    "one byte": b"x",
    "a newline": b"\n",
    "unicode": f"{CANARY} ä 秘密 🔐".encode(),
    "the largest legal": b"x" * 65_536,
}


@pytest.fixture
def client(google_server: Google) -> Any:
    return native(google_server)


@pytest.fixture
def store(google_server: Google) -> Iterator[SecretStore]:
    with store_of(google_server) as store:
        yield store


@pytest.mark.parametrize("data", VALUES.values(), ids=VALUES.keys())
def test_what_the_sdk_wrote_is_read(store: SecretStore, client: Any, data: bytes) -> None:
    """Byte for byte; text if it is UTF-8. A lone newline is what stands for nothing."""
    made(client)
    added(client, data)
    value = store.get(NAME).value
    assert value.matches(b"" if data == b"\n" else data)
    assert value.kind == ("binary" if data.startswith(b"\xff") else "text")


@pytest.mark.parametrize("data", VALUES.values(), ids=VALUES.keys())
def test_what_we_wrote_the_sdk_reads(store: SecretStore, client: Any, data: bytes) -> None:
    """The payload is the value, nothing around it."""
    data = data[: 65_536 - 1024]
    store.put(NAME, data)
    assert shown(client) == data
    assert (store.get(NAME).value.kind, store.get(NAME).value.matches(data)) == ("binary", True)


@pytest.mark.parametrize("empty", ["", b""], ids=["text", "binary"])
def test_nothing_is_a_newline_for_others(store: SecretStore, client: Any, empty: str | bytes) -> None:
    """Google takes no empty payload; shells strip the newline."""
    store.put(NAME, empty)
    assert shown(client) == b"\n"
    assert store.get(NAME).value == SecretValue(empty)
    assert store.get(NAME).value.kind == SecretValue(empty).kind


def test_one_over_the_limit_sends_nothing(store: SecretStore, google_server: Google) -> None:
    """64 KiB is Google's limit; 1 KiB of it is kept for a companion's frame."""
    google_server.calls.clear()
    with pytest.raises(InvalidRequestError):
        store.put(NAME, b"x" * (65_536 - 1024 + 1))
    assert not google_server.calls


def test_a_read_is_one_request_once_the_version_is_known(store: SecretStore, google_server: Google) -> None:
    """The first tells its life and kind too; another process's new version is asked about once."""
    store.put(NAME, "one")
    with store_of(google_server) as other:
        other.get(NAME)
        google_server.calls.clear()
        for _ in range(3):
            other.get(NAME)
        assert dict(google_server.calls) == {"AccessSecretVersion": 3}
        store.put(NAME, "two")
        google_server.calls.clear()
        assert other.get(NAME).value.matches("two")
        assert other.get(NAME).value.matches("two")
        assert dict(google_server.calls) == {"AccessSecretVersion": 2, "GetSecret": 1}


def test_an_identity_that_may_only_access_reads(store: SecretStore, google_server: Google) -> None:
    """roles/secretmanager.secretAccessor alone: the number is the id, which is good for reading."""
    written = store.put(NAME, CANARY)
    google_server.faults.deny("secretmanager.secrets.get")
    with store_of(google_server) as reader:
        secret = reader.get(NAME)
        assert (secret.version, secret.value.matches(CANARY)) == ("1", True)
        assert reader.get(NAME, version="1").value.matches(CANARY)
        with pytest.raises(PermissionDeniedError):
            reader.get(NAME, version=written.id)
        google_server.calls.clear()
        reader.get(NAME)
        assert dict(google_server.calls) == {"AccessSecretVersion": 1}
    google_server.faults.clear()
    with pytest.raises(SecretConflictError):
        store.put(NAME, "mine", if_version="1")


@pytest.mark.parametrize(
    ("permission", "role", "act"),
    [
        ("versions.access", "secretAccessor", lambda store: store.get(NAME)),
        ("secrets.update", "admin", lambda store: store.put(NAME, CANARY)),
        ("versions.add", "secretVersionAdder", lambda store: store.put(NAME, CANARY)),
        ("secrets.delete", "admin", lambda store: store.purge(NAME)),
        ("secrets.list", "viewer", lambda store: list(store.list_names())),
        ("versions.list", "viewer", lambda store: store.versions(NAME)),
        ("secrets.get", "viewer", lambda store: store.describe(NAME)),
    ],
)
def test_a_denial_names_the_role_that_lacks(
    store: SecretStore, google_server: Google, permission: str, role: str, act: Any
) -> None:
    """And nothing was done."""
    store.put(NAME, CANARY)
    google_server.faults.deny(f"secretmanager.{permission}")
    with pytest.raises(PermissionDeniedError) as caught:
        act(store)
    assert f"roles/secretmanager.{role}" in str(caught.value)
    assert_no_canary_in(caught.value)
    google_server.faults.clear()
    assert len(store.versions(NAME)) == 1
    assert store.put(NAME, "next").id.startswith("2."), "a refused write keeps nobody else out"


def test_a_damaged_answer_is_asked_for_again(store: SecretStore, google_server: Google) -> None:
    """Its checksum does not fit; twice in a row is an IntegrityError, and no value of it gets out."""
    store.put(NAME, CANARY)

    def damage(answer: Any) -> None:
        answer.payload.data = CANARY.encode()[::-1]

    google_server.faults.alter("AccessSecretVersion", damage)
    assert store.get(NAME).value.matches(CANARY)
    google_server.faults.alter("AccessSecretVersion", damage, times=2)
    with pytest.raises(IntegrityError) as caught:
        store.get(NAME)
    assert_no_canary_in(caught.value)


def test_a_damaged_write_is_refused(store: SecretStore, google_server: Google, client: Any) -> None:
    """Google compares the checksum we send; the old value stays and the next write works."""
    store.put(NAME, "one")

    def damage(request: Any) -> None:
        request.payload.data = b"damaged"

    google_server.faults.alter("AddSecretVersion", damage, "before")
    with pytest.raises(InvalidRequestError):
        store.put(NAME, CANARY)
    assert shown(client) == b"one"
    store.put(NAME, "two")
    assert shown(client) == b"two"


def test_a_write_that_lost_its_checksum_is_compared(
    store: SecretStore, google_server: Google, client: Any
) -> None:
    """Google says whether one arrived; if not, what it keeps is read back, and written again if damaged."""

    def strip(request: Any) -> None:
        del request.payload.data_crc32c

    def strip_and_damage(request: Any) -> None:
        strip(request)
        request.payload.data = b"damaged"

    store.put(NAME, "one")
    google_server.faults.alter("AddSecretVersion", strip, "before")
    assert store.put(NAME, "two").id.startswith("2.")
    google_server.faults.alter("AddSecretVersion", strip_and_damage, "before")
    assert store.put(NAME, CANARY).id.startswith("4.")
    assert shown(client) == CANARY.encode()
    assert [version.id.partition(".")[0] for version in store.versions(NAME)] == ["4", "2", "1"]


def test_a_version_without_a_checksum_is_read(store: SecretStore, google_server: Google, client: Any) -> None:
    """Those under CMEK from before July 2021 have none."""
    store.put(NAME, "one")
    google_server.secrets.forget_checksum(f"{SECRET}/versions/1")
    assert store.get(NAME).value.matches("one")


def test_a_disabled_newest_is_not_found_with_a_hint(store: SecretStore, client: Any) -> None:
    """Not the version before it: somebody disabled it for a reason. A new put is current again."""
    store.put(NAME, "one")
    store.put(NAME, "two")
    client.disable_secret_version(name=f"{SECRET}/versions/2")
    with pytest.raises(SecretNotFoundError) as caught:
        store.get(NAME)
    assert "enable" in (caught.value.hint or "")
    assert [version.id.partition(".")[0] for version in store.versions(NAME)] == ["1"]
    assert store.put(NAME, "three").id.startswith("3.")
    assert store.get(NAME).value.matches("three")


def test_absent_matches_a_destroyed_newest_and_no_disabled_one(store: SecretStore, client: Any) -> None:
    """A disabled one can come back."""
    store.put(NAME, "one")
    client.disable_secret_version(name=f"{SECRET}/versions/1")
    with pytest.raises(SecretConflictError):
        store.put(NAME, "mine", if_version=ABSENT)
    client.destroy_secret_version(name=f"{SECRET}/versions/1")
    assert store.put(NAME, "mine", if_version=ABSENT).id.startswith("2.")


def test_what_is_not_ours_on_a_secret_stays(store: SecretStore, client: Any) -> None:
    """Labels, annotations, topics, rotation, expiry, aliases: a patch names our annotations alone."""
    soon = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)
    made(
        client,
        labels={"team": "core"},
        annotations={"owner": "ä b"},
        topics=[{"name": "projects/p/topics/t"}],
        rotation={"next_rotation_time": soon, "rotation_period": dt.timedelta(days=30)},
        expire_time=soon,
        version_destroy_ttl=dt.timedelta(days=2),
        replication={"user_managed": {"replicas": [{"location": "europe-west6"}]}},
    )
    before = client.get_secret(name=SECRET)
    store.put(NAME, "one")
    store.set_tags(NAME, {"env": "prod"})
    store.put(NAME, "two", if_version=store.get(NAME).version)
    after = client.get_secret(name=SECRET)
    for field in ("labels", "topics", "rotation", "expire_time", "version_destroy_ttl", "replication"):
        assert getattr(after, field) == getattr(before, field), field
    assert after.annotations["owner"] == "ä b"
    assert dict(store.describe(NAME).tags) == {"owner": "ä b", "env": "prod"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_tags_survive_a_lost_answer(store: SecretStore, google_server: Google, when: Any) -> None:
    """Setting them again is the same, so a look decides."""
    store.put(NAME, "one")
    google_server.faults.drop("UpdateSecret", when)
    store.set_tags(NAME, {"env": "prod"})
    assert dict(store.describe(NAME).tags) == {"env": "prod"}


@pytest.mark.parametrize("tags", [
    {"strongroom.chain": "9"}, {"a b": "x"}, {"": "x"}, {"x" * 64: "y"}, {"ä": "x"}, {"a": "x" * 16_384},
])  # fmt: skip
def test_tags_google_or_we_cannot_keep_are_refused(store: SecretStore, tags: dict[str, str]) -> None:
    """Ours cannot be forged, and room for them is kept."""
    store.put(NAME, "one")
    with pytest.raises(InvalidRequestError):
        store.set_tags(NAME, tags)
    assert dict(store.describe(NAME).tags) == {}


def test_replication_and_keys_are_as_the_options_say(google_server: Google, client: Any) -> None:
    """Automatic with a key, and user-managed with a key for each location."""
    key = "projects/p/locations/{}/keyRings/r/cryptoKeys/k"
    with store_of(google_server, options={"kms_key": key.format("global")}) as store:
        store.put("auto", "x")
    replication = client.get_secret(name=f"{PARENT}/secrets/app__auto").replication
    assert replication.automatic.customer_managed_encryption.kms_key_name == key.format("global")
    places = {place: key.format(place) for place in ("europe-west6", "europe-west1")}
    with store_of(google_server, options={"locations": places}) as store:
        store.put("managed", "x")
    replicas = client.get_secret(name=f"{PARENT}/secrets/app__managed").replication.user_managed.replicas
    found = {each.location: each.customer_managed_encryption.kms_key_name for each in replicas}
    assert found == places


@pytest.mark.parametrize("options", [
    {"replication": "automatic"}, {"locations": ["europe-west6"], "kms_key": "k"},
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(google_server: Google, options: dict[str, Any]) -> None:
    """When the store is opened."""
    with pytest.raises(InvalidRequestError):
        opened(google_server, options=options)


def test_a_regional_store_is_another_name_space(google_server: Google, client: Any) -> None:
    """Its secrets lie under their location and have no replication policy."""
    with store_of(google_server, query="&location=europe-west6") as regional:
        regional.put(NAME, "regional")
        assert regional.get(NAME).value.matches("regional")
        assert list(regional.list_names()) == [NAME]
        assert regional.origin.endswith("location=europe-west6")
    with store_of(google_server) as store, pytest.raises(SecretNotFoundError):
        store.get(NAME)
    secret = SECRET.replace("/secrets/", "/locations/europe-west6/secrets/")
    assert shown(client, secret) == b"regional"


def test_a_lagging_latest_never_hides_what_was_written_here(
    store: SecretStore, google_server: Google
) -> None:
    """By number Google is consistent; `latest`, lists and metadata may be old."""
    store.put(NAME, "one")
    google_server.secrets.freeze("latest", "lists")
    two = store.put(NAME, "two")
    with pytest.raises(SecretConflictError):  # which makes the facts doubtful, and the floor not
        store.put(NAME, "mine", if_version=ABSENT)
    assert (store.get(NAME).version, store.get(NAME).value.matches("two")) == (two.id, True)
    assert store.versions(NAME)[0].id == two.id
    described = store.describe(NAME).newest
    assert described is not None
    assert described.id == two.id
    google_server.secrets.thaw()


def test_a_secret_that_is_read_late_harms_nobody(store: SecretStore, google_server: Google) -> None:
    """What is decided from it fails at the etag: a conflict that may be tried again, and nothing is lost."""
    one = store.put(NAME, "one")
    google_server.secrets.freeze("secrets")
    store_of(google_server).put(NAME, "two")
    with pytest.raises(SecretConflictError) as caught:
        store.put(NAME, "mine", if_version=one.id)
    google_server.secrets.thaw()
    assert store.get(NAME).value.matches("two")
    assert caught.value.performed is False


def test_a_foreign_secret_is_adopted(store: SecretStore, client: Any) -> None:
    """Made and filled by Terraform or the console: all its versions count, and `if_version` works on it."""
    made(client)
    for text in ("one", "two", "three"):
        added(client, text)
    current = store.get(NAME)
    assert [version.id.partition(".")[0] for version in store.versions(NAME)] == ["3", "2", "1"]
    assert store.get(NAME, stage=Stage.PREVIOUS).value.matches("two")
    store.put(NAME, "four", if_version=current.version)
    assert store.get(NAME, stage=Stage.PREVIOUS).version == current.version
    assert shown(client) == b"four"


def test_names_that_are_not_ours_are_not_listed(store: SecretStore, client: Any) -> None:
    """Other prefixes, names no name encodes to, Strongroom's own, and a secret that was never written."""
    store.put(NAME, "one")
    for other in ("other__db", "app", "APP__x", "app__a____b", "xapp__y"):
        made(client, f"{PARENT}/secrets/{other}")
    assert list(store.list_names()) == [NAME]
    infos = list(opened_infos(store))
    assert [str(info.key) for info in infos] == [NAME]


def opened_infos(store: SecretStore) -> Any:
    return store._backend.list_info("", True)


def test_a_companion_is_listed_to_stores_and_hidden_from_users(
    google_server: Google, store: SecretStore
) -> None:
    """A replica needs to know of it; a user does not."""
    base = store.put(NAME, "one")
    store.pending(NAME, "6f1c7f0e-8f0e-4d57-9a6f-2f6d3c0c6b11").put("two", base_version=base.id)
    keys = [info.key for info in opened(google_server).list_info("db/")]
    assert sorted(map(str, keys)) == [str(Companion(Name(NAME))), NAME]
    assert list(store.list_names()) == [NAME]


def test_a_record_travels_with_its_version(google_server: Google) -> None:
    """It is set with the patch that records the number, and stays when tags change."""
    backend, key = opened(google_server), Name(NAME)
    backend.put(key, SecretValue("one"), None, "v1.1.1.a.b")
    backend.put(key, SecretValue("two"), None, "v1.1.2.a.b")
    backend.set_tags(key, {"env": "prod"})
    assert opened(google_server).get(key, Stage.CURRENT).record == "v1.1.2.a.b"
    assert opened(google_server).get(key, Stage.PREVIOUS).record == "v1.1.1.a.b"
    assert backend.describe(key).record == "v1.1.2.a.b"
    with pytest.raises(InvalidRequestError):
        backend.put(key, SecretValue("three"), None, "not a record")


def test_the_pace_of_google_is_kept(google_server: Google) -> None:
    """2 new versions and 2 updates of a secret in a second, on the injected clock: a put makes two updates.

    Another secret has its own.
    """
    clock = FakeClock()
    google_server.reset(clock)
    google_server.secrets.quota = True
    with store_of(google_server, clock) as store:
        for number in range(6):
            store.put(NAME, f"{number}")
            store.put("other", f"{number}")
    assert google_server.calls["AddSecretVersion"] == 13, "12, and the digest key: none was refused"
    assert 5.0 <= clock.monotonic() < 6.0


def test_a_regional_secret_may_be_written_faster(google_server: Google) -> None:
    """80 in a second."""
    clock = FakeClock()
    with store_of(google_server, clock, query="&location=europe-west6") as store:
        for number in range(40):
            store.put(NAME, f"{number}")
    assert clock.monotonic() == 0


def test_throttling_waits_as_long_as_google_asks(google_server: Google) -> None:
    """google.rpc.RetryInfo; a write that was refused so was not performed, and is repeated."""
    clock = FakeClock()
    with store_of(google_server, clock) as store:
        store.put(NAME, "one")
        google_server.faults.throttle("AddSecretVersion", retry_after=7.5)
        store.put(NAME, "two")
        google_server.faults.throttle("AccessSecretVersion", retry_after=3.25)
        assert store.get(NAME).value.matches("two")
        assert {7.5, 3.25} <= set(clock.slept)
        google_server.faults.throttle("AccessSecretVersion", retry_after=3600)
        with pytest.raises(UnavailableError) as caught:
            store.get(NAME)
        assert caught.value.retry_after == 3600
        assert clock.monotonic() < 60


def test_the_digest_of_a_value_is_keyed(google_server: Google, client: Any) -> None:
    """What stands in an annotation while a write is under way says nothing to who has no key: the key is a
    secret of its own, in the reserved name space."""
    seen: list[str] = []
    google_server.faults.run(
        "AddSecretVersion",
        lambda: seen.append(client.get_secret(name=SECRET).annotations["strongroom.intent"]),
        skip=1,  # the digest key itself
        times=2,
    )
    with store_of(google_server) as store:
        store.put(NAME, CANARY)
        store.put(NAME, CANARY)
    assert seen[0].split(".")[2] != seen[1].split(".")[2], "equal values have different digests"
    key = shown(client, f"{PARENT}/secrets/digest-key_____app__intents", 1)
    assert len(key) == 32
    assert CANARY not in "".join(seen)


def test_a_lost_digest_key_stops_writers_and_no_reader(google_server: Google, client: Any) -> None:
    """Nobody makes another behind the back of a writer that still has the first."""
    with store_of(google_server) as store:
        store.put(NAME, "one")
    client.destroy_secret_version(name=f"{PARENT}/secrets/digest-key_____app__intents/versions/1")
    with store_of(google_server) as store:
        with pytest.raises(UnavailableError) as caught:
            store.put(NAME, "two")
        assert "digest" in str(caught.value)
        assert caught.value.performed is False
        assert store.get(NAME).value.matches("one")


@pytest.mark.parametrize("act", ["delete", "restore"])
def test_what_is_not_declared_sends_nothing(store: SecretStore, google_server: Google, act: str) -> None:
    """Google's delete is final, so it is called purge here."""
    store.put(NAME, "one")
    google_server.calls.clear()
    with pytest.raises(UnsupportedOperationError):
        getattr(store, act)(NAME)
    assert not google_server.calls


def test_nothing_is_sent_when_a_store_is_opened(google_server: Google) -> None:
    """A wrong project shows with the first call, not with the import of a module."""
    google_server.calls.clear()
    opened(google_server).close()
    assert not google_server.calls


def test_settings_reach_the_sdk(google_server: Google) -> None:
    """One deadline for each attempt; nothing is repeated behind our back."""
    clock = FakeClock()
    google_server.faults.drop("AccessSecretVersion", "before", times=10)
    with store_of(google_server, clock, attempts=4) as store, pytest.raises(UnavailableError):
        store.get(NAME)
    assert google_server.calls["AccessSecretVersion"] == 4
    assert len(clock.slept) == 3


def test_a_hung_call_ends_at_the_deadline(google_server: Google) -> None:
    """`timeout` is what one attempt may take; a read says that nothing happened."""
    url = f"gcp-sm://{PROJECT}/app?endpoint={google_server.url}"
    from strongroom.registry import open_backend

    gate = google_server.faults.hold("AccessSecretVersion")
    backend = open_backend(url, Settings(timeout=0.2, attempts=1))
    with SecretStore(backend, cache=None) as store, pytest.raises(UnavailableError) as caught:
        store.get(NAME)
    gate.open()
    assert caught.value.performed is False
