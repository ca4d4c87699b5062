"""``rotation start|tick|status|resume|abort``: a target in a file, a ledger in SQLite, and the exit codes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from strongroom.audit.event import AuditEvent
from strongroom.cli import rotation_running
from strongroom.cli.options import Options
from strongroom.cli.rotation_progress import Progress, StepLog
from tests.rotation_target import credential
from tests.unit.rotation_cli_support import NAME, Place, entries

DAILY = 'schedule = { every = "rate(1 day)" }'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """One secret, whose value the target accepts, and a configuration that rotates it."""
    return Place(tmp_path)


def state(place: Place, *args: str) -> str:
    [entry] = entries(place("status", "--json", "--all", *args))
    return str(entry["state"])


def test_a_rotation_is_started_and_goes_as_far_as_it_can(place: Place) -> None:
    """The target has one slot, so that there is no grace: it is done at once, and readers are let in."""
    done = place("start", NAME)
    assert (done.code, done.out.startswith(f"prod:{NAME}: done")) == (0, True)
    assert [change.effect for change in place.target.changes()] == ["issue", "change"]
    assert place.works()


def test_a_dry_run_changes_nothing(place: Place) -> None:
    """It says what would be done, of each command."""
    place.down.touch()
    place("start", NAME)
    before = place("status", "--json").out
    for words in (("start", NAME), ("tick",), ("resume", NAME), ("abort", NAME), ("clean", NAME)):
        said = place(*words, "--dry-run")
        assert (said.code, "would" in said.out) == (0, True), words
    assert place("status", "--json").out == before


def test_a_step_that_fails_is_tried_again(place: Place) -> None:
    """Exit code 6 at first; a later tick carries it on, and `status` tells the attempts between."""
    place.down.touch()
    failed = place("start", NAME)
    assert (failed.code, "UnavailableError in set_secret" in failed.out) == (6, True)
    assert "tried again" in place("status").out
    [entry] = entries(place("status", "--json"))
    assert (entry["state"], entry["attempts"]) == ("created", 1)
    assert place.works()
    place.later(1)
    again = place("tick")
    assert (again.code, "failed 1" in again.out) == (8, True)
    place.down.unlink()
    place.later(1)
    assert place("tick").code == 0
    assert (state(place), place.works()) == ("done", True)


def test_what_has_stopped_waits_for_a_person(place: Place) -> None:
    """After the last attempt all say so by exit code 10, until `resume` lets it go on."""
    place.write(schedule="attempts = 1")
    place.down.touch()
    assert place("start", NAME).code == 10
    told = place("status")
    assert (told.code, "orphaned" in told.out, "resume" in told.out) == (10, True, True)
    assert place("tick").code == 0
    place.down.unlink()
    assert place("resume", NAME).code == 0
    assert (state(place), place("status").code, place.works()) == ("done", 0, True)


def test_a_schedule_begins_what_is_due_once(place: Place) -> None:
    """A pass before the time begins nothing; two after it begin one."""
    place.write(schedule=DAILY)
    assert place("tick").out == "begun 0, carried on 0, failed 0\n"
    place.later(25)
    begun = place("tick")
    assert (begun.code, "begun 1" in begun.out) == (0, True)
    assert "begun 0" in place("tick").out
    assert len(place.target.changes("change")) == 1


def test_check_tells_how_rotation_is(place: Place) -> None:
    """The ledger answers; a policy that cannot be, what is overdue, and a ledger that does not are told."""
    assert "ok; secrets: 1, open rotations: 0" in place("/check").out
    place.write(schedule=DAILY)
    place("start", NAME)
    place.later(48)
    late = place("/check")
    assert (late.code, f"prod:{NAME}: overdue since" in late.out) == (10, True)
    place.write(more='[rotation.api]\nnames = ["api"]\nrotator = "random"\ngrace = "1s"\n')
    assert place("/check", "--json").json["rotation"]["errors"][0].startswith("prod:api: grace 0:00:01")
    (place.folder / "ledger.db").write_bytes(b"not a database" * 100)
    broken = place("/check", "--json")
    assert (broken.code, broken.json["rotation"]["problem"] != "") == (10, True)


def test_show_tells_of_its_rotation(place: Place) -> None:
    """Which one, how far it has come, the last and the next; a ledger that is broken is told, no more."""
    place.write(schedule=DAILY)
    assert "rotation db: none yet, last never, next not planned yet\n" in place("/show", NAME).out
    place("tick")
    place("start", NAME)
    assert "rotation db: done, last 20" in place("/show", NAME).out
    assert place("/show", NAME, "--json").json["rotation"]["label"] == "db"
    (place.folder / "ledger.db").write_bytes(b"not a database" * 100)
    broken = place("/show", NAME)
    assert (broken.code, "rotation db: " in broken.out) == (0, True)


def test_overdue_needs_action(place: Place) -> None:
    """A secret that no worker has looked after for a day is told, with the time."""
    place.write(schedule=DAILY)
    place("start", NAME)
    place.later(48)
    told = place("status")
    assert (told.code, f"prod:{NAME}: overdue since" in told.out) == (10, True)
    assert place("status", "--json").json["overdue"][0]["secret"] == f"prod:{NAME}"


def test_abort_asks_a_person(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done where nobody can be asked; --yes is an answer."""
    place.down.touch()
    place("start", NAME)
    refused = place("abort", NAME)
    assert (refused.code, "--yes" in refused.err, state(place)) == (2, True, "created")
    monkeypatch.setattr(rotation_running, "can_ask", lambda: True)
    assert place("abort", NAME).code == 130  # nothing more is to be read
    place.down.unlink()
    place.later(1)
    assert place("abort", NAME, "--yes").code in (0, 6)
    place.later(1)
    place("tick")
    assert (state(place), place.works()) == ("aborted", True)


