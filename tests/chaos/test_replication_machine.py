"""Whatever happens to three unlike stores, they converge after it heals, and nothing acknowledged is lost."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from strongroom.backend import Backend, Settings, Stage
from strongroom.errors import (
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.failover import Failover
from strongroom.layers.revocable import Revocable
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.replication.plan import Plan, Report
from strongroom.replication.record import Record
from strongroom.replication.replicator import Replicator
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import Killed, lost_answer
from strongroom.value import SecretValue
from tests.chaos.replication_scene import Place, Scene
from tests.scale import scaled
from tests.servers.openbao import OpenBao
from tests.unit.local_support import local
from tests.unit.replication_support import COMPANION
from tests.unit.strict_aws_support import Aws

pytestmark = pytest.mark.timeout(7200)

_numbers = itertools.count(1)
NAMES = [Name("a"), Name("b")]
ALIASES = ["one", "two", "three"]
ANY, NAME = st.sampled_from(ALIASES), st.sampled_from(NAMES)
WRITES = st.sampled_from(["put", "put_pending", "promote_pending", "delete", "*"])
SKIPS = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 8])
"""Most runs make few calls of a kind: a crash must often meet one of them."""


class Revoked:
    """Which writes are revoked, told to every replica at once."""

    def __init__(self) -> None:
        self.records: set[str] = set()

    def check(self, name: str, version: str, record: str | None = None, *, strict: bool = True) -> None:
        if record in self.records:
            raise SecretNotFoundError("revoked", name=name)

    def after_fork(self) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to release."""


