"""The writes of the kill matrix: how each begins, what may be seen when it broke, and how it is finished.

A scene is played once for every point between two backend calls. Whoever finds the store afterwards knows
only what a fresh process knows: the name, the rotation id, and the versions the caller had read before.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import pytest

from strongroom.backend import ABSENT, Capability
from strongroom.errors import SecretConflictError, SecretNotFoundError, SecretStoreError
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import CANARY

OLD, NEW, NEXT = (SecretValue(f"{CANARY}-{label}") for label in ("old", "new", "next"))


@dataclass
class Place:
    """A backend arranged as it is used, for a caller that will be broken and for those that come after.

    Attributes:
        fresh: opens a store as a new process does, free of faults.
        native: what a native reader sees under a name, or None.
    """

    fresh: Callable[[], SecretStore]
    native: Callable[[str], SecretValue | None]
    capabilities: Capability


class Scene(ABC):
    """One write. ``before`` is what must be current if it did not happen, ``after`` if it did."""

    needs: ClassVar[Capability] = Capability.PUT
    pends: ClassVar[bool] = False
    before: ClassVar[SecretValue | None] = OLD
    after: ClassVar[SecretValue | None] = NEW

    def __init__(self, place: Place):
        self.place = place
        self.name = f"kill/{uuid.uuid4().hex[:12]}"
        self.rotation = str(uuid.uuid4())
        self.seen = ""

    def prepare(self) -> None:
        """The state in which the write begins."""
        self.seen = self.place.fresh().put(self.name, OLD).id

    @abstractmethod
    def act(self, store: SecretStore) -> object:
        """The write that is broken off."""

    def judge(self, error: BaseException | None) -> None:
        """What anybody may see right after it broke."""
        native = self.place.native(self.name)
        assert native in (self.before, self.after)
        refused = isinstance(error, SecretConflictError) or getattr(error, "performed", None) is False
        if error is None:
            assert native == self.after, "acknowledged, and lost"
        elif refused and isinstance(error, SecretStoreError):
            assert native == self.before, "said not to have happened, and happened"

    @abstractmethod
    def finish(self, store: SecretStore) -> None:
        """A fresh caller repeats, and what was meant holds."""

    def value(self, store: SecretStore) -> SecretValue:
        return store.get(self.name).value

    def hold(self, value: SecretValue = NEW) -> None:
        """Let the rotation's value wait over the version seen."""
        self.place.fresh().pending(self.name, self.rotation).put(value, base_version=self.seen)

    def next_rotation_works(self, store: SecretStore) -> None:
        """Nothing left behind blocks the next rotation."""
        pending = store.pending(self.name, str(uuid.uuid4()))
        pending.put(NEXT, base_version=store.get(self.name).version)
        pending.promote()
        assert self.value(store) == NEXT
        assert self.place.native(self.name) == NEXT


class Put(Scene):
    """An unconditional put."""

    def act(self, store: SecretStore) -> object:
        return store.put(self.name, NEW)

    def finish(self, store: SecretStore) -> None:
        store.put(self.name, NEW)
        assert self.value(store) == NEW


class PutIf(Scene):
    """A compare-and-set put; a conflict on repeating it means that the first one won."""

    needs = Capability.PUT | Capability.CAS

    def act(self, store: SecretStore) -> object:
        return store.put(self.name, NEW, if_version=self.seen)

    def finish(self, store: SecretStore) -> None:
        try:
            store.put(self.name, NEW, if_version=self.seen)
        except SecretConflictError:
            assert store.get(self.name).version != self.seen
        assert self.value(store) == NEW


class Create(Scene):
    """A put with ABSENT."""

    needs = Capability.PUT | Capability.CREATE_ONLY
    before = None

    def prepare(self) -> None:
        """Nothing is there."""

    def act(self, store: SecretStore) -> object:
        return store.put(self.name, NEW, if_version=ABSENT)

    def finish(self, store: SecretStore) -> None:
        with suppress(SecretConflictError):
            store.put(self.name, NEW, if_version=ABSENT)
        assert self.value(store) == NEW


class Rollback(Scene):
    """The bad value is OLD's successor; rolling back twice must not toggle."""

    needs = Capability.PUT | Capability.CAS | Capability.VERSIONS
    before, after = NEW, OLD

    def prepare(self) -> None:
        self.place.fresh().put(self.name, OLD)
        self.seen = self.place.fresh().put(self.name, NEW).id

    def act(self, store: SecretStore) -> object:
        return store.rollback(self.name, if_version=self.seen)

    def finish(self, store: SecretStore) -> None:
        for _ in range(2):
            try:
                store.rollback(self.name, if_version=self.seen)
            except SecretConflictError:
                assert store.get(self.name).version != self.seen
            assert self.value(store) == OLD


