"""The Lambda function, called as Secrets Manager calls it, over a strict Secrets Manager."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.companion import check_rotation_id, rotation_uuid
from strongroom.errors import InvalidRequestError, SecretConflictError, SecretStoreError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.rotation.functions.aws_lambda import Function
from strongroom.rotation.ledger import State
from strongroom.rotations import engine
from strongroom.stages import Pending
from strongroom.testing.aws import Lag
from tests.canary import CANARY, assert_no_canary_in, not_ours
from tests.function_support import NAME, TARGET, Deployed, token
from tests.rotation_target import OneSlot, Target, TwoSlots, identifier_of
from tests.scale import NIGHTLY, scaled
from tests.unit.strict_aws_support import OTHER, REGION, Aws, labels

FULL = f"prod/{NAME}"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@pytest.fixture(scope="module")
def served() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def aws(served: Aws) -> Aws:
    served.renew()
    return served


class SecretsManager:
    """The service's side of a rotation: it makes the version, calls, and takes its label off at the end."""

    def __init__(self, aws: Aws, deployed: Deployed, function: Any):
        self.aws, self.deployed, self.function = aws, deployed, function
        self.client = aws.client()
        self.arn = self.client.describe_secret(SecretId=FULL)["ARN"]

    def reserve(self, made: str = "") -> str:
        """What RotateSecret does first."""
        made = made or token()
        self.aws.manager.add_empty_version(REGION, FULL, made, "AWSPENDING")
        return made

    def call(self, step: str, made: str, **more: Any) -> Any:
        """One event."""
        self.aws.now[0] = self.deployed.clock.now().timestamp()
        return self.function({"SecretId": self.arn, "ClientRequestToken": made, "Step": step, **more})

    def rotate(self) -> str:
        """RotateSecret."""
        made = self.reserve()
        self.call_all(made)
        return made

    def call_all(self, made: str) -> None:
        """The four steps."""
        for step in STEPS:
            self.call(step, made)

    def labels(self) -> dict[str, str]:
        """AWS's own labels."""
        found = labels(self.client, FULL)
        return {label: version for label, version in found.items() if label.startswith("AWS")}


def _deployed(aws: Aws, folder: Path, slots: str = "two", ledger: str = "strongroom://books") -> Deployed:
    """The ledger is in memory: one in Secrets Manager costs 150 calls a rotation, and two tests have it."""
    store = f'url = "aws-sm://{REGION}/prod?endpoint={aws.server.url}"\ncache = false'
    tables = f'[store.books]\nurl = "memory://{token()}"'
    return Deployed.at(folder, store, slots=slots, tables=tables, ledger=ledger)


@pytest.fixture(params=["one", "two"])
def service(request: pytest.FixtureRequest, aws: Aws, tmp_path: Path) -> SecretsManager:
    deployed = _deployed(aws, tmp_path, request.param)
    return SecretsManager(aws, deployed, Function(config=deployed.config, clock=deployed.clock))


@pytest.fixture
def keys(aws: Aws, tmp_path: Path) -> SecretsManager:
    deployed = _deployed(aws, tmp_path)
    return SecretsManager(aws, deployed, Function(config=deployed.config, clock=deployed.clock))


def test_a_rotation_that_terraforms_aws_provider_asks_for_has_its_token(
    keys: SecretsManager,
) -> None:
    """No UUID: of the time and a count. Another that is none is refused before anything is asked."""
    made = keys.reserve("terraform-2026112322360371760000000a")
    keys.call_all(made)
    assert keys.labels()["AWSCURRENT"] == made
    assert keys.deployed.target.accepts(keys.deployed.value())
    assert check_rotation_id(made) == made
    assert rotation_uuid(made) == rotation_uuid(made) != rotation_uuid(f"{made[:-1]}b")
    for other in (made.upper(), made[:-1], token().upper(), f"{made}\n"):
        with pytest.raises(InvalidRequestError, match="no UUID"):
            keys.call("createSecret", other)


def test_four_calls_rotate_a_secret_and_its_version_is_the_token(service: SecretsManager) -> None:
    """Each call proves its own part; what is current is the version that Secrets Manager made."""
    before = service.labels()["AWSCURRENT"]
    made = service.reserve()
    proved = [service.call(step, made)[made] for step in STEPS]
    assert proved[:3] == ["created", "set", "tested"]
    assert proved[3] in ("grace", "done")
    found = service.labels()
    assert found["AWSCURRENT"] == made
    assert found.get("AWSPREVIOUS", before) == before
    assert "AWSPENDING" not in found
    assert service.deployed.target.accepts(service.deployed.value())


