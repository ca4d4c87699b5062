"""Parameter Store through the real SDK and moto: read and written by plain boto3 too, and its traps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any, cast

import pytest

from strongroom import pairs
from strongroom.backend import Backend, Settings, Stage
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.names import Companion, Name
from strongroom.registry import open_backend
from strongroom.replication.plan import Action
from strongroom.stages import check_size
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_records import LONGEST
from strongroom.value import SecretValue
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary_in, not_ours
from tests.drift import Source, parameter_store
from tests.scale import scaled
from tests.servers.moto import Moto

KEY = Name("db/password")
FULL = "/prod/db/password"
LARGEST = 3072

VALUES: dict[str, str | bytes] = {
    "text": CANARY,
    "empty text": "",
    "empty binary": b"",
    "binary": CANARY_BYTES + bytes(range(256)),
    "one character": "x",
    "one byte": b"\xff",
    "json": json.dumps({"key": CANARY, "n": {"m": 1}}, separators=(",", ":")),
    "unicode": f"{CANARY}\U0001f511\U0010ffff e\u0301\u202e",
    "the largest text": CANARY + "x" * (LARGEST - len(CANARY)),
    "the largest of wide letters": "é" * (LARGEST // 2),
    "the largest binary": b"\xff" * ((LARGEST - len("strongroom:binary:")) // 4 * 3),
    "a nested parameter": "{{ssm:other}} " + CANARY,
    "what looks like our own": "strongroom:binary:e30=",
}


@pytest.fixture(scope="module")
def _boto3(mended_moto: Moto) -> Any:
    return mended_moto.client("ssm")


@pytest.fixture
def native(mended_moto: Moto, _boto3: Any) -> Iterator[Any]:
    """Another program's view of the same account: plain boto3."""
    mended_moto.reset()
    with not_ours():
        yield _boto3


@pytest.fixture
def store(mended_moto: Moto, native: Any, tmp_path: Path) -> Iterator[Backend]:
    with_a_lease = SQLiteCoordinator(tmp_path / "leases.db")
    yield _open(mended_moto, coordinator=with_a_lease)
    with_a_lease.close()


_SDKS: dict[str, Any] = {}  # a boto client takes longer to make than a test to run


def _open(moto: Moto, **settings: Any) -> Backend:
    url = f"aws-ssm://eu-west-1/prod?endpoint={moto.url}"
    opened: Any = open_backend(url, Settings(timeout=30.0, **settings))
    client = opened.inner._client
    client._sdk = _SDKS.get(moto.url) or _SDKS.setdefault(moto.url, client._connected())
    return cast("Backend", opened)


def _read(native: Any, name: str = FULL) -> Any:
    return native.get_parameter(Name=name, WithDecryption=True)["Parameter"]


