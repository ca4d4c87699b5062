"""A leaked value is cut off: replaced or marked unavailable, refused by its target, gone from caches."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.backend import Backend, Capability
from strongroom.cachepolicy import CachePolicy
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.memory import ALL, MemoryBackend
from strongroom.rotation.compromise import Compromise
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import OvertakenError, State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import Policy, secret_of
from strongroom.rotation.revocation_places import FilePlace
from strongroom.rotation.revocations import Revocations
from strongroom.rotation.rotator import Rotation, Rotator, Slots
from strongroom.rotation.rotators.human import HumanRotator
from strongroom.rotation.rotators.random_value import RandomRotator
from strongroom.rotation.timeline import Cut
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary
from tests.scale import NIGHTLY
from tests.unit.core_support import COMPANION, NAME, Recorder
from tests.unit.test_rotation_revocations import signer

REASON = "found in a public repository"
STORES = {"native": ALL, "companion": COMPANION}


class Target(Rotator):
    """Accepts what is in `live`, and for `deaf` more probes what is not; hooks fail as told by `broken`."""

    def __init__(self, slots: Slots = "two"):
        self.slots = slots  # type: ignore[misc]
        self.live: list[SecretValue] = []
        self.made: list[tuple[SecretValue, str, int]] = []
        self.broken: dict[str, Exception] = {}
        self.calls: list[str] = []
        self.deaf = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def create_secret(self, r: Rotation) -> SecretValue:
        self._called("create")
        made = SecretValue(f"{CANARY} {uuid.uuid4()}")
        if self.slots in ("two", "version"):
            self.live.append(made)
            self.made.append((made, r.id, r.epoch))
        return made

    def reclaim(self, r: Rotation) -> tuple[str, ...]:
        self._called("reclaim")
        for value, rotation_id, epoch in self.made:
            if rotation_id == r.id and epoch < r.epoch and value not in (r.current, r.pending):
                self.live = [one for one in self.live if one != value]
        return ()

    def set_secret(self, r: Rotation, pending: SecretValue) -> None:
        self._called("set")
        if self.slots == "single":
            self.live = [pending]

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        self._called("test")
        if value not in self.live:
            raise PermissionDeniedError(f"refused {CANARY}")

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        self._called("revoke")
        self.live = [value for value in self.live if value != previous]

    def refuses(self, r: Rotation, value: SecretValue) -> bool:
        self._called("refuses")
        self.deaf = max(0, self.deaf - 1)
        return value not in self.live and not self.deaf

    def _called(self, hook: str) -> None:
        self.calls.append(hook)
        self.meanwhile()
        if hook in self.broken:
            raise self.broken[hook]


class World:
    """One secret that is rotated, one store that reads it, and the means to revoke it."""

    def __init__(
        self,
        folder: Path,
        capabilities: Capability = ALL,
        rotator: Rotator | None = None,
        backend: Backend | None = None,
    ):
        self.clock, self.hook = FakeClock(), Recorder()
        self.backend = backend or MemoryBackend(capabilities, self.clock)
        self.store = self.open(CachePolicy(), self.hook)
        self.target = Target()
        self.rotator = rotator or self.target
        self.policy = Policy(NAME, self.store, self.rotator, attempts=3)
        self.ledger = MemoryLedger(self.clock)
        self.engine = Engine(self.ledger, [self.policy], clock=self.clock)
        self.revocations = Revocations(
            FilePlace(folder / "list"), domain="prod", signer=signer(folder), clock=self.clock
        )
        self.leaked = self.put("leaked")

    def open(self, cache: CachePolicy | None, *hooks: Recorder) -> SecretStore:
        return SecretStore(self.backend, alias="prod", cache=cache, clock=self.clock, hooks=hooks)

    def put(self, label: str) -> SecretValue:
        value = SecretValue(f"{CANARY} {label}")
        self.target.live.append(value)
        self.store.put(NAME, value)
        return value

    def compromise(self, patience: float = 60) -> Compromise:
        return Compromise(
            self.store,
            engine=self.engine,
            revocations=self.revocations,
            caches={"prod": CachePolicy()},
            hooks=[self.hook],
            patience=timedelta(seconds=patience),
            clock=self.clock,
        )

    def revoke(self, version: str | None = None) -> Cut:
        return self.compromise().revoke(NAME, reason=REASON, version=version)

    def current(self) -> SecretValue:
        return self.open(None).get(NAME).value

    def rotated_to(self, state: State) -> str:
        """The id of a rotation that has come so far; its worker holds the lease still."""
        entry = self.engine.start(NAME)
        while entry.state is not state:
            before = entry.state
            entry = self.engine.advance(entry.id)
            assert entry.state is not before, f"stuck at {entry.state}"
        return entry.id

    def open_rotations(self) -> list[State]:
        return [entry.state for entry in self.ledger.find(secret=secret_of(self.policy)) if entry.state.open]


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, STORES[request.param])


def readable(world: World, version: str) -> bool:
    try:
        world.open(None).get(NAME, version=version)
    except SecretNotFoundError:
        return False
    return True


def test_a_leaked_value_is_replaced_and_refused_everywhere(world: World) -> None:
    """A tested value is current, the target refuses the old one, no version id or rollback brings it back."""
    cut = world.revoke()
    assert cut.complete
    assert cut.refused
    assert not cut.unavailable
    assert world.current() != world.leaked
    assert world.target.live == [world.current()]
    assert not readable(world, cut.version)
    with pytest.raises(SecretNotFoundError):
        world.store.rollback(NAME, if_version=cut.replacement or "")
    with pytest.raises(SecretNotFoundError, match="repository"):
        world.revocations.check(NAME, cut.version)
    assert not world.open_rotations()


def test_the_audit_has_one_intent_and_one_outcome(world: World) -> None:
    """Of the revocation itself; its steps are told besides, by their own names, and none holds the value."""
    world.revoke()
    told = [event for event in world.hook.events if event.operation == "revoke"]
    assert [(event.phase, event.outcome) for event in told] == [("intent", None), ("outcome", "ok")]
    assert len({event.correlation_id for event in told}) == 1
    assert_no_canary(repr(world.hook.events))


def test_an_audit_that_refuses_keeps_everything_as_it_was(world: World) -> None:
    """The intent comes first: what cannot be recorded is not begun."""
    compromise = world.compromise()
    world.hook.fails_before = PermissionDeniedError("no")
    with pytest.raises(PermissionDeniedError):
        compromise.revoke(NAME, reason=REASON)
    world.hook.fails_before = None
    assert world.current() == world.leaked
    assert world.target.calls == []


def test_every_store_of_this_process_forgets_the_value_at_once(world: World) -> None:
    """Others too, which have read it into caches of their own."""
    other = world.open(CachePolicy())
    assert other.get(NAME).value == world.leaked
    world.revoke()
    assert other.get(NAME).value == world.current()


def test_other_processes_have_a_bound_that_is_printed(world: World) -> None:
    """Fresh and stale of the store they read by, from now on; replicas have the age of the list."""
    cut = world.revoke()
    replicas, readers = cut.bounds
    assert readers.until == world.clock.now() + timedelta(seconds=300 + 3300)
    assert "every 30 s" in readers.why
    assert replicas.who == "replicas and backups"
    assert cut.worst == replicas.until


def test_a_value_that_leaks_in_grace_loses_it(world: World) -> None:
    """The previous version is what leaked: its grace ends now, and the current one stays."""
    world.rotated_to(State.GRACE)
    current, previous = world.current(), next(v.id for v in world.store.versions(NAME)[1:])
    cut = world.revoke(version=previous)
    assert cut.complete
    assert cut.replacement == world.store.get(NAME).version
    assert world.current() == current
    assert world.target.live == [current]
    assert not world.open_rotations()


def test_an_older_value_that_leaks_leaves_the_grace_of_another_as_it_is(world: World) -> None:
    """It is neither the current value nor the one before it: who reads those goes on."""
    world.rotated_to(State.GRACE)
    world.clock.advance(7200)
    world.engine.tick()
    world.put("by hand")
    older = next(v.id for v in world.store.versions(NAME)[1:])
    world.rotated_to(State.GRACE)
    before = world.ledger.find(secret=secret_of(world.policy), states=[State.GRACE])[0]
    cut = world.revoke(version=older)
    [after] = world.ledger.find(secret=secret_of(world.policy), states=[State.GRACE])
    assert after.due == before.due
    assert not cut.failures
    assert len(world.target.live) == 2


@pytest.mark.parametrize("hook", ["create", "test", "revoke"])
def test_a_rotation_that_had_stopped_is_let_go_on(world: World, hook: str) -> None:
    """It waited for a person, and a person is here: before it promoted, or at its revoke."""
    world.target.broken[hook] = UnavailableError("down")
    leaked, entry = world.store.get(NAME).version, world.engine.start(NAME)
    while entry.state is not State.ORPHANED:
        entry = world.engine.advance(entry.id)
        world.clock.advance(3 * 3600)
    world.target.broken.clear()
    cut = world.revoke(version=leaked)
    assert cut.complete, cut.failures
    assert world.ledger.get(entry.id).state is State.DONE
    assert world.target.live == [world.current()]


def test_an_abort_that_had_begun_makes_room_for_another_rotation(world: World) -> None:
    """Its value is taken back as was asked, and the leaked one is replaced all the same."""
    entry = world.engine.start(NAME)
    world.target.broken["create"] = UnavailableError("down")
    world.engine.advance(entry.id)
    world.target.broken = {"reclaim": UnavailableError("down")}
    world.clock.advance(60)
    assert world.engine.abort(entry.id).state is State.STARTED
    world.target.broken.clear()
    cut = world.compromise(patience=300).revoke(NAME, reason=REASON)
    assert cut.complete, cut.failures
    assert world.ledger.get(entry.id).state is State.ABORTED
    assert world.target.live == [world.current()]


def test_a_person_keeps_the_time_that_was_given(tmp_path: Path) -> None:
    """Where another version leaked than the one that a rotation waits to replace."""
    world = World(tmp_path, ALL, HumanRotator())
    older = world.store.get(NAME).version
    world.put("by hand")
    entry = world.engine.advance(world.engine.start(NAME).id)
    world.revoke(version=older)
    after = world.ledger.get(entry.id)
    assert (after.state, after.due) == (State.WAITING, entry.due)


def test_a_new_value_that_leaks_while_the_old_is_in_grace_is_replaced(world: World) -> None:
    """The grace that would keep the next rotation from beginning is ended first, so neither works on."""
    world.rotated_to(State.GRACE)
    leaked = world.current()
    cut = world.revoke()
    assert cut.complete
    assert world.current() not in (leaked, world.leaked)
    assert world.target.live == [world.current()]


@pytest.mark.parametrize("state", ["create", "set", "test"])
def test_a_rotation_that_runs_is_taken_from_its_worker_and_finished(world: World, state: str) -> None:
    """In the middle of a hook: the worker is fenced, records nothing more, and one new value is made."""
    fenced: list[object] = []

    def meanwhile() -> None:
        if world.target.calls[-1] == state and not fenced:
            fenced.append(None)
            fenced.append(world.revoke())

    entry = world.engine.start(NAME)
    world.target.meanwhile = meanwhile
    ended = world.engine.advance(entry.id)
    cut = fenced[1]
    assert isinstance(cut, Cut)
    assert cut.complete, cut.failures
    assert ended.state is State.DONE
    assert world.current() != world.leaked
    assert world.leaked not in world.target.live
    assert world.current() in world.target.live


def test_a_worker_that_was_fenced_cannot_record(world: World) -> None:
    """Its epoch is not the ledger's any more."""
    entry = world.engine.start(NAME)
    claimed = world.ledger.claim(entry.id)
    assert claimed
    world.revoke()
    with pytest.raises(OvertakenError):
        world.ledger.record(claimed, State.CREATED)


