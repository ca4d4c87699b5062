"""Parameter Store's calls broken between any two: lost answers, races, other writers, deletions, lag."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.backend import ABSENT, Backend, Capability, Stage
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Companion, Name
from strongroom.stages import Pending
from strongroom.testing.clock import FakeClock
from tests.canary import assert_no_canary_in
from tests.unit.aws_support import rotation
from tests.unit.ssm_support import (
    FULL,
    KEY,
    Account,
    dropped,
    first,
    lost,
    performed,
    refused,
    shown,
    store,
    value,
)


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def coordinator(tmp_path: Path, clock: FakeClock) -> Iterator[SQLiteCoordinator]:
    opened = SQLiteCoordinator(tmp_path / "leases.db", clock)
    yield opened
    opened.close()


@pytest.fixture
def guarded(account: Account, coordinator: SQLiteCoordinator, clock: FakeClock) -> Backend:
    return store(account, coordinator=coordinator, clock=clock)


@pytest.fixture(params=["alone", "guarded"])
def either(request: pytest.FixtureRequest, account: Account) -> Backend:
    return store(account) if request.param == "alone" else request.getfixturevalue("guarded")


def _refusal(call: Any) -> SecretStoreError:
    with pytest.raises(SecretStoreError) as caught:
        call()
    assert_no_canary_in(caught.value)
    return caught.value


def _native(account: Account, text: str, description: str | None = None) -> None:
    """What the console or another tool writes."""
    account.perform("ssm_put", FULL, text, description, True)


class TestLostAnswers:
    def test_a_put_whose_answer_is_lost_is_found_again(self, account: Account, either: Backend) -> None:
        """By the write id in its description; it is not sent twice."""
        either.put(KEY, value("old"), None)
        account.fault("ssm_put", lost)
        written = either.put(KEY, value("new"), None)
        assert account.calls["ssm_put"] == 2
        assert account.texts() == ["old", "new"]
        assert either.get(KEY, Stage.CURRENT).version == written.id

    def test_a_put_that_never_arrived_is_unknown_and_not_repeated(
        self, account: Account, either: Backend
    ) -> None:
        """It may still arrive."""
        either.put(KEY, value("old"), None)
        account.fault("ssm_put", dropped)
        error = _refusal(lambda: either.put(KEY, value("new"), None))
        assert isinstance(error, UnavailableError)
        assert error.performed is None
        assert account.calls["ssm_put"] == 2

    def test_a_creation_whose_answer_is_lost_is_no_conflict_with_itself(
        self, account: Account, either: Backend
    ) -> None:
        """A repeat would be told that it exists already."""
        account.fault("ssm_put", lost)
        either.put(KEY, value("first"), ABSENT)
        assert account.texts() == ["first"]

    def test_a_fault_of_aws_is_looked_up_too(self, account: Account, either: Backend) -> None:
        """An internal error does not tell whether it happened."""
        account.fault("ssm_put", lambda call: (call(), refused("failing")(call))[1])
        either.put(KEY, value("x"), None)
        assert account.texts() == ["x"]

    def test_a_version_whose_date_cannot_be_read_is_looked_up(
        self, account: Account, either: Backend
    ) -> None:
        """The id needs the date, which PutParameter's answer does not tell."""
        account.fault("ssm_get", refused("denied"))
        written = either.put(KEY, value("x"), None)
        assert either.get(KEY, written.id).version == written.id

    def test_a_purge_whose_answer_is_lost_is_looked_up(self, account: Account, either: Backend) -> None:
        """Gone is gone, whoever did it."""
        either.put(KEY, value("x"), None)
        account.fault("ssm_delete", lost)
        either.purge(KEY)
        assert account.calls["ssm_delete"] == 1

    def test_a_purge_that_never_arrived_is_unknown(self, account: Account, either: Backend) -> None:
        """The secret is still there, for now."""
        either.put(KEY, value("x"), None)
        account.fault("ssm_delete", dropped)
        assert _refusal(lambda: either.purge(KEY)).performed is None

    @pytest.mark.parametrize("why", ["throttled", "busy"])
    def test_what_was_refused_for_the_moment_is_tried_again(
        self, account: Account, either: Backend, why: str
    ) -> None:
        """Nothing happened, so that twice is once; the waiting is on the clock."""
        account.fault("ssm_put", refused(why), refused(why))
        either.put(KEY, value("x"), None)
        account.fault("ssm_delete", refused(why))
        either.purge(KEY)
        assert (account.calls["ssm_put"], account.calls["ssm_delete"]) == (3, 2)

    def test_attempts_are_counted(self, account: Account, either: Backend) -> None:
        """Then the caller learns it, and that nothing happened."""
        account.fault("ssm_put", *[refused("throttled")] * 3)
        error = _refusal(lambda: either.put(KEY, value("x"), None))
        assert (type(error), error.performed, error.retryable) == (UnavailableError, False, True)
        assert account.calls["ssm_put"] == 3


