"""A replica takes over: an epoch is given once, and who stops in the middle goes on with the same one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    UnavailableError,
)
from strongroom.names import Name
from strongroom.replication.plan import Report
from strongroom.replication.sheet import NO_TAKEOVER, Sheet
from strongroom.replication.takeover import LEASE_SECONDS, Claim, Takeover, resource
from strongroom.testing.faults import Killed, kill

from .core_support import NAME, text
from .replication_takeover_support import DOMAIN, Region, World


def test_a_lost_source_is_replaced() -> None:
    """The replica takes writes under the next epoch, and each of them is above all before."""
    world = World()
    world.lost(world.eu)
    taken = world.taken(world.us)
    assert (taken.sheet.epoch, taken.sheet.source, taken.before) == (2, "prod-us", "prod-eu")
    assert taken.fenced == ()
    assert list(taken.unreachable) == ["prod-eu"]
    world.us.put(NAME, "new")
    record = world.us.app.order.standing(Name(NAME)).record
    assert record
    assert record.order == (2, 2)
    assert world.operations[-1:] == ["replica.takeover"]


def test_before_a_takeover_a_replica_takes_no_writes() -> None:
    """Whoever turned the configuration around too early is told who the source is."""
    with pytest.raises(PermissionDeniedError, match="prod-eu is the source since epoch 1"):
        World().us.put(NAME, "early")


def test_a_source_that_answers_is_fenced_and_drained_first() -> None:
    """What it acknowledged up to the fence arrives, so that nothing diverges: going over on purpose."""
    world = World()
    world.eu.put(NAME, "last")
    taken = world.taken(world.us, drained_from=world.eu)
    assert taken.fenced == ("prod-eu",)
    assert world.us.holds(NAME, "last")
    with pytest.raises(PermissionDeniedError, match="prod-us is the source since epoch 2"):
        world.eu.put(NAME, "late")
    world.us.put(NAME, "new")
    world.sync(world.us, world.eu)
    assert world.us.report.names() == ()
    assert world.eu.holds(NAME, "new")


def test_what_is_written_between_the_first_sync_and_the_fence_is_brought_over() -> None:
    """Applications go on writing while a takeover begins."""
    world = World()
    replicator, calls = world.replicator(world.eu, world.us), []

    def drain() -> object:
        report = replicator.sync()
        calls.append(report)
        if len(calls) == 1:
            world.eu.put(NAME, "between")
        return report

    world.takeover(world.us).run(drain)  # type: ignore[arg-type]
    assert len(calls) == 2
    assert world.us.holds(NAME, "between")


def test_going_back_is_a_fresh_replication_and_another_takeover() -> None:
    """There and back again, under a third epoch; every region ends with the same value."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.us.put(NAME, "new")
    world.back(world.eu)
    world.sync(world.us, world.eu)
    taken = world.taken(world.eu, drained_from=world.us)
    assert (taken.sheet.epoch, taken.sheet.source) == (3, "prod-eu")
    world.eu.put(NAME, "home")
    world.sync(world.eu, world.us)
    world.sync(world.eu, world.dr)
    assert world.us.holds(NAME, "home")
    assert world.dr.holds(NAME, "home")
    assert world.eu.report.names() == ()
    with pytest.raises(PermissionDeniedError, match="prod-eu is the source since epoch 3"):
        world.us.put(NAME, "late")


def test_a_takeover_of_the_source_itself_changes_nothing() -> None:
    """A repeat is safe, whoever runs it."""
    world = World()
    first = world.taken(world.us)
    again = world.taken(world.us)
    assert (again.again, again.sheet) == (True, first.sheet)
    assert world.takeover(world.us).look().done