class Machine(RuleBasedStateMachine):
    """Applications in every region, replicators that are cut off and killed, operators, and one reader."""

    stores: Callable[[], Any]
    encrypted: bool

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        self.clock = FakeClock()
        self.scene = Scene(
            self.stack.enter_context(type(self).stores()), NAMES, self.clock, encrypted=self.encrypted
        )
        self.plans: list[tuple[Replicator, Plan]] = []
        self.revoked, self.given = Revoked(), dict[Name, Record]()
        members: dict[str, Backend] = {}
        for alias, place in self.scene.places.items():
            members[alias] = Revocable(place.member.backend, self.revoked, lambda _name: True)
        self.reader = Failover(members, clock=self.clock)
        self.scene.write(self.scene.source, NAMES[0])
        for place in self.scene.replicas():
            self._run(self.scene.replicator(self.scene.source, place).sync)

    def _place(self, alias: str) -> Place:
        return self.scene.places[alias]

    @rule(alias=ANY, name=NAME)
    def write(self, alias: str, name: Name) -> None:
        """By an application in that region; a replica refuses, and so does a source that was fenced."""
        with suppress(PermissionDeniedError, SecretConflictError):  # a name in the bin is one too
            self.scene.write(self._place(alias), name)

    @rule(name=NAME)
    def write_at_the_source(self, name: Name) -> None:
        with suppress(SecretConflictError):
            self.scene.write(self.scene.source, name)

    @rule(alias=ANY, name=NAME)
    def delete(self, alias: str, name: Name) -> None:
        with suppress(PermissionDeniedError, SecretNotFoundError):
            self.scene.delete(self._place(alias), name)

    @rule(alias=ANY, name=NAME)
    def restore(self, alias: str, name: Name) -> None:
        with suppress(PermissionDeniedError, SecretNotFoundError):
            self.scene.restore(self._place(alias), name)

    @rule(name=NAME)
    def revoke(self, name: Name) -> None:
        """Its successor first, as a rotation does; then no reader may get it, wherever it still is."""
        with suppress(SecretNotFoundError, SecretConflictError):
            bad = self.scene.source.near.get(name, Stage.CURRENT).record
            self.scene.write(self.scene.source, name)
            if bad:
                self.revoked.records.add(bad)

    @rule(source=ANY, replica=ANY)
    def sync(self, source: str, replica: str) -> None:
        """Also by a replicator that was not told who took over."""
        if source != replica:
            self._run(self.scene.replicator(self._place(source), self._place(replica)).sync)

    @rule(replica=ANY)
    def sync_from_the_source(self, replica: str) -> None:
        if replica != self.scene.source.alias:
            self._run(self.scene.replicator(self.scene.source, self._place(replica)).sync)

    @rule(replica=ANY)
    def send(self, replica: str) -> None:
        """What a replicator has seen is on its way."""
        if replica != self.scene.source.alias:
            replicator = self.scene.replicator(self.scene.source, self._place(replica))
            with suppress(UnavailableError):
                self.plans.append((replicator, replicator.plan()))

    @precondition(lambda self: self.plans)
    @rule(which=st.integers(0, 9), again=st.booleans())
    def deliver(self, which: int, again: bool) -> None:
        """In any order, and more than once."""
        replicator, plan = self.plans[which % len(self.plans)]
        if not again:
            del self.plans[which % len(self.plans)]
        self._run(lambda: replicator.apply(plan))

    @precondition(lambda self: self.plans)
    @rule()
    def drop(self) -> None:
        self.plans.pop(0)

    @rule(alias=ANY)
    def partition(self, alias: str) -> None:
        """Nobody reaches it but the applications of its own region."""
        self._place(alias).far.unreachable()

    @rule(alias=ANY)
    def heal(self, alias: str) -> None:
        self._place(alias).far.clear()

    @rule(replica=ANY, operation=WRITES, skip=SKIPS, after=st.booleans())
    def crash(self, replica: str, operation: str, skip: int, after: bool) -> None:
        """The replicator is killed before or after one of its calls."""
        self._broken(replica, operation, skip, after, Killed)

    @rule(replica=ANY, operation=WRITES, skip=SKIPS)
    def lose_an_answer(self, replica: str, operation: str, skip: int) -> None:
        """The write was done, and nobody was told."""
        self._broken(replica, operation, skip, True, lost_answer)

    @rule(alias=ANY, drained=st.booleans())
    def takeover(self, alias: str, drained: bool) -> None:
        """By any replica that was replicated to; a drain that cannot be done refuses it."""
        if alias != self.scene.source.alias:
            with suppress(UnavailableError, SecretConflictError):
                self.scene.takeover(self._place(alias), drained=drained)

    @rule(name=NAME)
    def read(self, name: Name) -> None:
        """One process that reads from whoever answers never goes back, and never gets what is revoked."""
        try:
            secret = self.reader.get(name, Stage.CURRENT)
        except (SecretNotFoundError, UnavailableError):
            return
        record = Record.parse(secret.record) if secret.record else None
        if record:
            assert record.text not in self.revoked.records
            assert name not in self.given or record.order >= self.given[name].order, "a reader went back"
            self.given[name] = record

    def _broken(
        self, replica: str, operation: str, skip: int, after: bool, how: Callable[[], BaseException]
    ) -> None:
        place = self._place(replica)
        if replica == self.scene.source.alias:
            return
        self.write_at_the_source(NAMES[0])
        place.far.fault(operation, how, after=after, skip=skip)
        try:
            self._run(self.scene.replicator(self.scene.source, place).sync)
        except Killed:
            pass
        finally:
            place.far.clear()

    def _run(self, call: Callable[[], Report]) -> None:
        """A replicator's run: it may say that somebody is away, or was faster, or is the source."""
        report = None
        with suppress(UnavailableError, SecretConflictError, PermissionDeniedError):
            report = call()
        for error in report.failed.values() if report else ():
            assert isinstance(error, (UnavailableError, SecretConflictError, PermissionDeniedError)), error
        for place in self.scene.places.values():
            for name in NAMES:
                place.watch(name)

    def teardown(self) -> None:
        """All is healed, and every replica brought up."""
        try:
            self.scene.heal()
            self.scene.assert_converged()
            self.scene.assert_nothing_lost()
            self.scene.assert_written_once()
            for place in self.scene.replicas():
                with pytest.raises(SecretStoreError):
                    self.scene.write(place, NAMES[0])
        finally:
            self.reader.close()
            self.stack.close()


