"""The engine: a rotation from start to end, and every way in which it does not get there at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Backend, Capability, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.memory import ALL, MemoryBackend
from strongroom.rotation.engine import Engine, Pass
from strongroom.rotation.ledger import InProgressError, State
from strongroom.rotation.rotator import Rotation, Slots, WaitingForHumanError
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary
from tests.rotation_scene import NAME, Scene
from tests.rotation_target import OneSlot, TwoSlots, credential, identifier_of, no_fault

BACKENDS = {"native": ALL, "companion": ALL & ~Capability.NATIVE_PENDING}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return MemoryBackend(BACKENDS[request.param])


@pytest.fixture(params=["single", "two"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, backend: Backend) -> Scene:
    return Scene(tmp_path, request.param, backend=backend)


def test_a_rotation_promotes_a_proved_value_and_then_ends_the_old_one(scene: Scene) -> None:
    """From start to end: one new value, accepted; the old one refused and its version retired."""
    old = scene.value()
    entry = scene.finish(scene.engine.start(NAME).id)
    assert entry.state is State.DONE
    assert scene.value() != old
    assert scene.only_current_is_live()
    assert not scene.target.accepts(old)
    assert entry.version == scene.store.get(NAME).version
    with pytest.raises(Exception, match="no such version"):
        scene.store.get(NAME, version=scene.first.id)


def test_both_credentials_work_until_the_grace_is_over(tmp_path: Path) -> None:
    """Two slots: what readers may still have in their caches is accepted for the whole grace."""
    scene = Scene(tmp_path, "two")
    old = scene.value()
    entry = scene.begin()
    assert entry.state is State.GRACE
    assert scene.later(entry.id, timedelta(hours=1, minutes=59)).state is State.GRACE
    assert scene.target.accepts(old)
    assert scene.store.get(NAME, stage=Stage.PREVIOUS).value == old
    assert scene.later(entry.id, timedelta(minutes=1)).state is State.DONE
    assert not scene.target.accepts(old)


class Human(TwoSlots):
    """Somebody brings the value."""

    slots: ClassVar[Slots] = "human"

    def issue(self, r: Rotation) -> SecretValue:
        raise WaitingForHumanError("bring one")


class Trouble:
    """Raises at named points, so many times each."""

    def __init__(self, **times: int):
        self.left = {point.replace("_", ":"): count for point, count in times.items()}

    def __call__(self, point: str) -> None:
        if self.left.get(point, 0) > 0:
            self.left[point] -= 1
            raise RuntimeError(CANARY)


@pytest.mark.parametrize("point", ["before:change", "after:change", "at:login"])
def test_a_step_that_failed_is_tried_again_with_the_same_value(tmp_path: Path, point: str) -> None:
    """A target that was down is asked again, later, under the same rotation and pending value."""
    scene = Scene(tmp_path, "single", fault=Trouble(**{point.replace(":", "_"): 3}))
    entry = scene.begin()
    assert entry.error is not None
    assert entry.error.startswith("RuntimeError in ")
    assert entry.attempts == 1
    pending = scene.store.pending(NAME, entry.id).get().value
    assert scene.finish(entry.id).state is State.DONE
    assert scene.value() == pending
    assert scene.only_current_is_live()


def test_an_attempt_waits_as_long_as_the_record_says(tmp_path: Path) -> None:
    """Whoever calls in a loop does not use up the attempts: too early changes nothing."""
    scene = Scene(tmp_path, "single", fault=Trouble(before_change=1))
    entry = scene.begin()
    assert scene.engine.advance(entry.id) == entry
    assert scene.later(entry.id, timedelta(seconds=10)).state is not entry.state


@pytest.mark.parametrize(
    ("changed", "goes_on"), [({}, False), ({"attempts": 5}, True), ({"options": "b"}, True)]
)
def test_who_mends_the_policy_need_not_wait_for_the_next_attempt(
    tmp_path: Path, changed: dict[str, Any], goes_on: bool
) -> None:
    """Back-off counts failures of the policy as it was; the same policy in a new process waits on."""
    scene = Scene(tmp_path, "single", fault=Trouble(before_change=1), options="a")
    entry = scene.begin()
    scene.policy = replace(scene.policy, **changed)
    (now,) = scene.another().tick().advanced or [entry]
    assert (now.state is not entry.state, now.attempts == 0) == (goes_on, goes_on)


def test_a_changed_policy_neither_ends_a_grace_nor_moves_an_orphan(tmp_path: Path) -> None:
    """The one waits for readers, the other for a person."""
    scene = Scene(tmp_path)
    entry = scene.engine.advance(scene.engine.start(NAME).id)
    assert entry.state is State.GRACE
    scene.policy = replace(scene.policy, options="b")
    assert scene.another().tick().advanced == ()
    assert scene.engine.ledger.get(entry.id).due == entry.due


def test_after_bounded_attempts_automation_stops_and_the_old_value_stays(scene: Scene) -> None:
    """A target that refuses everything new: ORPHANED, told to the audit, and readers are where they were."""
    scene.target.fault = Trouble(at_login=999)
    old = scene.value()
    entry = scene.finish(scene.engine.start(NAME).id)
    assert entry.state is State.ORPHANED
    assert entry.attempts == scene.policy.attempts
    assert "rotation.orphaned" in scene.heard.operations()
    assert scene.value() == old
    assert scene.engine.tick() == Pass()
    with pytest.raises(InProgressError):
        scene.engine.start(NAME)


def test_an_orphaned_rotation_goes_on_where_it_was_when_a_person_resumes_it(scene: Scene) -> None:
    """The same rotation, the same pending value, to the end."""
    scene.target.fault = Trouble(at_login=999)
    entry = scene.finish(scene.engine.start(NAME).id)
    scene.target.fault = no_fault
    pending = scene.store.pending(NAME, entry.id).get().value
    assert scene.engine.resume(entry.id).state in (State.GRACE, State.DONE)
    assert scene.finish(entry.id).state is State.DONE
    assert scene.value() == pending
    assert scene.only_current_is_live()


@pytest.mark.parametrize("until", [State.STARTED, State.CREATED, State.SET, State.TESTED])
def test_an_abort_leaves_the_target_and_the_store_as_they_were(scene: Scene, until: State) -> None:
    """At every step before promote: current works, nothing else does, and the next rotation begins."""
    old, entry = scene.value(), scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=until)
    assert scene.engine.abort(entry.id).state is State.ABORTED
    assert scene.value() == old
    assert scene.only_current_is_live()
    with pytest.raises(SecretNotFoundError):
        scene.store.pending(NAME, entry.id).get()
    assert scene.finish(scene.engine.start(NAME).id).state is State.DONE
    assert scene.only_current_is_live()


def test_an_abort_waits_until_the_worker_it_took_it_from_has_stopped(tmp_path: Path) -> None:
    """What a paused hook still sets must be set back afterwards, so nothing happens before it has ended."""
    scene = Scene(tmp_path, "single")
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=State.SET)
    claimed = scene.ledger.claim(entry.id)
    assert claimed
    assert scene.engine.abort(entry.id).state is State.SET
    assert not scene.works()  # the target is on the pending value: that is what the abort is to set back
    assert scene.finish(entry.id).state is State.ABORTED
    assert scene.only_current_is_live()


def test_a_promoted_rotation_is_rolled_back_not_aborted(tmp_path: Path) -> None:
    """Its value is current: an abort would take from readers what they use."""
    scene = Scene(tmp_path, "two")
    entry = scene.begin()
    with pytest.raises(SecretConflictError, match="roll it back"):
        scene.engine.abort(entry.id)
    old = scene.store.get(NAME, stage=Stage.PREVIOUS).value
    assert entry.version
    scene.engine.rollback(NAME, if_version=entry.version)
    assert scene.value() == old
    assert scene.works()
    assert scene.later(entry.id).state is State.ROLLED_BACK
    assert scene.works()


def test_after_a_rollback_the_next_rotation_ends_the_credential_that_nobody_wants(tmp_path: Path) -> None:
    """Not before readers have had its grace to leave it; a target that has room for two would be full."""
    scene = Scene(tmp_path, "two")
    entry, bad = scene.begin(), scene.value()
    assert entry.version
    scene.clock.advance(3600)
    scene.engine.rollback(NAME, if_version=entry.version)
    following = scene.begin()
    assert (following.state, following.due - scene.clock.now()) == (State.STARTED, scene.policy.grace)
    assert scene.target.accepts(bad)
    assert scene.later(following.id).state is State.GRACE
    assert not scene.target.accepts(bad)
    assert scene.works()
    assert scene.finish(following.id).state is State.DONE
    assert scene.only_current_is_live()


def test_a_rollback_is_refused_once_the_revoke_has_begun(tmp_path: Path) -> None:
    """The ledger decides: what is being revoked never becomes current again."""
    scene = Scene(tmp_path, "two")
    entry = scene.begin()
    assert entry.version
    done = scene.later(entry.id)
    assert done.state is State.DONE
    with pytest.raises(SecretConflictError):
        scene.engine.rollback(NAME, if_version=entry.version)
    assert scene.only_current_is_live()


def test_a_rollback_that_stopped_half_way_is_finished_by_repeating_it(tmp_path: Path) -> None:
    """The ledger says ROLLED_BACK, the store not yet: the same call again writes the value."""
    scene = Scene(tmp_path, "two")
    old, entry = scene.value(), scene.begin()
    scene.ledger.move(entry.id, [State.GRACE], State.ROLLED_BACK)
    assert entry.version
    scene.engine.rollback(NAME, if_version=entry.version)
    assert scene.value() == old


@pytest.mark.parametrize("until", [State.STARTED, State.CREATED, State.SET, State.TESTED])
def test_a_value_put_by_hand_supersedes_the_rotation(scene: Scene, until: State) -> None:
    """What somebody put meanwhile stays current; nothing of the rotation is left at the target."""
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=until)
    mine = scene.store.put(NAME, scene.first_value)
    assert scene.finish(entry.id).state is State.SUPERSEDED
    assert scene.store.get(NAME).version == mine.id
    assert scene.only_current_is_live()
    assert scene.finish(scene.engine.start(NAME).id).state is State.DONE


def test_a_value_that_the_target_will_not_have_is_replaced(tmp_path: Path, backend: Backend) -> None:
    """Twice rejected, then accepted: the third value is current, and neither of the others anywhere."""
    answers = iter([True, True])
    scene = Scene(
        tmp_path, backend=backend, rotator=lambda target: OneSlot(target, lambda: next(answers, False))
    )
    entry = scene.finish(scene.engine.start(NAME).id)
    assert entry.state is State.DONE
    assert entry.replaced == 2
    assert scene.only_current_is_live()
    assert len(scene.target.changes("change")) == 1


def test_a_target_that_rejects_every_value_orphans_the_rotation(tmp_path: Path, backend: Backend) -> None:
    """After the policy's `replaces` it is no bad luck any more; the old value works on."""
    scene = Scene(tmp_path, backend=backend, rotator=lambda target: OneSlot(target, lambda: True))
    entry = scene.finish(scene.engine.start(NAME).id)
    assert (entry.state, entry.replaced) == (State.ORPHANED, scene.policy.replaces)
    assert scene.only_current_is_live()


