"""`strongroom_replication` without Terraform: what is behind is an update, a quarantine an error."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import strongroom
from strongroom.config import Config
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.names import Name, StoreURL
from strongroom.registry import open_backend
from strongroom.replicas import replicas
from strongroom.replication.applying import Applier
from strongroom.replication.replicator import Replicator
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_terraform.blocks import PartlyDoneError
from strongroom_terraform.problems import ProblemError
from strongroom_terraform.replication import ReplicationResource
from strongroom_terraform.schema import UNKNOWN, Values
from strongroom_terraform.stores import Stores
from terraform.tests.life import Life, told
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import new_store_url

SAID: Values = {"replica": "us"}
IN_SYNC: Values = {"in_sync": True, "missing": 0, "quarantined": 0, "lag_versions": 0}


class Rig:
    """A source, its replica, and one resource."""

    def __init__(self, folder: Path):
        self.path = folder / "strongroom.toml"
        stores = "".join(f'[store.{one}]\nurl = "{new_store_url()}"\ncache = false\n' for one in ("eu", "us"))
        table = '[replica.us]\nsource = "eu"\ndomain = "prod"\nnames = ["db/**"]\n'
        self.path.write_text(f'default = "eu"\n{stores}{table}')
        self.config = Config.load(self.path)
        self.life = Life(self.resource())

    def resource(self) -> ReplicationResource:
        return ReplicationResource(Stores(self.config, FakeClock()))

    def put(self, name: str, value: str = CANARY) -> str:
        """As an application writes at the source."""
        with strongroom.open("eu", config=self.config) as opened:
            return opened.put(name, value).id

    def theirs(self, name: str, record: str | None = None) -> None:
        """What somebody else, or another history of the source, has written at the replica."""
        with closing(open_backend(StoreURL.parse(self.config.stores["us"].url))) as raw:
            raw.put(Name(name), SecretValue("theirs"), None, record)

    def next_record(self, name: str) -> str:
        """What stands with the source's next value, if that is theirs."""
        with replicas(self.config) as found:
            replicator = found["us"]
            assert isinstance(replicator, Replicator)
            return replicator._from.next(Name(name))[1](SecretValue("theirs")).text

    def versions(self, name: str) -> list[str]:
        """The versions that the replica has."""
        with strongroom.open("us", config=self.config) as store:
            return [version.id for version in store.versions(name)]

    def held(self, name: str) -> str | None:
        """What the replica's readers get."""
        with strongroom.open("us", config=self.config) as store:
            try:
                return store.get(name).value.reveal_text()
            except SecretNotFoundError:
                return None


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_creating_it_syncs_and_the_next_plan_is_empty(rig: Rig) -> None:
    """What the source has, and nothing that the replica is not to have."""
    rig.put("db/password")
    rig.put("web/key")
    made = rig.life.apply(SAID)
    assert made == {"replica": "us", "names": None, "after": None, "id": "us", "source": "eu", **IN_SYNC}
    assert (rig.held("db/password"), rig.held("web/key")) == (CANARY, None)
    assert rig.life.is_empty(SAID)
    assert_no_canary(repr(made))


def test_what_the_source_has_since_written_is_an_update(rig: Rig) -> None:
    """The plan tells how far behind it is; an apply brings it up."""
    rig.put("db/password", f"{CANARY}-1")
    rig.life.apply(SAID)
    rig.put("db/password", f"{CANARY}-2")
    rig.put("db/user")
    change = rig.life.plan(SAID)
    assert change.prior
    assert {name: change.prior[name] for name in IN_SYNC} == {
        "in_sync": False,
        "missing": 1,
        "quarantined": 0,
        "lag_versions": 2,
    }
    assert {**change.planned, **IN_SYNC} == change.planned
    rig.life.apply(SAID)
    assert (rig.held("db/password"), rig.held("db/user")) == (f"{CANARY}-2", CANARY)
    assert rig.life.is_empty(SAID)


def test_what_the_same_apply_writes_is_synced_after_it(rig: Rig) -> None:
    """`after` is not known before: the replica is in sync at plan, and behind by the time of its update."""
    rig.put("db/password", f"{CANARY}-1")
    rig.life.apply({**SAID, "after": {"db": "1"}})
    change = rig.life.plan({**SAID, "after": {"db": UNKNOWN}})
    assert change.planned != change.prior
    written = rig.put("db/password", f"{CANARY}-2")
    rig.life.apply({**SAID, "after": {"db": UNKNOWN}}, {"after": {"db": written}})
    assert rig.held("db/password") == f"{CANARY}-2"
    assert rig.life.is_empty({**SAID, "after": {"db": written}})


def test_only_the_names_that_are_asked_for_are_synced(rig: Rig) -> None:
    """Names and patterns; others neither count nor are written."""
    for name in ("db/a", "db/b", "db/more/c"):
        rig.put(name)
    said: Values = {**SAID, "names": ["db/a", "db/more/*"]}
    rig.life.apply(said)
    assert [rig.held(name) for name in ("db/a", "db/b", "db/more/c")] == [CANARY, None, CANARY]
    assert rig.life.is_empty(said)
    assert not rig.life.is_empty(SAID)


