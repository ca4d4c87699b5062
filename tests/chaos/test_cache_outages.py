"""The cache through random outages, denials, foreign writes and own writes: what it may never do."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from strongroom.backend import Stage
from strongroom.cache import CachePolicy
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.scale import NIGHTLY
from tests.unit.core_support import KEY, NAME, current, overwrite, refreshed, text

FRESH, STALE = 100.0, 300.0
PAUSE = 30.0
"""The longest in which a provider that did not answer is left alone."""


class OutageMachine(RuleBasedStateMachine):
    """Each read is checked against what the provider has said, and when, and what this store did since."""

    @initialize(spread=st.sampled_from([0.0, 0.5, 0.99]))
    def open(self, spread: float) -> None:
        self.clock = FakeClock()
        self.clock.spread = spread
        self.inner = MemoryBackend(clock=self.clock)
        self.backend = FaultyBackend(self.inner, clock=self.clock)
        self.store = SecretStore(self.backend, cache=CachePolicy(FRESH, STALE, absent=0), clock=self.clock)
        self.state = "well"
        self.written = 0
        self.was_current: dict[str, float] = {}  # version -> when it last was, for anybody
        self.ended: set[str] = set()  # versions that a write of this store has replaced
        self.denied_since = False
        self.out_until = 0.0  # up to when what an outage said may be said again

    @rule(seconds=st.sampled_from([1.0, 30.0, 79.0, 80.0, 99.0, 100.0, 300.0, 399.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self._note()
        self.clock.advance(seconds)

    @rule()
    def outage(self) -> None:
        self._become("out")

    @rule()
    def denial(self) -> None:
        self._become("denied")

    @rule()
    def recovery(self) -> None:
        self._become("well")

    @rule()
    def another_program_writes(self) -> None:
        self._note()
        self.written += 1
        overwrite(self.inner, str(self.written))

    @rule()
    def we_write(self) -> None:
        self._own_write(lambda: self.store.put(NAME, text(str(self.written))))

    @rule()
    def we_purge(self) -> None:
        self._own_write(lambda: self.store.purge(NAME))

    @rule()
    def read(self) -> None:
        now = self.clock.monotonic()
        warm = self.store.is_warm(NAME)
        self._note()
        try:
            secret = self.store.get(NAME)
        except UnavailableError:
            assert self.state == "out" or now < self.out_until
            return
        except PermissionDeniedError:
            assert self.state == "denied"
            self.denied_since = True
            return
        except SecretNotFoundError:
            assert self.state == "well"
            assert current(self.inner) is None
            return
        assert secret.version not in self.ended, "a write of this store had ended it"
        assert now - self.was_current[secret.version] < FRESH + (STALE if secret.stale else 0)
        assert not (self.denied_since and (self.state == "out")), "a denial had evicted it"
        if self.state == "well" and not warm:
            assert not secret.stale
            assert secret.version == self.inner.get(KEY, Stage.CURRENT).version
            self.denied_since = False
        if secret.stale:
            assert self.state == "out" or now < self.out_until

    @invariant()
    def nothing_runs_on(self) -> None:
        """What a read began behind its back ends before the next step, so that a failure can be replayed."""
        refreshed()
        if hasattr(self, "store") and self.state == "denied" and not self.store._reads.warm:
            self.denied_since = True

    def _own_write(self, write: object) -> None:
        self._note()
        before = {version for version in self.was_current if version not in self.ended}
        try:
            write()  # type: ignore[operator]
        except (UnavailableError, PermissionDeniedError, SecretNotFoundError):
            return
        self.ended |= before
        self.denied_since = False

    def _become(self, state: str) -> None:
        if self.state == "out":
            self.out_until = self.clock.monotonic() + PAUSE
        self.state = state
        self.backend.clear()
        if state == "out":
            self.backend.unreachable()
        elif state == "denied":
            self.backend.deny()

    def _note(self) -> None:
        """What is current now has been until now."""
        if current(self.inner) is not None:
            self.was_current[self.inner.get(KEY, Stage.CURRENT).version] = self.clock.monotonic()


TestOutageMachine = OutageMachine.TestCase
TestOutageMachine.settings = settings(
    max_examples=1000 if NIGHTLY else 100, stateful_step_count=30, deadline=None
)