def test_a_value_is_not_thrown_away_while_the_target_may_be_on_it(tmp_path: Path) -> None:
    """It says that it rejects the value, and yet accepts it: no other value is made."""

    class Lying(OneSlot):
        def change(self, r: Rotation, session: Any, pending: SecretValue) -> None:
            super().change(r, session, pending)
            raise InvalidRequestError("rejected")

        def set_secret(self, r: Rotation, pending: SecretValue) -> None:
            if pending == r.current:
                raise RuntimeError("down")
            super().set_secret(r, pending)

    scene = Scene(tmp_path, rotator=Lying)
    entry = scene.finish(scene.engine.start(NAME).id)
    assert (entry.state, entry.replaced) == (State.ORPHANED, 0)
    assert scene.target.accepts(scene.store.pending(NAME, entry.id).get().value)


def test_a_person_may_have_another_value_made(tmp_path: Path) -> None:
    """`resume(new_value=True)`: the pending value is discarded, after the proof, and another one promoted."""
    scene = Scene(tmp_path, "single", fault=Trouble(before_change=999))
    entry = scene.finish(scene.engine.start(NAME).id)
    stuck = scene.store.pending(NAME, entry.id).get().value
    scene.target.fault = no_fault
    scene.engine.resume(entry.id, new_value=True)
    assert scene.finish(entry.id).state is State.DONE
    assert scene.value() != stuck
    assert scene.only_current_is_live()