def test_an_id_names_a_rotation_too(place: Place) -> None:
    """Of a name all are shown, of an id the one; nothing of what is not there."""
    first = entries(place("start", NAME, "--json"))[0]["id"]
    place("start", NAME)
    assert len(entries(place("status", NAME, "--json"))) == 2
    assert [entry["id"] for entry in entries(place("status", first, "--json"))] == [first]
    assert place("resume", first, "--yes").code == 5
    assert (place("abort", NAME, "--yes").code, place("status", "db/passwort").code) == (3, 2)


STRAY = "0c6f1d0a-2f3c-4b57-9d3c-0f2c7b1f7a10"


def _left_pending(place: Place) -> None:
    """A value that somebody else wanted to make current, and the target accepts."""
    value = credential("app")
    with place.store() as store:
        store.pending(NAME, STRAY).put(value, base_version=store.get(NAME).version)
    place.target.change("app", value)


def test_a_pending_value_of_somebody_else_is_taken_in(place: Place) -> None:
    """It is tested and made current, under its own id; where there is none that is a conflict."""
    assert place("take-in", NAME).code == 5
    _left_pending(place)
    done = place("take-in", NAME, "--json")
    assert (done.code, done.json["id"], done.json["state"]) == (0, STRAY, "done")
    assert place.works()


def test_a_pending_value_of_somebody_else_is_removed(place: Place) -> None:
    """After a yes; then the next rotation can begin."""
    _left_pending(place)
    assert place("clean", NAME).code == 2
    assert place("clean", NAME, "--yes").out == f"{NAME}: removed what was pending\n"
    assert "nothing was pending" in place("clean", NAME, "--yes").out
    assert place("start", NAME).code == 6


def test_a_rollback_of_a_rotated_secret_goes_through_the_ledger(place: Place) -> None:
    """In grace it cancels the revoke; after it, the old value is refused at the target and stays away ▲."""
    place.write(more='[rotation.api]\nnames = ["api/**"]\nrotator = "random"\n')
    with place.store() as store:
        store.put("api/key", "one")
    place("start", "api/key")
    assert place("/rollback", "api/key").code == 0
    with place.store() as store:
        assert store.get("api/key").value.matches("one")
    assert state(place, "api/key") == "rolled-back"
    place("start", NAME)
    assert place("/rollback", NAME).code == 5
    assert place.works()


