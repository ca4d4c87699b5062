"""Guarded writes on Key Vault: foreign versions, late holders, and what is repaired when."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.backend import ABSENT, Backend, SecretVersion, Stage
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import SecretConflictError, SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.guarded import Stamp
from strongroom.lease import Coordinator
from strongroom.names import Companion
from strongroom.stages import Pending
from strongroom.testing.clock import FakeClock
from strongroom_azure._entry import STAMP
from tests.canary import CANARY, not_ours
from tests.integration.azure_support import DB, FLAT, open_store, text
from tests.servers.azure import Vault

ROTATION, OTHER = "6f1c7f0e-8f0e-4d57-9a6f-2f6d3c0c6b11", "6f1c7f0e-8f0e-4d57-9a6f-2f6d3c0c6b12"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def coordinator(tmp_path: Path, clock: FakeClock) -> Iterator[Coordinator]:
    coordinator = SQLiteCoordinator(tmp_path / "leases.db", clock)
    yield coordinator
    coordinator.close()


@pytest.fixture
def store(azure_server: Vault, coordinator: Coordinator, clock: FakeClock) -> Iterator[Backend]:
    store = open_store(azure_server, coordinator, clock=clock)
    yield store
    store.close()


@pytest.fixture
def late(azure_server: Vault, coordinator: Coordinator, clock: FakeClock) -> Iterator[Any]:
    """Another process, which will be suspended between its last look at the lease and its write."""
    store = open_store(azure_server, coordinator, clock=clock)
    yield store
    store.close()


@pytest.fixture
def plain(azure_server: Vault) -> Iterator[Any]:
    """A program that knows nothing of the coordinator."""
    with azure_server.client(retry_total=0) as client, not_ours():
        yield client


def suspended(late: Any, store: Backend, clock: FakeClock, label: str) -> list[SecretVersion]:
    """`late` puts, but sleeps past its lease before it writes; `store` puts `label` meanwhile."""
    versions = late.inner._versions
    write, meanwhile = versions.write, list[SecretVersion]()

    def wake(*arguments: Any) -> SecretVersion:
        versions.write = write
        clock.advance(60)
        meanwhile.append(store.put(DB, text(label), None))
        written: SecretVersion = write(*arguments)
        return written

    versions.write = wake
    with pytest.raises(UnavailableError) as caught:
        late.put(DB, text("late"), None)
    assert caught.value.performed is None
    return meanwhile


def values(store: Backend) -> list[str]:
    """The labels of the versions in their line, newest first."""
    found = [store.get(DB, version.id).value.reveal_text() for version in store.versions(DB)]
    return [value.removeprefix(CANARY) for value in found]


class TestLateHolder:
    def test_a_reader_sees_the_late_value_until_the_next_guarded_write(
        self, store: Backend, late: Any, clock: FakeClock, plain: Any
    ) -> None:
        """Key Vault has no fence; that is the harm which is documented, and then it is repaired."""
        store.put(DB, text("first"), None)
        suspended(late, store, clock, "successor")
        assert plain.get_secret(FLAT).value == f"{CANARY}late"
        store.put(DB, text("next"), None)
        assert plain.get_secret(FLAT).value == f"{CANARY}next"
        assert values(store) == ["next", "successor", "first"]

    def test_who_judges_what_followed_a_base_repairs_it_too(
        self, store: Backend, late: Any, clock: FakeClock, plain: Any
    ) -> None:
        """So a promote is never told that the late value won."""
        first = store.put(DB, text("first"), None)
        (successor,) = suspended(late, store, clock, "successor")
        after = store.versions_after(DB, first.id)
        assert after[0].id == successor.id
        assert plain.get_secret(FLAT).value == f"{CANARY}successor"

    def test_the_late_holder_itself_repairs_what_it_did(
        self, store: Backend, late: Any, clock: FakeClock, plain: Any
    ) -> None:
        """Its next write takes a lease, and finds itself late."""
        store.put(DB, text("first"), None)
        suspended(late, store, clock, "successor")
        late.put(DB, text("again"), None)
        assert plain.get_secret(FLAT).value == f"{CANARY}again"
        assert values(late) == ["again", "successor", "first"]

    def test_a_version_that_is_hidden_keeps_its_record_and_tags_when_it_comes_back(
        self, store: Backend, late: Any, clock: FakeClock, plain: Any
    ) -> None:
        """What is written again is the hidden version, whole."""
        store.put(DB, text("first"), None)
        store.set_tags(DB, {"team": "core"})
        suspended(late, store, clock, "successor")
        store.versions_after(DB, store.versions(DB)[-1].id)
        assert store.get(DB, Stage.CURRENT).value == text("successor")
        assert dict(store.describe(DB).tags) == {"team": "core"}

    def test_the_repair_does_not_change_what_a_conditional_writer_saw(
        self, store: Backend, late: Any, clock: FakeClock
    ) -> None:
        """The successor counts as the same version; the late value was never current."""
        first = store.put(DB, text("first"), None)
        (successor,) = suspended(late, store, clock, "successor")
        seen = store.get(DB, Stage.CURRENT)
        with pytest.raises(SecretConflictError):
            store.put(DB, text("mine"), seen.version)
        assert store.get(DB, Stage.CURRENT).value == text("successor")
        assert store.get(DB, Stage.PREVIOUS).version == first.id
        store.put(DB, text("mine"), successor.id)
        assert values(store) == ["mine", "successor", "first"]

    def test_a_late_frame_does_not_stop_the_rotations_that_follow(
        self, store: Backend, late: Any, clock: FakeClock
    ) -> None:
        """A companion is read settled: each rotation begins with what it says."""
        base = store.put(DB, text("first"), None)
        Pending(store, DB, ROTATION).put(text("new"), base_version=base.id)
        write, versions = late.inner._versions.write, late.inner._versions

        def wake(key: Any, *arguments: Any) -> SecretVersion:
            versions.write = write
            clock.advance(60)
            Pending(store, DB, ROTATION).discard()
            written: SecretVersion = write(key, *arguments)
            return written

        found = store.get(Companion(DB), Stage.CURRENT)
        versions.write = wake
        with pytest.raises(SecretStoreError):
            late.put(Companion(DB), found.value, found.version)
        base = store.put(DB, text("second"), None)
        other = Pending(store, DB, OTHER)
        other.put(text("newer"), base_version=base.id)
        other.promote()
        assert store.get(DB, Stage.CURRENT).value == text("newer")


class TestForeignWriter:
    def test_a_foreign_version_is_reported_and_counts(
        self, store: Backend, plain: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody wrote past the coordinator: nothing of his is undone, and it is said."""
        first = store.put(DB, text("first"), None)
        foreign = plain.set_secret(FLAT, f"{CANARY}theirs").properties.version
        with caplog.at_level(logging.WARNING, "strongroom"):
            second = store.put(DB, text("second"), None)
        told = [record.getMessage() for record in caplog.records if record.name.startswith("strongroom")]
        assert [foreign in message for message in told] == [True]
        assert [version.id for version in store.versions(DB)] == [second.id, foreign, first.id]

    def test_a_program_that_copies_our_tags_is_foreign_all_the_same(self, store: Backend, plain: Any) -> None:
        """With the tags it copies our stamp; what it wrote is not undone as a late version."""
        store.put(DB, text("first"), None)
        store.put(DB, text("second"), None)
        tags = plain.get_secret(FLAT).properties.tags
        plain.set_secret(FLAT, f"{CANARY}theirs", tags=tags)
        store.put(DB, text("third"), None)
        assert values(store) == ["third", "theirs", "second", "first"]

    def test_it_fails_the_condition_of_who_has_not_seen_it(self, store: Backend, plain: Any) -> None:
        """And meets the condition of who has."""
        first = store.put(DB, text("first"), None)
        foreign = plain.set_secret(FLAT, "theirs").properties.version
        with pytest.raises(SecretConflictError):
            store.put(DB, text("second"), first.id)
        store.put(DB, text("second"), foreign)
        assert store.get(DB, Stage.CURRENT).value == text("second")

    def test_it_supersedes_a_pending_value(self, store: Backend, plain: Any) -> None:
        """Whose base it wrote over."""
        base = store.put(DB, text("first"), None)
        pending = Pending(store, DB, ROTATION)
        pending.put(text("new"), base_version=base.id)
        plain.set_secret(FLAT, "theirs")
        with pytest.raises(SecretConflictError, match="superseded"):
            pending.promote()
        assert store.get(DB, Stage.CURRENT).value.matches("theirs")


