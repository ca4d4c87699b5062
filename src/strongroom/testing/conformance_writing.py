"""Areas of the conformance suite: conditional writes, rollback, deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.backend import ABSENT, Absent, Capability, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError

from .conformance_base import Harness, NativeReader, needs

if TYPE_CHECKING:
    from strongroom.store import SecretStore


class ConditionalPut(Harness):
    """`if_version` writes only over what the caller saw; ABSENT only where there is nothing."""

    @needs(Capability.PUT, cas=True)
    def test_a_put_over_the_version_seen_succeeds(self, store: SecretStore) -> None:
        """`if_version` of the current version writes; the answer can be used as the next `if_version`."""
        version = store.put(self.name(), self.text("v0"))
        for label in ("v1", "v2"):
            version = store.put(self.name(), self.text(label), if_version=version.id)
        assert store.get(self.name()).version == version.id
        assert store.get(self.name()).value == self.value("v2")

    @needs(Capability.PUT, cas=True)
    def test_a_put_over_an_old_version_is_a_conflict(
        self, store: SecretStore, native_reader: NativeReader
    ) -> None:
        """An `if_version` that is no longer current writes nothing, even if its value was the same."""
        old = store.put(self.name(), self.text("same"))
        newest = store.put(self.name(), self.text("same"))
        with pytest.raises(SecretConflictError):
            store.put(self.name(), self.text("mine"), if_version=old.id)
        assert store.get(self.name()).version == newest.id
        assert native_reader(self.name()) == self.value("same")

    @pytest.mark.parametrize("bad", ["no-such-version", "0", "-1", "", "999999", "x" * 300])
    @needs(Capability.PUT, cas=True)
    def test_a_version_that_was_never_given_is_a_conflict(self, store: SecretStore, bad: str) -> None:
        """An id that no answer ever held matches nothing: not an existing secret, and not a missing one."""
        store.put(self.name("here"), self.text("here"))
        for name in (self.name("here"), self.name("missing")):
            with pytest.raises(SecretConflictError):
                store.put(name, self.text("mine"), if_version=self.version_id(bad))
        assert store.get(self.name("here")).value == self.value("here")
        with pytest.raises(SecretNotFoundError):
            store.get(self.name("missing"))

    @needs(Capability.PUT, Capability.PURGE, cas=True)
    def test_a_version_of_a_former_life_is_a_conflict(self, store: SecretStore) -> None:
        """An `if_version` from before a purge never matches the name's new life."""
        old = store.put(self.name(), self.text("old"))
        store.purge(self.name())
        with pytest.raises(SecretConflictError):
            store.put(self.name(), self.text("mine"), if_version=old.id)
        store.put(self.name(), self.text("new"))
        with pytest.raises(SecretConflictError):
            store.put(self.name(), self.text("mine"), if_version=old.id)
        assert store.get(self.name()).value == self.value("new")

    @needs(Capability.PUT, Capability.CREATE_ONLY)
    def test_absent_creates_once(self, store: SecretStore) -> None:
        """ABSENT writes a name that has no value, and is a conflict from then on."""
        store.put(self.name(), self.text("first"), if_version=ABSENT)
        with pytest.raises(SecretConflictError):
            store.put(self.name(), self.text("second"), if_version=ABSENT)
        assert store.get(self.name()).value == self.value("first")

    @needs(Capability.PUT, Capability.CREATE_ONLY, Capability.PURGE)
    def test_absent_matches_a_purged_name(self, store: SecretStore) -> None:
        """After a purge the name is as if it had never been written."""
        store.put(self.name(), self.text("old"))
        store.purge(self.name())
        store.put(self.name(), self.text("new"), if_version=ABSENT)
        assert store.get(self.name()).value == self.value("new")


class Rollback(Harness):
    """`rollback` writes the previous value as a NEW version, over the version the operator saw."""

    @needs(Capability.PUT, Capability.VERSIONS, cas=True)
    def test_the_previous_value_becomes_a_new_version(
        self, store: SecretStore, native_reader: NativeReader
    ) -> None:
        """No version becomes current twice: a late or repeated move cannot bring the bad one back."""
        good = store.put(self.name(), self.text("good"))
        bad = store.put(self.name(), self.text("bad"))
        restored = store.rollback(self.name(), if_version=bad.id)
        assert restored.id not in (good.id, bad.id)
        assert store.get(self.name()).version == restored.id
        assert store.get(self.name()).value == self.value("good")
        assert native_reader(self.name()) == self.value("good")
        assert store.get(self.name(), version=bad.id).value == self.value("bad")

    @needs(Capability.PUT, Capability.VERSIONS, cas=True)
    def test_two_operators_do_not_toggle(self, store: SecretStore) -> None:
        """Both saw the bad version; the second gets a conflict, and the good value stays."""
        store.put(self.name(), self.text("good"))
        bad = store.put(self.name(), self.text("bad"))
        store.rollback(self.name(), if_version=bad.id)
        with pytest.raises(SecretConflictError):
            store.rollback(self.name(), if_version=bad.id)
        assert store.get(self.name()).value == self.value("good")

    @needs(Capability.PUT, Capability.VERSIONS, cas=True)
    def test_nothing_to_go_back_to_is_not_found(self, store: SecretStore) -> None:
        """A first version cannot be rolled back, and stays."""
        only = store.put(self.name(), self.text("only"))
        with pytest.raises(SecretNotFoundError):
            store.rollback(self.name(), if_version=only.id)
        assert store.get(self.name()).version == only.id

    @needs(Capability.PUT, Capability.VERSIONS, cas=True)
    def test_the_kind_comes_back_too(self, store: SecretStore) -> None:
        """What was binary is binary again."""
        store.put(self.name(), b"\xff\x00")
        bad = store.put(self.name(), self.text("bad"))
        store.rollback(self.name(), if_version=bad.id)
        value = store.get(self.name()).value
        assert value.kind == "binary"
        assert value.matches(b"\xff\x00")


