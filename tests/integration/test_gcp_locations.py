"""Google's own replication, behind `native_replication`: decided when a secret is made, watched, verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from strongroom.backend import Backend, Stage
from strongroom.errors import (
    InvalidRequestError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Name
from strongroom.native import CopyState, NativeReplication
from strongroom.replication.member import Member
from strongroom.replication.native import NativeReplicator
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.integration.gcp_support import NAME, PARENT, SECRET, added, made, native, opened
from tests.servers.google_refusal import Refusal

if TYPE_CHECKING:
    from tests.servers.google import Google

KEY = Name.parse(NAME)
ZURICH, BELGIUM = "europe-west6", "europe-west1"


def kms(place: str, key: str = "k") -> str:
    """A key of a location."""
    return f"projects/p/locations/{place}/keyRings/r/cryptoKeys/{key}"


def store_at(server: Google, **keys: str) -> Backend:
    """A store whose secrets are kept in two locations; one secret of it."""
    locations = {place.replace("_", "-"): key for place, key in keys.items()}
    store = opened(server, options={"locations": locations or [ZURICH, BELGIUM]})
    store.put(KEY, SecretValue(f"{CANARY} one"), None)
    return store


def replication(store: Backend) -> NativeReplication:
    """What the store offers."""
    found = store.native_replication()
    assert found is not None
    return found


def test_each_location_has_the_current_version_under_its_key(google_server: Google) -> None:
    """The version itself says where it lies, and under which key version."""
    store = store_at(google_server, europe_west6=kms(ZURICH), europe_west1=kms(BELGIUM))
    copies = replication(store).copies(KEY, verify=True)
    version = store.get(KEY, Stage.CURRENT).version
    assert {place: (copy.state, copy.key, copy.version, copy.reason) for place, copy in copies.items()} == {
        ZURICH: (CopyState.IN_SYNC, kms(ZURICH), version, ""),
        BELGIUM: (CopyState.IN_SYNC, kms(BELGIUM), version, ""),
    }


def test_the_policy_is_told_without_asking_for_a_version(google_server: Google) -> None:
    """One call for a secret, and one page of a list for all."""
    store = store_at(google_server)
    google_server.calls.clear()
    assert set(replication(store).copies(KEY)) == {ZURICH, BELGIUM}
    assert dict(google_server.calls) == {"GetSecret": 1}


def test_a_survey_costs_one_list(google_server: Google) -> None:
    """Of all locations together; what is not the store's is not in it."""
    store = store_at(google_server)
    store.put(Name.parse("other"), SecretValue(f"{CANARY} two"), None)
    google_server.calls.clear()
    found = replication(store).survey([ZURICH, "us-east1"])
    assert dict(google_server.calls) == {"ListSecrets": 1}
    assert {name.text for name in found[ZURICH]} == {NAME, "other"}  # type: ignore[union-attr]
    assert found["us-east1"] == {}


def test_what_is_configured_already_is_not_written(google_server: Google) -> None:
    """A second ensure costs one read."""
    store = store_at(google_server)
    google_server.calls.clear()
    replication(store).ensure(KEY, {ZURICH: "", BELGIUM: ""})
    assert dict(google_server.calls) == {"GetSecret": 1}


def test_a_location_cannot_be_added(google_server: Google) -> None:
    """The policy is fixed when the secret is made; the error says what it is and what to do."""
    store = store_at(google_server)
    with pytest.raises(UnsupportedOperationError, match=f"{BELGIUM}, {ZURICH}, never in us-east1") as caught:
        replication(store).ensure(KEY, {ZURICH: "", "us-east1": ""})
    assert "strongroom copy" in (caught.value.hint or "")


def test_automatic_replication_has_no_places(google_server: Google) -> None:
    """Google does not say where it is."""
    store = opened(google_server)
    store.put(KEY, SecretValue(f"{CANARY} one"), None)
    assert replication(store).copies(KEY, verify=True) == {}
    with pytest.raises(UnsupportedOperationError, match="automatically"):
        replication(store).ensure(KEY, {ZURICH: ""})