def test_calls_that_come_five_times_and_in_any_order_rotate_once(keys: SecretsManager) -> None:
    """Rotations equal tokens: what comes too early is refused, and Secrets Manager calls it again."""
    shuffled = random.Random(26)
    for _ in range(scaled(30, "orders of Secrets Manager's calls", share=30)):
        made, before = keys.reserve(), keys.deployed.rotated()
        calls = [step for step in STEPS for _ in range(5)]
        shuffled.shuffle(calls)
        for step in (*calls, *STEPS):
            try:
                keys.call(step, made)
            except SecretConflictError:
                continue
        assert keys.labels()["AWSCURRENT"] == made
        assert keys.deployed.rotated() == before + 1
        keys.deployed.wait(hours=3)


def test_a_token_that_nobody_delivers_rotates_nothing(keys: SecretsManager) -> None:
    """RotateSecret without a call: AWSPENDING stays where it is, and the target sees nothing."""
    made = keys.reserve()
    assert keys.deployed.rotated() == 0
    assert keys.labels()["AWSPENDING"] == made


def test_a_finished_rotation_stays_finished_three_days_later(keys: SecretsManager) -> None:
    """Its calls come again, late: success, and no effect."""
    made = keys.rotate()
    keys.deployed.wait(days=3)
    late = keys.rotate()
    changes = len(keys.deployed.target.changes())
    for step in STEPS:
        keys.call(step, made)
    assert keys.labels()["AWSCURRENT"] == late
    assert len(keys.deployed.target.changes()) == changes


def test_a_token_that_secrets_manager_does_not_await_begins_nothing(keys: SecretsManager) -> None:
    """Or whoever may invoke the function could rotate, and a call that is three days late would."""
    with pytest.raises(SecretConflictError, match="awaits no value"):
        keys.call("createSecret", token())
    assert keys.deployed.rotated() == 0
    assert keys.deployed.entries() == []


def test_a_later_step_without_the_first_begins_nothing(keys: SecretsManager) -> None:
    """testSecret alone is RotateImmediately=false: it tries the current value; others are out of order."""
    made = keys.reserve()
    assert keys.call("testSecret", made) == {}
    for step in ("setSecret", "finishSecret"):
        with pytest.raises(SecretConflictError, match="createSecret comes first"):
            keys.call(step, made)
    assert keys.deployed.rotated() == 0
    assert keys.labels()["AWSPENDING"] == made


def test_a_configuration_that_does_not_work_fails_its_trial(keys: SecretsManager) -> None:
    """RotateSecret with RotateImmediately off shall tell before the first rotation is due."""
    keys.deployed.target.withdraw("app")
    with pytest.raises(UnavailableError, match="PermissionDeniedError") as failed:
        keys.call("testSecret", keys.reserve())
    assert_no_canary_in(failed.value)


def test_a_step_whose_hook_fails_is_an_error_and_the_next_call_goes_on(keys: SecretsManager) -> None:
    """Secrets Manager takes a return for success; so what is not proved raises, by class alone."""
    made = keys.reserve()
    keys.call("createSecret", made)
    keys.call("setSecret", made)
    [issued] = [change.id for change in keys.deployed.target.changes("issue") if change.id != "app"]
    keys.deployed.target.withdraw(issued)
    with pytest.raises(UnavailableError, match="PermissionDeniedError in test_secret") as failed:
        keys.call("testSecret", made)
    assert_no_canary_in(failed.value)
    with pytest.raises(SecretStoreError):
        keys.call("finishSecret", made)
    assert keys.labels()["AWSCURRENT"] != made