@pytest.mark.parametrize("where", ["coordinator", "fence", "sheet", "drain"])
@pytest.mark.parametrize("after", [False, True])
def test_who_is_killed_goes_on_with_the_same_takeover(where: str, after: bool) -> None:
    """Between any two steps: the repeat has the same id and epoch, and nobody else's takeover began."""
    world = World()
    victims = {"fence": (world.eu, 0), "sheet": (world.us, 0), "drain": (world.us, 0)}
    replicator = world.replicator(world.eu, world.us)
    drains: list[int] = []

    def drain() -> object:
        drains.append(1)
        if where == "drain" and len(drains) == 2:
            raise Killed
        return replicator.sync()

    if where == "coordinator":
        claimed = _killing(world, after)
    elif where != "drain":
        region, skip = victims[where]
        region.provider.fault("put", kill, skip=skip, after=after)
        claimed = True
    else:
        claimed = True
    with pytest.raises(Killed):
        world.takeover(world.us).run(drain)  # type: ignore[arg-type]
    world.clock.advance(LEASE_SECONDS + 1)
    before = world.coordinator.recorded(resource(DOMAIN))
    assert (before is not None) is claimed
    taken = world.takeover(world.us).run(replicator.sync)
    assert taken.sheet.epoch == 2
    if before:
        assert taken.sheet.takeover == Claim.parse(before).takeover
    world.us.put(NAME, "new")
    with pytest.raises(PermissionDeniedError):
        world.eu.put(NAME, "late")


def test_until_its_end_neither_store_takes_writes() -> None:
    """Two sources at once would acknowledge what the other does not have."""
    world = World()
    world.us.provider.fault("put", kill)
    with pytest.raises(Killed):
        world.taken(world.us)
    for region in (world.eu, world.us):
        with pytest.raises(PermissionDeniedError):
            region.put(NAME, "between")


def test_two_takeovers_at_once_are_one_after_the_other() -> None:
    """The coordinator's lease lets one in; the epoch that follows is another."""
    world = World()
    lease = world.coordinator.acquire(resource(DOMAIN), LEASE_SECONDS)
    assert lease
    with pytest.raises(SecretConflictError, match="under way") as caught:
        world.taken(world.us)
    assert caught.value.retryable
    world.coordinator.release(lease)
    assert world.taken(world.us).sheet.epoch == 2
    assert world.taken(world.dr).sheet.epoch == 3
    with pytest.raises(PermissionDeniedError, match="prod-dr is the source since epoch 3"):
        world.us.put(NAME, "late")


def test_who_was_suspended_past_its_lease_takes_itself_back() -> None:
    """It writes its sheet after another has taken over: it finds the later claim, and is fenced at once."""
    world = World()
    world.lost(world.eu)

    def meanwhile() -> None:
        world.clock.advance(LEASE_SECONDS + 1)
        world.us.provider.unreachable("get", times=1)
        world.taken(world.dr)

    world.us.provider.run("put", meanwhile)
    with pytest.raises(SecretConflictError, match="another takeover came first"):
        world.taken(world.us)
    with pytest.raises(PermissionDeniedError, match="prod-dr is the source since epoch 3"):
        world.us.put(NAME, "late")
    world.dr.put(NAME, "new")
    world.sync(world.dr, world.us)
    assert world.us.holds(NAME, "new")


def test_two_takeovers_of_one_epoch_stop_both() -> None:
    """Two coordinators that know nothing of each other gave one epoch twice: a person decides."""
    world = World()
    _split(world)
    for source, replica in ((world.us, world.dr), (world.dr, world.us)):
        with pytest.raises(SecretConflictError, match="two stores were made the source in epoch 2"):
            world.replicator(source, replica).sync()
    for region in (world.us, world.dr):
        with pytest.raises(PermissionDeniedError, match="neither takes writes"):
            region.put(NAME, "late")
    assert "replica.quarantine" in world.operations
    assert world.us.holds(NAME, "of us")
    assert world.dr.holds(NAME, "of dr")


def test_a_plan_over_a_split_changes_nothing() -> None:
    """It says what is wrong, and fences nobody."""
    world = World()
    _split(world)
    with pytest.raises(SecretConflictError, match="two stores"):
        world.replicator(world.us, world.dr).plan()
    assert not world.us.sheet.fenced
    assert not world.dr.sheet.fenced