class TestWrites:
    def test_each_version_carries_its_predecessor_and_its_fence(self, store: Backend, plain: Any) -> None:
        """In tags, set with the value."""
        first, second = store.put(DB, text("1"), None), store.put(DB, text("2"), None)
        stamps = [Stamp.parse(plain.get_secret(FLAT, v.id).properties.tags[STAMP]) for v in (first, second)]
        assert stamps[0] is not None
        assert stamps[1] is not None
        assert (stamps[0].before, stamps[1].before) == (None, first.id)
        assert 0 < stamps[0].fence < stamps[1].fence

    def test_a_write_whose_answer_was_lost_is_recorded(self, store: Backend, azure_server: Vault) -> None:
        """The next one finds nothing to repair."""
        first = store.put(DB, text("1"), None)
        azure_server.faults.drop_answers("secrets.set")
        second = store.put(DB, text("2"), first.id)
        azure_server.calls.clear()
        store.put(DB, text("3"), second.id)
        assert azure_server.calls["secrets.set"] == 1

    def test_a_write_that_arrives_after_all_is_settled_by_the_next(
        self, store: Backend, azure_server: Vault, plain: Any
    ) -> None:
        """Nobody knew of it, but it stands upon the recorded version: it is the newest that counts."""
        first = store.put(DB, text("1"), None)
        azure_server.faults.drop_answers("secrets.set")
        azure_server.faults.drop_requests("secrets.versions", times=3)
        with pytest.raises(UnavailableError) as caught:
            store.put(DB, text("2"), first.id)
        assert caught.value.performed is None
        with pytest.raises(SecretConflictError):
            store.put(DB, text("3"), first.id)
        assert values(store) == ["2", "1"]

    @pytest.mark.parametrize("condition", ["if_version", "ABSENT", "none"])
    def test_a_name_in_the_bin_offers_restore_under_every_condition(
        self, store: Backend, condition: str
    ) -> None:
        """Also where the condition alone would have failed."""
        version = store.put(DB, text(), None)
        store.delete(DB)
        conditions = {"if_version": version.id, "ABSENT": ABSENT, "none": None}
        with pytest.raises(SecretConflictError) as caught:
            store.put(DB, text("mine"), conditions[condition])  # type: ignore[arg-type]
        assert "restore" in (caught.value.hint or "")
        store.restore(DB)
        assert store.get(DB, Stage.CURRENT).version == version.id

    def test_while_another_process_holds_the_lease_nothing_is_written(
        self, store: Backend, coordinator: Coordinator, clock: FakeClock, azure_server: Vault
    ) -> None:
        """It is waited for, on the store's clock, and not for ever."""
        store.put(DB, text(), None)
        azure_server.calls.clear()
        assert coordinator.acquire(store.locate(DB), 1000)
        for write in (
            lambda: store.put(DB, text("mine"), None),
            lambda: store.delete(DB),
            lambda: store.set_tags(DB, {"a": "b"}),
        ):
            before = clock.monotonic()
            with pytest.raises(SecretStoreError, match="lease") as caught:
                write()
            assert caught.value.performed is False
            assert clock.monotonic() - before < 30
        assert not azure_server.calls["secrets.set"] + azure_server.calls["secrets.delete"]

    def test_without_the_coordinator_nothing_is_written(
        self, azure_server: Vault, tmp_path: Path, clock: FakeClock
    ) -> None:
        """Whoever configured one does not mean to go without."""
        broken = SQLiteCoordinator(tmp_path / "missing" / "leases.db", clock)
        store = open_store(azure_server, broken, clock=clock)
        with pytest.raises(UnavailableError):
            store.put(DB, text(), None)
        assert not azure_server.calls
        with pytest.raises(SecretNotFoundError):
            store.get(DB, Stage.CURRENT)
        store.close()
