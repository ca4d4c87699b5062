"""`strongroom_rotation` without Terraform: once a trigger, however often its apply is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.config import Config
from strongroom.rotation.ledger import State
from strongroom.rotations import engine
from strongroom_terraform.problems import ProblemError
from strongroom_terraform.rotating import PATIENCE
from strongroom_terraform.rotation import RotationResource
from strongroom_terraform.schema import UNKNOWN, Value, Values
from strongroom_terraform.secret import SecretResource
from strongroom_terraform.stores import Stores
from terraform.tests.life import Life, configured, told
from terraform.tests.rotation_rig import HOUR, SAID, Rig
from tests.unit.rotation_cli_support import NAME


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_creating_it_rotates_and_the_next_plan_is_empty(rig: Rig) -> None:
    """The new value is current and works; the resource tells which rotation that was, and how far it is."""
    made = rig.life.apply(SAID)
    [entry] = rig.ledger()
    assert (rig.changes(), rig.place.works()) == (1, True)
    assert made == {
        "store": "prod",
        "name": NAME,
        "trigger": "first",
        "wait": True,
        "id": f"strongroom://prod/{NAME}",
        "policy": "db",
        "rotation_id": entry.id,
        "state": "done",
        "last_rotated_at": "2026-01-01T00:00:00Z",
        "next_due_at": None,
    }
    assert rig.life.is_empty(SAID)
    assert (rig.changes(), rig.life.warnings) == (1, [])


def test_another_trigger_rotates_again_and_going_back_to_the_first_too(rig: Rig) -> None:
    """Once each; a trigger is no name of a rotation, its change is the wish."""
    ids = set()
    for trigger in ("first", "second", "first", None):
        ids.add(rig.life.apply({"name": NAME, "trigger": trigger})["rotation_id"])
        rig.later()
    assert (len(ids), rig.changes(), rig.place.works()) == (4, 4, True)


def test_a_rotation_in_grace_holds_the_next_one_up(rig: Rig) -> None:
    """Told at once, at the name, and not waited for; once its grace is over the same apply comes through."""
    rig.rotator("random")
    assert rig.life.apply(SAID)["state"] == "grace"
    summary, hint, path = rig.refused({**SAID, "trigger": "second"})
    assert ("is open" in summary, "rotation status" in hint, path) == (True, True, ("name",))
    assert (len(rig.ledger()), rig.clock.slept) == (1, [])
    rig.later()
    rig.life.apply({**SAID, "trigger": "second"})
    assert [entry.state for entry in rig.ledger()] == [State.GRACE, State.DONE]


def test_what_only_waiting_changes_is_no_rotation(rig: Rig) -> None:
    """`wait` is how, not whether."""
    rig.life.apply(SAID)
    assert not rig.life.is_empty({**SAID, "wait": False})
    rig.life.apply({**SAID, "wait": False})
    assert rig.changes() == 1
    assert rig.life.is_empty({**SAID, "wait": False})


def test_a_worker_between_plan_and_apply_makes_no_inconsistent_result(rig: Rig) -> None:
    """What was planned is what comes; the read after it tells how far the rotation is by then."""
    rig.rotator("random")
    rig.life.apply(SAID)
    change = rig.life.plan({**SAID, "wait": False})
    rig.later()
    made = rig.life.resource.update(change)
    assert made.values == change.planned
    assert made.values["state"] == "grace"
    read = rig.life.resource.read(made.values, made.private)
    assert read
    assert read.values["state"] == "done"


def test_without_waiting_it_is_only_begun(rig: Rig) -> None:
    """A worker carries it on; the resource tells how far it is."""
    said: Values = {**SAID, "wait": False}
    assert rig.life.apply(said)["state"] == "started"
    assert rig.changes() == 0
    with engine(Config.load(rig.place.folder / "strongroom.toml"), clock=rig.clock) as worker:
        worker.tick()
    assert rig.life.is_empty(said)
    assert rig.life.state
    assert (rig.life.state.values["state"], rig.changes()) == ("done", 1)


def test_a_target_that_is_down_for_a_moment_is_waited_for(rig: Rig) -> None:
    """The first failures of a step are tried again in the same apply."""
    rig.place.down.touch()
    sleep = rig.clock.sleep

    def up(seconds: float) -> None:
        rig.place.down.unlink(missing_ok=True)
        sleep(seconds)

    rig.clock.sleep = up  # type: ignore[method-assign]
    assert rig.life.apply(SAID)["state"] == "done"
    assert sum(rig.clock.slept) == 10.0


def test_an_interrupt_ends_the_waiting_and_not_the_rotation(rig: Rig) -> None:
    """Ctrl-C in Terraform: within a second the apply has failed, and the next one goes on with the same."""
    rig.place.down.touch()
    stores, sleep = rig.life.resource.stores, rig.clock.sleep

    def interrupted(seconds: float) -> None:
        sleep(seconds)
        stores.stopping.set()

    rig.clock.sleep = interrupted  # type: ignore[method-assign]
    summary, hint, path = rig.refused(SAID)
    assert (summary, path) == ("interrupted while a rotation goes on", ("name",))
    assert "apply again" in hint
    assert rig.clock.slept == [1.0]
    rig.place.down.unlink()
    rig.clock.sleep = sleep  # type: ignore[method-assign]
    rig.clock.advance(HOUR)
    rig.again()
    rig.life.apply(SAID)
    assert (rig.changes(), len(rig.ledger())) == (1, 1)


def test_a_target_that_stays_down_fails_the_apply_and_the_next_one_goes_on(rig: Rig) -> None:
    """With the same rotation; nothing is in state before."""
    rig.place.down.touch()
    summary, hint, path = rig.refused(SAID)
    assert summary == f"the rotation of prod:{NAME} is created: UnavailableError in set_secret (created)"
    assert ("apply again" in hint, path) == (True, ("name",))
    assert sum(rig.clock.slept) == PATIENCE.total_seconds()
    assert rig.life.state is None
    [failed] = rig.ledger()
    rig.place.down.unlink()
    rig.again()
    assert rig.life.apply(SAID)["rotation_id"] == failed.id
    assert (rig.changes(), len(rig.ledger())) == (1, 1)


def test_one_that_has_stopped_waits_for_a_person(rig: Rig) -> None:
    """Applies do not resume what automation gave up; once a person has, the next one finds it done."""
    rig.write(schedule="attempts = 1")
    rig.place.down.touch()
    summary, hint, _ = rig.refused(SAID)
    [entry] = rig.ledger()
    assert ("orphaned" in summary, f"rotation resume {entry.id}" in hint) == (True, True)
    rig.place.down.unlink()
    assert "orphaned" in rig.refused(SAID)[0]
    with engine(Config.load(rig.place.folder / "strongroom.toml"), clock=rig.clock) as person:
        person.resume(entry.id)
    assert rig.life.apply(SAID)["rotation_id"] == entry.id
    assert (rig.changes(), len(rig.ledger())) == (1, 1)


def test_one_that_was_aborted_is_begun_anew_by_the_next_apply(rig: Rig) -> None:
    """Under an id of its own, which is as certain as the first."""
    rig.write(schedule="attempts = 1")
    rig.place.down.touch()
    rig.refused(SAID)
    [entry] = rig.ledger()
    rig.place.down.unlink()
    with engine(Config.load(rig.place.folder / "strongroom.toml"), clock=rig.clock) as person:
        assert person.abort(entry.id).state is State.ABORTED
    assert rig.life.apply(SAID)["rotation_id"] != entry.id
    assert {one.state for one in rig.ledger()} == {State.DONE, State.ABORTED}
    assert rig.place.works()


def test_making_it_anew_with_the_same_trigger_is_told_and_not_done_twice(rig: Rig) -> None:
    """Nobody could tell it from an apply that was killed; another trigger rotates."""
    first = rig.life.apply(SAID)
    assert rig.life.state
    rig.life.resource.delete(rig.life.state.values, rig.life.state.private)
    rig.life = Life(rig.resource())
    assert rig.life.apply(SAID)["rotation_id"] == first["rotation_id"]
    [warning] = rig.life.warnings
    assert (warning.path, warning.warning, "already" in warning.summary) == (("trigger",), True, True)
    assert rig.changes() == 1


def test_an_import_reads_and_the_first_apply_records_the_trigger_alone(rig: Rig) -> None:
    """The plan says so; the next other trigger rotates."""
    made = rig.life.apply(SAID)
    for identity in (f"prod/{NAME}", f"strongroom://prod/{NAME}"):
        rig.life = Life(rig.resource())
        assert rig.life.bring(identity) == {**made, "trigger": None}
    rig.life.apply({"name": NAME, "store": "prod", "trigger": "imported"})
    assert [warning.path for warning in rig.life.warnings] == [("trigger",)]
    assert rig.changes() == 1
    rig.later()
    rig.life.apply({"name": NAME, "store": "prod", "trigger": "next"})
    assert rig.changes() == 2


@pytest.mark.parametrize(
    "identity", ["prod", "nowhere/db/password", "prod/other", "prod/db/password?version=1"]
)
def test_an_import_of_what_no_policy_names_is_refused(rig: Rig, identity: str) -> None:
    """Before anything is in state."""
    with pytest.raises(ProblemError):
        rig.life.bring(identity)


def test_what_no_policy_names_fails_the_plan_at_its_name(rig: Rig) -> None:
    """With the nearest name; a store that is not there at `store`."""
    for said, path in (({"name": "db/passwort"}, "name"), ({"name": NAME, "store": "prdo"}, "store")):
        with pytest.raises(ProblemError) as failed:
            rig.life.plan({**said})
        [(_, blamed)] = told(failed.value)
        assert blamed == (path,)
    assert "did you mean 'db/password'?" in rig.refused({"name": "db/passwort"})[1]


def test_a_policy_that_is_gone_keeps_the_state_and_lets_it_be_destroyed(rig: Rig) -> None:
    """A plan that would keep it says what is missing."""
    made = rig.life.apply(SAID)
    path = rig.place.folder / "strongroom.toml"
    path.write_text(path.read_text().replace(f'names = ["{NAME}"]', 'names = ["db/other"]'))
    rig.again()
    assert rig.refused(SAID)[2] == ("name",)
    assert rig.life.state
    assert rig.life.state.values == made
    rig.life.resource.delete(made, b"")


def test_what_is_not_known_yet_waits_for_the_apply(rig: Rig) -> None:
    """An unknown trigger may be the one that is in state: then nothing is rotated."""
    assert rig.life.plan({"name": UNKNOWN}).planned["policy"] is UNKNOWN
    rig.life.apply(SAID)
    assert rig.life.plan({**SAID, "trigger": UNKNOWN}).planned["rotation_id"] is UNKNOWN
    rig.life.apply({**SAID, "trigger": UNKNOWN}, {"trigger": "first"})
    assert rig.changes() == 1


def test_a_failover_is_rotated_at_the_member_that_takes_its_writes(rig: Rig) -> None:
    """As the policy names it."""
    path = rig.place.folder / "strongroom.toml"
    both = path.read_text().replace('default = "prod"\n', 'default = "all"\n')
    both = both.replace("[rotation.db]\n", '[rotation.db]\nstore = "prod"\n')
    path.write_text(f'{both}\n[store.all]\nfailover = ["prod", "other"]\n[store.other]\nurl = "env://X"\n')
    rig.again()
    assert rig.life.apply(SAID)["id"] == f"strongroom://prod/{NAME}"
    assert rig.changes() == 1


def test_a_value_that_a_person_brings_is_waited_for_by_no_apply(rig: Rig) -> None:
    """It says how to bring it."""
    rig.rotator("human")
    assert rig.life.apply(SAID)["state"] == "waiting"
    [warning] = rig.life.warnings
    assert f"strongroom put {NAME} --rotation" in warning.detail


def test_validate_asks_nothing_of_what_is_unknown(rig: Rig) -> None:
    """Nothing is configured yet then."""
    block = RotationResource(Stores(None))
    unknown: dict[str, Value] = dict.fromkeys(block.schema.attributes, UNKNOWN)
    assert not block.validate(configured(block, unknown))


def test_a_secret_that_terraform_has_written_may_be_rotated(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither resource has anything to do then, and a next value by Terraform is refused by the plan."""
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path / "data"))
    rig.again()
    with rig.place.store() as store:
        first = store.get(NAME).value
        store.purge(NAME)
    secret = Life(SecretResource(rig.life.resource.stores))
    said: Values = {"name": NAME, "value_wo": first, "value_wo_version": 1}
    secret.apply(said)
    rig.life.apply(SAID)
    assert rig.place.works()
    for again in (secret, rig.life):
        again.resource = type(again.resource)(rig.resource().stores)
    assert secret.is_empty(said)
    assert rig.life.is_empty(SAID)
    with pytest.raises(ProblemError) as failed:
        secret.plan({**said, "value_wo_version": 2})
    assert [path for _, path in told(failed.value)] == [("value_wo_version",)]
    assert rig.place.works()