@pytest.mark.parametrize("more", [0, 3])
def test_a_split_is_ended_by_a_takeover_and_keeps_what_the_other_wrote(more: int) -> None:
    """Both wrote in epoch 2: the other's writes are nobody else's, be their places lower or higher."""
    world = World()
    _split(world)
    for number in range(more):
        world.us.put(NAME, f"of us {number}")
    with pytest.raises(SecretConflictError):
        world.replicator(world.us, world.dr).sync()
    taken = world.takeover(world.us).run()
    assert taken.sheet.epoch == 3
    world.sync(world.us, world.dr)
    assert world.dr.holds(NAME, f"of us {more - 1}" if more else "of us")
    assert world.us.report.value(NAME).matches(text("of dr"))
    assert world.dr.sheet.apart == (2,)


def test_a_store_that_joins_late_has_the_line_and_stood_nowhere_apart() -> None:
    """It can take over in its turn; what sets its source apart from others is not its own."""
    world = World()
    _split(world)
    source = replace(world.us.sheet, apart=(2,))
    world.us.rewrite(source)
    fresh = Region("prod-new", world.clock)
    world.sync(world.us, fresh)
    assert fresh.sheet == replace(source, apart=())
    assert world.takeover(fresh).run().sheet.line == ((1, NO_TAKEOVER), (2, source.takeover))


def test_two_sources_that_meet_only_at_a_third_store_do_not_mix_there() -> None:
    """It follows the first that came; the other is refused and fenced, until a person decides."""
    world = World()
    _split(world)
    third = Region("prod-third", world.clock)
    world.sync(world.us, third)
    with pytest.raises(SecretConflictError, match="two stores were made the source in epoch 2"):
        world.replicator(world.dr, third).sync()
    assert third.holds(NAME, "of us")
    with pytest.raises(PermissionDeniedError, match="neither takes writes"):
        world.dr.put(NAME, "late")
    world.us.put(NAME, "more of us")
    world.sync(world.us, third)
    assert third.holds(NAME, "more of us")


