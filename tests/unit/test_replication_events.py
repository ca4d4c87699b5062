"""Events of the clouds: the secret that changed is brought to the replicas, and nothing else is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from strongroom.config import Config
from strongroom.errors import InvalidRequestError, PartialFailureError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.names import Key, Name
from strongroom.replication.member import Member
from strongroom.replication.plan import Action, Report, Step
from strongroom.rotation.functions.replicas import Function
from strongroom.value import SecretValue
from tests.canary import CANARY

PLACES = {
    "aws": "arn:aws:secretsmanager:eu-west-1::secret:prod/{}",
    "ssm": "arn:aws:ssm:eu-west-1::parameter/prod/{}",
    "google": "//secretmanager.googleapis.com/projects/prod/secrets/{}",
    "azure": "https://prod.vault.azure.net/secrets/{}",
}


class Placed(MemoryBackend):
    """Holds secrets, and says that they lie at a cloud; counts how often it is listed."""

    def __init__(self, cloud: str, *names: str):
        super().__init__()
        self.cloud, self.listed = cloud, 0
        for name in names:
            self.put(Name(name), SecretValue(CANARY), None)

    def locate(self, key: Key) -> str:
        return PLACES[self.cloud].format(key)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[Any]:
        self.listed += 1
        return super().list_info(prefix, detail)


@dataclass
class Replica:
    """Remembers what it was asked to bring up."""

    source: Member
    replica: Member
    asked: list[Sequence[str] | None] = field(default_factory=list)
    failed: dict[str, Any] = field(default_factory=dict)

    def sync(self, names: Sequence[str] | None = None) -> Report:
        self.asked.append(names)
        return Report(tuple(Step(name, Action.UPDATE) for name in names or ("all",)), self.failed)


def _replica(cloud: str, names: Sequence[str] = ("token", "other"), held: Sequence[str] = ()) -> Replica:
    source, replica = Placed(cloud, *names), Placed(cloud, *held)
    return Replica(Member("eu", source, "prod"), Member("us", replica, "prod"))


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Function:
    return Function(config=Config())


def _given(monkeypatch: pytest.MonkeyPatch, **found: Replica) -> None:
    @contextmanager
    def replicas(*_: Any, **__: Any) -> Iterator[Any]:
        yield found

    monkeypatch.setattr("strongroom.rotation.functions.replicas.replicas", replicas)


def _aws(told: str, region: str = "eu-west-1", key: str = "secretId") -> dict[str, Any]:
    """As CloudTrail's record comes by EventBridge."""
    detail = {"eventName": "PutSecretValue", "requestParameters": {key: told, "clientRequestToken": "x"}}
    return {"source": "aws.secretsmanager", "region": region, "detail": detail}


def _google(name: str, project: str = "1234") -> dict[str, Any]:
    attributes = {"eventType": "SECRET_VERSION_ADD", "secretId": f"projects/{project}/secrets/{name}"}
    return {"message": {"attributes": attributes, "messageId": "7"}}


def _azure(name: str, vault: str = "PROD") -> dict[str, Any]:
    data = {"VaultName": vault, "ObjectName": name}
    return {"id": "7", "eventType": "Microsoft.KeyVault.SecretNewVersionCreated", "data": data}


_PARAMETER = {"name": "/prod/token", "operation": "Update"}
EVENTS: list[tuple[str, dict[str, Any], bool]] = [
    ("aws", _aws("arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/token-a1B2c3"), True),
    ("aws", _aws("prod/token"), True),
    ("aws", _aws("prod/token", key="name"), True),
    ("aws", _aws("prod/token", "us-east-1"), False),
    ("aws", _aws("arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/token-two-a1B2c3"), False),
    ("aws", _aws("prod/token-a1B2c3"), False),
    ("ssm", {"source": "aws.ssm", "region": "eu-west-1", "detail": _PARAMETER}, True),
    ("google", _google("token"), True),
    ("google", _google("token", "prod"), True),
    ("google", _google("token", "test"), False),
    ("google", _google("tokens"), False),
    ("azure", _azure("TOKEN"), True),
    ("azure", _azure("token", "test"), False),
    ("azure", _azure("token", "pr"), False),
]


@pytest.mark.parametrize(("cloud", "event", "meant"), EVENTS)
def test_the_secret_of_an_event_alone_is_brought_to_its_replicas(
    function: Function, monkeypatch: pytest.MonkeyPatch, cloud: str, event: dict[str, Any], meant: bool
) -> None:
    """However its provider calls it; another region's, project's or vault's of that name is not meant."""
    replica = _replica(cloud)
    _given(monkeypatch, us=replica)
    assert function(event) == ({"us": 1} if meant else {})
    assert replica.asked == ([["token"]] if meant else [])


def test_a_secret_that_is_known_costs_no_list(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm function has seen it before."""
    replica = _replica("google")
    _given(monkeypatch, us=replica)
    for _ in range(3):
        function(_google("token"))
    assert (len(replica.asked), replica.source.backend.listed) == (3, 1)  # type: ignore[attr-defined]


def test_what_was_deleted_at_the_source_is_known_by_the_replica(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source lists it no more; its replica is to be told all the same."""
    replica = _replica("aws", names=["other"], held=["token"])
    _given(monkeypatch, us=replica)
    assert function(_aws("prod/token")) == {"us": 1}


@pytest.mark.parametrize("timer", ["aws.events", "aws.scheduler"])
def test_a_timer_brings_everything_up(
    function: Function, monkeypatch: pytest.MonkeyPatch, timer: str
) -> None:
    """What no event told of is found."""
    replica = _replica("aws")
    _given(monkeypatch, us=replica)
    assert function({"source": timer}) == {"us": 1}
    assert replica.asked == [None]


def test_what_failed_is_delivered_again(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an error, once the other replicas were brought up."""
    bad, good = _replica("aws"), _replica("aws")
    bad.failed = {"token": UnavailableError("down")}
    _given(monkeypatch, bad=bad, good=good)
    with pytest.raises(PartialFailureError) as caught:
        function(_aws("prod/token"))
    assert (dict(caught.value.results), list(caught.value.errors)) == ({"good": 1}, ["bad"])


@pytest.mark.parametrize("event", [None, {}, [], {"message": None}, "x", 7])
def test_what_is_no_event_is_refused(function: Function, monkeypatch: pytest.MonkeyPatch, event: Any) -> None:
    """In one typed line, and nothing is looked at."""
    replica = _replica("aws")
    _given(monkeypatch, us=replica)
    with pytest.raises(InvalidRequestError):
        function(event)
    assert replica.asked == []


def test_an_event_that_names_no_secret_changes_nothing(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clouds send others by the same rule."""
    replica = _replica("aws")
    _given(monkeypatch, us=replica)
    for event in ({"source": "aws.secretsmanager", "detail": {"eventName": "ListSecrets"}}, _google("")):
        assert function(event) == {}
    assert replica.asked == []