@contextmanager
def in_memory() -> Iterator[Mapping[str, Backend]]:
    """Three that hold pending values natively or in companions."""
    kinds = {"one": ALL, "two": COMPANION, "three": ALL}
    yield {alias: MemoryBackend(kind, origin=alias) for alias, kind in kinds.items()}


@contextmanager
def of_three_kinds(folder: Path, bao: OpenBao, mount: str, aws: str) -> Iterator[Mapping[str, Backend]]:
    """An embedded database, OpenBao, and the strict double of Secrets Manager: empty, below a new prefix."""
    number = next(_numbers)
    settings_of_vault = Settings(auth={"method": "token", "token": SecretValue(bao.token)})
    place = f"p{os.getpid()}-{number}"
    with ExitStack() as stack:
        bare = local(folder, name=f"{number}.db")
        stack.callback(bare.close)
        vault = open_backend(f"vault:///{mount}/{place}?endpoint={bao.address}", settings_of_vault)
        stack.callback(vault.close)
        manager = open_backend(f"aws-sm://eu-west-1/{place}?endpoint={aws}")
        stack.callback(manager.close)
        yield {"one": bare, "two": vault, "three": manager}


def _machine(stores: Callable[[], Any], *, encrypted: bool) -> type[Machine]:
    return type("Machine", (Machine,), {"stores": staticmethod(stores), "encrypted": encrypted})


def _settings(count: int) -> settings:
    phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
    return settings(
        max_examples=count,
        stateful_step_count=25,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )


def test_a_deletion_that_came_half_way_before_its_source_was_lost_is_kept_for_a_person() -> None:
    """Its record had reached the replica that takes over, and what it deletes was there still."""
    name = NAMES[0]
    with in_memory() as backends:
        scene = Scene(backends, NAMES, FakeClock(), encrypted=False)
        one, two, three = scene.places.values()
        scene.write(one, name)
        for place in (two, three):
            scene.replicator(one, place).sync()
        scene.delete(one, name)
        two.far.fault("put", lost_answer, after=True)
        scene.replicator(one, two).sync()
        two.far.clear()
        scene.takeover(two, drained=False)
        scene.assert_converged()
        scene.assert_nothing_lost()
        assert two.kept(name) == {None}


def test_what_a_lost_source_left_half_way_at_a_replica_stops_nobody() -> None:
    """Its payload waits there, above all that the source of before has written; it never comes back."""
    name = NAMES[0]
    with in_memory() as backends:
        scene = Scene(backends, NAMES, FakeClock(), encrypted=False)
        one, two, three = scene.places.values()
        scene.write(one, name)
        for place in (two, three):
            scene.replicator(one, place).sync()
        scene.write(one, name)
        scene.takeover(three, drained=False)
        scene.write(three, name)
        two.far.fault("put", Killed, after=True, skip=1)
        with suppress(Killed):
            scene.replicator(three, two).sync()
        two.far.clear()
        three.far.unreachable()
        scene.takeover(one, drained=False)
        assert not scene.replicator(one, two).sync().failed
        assert two.now(name) == one.now(name) == "2"
        scene.heal()
        scene.assert_converged()
        scene.assert_nothing_lost()


def test_three_stores_in_memory_converge_after_anything() -> None:
    """Both ways to hold a pending value."""
    count = scaled(2_000, "sequences of the replication machine, in memory", share=10)
    run_state_machine_as_test(_machine(in_memory, encrypted=False), settings=_settings(count))


def test_an_embedded_store_openbao_and_aws_converge_after_anything(
    tmp_path: Path, openbao_server: OpenBao, kv2_mount: str
) -> None:
    """Each behind its real protocol; the same sequences."""
    count = scaled(2_000, "sequences of the replication machine, embedded, OpenBao and AWS", share=1000)
    double = Aws()

    def stores() -> Any:
        double.renew()
        return of_three_kinds(tmp_path, openbao_server, kv2_mount, double.server.url)

    with double.server:
        run_state_machine_as_test(_machine(stores, encrypted=True), settings=_settings(count))