def test_a_returning_source_with_the_old_configuration_is_fenced_and_copies_nothing() -> None:
    """Its own worker still replicates to what is the source now: it is refused, and stops writing too."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.us.put(NAME, "new")
    world.back(world.eu)
    world.eu.put(NAME, "lost")
    with pytest.raises(PermissionDeniedError, match="prod-us is the source since epoch 2"):
        world.replicator(world.eu, world.us).sync()
    assert world.us.holds(NAME, "new")
    assert world.eu.sheet.fenced
    with pytest.raises(PermissionDeniedError):
        world.eu.put(NAME, "more")
    world.sync(world.us, world.eu)
    assert world.us.report.value(NAME).matches(text("lost"))


def test_an_emptied_source_does_not_empty_its_replicas() -> None:
    """A store without a sheet is no source of one that has one."""
    world = World()
    empty = Region("prod-eu", world.clock)
    with pytest.raises(IntegrityError, match="tells nothing of epoch 1"):
        world.replicator(empty, world.us).sync()
    assert world.us.holds(NAME, "first")


def test_a_store_that_was_never_a_replica_cannot_take_over() -> None:
    """It has neither the secrets nor the digest key."""
    world = World()
    fresh = Region("prod-new", world.clock)
    with pytest.raises(InvalidRequestError, match="no replica yet"):
        world.takeover(fresh).run()
    assert world.coordinator.recorded(resource(DOMAIN)) is None


def test_a_takeover_is_above_every_epoch_that_anybody_knows() -> None:
    """The coordinator was lost with its region: the sheets that answer tell how far the epochs have come."""
    world = World()
    world.taken(world.us)
    world.taken(world.dr)
    world.coordinator = world.another_coordinator()
    assert world.taken(world.us).sheet.epoch == 4


def test_a_source_that_does_not_answer_stops_a_takeover_that_would_drain_it() -> None:
    """Nothing is decided then: whoever knows that it is lost says so."""
    world = World()
    world.lost(world.eu)
    with pytest.raises(UnavailableError):
        world.taken(world.us, drained_from=world.eu)
    assert world.coordinator.recorded(resource(DOMAIN)) is None
    assert world.us.sheet.source == "prod-eu"


def test_names_that_cannot_be_brought_over_stop_a_takeover_before_it_begins() -> None:
    """They would be lost to readers; a person sees to them first, or says that the source is lost."""
    world = World()
    world.eu.put(NAME, "second")
    world.us.provider.deny("put_pending")
    with pytest.raises(SecretConflictError, match="1 could not be brought over") as caught:
        world.taken(world.us, drained_from=world.eu)
    assert "db/password" in str(caught.value)
    assert world.coordinator.recorded(resource(DOMAIN)) is None


def test_a_provider_s_copies_are_detached_before_the_store_takes_writes() -> None:
    """Some that could not be detached stop it; the repeat goes on with the same takeover."""
    world = World()
    failed = {NAME: UnavailableError("throttled")}
    reports, sources = [Report(failed=failed), Report()], []

    def detach() -> Report:
        sources.append(world.us.sheet.source)
        return reports.pop(0)

    takeover = Takeover(
        world.us.member, world.coordinator, others=[world.eu.member], detach=detach, clock=world.clock
    )
    with pytest.raises(SecretConflictError, match="1 could not be detached: db/password"):
        takeover.run()
    assert world.eu.sheet.fenced
    taken = takeover.run()
    assert (taken.sheet.epoch, taken.sheet.source) == (2, "prod-us")
    assert sources == ["prod-eu", "prod-eu"]


def test_an_outlook_tells_what_would_happen_and_writes_nothing() -> None:
    """It is what a person confirms."""
    world = World()
    world.lost(world.eu)
    outlook = world.takeover(world.us).look()
    assert (outlook.member, outlook.source, outlook.epoch, outlook.becomes) == ("prod-us", "prod-eu", 1, 2)
    assert (outlook.resumes, outlook.done) == (False, False)
    assert list(outlook.unreachable) == ["prod-eu"]
    assert world.coordinator.recorded(resource(DOMAIN)) is None


def test_a_hook_that_refuses_keeps_a_takeover_from_beginning() -> None:
    """Nothing is recorded, and nobody fenced."""
    world = World()
    world.told.fails_before = PermissionDeniedError("no")
    with pytest.raises(PermissionDeniedError):
        world.takeover(world.us).run()
    assert world.coordinator.recorded(resource(DOMAIN)) is None


@pytest.mark.parametrize(
    "damage",
    ["", "{}", "[]", "null", '{"strongroom":"replication-takeover/1","epoch":0,"source":"a","takeover":"b"}'],
)
def test_a_damaged_record_of_the_coordinator_is_no_epoch(damage: str) -> None:
    """Beginning again at one would give epochs twice."""
    with pytest.raises(IntegrityError):
        Claim.parse(damage)
    claim = Claim(7, "prod-us", "0" * 32)
    assert Claim.parse(claim.text) == claim


def test_a_sheet_of_another_domain_is_refused() -> None:
    """A store has one domain: its values are bound to it."""
    world = World()
    world.us.rewrite(Sheet("other", 1, NO_TAKEOVER, "prod-eu"))
    for call in (world.takeover(world.us).run, world.replicator(world.eu, world.us).sync):
        with pytest.raises(InvalidRequestError, match="replicates domain other"):
            call()


def test_a_sheet_keeps_its_line() -> None:
    """Which takeovers a store has been through, and in which epochs it stood alone."""
    sheet = Sheet("prod", 3, "a" * 32, "prod-us", line=((1, NO_TAKEOVER), (2, "b" * 32)), apart=(2,))
    assert Sheet.parse(sheet.text) == sheet
    assert Sheet.parse(replace(sheet, line=(), apart=()).text).line == ()


def _killing(world: World, after: bool) -> bool:
    """Have the coordinator's record kill the caller, before it is written or after."""
    real = world.coordinator.record

    def record(*told: object) -> None:
        if after:
            real(*told)  # type: ignore[arg-type]
        world.coordinator.record = real  # type: ignore[method-assign]
        raise Killed

    world.coordinator.record = record  # type: ignore[method-assign, assignment]
    return after


def _split(world: World) -> None:
    """Two stores take over in one epoch, each by a coordinator of its own, and both write."""
    for region, other, label in ((world.us, world.dr, "of us"), (world.dr, world.us, "of dr")):
        world.lost(world.eu)
        world.lost(other)
        world.takeover(region, world.another_coordinator()).run()
        world.back(other)
        region.put(NAME, label)
