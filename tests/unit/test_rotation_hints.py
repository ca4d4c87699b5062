"""Events of Google and Azure: none, many, shuffled, late and forged; rotations equal due ticks."""

from __future__ import annotations

import base64
import itertools
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions
import pytest
from cloudevents.http import CloudEvent
from functions_framework import create_app

from strongroom.errors import InvalidRequestError
from strongroom.rotation.functions import azure as azure_functions
from strongroom.rotation.functions import google as google_functions
from strongroom.rotation.functions.hints import Hints
from strongroom.rotation.policy import Policy
from tests.canary import CANARY, assert_no_canary
from tests.function_support import Deployed
from tests.rotation_target import TwoSlots
from tests.scale import scaled

DAY = timedelta(days=1)
PLACES = {
    "google": "//secretmanager.googleapis.com/projects/prod/secrets/app-db--password",
    "azure": "https://example.vault.azure.net/secrets/app-db--password",
}


def _google(kind: str = "SECRET_ROTATE", name: str = "projects/1234/secrets/app-db--password") -> CloudEvent:
    """As Eventarc hands over what Secret Manager publishes."""
    attributes = {
        "eventType": kind,
        "secretId": name,
        "dataFormat": "JSON_API_V1",
        "timestamp": "2026-01-31T03:00:00Z",
    }
    data = base64.b64encode(json.dumps({"name": name}).encode()).decode()
    message = {"attributes": attributes, "data": data, "messageId": uuid.uuid4().hex}
    kinds = {"type": "google.cloud.pubsub.topic.v1.messagePublished", "source": "//pubsub.googleapis.com/x"}
    return CloudEvent(kinds, {"message": message, "subscription": "s"})


def _azure_json(kind: str = "SecretNearExpiry", name: str = "app-db--password") -> dict[str, Any]:
    """As Event Grid delivers it, keys written as the documents write them."""
    data = {"Id": "x", "VaultName": "Example", "ObjectType": "Secret", "ObjectName": name, "EXP": 1749066219}
    return {"id": uuid.uuid4().hex, "eventType": f"Microsoft.KeyVault.{kind}", "data": data, "subject": name}


def _azure(kind: str = "SecretNearExpiry", name: str = "app-db--password") -> azure.functions.EventGridEvent:
    """As the functions host hands it over."""
    event = _azure_json(kind, name)
    return azure.functions.EventGridEvent(
        id=event["id"],
        data={key[0].lower() + key[1:]: value for key, value in event["data"].items()},
        topic="t",
        subject=event["subject"],
        event_type=event["eventType"],
        event_time=None,
        data_version="1",
    )


@dataclass
class Cloud:
    """One provider's events, and the function that takes them.

    Attributes:
        event: makes one of a kind; without a kind the one that means rotation.
        other: kinds that do not.
    """

    function: Hints
    deployed: Deployed
    event: Callable[..., Any]
    other: tuple[str, ...]

    def deliver(self, event: Any) -> dict[str, str]:
        """One delivery."""
        answer: dict[str, str] = self.function(event)  # type: ignore[operator]
        return answer


