"""A provider's own replication under the commands of ours: planned, synced, watched and detached."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Backend, Clock, Settings, Stage
from strongroom.coordinator import StoreCoordinator
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.layers.edge import edge
from strongroom.layers.recorded import Recorded
from strongroom.memory import MemoryBackend
from strongroom.names import Key, Name, StoreURL
from strongroom.replication import native
from strongroom.replication.denying import Denying
from strongroom.replication.detaching import Detaching
from strongroom.replication.member import Member
from strongroom.replication.native import NativeReplicator
from strongroom.replication.order import Order
from strongroom.replication.record import Record
from strongroom.replication.replicator import Replicator
from strongroom.replication.sheet import SHEET_KEY, Sheet, read_sheet, write_sheet
from strongroom.replication.takeover import Takeover
from strongroom.testing.aws import AwsError, Lag
from strongroom.value import SecretValue
from strongroom_aws.secrets_manager import SecretsManager
from tests.canary import CANARY
from tests.scale import scaled
from tests.unit.direct_aws import connect_directly
from tests.unit.strict_aws_support import OTHER, REGION, Aws

DOMAIN, THIRD = "prod", "ap-south-1"
DB, API = Name("db/password"), Name("exchange/api-key")
KEY_THERE = f"arn:aws:kms:{OTHER}:123456789012:key/11111111-1111-1111-1111-111111111111"


class AwsClock(Clock):
    """The time of the strict double: who sleeps makes it pass."""

    def __init__(self, aws: Aws):
        self._aws = aws

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._aws.now[0], UTC)

    def monotonic(self) -> float:
        return self._aws.now[0]

    def sleep(self, seconds: float) -> None:
        self._aws.wait(seconds)

    def chance(self) -> float:
        return 0.5


@dataclass
class Scene:
    """A source in one region; what stands in another."""

    aws: Aws
    hooks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = AwsClock(self.aws)
        self.source = Member("prod-eu", self.open(REGION), DOMAIN)
        self.replica = Member("prod-us", self.open(OTHER), DOMAIN)
        self.app = Recorded(self.source.backend, DOMAIN, alias="prod-eu", clock=self.clock)

    def open(self, region: str, prefix: str = "/prod") -> Backend:
        url = StoreURL.parse(f"aws-sm://{region}{prefix}?endpoint={self.aws.server.url}")
        return edge(SecretsManager.from_url(url, Settings(clock=self.clock)))

    def replicator(self, **facts: Any) -> NativeReplicator:
        given: dict[str, Any] = {"clock": self.clock, "parallel": 1, "hooks": self.hooks, **facts}
        return NativeReplicator(self.source, self.replica, **given)

    def write(self, name: Name = DB, text: str = "one") -> None:
        """As another program would: fewer calls, and no record."""
        self.source.backend.put(name, SecretValue(f"{CANARY} {text}"), None)

    def record(self, name: Name = DB, text: str = "one") -> None:
        """As applications do at a source."""
        self.app.put(name, SecretValue(f"{CANARY} {text}"), None)

    def there(self, name: Name = DB) -> str:
        """What stands in the other region."""
        found = self.replica.backend.get(name, Stage.CURRENT).value
        return found.reveal_text().removeprefix(f"{CANARY} ")

    def theirs(self, name: Name = DB) -> None:
        """Somebody else's secret in the other region."""
        self.replica.backend.put(name, SecretValue(f"{CANARY} theirs"), None)

    @contextmanager
    def down(self, region: str) -> Iterator[None]:
        """Every call to a region ends in an error of AWS's."""
        call = self.aws.manager.call

        def refused(where: str, *args: Any, **how: Any) -> Any:
            if where == region:
                raise AwsError("InternalServiceError", "down", 500)
            return call(where, *args, **how)

        self.aws.manager.call = refused  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            self.aws.manager.call = call  # type: ignore[method-assign]

    def break_off(self, name: Name = DB) -> None:
        """The replication is wedged: https://github.com/square/password-rotation-lambda/issues/12."""
        secret: Any = self.aws.manager._account.shelf(REGION)[f"prod/{name}"]
        secret.replicas[OTHER].status = "Failed"


