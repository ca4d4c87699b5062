"""What happens between two steps of a rotation: another worker, a person, a value put by hand."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Capability
from strongroom.errors import SecretConflictError
from strongroom.memory import ALL, MemoryBackend
from strongroom.rotation.ledger import Entry, OvertakenError, State
from strongroom.rotation.policy import secret_of
from strongroom.rotation.rotator import Rotation
from strongroom.rotation.schedule import Schedule
from strongroom.testing.faults import Fault, FaultyBackend
from strongroom.value import SecretValue
from tests.rotation_scene import NAME, Scene
from tests.rotation_target import OneSlot, credential, identifier_of
from tests.unit.test_rotation_engine import Human

COMPANION = ALL & ~Capability.NATIVE_PENDING


def overtake(scene: Scene, rotation_id: str) -> None:
    """Another worker has it: the lease of this one is over."""
    scene.clock.advance(120)
    assert scene.ledger.claim(rotation_id)


@pytest.mark.parametrize("slots", ["single", "two"])
@pytest.mark.parametrize("flags", [ALL, COMPANION])
def test_an_abort_that_comes_after_the_promote_changes_nothing(
    tmp_path: Path, slots: str, flags: Capability
) -> None:
    """A worker promoted, and died before it could say so: the value is current, so the rotation goes on."""
    scene = Scene(tmp_path, slots, backend=MemoryBackend(flags))
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=State.TESTED)
    pending = scene.store.pending(NAME, entry.id)
    value = pending.get().value
    pending.promote()
    scene.engine.abort(entry.id)
    assert scene.finish(entry.id).state is State.DONE
    assert scene.value() == value
    assert scene.only_current_is_live()


def test_a_single_slot_is_not_given_up_while_it_accepts_the_pending_value(tmp_path: Path) -> None:
    """Set back, tested, and yet the target takes the new one: the value is kept, and a person asked."""

    class Both(OneSlot):
        def refuses(self, r: Rotation, value: SecretValue) -> bool:
            return value != r.pending and super().refuses(r, value)

    scene = Scene(tmp_path, rotator=Both)
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=State.CREATED)
    assert scene.engine.abort(entry.id).error == "UnavailableError (created)"
    assert scene.finish(entry.id).state is State.ORPHANED
    scene.store.pending(NAME, entry.id).get()


def test_what_was_superseded_is_due_at_once(tmp_path: Path) -> None:
    """What is current now was not rotated by its schedule."""
    scene = Scene(tmp_path, schedule=Schedule("rate(30 days)"))
    scene.engine.tick()
    entry = scene.engine.start(NAME)
    scene.store.put(NAME, scene.first_value)
    assert scene.engine.advance(entry.id).state is State.SUPERSEDED
    assert scene.ledger.next_due(secret_of(scene.policy)) == scene.clock.now()


def test_what_a_paused_worker_made_late_is_swept_at_the_end(tmp_path: Path) -> None:
    """Made after another had reclaimed, by one that then died: it bears this rotation, and a lower epoch."""
    scene = Scene(tmp_path, "two")
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=State.CREATED)
    scene.target.issue("late", credential("late"), entry.id, 0)
    assert scene.finish(entry.id).state is State.DONE
    assert scene.only_current_is_live()


def killed_once_it_holds_a_value(scene: Scene) -> Entry:
    """A rotation whose worker died between the put and the word to the ledger whose value that is."""
    entry, record = scene.engine.start(NAME), scene.ledger.record

    def dies(mine: Entry, state: State, **changes: Any) -> Entry:
        if "made" in (changes.get("facts") or {}):
            raise KeyboardInterrupt
        return record(mine, state, **changes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene.ledger, "record", dies)
        with pytest.raises(KeyboardInterrupt):
            scene.engine.advance(entry.id)
    scene.clock.advance(120)
    return entry


@pytest.mark.parametrize("flags", [ALL, COMPANION])
def test_what_was_made_late_is_swept_though_nobody_can_say_whose_value_is_held(
    tmp_path: Path, flags: Capability
) -> None:
    """The loser of a race made it, and both were killed: it may bear a higher epoch than the winner's."""
    scene = Scene(tmp_path, "two", backend=MemoryBackend(flags))
    entry = killed_once_it_holds_a_value(scene)
    for epoch in (0, 1):
        scene.target.issue(f"late-{epoch}", credential(f"late-{epoch}"), entry.id, epoch)
    assert scene.finish(entry.id).state is State.DONE
    assert scene.only_current_is_live()


