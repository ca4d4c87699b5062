"""What every ledger promises, unhappy cases first. A class has the fixtures `make` and `clock` besides."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from strongroom.errors import InvalidRequestError, SecretNotFoundError
from strongroom.rotation.ledger import (
    BY_HAND,
    CLOSED,
    LEASE_LIMIT,
    LEASE_SECONDS,
    Entry,
    InProgressError,
    Known,
    Ledger,
    OvertakenError,
    State,
)
from strongroom.rotation.ledgerrules import FACTS_LIMIT, HOOK_LIMIT, TEXT_LIMIT
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.canary import CANARY

SECRET = "prod:db/password"
OTHER = "prod:exchange/key"
HOUR = timedelta(hours=1)
OPEN = [state for state in State if state.open]
WRONG: list[dict[str, Any]] = [
    {"facts": {"password": SecretValue(CANARY)}},
    {"facts": dict.fromkeys(map(str, range(FACTS_LIMIT + 1)), "x")},
    {"facts": {"x": "x" * (TEXT_LIMIT + 1)}},
    {"error": "x" * (TEXT_LIMIT + 1)},
    {"version": SecretValue(CANARY)},
]
Make = Callable[[], Ledger]


def new_id() -> str:
    """A rotation id."""
    return str(uuid.uuid4())


def begun(ledger: Ledger, secret: str = SECRET) -> Entry:
    """A rotation that was begun now."""
    return ledger.begin(new_id(), secret, base="version-1")


def claimed(ledger: Ledger, entry: Entry) -> Entry:
    """A rotation that is taken over, which must succeed."""
    claim = ledger.claim(entry.id)
    assert claim is not None
    assert claim.lease_until is not None
    return claim


def at(ledger: Ledger, state: State, secret: str = SECRET) -> Entry:
    """A claimed rotation in a state."""
    return ledger.record(claimed(ledger, begun(ledger, secret)), state)


def closed(ledger: Ledger, secret: str = SECRET, state: State = State.DONE) -> Entry:
    """A rotation that is over."""
    return ledger.record(at(ledger, State.PROMOTED, secret), state)


class LedgerConformance:
    """One ledger."""

    def test_a_record_is_what_was_begun(self, make: Make, clock: FakeClock) -> None:
        """STARTED, free, due at once, epoch 0, and in another process the same."""
        ledger = make()
        tick = datetime(2026, 1, 1, tzinfo=UTC)
        ledger.plan(SECRET, tick, expected=None)
        entry = ledger.begin(new_id(), SECRET, base="version-1", tick=tick, next_due=tick + HOUR)
        now = clock.now()
        assert entry == Entry(entry.id, SECRET, State.STARTED, 0, now, now, now, base="version-1", tick=tick)
        assert make().get(entry.id) == entry
        assert make().next_due(SECRET) == tick + HOUR

    def test_a_rotation_begins_once_per_id(self, make: Make) -> None:
        """A repeated event finds the record as it is by then, also once it is over."""
        ledger = make()
        first = begun(ledger)
        moved = ledger.record(claimed(ledger, first), State.CREATED)
        assert make().begin(first.id, SECRET, base="version-2") == moved
        ledger.record(moved, State.ABORTED)
        assert ledger.begin(first.id, SECRET, base=None).state is State.ABORTED
        assert len(ledger.find()) == 1

    def test_a_rotation_id_belongs_to_one_secret(self, make: Make) -> None:
        """Whoever uses it for another is told."""
        ledger = make()
        entry = begun(ledger)
        with pytest.raises(InvalidRequestError, match="another secret"):
            ledger.begin(entry.id, OTHER, base=None)

    def test_one_rotation_of_a_secret_is_open(self, make: Make) -> None:
        """Whatever the first waits for; another secret's begins."""
        ledger = make()
        for state in OPEN:
            first = at(ledger, state, f"prod:{state.value}")
            with pytest.raises(InProgressError) as caught:
                begun(make(), f"prod:{state.value}")
            assert caught.value.rotation_id == first.id
        assert len(ledger.find()) == len(OPEN)

    def test_one_that_is_over_lets_the_next_begin(self, make: Make) -> None:
        """Its worker said so itself: nobody is in a hook."""
        ledger = make()
        for state in CLOSED:
            assert closed(ledger, state=state).lease_until is None
        assert begun(ledger).state is State.STARTED

    def test_a_tick_is_begun_once(self, make: Make, clock: FakeClock) -> None:
        """Two workers see that it is due; the second is told that it was begun, and can begin nothing."""
        one, two = make(), make()
        tick = clock.now()
        assert one.plan(SECRET, tick, expected=None)
        first = one.begin(new_id(), SECRET, base=None, tick=tick, next_due=tick + HOUR)
        with pytest.raises(OvertakenError):
            two.begin(new_id(), SECRET, base=None, tick=tick, next_due=tick + HOUR)
        one.record(claimed(one, first), State.ABORTED)
        with pytest.raises(OvertakenError):
            two.begin(new_id(), SECRET, base=None, tick=tick, next_due=tick + HOUR)

    def test_a_start_that_fails_leaves_the_schedule_alone(self, make: Make, clock: FakeClock) -> None:
        """The tick stays due."""
        ledger, tick = make(), clock.now()
        ledger.plan(SECRET, tick, expected=None)
        begun(ledger)
        with pytest.raises(InProgressError):
            ledger.begin(new_id(), SECRET, base=None, tick=tick, next_due=tick + HOUR)
        assert ledger.next_due(SECRET) == tick

    def test_one_worker_has_a_rotation_until_its_lease_ends(self, make: Make, clock: FakeClock) -> None:
        """Then another takes it over, under a higher epoch."""
        one, two = make(), make()
        entry = begun(one)
        first = claimed(one, entry)
        assert first.lease_until == clock.now() + timedelta(seconds=LEASE_SECONDS)
        assert two.claim(entry.id) is None
        clock.advance(LEASE_SECONDS - 0.001)
        assert two.claim(entry.id) is None
        clock.advance(0.001)
        assert claimed(two, entry).epoch == first.epoch + 1

    def test_a_worker_that_was_overtaken_changes_nothing(self, make: Make, clock: FakeClock) -> None:
        """It slept past its lease and wakes: every call but the release says so, and the record stays."""
        ledger = make()
        asleep = claimed(ledger, begun(ledger))
        clock.advance(LEASE_SECONDS)
        taken = claimed(make(), asleep)
        for call in (
            partial(ledger.renew, asleep),
            partial(ledger.record, asleep, State.CREATED),
            partial(ledger.record, asleep, asleep.state, attempts=3),
        ):
            with pytest.raises(OvertakenError):
                call()
        ledger.release(asleep, attempts=9)
        assert ledger.get(asleep.id) == taken

    def test_a_worker_that_was_late_and_not_overtaken_goes_on(self, make: Make, clock: FakeClock) -> None:
        """Nobody took it: what it did is recorded, and its lease renewed."""
        ledger = make()
        late = claimed(ledger, begun(ledger))
        clock.advance(10 * LEASE_SECONDS)
        late = ledger.record(ledger.renew(late), State.CREATED)
        assert make().claim(late.id) is None

    def test_a_renewal_lengthens_the_lease_and_never_cuts_it(self, make: Make, clock: FakeClock) -> None:
        """By a minute from now, whoever else wants it."""
        ledger = make()
        entry = ledger.claim(begun(ledger).id, 300)
        assert entry
        assert ledger.renew(entry, 1).lease_until == entry.lease_until
        clock.advance(290)
        assert ledger.renew(entry).lease_until == clock.now() + timedelta(seconds=LEASE_SECONDS)
        clock.advance(30)
        assert make().claim(entry.id) is None

    def test_a_lease_has_a_limit(self, make: Make) -> None:
        """What a dead worker had must become free."""
        ledger = make()
        entry = begun(ledger)
        for seconds in (0.0, -1.0, LEASE_LIMIT + 1, float("nan")):
            with pytest.raises(InvalidRequestError):
                ledger.claim(entry.id, seconds)
        assert ledger.get(entry.id) == entry

    def test_a_record_moves_from_the_state_that_its_worker_knows(self, make: Make) -> None:
        """Two threads of one worker under one claim: the slower one is refused."""
        ledger = make()
        entry = claimed(ledger, begun(ledger))
        ledger.record(ledger.record(entry, State.CREATED), State.SET)
        with pytest.raises(OvertakenError):
            ledger.record(entry, State.CREATED)
        assert ledger.get(entry.id).state is State.SET

    def test_what_was_recorded_may_be_recorded_again(self, make: Make) -> None:
        """Its answer was lost, also when it closed the rotation."""
        ledger = make()
        entry = claimed(ledger, begun(ledger))
        assert ledger.record(entry, State.CREATED, version="v") == ledger.record(
            entry, State.CREATED, version="v"
        )
        revoking = ledger.record(ledger.get(entry.id), State.REVOKING)
        assert ledger.record(revoking, State.DONE) == ledger.record(revoking, State.DONE)
        with pytest.raises(OvertakenError):
            ledger.record(revoking, State.ORPHANED)

    def test_changes_are_kept(self, make: Make, clock: FakeClock) -> None:
        """All that a worker may set, exactly; a due time also counted from now."""
        ledger = make()
        changes: dict[str, Any] = {
            "base": "b", "version": "v", "attempts": 2, "replaced": 1, "error": "UnavailableError put",
            "facts": {"key-id": "AKIA é", "": ""},
        }  # fmt: skip
        entry = ledger.record(claimed(ledger, begun(ledger)), State.SET, due=HOUR, **changes)
        assert {name: getattr(entry, name) for name in changes} == changes
        assert entry.due == clock.now() + HOUR
        exact = clock.now() + timedelta(microseconds=999_999)
        assert ledger.record(entry, State.SET, due=exact).due == exact
        assert make().get(entry.id).due == exact

    def test_failures_are_of_one_step(self, make: Make) -> None:
        """They are forgotten when the state changes; a person who finds it ORPHANED sees them."""
        ledger = make()
        entry = ledger.record(claimed(ledger, begun(ledger)), State.CREATED)
        entry = ledger.record(entry, State.CREATED, attempts=3, error="UnavailableError")
        assert ledger.record(entry, State.ORPHANED).attempts == 3
        entry = ledger.move(entry.id, [State.ORPHANED], State.CREATED)
        assert (entry.attempts, entry.error) == (0, None)

    def test_only_identifiers_are_kept(self, make: Make) -> None:
        """A value that a rotator gives by mistake is refused, and is not in the refusal."""
        ledger = make()
        entry = claimed(ledger, begun(ledger))
        for changes in WRONG:
            with pytest.raises(InvalidRequestError) as caught:
                ledger.record(entry, State.CREATED, **changes)
            assert CANARY not in str(caught.value)
        assert ledger.get(entry.id) == entry

    def test_what_fences_cannot_be_set(self, make: Make) -> None:
        """No caller sets an epoch or a lease."""
        ledger = make()
        entry = claimed(ledger, begun(ledger))
        for name in ("epoch", "id", "secret", "lease_until", "token", "nothing"):
            with pytest.raises(TypeError):
                ledger.record(entry, State.CREATED, **{name: "x"})
        assert ledger.get(entry.id) == entry

    def test_one_that_is_given_back_goes_on_when_it_is_due(self, make: Make, clock: FakeClock) -> None:
        """A wait is a row: nobody has it meanwhile, and whoever asks first then gets it."""
        ledger = make()
        entry = at(ledger, State.GRACE)
        ledger.release(entry, due=30 * 24 * HOUR)
        assert make().get(entry.id).lease_until is None
        assert ledger.claim_due(10) == []
        clock.advance(30 * 24 * 3600)
        (again,) = make().claim_due(10)
        assert (again.id, again.state, again.epoch) == (entry.id, State.GRACE, entry.epoch + 1)
        assert ledger.claim_due(10) == []

    def test_one_that_was_given_back_is_not_its_workers_any_more(self, make: Make) -> None:
        """Though nobody else has it yet."""
        ledger = make()
        entry = claimed(ledger, begun(ledger))
        ledger.release(entry)
        with pytest.raises(OvertakenError):
            ledger.record(entry, State.CREATED)
        with pytest.raises(OvertakenError):
            ledger.renew(entry)

    def test_a_rotation_can_be_claimed_before_it_is_due(self, make: Make) -> None:
        """A person says `resume`, or a program calls `advance`."""
        ledger = make()
        entry = at(ledger, State.GRACE)
        ledger.release(entry, due=HOUR)
        assert claimed(ledger, entry).state is State.GRACE

    def test_the_longest_due_are_claimed_first(self, make: Make, clock: FakeClock) -> None:
        """So that none starves behind a backlog."""
        ledger, waiting = make(), []
        for number in range(6):
            entry = claimed(ledger, begun(ledger, f"prod:{number}"))
            ledger.release(entry, due=timedelta(seconds=(5 * number) % 6))
            waiting.append((5 * number % 6, entry.id))
        clock.advance(3)
        found = [entry.id for entry in ledger.claim_due(3)]
        assert found == [rotation_id for _, rotation_id in sorted(waiting)[:3]]
        assert [entry.id for entry in make().claim_due(3)] == [sorted(waiting)[3][1]]

    def test_no_worker_claims_what_a_person_moves_or_what_is_over(self, make: Make, clock: FakeClock) -> None:
        """It is shown as it is: its epoch stays."""
        ledger = make()
        for state in (*BY_HAND, *CLOSED):
            entry = at(ledger, state, f"prod:{state.value}")
            ledger.release(entry)
            clock.advance(LEASE_SECONDS)
            there = ledger.get(entry.id)
            assert make().claim(entry.id) == there
            assert there.epoch == entry.epoch
        assert ledger.claim_due(10) == []

    def test_a_person_moves_it_over_its_workers_head(self, make: Make, clock: FakeClock) -> None:
        """The worker is fenced, and the record free at once."""
        ledger = make()
        entry = at(ledger, State.SET)
        entry = ledger.record(entry, State.SET, due=HOUR)
        clock.advance(1)
        aborted = make().move(entry.id, [State.SET, State.CREATED], State.ABORTED, error="by hand")
        assert (aborted.due, aborted.updated) == (clock.now(), clock.now())
        assert (aborted.state, aborted.epoch, aborted.lease_until) == (State.ABORTED, entry.epoch + 1, None)
        assert aborted.error == "by hand"
        with pytest.raises(OvertakenError):
            ledger.record(entry, State.TESTED)
        with pytest.raises(OvertakenError):
            ledger.renew(entry)

    def test_a_move_takes_the_state_and_the_epoch_that_were_looked_at(self, make: Make) -> None:
        """What changed since is not overwritten, and what is over stays over."""
        ledger = make()
        entry = at(ledger, State.GRACE)
        with pytest.raises(OvertakenError):
            ledger.move(entry.id, [State.REVOKING], State.ROLLED_BACK)
        with pytest.raises(OvertakenError):
            ledger.move(entry.id, [State.GRACE], State.ROLLED_BACK, epoch=entry.epoch - 1)
        ledger.move(entry.id, [State.GRACE], State.ROLLED_BACK, epoch=entry.epoch)
        with pytest.raises(InvalidRequestError, match="final"):
            ledger.move(entry.id, list(State), State.GRACE)

    def test_a_resumed_one_goes_on_from_what_was_proved(self, make: Make) -> None:
        """ORPHANED remembers the state before it, however often it is written."""
        ledger = make()
        entry = ledger.record(ledger.record(at(ledger, State.TESTED), State.ORPHANED), State.ORPHANED)
        assert entry.proved is State.TESTED
        resumed = ledger.move(entry.id, [State.ORPHANED], State.TESTED)
        assert resumed.proved is None
        assert [found.id for found in make().claim_due(1)] == [entry.id]

    def test_the_next_waits_for_a_worker_that_lost_its_lease(self, make: Make, clock: FakeClock) -> None:
        """A person closed it, and it may be in a hook: its lease's end and the hook limit pass first."""
        ledger = make()
        entry = at(ledger, State.SET)
        ledger.move(entry.id, [State.SET], State.ABORTED)
        until = LEASE_SECONDS + HOOK_LIMIT.total_seconds()
        clock.advance(until - 1)
        with pytest.raises(InProgressError) as caught:
            begun(make())
        assert (caught.value.rotation_id, caught.value.retry_after) == (entry.id, 1.0)
        clock.advance(1)
        begun(ledger)

    def test_the_next_waits_for_a_worker_that_was_overtaken(self, make: Make, clock: FakeClock) -> None:
        """Also if the one after it came to a good end, and though the longest of several leases counts."""
        ledger = make()
        entry = begun(ledger)
        ledger.claim(entry.id, 300)
        clock.advance(300)
        second = claimed(ledger, entry)
        ledger.record(ledger.record(second, State.PROMOTED), State.DONE)
        with pytest.raises(InProgressError):
            begun(ledger)
        clock.advance(HOOK_LIMIT.total_seconds())
        begun(ledger)

    def test_the_next_waits_for_the_longest_lease_that_was_lost(self, make: Make, clock: FakeClock) -> None:
        """Not for the last one alone."""
        ledger = make()
        entry, seconds = begun(ledger), 1000.0
        ledger.claim(entry.id, seconds)
        ledger.move(entry.id, [State.STARTED], State.CREATED)
        ledger.claim(entry.id, 1)
        ledger.move(entry.id, [State.CREATED], State.ABORTED)
        with pytest.raises(InProgressError) as caught:
            begun(make())
        assert caught.value.retry_after == seconds + HOOK_LIMIT.total_seconds()

    def test_a_success_is_when_the_value_became_current(self, make: Make, clock: FakeClock) -> None:
        """Neither the end nor a later failure moves it; each secret has its own."""
        ledger = make()
        assert ledger.last_success(SECRET) is None
        entry = at(ledger, State.TESTED)
        assert ledger.last_success(SECRET) is None
        entry, when = ledger.record(entry, State.PROMOTED), clock.now()
        assert (entry.promoted, make().last_success(SECRET)) == (when, when)
        clock.advance(60)
        for state in (State.GRACE, State.ORPHANED):
            entry = ledger.record(entry, state)
        assert (entry.promoted, ledger.last_success(SECRET)) == (when, when)
        assert ledger.last_success(OTHER) is None

    def test_the_schedule_is_set_by_who_knows_it(self, make: Make, clock: FakeClock) -> None:
        """Of two that plan at once one is told no, unless both say the same."""
        one, two = make(), make()
        now = clock.now()
        assert one.next_due(SECRET) is None
        assert not one.plan(SECRET, now, expected=now + HOUR)
        assert one.plan(SECRET, now + HOUR, expected=None)
        assert two.plan(SECRET, now + HOUR, expected=None)
        assert not two.plan(SECRET, now, expected=None)
        assert two.plan(SECRET, now, expected=now + HOUR)
        assert one.next_due(SECRET) == now

    def test_new_secrets_are_planned_together(self, make: Make, clock: FakeClock) -> None:
        """Those that were planned before keep what they have."""
        ledger, now = make(), clock.now()
        ledger.plan("prod:1", now, expected=None)
        ledger.plan_new({f"prod:{number}": now + HOUR for number in range(3)})
        assert [ledger.next_due(f"prod:{number}") for number in range(3)] == [now + HOUR, now, now + HOUR]

    def test_what_is_known_of_many_secrets_is_asked_together(self, make: Make, clock: FakeClock) -> None:
        """More of them than one statement takes, among them such as the ledger has never met."""
        ledger, now = make(), clock.now()
        ledger.plan(OTHER, now + HOUR, expected=None)
        success = closed(ledger).promoted
        strange = [f"prod:{number}" for number in range(1002)]
        known = make().known([SECRET, *strange, OTHER])
        assert (known[SECRET], known[OTHER]) == (Known(None, success), Known(now + HOUR, None))
        assert [known[name] for name in strange] == [Known()] * 1002
        assert ledger.known([]) == {}

    def test_due_are_those_whose_time_has_come_and_that_are_not_busy(
        self, make: Make, clock: FakeClock
    ) -> None:
        """The longest overdue first; one that is open is due again when it is over."""
        ledger, now = make(), clock.now()
        for name, hours in (
            ("late", 3),
            ("later", 2),
            ("now", 0),
            ("not-yet", -1),
            ("busy", 5),
            ("never", 0),
        ):
            if name != "never":
                ledger.plan(f"prod:{name}", now - hours * HOUR, expected=None)
        busy = at(ledger, State.PROMOTED, "prod:busy")
        expected = [("prod:late", now - 3 * HOUR), ("prod:later", now - 2 * HOUR), ("prod:now", now)]
        assert make().due(10) == expected
        assert ledger.due(2) == expected[:2]
        ledger.record(busy, State.DONE)
        assert ledger.due(1) == [("prod:busy", now - 5 * HOUR)]

    def test_records_are_found_newest_first(self, make: Make, clock: FakeClock) -> None:
        """By secret, by state, and at most so many."""
        ledger = make()
        made: list[str] = []
        for _ in range(3):
            made.insert(0, closed(ledger).id)
            clock.advance(1)
        other = at(ledger, State.GRACE, OTHER)
        assert [entry.id for entry in make().find(secret=SECRET)] == made
        assert [entry.id for entry in ledger.find()] == [other.id, *made]
        assert [entry.id for entry in ledger.find(limit=2)] == [other.id, made[0]]
        assert [entry.id for entry in ledger.find(states=[State.GRACE, State.SET])] == [other.id]
        assert [entry.id for entry in ledger.find(states=[State.DONE], secret=OTHER)] == []
        assert ledger.find(states=[]) == []

    def test_what_does_not_exist_is_not_found(self, make: Make) -> None:
        """To show it, to claim it and to move it."""
        ledger = make()
        for call in (ledger.get, ledger.claim, partial(ledger.move, states=list(State), to=State.ABORTED)):
            with pytest.raises(SecretNotFoundError):
                call(new_id())

    def test_old_records_are_forgotten_and_their_success_is_not(self, make: Make, clock: FakeClock) -> None:
        """Only what is over, and longer ago; at most so many at once."""
        ledger = make()
        old = [closed(ledger).id, closed(ledger, state=State.ABORTED).id]
        waiting, success = at(ledger, State.GRACE, OTHER), ledger.last_success(SECRET)
        clock.advance(3600)
        kept = closed(ledger, "prod:young")
        assert [ledger.purge(kept.updated, limit=1) for _ in range(3)] == [1, 1, 0]
        assert {entry.id for entry in make().find()} == {waiting.id, kept.id}
        assert not {entry.id for entry in ledger.find()} & set(old)
        assert ledger.last_success(SECRET) == success

    def test_the_memory_of_a_lost_worker_is_not_purged(self, make: Make, clock: FakeClock) -> None:
        """Or the next rotation would begin while that worker is in a hook."""
        ledger = make()
        entry = at(ledger, State.SET)
        ledger.move(entry.id, [State.SET], State.ABORTED)
        clock.advance(1)
        assert ledger.purge(clock.now()) == 0
        with pytest.raises(InProgressError):
            begun(ledger)

    def test_threads_that_race_share_no_epoch(self, make: Make) -> None:
        """Eight threads on two ledgers begin one tick, and claim it: one of each."""
        ledgers, tick = [make(), make()], datetime(2026, 1, 1, tzinfo=UTC)
        ledgers[0].plan(SECRET, tick, expected=None)
        starts = [
            partial(ledger.begin, new_id(), SECRET, base=None, tick=tick, next_due=tick + HOUR)
            for ledger in ledgers * 4
        ]
        won = [answer for answer in at_once(starts) if isinstance(answer, Entry)]
        assert len(won) == 1
        claims = at_once([partial(ledger.claim_due, 5) for ledger in ledgers * 4])
        assert sorted(len(claim) for claim in claims if isinstance(claim, list)) == [0] * 7 + [1]

    def test_a_ledger_is_used_again_after_it_was_closed(self, make: Make) -> None:
        """Closing it twice is no error, and what was recorded is there."""
        ledger = make()
        entry = begun(ledger)
        ledger.close()
        ledger.close()
        assert make().get(entry.id) == entry
