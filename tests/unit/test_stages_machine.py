"""Native pending values and companions do the same: one machine drives both, beside a short model."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from strongroom.backend import ABSENT, Absent, Capability, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError
from strongroom.memory import ALL
from strongroom.store import SecretStore
from tests.scale import NIGHTLY
from tests.unit.core_support import COMPANION, NAME, memory, text

CONFLICT, MISSING, DONE = "conflict", "not found", "done"
Outcome = str
MOSTLY = st.sampled_from([True, True, True, False])
SELDOM = st.sampled_from([False, False, False, True])
"""The interesting states lie behind several steps that a purge undoes."""


@dataclass
class Model:
    """The secret as its history of values; what is held, and the end of the last rotation."""

    fences: bool  # a companion's discard writes the current value once more
    history: list[str] = field(default_factory=list)
    binned: bool = False
    held: tuple[str, int, str] | None = None  # rotation, length of the history it follows, value
    ended: dict[str, bool] = field(default_factory=dict)  # rotation -> promoted

    def put(self, value: str, seen: int | Absent | None) -> Outcome:
        stale = isinstance(seen, int) and seen != len(self.history)
        exists = seen is ABSENT and self.history
        if self.binned or stale or exists or (isinstance(seen, int) and not self.history):
            return CONFLICT
        self.history.append(value)
        return DONE

    def hold(self, rotation: str, value: str, seen: int) -> Outcome:
        if self.binned or not self.history:
            return MISSING
        if rotation in self.ended or (self.held and (self.held[0], self.held[2]) != (rotation, value)):
            return CONFLICT
        if self.held:
            return DONE
        if seen != len(self.history):
            return CONFLICT
        self.held = (rotation, seen, value)
        return DONE

    def promote(self, rotation: str) -> Outcome:
        if self.binned or not self.history:
            return MISSING
        if self.ended.get(rotation):
            return DONE
        if not self.held or self.held[0] != rotation:
            return MISSING
        if self.held[1] != len(self.history):
            return CONFLICT
        self.history.append(self.held[2])
        return self._end(promoted=True)

    def discard(self, rotation: str) -> Outcome:
        if self.ended.get(rotation):
            return CONFLICT
        if not self.held or self.held[0] != rotation:
            return DONE
        if self.fences and self.held[1] == len(self.history):
            self.history.append(self.history[-1])
        return self._end(promoted=False)

    def rollback(self, seen: int) -> Outcome:
        if self.binned or not self.history:
            return MISSING
        if seen != len(self.history):
            return CONFLICT
        if len(self.history) < 2:
            return MISSING
        self.history.append(self.history[-2])
        return DONE

    def bin(self, *, binned: bool) -> Outcome:
        if not self.history or self.binned is binned:
            return MISSING
        self.binned = binned
        return DONE

    def purge(self) -> Outcome:
        if not self.history:
            return MISSING
        self.__init__(self.fences)  # type: ignore[misc]
        return DONE

    def _end(self, *, promoted: bool) -> Outcome:
        assert self.held
        self.ended[self.held[0]] = promoted
        self.held = None
        return DONE


class Side:
    """A store and its model, which are told the same and must answer the same."""

    def __init__(self, capabilities: Capability):
        self.store = SecretStore(memory(capabilities), cache=None)
        self.model = Model(fences=Capability.NATIVE_PENDING not in capabilities)
        self.ids: set[str] = set()

    def seen(self, fresh: bool) -> tuple[str, int]:
        """A version as a caller knows it: the current one, or one that is not current any more."""
        length = len(self.model.history)
        if self.model.binned or not length:
            return "never written", -1
        versions = self.store.versions(NAME)
        return (versions[0].id, length) if fresh or length < 2 else (versions[1].id, length - 1)

    def told(self, call: Callable[[], Any], expected: Outcome) -> Outcome:
        got = outcome(call)
        assert got == expected, f"{self.model}: {got}"
        return got

    def check(self) -> None:
        model, shown = self.model, not self.model.binned and bool(self.model.history)
        assert outcome(lambda: self.store.get(NAME)) == (DONE if shown else MISSING)
        if shown:
            versions = self.store.versions(NAME)
            read = [self.store.get(NAME, version=version.id).value for version in reversed(versions)]
            assert [value.reveal_text() for value in read] == model.history
            assert self.store.get(NAME).value.matches(model.history[-1])
            stages = [version.stages for version in versions]
            assert stages[0] == {Stage.CURRENT}
            assert stages[1:2] in ([], [{Stage.PREVIOUS}])
            assert not any(stages[2:])


def outcome(call: Callable[[], Any]) -> Outcome:
    try:
        call()
    except SecretConflictError:
        return CONFLICT
    except SecretNotFoundError:
        return MISSING
    return DONE


class PendingMachine(RuleBasedStateMachine):
    """Every rule is done to both; errors are equal, and so is what is current.

    A companion remembers one rotation, the last: an id is used until another one holds a value.
    """

    @initialize()
    def open(self) -> None:
        self.native, self.companion = Side(ALL), Side(COMPANION)
        self.count = 0
        self.rotation = self._new_id()
        self.put("always")

    def _new_id(self) -> str:
        self.count += 1
        return str(uuid.UUID(int=self.count))

    def _value(self) -> str:
        """Never the same twice: a person who puts what is pending has promoted it, as far as can be told."""
        self.count += 1
        return text(str(self.count))

    def _both(self, act: Callable[[Side], Outcome]) -> Outcome:
        native, companion = act(self.native), act(self.companion)
        assert native == companion
        return native

    @rule(condition=st.sampled_from(["always", "fresh", "stale", "absent"]))
    def put(self, condition: str) -> None:
        value = self._value()

        def act(side: Side) -> Outcome:
            version, length = side.seen(condition == "fresh")
            conditions: dict[str, tuple[Any, Any]] = {"always": (None, None), "absent": (ABSENT, ABSENT)}
            wanted, modelled = conditions.get(condition, (version, length))
            return side.told(
                lambda: side.store.put(NAME, value, if_version=wanted), side.model.put(value, modelled)
            )

        self._alike(condition, act)

    def _alike(self, condition: str, act: Callable[[Side], Outcome]) -> None:
        """With one version on one side and two on the other, "stale" is not the same on both."""
        if condition == "stale":
            act(self.native)
            act(self.companion)
        else:
            self._both(act)

    @rule(fresh=MOSTLY, same=st.booleans())
    def hold(self, fresh: bool, same: bool) -> None:
        held = self.native.model.held
        value = held[2] if same and held else self._value()

        def act(side: Side) -> Outcome:
            version, length = side.seen(fresh)
            pending = side.store.pending(NAME, self.rotation)
            expected = side.model.hold(self.rotation, value, length)
            return side.told(lambda: pending.put(value, base_version=version), expected)

        # Stale must mean the same on both sides, or one would hold a value and the other not.
        both_have_older = min(len(self.native.model.history), len(self.companion.model.history)) > 1
        if fresh or (not held and both_have_older):
            self._alike("fresh" if fresh else "stale", act)

    @rule()
    def another_rotation_while_one_is_held(self) -> None:
        """It is refused, and changes nothing."""
        if self.native.model.held and self.companion.model.held:
            other, value = self._new_id(), self._value()

            def act(side: Side) -> Outcome:
                version, length = side.seen(True)
                pending = side.store.pending(NAME, other)
                expected = side.model.hold(other, value, length)
                return side.told(lambda: pending.put(value, base_version=version), expected)

            self._both(act)

    @rule()
    def the_next_rotation(self) -> None:
        """As a worker would: when nothing is held."""
        if not self.native.model.held and not self.companion.model.held:
            self.rotation = self._new_id()

    @rule()
    def promote(self) -> None:
        self._both(
            lambda side: side.told(
                side.store.pending(NAME, self.rotation).promote, side.model.promote(self.rotation)
            )
        )

    @rule()
    def discard(self) -> None:
        """Not in the bin: there native finds no secret, and a companion nothing to drop."""
        if not self.native.model.binned and self.native.model.history:
            self._both(
                lambda side: side.told(
                    side.store.pending(NAME, self.rotation).discard, side.model.discard(self.rotation)
                )
            )

    @rule(fresh=st.booleans())
    def rollback(self, fresh: bool) -> None:
        def act(side: Side) -> Outcome:
            version, length = side.seen(fresh)
            return side.told(
                lambda: side.store.rollback(NAME, if_version=version), side.model.rollback(length)
            )

        act(self.native)
        act(self.companion)

    @rule(really=SELDOM)
    def delete(self, really: bool) -> None:
        if not really and not self.native.model.binned:
            return
        self._both(lambda side: side.told(lambda: side.store.delete(NAME), side.model.bin(binned=True)))

    @rule()
    def restore(self) -> None:
        self._both(lambda side: side.told(lambda: side.store.restore(NAME), side.model.bin(binned=False)))

    @rule(really=SELDOM)
    def purge(self, really: bool) -> None:
        if not really:
            return
        self._both(lambda side: side.told(lambda: side.store.purge(NAME), side.model.purge()))

    @invariant()
    def each_is_as_its_model(self) -> None:
        for side in (self.native, self.companion):
            side.check()

    @invariant()
    def what_is_held_is_read_by_its_rotation(self) -> None:
        for side in (self.native, self.companion):
            held = side.model.held
            pending = side.store.pending(NAME, self.rotation)
            if side.model.binned or not held or held[0] != self.rotation:
                assert outcome(pending.get) == MISSING
            else:
                assert pending.get().value.matches(held[2])


TestPendingMachine = PendingMachine.TestCase
TestPendingMachine.settings = settings(
    max_examples=300 if NIGHTLY else 80, stateful_step_count=30, deadline=None
)
