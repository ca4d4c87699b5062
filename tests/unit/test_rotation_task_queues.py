"""Rotations as Celery's tasks, and as Airflow's operators."""

from __future__ import annotations

import importlib
import sys
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from strongroom.errors import BackendNotInstalledError, SecretConflictError, UnavailableError
from strongroom.integrations.celery_task import RotationTasks, rotation_tasks
from strongroom.integrations.rotation_work import RotationWork
from tests.canary import CANARY, assert_no_canary
from tests.function_support import NAME, Deployed
from tests.rotation_target import TwoSlots


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    return Deployed.at(tmp_path, f'url = "memory://{uuid.uuid4()}"\ncache = false', every="rate(30 days)")


@pytest.fixture
def tasks(deployed: Deployed) -> RotationTasks:
    """In this process: a worker would only call them from another."""
    app = Celery("tests", set_as_current=False)
    app.conf.task_always_eager, app.conf.task_store_eager_result = True, False
    return rotation_tasks(app, RotationWork(deployed.config, clock=deployed.clock))


def _down(*_: object) -> Any:
    raise TimeoutError(CANARY)


def test_a_tick_of_celery_rotates_what_is_due(deployed: Deployed, tasks: RotationTasks) -> None:
    """Beat calls it every minute; what is not due yet is left alone."""
    assert tasks.tick.delay().get() == {}
    deployed.wait(days=30)
    assert list(tasks.tick.delay().get().values()) == ["grace"]
    assert deployed.rotated() == 1


def test_a_task_delivered_twice_is_one_rotation(deployed: Deployed, tasks: RotationTasks) -> None:
    """Its id is made of the task's, which a broker keeps when it delivers again."""
    first, again = (tasks.start.apply((NAME,), task_id="0001").get() for _ in range(2))
    assert first == again
    assert first["state"] == "grace"
    assert deployed.rotated() == 1
    assert_no_canary(str(first))


def test_no_other_app_of_the_process_gets_the_tasks(tasks: RotationTasks) -> None:
    """It has a configuration of its own, or rotates nothing at all."""
    own, other = tasks.tick.app, Celery("others", set_as_current=False)
    for app in (own, other):
        app.finalize()
    ours = {name for name in own.tasks if name.startswith("strongroom.")}
    assert ours == {f"strongroom.rotation.{name}" for name in ("tick", "start", "advance")}
    assert ours.isdisjoint(other.tasks)


def test_a_task_goes_on_with_a_rotation_that_stopped(
    deployed: Deployed, tasks: RotationTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that was down is no failed task: the record says when to try again."""
    with monkeypatch.context() as down:
        down.setattr(TwoSlots, "listed", _down)
        begun = tasks.start.delay(NAME).get()
    assert begun["state"] == "started"
    deployed.wait(minutes=1)
    assert tasks.advance.delay(begun["id"]).get()["state"] == "grace"


def test_the_tasks_have_names_that_a_schedule_can_say(tasks: RotationTasks) -> None:
    """They are part of the interface: a beat schedule and other programs name them."""
    assert [task.name for task in tasks] == [
        "strongroom.rotation.tick",
        "strongroom.rotation.start",
        "strongroom.rotation.advance",
    ]


class _Operator:
    """What Airflow's operators have of their base, as far as ours use it."""

    def __init__(self, *, task_id: str):
        self.task_id = task_id


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Our operators over a stand-in for Airflow, which pins what no environment beside it can have."""
    sdk = types.ModuleType("airflow.sdk")
    sdk.BaseOperator = _Operator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    name = "strongroom.integrations.airflow_operator"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


def _run(number: int = 1) -> dict[str, Any]:
    return {"ti": types.SimpleNamespace(dag_id="d", run_id=f"r{number}", task_id="now", map_index=-1)}


@pytest.fixture
def operated(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, airflow: Any) -> Any:
    """The operators, over the deployed configuration and its clock."""
    work = RotationWork(deployed.config, clock=deployed.clock)
    monkeypatch.setattr(airflow, "RotationWork", lambda config: work)
    return airflow


def test_an_operator_rotates_and_a_retry_is_the_same_rotation(deployed: Deployed, operated: Any) -> None:
    """A task that is run again, after it was done or in the middle, goes on where the ledger says."""
    operator = operated.RotateSecretOperator(task_id="now", secret=NAME)
    first = operator.execute(_run())
    assert operator.execute(_run()) == first
    assert first["state"] == "grace"
    assert deployed.rotated() == 1


def test_an_operator_that_is_not_done_fails_and_its_retry_goes_on(
    deployed: Deployed, operated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Success means that the new value is current."""
    operator = operated.RotateSecretOperator(task_id="now", secret=NAME)
    with monkeypatch.context() as down:
        down.setattr(TwoSlots, "listed", _down)
        with pytest.raises(UnavailableError, match=r"is started: TimeoutError in reclaim") as failed:
            operator.execute(_run())
    assert_no_canary(str(failed.value))
    deployed.wait(minutes=1)
    assert operator.execute(_run())["state"] == "grace"
    with pytest.raises(SecretConflictError, match="is open"):
        operator.execute(_run(2))


def test_an_operator_does_what_is_due(deployed: Deployed, operated: Any) -> None:
    """The DAG's schedule only says when to look."""
    operator = operated.RotationTickOperator(task_id="due")
    assert operator.execute({}) == {}
    deployed.wait(days=30)
    assert list(operator.execute({}).values()) == ["grace"]


@pytest.mark.parametrize(
    ("module", "library", "hint"),
    [
        ("celery_task", "celery", "pip install 'strongroom[celery]'"),
        ("airflow_operator", "airflow", "install strongroom in Airflow's own environment"),
    ],
)
def test_a_queue_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, hint: str
) -> None:
    """With what to do."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"strongroom.integrations.{module}", raising=False)
    with pytest.raises(BackendNotInstalledError) as caught:
        importlib.import_module(f"strongroom.integrations.{module}")
    assert caught.value.hint == hint
    assert caught.value.__context__ is None
