"""Area of the conformance suite: pending values, from put to promote or discard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from strongroom.backend import Capability, Stage
from strongroom.errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    UnsupportedOperationError,
)

from .conformance_base import Harness, NativeReader, needs

if TYPE_CHECKING:
    from strongroom.store import SecretStore

PUT = Capability.PUT


class PendingValues(Harness):
    """A pending value is seen by its rotation alone, and becomes current whole or not at all."""

    def _held(self, store: SecretStore) -> tuple[str, Any]:
        base = store.put(self.name(), self.text("old"))
        pending = store.pending(self.name(), self.rotation())
        pending.put(self.text("new"), base_version=base.id)
        return base.id, pending

    @needs(PUT, pending=True)
    def test_a_pending_value_is_seen_by_nobody_else(
        self, store: SecretStore, native_reader: NativeReader
    ) -> None:
        """While it waits, `get`, `versions` and a native reader show the current value and nothing more."""
        base, _ = self._held(store)
        assert native_reader(self.name()) == self.value("old")
        assert store.get(self.name()).version == base
        assert store.get(self.name()).value == self.value("old")
        if Capability.VERSIONS in store.capabilities:
            assert [version.id for version in store.versions(self.name())] == [base]
            with pytest.raises(SecretNotFoundError):
                store.get(self.name(), stage=Stage.PREVIOUS)

    @needs(PUT, Capability.VERSIONS, pending=True)
    def test_a_pending_version_cannot_be_read_by_its_id(self, store: SecretStore) -> None:
        """`get(version=…)` of what is only pending is SecretNotFoundError."""
        base = store.put(self.name(), self.text("old"))
        held = store.pending(self.name(), self.rotation()).put(self.text("new"), base_version=base.id)
        if held.id != base.id:
            with pytest.raises(SecretNotFoundError):
                store.get(self.name(), version=held.id)

    @needs(PUT, Capability.DESCRIBE, pending=True)
    def test_a_description_does_not_show_it(self, store: SecretStore) -> None:
        """`describe` names the current version as the newest."""
        base, _ = self._held(store)
        newest = store.describe(self.name()).newest
        assert newest is not None
        assert newest.id == base

    @needs(PUT, Capability.DESCRIBE, pending=True)
    def test_a_description_tells_what_waits_natively(self, store: SecretStore) -> None:
        """Each rotation whose value is held, and the version it is to follow; a companion tells of itself."""
        native = Capability.NATIVE_PENDING in store.capabilities
        for end in ("promote", "discard"):
            base, pending = self._held(store)
            waits = {pending.rotation_id: base} if native else {}
            assert dict(store.describe(self.name()).pending) == waits
            getattr(pending, end)()
            assert not store.describe(self.name()).pending

    @needs(PUT, pending=True)
    def test_its_own_rotation_reads_it(self, store: SecretStore) -> None:
        """`pending.get` returns the value, its kind and the stage PENDING; text stays text."""
        base = store.put(self.name(), self.text("old"))
        for value, kind in ((self.value("new"), "text"), (b"\xff\x00", "binary")):
            pending = store.pending(self.name(), self.rotation())
            pending.put(value, base_version=base.id)
            held = pending.get()
            assert held.value.matches(value)
            assert held.value.kind == kind
            assert (held.name, held.stage) == (self.name(), Stage.PENDING)
            pending.discard()
            base = store.put(self.name(), self.text("next"))

    @needs(PUT, pending=True)
    def test_another_rotation_does_not_read_it(self, store: SecretStore) -> None:
        """Another rotation id finds nothing to read and nothing to promote; its discard touches nothing."""
        _, pending = self._held(store)
        other = store.pending(self.name(), self.rotation())
        with pytest.raises(SecretNotFoundError):
            other.get()
        with pytest.raises(SecretNotFoundError):
            other.promote()
        other.discard()
        assert pending.get().value == self.value("new")

    def test_the_pending_stage_is_refused(self, store: SecretStore) -> None:
        """`get(stage=PENDING)` is refused: which rotation's value would it be?"""
        with pytest.raises((InvalidRequestError, UnsupportedOperationError)):
            store.get(self.name(), stage=Stage.PENDING)

    @pytest.mark.parametrize("bad", ["", "1", "not-a-uuid", "x" * 36])
    def test_a_rotation_id_is_a_uuid(self, store: SecretStore, bad: str) -> None:
        """Anything else is InvalidRequestError (or no pending values at all)."""
        with pytest.raises((InvalidRequestError, UnsupportedOperationError)):
            store.pending(self.name(), bad).get()

    @needs(PUT, pending=True)
    def test_no_pending_without_a_current(self, store: SecretStore, native_reader: NativeReader) -> None:
        """A pending value for a missing secret is SecretNotFoundError and leaves nothing behind."""
        pending = store.pending(self.name(), self.rotation())
        with pytest.raises(SecretNotFoundError):
            pending.put(self.text("new"), base_version=self.version_id("none"))
        with pytest.raises(SecretNotFoundError):
            pending.get()
        assert native_reader(self.name()) is None

    @needs(PUT, pending=True)
    def test_a_base_that_is_not_current_is_a_conflict(self, store: SecretStore) -> None:
        """Who read an old version cannot hold a value that would follow it."""
        old = store.put(self.name(), self.text("old"))
        store.put(self.name(), self.text("newer"))
        pending = store.pending(self.name(), self.rotation())
        with pytest.raises(SecretConflictError):
            pending.put(self.text("new"), base_version=old.id)
        with pytest.raises(SecretNotFoundError):
            pending.get()

    @needs(PUT, pending=True)
    def test_the_same_id_and_value_is_one_write(self, store: SecretStore) -> None:
        """A repeated put returns the same version."""
        base = store.put(self.name(), self.text("old"))
        rotation = self.rotation()
        puts = [
            store.pending(self.name(), rotation).put(self.text("new"), base_version=base.id) for _ in range(2)
        ]
        assert puts[0].id == puts[1].id

    @needs(PUT, pending=True)
    def test_the_same_id_and_another_value_is_a_conflict(self, store: SecretStore) -> None:
        """A rotation id stands for one value."""
        base, pending = self._held(store)
        with pytest.raises(SecretConflictError):
            pending.put(self.text("another"), base_version=base)
        assert pending.get().value == self.value("new")

    @needs(PUT, pending=True)
    def test_another_id_while_one_is_held_is_a_conflict(self, store: SecretStore) -> None:
        """One pending value at a time, even if the other would be the same."""
        base, pending = self._held(store)
        other = store.pending(self.name(), self.rotation())
        with pytest.raises(SecretConflictError):
            other.put(self.text("new"), base_version=base)
        assert pending.get().value == self.value("new")

    @needs(PUT, pending=True)
    def test_promote_makes_it_current(self, store: SecretStore, native_reader: NativeReader) -> None:
        """After promote every reader sees the value; what was current is previous; nothing waits."""
        base, pending = self._held(store)
        version = pending.promote()
        secret = store.get(self.name())
        assert (secret.version, secret.value) == (version.id, self.value("new"))
        assert native_reader(self.name()) == self.value("new")
        with pytest.raises(SecretNotFoundError):
            pending.get()
        if Capability.VERSIONS in store.capabilities:
            assert [listed.id for listed in store.versions(self.name())] == [version.id, base]
            assert store.get(self.name(), stage=Stage.PREVIOUS).version == base

    @needs(PUT, pending=True)
    def test_a_repeated_promote_returns_the_same_version(self, store: SecretStore) -> None:
        """Also when something else became current since: it answers for what it did, and does no more."""
        _, pending = self._held(store)
        first = pending.promote()
        assert pending.promote().id == first.id
        newer = store.put(self.name(), self.text("newer"))
        assert pending.promote().id == first.id
        assert store.get(self.name()).version == newer.id

    @needs(PUT, pending=True)
    def test_a_superseded_value_is_never_promoted(
        self, store: SecretStore, native_reader: NativeReader
    ) -> None:
        """After another put promote is a conflict, for ever; the other value stays; discard ends it."""
        _, pending = self._held(store)
        newer = store.put(self.name(), self.text("newer"))
        for _ in range(2):
            with pytest.raises(SecretConflictError):
                pending.promote()
        assert store.get(self.name()).version == newer.id
        assert native_reader(self.name()) == self.value("newer")
        pending.discard()
        with pytest.raises((SecretConflictError, SecretNotFoundError)):
            pending.promote()
        assert store.get(self.name()).value == self.value("newer")

    @needs(PUT, pending=True)
    def test_an_equal_value_put_meanwhile_is_not_lost(self, store: SecretStore) -> None:
        """If another writer put the same value over the base, that value is current either way."""
        _, pending = self._held(store)
        store.put(self.name(), self.text("new"))
        try:
            pending.promote()
        except SecretConflictError:
            pending.discard()
        assert store.get(self.name()).value == self.value("new")

    @needs(PUT, pending=True)
    def test_discard_drops_it(self, store: SecretStore, native_reader: NativeReader) -> None:
        """After discard nothing waits, the current value stays, and a repeat is not an error."""
        _, pending = self._held(store)
        for _ in range(2):
            pending.discard()
        with pytest.raises(SecretNotFoundError):
            pending.get()
        assert store.get(self.name()).value == self.value("old")
        assert native_reader(self.name()) == self.value("old")

    @needs(PUT, pending=True)
    def test_a_discarded_value_is_never_promoted(self, store: SecretStore) -> None:
        """Promote after discard fails, and the id cannot hold a value again."""
        _, pending = self._held(store)
        pending.discard()
        with pytest.raises((SecretConflictError, SecretNotFoundError)):
            pending.promote()
        with pytest.raises(SecretConflictError):
            pending.put(self.text("again"), base_version=store.get(self.name()).version)
        assert store.get(self.name()).value == self.value("old")

    @needs(PUT, pending=True)
    def test_discard_after_promote_is_a_conflict(self, store: SecretStore) -> None:
        """A promoted value is undone by rollback, not by discard."""
        _, pending = self._held(store)
        pending.promote()
        with pytest.raises(SecretConflictError):
            pending.discard()
        assert store.get(self.name()).value == self.value("new")

    @needs(PUT, pending=True)
    def test_a_rotation_id_that_is_done_is_a_conflict(self, store: SecretStore) -> None:
        """A finished rotation does not begin a second time, with whatever value and base."""
        _, pending = self._held(store)
        version = pending.promote()
        for label in ("new", "another"):
            with pytest.raises(SecretConflictError):
                pending.put(self.text(label), base_version=version.id)

    @needs(PUT, pending=True)
    def test_one_rotation_follows_another(self, store: SecretStore) -> None:
        """Promoted or discarded, the next rotation begins; each step is the one before's successor."""
        base = store.put(self.name(), self.text("v0"))
        for number in range(1, 4):
            dropped = store.pending(self.name(), self.rotation())
            dropped.put(self.text("dropped"), base_version=base.id)
            dropped.discard()
            pending = store.pending(self.name(), self.rotation())
            current = store.get(self.name())
            pending.put(self.text(f"v{number}"), base_version=current.version)
            base = pending.promote()
            assert store.get(self.name()).value == self.value(f"v{number}")

    @needs(PUT, pending=True, cas=True)
    def test_the_promoted_version_can_be_written_over(self, store: SecretStore) -> None:
        """The version that promote returns is the `if_version` of the next writer."""
        _, pending = self._held(store)
        version = pending.promote()
        store.put(self.name(), self.text("next"), if_version=version.id)
        assert store.get(self.name()).value == self.value("next")

    @needs(PUT, Capability.VERSIONS, pending=True, cas=True)
    def test_rollback_while_one_waits_supersedes_it(self, store: SecretStore) -> None:
        """Rollback takes the previous value, never the pending one, and the pending one is not promoted."""
        store.put(self.name(), self.text("oldest"))
        base, pending = self._held(store)
        store.rollback(self.name(), if_version=base)
        assert store.get(self.name()).value == self.value("oldest")
        with pytest.raises(SecretConflictError):
            pending.promote()

    @needs(PUT, Capability.PURGE, pending=True)
    def test_a_purge_takes_what_waits_along(self, store: SecretStore) -> None:
        """Nothing pending outlives its secret, nor comes back with the name's new life."""
        _, pending = self._held(store)
        store.purge(self.name())
        with pytest.raises(SecretNotFoundError):
            pending.get()
        base = store.put(self.name(), self.text("new life"))
        with pytest.raises((SecretNotFoundError, SecretConflictError)):
            pending.promote()
        assert store.get(self.name()).value == self.value("new life")
        follower = store.pending(self.name(), self.rotation())
        follower.put(self.text("next"), base_version=base.id)
        follower.promote()
        assert store.get(self.name()).value == self.value("next")

    @needs(PUT, Capability.DELETE, pending=True)
    def test_delete_and_restore_keep_what_waits(self, store: SecretStore) -> None:
        """In the bin nothing can be held or promoted; restored, the rotation goes on where it was."""
        base, pending = self._held(store)
        store.delete(self.name())
        with pytest.raises((SecretNotFoundError, SecretConflictError)):
            pending.promote()
        with pytest.raises((SecretNotFoundError, SecretConflictError)):
            store.pending(self.name(), self.rotation()).put(self.text("x"), base_version=base)
        store.restore(self.name())
        assert pending.get().value == self.value("new")
        pending.promote()
        assert store.get(self.name()).value == self.value("new")

    @needs(PUT, Capability.PURGE, Capability.DELETE, pending=True)
    def test_purging_the_bin_takes_what_waits_along(self, store: SecretStore) -> None:
        """Deleted and then purged, secret and pending value are both gone."""
        _, pending = self._held(store)
        store.delete(self.name())
        store.purge(self.name())
        with pytest.raises(SecretNotFoundError):
            pending.get()
        with pytest.raises(SecretNotFoundError):
            store.restore(self.name())