class TestConditions:
    def test_without_a_coordinator_a_condition_sends_no_request(self, account: Account) -> None:
        """But for ABSENT, which is Parameter Store's own."""
        alone = store(account)
        assert Capability.CAS_GUARDED not in alone.capabilities
        with pytest.raises(UnsupportedOperationError):
            alone.put(KEY, value("x"), "1.1800000000000")
        assert not account.calls
        alone.put(KEY, value("x"), ABSENT)
        assert dict(account.calls) == {"ssm_put": 1, "ssm_get": 1}

    def test_an_unconditional_put_that_meets_a_creation_writes_over_it(
        self, account: Account, either: Backend
    ) -> None:
        """It read that there was nothing; AWS says otherwise; it reads again."""
        account.fault("ssm_put", first(lambda: _native(account, "other")))
        either.put(KEY, value("mine"), None)
        assert account.texts() == ["other", "mine"]

    def test_a_creation_that_meets_a_creation_is_a_conflict(self, account: Account, either: Backend) -> None:
        """Of two one wins, coordinator or not."""
        account.fault("ssm_put", first(lambda: _native(account, "other")))
        with pytest.raises(SecretConflictError):
            either.put(KEY, value("mine"), ABSENT)
        assert account.texts() == ["other"]

    def test_a_version_of_another_life_matches_nothing(self, account: Account, guarded: Backend) -> None:
        """Numbers start again at 1, dates do not."""
        old = guarded.put(KEY, value("old"), None)
        account.perform("ssm_delete", FULL)
        _native(account, "new life")
        with pytest.raises(SecretNotFoundError):
            guarded.get(KEY, old.id)
        with pytest.raises(SecretConflictError):
            guarded.put(KEY, value("mine"), old.id)
        assert account.texts() == ["new life"]

    def test_a_foreign_write_is_a_conflict_for_who_read_before_it(
        self, account: Account, guarded: Backend
    ) -> None:
        """Even if it carried our description on, as the console does."""
        seen = guarded.put(KEY, value("old"), None)
        _native(account, "by hand")
        with pytest.raises(SecretConflictError):
            guarded.put(KEY, value("mine"), seen.id)
        assert [version.id for version in guarded.versions(KEY)] == [
            guarded.get(KEY, Stage.CURRENT).version,
            seen.id,
        ]

    def test_a_writer_in_between_is_told_by_the_number(
        self, account: Account, guarded: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A writer that knows no coordinator came between check and write; both versions are kept."""
        seen = guarded.put(KEY, value("old"), None)
        account.fault("ssm_put", first(lambda: _native(account, "by hand")))
        guarded.put(KEY, value("mine"), seen.id)
        assert account.texts() == ["old", "by hand", "mine"]
        assert f"version 3 does not follow right after {seen.id}" in caplog.text

    def test_a_late_version_is_written_past(self, account: Account, guarded: Backend) -> None:
        """A holder woke after its lease: the next write brings back what it hid, and skips it."""
        seen = guarded.put(KEY, value("old"), None)
        late: list[Any] = []

        def sleep(call: Any) -> Any:
            late.append(call)
            return dropped(call)

        account.fault("ssm_put", sleep)
        _refusal(lambda: guarded.put(KEY, value("late"), seen.id))
        won = guarded.put(KEY, value("won"), seen.id)
        late[0]()
        assert shown(guarded) == "late"  # the harm that is documented
        guarded.put(KEY, value("next"), None)
        assert account.texts() == ["old", "won", "late", "won", "next"]
        numbers = [version.id.partition(".")[0] for version in guarded.versions(KEY)]
        assert numbers == ["5", "4", "1"]  # the second stands there once, under its newest id
        assert guarded.versions_after(KEY, won.id)[0].id.startswith("5.")


class TestLag:
    def test_a_history_behind_the_coordinators_record_is_read_again(
        self, account: Account, guarded: Backend
    ) -> None:
        """A write upon an older version would undo the one that is not shown yet."""
        guarded.put(KEY, value("one"), None)
        behind = account.world
        second = guarded.put(KEY, value("two"), None)
        account.fault("ssm_history", lambda _: behind.of(FULL))
        guarded.put(KEY, value("three"), second.id)
        assert account.texts() == ["one", "two", "three"]

    def test_a_history_that_stays_behind_is_unavailable(self, account: Account, guarded: Backend) -> None:
        """And nothing was written."""
        guarded.put(KEY, value("one"), None)
        behind = account.world
        guarded.put(KEY, value("two"), None)
        account.fault("ssm_history", *[lambda _: behind.of(FULL)] * 3)
        assert _refusal(lambda: guarded.put(KEY, value("three"), None)).performed is False
        assert account.texts() == ["one", "two"]

    def test_a_version_that_cannot_be_read_yet_is_waited_for(self, account: Account, either: Backend) -> None:
        """What was just written may be shown a moment later."""
        account.fault("ssm_get", refused("missing"), refused("no such version"))
        assert either.put(KEY, value("x"), None).id.startswith("1.")

    def test_a_reader_needs_no_coordinator(
        self,
        account: Account,
        guarded: Backend,
        coordinator: SQLiteCoordinator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Only what is written waits for it."""
        first_one = guarded.put(KEY, value("one"), None)
        second = guarded.put(KEY, value("two"), None)

        def down(_: str) -> None:
            raise UnavailableError("the coordinator does not answer")

        monkeypatch.setattr(coordinator, "recorded", down)
        assert shown(guarded) == "two"
        assert guarded.get(KEY, Stage.PREVIOUS).version == first_one.id
        assert [version.id for version in guarded.versions(KEY)] == [second.id, first_one.id]
        assert _refusal(lambda: guarded.put(KEY, value("three"), None)).performed is False

    def test_a_creation_that_is_not_shown_yet_is_a_conflict_all_the_same(
        self, account: Account, clock: FakeClock
    ) -> None:
        """And not taken for a deletion, for which AWS asks to wait half a minute."""
        alone = store(account, clock=clock)
        account.fault("ssm_put", first(lambda: _native(account, "other")))
        account.fault("ssm_get", refused("missing"))
        with pytest.raises(SecretConflictError):
            alone.put(KEY, value("mine"), ABSENT)
        assert sum(clock.slept) < 1


class TestBatches:
    @pytest.mark.parametrize("why", ["denied", "key"])
    def test_what_a_batch_may_not_read_is_read_one_by_one(self, account: Account, why: str) -> None:
        """GetParameters is authorised apart, and one unusable KMS key fails all ten."""
        alone = store(account)
        alone.put(KEY, value("x"), None)
        account.calls.clear()
        account.fault("ssm_batch", refused(why))
        outcomes = alone.get_many([KEY, Name("missing")])
        assert [type(outcome).__name__ for outcome in outcomes.values()] == ["Secret", "SecretNotFoundError"]
        assert dict(account.calls) == {"ssm_batch": 1, "ssm_get": 2}

    def test_a_batch_is_one_request(self, account: Account) -> None:
        """Ten names each, a name given twice once."""
        alone = store(account)
        alone.put(KEY, value("x"), None)
        account.calls.clear()
        outcomes = alone.get_many([KEY, *(Name(f"n{number}") for number in range(9)), KEY])
        assert len(outcomes) == 10
        assert dict(account.calls) == {"ssm_batch": 1}

    def test_a_throttled_batch_does_not_become_ten_reads(self, account: Account) -> None:
        """Which AWS would throttle the more."""
        account.fault("ssm_batch", *[refused("throttled")] * 3)
        error = _refusal(lambda: store(account).get_many([KEY]))
        assert isinstance(error, UnavailableError)
        assert not account.calls["ssm_get"]


class TestLives:
    def test_a_name_that_aws_is_still_deleting_is_waited_for(
        self, account: Account, clock: FakeClock
    ) -> None:
        """Thirty seconds, on the clock; it is no conflict, since nobody can read anything there."""
        alone = store(account, clock=clock)
        account.fault("ssm_put", refused("exists"), refused("exists"))
        alone.put(KEY, value("x"), ABSENT)
        assert sum(clock.slept) >= 30

    def test_a_deletion_that_lasts_is_unavailable(self, account: Account, either: Backend) -> None:
        """With what to wait for."""
        account.fault("ssm_put", *[refused("exists")] * 3)
        error = _refusal(lambda: either.put(KEY, value("x"), ABSENT))
        assert (type(error), error.performed, error.retry_after) == (UnavailableError, False, 15.0)

    def test_a_purge_takes_companion_and_record_along(
        self, account: Account, guarded: Backend, coordinator: SQLiteCoordinator
    ) -> None:
        """The next life begins as a first one."""
        base = guarded.put(KEY, value("x"), None)
        Pending(guarded, KEY, rotation()).put(value("y"), base_version=base.id)
        for key in (Companion(KEY), KEY):
            guarded.purge(key)
            assert coordinator.recorded(guarded.locate(key)) == ""
        assert not account.world.parameters

    def test_a_hundred_and_more_versions_leave_no_label_in_the_way(self, account: Account) -> None:
        """None of ours is ever set: what a version is stands in its description."""
        alone = store(account)
        for number in range(120):
            alone.put(KEY, value(str(number)), None)
        assert len(account.versions()) == len(alone.versions(KEY)) == 100
        assert alone.get(KEY, Stage.PREVIOUS).value == value("118")
        assert not account.calls["ssm_label"]

    def test_a_foreign_label_on_the_oldest_version_is_told_and_no_conflict(self) -> None:
        """A rotation must not take itself for superseded; nothing was written."""
        account = Account(most=3)
        alone = store(account)
        for number in range(3):
            alone.put(KEY, value(str(number)), None)
        account.perform("ssm_label", FULL, 1, "production")
        error = _refusal(lambda: alone.put(KEY, value("x"), None))
        assert (type(error), error.performed, error.retryable) == (UnavailableError, False, False)
        assert "UnlabelParameterVersion" in str(error)
        assert account.texts() == ["0", "1", "2"]


class TestDescriptions:
    def test_the_users_description_is_kept(self, account: Account, either: Backend) -> None:
        """Beside our mark, version after version."""
        _native(account, "by hand", "The database's.")
        for label in ("one", "two"):
            either.put(KEY, value(label), None)
        told = [version.description for version in account.versions()]
        assert told[0] == "The database's."
        assert all(text.startswith("The database's. [strongroom ") for text in told[1:])

    def test_one_that_leaves_no_room_is_refused_before_the_write(
        self, account: Account, either: Backend
    ) -> None:
        """It is not ours to cut."""
        _native(account, "by hand", "x" * 1020)
        with pytest.raises(InvalidRequestError, match="shorten it"):
            either.put(KEY, value("mine"), None)
        assert not account.calls["ssm_put"]

    def test_a_record_travels_with_its_version(self, account: Account, either: Backend) -> None:
        """Not with one that a foreign writer made from its description."""
        ours = either.put(KEY, value("ours"), None, "v1.1.1.w.d")
        _native(account, "by hand")
        foreign = either.versions(KEY)[0]
        assert either.get(KEY, ours.id).record == "v1.1.1.w.d"
        assert either.get(KEY, foreign.id).record is None

    def test_a_reader_without_the_history_reads_values(self, account: Account) -> None:
        """It is authorised apart; who may not read it learns no record."""
        written = store(account).put(KEY, value("x"), None, "v1.1.1.w.d")
        account.fault("ssm_history", *[refused("denied")] * 2)
        reader = store(account)
        assert reader.get(KEY, Stage.CURRENT).value == value("x")
        assert reader.get(KEY, written.id).record is None
        error = _refusal(lambda: reader.versions(KEY))
        assert isinstance(error, PermissionDeniedError)
        assert "ssm:GetParameterHistory" in str(error)

    def test_a_guarded_read_tells_the_record_by_one_request_more_for_each_version(
        self, account: Account, guarded: Backend
    ) -> None:
        """What replication and failover order versions by."""
        guarded.put(KEY, value("x"), None, "v1.1.1.w.d")
        account.calls.clear()
        assert [guarded.get(KEY, Stage.CURRENT).record for _ in range(3)] == ["v1.1.1.w.d"] * 3
        assert dict(account.calls) == {"ssm_get": 3, "ssm_history": 1}

    def test_who_may_not_read_histories_is_not_asked_for_them_with_each_read(
        self, account: Account, guarded: Backend
    ) -> None:
        """The value comes without its record, and the second time in one request again."""
        guarded.put(KEY, value("x"), None, "v1.1.1.w.d")
        account.fault("ssm_history", refused("denied"))
        assert guarded.get(KEY, Stage.CURRENT).record is None
        account.calls.clear()
        assert guarded.get(KEY, Stage.CURRENT).value == value("x")
        assert dict(account.calls) == {"ssm_get": 1}

    def test_the_current_value_is_one_request(self, account: Account, either: Backend) -> None:
        """Coordinator or not, once a version's record is known."""
        either.put(KEY, value("x"), None)
        assert shown(either) == "x"
        account.calls.clear()
        account.fault("ssm_get", performed)
        assert shown(either) == "x"
        assert dict(account.calls) == {"ssm_get": 1}
