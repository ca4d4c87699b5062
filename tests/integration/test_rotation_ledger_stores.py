"""The ledger in real stores: what their compare-and-set, their limits and their versions make of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from strongroom.backend import Backend, Clock, Settings
from strongroom.registry import open_backend
from strongroom.rotation.ledger import Entry, InProgressError, Ledger, OvertakenError, State
from strongroom.rotation.storeledger import StoreLedger
from strongroom.testing.aws import StrictServer
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.conformance.aws import aws
from tests.conformance.test_gcp import gcp
from tests.unit.ledger_conformance import HOUR, claimed, new_id
from tests.unit.local_support import encrypted, local


class Ahead(Clock):
    """The system's, moved ahead by a test."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@contextmanager
def _aws(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with StrictServer() as server:
        yield aws(server.url)


@contextmanager
def _vault(request: pytest.FixtureRequest) -> Iterator[Backend]:
    server = request.getfixturevalue("openbao_server")
    url = f"vault:///{request.getfixturevalue('kv2_mount')}/prod?endpoint={server.address}"
    yield open_backend(
        url, Settings(auth={"method": "token", "token": SecretValue(server.token)}, timeout=30.0)
    )


@contextmanager
def _google(request: pytest.FixtureRequest) -> Iterator[Backend]:
    yield gcp(request.getfixturevalue("google_process"), f"ledger-{uuid.uuid4().hex[:8]}")


@contextmanager
def _local(request: pytest.FixtureRequest) -> Iterator[Backend]:
    folder: Path = request.getfixturevalue("tmp_path")
    yield encrypted(local(folder))


STORES = {"aws": _aws, "vault": _vault, "google": _google, "local": _local}


@pytest.fixture(params=STORES)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with STORES[request.param](request) as opened:
        yield opened
        opened.close()


def test_a_rotation_goes_its_way_in_a_store(backend: Backend) -> None:
    """Two workers, of which one is overtaken: begun once, fenced, waiting, over, and the next one begun."""
    clock = Ahead()
    one: Ledger = StoreLedger(backend, clock)
    two: Ledger = StoreLedger(backend, clock)
    secret, tick = "prod:db/password", clock.now()
    assert one.plan(secret, tick, expected=None)
    assert [name for name, _ in two.due(5)] == [secret]
    entry = one.begin(new_id(), secret, base="1", tick=tick, next_due=tick + HOUR)
    with pytest.raises((InProgressError, OvertakenError)):
        two.begin(new_id(), secret, base="1", tick=tick, next_due=tick + HOUR)
    asleep = claimed(one, entry)
    assert two.claim(entry.id) is None
    clock.ahead += timedelta(minutes=1)
    (taken,) = two.claim_due(5)
    with pytest.raises(OvertakenError):
        one.record(asleep, State.CREATED)
    promoted = two.record(two.record(taken, State.SET, facts={"key": "AKIA"}), State.PROMOTED, version="2")
    two.release(promoted, due=HOUR)
    assert one.claim_due(5) == []
    clock.ahead += HOUR
    (again,) = one.claim_due(5)
    assert one.record(again, State.DONE).facts == {"key": "AKIA"}
    assert two.last_success(secret) == promoted.promoted
    assert two.begin(new_id(), secret, base="2").epoch == 0


def test_workers_that_race_in_a_store_do_not_overtake_each_other(backend: Backend) -> None:
    """Four threads begin one rotation and claim it: compare-and-set lets one do each."""
    ledgers = [StoreLedger(backend, Clock()) for _ in range(4)]
    starts = at_once([partial(ledger.begin, new_id(), "prod:x", base=None) for ledger in ledgers])
    begun = [answer for answer in starts if isinstance(answer, Entry)]
    assert len(begun) == 1
    claims = at_once([partial(ledger.claim, begun[0].id) for ledger in ledgers])
    assert [claim.epoch for claim in claims if isinstance(claim, Entry)] == [1]