@pytest.fixture(params=["google", "azure"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Rotated every 30 days; the next is due in 30. The store is in memory, at a provider's address."""
    return _cloud(request.param, tmp_path, monkeypatch)


def _cloud(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, every: str = "rate(30 days)", window: str = ""
) -> Cloud:
    module: Any = {"google": google_functions, "azure": azure_functions}[name]
    monkeypatch.setattr(module, "location", lambda policy: PLACES[name])
    store = f'url = "memory://{uuid.uuid4()}"\ncache = false'
    deployed = Deployed.at(folder, store, every=every, window=window)
    function = module.Function(config=deployed.config, clock=deployed.clock)
    if name == "azure":
        monkeypatch.setattr(azure_functions, "_vault", lambda policy: "example")
    event, other = {
        "google": (_google, ("SECRET_UPDATE", "SECRET_VERSION_ADD", "SECRET_DELETE", "TOPIC_CONFIGURED")),
        "azure": (_azure, ("SecretNewVersionCreated", "KeyNearExpiry", "CertificateNearExpiry")),
    }[name]
    cloud = Cloud(function, deployed, event, other)
    cloud.function.tick()  # tells the ledger of the schedule
    return cloud


def _rotated(cloud: Cloud) -> int:
    return cloud.deployed.rotated()


@pytest.mark.parametrize("copies", [1, 5])
def test_an_event_delivered_again_and_again_rotates_once(cloud: Cloud, copies: int) -> None:
    """At least once means five times too; so does an event of another id for the same tick."""
    cloud.deployed.wait(days=30)
    events = [cloud.event() for _ in range(2)]
    for event in events * copies:
        cloud.deliver(event)
    assert _rotated(cloud) == 1


def test_an_event_that_is_never_delivered_is_made_good_by_the_timer(cloud: Cloud) -> None:
    """Nobody guarantees delivery: the timer finds what is due."""
    cloud.deployed.wait(days=30)
    assert list(cloud.function.tick().values()) == ["grace"]
    assert _rotated(cloud) == 1


def test_an_event_before_its_time_rotates_nothing(cloud: Cloud) -> None:
    """Azure's comes 30 days before expiry: with a validity of 30 days at once, which must not loop."""
    for _ in range(3):
        assert cloud.deliver(cloud.event()) == {}
        cloud.deployed.wait(days=9)
    assert _rotated(cloud) == 0


def test_an_event_three_days_late_finds_the_rotation_done(cloud: Cloud) -> None:
    """The timer was faster."""
    cloud.deployed.wait(days=30)
    event = cloud.event()
    cloud.function.tick()
    cloud.deployed.wait(days=3)
    cloud.deliver(event)
    assert _rotated(cloud) == 1


def test_an_event_outside_the_window_waits_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late by three days is not at noon of a working day: the first of the month at three, for two hours."""
    cloud = _cloud("google", tmp_path, monkeypatch, "cron(0 3 1 * ? *)", ', window = "2h"')
    cloud.deployed.clock.advance(_until(cloud, 2, 4, 12))
    for _ in range(2):
        assert cloud.deliver(cloud.event()) == {}
        assert cloud.function.tick() == {}
    cloud.deployed.clock.advance(_until(cloud, 3, 1, 5))
    assert cloud.deliver(cloud.event()) == {}
    cloud.deployed.clock.advance(_until(cloud, 4, 1, 4, 45))
    cloud.function.tick()
    cloud.deliver(cloud.event())
    assert _rotated(cloud) == 1


def _until(cloud: Cloud, month: int, day: int, hour: int, minute: int = 0) -> float:
    there = datetime(2026, month, day, hour, minute, tzinfo=UTC)
    return (there - cloud.deployed.clock.now()).total_seconds()


def test_rotations_equal_due_ticks_whatever_becomes_of_the_events(cloud: Cloud) -> None:
    """Each event comes 0, 1 or 5 times, two days early to three late, in any order; a timer in three days."""
    chance = random.Random(26)
    months = scaled(120, "months of events", share=40)
    arrivals = [
        (timedelta(days=30 * month, hours=chance.uniform(-48, 72)), cloud.event())
        for month in range(1, months + 1)
        for _ in range(chance.choice([0, 1, 5]))
    ]
    timers: list[tuple[timedelta, Any]] = [(3 * DAY * n, None) for n in range(1, 10 * months + 1)]
    passed, starts = timedelta(), list[timedelta]()
    for at, event in sorted(arrivals + timers, key=lambda one: one[0]):
        cloud.deployed.clock.advance((at - passed).total_seconds())
        passed = at
        if event is None:
            cloud.function.tick()
        else:
            cloud.deliver(event)
        starts += [at] * (_rotated(cloud) - len(starts))
    assert 10 * months // 11 <= len(starts) <= months
    assert all(30 * DAY <= later - earlier <= 33 * DAY for earlier, later in itertools.pairwise(starts))


def test_other_events_of_the_same_topic_are_taken_and_do_nothing(cloud: Cloud) -> None:
    """A topic carries every event of a secret; unanswered they would come again for days."""
    cloud.deployed.wait(days=30)
    for kind in cloud.other:
        assert cloud.deliver(cloud.event(kind)) == {}
    assert _rotated(cloud) == 0


def test_an_event_of_a_secret_that_is_not_ours_does_nothing(cloud: Cloud) -> None:
    """Another team's secret may share the topic."""
    cloud.deployed.wait(days=30)
    name = "projects/1234/secrets/theirs" if isinstance(cloud.event(), CloudEvent) else "theirs"
    kind = "SECRET_ROTATE" if isinstance(cloud.event(), CloudEvent) else "SecretNearExpiry"
    assert cloud.deliver(cloud.event(kind, name)) == {}
    assert _rotated(cloud) == 0


def test_a_redelivery_goes_on_with_a_rotation_that_stopped_on_its_way(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that was down: the event comes again, under the same rotation."""
    cloud.deployed.wait(days=30)
    event = cloud.event()
    with monkeypatch.context() as down:
        down.setattr(TwoSlots, "listed", lambda *_: (_ for _ in ()).throw(TimeoutError(CANARY)))
        [(rotation, state)] = cloud.deliver(event).items()
    assert state == "started"
    assert _rotated(cloud) == 0
    cloud.deployed.wait(minutes=1)
    assert cloud.deliver(event) == {rotation: "grace"}


NO_EVENTS: list[Any] = [None, {}, {"message": None}, [], "x", {"data": {}}]


def test_what_is_no_event_is_refused(cloud: Cloud) -> None:
    """In one typed line."""
    for event in NO_EVENTS:
        with pytest.raises(InvalidRequestError):
            cloud.deliver(event)


def test_the_functions_framework_delivers_to_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's own framework parses the CloudEvent that arrives by HTTP, and calls."""
    cloud = _cloud("google", tmp_path, monkeypatch)
    cloud.deployed.wait(days=30)
    source = tmp_path / "main.py"
    source.write_text(
        "import functions_framework\nfrom tests.unit import test_rotation_hints as here\n"
        "@functions_framework.cloud_event\ndef rotate(event):\n    here.delivered(event)\n"
    )
    monkeypatch.setattr("tests.unit.test_rotation_hints.delivered", cloud.deliver, raising=False)
    client = create_app("rotate", str(source), "cloudevent").test_client()
    event = _google()
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": event["type"], "ce-source": event["source"]}
    answer = client.post("/", headers=headers, json=event.data)
    assert answer.status_code == 200, answer.text
    assert _rotated(cloud) == 1


def _request(body: Any, method: str = "POST", **headers: str) -> azure.functions.HttpRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return azure.functions.HttpRequest(method, "/api/rotate", headers=headers, body=raw)


def _webhook(cloud: Cloud, request: azure.functions.HttpRequest) -> azure.functions.HttpResponse:
    function: Any = cloud.function
    answer: azure.functions.HttpResponse = function.webhook(request)
    return answer


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return _cloud("azure", tmp_path, monkeypatch)


def test_event_grid_is_given_back_its_validation_code(vault: Cloud) -> None:
    """The handshake of Event Grid's own schema."""
    code = uuid.uuid4().hex
    kind = "Microsoft.EventGrid.SubscriptionValidationEvent"
    event = {"id": "1", "eventType": kind, "data": {"validationCode": code, "validationUrl": "https://x"}}
    answer = _webhook(vault, _request([event]))
    assert json.loads(answer.get_body()) == {"validationResponse": code}


def test_cloud_events_are_let_in_by_their_own_handshake(vault: Cloud) -> None:
    """An OPTIONS request names the origin, and is answered with it."""
    answer = _webhook(vault, _request(b"", "OPTIONS", **{"WebHook-Request-Origin": "eventgrid.azure.net"}))
    assert answer.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"


@pytest.mark.parametrize("several", [True, False])
def test_a_webhook_takes_arrays_and_single_events_in_either_case(vault: Cloud, several: bool) -> None:
    """Event Grid's schema comes as an array, CloudEvents one by one."""
    vault.deployed.wait(days=30)
    event = _azure_json()
    answer = _webhook(vault, _request([event, _azure_json("SecretNewVersionCreated")] if several else event))
    assert list(json.loads(answer.get_body()).values()) == ["grace"]
    assert_no_canary(answer.get_body())


NO_DELIVERIES = [b"", b"{", b"[1]", b"7", b'"x"', f'["{CANARY}"]'.encode(), b"[" * 2_000_000]


def test_a_webhook_answers_400_to_what_is_no_delivery(vault: Cloud) -> None:
    """Whatever is sent; and repeats nothing of it."""
    for body in NO_DELIVERIES:
        answer = _webhook(vault, _request(body))
        assert answer.status_code == 400
        assert_no_canary(answer.get_body())


@pytest.mark.parametrize(
    ("place", "event", "meant"),
    [
        ("projects/prod/secrets/a", "projects/1234/secrets/a", True),
        ("projects/prod/secrets/a", "projects/prod/secrets/a", True),
        ("projects/prod/secrets/a", "projects/test/secrets/a", False),
        ("projects/1234/secrets/a", "projects/1235/secrets/a", False),
        ("projects/prod/secrets/a", "projects/1234/secrets/ab", False),
        ("projects/prod/locations/eu/secrets/a", "projects/1234/locations/eu/secrets/a", True),
    ],
)
def test_a_secret_is_known_by_its_name_where_the_project_is_a_number(
    monkeypatch: pytest.MonkeyPatch, place: str, event: str, meant: bool
) -> None:
    """Google's events call a project by its number, and URLs by its id."""
    seen: list[bool] = []
    policy: Any = object()
    monkeypatch.setattr(
        google_functions, "location", lambda policy: f"//secretmanager.googleapis.com/{place}"
    )

    def look(self: Hints, matches: Callable[[Policy], bool], event_id: str) -> dict[str, str]:
        seen.append(matches(policy))
        return {}

    monkeypatch.setattr(Hints, "look", look)
    google_functions.Function()(_google(name=event))
    assert seen == [meant]