def test_the_key_of_a_location_is_changed_and_the_others_stay(google_server: Google) -> None:
    """It counts from the next version on, and until then the current one says so."""
    store = store_at(google_server, europe_west6=kms(ZURICH), europe_west1=kms(BELGIUM))
    replication(store).ensure(KEY, {ZURICH: kms(ZURICH, "new")})
    copies = replication(store).copies(KEY, verify=True)
    assert (copies[ZURICH].key, copies[BELGIUM].key) == (kms(ZURICH, "new"), kms(BELGIUM))
    assert "the next version is the first under it" in copies[ZURICH].reason
    store.put(KEY, SecretValue(f"{CANARY} two"), None)
    assert not replication(store).copies(KEY, verify=True)[ZURICH].reason


def test_a_changed_key_leaves_the_annotations_as_they_are(google_server: Google) -> None:
    """Tags, records and who writes now stand in them."""
    store = store_at(google_server, europe_west6=kms(ZURICH), europe_west1=kms(BELGIUM))
    store.put(KEY, SecretValue(f"{CANARY} two"), None, "v1.1.2.x")
    store.set_tags(KEY, {"team": "payments"})
    replication(store).ensure(KEY, {ZURICH: kms(ZURICH, "new")})
    assert store.describe(KEY).tags == {"team": "payments"}
    assert store.get(KEY, Stage.CURRENT).record == "v1.1.2.x"


def test_another_writer_in_between_is_no_loss(google_server: Google) -> None:
    """The patch is made under the etag: a tag that was set meanwhile stays."""
    store = store_at(google_server, europe_west6=kms(ZURICH), europe_west1=kms(BELGIUM))
    client = native(google_server)

    def tagged() -> None:
        found = client.get_secret(name=SECRET)
        annotations = dict(found.annotations) | {"theirs": "x"}
        client.update_secret(
            secret={"name": SECRET, "annotations": annotations}, update_mask={"paths": ["annotations"]}
        )

    google_server.faults.run("UpdateSecret", tagged)
    replication(store).ensure(KEY, {ZURICH: kms(ZURICH, "new")})
    assert store.describe(KEY).tags == {"theirs": "x"}
    assert replication(store).copies(KEY)[ZURICH].key == kms(ZURICH, "new")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_is_followed_by_a_look(google_server: Google, when: Any) -> None:
    """The key is the new one, or it is said that it is not."""
    store = store_at(google_server, europe_west6=kms(ZURICH), europe_west1=kms(BELGIUM))
    google_server.faults.drop("UpdateSecret", when)
    replication(store).ensure(KEY, {ZURICH: kms(ZURICH, "new")})
    assert replication(store).copies(KEY)[ZURICH].key == kms(ZURICH, "new")


def test_a_version_that_is_not_there_is_missing(google_server: Google) -> None:
    """What the policy promises and the version does not say is no copy."""
    store = store_at(google_server)
    [entry] = [e for e in google_server.secrets.account().under(_canonical()) if NAME_ID in e.shown.name]
    del entry.versions[1].shown.replication_status.user_managed.replicas[0]
    states = {place: copy.state for place, copy in replication(store).copies(KEY, verify=True).items()}
    assert states == {ZURICH: CopyState.MISSING, BELGIUM: CopyState.IN_SYNC}


NAME_ID = SECRET.rpartition("/")[2]


def _canonical() -> str:
    from tests.servers.google_state import canonical

    return canonical(PARENT)


def test_a_location_that_is_down_fails_the_write_and_not_the_read(google_server: Google) -> None:
    """Synchronous: nothing is acknowledged that does not lie everywhere."""
    store = store_at(google_server)
    google_server.faults.drop("AddSecretVersion", "before", times=9)
    with pytest.raises(UnavailableError):
        store.put(KEY, SecretValue(f"{CANARY} two"), None)
    assert store.get(KEY, Stage.CURRENT).value.matches(f"{CANARY} one")
    assert set(replication(store).copies(KEY, verify=True)) == {ZURICH, BELGIUM}


