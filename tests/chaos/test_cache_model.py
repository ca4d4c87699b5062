"""The cache against a model of what it should do, which is a page long and has no threads.

The model says of each call what comes back, which names the provider is asked for, and in the end how many
answers came from memory. Chance gives 0: refreshes are due at 80 % of ``fresh``, pauses last a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from strongroom.backend import Backend, Secret, Stage
from strongroom.cache import CachePolicy
from strongroom.errors import (
    PartialFailureError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.layer import Layer
from strongroom.memory import MemoryBackend
from strongroom.names import Key, Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.scale import NIGHTLY
from tests.unit.core_support import refreshed, text

T = TypeVar("T")
FRESH, STALE, ABSENT, PAUSE = 10.0, 30.0, 2.0, 1.0
NAMES = ("a", "b", "c")
DENIED, MISSING, OUT = PermissionDeniedError, SecretNotFoundError, UnavailableError

Answer = tuple[str, bool] | type[SecretStoreError]
"""A version and whether it is stale; or what is raised."""


@dataclass
class Model:
    """What is known of each name; times are those of the questions.

    Attributes:
        provider: what each name's version is there, if there is one.
        trouble: what the provider answers instead, to all.
        cached: the version, and when the provider was asked for it.
        paused: until when an unavailable provider is not asked again.
        absent: until when a "not found" is remembered.
        refused: when `refresh` asked last.
        asked: names that the provider was asked for in this step.
        hits: by version, answers without asking.
    """

    provider: dict[str, str] = field(default_factory=dict)
    trouble: type[SecretStoreError] | None = None
    now: float = 0.0
    cached: dict[str, tuple[str, float]] = field(default_factory=dict)
    paused: dict[str, float] = field(default_factory=dict)
    absent: dict[str, float] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)

    def age(self, name: str) -> float:
        return self.now - self.cached[name][1] if name in self.cached else float("inf")

    def read(self, name: str) -> Answer:
        known = self.known(name)
        return self.answer(name) if known is None else known

    def read_many(self, names: list[str]) -> dict[str, Answer] | type[SecretStoreError]:
        known = {name: self.known(name) for name in names}
        unknown = [name for name in names if known[name] is None]
        if self.trouble is DENIED and len(unknown) > 1:  # the batch is, which says nothing of its names
            self.asked.update(unknown)
            return DENIED
        return {name: answer if answer is not None else self.answer(name) for name, answer in known.items()}

    def answer(self, name: str) -> Answer:
        error = self.ask(name)
        if error is OUT and self.age(name) < FRESH + STALE:
            return self.cached[name][0], True
        return error or (self.cached[name][0], False)

    def known(self, name: str) -> Answer | None:
        fresh, paused = self.age(name) < FRESH, self.now < self.paused.get(name, 0.0)
        if fresh or (paused and self.age(name) < FRESH + STALE):
            version = self.cached[name][0]
            self.hits[name, version] += 1
            if self.age(name) >= 0.8 * FRESH and not paused:
                self.ask(name)  # behind the reader, who has his answer
            return version, not fresh
        if paused:
            return OUT
        return MISSING if self.now < self.absent.get(name, 0.0) else None

    def refresh(self, name: str, rejected: str) -> Answer:
        fresh = self.age(name) < FRESH
        lately = name in self.refused and self.now - self.refused[name] < 1.0
        if fresh and (self.cached[name][0] != rejected or lately):
            self.hits[name, self.cached[name][0]] += 1
            return self.cached[name][0], False
        if not fresh and self.now < self.paused.get(name, 0.0):
            return OUT
        self.refused[name] = self.now
        return self.ask(name) or (self.cached[name][0], False)

    def ask(self, name: str) -> type[SecretStoreError] | None:
        self.asked[name] += 1
        error = self.trouble or (None if name in self.provider else MISSING)
        if error is None:
            self.confirm(name)
        elif error is OUT:
            self.paused[name] = self.now + PAUSE
        else:
            self.forget(name)
            if error is MISSING:
                self.absent[name] = self.now + ABSENT
        return error

    def confirm(self, name: str) -> None:
        self.paused.pop(name, None)
        self.absent.pop(name, None)
        self.cached[name] = self.provider[name], self.now

    def forget(self, name: str) -> None:
        for known in (self.cached, self.paused, self.absent, self.refused):
            known.pop(name, None)

    def write(self, name: str, version: str | None) -> None:
        was_cached = self.age(name) < FRESH + STALE
        self.forget(name)
        if version is None:
            self.provider.pop(name, None)
            return
        self.provider[name] = version
        if was_cached:
            self.confirm(name)


class Asked(Layer):
    """Notes which names were asked for."""

    def __init__(self, inner: Backend):
        super().__init__(inner)
        self.names: Counter[str] = Counter()

    def get(self, key: Key, version: str | Stage) -> Secret:
        self.names[str(key)] += 1
        return self.inner.get(key, version)

    def get_many(self, keys: Sequence[Key]) -> object:  # type: ignore[override]
        self.names.update(str(key) for key in keys)
        return self.inner.get_many(keys)


class CacheMachine(RuleBasedStateMachine):
    """Every call does what the model says."""

    names = st.sampled_from(NAMES)

    @initialize()
    def open(self) -> None:
        self.clock = FakeClock()
        self.inner = MemoryBackend(clock=self.clock)
        self.faulty = FaultyBackend(self.inner, clock=self.clock)
        self.asked = Asked(self.faulty)
        policy = CachePolicy(FRESH, STALE, absent=ABSENT)
        self.store = SecretStore(self.asked, cache=policy, clock=self.clock)
        self.model = Model()
        self.counted: Counter[tuple[str, str]] = Counter()
        self.written = 0

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 7.5, 8.0, 10.0, 29.5, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.model.now = self.clock.monotonic()

    @rule(trouble=st.sampled_from([None, OUT, DENIED]))
    def weather(self, trouble: type[SecretStoreError] | None) -> None:
        self.model.trouble = trouble
        self.faulty.clear()
        if trouble is OUT:
            self.faulty.unreachable()
        elif trouble is DENIED:
            self.faulty.deny()

    @rule(name=names)
    def another_program_writes(self, name: str) -> None:
        self.model.provider[name] = self.inner.put(Name(name), self._value(), None).id

    @rule(name=names)
    def another_program_purges(self, name: str) -> None:
        if self.model.provider.pop(name, None):
            self.inner.purge(Name(name))

    @rule(name=names)
    def we_write(self, name: str) -> None:
        written = _tried(lambda: self.store.put(name, self._value()).id)
        if isinstance(written, str):
            self.model.write(name, written)
        else:
            assert written is self.model.trouble
            self.model.forget(name)

    @rule(name=names)
    def we_purge(self, name: str) -> None:
        error = _tried(lambda: self.store.purge(name))
        assert error in (self.model.trouble, MISSING)
        if error:
            self.model.forget(name)
        else:
            self.model.write(name, None)

    @rule(name=names)
    def read(self, name: str) -> None:
        found = _tried(lambda: _seen(self.store.get(name)))
        refreshed()
        assert found == self.model.read(name)

    @rule(wanted=st.lists(names, unique=True))
    def read_many(self, wanted: list[str]) -> None:
        found: dict[str, Answer] | type[SecretStoreError]
        try:
            found = {name: _seen(secret) for name, secret in self.store.get_many(wanted).items()}
        except PartialFailureError as error:
            found = {name: _seen(secret) for name, secret in error.results.items()}
            found |= {name: type(one) for name, one in error.errors.items()}
        except PermissionDeniedError as error:
            found = type(error)
        refreshed()
        assert found == self.model.read_many(wanted)

    @rule(name=names, current=st.booleans())
    def refused(self, name: str, current: bool) -> None:
        cached = self.model.cached.get(name, ("none", 0.0))[0]
        rejected = cached if current else "another"
        found = _tried(lambda: _seen(self.store.refresh(name, rejected=rejected)))
        assert found == self.model.refresh(name, rejected)

    @invariant()
    def the_provider_is_asked_for_no_more(self) -> None:
        """Nor for less, in each step."""
        if hasattr(self, "store"):
            refreshed()
            assert self.asked.names == self.model.asked
            served = {name for name, entry in self.store._reads.warm.items() if self.model.now < entry.end}
            assert served == {name for name in NAMES if self.model.age(name) < FRESH + STALE}

    @invariant()
    def each_hit_is_counted_once(self) -> None:
        if hasattr(self, "store"):
            for name, version, count in self.store._reads.drain_hits():
                self.counted[name, version] += count
            assert self.counted == self.model.hits

    def _value(self) -> SecretValue:
        self.written += 1
        return SecretValue(text(str(self.written)))


def _seen(secret: Secret) -> Answer:
    return secret.version, secret.stale


def _tried(call: Callable[[], T]) -> T | type[SecretStoreError]:
    try:
        return call()
    except SecretStoreError as error:
        return type(error)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(
    max_examples=1000 if NIGHTLY else 40, stateful_step_count=40, deadline=None
)
