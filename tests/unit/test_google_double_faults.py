"""The Google double's lists, its counting, and each fault it can play, as the real SDK client sees them."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core.exceptions import (
    DeadlineExceeded,
    FailedPrecondition,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.rpc import error_details_pb2

from strongroom.testing.clock import FakeClock
from tests.canary import CANARY, not_ours
from tests.servers.google import Google
from tests.servers.google_rules import crc32c
from tests.unit.google_support import AUTOMATIC, NAME, PARENT, added, client_of, code, made

if TYPE_CHECKING:
    from tests.servers.google import Process


@pytest.fixture(autouse=True)
def _plain_sdk() -> Iterator[None]:
    """Google's own clients log requests at DEBUG, unless a store of ours happens to be open."""
    with not_ours():
        yield


ROOT = Path(__file__).parents[2]
LATEST = f"{NAME}/versions/latest"


@pytest.fixture
def client(google_server: Google) -> Any:
    return client_of(google_server)


def _ids(found: Any) -> list[str]:
    return [item.name.rpartition("/")[2] for item in found]


class TestLists:
    def test_secrets_come_newest_first_in_pages(self, client: Any) -> None:
        """Each page names the next; the total is told without a filter alone."""
        for name in "abcde":
            made(client, name)
        request = {"parent": PARENT, "page_size": 2}
        pages = list(client.list_secrets(request=request).pages)
        assert [_ids(page.secrets) for page in pages] == [["e", "d"], ["c", "b"], ["a"]]
        assert [page.total_size for page in pages] == [5, 5, 5]
        assert next(iter(client.list_secrets(request=request | {"filter": "name:a"}).pages)).total_size == 0

    def test_the_server_decides_the_page_of_a_list_that_names_none(
        self, client: Any, google_server: Google
    ) -> None:
        """So that a client which reads one page only is found out."""
        google_server.secrets.default_page = 1
        made(client)
        for _ in range(3):
            added(client)
        pages = list(client.list_secret_versions(parent=NAME).pages)
        assert [_ids(page.versions) for page in pages] == [["3"], ["2"], ["1"]]
        google_server.secrets.default_page = 100

    def test_a_page_token_is_of_its_list_alone(self, client: Any) -> None:
        """With another filter or parent it is refused."""
        for name in "ab":
            made(client, name)
        [page, _] = client.list_secrets(request={"parent": PARENT, "page_size": 1}).pages
        other = {"parent": PARENT, "page_token": page.next_page_token, "filter": "name:a"}
        assert code(client.list_secrets, request=other) == "INVALID_ARGUMENT"
        assert code(client.list_secrets, request={"parent": PARENT, "page_size": -1}) == "INVALID_ARGUMENT"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("name:db", ["dbc", "xDB", "db"]),
            ("name:d*bc", ["dbc"]),
            ("name:secrets", ["other", "dbc", "xDB", "db"]),
            ("name:db AND NOT name:dbc", ["xDB", "db"]),
            ("name:xdb OR name:dbc", ["dbc", "xDB"]),
            ("name:db (name:x OR name:bc)", ["dbc", "xDB"]),
            ("labels.env=prod", ["dbc", "db"]),
            ("labels.env!=prod", ["xDB"]),
            ("labels.env:*", ["dbc", "xDB", "db"]),
            ("labels:env", ["dbc", "xDB", "db"]),
            ("-labels.env=prod", ["other", "xDB"]),
            ("replication.automatic:*", ["other", "dbc", "xDB"]),
            ("replication.user_managed.replicas.location:europe-west6", ["db"]),
            ('create_time>"2026-01-01T00:00:01Z"', ["other", "dbc"]),
            ("create_time<=2026-01-01T00:00:00Z", ["db"]),
            ('name:"db" AND create_time>2026-01-01T00:00:00+00:00', ["dbc", "xDB"]),
        ],
    )
    def test_filters_select(self, client: Any, google_server: Google, text: str, expected: list[str]) -> None:
        """As the documentation's table of examples has them."""
        clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
        google_server.reset(clock)
        west = {"user_managed": {"replicas": [{"location": "europe-west6"}]}}
        made(client, "db", labels={"env": "prod"}, replication=west)
        clock.advance(1)
        made(client, "xDB", labels={"env": "dev"})
        clock.advance(1)
        made(client, "dbc", labels={"env": "prod"})
        made(client, "other")
        assert _ids(client.list_secrets(request={"parent": PARENT, "filter": text})) == expected

    @pytest.mark.parametrize("text", ["name", "name:", "colour:red", "(name:a", "name:a)", "name ~ a", "AND"])
    def test_a_filter_that_does_not_parse_is_refused(self, client: Any, text: str) -> None:
        """It never selects everything."""
        made(client)
        request = {"parent": PARENT, "filter": text}
        assert code(client.list_secrets, request=request) == "INVALID_ARGUMENT"

    def test_versions_are_filtered_by_state(self, client: Any) -> None:
        """Listed in any state otherwise."""
        made(client)
        names = [added(client).name for _ in range(3)]
        client.disable_secret_version(name=names[1])
        client.destroy_secret_version(name=names[2])

        def found(text: str) -> list[str]:
            return _ids(client.list_secret_versions(request={"parent": NAME, "filter": text}))

        assert found("") == ["3", "2", "1"]
        assert found("state:ENABLED") == found("state=ENABLED") == ["1"]
        assert found("state:ENABLED OR state:DISABLED") == ["2", "1"]
        assert found("NOT state=DESTROYED") == ["2", "1"]


