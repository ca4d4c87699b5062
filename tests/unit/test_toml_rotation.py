"""[rotation.LABEL] and [ledger]: what they mean, and what is wrong with one, told with its line."""

from __future__ import annotations

import subprocess
import sys
import uuid
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import InvalidRequestError
from strongroom.rotation.ledger import State
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.toml.credentials import Credential
from strongroom.toml.file import Config, read_text
from strongroom.toml.rotation_entries import RotationEntry

STORES = 'default = "prod"\n[store.prod]\nurl = "memory://"\n[store.other]\nurl = "memory://b"\n'
FAILOVER = '[store.both]\nfailover = ["prod", "other"]\n'
DB = '[rotation.db]\nnames = ["db/password"]\nrotator = "postgresql"\n'


def read(text: str, profile: str = "") -> Config:
    return read_text(Path("c.toml"), STORES + FAILOVER + text, profile)


def rotation(text: str) -> RotationEntry:
    [found] = read(text).rotations.values()
    return found


def test_what_is_not_written_has_a_default() -> None:
    """The default store, two hours of grace, twelve attempts, a week for a person, no schedule."""
    entry = rotation(DB)
    assert (entry.label, entry.names, entry.store) == ("db", ("db/password",), "prod")
    assert (entry.grace, entry.attempts, entry.deadline) == (timedelta(hours=2), 12, timedelta(days=7))
    assert (entry.schedule, dict(entry.options)) == (None, {})
    assert read("").ledger is None
    assert read("").rotations == {}


def test_what_is_written_is_read() -> None:
    """Durations as such, credentials as places that are not looked at yet."""
    entry = rotation(
        '[rotation.db]\nnames = ["db/**", "x"]\nstore = "other"\nrotator = "acme.rotators:Ledger"\n'
        'grace = "0s"\nattempts = 3\ndeadline = "2d"\n'
        'schedule = { every = "rate(30 days)", timezone = "Europe/Zurich", window = "2h", max_age = "45d" }\n'
        'options = { host = "db", port = 5432, tls = true, admin = "env://NOT_SET", tags = ["a"] }\n'
    )
    assert (entry.names, entry.store, entry.rotator) == (("db/**", "x"), "other", "acme.rotators:Ledger")
    assert (entry.grace, entry.attempts, entry.deadline) == (timedelta(0), 3, timedelta(days=2))
    assert entry.schedule
    assert (entry.schedule.every, entry.schedule.timezone) == ("rate(30 days)", "Europe/Zurich")
    assert (entry.schedule.window, entry.schedule.max_age) == (timedelta(hours=2), timedelta(days=45))
    assert (entry.options["port"], entry.options["tls"], entry.options["tags"]) == (5432, True, ["a"])
    assert isinstance(entry.options["admin"], Credential)


def test_a_ledger_is_read() -> None:
    """Its login too; its password is a place."""
    found = read(
        '[ledger]\nurl = "postgresql://db.example.net/rotation"\nuser = "rotator"\n'
        'password = "file:///run/secrets/pg"\nca = "/etc/ca.pem"\nkeep = "90d"\n'
    ).ledger
    assert found
    assert (found.url, found.user, found.ca) == (
        "postgresql://db.example.net/rotation",
        "rotator",
        "/etc/ca.pem",
    )
    assert (found.keep, isinstance(found.password, Credential)) == (timedelta(days=90), True)


def test_without_a_table_of_its_own_the_ledger_is_beside_the_coordinator() -> None:
    """With its login; a file without rotations has none."""
    text = (
        '[coordinator]\nurl = "postgresql://db.example.net/strongroom"\nuser = "rotator"\n'
        'password = "file:///run/secrets/pg"\n'
    )
    found = read(DB + text).ledger
    assert found
    assert (found.url, found.user, found.keep) == (
        "postgresql://db.example.net/strongroom",
        "rotator",
        timedelta(days=400),
    )
    assert isinstance(found.password, Credential)
    assert read(text).ledger is None


def test_coordinator_and_ledger_share_a_file(tmp_path: Path) -> None:
    """Each makes its own tables, whoever comes first."""
    place = tmp_path / "shared.db"
    ledger, coordinator = SQLiteLedger(place), SQLiteCoordinator(place)
    with closing(ledger), closing(coordinator):
        lease = coordinator.acquire("resource", 60)
        assert lease
        coordinator.record(lease, "text")
        ledger.begin(str(uuid.uuid4()), "prod:db/password", base="1")
        assert coordinator.recorded("resource") == "text"
        assert len(ledger.find()) == 1
    with closing(SQLiteCoordinator(tmp_path / "other.db")) as first:
        assert first.acquire("resource", 60)
        with closing(SQLiteLedger(tmp_path / "other.db")) as second:
            assert second.begin(str(uuid.uuid4()), "prod:db/password", base="1").state is State.STARTED