@pytest.mark.parametrize("hook", ["create", "set", "test"])
def test_a_value_that_nothing_replaces_is_revoked_and_never_silently_old(world: World, hook: str) -> None:
    """The target refuses it, and readers are told that there is no such secret, not given the old one."""
    world.target.broken[hook] = UnavailableError(f"down {CANARY}")
    reader = world.open(CachePolicy())
    reader.get(NAME)
    cut = world.revoke()
    assert cut.unavailable
    assert cut.replacement is None
    assert cut.refused
    assert not cut.complete
    assert {moment.step for moment in cut.failures} == {"replace"}
    assert world.leaked not in world.target.live
    for store in (reader, world.store):
        with pytest.raises(SecretNotFoundError):
            store.get(NAME)
    assert_no_canary(repr(cut.document()))


def test_what_was_made_unavailable_comes_back_as_a_mark_and_then_as_a_new_value(world: World) -> None:
    """A restore brings back no leaked value: what was deleted is a mark, and a put follows it."""
    world.target.broken["create"] = UnavailableError("down")
    cut = world.revoke()
    world.store.restore(NAME)
    assert "strongroom-revoked" in world.current().reveal_text()
    assert not readable(world, cut.version)
    new = world.put("new")
    assert world.current() == new


def test_what_was_made_unavailable_is_finished_by_the_repeat(world: World) -> None:
    """The target was down for everything; then a restore makes the version readable, and a value follows."""
    world.target.broken = {hook: UnavailableError("down") for hook in ("create", "revoke", "refuses")}
    first = world.revoke()
    assert first.unavailable
    assert world.leaked in world.target.live
    world.target.broken = {}
    world.clock.advance(3600)
    world.store.restore(NAME)
    again = world.revoke(version=first.version)
    assert again.complete, again.failures
    assert world.target.live == [world.current()]
    assert not readable(world, first.version)
    assert not world.open_rotations()


