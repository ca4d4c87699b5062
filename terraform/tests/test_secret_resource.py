"""`strongroom_secret` without Terraform: written once, never over another's, however often it is killed."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from strongroom.backend import ANY_CAS, Capability
from strongroom.config import Config
from strongroom.errors import SecretNotFoundError
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, Killed
from strongroom.toml.entries import StoreEntry
from strongroom.value import SecretValue
from strongroom_terraform.blocks import PartlyDoneError
from strongroom_terraform.problems import ProblemError
from strongroom_terraform.schema import UNKNOWN, Value, Values
from strongroom_terraform.secret import SecretResource
from strongroom_terraform.stores import Stores
from terraform.tests.life import Life, configured, told
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in

NAME = "db/password"
REFERENCE = f"strongroom://prod/{NAME}"
ALL = MemoryBackend.capabilities


def said(value: str = "first", version: int | None = 1, **more: Value) -> Values:
    """A configuration; the value is a canary."""
    return {
        "name": NAME,
        "value_wo": SecretValue(f"{CANARY} {value}"),
        "value_wo_version": version,
        **more,
    }


class Rig(Stores):
    """One store in memory, with faults, as each new process of the provider finds it."""

    def __init__(self, folder: Path, capabilities: Capability = ALL):
        config = Config(default="prod", stores={"prod": StoreEntry("prod", "memory://prod")})
        super().__init__(config, FakeClock())
        self.folder, self.faulty = folder, FaultyBackend(MemoryBackend(capabilities, self.clock))
        self.prod = SecretStore(self.faulty, cache=None, alias="prod", clock=self.clock)
        self.life = Life(SecretResource(self))

    def store(self, target: str) -> SecretStore:
        assert target == "prod"
        return self.prod

    def again(self) -> Life:
        """Another process, with the state that Terraform has."""
        self._described.clear()
        self.life = Life(SecretResource(self), self.life.state)
        return self.life

    def versions(self) -> list[str]:
        """Of the secret, the newest first."""
        return [version.id for version in self.prod.versions(NAME)]

    def value(self) -> str:
        """What a reader gets, without the canary."""
        return self.prod.get(NAME).value.reveal_text().removeprefix(f"{CANARY} ")

    def refused(self, config: Values) -> tuple[str, tuple[str | int, ...]]:
        """Apply in vain: the one summary, and what it blames."""
        with pytest.raises(ProblemError) as failed:
            self.again().apply(config)
        assert_no_canary_in(failed.value)
        [(summary, path)] = told(failed.value)
        return summary, path


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path))
    made = Rig(tmp_path)
    yield made
    assert_no_canary(*(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()))


class TestLife:
    """Made, read, changed, let go."""

    def test_it_is_made_changed_and_each_second_plan_is_empty(self, rig: Rig) -> None:
        """The version that is told is the one a reader gets; the value is asked of nobody."""
        made = rig.life.apply(said(tags={"team": "x"}))
        assert (made["id"], made["store"], made["version"]) == (REFERENCE, "prod", *rig.versions())
        assert rig.again().is_empty(said(tags={"team": "x"}))
        changed = rig.life.apply(said("second", 2, tags={"team": "y"}))
        assert changed["version"] == changed["written_version"] == rig.versions()[0] != made["version"]
        assert changed["created_at"] == made["created_at"] is not None
        assert rig.again().is_empty(said("second", 2, tags={"team": "y"}))
        assert rig.faulty.calls["get"] == 0
        assert (rig.value(), rig.prod.describe(NAME).tags) == ("second", {"team": "y"})

    def test_bytes_are_given_in_base64(self, rig: Rig) -> None:
        """They arrive as they were."""
        rig.life.apply(said(value_wo=None, value_wo_base64=SecretValue("/wA=")))
        assert rig.prod.get(NAME).value.reveal() == b"\xff\0"

    @pytest.mark.parametrize(
        ("how", "left"), [(None, "bin"), ("delete", "bin"), ("purge", ""), ("keep", "there")]
    )
    def test_destroying_it_does_what_on_destroy_says(self, rig: Rig, how: str | None, left: str) -> None:
        """And once more is no error."""
        rig.life.apply(said(on_destroy=how))
        assert rig.life.state
        for _ in range(2):
            rig.life.resource.delete(rig.life.state.values, b"")
        if left == "there":
            assert rig.value() == "first"
            return
        with pytest.raises(SecretNotFoundError):
            rig.prod.get(NAME)
        if left == "bin":
            rig.prod.restore(NAME)
            assert rig.value() == "first"

    def test_another_name_is_another_secret(self, rig: Rig) -> None:
        """The old one goes as it was to go."""
        rig.life.apply(said())
        rig.again().apply(said(name="db/other"))
        assert list(rig.prod.list_names()) == ["db/other"]

    def test_a_secret_that_is_gone_is_made_anew(self, rig: Rig) -> None:
        """Purged by somebody else, it is no error."""
        rig.life.apply(said())
        rig.prod.purge(NAME)
        rig.again().apply(said("anew"))
        assert rig.value() == "anew"

    def test_other_tags_than_its_own_are_left_alone(self, rig: Rig) -> None:
        """What is removed from the configuration is removed; what drifts is set back."""
        rig.life.apply(said(tags={"a": "1", "b": "2"}))
        rig.prod.set_tags(NAME, {"foreign": "f", "a": "drifted"})
        rig.again().apply(said(tags={"a": "1"}))
        assert rig.prod.describe(NAME).tags == {"a": "1", "foreign": "f"}
        rig.again().apply(said())
        assert rig.prod.describe(NAME).tags == {"a": "1", "foreign": "f"}


class TestRotated:
    """What another has written is never written over unseen."""

    def test_a_rotation_is_not_undone(self, rig: Rig) -> None:
        """State learns its version; a plan has nothing to do."""
        rig.life.apply(said())
        rotated = rig.prod.put(NAME, "rotated").id
        assert rig.again().is_empty(said())
        assert rig.life.state
        assert rig.life.state.values["version"] == rotated != rig.life.state.values["written_version"]

    def test_a_new_value_after_a_rotation_fails_the_plan(self, rig: Rig) -> None:
        """At value_wo_version; `if_version` replaces it knowingly, and only that version."""
        rig.life.apply(said())
        rotated = rig.prod.put(NAME, "rotated").id
        summary, path = rig.refused(said("second", 2))
        assert (rotated in summary, path) == (True, ("value_wo_version",))
        assert rig.refused(said("second", 2, if_version="another"))[1] == ("value_wo_version",)
        rig.again().apply(said("second", 2, if_version=rotated))
        assert rig.value() == "second"
        assert rig.again().is_empty(said("second", 2, if_version=rotated))
        rig.again().apply(said("third", 3, if_version=rotated))
        assert rig.value() == "third"

    def test_a_rotation_between_plan_and_apply_is_not_undone(self, rig: Rig) -> None:
        """The write names the version that the plan saw."""
        rig.life.apply(said())
        rig.faulty.run("put", lambda: rig.faulty.inner.put(Name(NAME), SecretValue("rotated"), None))
        summary, path = rig.refused(said("second", 2))
        assert ("nother current version" in summary, path) == (True, ("value_wo_version",))
        assert rig.prod.get(NAME).value.reveal_text() == "rotated"

    def test_a_secret_that_is_there_is_not_taken_over(self, rig: Rig) -> None:
        """Not even with the same value; the error says how to import it."""
        rig.prod.put(NAME, f"{CANARY} first")
        with pytest.raises(ProblemError) as failed:
            rig.life.apply(said())
        [one] = failed.value.diagnostics
        assert (one.path, f"terraform import ADDRESS '{REFERENCE}'" in one.detail) == (("name",), True)
        assert len(rig.versions()) == 1

    def test_a_name_in_the_bin_says_what_can_be_done(self, rig: Rig) -> None:
        """Restore or purge."""
        rig.prod.put(NAME, "old")
        rig.prod.delete(NAME)
        summary, path = rig.refused(said())
        assert (summary, path) == (f"{REFERENCE} is in the bin", ("name",))

    @pytest.mark.parametrize("identity", [REFERENCE, f"prod/{NAME}"])
    def test_an_import_writes_nothing_before_its_version_changes(self, rig: Rig, identity: str) -> None:
        """The first apply records value_wo_version and says so; tags that are so already are not set."""
        theirs = rig.prod.put(NAME, "theirs").id
        rig.prod.set_tags(NAME, {"team": "x"})
        rig.faulty.calls.clear()
        assert rig.life.bring(identity)["written_version"] == theirs
        rig.life.apply(said(tags={"team": "x"}))
        assert [warning.path for warning in rig.life.warnings] == [("value_wo_version",)]
        assert rig.again().is_empty(said(tags={"team": "x"}))
        assert not {"put", "set_tags", "get"} & rig.faulty.calls.keys()
        rig.life.apply(said("ours", 2, tags={"team": "x"}))
        assert rig.value() == "ours"

    @pytest.mark.parametrize("identity", ["", "prod", f"{REFERENCE}?version=1", f"{REFERENCE}#/x", "a b"])
    def test_what_names_no_secret_is_not_imported(self, rig: Rig, identity: str) -> None:
        """The error says what does."""
        with pytest.raises(ProblemError, match="STORE/NAME"):
            rig.life.resource.bring(identity)


class TestKilled:
    """Killed at any call, before or after its effect, the next apply converges on one value."""

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("update", [False, True])
    def test_no_kill_makes_a_second_version(self, rig: Rig, after: bool, update: bool) -> None:
        """At each call in turn, until an apply gets through unhurt."""
        wanted = said("wanted", 2, tags={"team": "x"})
        for at in itertools.count():
            if update:
                rig.life.apply(said())
            expected = [*rig.versions(), "new"] if update else ["new"]
            rig.faulty.fault("*", Killed, skip=at, after=after)
            died = _dies(partial(rig.again().apply, wanted))
            rig.faulty.clear()
            rig.again().apply(wanted)
            assert (rig.value(), len(rig.versions())) == ("wanted", len(expected)), f"killed at call {at}"
            assert rig.again().is_empty(wanted)
            rig.prod.purge(NAME)
            rig.life.state = None
            if not died:
                break
        assert at > 2

    def test_another_value_than_that_of_the_killed_write_is_no_proof(self, rig: Rig) -> None:
        """A new random value each run, killed in the write itself: nothing is adopted, nothing written."""
        rig.faulty.fault("put", Killed, after=True)
        assert _dies(partial(rig.life.apply, said("random")))
        assert rig.refused(said("other"))[1] == ("name",)
        assert rig.value() == "random"

    def test_a_write_that_had_its_answer_is_known_whatever_the_value(self, rig: Rig) -> None:
        """Killed right after the write: the note has the version."""
        rig.faulty.fault("describe", Killed)
        assert _dies(partial(rig.life.apply, said("random")))
        rig.again().apply(said("other"))
        assert (rig.value(), len(rig.versions())) == ("random", 1)

    def test_a_lost_answer_is_found_by_the_next_apply(self, rig: Rig) -> None:
        """The write happened, and nobody heard so."""
        rig.faulty.timeout("put", after=True, times=9)
        assert rig.refused(said())[1] == ("value_wo",)
        rig.faulty.clear()
        rig.again().apply(said())
        assert len(rig.versions()) == 1

    def test_without_its_notes_a_killed_apply_is_taken_for_anothers(self, rig: Rig) -> None:
        """A runner that keeps no folder: the import that the error names converges, and writes nothing."""
        rig.faulty.fault("put", Killed, after=True)
        assert _dies(partial(rig.life.apply, said()))
        shutil.rmtree(rig.folder / "strongroom")
        assert rig.refused(said())[1] == ("name",)
        rig.life.bring(REFERENCE)
        rig.life.apply(said())
        assert rig.again().is_empty(said())
        assert len(rig.versions()) == 1

    def test_a_folder_that_takes_no_notes_is_no_error(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only a killed apply is not known again."""
        (rig.folder / "strongroom").write_text("in the way")
        rig.life.apply(said())
        assert rig.again().is_empty(said())

    def test_a_note_goes_once_state_knows(self, rig: Rig) -> None:
        """The next read drops it."""
        rig.life.apply(said())
        assert len([*(rig.folder / "strongroom").iterdir()]) == 1
        rig.again().is_empty(said())
        assert not [*(rig.folder / "strongroom").iterdir()]

    def test_tags_that_fail_after_a_first_write_are_set_by_the_next_apply(self, rig: Rig) -> None:
        """The object is not half in state, where Terraform would destroy it for being tainted."""
        rig.faulty.deny("set_tags", times=1)
        assert rig.refused(said(tags={"a": "1"}))[1] == ("tags",)
        rig.again().apply(said(tags={"a": "1"}))
        assert (rig.prod.describe(NAME).tags, len(rig.versions())) == ({"a": "1"}, 1)

    def test_tags_that_fail_after_another_write_leave_the_new_version_in_state(self, rig: Rig) -> None:
        """And the old tags."""
        rig.life.apply(said(tags={"a": "1"}))
        rig.faulty.deny("set_tags", times=1)
        with pytest.raises(PartlyDoneError) as failed:
            rig.again().apply(said("second", 2, tags={"a": "2"}))
        kept = failed.value.state.values
        assert (kept["version"], kept["tags"], kept["value_wo_version"]) == (rig.versions()[0], {"a": "1"}, 2)
        assert failed.value.diagnostics[0].path == ("tags",)


