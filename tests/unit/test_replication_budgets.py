"""A replication keeps within what each provider takes, however much there is to do."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import Final

import pytest

from strongroom.backend import Absent, Backend, Capability, SecretVersion, WriteBudget
from strongroom.errors import UnavailableError
from strongroom.layers.layer import Layer
from strongroom.layers.recorded import Recorded
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Key, Name, Reserved
from strongroom.registry import backend_class
from strongroom.replication.budget import Budget
from strongroom.replication.member import Member
from strongroom.replication.replicator import Replicator
from strongroom.replication.running import GIVES_UP_AFTER, Run
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests import drift
from tests.drift import DOMAIN
from tests.scale import scaled

NATIVE: Final = ("aws-sm",)
LIMITED: Final = ("aws-sm", "aws-ssm", "azure-kv", "gcp-sm")
FREE: Final = ("local", "memory", "pkcs11", "vault")


class Timed(Layer):
    """A store that takes what a provider takes, and notes when it was asked to write."""

    def __init__(self, inner: Backend, clock: FakeClock, budget: WriteBudget | None):
        super().__init__(inner)
        self._clock, self._budget = clock, budget
        self.times: dict[str, list[float]] = defaultdict(list)

    @property
    def write_budget(self) -> WriteBudget | None:  # type: ignore[override]
        return self._budget

    @property
    def writer(self) -> Backend:
        return self

    def _note(self, key: Key) -> None:
        if isinstance(key, Reserved) and key.kind == "replication-sheet":  # once in a replica's life
            return
        whose = str(key) if self._budget and self._budget.each == "secret" else ""
        self.times[whose].append(self._clock.monotonic())

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._note(key)
        return self.inner.put(key, value, if_version, record)

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        self._note(key)
        return self.inner.put_pending(key, rotation_id, value, base_version, record)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        self._note(key)
        return self.inner.promote_pending(key, rotation_id)

    def retire(self, key: Key, version: str) -> None:
        self._note(key)
        self.inner.retire(key, version)


def most(times: list[float], seconds: float) -> int:
    """The most of these moments that lie within any span of so many seconds, its end not counted."""
    return max(bisect_left(times, begin + seconds) - number for number, begin in enumerate(times))


def changes(scheme: str, clock: FakeClock, share: int = 10) -> Timed:
    """A replica with this provider's budget, of which every secret has changed once since it was made."""
    flags = ALL if scheme in NATIVE else ALL & ~Capability.NATIVE_PENDING
    replica = Timed(MemoryBackend(flags, clock), clock, backend_class(scheme).write_budget)
    source = MemoryBackend(clock=clock, origin="memory:source")
    app = Recorded(source, DOMAIN, alias="source", clock=clock)
    members = Member("source", source, DOMAIN), Member("replica", replica, DOMAIN)
    replicator = Replicator(*members, clock=clock, parallel=1)
    for round_ in range(2):
        for number in range(scaled(1000, f"changes within the budget of {scheme}", share)):
            of = drift.name(number)
            app.put(of, SecretValue(f"{drift.value(of).reveal_text()} {round_}"), None)
        assert not replicator.sync().failed
    return replica


@pytest.mark.parametrize("scheme", LIMITED)
def test_changes_keep_within_what_the_provider_takes(scheme: str) -> None:
    """In no span of the budget's length is more written: pages, companions and records counted alike."""
    clock = FakeClock()
    replica, budget = changes(scheme, clock), backend_class(scheme).write_budget
    assert budget is not None
    assert all(most(times, budget.seconds) <= budget.writes for times in replica.times.values())
    if budget.each == "store":
        total = len(replica.times[""])
        assert clock.monotonic() >= (total // budget.writes - 1) * budget.seconds  # it did wait
        assert clock.monotonic() <= total / budget.writes * budget.seconds  # and no longer than it must


@pytest.mark.parametrize("scheme", FREE)
def test_who_sets_no_limit_is_waited_for_by_nobody(scheme: str) -> None:
    """A store of one's own takes what comes."""
    clock = FakeClock()
    assert backend_class(scheme).write_budget is None
    assert changes(scheme, clock, share=100).times[""]
    assert clock.slept == []


def test_a_secret_that_has_had_its_writes_of_a_day_is_left_for_later() -> None:
    """A thread that slept until tomorrow would keep all others waiting behind it."""
    clock = FakeClock()
    budget = Budget(WriteBudget(144, 86_400.0, "secret"), clock)
    for _ in range(144):
        budget.take("hot")
    began = clock.monotonic()
    with pytest.raises(UnavailableError) as caught:
        budget.take("hot")
    assert (caught.value.performed, caught.value.retry_after) == (False, 86_400.0)
    budget.take("cold")
    assert clock.monotonic() == began
    clock.advance(86_400)
    budget.take("hot")


def test_names_that_have_had_their_writes_keep_no_others_from_being_tried() -> None:
    """The store is there: only one that does not answer at all is given up."""
    budget = Budget(WriteBudget(1, 86_400.0, "secret"), FakeClock())
    hot = [Name(f"hot{n}") for n in range(2 * GIVES_UP_AFTER)]
    for name in hot:
        budget.take(str(name))

    def write(name: Name) -> Name:
        budget.take(str(name))
        return name

    run = Run(1, write)
    assert run.each([*hot, Name("cold")]) == [Name("cold")]
    assert (len(run.failed), run.left) == (len(hot), [])