def test_a_pending_value_that_is_gone_stops_the_rotation_without_a_third_value(tmp_path: Path) -> None:
    """Somebody discarded it after it was set: no new value is made up; an abort sets the target back."""
    scene = Scene(tmp_path, "two")
    entry = scene.engine.start(NAME)
    scene.engine.advance(entry.id, until=State.SET)
    scene.store.pending(NAME, entry.id).discard()
    assert scene.finish(entry.id).state is State.ORPHANED
    assert len(scene.target.changes("issue")) == 2
    assert scene.engine.abort(entry.id).state is State.ABORTED
    assert scene.only_current_is_live()


def test_nothing_is_promoted_that_the_target_refuses(tmp_path: Path) -> None:
    """It took the new value, and refuses the login: what is current stays current."""

    class Refusing(TwoSlots):
        def test_secret(self, r: Rotation, value: SecretValue) -> None:
            if r.pending == value:
                raise PermissionDeniedError("refused")
            super().test_secret(r, value)

    scene = Scene(tmp_path, rotator=Refusing)
    old = scene.value()
    entry = scene.finish(scene.engine.start(NAME).id)
    assert (entry.state, entry.proved) == (State.ORPHANED, State.SET)
    assert entry.error == "PermissionDeniedError in test_secret (set)"
    assert scene.value() == old


