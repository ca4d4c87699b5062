"""From a store's operations to a detection: the rules are written for what its hook records."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from strongroom.audit.detect.settings import DetectSettings
from strongroom.audit.detect.watcher import Watcher
from strongroom.backend import Stage
from strongroom.store import SecretStore
from strongroom.testing import FakeClock
from tests.canary import CANARY, holds_canary


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where the journal of the configured store is."""
    return tmp_path / "audit"


@pytest.fixture
def clock() -> FakeClock:
    """The time of day of store and watcher."""
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, journal: Path, clock: FakeClock) -> Iterator[SecretStore]:
    """A local store with an audit trail."""
    file = tmp_path / "strongroom.toml"
    file.write_text(
        f'default = "app"\n[store]\napp = {{ url = "local://{tmp_path}/app.db?create=keyset" }}\n'
        f'[audit]\njournal = {{ path = "{journal}" }}\n'
    )
    with strongroom.open(config=file, clock=clock) as opened:
        yield opened


def found(journal: Path, clock: FakeClock) -> list[tuple[str, str]]:
    """Rules and names, after a watcher that does not learn has judged everything."""
    with Watcher(journal, settings=DetectSettings.parse({"learn": 0}), clock=clock) as watcher:
        return [(told["rule"], told["facts"].get("name", "")) for told in watcher.poll(drain=True)]


def test_one_request_for_many_secrets_is_a_burst_of_each(
    store: SecretStore, journal: Path, clock: FakeClock
) -> None:
    """Twenty names in one `get_many`."""
    names = [f"db/n{number}" for number in range(20)]
    for name in names:
        store.put(name, CANARY)
    with strongroom.actor("eve@example.net"):
        store.get_many(names)
    store.close()
    assert ("distinct-secret-burst", "") in found(journal, clock)


def test_a_rotation_makes_the_version_before_it_old(
    store: SecretStore, journal: Path, clock: FakeClock
) -> None:
    """Three hours after a promote, reads of the new version are nothing, and the previous value is told."""
    first = store.put("db/password", CANARY)
    pending = store.pending("db/password", str(uuid.uuid4()))
    pending.put(f"{CANARY}2", base_version=first.id)
    pending.promote()
    clock.advance(3 * 3600)
    for _ in range(3):
        store.get("db/password")
    assert found(journal, clock) == []
    store.get("db/password", stage=Stage.PREVIOUS)
    store.close()
    assert found(journal, clock) == [("previous-after-grace", "db/password")]


def test_a_version_that_is_pinned_grows_old_too(store: SecretStore, journal: Path, clock: FakeClock) -> None:
    """Whoever names it reads it whatever is current."""
    first = store.put("db/password", CANARY)
    store.put("db/password", f"{CANARY}2", if_version=first.id)
    clock.advance(3600)
    store.get("db/password", version=first.id)
    assert found(journal, clock) == []
    clock.advance(3601)
    store.get("db/password", version=first.id)
    store.close()
    assert found(journal, clock) == [("previous-after-grace", "db/password")]


def test_a_break_glass_secret_that_is_not_there_was_asked_for_all_the_same(
    store: SecretStore, journal: Path, clock: FakeClock
) -> None:
    """The outcome does not matter, and nothing that is told or kept holds a value."""
    store.put("ops/break-glass/root", CANARY)
    with pytest.raises(strongroom.SecretNotFoundError):
        store.get("break-glass/admin")
    store.close()
    assert {name for rule, name in found(journal, clock) if rule == "break-glass"} == {
        "ops/break-glass/root",
        "break-glass/admin",
    }
    files = [file for file in journal.rglob("*") if file.is_file()]
    assert not [file.name for file in files if holds_canary(file.read_bytes())]