def test_no_worker_goes_on_with_what_could_not_be_finished(world: World) -> None:
    """It waits for a person: a worker that finished it later would follow a value that is gone."""
    world.target.broken["test"] = UnavailableError("down")
    world.revoke()
    assert world.open_rotations() == [State.ORPHANED]
    calls = len(world.target.calls)
    world.clock.advance(3600)
    world.engine.tick()
    assert len(world.target.calls) == calls


def test_a_target_that_refuses_a_little_later_is_waited_for(world: World) -> None:
    """Deleted keys work on for some seconds; the revocation returns once they do not."""
    world.target.deaf = 4
    cut = world.revoke()
    assert cut.refused
    assert world.leaked not in world.target.live


def test_a_target_that_goes_on_accepting_is_said_so(world: World) -> None:
    """Not complete, the outcome is no success, and nothing claims that the value is refused."""
    world.target.deaf = 10**6
    cut = world.revoke()
    assert cut.refused is False
    assert not cut.complete
    assert "target" in {moment.step for moment in cut.failures}
    [outcome] = [event for event in world.hook.events if event.operation == "revoke" and event.outcome]
    assert outcome.outcome == "PartialFailureError"
    assert world.current() != world.leaked


def test_a_repeat_with_the_same_version_does_what_is_left(world: World) -> None:
    """The target was deaf; then it listens. The value that replaced the leaked one stays."""
    world.target.broken["revoke"] = UnavailableError("down")
    first = world.revoke()
    assert not first.complete
    assert readable(world, first.version)
    world.target.broken.clear()
    world.clock.advance(3600)
    current = world.current()
    again = world.revoke(version=first.version)
    assert again.complete, again.failures
    assert world.current() == current
    assert world.target.live == [current]
    assert not readable(world, first.version)