def test_a_profile_has_rotations_and_a_ledger_of_its_own() -> None:
    """A laptop does not write into production's."""
    text = DB + '[ledger]\nurl = "sqlite:///var/ledger.db"\n[profile.laptop]\n'
    text += 'ledger = { url = "strongroom://other" }\nrotation.db = { names = ["a"], rotator = "random" }\n'
    found = read(text, "laptop")
    assert found.ledger
    assert (found.ledger.url, found.rotations["db"].names) == ("strongroom://other", ("a",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[rotation.db]\nrotator = "random"\n', "rotation.db: needs names"),
        ('[rotation.db]\nnames = ["a"]\n', "needs a rotator"),
        ('[rotation.db]\nnames = ["*"]\nrotator = "random"\n', "holds names, or prefixes"),
        ('[rotation.db]\nnames = ["a"]\nrotator = "not a name"\n', "is a name such as"),
        (DB + 'store = "prd"\n', "did you mean 'prod'"),
        (DB + 'store = "both"\n', "name 'prod', which takes its writes"),
        (DB + 'schedule = { timezone = "UTC" }\n', "needs every"),
        (DB + "schedule = { evry = 1 }\n", "did you mean 'every'"),
        (DB + 'grace = "2"\n', "is a duration"),
        (DB + "attempts = 0\n", "is a whole number"),
        (DB + "options = { at = 2026-01-01 }\n", "options.at: is a string, a number"),
        (DB + 'options = { auth = { token = ["env://A"] } }\n', "options.auth: has a reference inside"),
        (DB + 'options = { admin = "strongroom://prd/a" }\n', "options.admin: no store is called 'prd'"),
        (DB + DB.replace("db]", "db2]"), "db/password is in rotation.db too"),
        ('[ledger]\nuser = "a"\n', "needs a url"),
        ('[ledger]\nurl = "mysql://a/b"\n', "unknown ledger 'mysql'"),
        ('[ledger]\nurl = "sqlite:relative.db"\n', "is not where a ledger is"),
        ('[ledger]\nurl = "postgresql://db"\n', "is not where a ledger is"),
        ('[ledger]\nurl = "strongroom://prod/x"\n', "is not where a ledger is"),
        ('[ledger]\nurl = "strongroom://both"\n', "is a failover"),
        ('[ledger]\nurl = "strongroom://prd"\n', "did you mean 'prod'"),
        ('[ledger]\nurl = "strongroom://prod"\nuser = "a"\n', "stands with postgresql:// only"),
        ('[ledger]\nurl = "postgresql://h/d"\npassword = "hunter2"\n', "must not stand in the file"),
        ('[ledger]\nurl = "postgresql://h/d"\npassword = "strongroom://prd/a"\n', "called 'prd'"),
    ],
)
def test_what_is_wrong_is_told(text: str, problem: str) -> None:
    """With file, line, key and what to write."""
    with pytest.raises(InvalidRequestError) as caught:
        read(text)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("c.toml:")
    assert "hunter2" not in str(caught.value)


def test_without_a_default_a_rotation_names_its_store() -> None:
    """One of two would be a guess."""
    with pytest.raises(InvalidRequestError, match="needs a store"):
        read_text(Path("c.toml"), STORES.replace('default = "prod"\n', "") + DB, "")


@pytest.mark.parametrize("text", ["", DB])
def test_reading_a_secret_loads_nothing_of_rotation(tmp_path: Path, text: str) -> None:
    """Not even from a file that has such tables, whose declaration is loaded for those alone ▲."""
    path = tmp_path / "strongroom.toml"
    path.write_text(STORES + text)
    code = (
        "import strongroom, sys\n"
        f"with strongroom.open('prod', config={str(path)!r}) as store: store.put('a', 'b'); store.get('a')\n"
        "print([name for name in sys.modules if 'rotat' in name or 'ledger' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wanted = ["strongroom.toml.rotation_entries", "strongroom.toml.rotation"] if text else []
    assert sorted(eval(done.stdout)) == sorted(wanted)