class TestCounting:
    def test_every_call_is_counted_and_kept(self, client: Any, google_server: Google) -> None:
        """Also one that is refused or dropped."""
        made(client)
        google_server.faults.drop("GetSecret", "before")
        assert code(client.get_secret, name=NAME) == "UNAVAILABLE"
        assert code(client.get_secret, name=f"{PARENT}/secrets/none") == "NOT_FOUND"
        assert dict(google_server.calls) == {"CreateSecret": 1, "GetSecret": 2}
        last = google_server.seen[-1]
        assert (last.method, last.request.name) == ("GetSecret", f"{PARENT}/secrets/none")
        assert "authorization" not in last.metadata

    def test_policies_are_kept_and_permissions_told(self, client: Any, google_server: Google) -> None:
        """SetIamPolicy under its etag; TestIamPermissions says what is not denied."""
        made(client)
        binding = {"role": "roles/secretmanager.secretAccessor", "members": ["user:a@example.com"]}
        policy = client.set_iam_policy(request={"resource": NAME, "policy": {"bindings": [binding]}})
        client.set_iam_policy(request={"resource": NAME, "policy": {"etag": policy.etag}})
        again = {"resource": NAME, "policy": {"etag": policy.etag}}
        assert code(client.set_iam_policy, request=again) == "FAILED_PRECONDITION"
        assert not client.get_iam_policy(request={"resource": NAME}).bindings
        google_server.faults.deny("secretmanager.secrets.delete")
        asked = ["secretmanager.secrets.get", "secretmanager.secrets.delete"]
        told = client.test_iam_permissions(request={"resource": NAME, "permissions": asked})
        assert list(told.permissions) == asked[:1]