def test_a_single_slot_is_replaced_by_its_change(tmp_path: Path) -> None:
    """Setting the new value ends the old one; the probe shows it."""
    world = World(tmp_path, ALL, Target("single"))
    target = world.rotator
    assert isinstance(target, Target)
    target.live = [world.leaked]
    cut = world.revoke()
    assert cut.complete
    assert cut.refused
    assert target.live == [world.current()]


def test_a_single_slot_that_cannot_be_changed_is_told_to_a_person(tmp_path: Path) -> None:
    """Its target accepts nothing but the leaked value, and only a person can end that."""
    world = World(tmp_path, ALL, Target("single"))
    target = world.rotator
    assert isinstance(target, Target)
    target.live, target.deaf = [world.leaked], 10**6
    target.broken["set"] = UnavailableError("down")
    cut = world.revoke()
    assert cut.unavailable
    assert cut.refused is False
    assert {moment.step for moment in cut.failures} == {"replace", "target"}


def test_a_value_without_a_target_is_cut_off_by_the_store(tmp_path: Path) -> None:
    """Nothing can be asked, so nothing is claimed; the version is destroyed and in the list."""
    world = World(tmp_path, ALL, RandomRotator())
    cut = world.revoke()
    assert cut.complete
    assert cut.refused is None
    assert not readable(world, cut.version)


def test_a_key_that_leaks_is_ended_and_its_past_is_left_to_a_person(tmp_path: Path) -> None:
    """Nothing new is made with it; what it signed or encrypted before, no revocation can take back."""
    world = World(tmp_path, ALL, Target("version"))
    cut = world.revoke()
    assert cut.replacement
    assert not cut.failures
    assert not cut.complete
    assert any(bound.until is None and "encrypted anew" in bound.why for bound in cut.bounds)
    assert readable(world, cut.version)


def test_a_human_secret_is_unavailable_until_somebody_brings_another(tmp_path: Path) -> None:
    """Nobody can make a value, and only a person can end the old one; the rotation that waited is over."""
    world = World(tmp_path, ALL, HumanRotator())
    world.engine.advance(world.engine.start(NAME).id)
    cut = world.revoke()
    assert cut.unavailable
    assert not cut.complete
    assert ("the target", None) in [(bound.who, bound.until) for bound in cut.bounds]
    assert not world.open_rotations()


def test_a_secret_that_nothing_rotates_is_marked_unavailable(world: World) -> None:
    """A person must end it at its target, which the answer says."""
    cut = Compromise(world.store, clock=world.clock).revoke(NAME, reason=REASON)
    assert cut.unavailable
    assert not cut.complete
    assert [bound.who for bound in cut.bounds] == ["the target"]