def test_what_google_copies_cannot_be_taken_apart(google_server: Google) -> None:
    """There is no takeover of a location."""
    store = store_at(google_server)
    with pytest.raises(UnsupportedOperationError, match="taken apart"):
        replication(store).detach(KEY, ZURICH)
    for refused in (replication(store).fence, replication(store).lift):
        with pytest.raises(UnsupportedOperationError):
            refused(KEY)


def test_a_missing_secret_is_not_found(google_server: Google) -> None:
    """As everywhere."""
    store = store_at(google_server)
    with pytest.raises(SecretNotFoundError):
        replication(store).copies(Name.parse("none"))


def test_a_regional_secret_has_no_copies(google_server: Google) -> None:
    """It lies in its location, and there alone."""
    assert opened(google_server, query=f"&location={ZURICH}").native_replication() is None


def test_another_programs_secret_is_watched_as_well(google_server: Google) -> None:
    """Nothing of ours has to stand in it."""
    policy = {"user_managed": {"replicas": [{"location": ZURICH}]}}
    client = native(google_server)
    made(client, replication=policy)
    added(client, f"{CANARY} theirs")
    copies = replication(opened(google_server)).copies(KEY, verify=True)
    assert copies[ZURICH].state is CopyState.IN_SYNC


def test_the_double_refuses_another_place_for_a_secret(google_server: Google) -> None:
    """The rule this rests on, as the double has it: a policy's places are immutable, its keys are not."""
    from google.cloud import secretmanager_v1 as api

    store_at(google_server)
    policy = {"user_managed": {"replicas": [{"location": "us-east1"}]}}
    secret = api.Secret(name=SECRET, replication=policy)
    request = api.UpdateSecretRequest(secret=secret, update_mask={"paths": ["replication"]})
    with pytest.raises(Refusal, match="immutable"):
        google_server.secrets.update_secret(request)


class TestReplicator:
    """The same commands as for every replica."""

    @pytest.fixture
    def source(self, google_server: Google) -> Member:
        """A store with one secret, in two locations with a key each."""
        return Member(
            "prod", store_at(google_server, europe_west6=kms(ZURICH), europe_west1=kms(BELGIUM)), "d"
        )

    def test_what_lies_where_it_shall_costs_two_lists(self, source: Member, google_server: Google) -> None:
        """That of the source, with its newest versions, and that of the locations."""
        replicator = NativeReplicator(source, source, places={ZURICH: "", BELGIUM: kms(BELGIUM)})
        assert replicator.sync().complete
        google_server.calls.clear()
        assert [step.action.value for step in replicator.plan().steps] == ["same"]
        assert google_server.calls["ListSecrets"] == 2
        assert google_server.calls["AccessSecretVersion"] <= 1  # the sheet's

    def test_a_place_that_cannot_be_added_is_refused_in_the_plan(self, source: Member) -> None:
        """Nothing is tried; the status counts it as missing."""
        replicator = NativeReplicator(source, source, places={"us-east1": ""})
        [step] = replicator.plan().steps
        assert step.action.value == "refused"
        assert "us-east1" in step.reason
        assert replicator.sync().skipped == (step,)
        assert replicator.status().missing == 1

    def test_a_key_of_the_configuration_is_set(self, source: Member) -> None:
        """And what is current stays under the old one until the next write."""
        replicator = NativeReplicator(source, source, places={ZURICH: kms(ZURICH, "new")})
        [step] = replicator.sync().done
        assert step.reason == f"another key in {ZURICH}"
        assert not replicator.plan().due

    def test_locations_have_to_be_named(self, source: Member) -> None:
        """The store has one address for all of them."""
        with pytest.raises(InvalidRequestError, match="no single place"):
            NativeReplicator(source, source)

    def test_there_is_nothing_to_detach(self, source: Member) -> None:
        """A location that is lost is Google's to fail over from."""
        with pytest.raises(InvalidRequestError, match="no single place"):
            NativeReplicator(source, source, places={ZURICH: ""}).detach()
