"""The strict AWS server plays faults on the wire, and starts for a person."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.unit.strict_aws_support import T2, Aws, refuses


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def db(aws: Aws) -> Any:
    client = aws.client()
    client.create_secret(Name="db", SecretString="one")
    return client


def _value(client: Any) -> str:
    return str(client.get_secret_value(SecretId="db")["SecretString"])


def test_a_dropped_answer_was_performed(aws: Aws, db: Any) -> None:
    """`after` loses the answer of a call that has its effect."""
    aws.faults.drop("PutSecretValue", "after")
    with pytest.raises(ConnectionClosedError):
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
    assert _value(db) == "two"


def test_a_dropped_request_was_not_performed(aws: Aws, db: Any) -> None:
    """`before` loses the call itself."""
    aws.faults.drop("PutSecretValue", "before")
    with pytest.raises(ConnectionClosedError):
        db.put_secret_value(SecretId="db", SecretString="two")
    assert _value(db) == "one"


def test_throttling_and_errors_have_aws_shapes(aws: Aws, db: Any) -> None:
    """The SDK reads code and request id from them."""
    aws.faults.throttle("GetSecretValue")
    with refuses("ThrottlingException", "Rate exceeded") as caught:
        _value(db)
    assert caught.value.response["ResponseMetadata"]["RequestId"]
    aws.faults.server_error("GetSecretValue", times=1)
    with refuses("InternalServiceError") as caught:
        _value(db)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert _value(db) == "one"


def test_the_sdk_takes_garbage_for_an_answer(aws: Aws, db: Any) -> None:
    """A proxy's page with status 200 comes back as an answer without fields, not as an error."""
    aws.faults.garbage("GetSecretValue")
    assert set(db.get_secret_value(SecretId="db")) == {"ResponseMetadata"}


def test_a_stale_read_misses_the_last_change_once(aws: Aws, db: Any) -> None:
    """For one call, without any delay configured."""
    db.put_secret_value(SecretId="db", SecretString="two")
    aws.faults.stale("GetSecretValue")
    assert [_value(db), _value(db)] == ["one", "two"]


def test_faults_hit_the_call_that_was_meant(aws: Aws, db: Any) -> None:
    """`skip` passes calls first, `times` bounds the hits, and a star means any call."""
    aws.faults.throttle("GetSecretValue", skip=1, times=1)
    assert _value(db) == "one"
    with refuses("ThrottlingException"):
        _value(db)
    assert _value(db) == "one"
    aws.faults.server_error("*")
    with refuses("InternalServiceError"):
        db.describe_secret(SecretId="db")


def test_another_writer_can_come_between(aws: Aws, db: Any) -> None:
    """`run` acts between a request and its effect."""
    aws.faults.run("GetSecretValue", lambda: aws.client().put_secret_value(SecretId="db", SecretString="two"))
    assert _value(db) == "two"


def test_calls_are_counted(aws: Aws, db: Any) -> None:
    """By operation, also those that failed."""
    aws.faults.drop("GetSecretValue")
    with pytest.raises(ConnectionClosedError):
        _value(db)
    _value(db)
    assert aws.server.calls == {"CreateSecret": 1, "GetSecretValue": 2}


def test_many_threads_are_served_at_once(aws: Aws, db: Any) -> None:
    """A call that waits does not hold up another."""
    entered, leave = threading.Event(), threading.Event()
    aws.faults.run("DescribeSecret", entered.set)
    aws.faults.run("DescribeSecret", lambda: leave.wait(10))
    thread = threading.Thread(target=lambda: aws.client().describe_secret(SecretId="db"))
    thread.start()
    assert entered.wait(10)
    assert _value(db) == "one"
    leave.set()
    thread.join(10)


def test_an_unknown_operation_is_refused(db: Any) -> None:
    """What the double does not know it does not pretend to know."""
    with refuses("UnknownOperationException"):
        db.get_random_password()


def test_a_person_can_start_one() -> None:
    """The command prints its endpoint and ends on Ctrl-C."""
    # A run in the background has SIGINT ignored, which a child would inherit; a terminal's child does not.
    heeds = "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    argv = [sys.executable, "-c", heeds, sys.executable, "-m", "strongroom.testing.aws"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "http://127.0.0.1:" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