def test_the_old_credential_is_not_revoked_while_the_new_one_is_refused(tmp_path: Path) -> None:
    """At the end of grace the current value is tried first: two dead credentials would be an outage."""
    scene = Scene(tmp_path, "two")
    old, entry = scene.value(), scene.begin()
    scene.target.withdraw(identifier_of(scene.value()))
    assert scene.finish(entry.id).state is State.ORPHANED
    assert scene.target.accepts(old)


def test_what_was_put_back_by_hand_is_not_revoked(tmp_path: Path) -> None:
    """Somebody put the old value again during grace: it is in use, so the rotation was rolled back."""
    scene = Scene(tmp_path, "two")
    entry = scene.begin()
    scene.store.put(NAME, scene.first_value)
    assert scene.later(entry.id).state is State.ROLLED_BACK
    assert scene.works()


def test_a_revoke_that_the_target_did_not_do_is_not_done(tmp_path: Path) -> None:
    """It says yes and accepts the old one still: the negative probe finds it, and it is tried again."""

    class Forgetful(TwoSlots):
        forgets = 2

        def withdraw(self, r: Rotation, credential: str) -> None:
            Forgetful.forgets -= 1
            if Forgetful.forgets < 0:
                super().withdraw(r, credential)

    scene = Scene(tmp_path, rotator=Forgetful)
    entry = scene.begin()
    entry = scene.later(entry.id)
    assert (entry.state, entry.error) == (State.REVOKING, "UnavailableError (revoking)")
    assert scene.finish(entry.id).state is State.DONE
    assert scene.only_current_is_live()


def test_strangers_at_the_target_are_told_and_left_alone(tmp_path: Path) -> None:
    """A credential of nobody we know may be in use by somebody."""
    scene = Scene(tmp_path, "two")
    scene.target.issue("theirs", credential("theirs"))
    entry = scene.finish(scene.engine.start(NAME).id)
    assert entry.facts
    assert entry.facts["strangers"] == "theirs"
    assert "theirs" in scene.target.live()
    assert "rotation.strangers" in scene.heard.operations()