def test_a_rollback_of_a_secret_that_was_never_rotated_is_the_stores(place: Place) -> None:
    """Nothing was revoked by a rotation yet."""
    with place.store() as store:
        first = store.get(NAME).value
        store.put(NAME, credential("app"))
    assert place("/rollback", NAME).code == 0
    with place.store() as store:
        assert store.get(NAME).value == first


def test_a_person_is_told_what_to_do(place: Place) -> None:
    """By the rotator's instructions and the command that brings the value, which then goes on."""
    options = 'options = { instructions = "make one at https://exchange.example/keys" }\n'
    more = f'[rotation.hand]\nnames = ["hand"]\nrotator = "human"\n{options}'
    place.write(more=more)
    with place.store() as store:
        store.put("hand", "one")
    started = place("start", "hand", "--json")
    assert started.code == 10
    command = f"strongroom put hand --rotation {started.json['id']}"
    told = place("status")
    assert told.code == 10
    assert f"prod:hand: make one at https://exchange.example/keys; then: {command}" in told.out
    assert command in place("status", "--json").json["rotations"][0]["asked"]
    (place.folder / "value").write_text("two")
    value = str(place.folder / "value")
    assert place("/put", "hand", "--rotation", started.json["id"], "--file", value).code == 0
    with place.store() as store:
        assert store.get("hand").value.matches("two")


def test_old_rotations_are_forgotten(place: Place) -> None:
    """By `keep` of the ledger: after it, not before."""
    place.write(more='keep = "2d"\n')
    place("start", NAME)
    place.later(47)
    place("tick")
    assert state(place) == "done"
    place.later(2)
    place("tick")
    assert entries(place("status", "--all", "--json")) == []


def test_a_terminal_shows_each_step(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun and ended, on stderr; a pipe gets nothing of it."""
    assert place("start", NAME).err == ""
    monkeypatch.setattr(rotation_running, "on_stderr", lambda: True)
    shown = place("start", NAME)
    assert f"{NAME}: create ... ok\n{NAME}: set ... ok\n" in shown.err
    assert place("start", NAME, "--quiet").err == ""


def test_a_closed_terminal_stops_no_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that raised would veto the step ▲."""

    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("click.echo", closed)
    event = AuditEvent("rotation.set", NAME, "intent", datetime.now(UTC))
    for hook in (Progress(), StepLog(Options())):
        hook.before(event)
        hook.after(event)


def test_a_grace_shorter_than_the_cache_is_refused(place: Place, tmp_path: Path) -> None:
    """Before anything begins, with what to write; what is open can still be looked at ▲."""
    text = (tmp_path / "strongroom.toml").read_text()
    text = text.replace("tests.unit.rotation_cli_support:FileUser", "random")
    text = text.replace("cache = false", 'cache = { fresh = "1h", stale = "1h" }')
    (tmp_path / "strongroom.toml").write_text(
        "\n".join(line for line in text.splitlines() if "options" not in line)
    )
    refused = place("start", NAME)
    assert (refused.code, "is shorter than cache" in refused.err) == (2, True)
    assert place("status").code == 0


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("[store.a]\nurl = 'memory://'\n", "no rotation is configured"),
        ("[store.a]\nurl = 'memory://'\n[rotation.x]\nnames = ['n']\nrotator = 'random'\n", "no ledger"),
    ],
)
def test_what_is_missing_is_told(place: Place, tmp_path: Path, lines: str, problem: str) -> None:
    """With exit code 2."""
    (tmp_path / "strongroom.toml").write_text(lines)
    for command in ("status", "tick", "plan"):
        told = place(command)
        assert (told.code, problem in told.err) == (2, True)


def test_the_commands_are_there(place: Place) -> None:
    """Each by its name, with a help of its own; none is loaded for the overview."""
    commands = "plan status start tick serve package resume abort take-in clean"
    for name in [*commands.split(), "/revoke"]:
        assert place(name, "--help").code == 0, name
    assert all(f"  {name} " in place("--help").out for name in commands.split())