class TestPlan:
    """What cannot go well fails before anything is done; what is not known yet waits."""

    @pytest.mark.parametrize(
        "unknown",
        [{"name": UNKNOWN}, {"store": UNKNOWN}, {"value_wo": UNKNOWN}, {"value_wo_version": UNKNOWN}],
    )
    def test_what_is_not_known_is_not_asked(self, rig: Rig, unknown: Values) -> None:
        """The plan sends nothing; the apply knows."""
        config = said(**unknown)  # type: ignore[arg-type]
        planned = rig.life.plan(config).planned
        assert planned["version"] is planned["written_version"] is UNKNOWN
        assert not rig.faulty.calls
        known: Values = {**said(), "store": "prod"}
        made = rig.life.apply(config, {name: known[name] for name in unknown})
        assert (made["id"], rig.value()) == (REFERENCE, "first")

    @pytest.mark.parametrize(
        ("lacking", "more", "path"),
        [
            (Capability.CREATE_ONLY, {}, "store"),
            (Capability.DESCRIBE, {}, "store"),
            (Capability.DELETE, {}, "on_destroy"),
            (Capability.PURGE, {"on_destroy": "purge"}, "on_destroy"),
            (Capability.TAGS, {"tags": {"a": "1"}}, "tags"),
        ],
    )
    def test_what_the_store_cannot_do_fails_the_plan(
        self, tmp_path: Path, lacking: Capability, more: Values, path: str
    ) -> None:
        """At the attribute that asks for it, without a request."""
        rig = Rig(tmp_path, ALL & ~lacking)
        with pytest.raises(ProblemError) as failed:
            rig.life.plan(said(**more))  # type: ignore[arg-type]
        assert told(failed.value)[0][1] == (path,)
        assert not rig.faulty.calls

    def test_a_store_without_compare_and_set_takes_no_second_value(self, tmp_path: Path) -> None:
        """An apply could undo a rotation there."""
        rig = Rig(tmp_path, ALL & ~ANY_CAS)
        rig.life.apply(said())
        assert rig.refused(said("second", 2))[1] == ("value_wo_version",)

    def test_an_illegal_name_is_blamed_with_the_nearest_right_one(self, rig: Rig) -> None:
        """At plan."""
        summary, path = rig.refused(said(name="DB_PASSWORD"))
        assert ("illegal name" in summary, path) == (True, ("name",))

    @pytest.mark.parametrize(("value", "version", "path"), [(None, 1, "value_wo"), (None, None, "value_wo")])
    def test_a_secret_needs_a_value_to_be_made(
        self, rig: Rig, value: None, version: int | None, path: str
    ) -> None:
        """And to be written anew."""
        assert rig.refused(said(value_wo=value, value_wo_version=version))[1] == (path,)

    @pytest.mark.parametrize(
        ("more", "path"),
        [
            ({"value_wo_base64": SecretValue("eA==")}, ("value_wo_base64",)),
            ({"value_wo": None, "value_wo_base64": SecretValue(f"{CANARY}!")}, ("value_wo_base64",)),
            ({"value_wo_version": None}, ("value_wo_version",)),
            ({"on_destroy": "shred"}, ("on_destroy",)),
            ({"tags": {"a": "1", "b": None}}, ("tags", "b")),
        ],
    )
    def test_what_contradicts_itself_is_told_by_validate(
        self, rig: Rig, more: Values, path: tuple[str, ...]
    ) -> None:
        """Before anything is configured."""
        found = rig.life.resource.validate(configured(rig.life.resource, said(**more)))  # type: ignore[arg-type]
        assert [one.path for one in found] == [path]
        assert_no_canary(repr(found))


def _dies(call: Callable[[], object]) -> bool:
    try:
        call()
    except Killed:
        return True
    return False
