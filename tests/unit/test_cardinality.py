"""Ten thousand secrets, all operations and errors, rotations and replicas: under 200 time series.

They are counted as whoever stores them counts them: each label set, and each bucket of a histogram, is one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from strongroom import errors, observing
from strongroom.audit.event import AuditEvent
from strongroom.audit.journal import Journal
from strongroom.audit.shipping import Route, Shipper
from strongroom.audit.sinks.base import Sink
from strongroom.backend import ABSENT, Settings, Stage
from strongroom.cache import CachePolicy
from strongroom.errors import SecretStoreError
from strongroom.layers.failover import Failover
from strongroom.memory import MemoryBackend
from strongroom.names import StoreURL
from strongroom.notices import Message, Receiver
from strongroom.notify.listener import Listener
from strongroom.replication.following import Following
from strongroom.replication.plan import Plan, Report
from strongroom.rotation.engine import Engine
from strongroom.rotation.metrics import StepCounter
from strongroom.rotation.worker import Worker
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.canary import CANARY
from tests.pages import ROOT
from tests.rotation_scene import Scene
from tests.scale import scaled
from tests.unit.telemetry_support import Seen, seen, series
from tests.unit.test_replication_following import DOWN, PassingClock

MOST = 200
SECRETS = scaled(10_000, "secrets of the run whose series are counted")
NAMES = [f"app/{number % 97}/key-{number}" for number in range(SECRETS)]
REPLICAS = ("prod-us", "prod-ap", "prod-dr")
PROVIDERS = ("aws-sm", "vault", "gcp-sm", "azure-kv")
CLASSES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, SecretStoreError)
    and kind is not errors.PartialFailureError
]


class Named(MemoryBackend):
    """In memory, and to a metric another provider."""

    def __init__(self, scheme: str):
        super().__init__()
        self.origin = f"{scheme}://eu-west-1/{scheme}"


def _store(alias: str, *schemes: str) -> tuple[SecretStore, list[FaultyBackend]]:
    members = [FaultyBackend(Named(scheme)) for scheme in schemes]
    named = {f"{alias}-{scheme}": member for scheme, member in zip(schemes, members, strict=True)}
    backend = Failover(named) if len(members) > 1 else members[0]
    return SecretStore(backend, alias=alias, cache=CachePolicy(size=SECRETS)), members


def _nobody(_name: str, _version: str) -> None:
    """Hears of a change."""


def _calls(store: SecretStore, name: str) -> Iterator[Callable[[], object]]:
    """Every operation there is."""
    pending = lambda: store.pending(name, str(uuid.uuid4()))  # noqa: E731
    yield lambda: store.put(name, CANARY)
    yield lambda: store.get(name)
    yield lambda: store.get(name, stage=Stage.PREVIOUS)
    yield lambda: store.get_many([name, "app/none"])
    yield lambda: store.prefetch([name])
    yield lambda: list(store.list_names("app/"))[:1]
    yield lambda: store.versions(name)
    yield lambda: store.describe(name)
    yield lambda: store.set_tags(name, {"team": "a"})
    yield lambda: store.refresh(name, rejected="1")
    yield lambda: store.rollback(name, if_version=store.get(name).version)
    yield lambda: store.retire(name, version="1")
    yield lambda: store.reencrypt(name)
    yield lambda: store.on_change(name, _nobody)()  # noqa: PLW0108  (both calls are to come later)
    yield lambda: next(store.watch(name, timeout=0.0), None)
    yield lambda: pending().put(CANARY, base_version=store.get(name).version)
    yield lambda: pending().get()
    yield lambda: pending().promote()
    yield lambda: pending().discard()
    yield lambda: store.delete(name)
    yield lambda: store.restore(name)
    yield lambda: store.purge(name)
    yield lambda: store.put(name, CANARY, if_version=ABSENT)


def _every_error(store: SecretStore, members: list[FaultyBackend]) -> None:
    """Each operation is refused with each error, by whichever member is asked."""
    for kind in CLASSES:
        for call in _calls(store, "app/victim"):
            for member in members:
                member.fault("*", partial(kind, "scripted"), times=3)
            with suppress(SecretStoreError):
                call()
            for member in members:
                member.clear()
    for call in _calls(store, "app/victim"):
        with suppress(SecretStoreError):
            call()


class Busy:
    """A replicator that brings something over and leaves something, then ends the following."""

    def __init__(self) -> None:
        self.end: Callable[[], object] = lambda: None
        self.answers = [DOWN]
        self.done = False

    def sync(self, names: object = None, progress: object = None) -> Report:
        if self.answers:
            raise self.answers.pop()
        self.done = True
        self.end()
        return Report()

    def plan(self, names: object = None) -> Plan:
        return Plan(())


class Queue(Receiver):
    """A queue of notices in which there is nothing."""

    origin = "sqs://eu-west-1/1/notices"

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        raise NotImplementedError

    def receive(self, timeout: float) -> list[Message]:
        return []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Nothing."""

    def resources(self, message: Message) -> list[str]:
        return []

    def resource(self, location: str) -> str:
        return location

    def close(self) -> None:
        """Nothing."""

    def after_fork(self) -> None:
        """Nothing."""


