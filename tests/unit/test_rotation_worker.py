"""A worker: it rotates what is due, says how it is, and ends when it is told."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.errors import InvalidRequestError, UnavailableError
from strongroom.rotation.health import health_server
from strongroom.rotation.ledger import State
from strongroom.rotation.metrics import StepCounter
from strongroom.rotation.worker import SILENCE, Worker
from strongroom.telemetry import Family, rendered
from tests.canary import CANARY
from tests.rotation_scene import NAME, Scene


class Until(AuditHook):
    """Calls something when an operation has ended."""

    def __init__(self, operation: str):
        self.operation, self.call = operation, lambda: None

    def after(self, event: AuditEvent) -> None:
        if event.operation == self.operation:
            self.call()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A secret of a target with one slot: nothing has to be waited for."""
    return Scene(tmp_path, "single")


def test_a_worker_carries_on_what_is_open_and_ends_when_it_is_told(scene: Scene) -> None:
    """Without a pass more: `stop` in the last step, in the middle of it, lets that step end."""
    counter, done = StepCounter(), Until("rotation.promote")
    engine = scene.another([counter, done])
    worker = Worker(engine, scene.ledger, threads=2, steps=counter, clock=scene.clock)
    done.call = worker.stop
    entry = engine.start(NAME)
    worker.run()
    assert scene.ledger.get(entry.id).state is State.DONE
    assert scene.works()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rotation-")]


def test_metrics_tell_steps_states_and_what_waits(scene: Scene) -> None:
    """In Prometheus' format, and without a secret's name."""
    counter, done = StepCounter(), Until("rotation.done")
    engine = scene.another([counter, done])
    worker = Worker(engine, scene.ledger, threads=1, steps=counter, clock=scene.clock)
    done.call = worker.stop
    engine.start(NAME)
    before = worker.metrics().splitlines()
    assert 'strongroom_rotation_open{state="started"} 1' in before
    worker.run()
    text = worker.metrics()
    after = text.splitlines()
    assert 'strongroom_rotation_steps_total{step="promote",outcome="ok"} 1' in after
    assert 'strongroom_rotation_passes_total{outcome="ok"} 1' in after
    assert 'strongroom_rotation_open{state="started"} 0' in after
    assert "strongroom_rotation_due 0" in after
    assert NAME not in text


def test_labels_are_escaped() -> None:
    """As the format has it."""
    family = ("m", "gauge", "Help.", {(("a", 'x"\\\n'),): 1.5, (): 2})
    assert rendered([family]) == '# HELP m Help.\n# TYPE m gauge\nm 2\nm{a="x\\"\\\\\\n"} 1.5\n'


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_that_passes_succeed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough without one it is 503 with the reason; a pass that succeeds makes it well again."""

    def down(_limit: int) -> None:
        raise UnavailableError("the ledger does not answer")

    worker = Worker(scene.engine, scene.ledger, clock=scene.clock)
    with health_server(worker, "127.0.0.1", 0) as port:
        assert _get(port, "/healthz") == (200, "ok\n")
        monkeypatch.setattr(scene.ledger, "claim_due", down)
        scene.clock.advance(SILENCE + 1)
        assert not worker._pass()
        status, text = _get(port, "/healthz")
        assert (status, "UnavailableError" in text) == (503, True)
        monkeypatch.undo()
        worker._pass()
        assert _get(port, "/healthz")[0] == 200
        status, text = _get(port, "/metrics")
        assert (status, 'passes_total{outcome="failed"} 1' in text) == (200, True)
        assert _get(port, "/")[0] == 404
        with pytest.raises(InvalidRequestError, match="in use"), health_server(worker, "127.0.0.1", port):
            pass


@pytest.mark.parametrize("error", [UnavailableError("down"), KeyError(CANARY)])
def test_what_fails_is_told_once_and_by_its_class_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Also a bug in one secret's rotator, which does not keep the others from rotating ▲."""

    def fails(_limit: int) -> None:
        raise error

    said: list[str] = []
    worker = Worker(scene.engine, scene.ledger, say=said.append, clock=scene.clock)
    monkeypatch.setattr(scene.ledger, "claim_due", fails)
    assert (worker._pass(), worker._pass()) == (False, False)
    monkeypatch.undo()
    worker._pass()
    assert said == [f"passes fail: {type(error).__name__}", "passes succeed again"]


def test_a_ledger_that_is_down_is_a_gap_in_the_metrics(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a nought, which would look well; the worker's own numbers are there."""

    def down(**_: object) -> None:
        raise UnavailableError("the ledger does not answer")

    monkeypatch.setattr(scene.ledger, "find", down)
    text = Worker(scene.engine, scene.ledger, clock=scene.clock).metrics()
    assert "strongroom_rotation_silence_seconds 0" in text
    assert "strongroom_rotation_open" not in text


def test_chores_are_done_at_first_and_once_an_hour(scene: Scene) -> None:
    """By whichever thread is there, and not by each."""
    done: list[str] = []
    worker = Worker(scene.engine, scene.ledger, chores=[lambda: done.append("swept")], clock=scene.clock)
    for minutes in (0, 1, 58, 1):
        scene.clock.advance(minutes * 60)
        worker._pass()
    assert done == ["swept"] * 2


class Duty:
    """Goes on until it is stopped."""

    def __init__(self) -> None:
        self.stopped, self.ran, self.trouble = threading.Event(), False, ""
        self.stop = self.stopped.set

    def run(self) -> None:
        self.ran = self.stopped.wait(10)

    def families(self) -> list[Family]:
        return [("strongroom_duty", "gauge", "Help.", {(): 1})]


def test_a_duty_goes_on_beside_the_rotations_and_ends_with_the_worker(scene: Scene) -> None:
    """In a thread of its own; its metrics and its trouble are the worker's."""
    done, duty = Until("rotation.promote"), Duty()
    engine = scene.another([done])
    worker = Worker(engine, scene.ledger, threads=1, duties=[duty], clock=scene.clock)
    done.call = worker.stop
    assert worker.trouble == ""
    duty.trouble = "replica prod-us: no sign of life"
    assert worker.trouble == duty.trouble
    engine.start(NAME)
    worker.run()
    assert duty.ran
    assert "strongroom_duty 1" in worker.metrics().splitlines()