def test_a_store_that_cannot_delete_keeps_a_mark_in_its_place(tmp_path: Path) -> None:
    """Readers get the mark, which no target accepts, and never the leaked value."""
    world = World(tmp_path, ALL & ~Capability.DELETE)
    world.target.broken["create"] = UnavailableError("down")
    cut = world.revoke()
    assert cut.unavailable
    assert "strongroom-revoked" in world.current().reveal_text()
    assert not readable(world, cut.version)


def test_a_list_that_cannot_be_signed_is_a_failure_of_its_own(world: World, tmp_path: Path) -> None:
    """The value is cut off all the same; replicas are not told, and the answer says so."""
    (tmp_path / "list").write_text("damaged")
    cut = world.revoke()
    assert {moment.step for moment in cut.failures} == {"list"}
    assert cut.refused
    assert world.current() != world.leaked


@pytest.mark.parametrize("reason", ["", "two\nlines"])
def test_a_reason_that_cannot_be_listed_is_refused_before_anything(world: World, reason: str) -> None:
    """Nothing was done."""
    with pytest.raises(InvalidRequestError):
        world.compromise().revoke(NAME, reason=reason)
    assert world.target.calls == []


def test_what_is_not_there_is_refused_before_anything(world: World) -> None:
    """Neither a missing secret, nor a missing version where there is no list, begins anything."""
    with pytest.raises(SecretNotFoundError):
        world.compromise().revoke("no/such", reason=REASON)
    unlisted = Compromise(world.store, engine=world.engine, clock=world.clock)
    with pytest.raises(SecretNotFoundError):
        unlisted.revoke(NAME, reason=REASON, version="no-such-version")
    assert world.target.calls == []


def test_a_version_that_cannot_be_read_any_more_is_listed_and_nothing_claimed(world: World) -> None:
    """A backup may have it still; whether its target refuses it, nobody can show from here."""
    cut = world.revoke(version="of-last-year")
    assert not cut.complete
    assert cut.refused is None
    with pytest.raises(SecretNotFoundError):
        world.revocations.check(NAME, "of-last-year")
    assert world.target.calls == []
    assert world.current() == world.leaked


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends the process at its nth effect: a hook of the target, or a write of the store, ledger or list."""

    def __init__(self, world: World, at: int, monkeypatch: pytest.MonkeyPatch):
        self.left = at
        world.target.meanwhile = self
        for owner, names in (
            (MemoryBackend, ("put", "put_pending", "promote_pending", "delete", "retire")),
            (MemoryLedger, ("begin", "move", "record", "release")),
            (Revocations, ("publish",)),
        ):
            for name in names:
                monkeypatch.setattr(owner, name, self.around(getattr(owner, name)))

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def around(self, method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            self()
            result = method(*args, **more)
            self()
            return result

        return call


def test_a_revocation_that_is_killed_anywhere_is_finished_by_its_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each effect, on both kinds of stores: then the leaked value works nowhere, one does.

    The repeat names the version, as the command prints it.
    """
    for kind, capabilities in STORES.items():
        at = 1
        while _killed(tmp_path / f"{kind}-{at}", capabilities, at, monkeypatch):
            at += 1 if NIGHTLY else 5
        assert at > 30


def _killed(folder: Path, capabilities: Capability, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the process was killed at its nth effect, before it was through."""
    folder.mkdir()
    world = World(folder, capabilities)
    leaked = world.store.get(NAME).version
    with monkeypatch.context() as patched:
        killer = Killer(world, at, patched)
        with suppress(Killed):
            world.revoke()
        world.target.meanwhile = lambda: None
    world.clock.advance(600)
    again = world.revoke(version=leaked)
    world.engine.tick()
    assert world.leaked not in world.target.live, at
    assert world.target.live == [world.current()], at
    assert not readable(world, leaked), at
    assert not world.open_rotations(), at
    assert again.complete or again.refused is None, (at, again.failures)
    with pytest.raises(SecretNotFoundError):
        world.revocations.check(NAME, leaked)
    return killer.left <= 0


def test_a_worker_in_a_hook_is_waited_for_before_another_rotation_begins(world: World) -> None:
    """The new value leaks in grace, under a worker that is taken over: two at once would both change it."""
    rotation_id = world.rotated_to(State.GRACE)
    world.clock.advance(3 * 3600)
    claimed = world.ledger.claim(rotation_id)
    assert claimed
    began = world.clock.monotonic()
    cut = world.compromise(patience=300).revoke(NAME, reason=REASON)
    assert cut.complete, cut.failures
    assert world.clock.monotonic() - began >= 60
