"""The AWS models' calls are boto3's: they run through a boto3-shaped client in the model, and against a
server."""

from __future__ import annotations

import uuid

import boto3
from moto import mock_aws

from tests.models import aws_protocol as a
from tests.models.aws import CURRENT, PREVIOUS
from tests.models.aws_model import writers
from tests.models.boto import BotoSecretsManager, PortClient
from tests.models.checker import check
from tests.models.ledger import NONE
from tests.models.replay import Budget, Port, Program
from tests.models.spaces import explored


def over_boto(name: str) -> Program:
    """A guarded writer that reaches the model through boto3's shapes and errors."""

    def program(port: Port) -> str:
        sm = BotoSecretsManager(port, PortClient(port))
        return a.put_if(sm, name, name, sm.describe()[CURRENT])

    return program


def test_code_that_calls_boto3_runs_under_the_checker() -> None:
    """The same writers, direct and through a boto3-shaped client, have the same state space, and hold."""
    budget = Budget(0, 1, 1)
    direct = check(writers("direct", a.writer("alice"), a.writer("bob"), budget=budget))
    report = explored(check(writers("boto3", over_boto("alice"), over_boto("bob"), budget=budget)))
    assert report.violation is None, report
    assert (report.states, report.transitions) == (direct.states, direct.transitions)


class OneLedger(BotoSecretsManager):
    """Beside a server the ledger is a dict."""

    def __init__(self, client: object, secret: str) -> None:
        super().__init__(Port((), 0), client, secret)
        self.states: dict[str, object] = {}

    def ledger(self, rotation: str) -> str:
        return str(self.states.get(rotation, NONE))

    def advance(self, rotation: str, before: object, after: object) -> None:
        assert self.ledger(rotation) == before
        self.states[rotation] = after


def test_the_modelled_rotation_runs_against_a_server() -> None:
    """Two rotations and a guarded put end with the labels that the model says, none of ours left behind."""
    with mock_aws():
        client = boto3.client(
            "secretsmanager", region_name="eu-west-1", aws_access_key_id="k", aws_secret_access_key="s"
        )
        secret = client.create_secret(Name="db/password", SecretString="old")["ARN"]
        sm = OneLedger(client, secret)
        first, second, put = (str(uuid.uuid4()) for _ in range(3))
        assert a.Rotation(sm, first).run("one") == a.PROMOTED
        assert a.put_if(sm, put, "by hand", first) == "ok"
        assert a.Rotation(sm, second).run("two") == a.PROMOTED
        assert sm.describe() == {CURRENT: second, PREVIOUS: put}
        assert sm.states == {first: a.PROMOTED, second: a.PROMOTED}