def test_the_audit_hears_of_every_step_under_the_rotation_id(tmp_path: Path) -> None:
    """From start to done; and the revoke names the version that it ended."""
    scene = Scene(tmp_path, "two")
    entry = scene.finish(scene.engine.start(NAME).id)
    steps = ["start", "create", "set", "test", "test", "promote", "revoke", "done"]
    assert scene.heard.operations() == [f"rotation.{step}" for step in steps]
    assert {event.rotation_id for event in scene.heard.events} == {entry.id}
    revoke = next(event for event in scene.heard.events if event.operation == "rotation.revoke")
    assert (revoke.store, revoke.name, revoke.version) == ("prod", NAME, scene.first.id)


def test_a_hook_that_refuses_stops_the_step_before_it_begins(tmp_path: Path) -> None:
    """An audit that cannot record keeps the target as it is."""

    class Full(AuditHook):
        def before(self, event: AuditEvent) -> None:
            if event.operation == "rotation.set":
                raise UnavailableError("disk full")

    scene = Scene(tmp_path, "single", hooks=[Full()])
    entry = scene.begin()
    assert (entry.state, entry.error) == (State.CREATED, "UnavailableError (created)")
    assert scene.target.changes("change") == []


def test_the_same_rotation_id_is_one_rotation(scene: Scene) -> None:
    """Started again, also after its end: what became of it, and nothing new at the target."""
    rotation_id = scene.engine.start(NAME).id
    done = scene.finish(rotation_id)
    changes = scene.target.changes()
    assert scene.engine.start(NAME, rotation_id=rotation_id) == done
    assert scene.engine.advance(rotation_id) == done
    assert scene.target.changes() == changes


def test_a_hook_longer_than_its_workers_lease_is_refused_at_once(tmp_path: Path) -> None:
    """Another worker would be at the target at the same time."""

    class Slow(TwoSlots):
        hook_seconds = 60.0

    with pytest.raises(InvalidRequestError, match="hook_seconds below 60"):
        Scene(tmp_path, rotator=Slow)


def test_no_error_record_or_event_holds_what_a_hook_raised(tmp_path: Path) -> None:
    """A driver's message may quote the password: only the class is kept."""
    scene = Scene(tmp_path, "single", fault=Trouble(at_login=2))
    entry = scene.begin()
    assert_no_canary(repr(entry), repr(scene.heard.events))


def test_a_person_answers_a_human_rotation(tmp_path: Path) -> None:
    """It waits, whoever calls; the value that is brought is tested and promoted like any other."""
    scene = Scene(tmp_path, rotator=Human)
    entry = scene.begin()
    assert entry.state is State.WAITING
    assert scene.engine.advance(entry.id) == entry
    brought = credential("brought")
    with pytest.raises(InvalidRequestError, match="current value"):
        scene.engine.answer(entry.id, scene.value())
    scene.target.issue("brought", brought)
    assert scene.engine.answer(entry.id, brought).state is State.GRACE
    assert scene.value() == brought


def test_a_person_who_is_late_is_told_of_and_may_still_answer(tmp_path: Path) -> None:
    """Past the deadline the rotation is ORPHANED: an alarm, not the end."""
    scene = Scene(tmp_path, rotator=Human)
    entry = scene.begin()
    scene.clock.advance(scene.policy.deadline.total_seconds())
    assert [late.id for late in scene.engine.tick().overdue] == [entry.id]
    assert scene.heard.operations()[-2:] == ["rotation.overdue", "rotation.orphaned"]
    brought = credential("brought")
    scene.target.issue("brought", brought)
    assert scene.engine.answer(entry.id, brought).state is State.GRACE


def test_a_human_rotation_can_be_aborted_while_it_waits(tmp_path: Path) -> None:
    """Nothing was asked of the target."""
    scene = Scene(tmp_path, rotator=Human)
    entry = scene.begin()
    assert scene.engine.abort(entry.id).state is State.ABORTED
    assert scene.only_current_is_live()


def test_a_record_names_the_worker_that_wrote_it_last(tmp_path: Path) -> None:
    """For the person who looks where a rotation hangs."""
    scene = Scene(tmp_path, "two")
    engine = Engine(scene.ledger, [scene.policy], clock=scene.clock, owner="host-1 4711")
    entry = engine.advance(engine.start(NAME).id)
    assert entry.facts
    assert entry.facts["worker"] == "host-1 4711"