def test_a_value_that_the_target_rejects_is_not_replaced_and_an_abort_frees_the_secret(
    service: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version holds one value, and Secrets Manager wants this version: the next has a token of its own."""
    made = service.reserve()
    service.call("createSecret", made)
    with monkeypatch.context() as strict:
        for kind in (OneSlot, TwoSlots):
            strict.setattr(kind, "set_secret", _rejected)
        with pytest.raises(UnavailableError, match="InvalidRequestError in set_secret"):
            service.call("setSecret", made)
    with engine(service.deployed.config, clock=service.deployed.clock) as opened:
        assert opened.abort(made).state is State.ABORTED
    assert "AWSPENDING" not in service.labels()
    service.deployed.wait(minutes=3)
    assert service.rotate() == service.labels()["AWSCURRENT"]


def _rejected(*_: object) -> None:
    raise InvalidRequestError("the policy of passwords")


def test_the_next_rotation_first_ends_the_grace_of_the_one_before(keys: SecretsManager) -> None:
    """Nothing else wakes a function that only Secrets Manager calls."""
    old = keys.deployed.value()
    keys.rotate()
    assert keys.deployed.target.accepts(old)
    keys.deployed.wait(hours=3)
    keys.rotate()
    assert not keys.deployed.target.accepts(old)


def test_a_rotation_within_the_grace_of_the_one_before_is_refused(keys: SecretsManager) -> None:
    """The previous value still works somewhere; Secrets Manager calls again, and says so meanwhile."""
    keys.rotate()
    made = keys.reserve()
    with pytest.raises(SecretConflictError, match="is open"):
        keys.call("createSecret", made)
    keys.deployed.wait(hours=3)
    keys.call("createSecret", made)


def test_a_timer_ends_the_grace_in_time(keys: SecretsManager) -> None:
    """EventBridge's scheduled event does what is due, and begins nothing without a schedule."""
    old, made = keys.deployed.value(), keys.rotate()
    timer = {"source": "aws.events", "detail-type": "Scheduled Event"}
    assert keys.function(dict(timer)) == {}
    keys.deployed.wait(hours=3)
    assert keys.function(dict(timer)) == {made: "done"}
    assert not keys.deployed.target.accepts(old)


def test_a_timer_has_the_oldest_values_age_told_to_cloudwatch(
    keys: SecretsManager, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of its log in CloudWatch's format, with the function's name and no secret's."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "prod-rotation")
    timer = {"source": "aws.events", "detail-type": "Scheduled Event"}
    with not_ours():
        made = keys.client.describe_secret(SecretId=FULL)["CreatedDate"]
    keys.deployed.clock.advance((made - keys.deployed.clock.now()).total_seconds() + 40 * 86400)
    never = _told(keys.function(dict(timer)), capsys)
    keys.rotate()
    keys.deployed.wait(hours=1)
    since = _told(keys.function(dict(timer)), capsys)
    assert (never["OldestValueAge"], since["OldestValueAge"]) == pytest.approx((40 * 86400, 3600))
    assert since["FunctionName"] == "prod-rotation"
    [directive] = since["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Metrics"][0]["Name"]) == ("Strongroom", "OldestValueAge")
    assert NAME not in json.dumps(since)


def _told(_: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_another_value_put_meanwhile_supersedes_the_rotation(keys: SecretsManager) -> None:
    """The target is set back, the put stays, and Secrets Manager is told to begin anew."""
    made = keys.reserve()
    keys.call("createSecret", made)
    issued = keys.deployed.target.changes("issue")[-1].id
    with keys.deployed.store() as store:
        store.put(NAME, store.get(NAME).value)
    keys.call("setSecret", made)
    keys.call("testSecret", made)
    for _ in range(2):
        with pytest.raises(SecretConflictError, match="superseded"):
            keys.call("finishSecret", made)
    assert issued not in keys.deployed.target.live()
    assert "AWSPENDING" not in keys.labels()


@pytest.mark.timeout(1200 if NIGHTLY else 120)
def test_labels_that_are_seen_late_cause_no_false_failure(keys: SecretsManager) -> None:
    """Reads of labels and values miss up to 30 seconds; every rotation succeeds at the first call."""
    chance, clock, manager = random.Random(24), keys.deployed.clock, keys.aws.manager
    manager._clock = manager._account.clock = lambda: clock.now().timestamp()
    for _ in range(scaled(200, "rotations under late reads", share=200)):
        keys.aws.behaviour.consistency = Lag(seconds=chance.random() * 30)
        made = keys.rotate()
        keys.deployed.wait(hours=3)
        assert keys.labels()["AWSCURRENT"] == made


def test_replicas_follow_each_move_of_a_label(keys: SecretsManager) -> None:
    """The replica ends InSync with the new value, where two moves in a row would have wedged it."""
    keys.client.replicate_secret_to_regions(SecretId=FULL, AddReplicaRegions=[{"Region": OTHER}])
    keys.aws.behaviour.wedges, keys.aws.behaviour.replication = True, Lag(reads=2)
    keys.rotate()
    for _ in range(5):
        [replica] = keys.client.describe_secret(SecretId=FULL)["ReplicationStatus"]
    assert replica["Status"] == "InSync"
    with not_ours():
        there = keys.aws.client(OTHER).get_secret_value(SecretId=FULL)["SecretString"]
    assert there == keys.deployed.value().reveal_text()


def test_the_rotation_token_is_taken_out_of_the_event_and_sent_with_the_value(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever logs the event afterwards has none to show; the ledger's own writes go without."""
    deployed = _deployed(aws, tmp_path, ledger="strongroom://prod")
    keys = SecretsManager(aws, deployed, Function(config=deployed.config, clock=deployed.clock))
    sent: list[dict[str, Any]] = []
    call = keys.aws.manager.call

    def noted(region: str, operation: str, params: dict[str, Any], *, stale: bool = False) -> dict[str, Any]:
        if operation == "PutSecretValue":
            sent.append(params)
        return call(region, operation, params, stale=stale)

    monkeypatch.setattr(keys.aws.manager, "call", noted)
    proof = f"proof-{CANARY}"
    event = {
        "SecretId": keys.arn,
        "ClientRequestToken": keys.reserve(),
        "Step": "createSecret",
        "RotationToken": proof,
    }
    keys.function(event)
    assert "RotationToken" not in event
    bearing = [params["SecretId"] for params in sent if params.get("RotationToken") == proof]
    assert set(bearing) == {FULL}
    assert len(sent) > len(bearing)


def test_a_function_without_a_configuration_rotates_whatever_it_is_called_for(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ARN says where the secret is; its ledger is kept beside it."""
    deployed = _deployed(aws, tmp_path)
    monkeypatch.setenv(TARGET, str(tmp_path / "target.db"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strongroom.toml").unlink()
    function = Function("tests.function_support:TwoAt", endpoint=aws.server.url, clock=deployed.clock)
    service = SecretsManager(aws, deployed, function)
    assert service.labels()["AWSCURRENT"] != service.rotate() == service.labels()["AWSCURRENT"]
    assert deployed.target.accepts(deployed.value())


class Killed(BaseException):
    """The function's time-out, or its machine's end: no handler of ours runs on."""


POINTS: dict[str, tuple[Any, str]] = {
    "issue": (Target, "issue"),
    "put": (Pending, "put"),
    "promote": (Pending, "promote"),
    "begin": (MemoryBackend, "put"),
}


@pytest.mark.parametrize("when", ["before", "after"] if NIGHTLY else ["after"])
@pytest.mark.parametrize("point", POINTS if NIGHTLY else ["issue", "promote"])
def test_a_function_that_is_killed_on_its_way_is_called_again_and_ends_right(
    keys: SecretsManager, monkeypatch: pytest.MonkeyPatch, point: str, when: str
) -> None:
    """Around each effect: one new value, current and accepted, and nothing live that nobody knows."""
    made = keys.reserve()
    with monkeypatch.context() as dying:
        _kill(dying, *POINTS[point], when)
        with pytest.raises(Killed):
            keys.call_all(made)
    keys.deployed.wait(minutes=3)
    keys.call_all(made)
    current = keys.deployed.value()
    assert keys.labels()["AWSCURRENT"] == made
    assert keys.deployed.target.accepts(current)
    assert keys.deployed.target.live() == {"app", identifier_of(current)}
    keys.deployed.wait(hours=3)
    keys.rotate()


def _kill(dying: pytest.MonkeyPatch, owner: Any, name: str, when: str) -> None:
    effect = getattr(owner, name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            effect(*args, **kwargs)
        raise Killed

    dying.setattr(owner, name, killed)


def test_a_call_while_another_still_runs_waits_and_is_then_refused(
    keys: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the lease of a killed function lasts, there is no second worker at the target."""
    made = keys.reserve()
    with monkeypatch.context() as dying:
        _kill(dying, Target, "issue", "after")
        with pytest.raises(Killed):
            keys.call("createSecret", made)
    with pytest.raises(UnavailableError, match="createSecret is not done: started"):
        keys.call("createSecret", made)
    assert keys.deployed.rotated() == 1


MALFORMED: list[dict[str, Any]] = [
    {},
    {"Step": "createSecret", "ClientRequestToken": token()},
    {"SecretId": "x", "ClientRequestToken": token(), "Step": "dropSecret"},
    {"SecretId": "x", "ClientRequestToken": token().upper(), "Step": "createSecret"},
    {"SecretId": "x", "ClientRequestToken": "short", "Step": "createSecret"},
    {"SecretId": ["x"], "ClientRequestToken": token(), "Step": "createSecret"},
    {"SecretId": "no/such", "ClientRequestToken": token(), "Step": "createSecret"},
]


def test_what_is_no_event_of_secrets_manager_is_refused(keys: SecretsManager) -> None:
    """One typed line that repeats nothing of it, before any effect."""
    for event in MALFORMED:
        with pytest.raises(InvalidRequestError) as refused:
            keys.function({**event, "RotationToken": CANARY})
        assert_no_canary_in(refused.value)
        assert str(event.get("ClientRequestToken", "none")) not in str(refused.value)
    assert keys.deployed.rotated() == 0


def test_the_ledger_says_what_became_of_each_token(keys: SecretsManager) -> None:
    """One record a rotation, under Secrets Manager's own token."""
    made = keys.rotate()
    [entry] = keys.deployed.entries()
    assert (entry.id, entry.state) == (made, State.GRACE)