def test_a_sweep_spares_what_was_promoted_though_a_person_has_put_another_value_since(tmp_path: Path) -> None:
    """Readers' caches may have it still; it is not this rotation's to end."""
    scene = Scene(tmp_path, "two")
    entry = killed_once_it_holds_a_value(scene)
    assert scene.engine.advance(entry.id).state is State.GRACE
    promoted = scene.value()
    scene.target.issue("by-hand", by_hand := credential("by-hand"))
    scene.store.put(NAME, by_hand)
    assert scene.finish(entry.id).state is State.DONE
    assert scene.target.live() == {identifier_of(promoted), "by-hand"}


def test_a_worker_that_was_overtaken_while_it_made_a_credential_takes_it_back(tmp_path: Path) -> None:
    """Nobody would find it: another makes its own."""
    scene = Scene(tmp_path, "two")
    entry = scene.engine.start(NAME)

    def fault(point: str) -> None:
        if point == "after:issue":
            overtake(scene, entry.id)

    scene.target.fault = fault
    assert scene.engine.advance(entry.id).state is State.STARTED
    assert len(scene.target.changes("issue")) == 2
    assert scene.target.live() == {"app"}


def test_a_rotation_whose_base_is_gone_makes_nothing(tmp_path: Path) -> None:
    """Somebody put a value before it began: the target is asked for no credential."""
    scene = Scene(tmp_path, "two")
    entry = scene.engine.start(NAME)
    scene.store.put(NAME, scene.first_value)
    assert scene.engine.advance(entry.id).state is State.SUPERSEDED
    assert len(scene.target.changes("issue")) == 1


def test_a_promote_that_met_a_write_in_flight_is_tried_again(tmp_path: Path) -> None:
    """A retryable conflict says that somebody is at it just now, not that another value became current."""
    backend = FaultyBackend(MemoryBackend())
    scene = Scene(tmp_path, "two", backend=backend)
    backend.plan(Fault("promote_pending", lambda: SecretConflictError("busy", retryable=True)))
    entry = scene.begin()
    assert (entry.state, entry.error) == (State.TESTED, "SecretConflictError (tested)")
    assert scene.finish(entry.id).state is State.DONE


def test_a_worker_that_was_overtaken_begins_no_hook(tmp_path: Path) -> None:
    """The ledger is asked right before each."""
    scene = Scene(tmp_path, "two")
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=State.SET)
    points: list[str] = []
    scene.target.fault = points.append

    class Overtaking(AuditHook):
        def before(self, event: AuditEvent) -> None:
            if event.operation == "rotation.test":
                overtake(scene, entry.id)

    assert scene.another([Overtaking()]).advance(entry.id).state is State.SET
    assert points == []


def test_a_rollback_over_another_value_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    """Somebody put a value meanwhile: the revoke of the old one is not cancelled."""
    scene = Scene(tmp_path, "two")
    entry = scene.begin()
    assert entry.version
    other = credential("other")
    scene.target.issue("other", other)
    scene.store.put(NAME, other)
    with pytest.raises(SecretConflictError, match="not the current version"):
        scene.engine.rollback(NAME, if_version=entry.version)
    assert scene.ledger.get(entry.id).state is State.GRACE


def test_a_person_who_decided_on_what_is_no_longer_so_is_told(tmp_path: Path) -> None:
    """Between the look and the abort a worker took the rotation: the person looks again."""
    scene = Scene(tmp_path, "two")
    entry = scene.engine.start(NAME)
    get = scene.ledger.get

    def outdated(rotation_id: str) -> Entry:
        found = get(rotation_id)
        scene.ledger.get = get  # type: ignore[method-assign]
        scene.ledger.claim(rotation_id)
        return found

    scene.ledger.get = outdated  # type: ignore[method-assign]
    with pytest.raises(OvertakenError):
        scene.engine.abort(entry.id)


def test_a_late_answer_is_held_where_a_companion_was_claimed_for_it(tmp_path: Path) -> None:
    """The deadline's alarm has moved the record on: the answer claims the companion anew."""
    scene = Scene(tmp_path, rotator=Human, backend=MemoryBackend(COMPANION))
    entry = scene.begin()
    scene.clock.advance(scene.policy.deadline.total_seconds())
    scene.engine.tick()
    brought = credential("brought")
    scene.target.issue("brought", brought)
    assert scene.engine.answer(entry.id, brought).state is State.GRACE
    assert scene.later(entry.id, timedelta(hours=2)).state is State.DONE