def test_what_strongroom_toml_does_not_have_fails_the_plan(rig: Rig) -> None:
    """At the replica, with the nearest; at the name that the replica never has."""
    wrong: list[tuple[Values, tuple[str | int, ...]]] = [
        ({"replica": "uss"}, ("replica",)),
        ({"replica": "us", "names": ["db/a", "web/key"]}, ("names", 1)),
    ]
    for said, path in wrong:
        with pytest.raises(ProblemError) as failed:
            rig.life.plan(said)
        [(_, blamed)] = told(failed.value)
        assert blamed == path


def test_a_name_that_was_somebody_else_s_is_an_error_that_says_how_to_adopt_it(rig: Rig) -> None:
    """Nothing of theirs is overwritten, and what else there is gets written; nothing is in state."""
    rig.theirs("db/theirs")
    rig.put("db/theirs")
    rig.put("db/ours")
    with pytest.raises(ProblemError) as failed:
        rig.life.apply(SAID)
    [one] = failed.value.diagnostics
    assert ("db/theirs" in one.summary, one.path) == (True, ("replica",))
    assert "strongroom replica adopt --store us db/theirs" in one.detail
    assert (rig.held("db/theirs"), rig.held("db/ours"), rig.life.state) == ("theirs", CANARY, None)


def test_a_quarantine_is_told_by_the_plan_and_fails_the_update(tmp_path: Path) -> None:
    """What the state says then is how the replica stands; adopted, the next apply comes through."""
    rig = Rig(tmp_path)
    rig.put("db/password")
    rig.life.apply(SAID)
    record = rig.next_record("db/password")
    rig.put("db/password")
    rig.theirs("db/password", record)
    change = rig.life.plan(SAID)
    assert change.prior
    assert (change.prior["in_sync"], change.prior["quarantined"]) == (False, 1)
    assert "strongroom replica adopt" in rig.life.warnings[-1].detail
    with pytest.raises(PartlyDoneError) as failed:
        rig.life.apply(SAID)
    [one] = failed.value.diagnostics
    assert "strongroom replica adopt --store us db/password" in one.detail
    assert failed.value.state.values["quarantined"] == 1
    with replicas(rig.config) as found:
        assert found["us"].adopt(["db/password"]).complete
    rig.life.apply(SAID)
    assert rig.held("db/password") == CANARY


def test_an_apply_that_is_broken_off_is_gone_on_with(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already is not written again."""
    for name in ("db/a", "db/b", "db/c"):
        rig.put(name)
    bring, brought = Applier.bring, list[str]()

    def fails(self: Applier, name: object, *rest: object) -> object:
        if len(brought) == 2:
            raise UnavailableError("away")
        brought.append(str(name))
        return bring(self, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Applier, "bring", fails)
    with pytest.raises(ProblemError):
        rig.life.apply(SAID)
    monkeypatch.undo()
    before = {name: rig.versions(name) for name in brought}
    assert len(before) == 2
    rig.life = Life(rig.resource())
    rig.life.apply(SAID)
    assert [rig.held(name) for name in ("db/a", "db/b", "db/c")] == [CANARY] * 3
    assert {name: rig.versions(name) for name in brought} == before


def test_it_is_imported_by_its_alias(rig: Rig) -> None:
    """And is then as if it had been made."""
    rig.put("db/password")
    made = rig.life.apply(SAID)
    rig.life = Life(rig.resource())
    assert rig.life.bring("us") == made
    assert rig.life.is_empty(SAID)
    with pytest.raises(ProblemError, match="no replica is called 'eu'"):
        rig.life.bring("eu")


def test_one_that_left_the_file_leaves_the_state(rig: Rig) -> None:
    """A plan would make it anew, and says that it cannot."""
    rig.life.apply(SAID)
    rig.path.write_text(rig.path.read_text().partition("[replica.us]")[0])
    rig.config = Config.load(rig.path)
    rig.life = Life(rig.resource(), rig.life.state)
    with pytest.raises(ProblemError, match="no replica is called 'us'"):
        rig.life.plan(SAID)
    assert rig.life.state is None


def test_what_is_not_known_yet_waits_for_the_apply(rig: Rig) -> None:
    """The replica's name too; whatever it is, it will be in sync."""
    planned = rig.life.plan({"replica": UNKNOWN, "names": UNKNOWN}).planned
    assert (planned["id"], planned["source"], planned["in_sync"]) == (UNKNOWN, UNKNOWN, True)


def test_destroying_it_leaves_the_replica_as_it_is(rig: Rig) -> None:
    """Its readers go on."""
    rig.put("db/password")
    made = rig.life.apply(SAID)
    rig.life.resource.delete(made, b"")
    assert rig.held("db/password") == CANARY


def test_a_replica_that_is_away_fails_the_plan_at_its_name(rig: Rig) -> None:
    """It is not taken for one that is gone, nor for one that is in sync."""
    rig.life.apply(SAID)
    text, us = rig.path.read_text(), rig.config.stores["us"].url
    away = 'vault:///secret/app?endpoint=http://127.0.0.1:9"\nauth = { token = "file:///proc/self/comm" }'
    rig.path.write_text(text.replace(f'{us}"', away))
    rig.config = Config.load(rig.path)
    rig.life = Life(rig.resource(), rig.life.state)
    with pytest.raises(ProblemError) as failed:
        rig.life.plan(SAID)
    assert [path for _, path in told(failed.value)] == [("replica",)]
    assert rig.life.state