class TestFaults:
    def test_a_denied_permission_is_named(self, client: Any, google_server: Google) -> None:
        """In the text and as ErrorInfo; whether the resource exists is not told."""
        google_server.faults.deny("secretmanager.versions.access")
        with pytest.raises(PermissionDenied) as caught:
            client.access_secret_version(name=LATEST)
        assert "secretmanager.versions.access" in caught.value.message
        assert caught.value.reason == "IAM_PERMISSION_DENIED"
        assert caught.value.metadata == {"permission": "secretmanager.versions.access", "resource": LATEST}
        google_server.faults.allow("secretmanager.versions.access")
        assert code(client.access_secret_version, name=LATEST) == "NOT_FOUND"

    def test_throttling_says_how_long_to_wait(self, client: Any, google_server: Google) -> None:
        """RetryInfo, if asked for; then the call goes through."""
        made(client)
        google_server.faults.throttle("GetSecret", retry_after=1.5)
        google_server.faults.throttle("GetSecret")
        with pytest.raises(ResourceExhausted) as caught:
            client.get_secret(name=NAME)
        [info] = caught.value.details
        assert isinstance(info, error_details_pb2.RetryInfo)
        assert info.retry_delay.ToMilliseconds() == 1500
        with pytest.raises(ResourceExhausted) as caught:
            client.get_secret(name=NAME)
        assert not caught.value.details
        client.get_secret(name=NAME)

    def test_two_versions_a_second_under_the_quota(self, client: Any, google_server: Google) -> None:
        """Per secret, on the injected clock."""
        clock = FakeClock()
        google_server.reset(clock)
        google_server.secrets.quota = True
        made(client)
        made(client, "other")
        added(client)
        clock.advance(0.25)
        added(client)
        with pytest.raises(ResourceExhausted) as caught:
            added(client)
        assert caught.value.details[0].retry_delay.ToMilliseconds() == 750
        added(client, secret=f"{PARENT}/secrets/other")
        clock.advance(0.75)
        assert added(client).name.endswith("/3")

    def test_updates_count_too_under_the_strict_quota(self, client: Any, google_server: Google) -> None:
        """Together with new versions; a regional secret has 80 of both."""
        google_server.reset(FakeClock())
        google_server.secrets.strict_quota = True
        made(client)
        added(client)
        update = {"secret": {"name": NAME}, "update_mask": {"paths": ["labels"]}}
        client.update_secret(request=update)
        assert code(client.update_secret, request=update) == code(added, client) == "RESOURCE_EXHAUSTED"
        parent = f"{PARENT}/locations/europe-west6"
        regional = client.create_secret(parent=parent, secret_id="db", secret={}).name
        for _ in range(80):
            added(client, secret=regional)
        assert code(added, client, secret=regional) == "RESOURCE_EXHAUSTED"

    def test_a_dropped_answer_was_performed_and_a_dropped_request_was_not(
        self, client: Any, google_server: Google
    ) -> None:
        """Both look alike to the caller."""
        made(client)
        for when, versions in (("after", 1), ("before", 1)):
            google_server.faults.drop("AddSecretVersion", when)  # type: ignore[arg-type]
            assert code(added, client) == "UNAVAILABLE"
            assert len(list(client.list_secret_versions(parent=NAME))) == versions

    def test_a_cut_connection_looks_unavailable_and_heals(self, google_server: Google) -> None:
        """The call was performed; the next one connects again."""
        with google_server.relay() as relay:
            client = google_server.secret_client(relay.port)
            made(client)
            google_server.faults.run("AddSecretVersion", relay.cut, "after")
            with pytest.raises(ServiceUnavailable):
                added(client)
            assert added(client_of(google_server)).name.endswith("/2")
            assert client.get_secret(name=NAME, timeout=10, retry=None).name
            assert relay.connections == 2

    def test_a_held_call_outlives_its_callers_patience(self, client: Any, google_server: Google) -> None:
        """The deadline passes for the caller; the call is not performed before the gate opens."""
        made(client)
        gate = google_server.faults.hold("GetSecret")
        with pytest.raises(DeadlineExceeded):
            client.get_secret(name=NAME, timeout=0.2)
        assert gate.reached.wait(5)
        google_server.faults.delay("GetSecret", 60)
        with pytest.raises(DeadlineExceeded):
            client.get_secret(name=NAME, timeout=0.2)

    def test_a_held_call_goes_on_when_the_gate_opens(self, client: Any, google_server: Google) -> None:
        """Between its effect and its answer another caller sees the effect."""
        made(client)
        gate = google_server.faults.hold("AddSecretVersion", "after")
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(added, client)
            assert gate.reached.wait(5)
            assert client.access_secret_version(name=LATEST).payload.data == b"one"
            assert not future.done()
            gate.open()
            assert future.result(5).name.endswith("/1")

    def test_damage_on_the_way_is_seen_by_the_checksum(self, client: Any, google_server: Google) -> None:
        """Of a payload, of a checksum, and of a request."""
        made(client)
        added(client)
        google_server.faults.alter("AccessSecretVersion", lambda got: setattr(got.payload, "data", b"onf"))
        got = client.access_secret_version(name=LATEST).payload
        assert (got.data, got.data_crc32c) == (b"onf", crc32c(b"one"))
        got = client.access_secret_version(name=LATEST).payload
        assert (got.data, got.data_crc32c) == (b"one", crc32c(b"one"))
        google_server.faults.alter(
            "AddSecretVersion", lambda sent: setattr(sent.payload, "data", b"twp"), "before"
        )
        payload = {"data": b"two", "data_crc32c": crc32c(b"two")}
        assert code(client.add_secret_version, parent=NAME, payload=payload) == "INVALID_ARGUMENT"

    def test_old_versions_have_no_checksum(self, client: Any, google_server: Google) -> None:
        """Those under CMEK before July 16, 2021."""
        made(client)
        google_server.secrets.forget_checksum(added(client).name)
        assert "data_crc32c" not in client.access_secret_version(name=LATEST).payload

    def test_skip_and_times_choose_the_calls(self, client: Any, google_server: Google) -> None:
        """The second and third here; `*` is any method."""
        made(client)
        google_server.faults.drop("*", "before", skip=1, times=2)
        codes = []
        for _ in range(4):
            try:
                client.get_secret(name=NAME)
                codes.append("OK")
            except ServiceUnavailable:
                codes.append("UNAVAILABLE")
        assert codes == ["OK", "UNAVAILABLE", "UNAVAILABLE", "OK"]