def _followed() -> Following:
    replicators = {alias: Busy() for alias in REPLICAS}
    following = Following(replicators, clock=PassingClock())

    def end() -> None:
        if all(one.done for one in replicators.values()):
            following.stop()

    for one in replicators.values():
        one.end = end
    return following


def _rotated(folder: Path, duty: Following, then: Callable[[Worker], object]) -> None:
    """A worker with all secrets open, and every step and error on its books, and a thousand strange ones."""
    scene, counter = Scene(folder, "single"), StepCounter()
    policies = [replace(scene.policy, name=name) for name in NAMES]
    engine = Engine(scene.ledger, policies, clock=scene.clock, hooks=[counter])
    for name in NAMES:
        scene.store.put(name, CANARY)
        engine.start(name)
    worker = Worker(engine, scene.ledger, duties=(duty,), steps=counter, clock=scene.clock)
    steps = re.findall(
        r'"rotation\.([a-z-]+)"', (ROOT / "src" / "strongroom" / "rotation" / "events.py").read_text()
    )
    for step in steps:
        for outcome in ("ok", *(kind.__name__ for kind in CLASSES), *(f"Strange{n}" for n in range(50))):
            told = AuditEvent(f"rotation.{step}", NAMES[0], "outcome", scene.clock.now(), outcome=outcome)
            counter.after(told)
    duty.run()
    then(worker)


class Takes(Sink):
    """A sink that takes everything."""

    def deliver(self, entries: object) -> None:
        """All of it."""


def _run(sdk: Seen, folder: Path) -> dict[str, str]:
    """The run; the texts that Prometheus would scrape, by where."""
    with ExitStack() as held:
        journal = Journal.open(folder / "audit")
        held.callback(journal.close)
        shipper = Shipper(folder / "audit", [Route("siem", Takes("json")), Route("s3", Takes("json"))])
        shipper.start()
        held.callback(shipper.close)
        for alias, schemes in (("prod", PROVIDERS), ("billing", PROVIDERS[:1]), ("legacy", PROVIDERS[1:2])):
            store, members = _store(alias, *schemes)
            held.callback(store.close)
            for name in NAMES:
                store.put(name, CANARY)
                store.get(name)
                store.get(name)
            _every_error(store, members)
        held.callback(Listener(store, Queue(), clock=FakeClock()).close)
        texts: dict[str, str] = {}
        following = _followed()

        def look(worker: Worker) -> None:
            for source in (worker, following):
                observing.tell_of(source)  # as while they run
            texts["sdk"], texts["worker"] = sdk.scrape(), worker.metrics()
            texts["follower"] = following.metrics()
            points = sdk.points()
            texts["points"] = "\n".join(f"{name} {len(some)}" for name, some in points.items())
            for source in (worker, following):
                observing.tell_no_more_of(source)

        _rotated(folder, following, look)
    return texts


def test_a_run_of_many_secrets_keeps_few_series(tmp_path: Path) -> None:
    """Of the SDK's own collection, of its scrape, and of the texts that our programs serve ▲."""
    with seen() as sdk:
        texts = _run(sdk, tmp_path)
    points = sum(int(line.split()[1]) for line in texts["points"].splitlines())
    counts = {where: sum(series(texts[where]).values()) for where in ("sdk", "worker", "follower")}
    assert 60 < points < MOST
    assert 100 < counts["sdk"] < MOST, series(texts["sdk"])
    assert 20 < counts["worker"] < MOST
    assert 0 < counts["follower"] < MOST
    page = " ".join((ROOT / "docs" / "telemetry.md").read_text().split())
    assert f"{counts['sdk']} series from the SDK, and {counts['worker']} in the worker's own text" in page
    assert f'strongroom_rotation_open{{state="started"}} {SECRETS}\n' in texts["worker"]
    told = "".join(texts.values())
    assert "app/" not in told
    assert CANARY not in told
    for scheme in PROVIDERS[:2]:
        assert f'backend="{scheme}"' in texts["sdk"]


def test_names_that_are_allowed_have_a_cap_of_their_own() -> None:
    """All names allowed, as many series as were allowed, and one for all others."""
    with seen(secret_names=["**"], most_names=20) as sdk:
        store, _ = _store("allowed", "aws-sm")
        for name in NAMES:
            store.put(name, CANARY)
        points = sdk.points()["strongroom.secret.operations"]
        assert len(points) == 21
        assert sum(points.values()) == len(NAMES)
        assert sum(series(sdk.scrape()).values()) < MOST


@pytest.mark.parametrize("bound", [60, 100])
def test_a_smaller_budget_holds_too(tmp_path: Path, bound: int) -> None:
    """Whatever is told: what finds no room is ``other``, and nothing is lost of a sum."""
    with seen(series=bound) as sdk:
        store, members = _store("small", *PROVIDERS)
        _every_error(store, members)
        text = sdk.scrape()
        operations = sum(sdk.points()["strongroom.operations"].values())
        requests = sum(sdk.points()["strongroom.requests"].values())
        timed = sum(sdk.points()["strongroom.request.duration"].values())
    assert sum(series(text).values()) <= bound
    assert 'outcome="other"' in text
    assert operations > len(CLASSES) * 20
    assert requests == timed
