"""The shipped detections, over what the engine and its store tell the audit."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.audit.record import of_event
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import State
from strongroom.store import SecretStore
from tests.rotation_scene import NAME, Scene
from tests.unit.detection_support import MONDAY, judged
from tests.unit.detection_support import Scene as Journal


class Writer(AuditHook):
    """Writes every event into a journal, at the journal's own time."""

    def __init__(self) -> None:
        self.journal = Journal()

    def before(self, event: AuditEvent) -> None:
        self._write(event)

    def after(self, event: AuditEvent) -> None:
        self._write(event)

    def _write(self, event: AuditEvent) -> None:
        fields: dict[str, Any] = of_event(event)
        del fields["time"], fields["kind"]
        self.journal.add("event", **fields)


@pytest.fixture
def written() -> Writer:
    return Writer()


@pytest.fixture
def scene(tmp_path: Path, written: Writer) -> Scene:
    """Store and engine tell one journal."""
    scene = Scene(tmp_path, "two")
    scene.store = SecretStore(scene.backend, cache=None, alias="prod", hooks=[written], clock=scene.clock)
    object.__setattr__(scene.policy, "store", scene.store)
    scene.engine = Engine(scene.ledger, [scene.policy], clock=scene.clock, hooks=[written])
    return scene


def test_rotations_that_go_well_raise_no_alarm(scene: Scene, written: Writer) -> None:
    """Three of them, a reader beside, an abort and a rollback."""
    for _ in range(3):
        assert scene.finish(scene.engine.start(NAME).id).state is State.DONE
        scene.store.get(NAME)
        written.journal.wait(hours=3)
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=State.TESTED)
    scene.engine.abort(entry.id)
    entry = scene.begin()
    assert entry.version
    scene.engine.rollback(NAME, if_version=entry.version)
    assert scene.finish(scene.engine.start(NAME).id).state is State.DONE
    scene.store.get(NAME)
    assert judged(written.journal.records) == []


def test_who_reads_what_a_rotation_has_revoked_is_told_of(scene: Scene, written: Writer) -> None:
    """From a replica that does not know yet: the read names the version that `rotation.revoke` has named."""
    entry = scene.finish(scene.engine.start(NAME).id)
    assert entry.base
    written.journal.reads("eve", NAME, entry.base)
    assert [found.rule for found in judged(written.journal.records)] == ["use-after-revoke"]


def test_a_rotated_secret_that_is_rotated_no_more_is_told_of(scene: Scene, written: Writer) -> None:
    """Ninety days after its last promote."""
    scene.finish(scene.engine.start(NAME).id)
    found = judged(written.journal.records, MONDAY + timedelta(days=92))
    assert [detection.rule for detection in found] == ["rotation-overdue"]