class TestLateReads:
    def test_everything_but_the_number_may_be_late(self, client: Any, google_server: Google) -> None:
        """Frozen, `latest`, aliases, lists and secrets stand still; a version by number is there."""
        made(client, version_aliases={"stable": 1})
        first = added(client, b"one")
        google_server.secrets.freeze()
        second = added(client, b"two")
        made(client, "new")
        fresh = {"name": NAME, "version_aliases": {"stable": 2}}
        client.update_secret(secret=fresh, update_mask={"paths": ["version_aliases"]})
        assert client.access_secret_version(name=second.name).payload.data == b"two"
        assert client.access_secret_version(name=LATEST).name == first.name
        assert client.access_secret_version(name=f"{NAME}/versions/stable").name == first.name
        assert _ids(client.list_secrets(parent=PARENT)) == ["db"]
        assert _ids(client.list_secret_versions(parent=NAME)) == ["1"]
        assert client.get_secret(name=NAME).version_aliases == {"stable": 1}
        google_server.secrets.thaw()
        assert client.access_secret_version(name=LATEST).name == second.name
        assert _ids(client.list_secrets(parent=PARENT)) == ["new", "db"]

    def test_one_kind_may_be_late_alone(self, client: Any, google_server: Google) -> None:
        """Here `latest`; and an etag of late reading does not fool an update."""
        made(client)
        added(client)
        google_server.secrets.freeze("latest")
        second = added(client, b"two")
        assert client.access_secret_version(name=LATEST).name.endswith("/1")
        assert _ids(client.list_secret_versions(parent=NAME)) == ["2", "1"]
        google_server.secrets.freeze("secrets")
        client.update_secret(secret={"name": NAME}, update_mask={"paths": ["labels"]})
        with pytest.raises(FailedPrecondition):
            client.update_secret(secret=client.get_secret(name=NAME), update_mask={"paths": ["labels"]})
        assert client.access_secret_version(name=LATEST).name == second.name


class TestRunning:
    def test_a_closed_double_leaves_no_thread_and_no_port(self) -> None:
        """Also with a call held, and a client that never hung up."""
        before = set(threading.enumerate())
        with Google() as server:
            client = client_of(server)
            made(client)
            gate = server.faults.hold("GetSecret")
            pool = ThreadPoolExecutor(1)
            future = pool.submit(client.get_secret, name=NAME)
            assert gate.reached.wait(5)
            port = int(server.address.rpartition(":")[2])
        future.exception(5)
        pool.shutdown()
        assert set(threading.enumerate()) == before
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0

    def test_64_threads_each_add_a_version(self, client: Any) -> None:
        """Each gets its own number."""
        made(client)
        with ThreadPoolExecutor(64) as pool:
            names = set(pool.map(lambda number: added(client, b"%d" % number).name, range(64)))
        assert sorted(int(name.rpartition("/")[2]) for name in names) == list(range(1, 65))

    def test_the_double_runs_as_a_process(self, google_process: Process) -> None:
        """As a person starts it, and as tests that fork need it."""
        import grpc
        from google.cloud import secretmanager_v1
        from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
            SecretManagerServiceGrpcTransport,
        )

        parent = "projects/runs-as-a-process"
        with grpc.insecure_channel(google_process.address) as channel:
            transport = SecretManagerServiceGrpcTransport(channel=channel)
            client: Any = secretmanager_v1.SecretManagerServiceClient(transport=transport)
            client.create_secret(parent=parent, secret_id="db", secret=AUTOMATIC)
            assert _ids(client.list_secrets(parent=parent)) == ["db"]

    def test_a_person_can_try_it(self, tmp_path: Path) -> None:
        """What the command prints is a configuration that works, encrypted under a key of the double too."""
        argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.servers.google"]
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout
                config = itertools.takewhile(lambda line: line != "# then:\n", server.stdout)
                (tmp_path / "strongroom.toml").write_text("".join(config))
                _cli(tmp_path, "put", "sealed", CANARY)
                assert _cli(tmp_path, "get", "sealed") == CANARY
            finally:
                server.kill()


def _cli(folder: Path, command: str, store: str, value: str = "") -> str:
    argv = [str(Path(sys.executable).with_name("strongroom")), command, "db/password", "--store", store]
    done = subprocess.run(argv, cwd=folder, input=value, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) in ((0, 0), (0, 1)), done.stderr
    return done.stdout