class Hold(Scene):
    """``pending.put``: native readers see the old value throughout."""

    pends = True
    after = OLD

    def act(self, store: SecretStore) -> object:
        return store.pending(self.name, self.rotation).put(NEW, base_version=self.seen)

    def finish(self, store: SecretStore) -> None:
        pending = store.pending(self.name, self.rotation)
        first = pending.put(NEW, base_version=self.seen)
        assert pending.put(NEW, base_version=self.seen).id == first.id
        assert pending.get().value == NEW
        assert store.get(self.name).version == self.seen
        pending.promote()
        assert self.value(store) == NEW


class Promote(Scene):
    """``pending.promote``: a repeat finishes it, and answers with the one version it became."""

    pends = True

    def prepare(self) -> None:
        super().prepare()
        self.hold()

    def act(self, store: SecretStore) -> object:
        return store.pending(self.name, self.rotation).promote()

    def finish(self, store: SecretStore) -> None:
        pending = store.pending(self.name, self.rotation)
        version = pending.promote()
        assert pending.promote().id == version.id == store.get(self.name).version
        assert self.value(store) == NEW
        if Capability.VERSIONS in store.capabilities:
            assert [listed.id for listed in store.versions(self.name)] == [version.id, self.seen]
        with pytest.raises(SecretNotFoundError):
            pending.get()
        with pytest.raises(SecretConflictError):
            pending.discard()
        self.next_rotation_works(store)


class PromoteAfterPut(Promote):
    """Somebody puts another value between the broken promote and its repeat: nobody's value is lost."""

    def finish(self, store: SecretStore) -> None:
        promoted = self.place.native(self.name) == NEW
        store.put(self.name, NEXT)
        pending = store.pending(self.name, self.rotation)
        if promoted:
            assert pending.promote().id != store.get(self.name).version
        else:
            with pytest.raises(SecretConflictError):
                pending.promote()
            pending.discard()
        assert self.value(store) == NEXT
        self.next_rotation_works(store)


class Discard(Scene):
    """``pending.discard``: the old value stays, whatever breaks."""

    pends = True
    after = OLD

    def prepare(self) -> None:
        super().prepare()
        self.hold()

    def act(self, store: SecretStore) -> None:
        store.pending(self.name, self.rotation).discard()

    def finish(self, store: SecretStore) -> None:
        pending = store.pending(self.name, self.rotation)
        pending.discard()
        with pytest.raises(SecretNotFoundError):
            pending.get()
        with pytest.raises((SecretConflictError, SecretNotFoundError)):
            pending.promote()
        assert self.value(store) == OLD
        self.next_rotation_works(store)


class Delete(Scene):
    """``delete`` of a secret with a value waiting: restored, both are back."""

    needs = Capability.PUT | Capability.DELETE
    pends = True
    after = None

    def prepare(self) -> None:
        super().prepare()
        self.hold()

    def act(self, store: SecretStore) -> None:
        store.delete(self.name)

    def finish(self, store: SecretStore) -> None:
        with suppress(SecretNotFoundError):
            store.delete(self.name)
        with pytest.raises(SecretNotFoundError):
            store.get(self.name)
        store.restore(self.name)
        assert self.value(store) == OLD
        pending = store.pending(self.name, self.rotation)
        assert pending.get().value == NEW
        pending.promote()
        assert self.value(store) == NEW


class Purge(Scene):
    """``purge`` of a secret with a value waiting: nothing of either is left."""

    needs = Capability.PUT | Capability.PURGE
    pends = True
    after = None

    def prepare(self) -> None:
        super().prepare()
        self.hold()

    def act(self, store: SecretStore) -> None:
        store.purge(self.name)

    def finish(self, store: SecretStore) -> None:
        with suppress(SecretNotFoundError):
            store.purge(self.name)
        with pytest.raises(SecretNotFoundError):
            store.get(self.name)
        store.put(self.name, OLD)
        with pytest.raises(SecretNotFoundError):
            store.pending(self.name, self.rotation).get()
        with pytest.raises((SecretConflictError, SecretNotFoundError)):
            store.pending(self.name, self.rotation).promote()
        self.next_rotation_works(store)


class PurgeThenReuse(Purge):
    """Nobody repeats the purge: a waiting value must not meet the name's next life."""

    def finish(self, store: SecretStore) -> None:
        if self.place.native(self.name) is not None:
            super().finish(store)
            return
        store.put(self.name, OLD)
        with pytest.raises(SecretNotFoundError):
            store.pending(self.name, self.rotation).get()
        self.next_rotation_works(store)


SCENES: tuple[type[Scene], ...] = (
    Put, PutIf, Create, Rollback, Hold, Promote, PromoteAfterPut, Discard, Delete, Purge,
    PurgeThenReuse,
)  # fmt: skip