class TestInterop:
    @pytest.mark.parametrize("plain", VALUES.values(), ids=VALUES.keys())
    def test_what_we_write_is_read_here_and_by_boto3(
        self, store: Backend, native: Any, plain: str | bytes
    ) -> None:
        """As it is where a parameter can hold it, else in the documented form; always as a SecureString."""
        store.put(KEY, SecretValue(plain), None)
        found = _read(native)
        assert found["Type"] == "SecureString"
        stands = (
            isinstance(plain, str) and plain and "{{" not in plain and not plain.startswith("strongroom:")
        )
        assert (found["Value"] == plain) == bool(stands)
        assert found["Value"].startswith("strongroom:") != bool(stands)
        back = store.get(KEY, Stage.CURRENT).value
        assert back.matches(plain)
        assert back.kind == ("text" if isinstance(plain, str) else "binary")

    @pytest.mark.parametrize("kind", ["String", "StringList", "SecureString"])
    @pytest.mark.parametrize(
        "plain", [CANARY, "x", f"ä,{CANARY}", json.dumps({"a": {"b": CANARY}}), "y" * 4096]
    )
    def test_what_boto3_wrote_is_read(self, store: Backend, native: Any, kind: str, plain: str) -> None:
        """Whatever its type; also at four KB, where our own values leave room for a rotation."""
        native.put_parameter(Name=FULL, Value=plain, Type=kind)
        secret = store.get(KEY, Stage.CURRENT)
        assert secret.value.matches(plain)
        assert secret.value.kind == "text"
        assert store.get(KEY, secret.version).value == secret.value

    @pytest.mark.parametrize("tier", ["standard", "advanced", "intelligent"])
    def test_one_byte_over_the_limit_sends_no_request(
        self, mended_moto: Moto, native: Any, tier: str
    ) -> None:
        """At the limit, whatever its letters, it is written."""
        backend = _open(mended_moto, options={"tier": tier})
        limit = backend.limit(KEY) or 0
        backend.put(KEY, SecretValue("ä" * (limit // 2)), None)
        for over in ("x" * (limit + 1), "ä" * (limit // 2) + "x", b"x" * (limit * 3 // 4)):
            with pytest.raises(InvalidRequestError):
                check_size(backend, KEY, SecretValue(over), "put")
        assert _read(native)["Version"] == 1

    def test_a_foreign_parameter_without_its_slash_is_the_same(self, mended_moto: Moto, native: Any) -> None:
        """Parameter Store's name rules: `/db` and `db` are one parameter."""
        native.put_parameter(Name="db", Value=CANARY, Type="SecureString")
        root = open_backend(f"aws-ssm://eu-west-1?endpoint={mended_moto.url}")
        assert [info.key for info in root.list_info("d")] == [Name("db")]
        assert root.get(Name("db"), Stage.CURRENT).value.matches(CANARY)
        outcome = root.get_many([Name("db")])[Name("db")]
        assert not isinstance(outcome, SecretStoreError)


class TestKeptThings:
    def test_what_the_parameter_was_made_with_stays(self, store: Backend, native: Any) -> None:
        """Key, tier, pattern and the user's description; PutParameter would set them anew."""
        made = {"KeyId": "alias/mine", "Tier": "Advanced", "AllowedPattern": ".*", "Description": "users"}
        native.put_parameter(Name=FULL, Value=CANARY, Type="SecureString", **made)
        store.put(KEY, SecretValue(f"{CANARY} new"), None)
        [found] = native.describe_parameters()["Parameters"]
        assert found["Description"].startswith("users [strongroom ")
        assert {name: found[name] for name in ("KeyId", "Tier", "AllowedPattern")} == {
            name: made[name] for name in ("KeyId", "Tier", "AllowedPattern")
        }

    def test_the_key_that_is_configured_is_used(self, mended_moto: Moto, native: Any) -> None:
        """Also for a parameter that had another."""
        native.put_parameter(Name=FULL, Value=CANARY, Type="SecureString", KeyId="alias/old")
        _open(mended_moto, options={"key_id": "alias/new"}).put(KEY, SecretValue(CANARY), None)
        assert native.describe_parameters()["Parameters"][0]["KeyId"] == "alias/new"

    def test_tags_stay_and_are_the_users_alone(self, store: Backend, native: Any) -> None:
        """Nothing of ours is among them."""
        store.put(KEY, SecretValue(CANARY), None)
        native.add_tags_to_resource(
            ResourceType="Parameter", ResourceId=FULL, Tags=[{"Key": "team", "Value": "core"}]
        )
        store.put(KEY, SecretValue(f"{CANARY} 2"), None)
        assert store.describe(KEY).tags == {"team": "core"}
        listed = native.list_tags_for_resource(ResourceType="Parameter", ResourceId=FULL)["TagList"]
        assert listed == [{"Key": "team", "Value": "core"}]

    def test_a_string_is_not_made_secure_behind_its_owners_back(self, store: Backend, native: Any) -> None:
        """AWS changes no parameter's type; the error says what to do."""
        native.put_parameter(Name=FULL, Value=CANARY, Type="String")
        with pytest.raises(InvalidRequestError, match="no SecureString") as caught:
            store.put(KEY, SecretValue(CANARY), None)
        assert_no_canary_in(caught.value)


class TestTraps:
    def test_a_label_on_the_oldest_of_a_hundred_versions_is_told(self, store: Backend, native: Any) -> None:
        """AWS refuses the next version; moved to a newer one, the label is in nobody's way."""
        for number in range(100):
            native.put_parameter(Name=FULL, Value=f"{CANARY} {number}", Type="SecureString", Overwrite=True)
        native.label_parameter_version(Name=FULL, ParameterVersion=1, Labels=["production"])
        with pytest.raises(UnavailableError, match="UnlabelParameterVersion") as caught:
            store.put(KEY, SecretValue(CANARY), None)
        assert (caught.value.performed, caught.value.retryable) == (False, False)
        native.label_parameter_version(Name=FULL, ParameterVersion=100, Labels=["production"])
        store.put(KEY, SecretValue(CANARY), None)
        assert len(store.versions(KEY)) == 100
        assert native.get_parameter(Name=f"{FULL}:production")["Parameter"]["Version"] == 100

    def test_a_rotation_meets_a_users_ten_labels_without_touching_them(
        self, store: Backend, native: Any
    ) -> None:
        """Nothing of ours needs the eleventh."""
        base = store.put(KEY, SecretValue(f"{CANARY} old"), None)
        labels = [f"users-{number}" for number in range(10)]
        assert native.label_parameter_version(Name=FULL, Labels=labels)["InvalidLabels"] == []
        pending = SecretStore(store, cache=None).pending(str(KEY), "6f1c7f0e-8f0e-4d57-9a6f-2f6d3c0c6b11")
        pending.put(f"{CANARY} new", base_version=base.id)
        pending.promote()
        assert _read(native)["Value"] == f"{CANARY} new"
        [old, _] = native.get_parameter_history(Name=FULL)["Parameters"]
        assert sorted(old["Labels"]) == labels

    def test_a_pending_value_is_out_of_a_prefix_grants_reach(self, store: Backend, native: Any) -> None:
        """It waits at the root, where neither a reader by path nor a listing below the prefix comes."""
        base = store.put(KEY, SecretValue(f"{CANARY} old"), None)
        pending = SecretStore(store, cache=None).pending(str(KEY), "6f1c7f0e-8f0e-4d57-9a6f-2f6d3c0c6b11")
        pending.put(f"{CANARY} new", base_version=base.id)
        below = native.get_parameters_by_path(Path="/prod", Recursive=True, WithDecryption=True)["Parameters"]
        assert [found["Value"] for found in below] == [f"{CANARY} old"]
        assert _read(native, f"/_strongroom/pending{FULL}")["Type"] == "SecureString"

    def test_more_than_a_batch_and_a_page_are_read(self, store: Backend) -> None:
        """Ten parameters a request, and what is missing among them is told one by one."""
        names = [Name(f"many/n{number:03}") for number in range(25)]
        for name in names[:-1]:
            store.put(name, SecretValue(f"{CANARY} {name}"), None)
        found = store.get_many(names)
        assert [type(found[name]).__name__ for name in names] == ["Secret"] * 24 + ["SecretNotFoundError"]
        assert sorted(str(info.key) for info in store.list_info("many/")) == [str(n) for n in names[:-1]]

    def test_a_name_deeper_than_the_service_allows_is_folded(self, store: Backend, native: Any) -> None:
        """A portable name may have more levels than fifteen; a listing gives it back whole."""
        deep = Name("/".join("abcdefghijklmnopqrstuvwxyz"))
        store.put(deep, SecretValue(CANARY), None)
        assert [info.key for info in store.list_info("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p")] == [deep]
        assert _read(native, "/prod/a/b/c/d/e/f/g/h/i/j/k/l__m__n__o__p__q__r__s__t__u__v__w__x__y__z")

    def test_details_are_listed_without_values(self, store: Backend) -> None:
        """Newest version and record; a description tells the tags too."""
        written = store.put(KEY, SecretValue(CANARY), None, "v1.1.1.w.d")
        store.set_tags(KEY, {"team": "core"})
        for info in (*store.list_info("", detail=True), store.describe(KEY)):
            assert info.newest is not None
            assert (info.newest.id, info.record) == (written.id, "v1.1.1.w.d")
        assert (dict(info.tags), info.created_at) == ({"team": "core"}, written.created_at)

    def test_the_longest_record_fits_behind_a_users_description(self, store: Backend, native: Any) -> None:
        """700 characters of the 1,024 are the user's, 200 the record; a full set of tags stands elsewhere."""
        own, tags = "d" * 700, {f"tag{number}": "x" * 256 for number in range(50)}
        native.put_parameter(Name=FULL, Value="first", Type="SecureString", Description=own)
        largest = SecretValue(CANARY.ljust(store.limit(KEY) or 0, "x"))
        store.put(KEY, largest, None, LONGEST)
        store.set_tags(KEY, tags)
        [info] = store.list_info("", detail=True)
        assert (info.record, store.get(KEY, Stage.CURRENT).record) == (LONGEST, LONGEST)
        assert dict(store.describe(KEY).tags) == tags
        [found] = native.describe_parameters()["Parameters"]
        assert re.fullmatch(rf"{own} \[strongroom \S+ {LONGEST}\]", found["Description"])

    def test_a_drift_check_reads_no_parameter(self, mended_moto: Moto, native: Any, tmp_path: Path) -> None:
        """What differs is found in the list, of which moto gives ten a page where AWS gives fifty."""
        source = Source(scaled(600, "parameters of a drift check"))
        coordinator = SQLiteCoordinator(tmp_path / "drift.db")
        with parameter_store(mended_moto, coordinator, source.records) as replica:
            replicator = source.replicator(replica)
            assert not replicator.sync().done
            replica.calls.clear()
            assert replicator.plan().counts == {Action.SAME: len(source.names)}
            assert replica.calls["DescribeParameters"] <= ceil(len(source.names) / 10) + 2
            assert replica.reads <= 4, dict(replica.calls)  # the sheet
            source.change(source.names[7])
            assert [step.name for step in replicator.plan().due] == [str(source.names[7])]
        coordinator.close()

    def test_a_replica_here_follows_its_source(self, mended_moto: Moto, native: Any, tmp_path: Path) -> None:
        """Made, changed, and deleted for ever; a user's tags at the replica change nothing."""
        source, clock = Source(2), FakeClock()
        changed, gone = source.names
        coordinator = SQLiteCoordinator(tmp_path / "replica.db", clock)
        with parameter_store(mended_moto, coordinator, {}, clock) as replica:
            replicator = source.replicator(replica, clock=clock)
            assert [step.action for step in replicator.sync().done] == [Action.CREATE] * 2
            for _ in range(2):
                source.change(changed)
                assert [step.action for step in replicator.sync().done] == [Action.UPDATE]
            pairs.delete(source.app, gone)
            assert [step.action for step in replicator.sync().done] == [Action.DELETE]
            replica.backend.set_tags(changed, {"team": "core"})
            assert {step.action for step in replicator.plan().steps} == {Action.SAME}
            told = [backend.get(changed, Stage.CURRENT) for backend in (replica.backend, source.backend)]
            assert told[0].value == told[1].value
            assert told[0].record == told[1].record
            with pytest.raises(SecretNotFoundError):
                replica.backend.get(gone, Stage.CURRENT)
        coordinator.close()

    @pytest.mark.parametrize("copied", [False, True], ids=["kept", "copied"])
    def test_a_record_is_not_listed_for_a_foreign_version(
        self, store: Backend, native: Any, copied: bool
    ) -> None:
        """AWS keeps the description of a put without one, and the console sends along the one it found."""
        store.put(KEY, SecretValue(CANARY), None, "v1.1.1.w.d")
        [found] = native.describe_parameters(Filters=[{"Key": "Name", "Values": [FULL]}])["Parameters"]
        more = {"Description": found["Description"]} if copied else {}
        with not_ours():
            native.put_parameter(Name=FULL, Value=f"{CANARY} theirs", Overwrite=True, **more)
        [info] = store.list_info("", detail=True)
        assert info.newest is not None
        assert (info.newest.id, info.record) == (store.get(KEY, Stage.CURRENT).version, None)

    def test_companions_are_listed_beside_their_names(self, store: Backend) -> None:
        """For those who clean up after rotations; `store` hides them."""
        base = store.put(KEY, SecretValue(CANARY), None)
        users = SecretStore(store, cache=None)
        users.pending(str(KEY), "6f1c7f0e-8f0e-4d57-9a6f-2f6d3c0c6b11").put("x", base_version=base.id)
        store.put(Name("other"), SecretValue(CANARY), None)
        assert {info.key for info in store.list_info("db/")} == {KEY, Companion(KEY)}
        assert list(users.list_names()) == [str(KEY), "other"]