class Deletion(Harness):
    """`delete` can be undone and hides everything; `purge` leaves nothing."""

    @needs(Capability.PUT, Capability.DELETE)
    def test_a_deleted_secret_is_not_found(self, store: SecretStore, native_reader: NativeReader) -> None:
        """Every read of a name in the bin is SecretNotFoundError, by version too."""
        version = store.put(self.name(), self.text("gone"))
        store.delete(self.name())
        with pytest.raises(SecretNotFoundError):
            store.get(self.name())
        if Capability.VERSIONS in store.capabilities:
            with pytest.raises(SecretNotFoundError):
                store.get(self.name(), version=version.id)
            with pytest.raises(SecretNotFoundError):
                store.versions(self.name())
        assert native_reader(self.name()) is None

    @needs(Capability.PUT, Capability.DELETE)
    def test_restore_brings_everything_back(self, store: SecretStore) -> None:
        """Value, version and the versions before come back as they were."""
        store.put(self.name(), self.text("old"))
        newest = store.put(self.name(), self.text("new"))
        store.delete(self.name())
        store.restore(self.name())
        secret = store.get(self.name())
        assert (secret.value, secret.version) == (self.value("new"), newest.id)
        if Capability.VERSIONS in store.capabilities:
            assert store.get(self.name(), stage=Stage.PREVIOUS).value == self.value("old")

    @needs(Capability.PUT, Capability.DELETE)
    def test_a_name_in_the_bin_is_a_conflict(self, store: SecretStore) -> None:
        """A put, whatever its condition, does not write into the bin; the hint says restore."""
        version = store.put(self.name(), self.text("binned"))
        store.delete(self.name())
        conditions: list[str | Absent | None] = [None]
        conditions += [ABSENT] * (Capability.CREATE_ONLY in store.capabilities)
        conditions += [version.id] * (Capability.CAS in store.capabilities)
        for condition in conditions:
            with pytest.raises(SecretConflictError) as caught:
                store.put(self.name(), self.text("mine"), if_version=condition)
            assert "restore" in (caught.value.hint or "")
        store.restore(self.name())
        assert store.get(self.name()).value == self.value("binned")

    @needs(Capability.PUT, Capability.DELETE)
    def test_deleting_twice_is_not_found(self, store: SecretStore) -> None:
        """A second delete finds nothing, and the first can still be undone."""
        store.put(self.name(), self.text("kept"))
        store.delete(self.name())
        with pytest.raises(SecretNotFoundError):
            store.delete(self.name())
        store.restore(self.name())
        assert store.get(self.name()).value == self.value("kept")

    @needs(Capability.PUT, Capability.DELETE)
    def test_restoring_what_was_not_deleted_is_not_found(self, store: SecretStore) -> None:
        """`restore` of a live secret is SecretNotFoundError and changes nothing."""
        version = store.put(self.name(), self.text("live"))
        with pytest.raises(SecretNotFoundError):
            store.restore(self.name())
        assert store.get(self.name()).version == version.id

    @needs(Capability.PUT, Capability.PURGE)
    def test_a_purge_leaves_nothing(self, store: SecretStore, native_reader: NativeReader) -> None:
        """After a purge nothing can be read or purged again."""
        version = store.put(self.name(), self.text("gone"))
        store.purge(self.name())
        with pytest.raises(SecretNotFoundError):
            store.get(self.name())
        if Capability.VERSIONS in store.capabilities:
            with pytest.raises(SecretNotFoundError):
                store.get(self.name(), version=version.id)
        with pytest.raises(SecretNotFoundError):
            store.purge(self.name())
        assert native_reader(self.name()) is None

    @needs(Capability.PUT, Capability.PURGE, Capability.DELETE)
    def test_the_bin_can_be_purged(self, store: SecretStore) -> None:
        """A purge also takes what was deleted before; then there is nothing to restore."""
        store.put(self.name(), self.text("gone"))
        store.delete(self.name())
        store.purge(self.name())
        with pytest.raises(SecretNotFoundError):
            store.restore(self.name())
        with pytest.raises(SecretNotFoundError):
            store.purge(self.name())

    @needs(Capability.PUT, Capability.PURGE)
    def test_a_purged_name_starts_anew(self, store: SecretStore) -> None:
        """The name can be used again at once and knows nothing of its former life."""
        store.put(self.name(), self.text("old"))
        store.put(self.name(), self.text("older"))
        store.purge(self.name())
        store.put(self.name(), self.text("new"))
        assert store.get(self.name()).value == self.value("new")
        if Capability.VERSIONS in store.capabilities:
            assert len(store.versions(self.name())) == 1
            with pytest.raises(SecretNotFoundError):
                store.get(self.name(), stage=Stage.PREVIOUS)