@pytest.fixture(scope="module")
def _aws() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def scene(_aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Scene:
    _aws.renew()
    connect_directly(monkeypatch, _aws.server)
    return Scene(_aws)


def actions(steps: Any) -> dict[str, str]:
    return {step.name: step.action.value for step in steps}


def synced(scene: Scene, **facts: Any) -> Any:
    report = scene.replicator(**facts).sync()
    assert not report.failed, {name: str(error) for name, error in report.failed.items()}
    return report


class TestSync:
    def test_every_name_is_copied_and_verified(self, scene: Scene) -> None:
        """The other region has the value, and its record as the source wrote it."""
        scene.record()
        scene.record(API, "two")
        report = synced(scene)
        assert actions(report.done) == {str(DB): "create", str(API): "create"}
        assert (scene.there(), scene.there(API)) == ("one", "two")
        assert scene.replica.backend.get(DB, Stage.CURRENT).record == _record(scene, DB)

    def test_what_agrees_is_neither_read_nor_written(self, scene: Scene) -> None:
        """A drift check costs a list of each region, however many secrets there are."""
        names = [Name(f"app/s{n}") for n in range(scaled(300, "native drift", 60))]
        for name in names:
            scene.source.backend.put(name, SecretValue(f"{CANARY} x"), None)
        synced(scene)
        scene.aws.server.calls.clear()
        plan = scene.replicator().plan()
        assert set(actions(plan.steps).values()) == {"same"}
        assert len(plan.steps) == len(names)
        pages = 2 * math.ceil(len(names) / 100)
        sheets = {"GetSecretValue": 2}
        assert dict(scene.aws.server.calls) == {"ListSecrets": pages} | sheets

    def test_patterns_say_which_names(self, scene: Scene) -> None:
        """What is not among them is not copied."""
        scene.write()
        scene.write(API)
        assert actions(synced(scene, names=("db/**",)).done) == {str(DB): "create"}

    def test_one_name_is_asked_about_without_a_list(self, scene: Scene) -> None:
        """A hint names a secret that the lists may not have yet."""
        scene.write()
        scene.aws.behaviour.listing = Lag(seconds=300)
        scene.write(API)
        report = scene.replicator().sync([str(API)])
        assert actions(report.done) == {str(API): "create"}
        assert scene.there(API) == "one"

    def test_several_places_each_under_its_key(self, scene: Scene) -> None:
        """One replicator configures all of them."""
        scene.write()
        synced(scene, places={OTHER: KEY_THERE, THIRD: ""})
        copies = _copies(scene)
        assert (set(copies), copies[OTHER].key) == ({OTHER, THIRD}, KEY_THERE)

    def test_a_key_that_changed_in_the_configuration_is_changed_there(self, scene: Scene) -> None:
        """And the plan says so before."""
        scene.write()
        synced(scene)
        replicator = scene.replicator(places={OTHER: KEY_THERE})
        [step] = replicator.plan().steps
        assert (step.action.value, step.reason) == ("update", f"another key in {OTHER}")
        replicator.sync()
        assert _copies(scene)[OTHER].key == KEY_THERE
        assert actions(replicator.plan().steps) == {str(DB): "same"}

    def test_it_waits_until_the_region_tells_of_the_version(self, scene: Scene) -> None:
        """Done means readable there, not asked for."""
        scene.write()
        scene.aws.behaviour.replication = Lag(seconds=3)
        synced(scene)
        assert scene.there() == "one"

    def test_what_takes_too_long_is_said_and_gone_on_with(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One sync waits a minute; the name is reported with the region."""
        assert native.PATIENCE == 60.0
        monkeypatch.setattr(native, "PATIENCE", 1.0)
        scene.write()
        scene.aws.behaviour.replication = Lag(seconds=100)
        report = scene.replicator().sync()
        assert not report.complete
        assert OTHER in report.failed[str(DB)].message
        scene.aws.wait(100)
        assert actions(scene.replicator().plan().steps) == {str(DB): "same"}

    def test_a_wedged_replication_is_taken_up_again(self, scene: Scene) -> None:
        """The plan says that it failed; a sync tries it again."""
        scene.write()
        synced(scene)
        scene.break_off()
        scene.write(text="two")
        [step] = scene.replicator().plan().steps
        assert (step.action.value, scene.there()) == ("update", "one")
        assert "failed" in step.reason
        synced(scene)
        assert scene.there() == "two"

    def test_a_key_that_cannot_be_used_fails_its_names_alone(self, scene: Scene) -> None:
        """In our own words, with the region."""
        scene.write()
        scene.aws.behaviour.kms_denied.add(KEY_THERE)
        report = scene.replicator(places={OTHER: KEY_THERE}).sync()
        error = report.failed[str(DB)]
        assert isinstance(error, UnavailableError)
        assert (error.name, error.message) == (
            str(DB),
            f"the replication to {OTHER} failed: its KMS key cannot be used",
        )

    def test_the_domains_digest_key_goes_along(self, scene: Scene) -> None:
        """Who takes over in the region verifies what was written before."""
        scene.record()
        synced(scene)
        source, replica = (Order(m.backend, DOMAIN) for m in (scene.source, scene.replica))
        assert replica.digest_key() == source.digest_key()

    def test_the_replica_has_a_sheet_of_its_own(self, scene: Scene) -> None:
        """It follows the source's, and takes writes: AWS's copy of the source's would not, at a takeover."""
        scene.record()
        synced(scene)
        sheet = Order(scene.replica.backend, DOMAIN).sheet()
        assert sheet == Order(scene.source.backend, DOMAIN).sheet()
        assert "ReplicationStatus" not in scene.aws.client().describe_secret(SecretId=_full(scene, SHEET_KEY))

    def test_a_source_that_was_replaced_is_no_source(self, scene: Scene) -> None:
        """The sheet at the replica says who is; nothing is configured any more."""
        scene.write()
        synced(scene)
        sheet = Order(scene.replica.backend, DOMAIN).sheet()
        assert sheet is not None
        newer = Sheet(DOMAIN, 2, "a" * 32, "prod-us")
        write_sheet(scene.replica.backend, newer, read_sheet(scene.replica.backend)[1])
        with pytest.raises(PermissionDeniedError, match="prod-us is the source since epoch 2"):
            scene.replicator().sync()


class TestStrangers:
    def test_a_name_that_is_taken_waits_for_a_person(self, scene: Scene) -> None:
        """It is not written, by no sync."""
        scene.write()
        scene.theirs()
        [step] = scene.replicator().plan().steps
        assert (step.action.value, step.drifted) == ("foreign", True)
        report = scene.replicator().sync()
        assert actions(report.skipped) == {str(DB): "foreign"}
        assert scene.there() == "theirs"

    def test_one_that_came_since_the_plan_is_a_conflict(self, scene: Scene) -> None:
        """The plan is looked at again before it is carried out."""
        scene.write()
        replicator = scene.replicator()
        plan = replicator.plan()
        scene.theirs()
        report = replicator.apply(plan)
        assert isinstance(report.failed[str(DB)], SecretConflictError)
        assert scene.there() == "theirs"

    def test_adopting_is_refused(self, scene: Scene) -> None:
        """AWS would destroy what stands there, with all its versions."""
        scene.write()
        scene.theirs()
        report = scene.replicator().adopt([str(DB)])
        assert isinstance(report.failed[str(DB)], UnsupportedOperationError)
        assert scene.there() == "theirs"


class TestStatus:
    def test_a_replica_in_step(self, scene: Scene) -> None:
        """Names, and when the last sync was."""
        scene.write()
        scene.write(API)
        replicator = scene.replicator()
        replicator.sync()
        status = replicator.status()
        assert (status.names, status.in_sync, status.healthy) == (2, 2, True)
        assert status.last_sync == scene.clock.now()
        assert (status.lag, status.epoch) == (None, 1)

    def test_a_replica_that_lags(self, scene: Scene) -> None:
        """How many writes, and how old the oldest of them is."""
        scene.write()
        scene.write(API)
        synced(scene)
        scene.aws.behaviour.replication = Lag(seconds=300)
        scene.write(text="two")
        scene.aws.wait(90)
        status = scene.replicator().status()
        assert (status.in_sync, status.lag_versions, status.healthy) == (1, 1, False)
        assert status.lag == timedelta(seconds=90)

    def test_what_is_missing_and_what_is_foreign(self, scene: Scene) -> None:
        """Each counted as what it is."""
        scene.write()
        scene.write(API)
        scene.theirs(API)
        status = scene.replicator().status()
        assert (status.names, status.missing, status.foreign, status.drift) == (2, 1, 1, 1)


class TestDetach:
    def test_a_takeover_makes_the_copies_secrets_of_their_own(self, scene: Scene) -> None:
        """The source's region is not asked; the new source orders its writes after the old one's."""
        scene.record()
        scene.record(API)
        synced(scene)
        before, detaching = _record(scene, DB), scene.replicator()
        with scene.down(REGION):
            coordinator = StoreCoordinator(MemoryBackend(clock=scene.clock), scene.clock)
            taken = Takeover(scene.replica, coordinator, others=[scene.source], clock=scene.clock).run()
            assert detaching.detach().complete
        assert (taken.sheet.source, set(taken.unreachable)) == ("prod-us", {"prod-eu"})
        after = Recorded(scene.replica.backend, DOMAIN, alias="prod-us", clock=scene.clock)
        after.put(DB, SecretValue(f"{CANARY} new"), None)
        assert scene.there() == "new"
        assert Record.parse(str(_record(scene, DB))).order == Record.parse(str(before)).order == (1, 1)
        new = scene.replica.backend.get(DB, Stage.CURRENT).record
        assert Record.parse(str(new)).order == (2, 2)

    def test_a_second_detach_changes_nothing(self, scene: Scene) -> None:
        """It is gone on with after a crash."""
        scene.write()
        synced(scene)
        scene.replicator().detach()
        scene.aws.server.calls.clear()
        assert scene.replicator().detach().complete
        assert scene.aws.server.calls["StopReplicationToReplica"] == 0

    def test_the_replica_alone_suffices(self, scene: Scene) -> None:
        """A source that cannot even be opened keeps nobody from taking over."""
        scene.write()
        synced(scene)
        alone = Scene(scene.aws).replica
        assert actions(Detaching(alone, clock=scene.clock).run().done) == {str(DB): "update"}
        alone.backend.put(DB, SecretValue(f"{CANARY} new"), None)

    def test_what_failed_is_said_by_name(self, scene: Scene) -> None:
        """The others are detached."""
        scene.write()
        scene.write(API)
        synced(scene)
        scene.aws.manager.deny("StopReplicationToReplica", "prod/exchange/*")
        report = scene.replicator().detach()
        assert set(report.failed) == {str(API)}
        assert actions(report.done) == {str(DB): "update"}


class TestDenying:
    def test_the_old_source_refuses_every_writer(self, scene: Scene) -> None:
        """Strongroom's and any other; the copy that took over is written."""
        scene.write()
        scene.write(API)
        synced(scene)
        scene.replicator().detach()
        denying = Denying(scene.source, names=("db/**",), clock=scene.clock, parallel=1)
        assert actions(denying.deny().done) == {str(DB): "update"}
        with pytest.raises(PermissionDeniedError):
            scene.source.backend.put(DB, SecretValue(f"{CANARY} late"), None)
        scene.replica.backend.put(DB, SecretValue(f"{CANARY} new"), None)
        scene.source.backend.put(API, SecretValue(f"{CANARY} free"), None)
        denying.lift()
        scene.source.backend.put(DB, SecretValue(f"{CANARY} again"), None)

    def test_what_failed_is_said_by_name(self, scene: Scene) -> None:
        """With the permission that is missing."""
        scene.write()
        scene.aws.manager.deny("PutResourcePolicy")
        error = Denying(scene.source, clock=scene.clock).deny().failed[str(DB)]
        assert (error.name, error.backend) == (str(DB), scene.source.backend.origin)
        assert "secretsmanager:PutResourcePolicy" in (error.hint or "")

    def test_a_provider_that_cannot_is_said_so(self) -> None:
        """Before anything is listed."""
        with pytest.raises(UnsupportedOperationError, match="cannot refuse writes"):
            Denying(Member("m", MemoryBackend(), DOMAIN))


class TestChecks:
    def test_a_store_without_its_own_replication_is_refused(self, scene: Scene) -> None:
        """Ours does it."""
        with pytest.raises(UnsupportedOperationError, match="no replication of its own"):
            NativeReplicator(Member("m", MemoryBackend(), DOMAIN), scene.replica)

    def test_a_replica_of_another_prefix_is_refused(self, scene: Scene) -> None:
        """The provider copies a secret under its name: the replica would never find it."""
        other = Member("prod-us", scene.open(OTHER, "/live"), DOMAIN)
        with pytest.raises(InvalidRequestError, match="otherwise than its source"):
            NativeReplicator(scene.source, other)

    def test_a_place_that_does_not_answer_fails_the_plan(self, scene: Scene) -> None:
        """Nobody can say what it holds."""
        scene.write()
        scene.aws.faults.drop("ListSecrets", times=9)
        with pytest.raises(UnavailableError):
            scene.replicator().plan()

    def test_a_hook_that_vetoes_keeps_the_copy_from_being_made(self, scene: Scene) -> None:
        """Each configured name is an operation of the audit."""

        class Veto(AuditHook):
            def before(self, event: AuditEvent) -> None:
                if event.operation.startswith("replica."):
                    raise PermissionDeniedError(f"{event.operation} is not allowed")

            def after(self, event: AuditEvent) -> None:
                """Nothing is told."""

        scene.write()
        scene.hooks.append(Veto())
        report = scene.replicator().sync()
        assert "replica.create is not allowed" in str(report.failed[str(DB)])
        assert _copies(scene) == {}

    def test_progress_counts_every_name(self, scene: Scene) -> None:
        """To the end."""
        scene.write()
        scene.write(API)
        told: list[tuple[int, int]] = []
        scene.replicator().sync(progress=lambda done, of: told.append((done, of)))
        assert told == [(1, 2), (2, 2)]


def test_inside_aws_natively_and_to_another_kind_by_our_own(scene: Scene) -> None:
    """A mixed topology: one source, one order; both replicas have the source's record."""
    vault = Member("vault-dr", MemoryBackend(origin="memory:dr"), DOMAIN)
    scene.record()
    synced(scene)
    ours = Replicator(scene.source, vault, clock=scene.clock, parallel=1)
    assert not ours.sync().failed
    scene.record(text="two")
    synced(scene)
    assert not ours.sync().failed
    records = {m.alias: m.backend.get(DB, Stage.CURRENT).record for m in (scene.source, scene.replica, vault)}
    assert len(set(records.values())) == 1
    assert None not in records.values()
    assert vault.backend.get(DB, Stage.CURRENT).value.matches(f"{CANARY} two")


def _record(scene: Scene, name: Name) -> str | None:
    return scene.source.backend.get(name, Stage.CURRENT).record


def _full(scene: Scene, key: Key) -> str:
    found = scene.source.backend.native_replication()
    assert found is not None
    return found.resource(key)


def _copies(scene: Scene) -> Any:
    found = scene.source.backend.native_replication()
    assert found is not None
    return found.copies(DB)
