"""``delete``, ``restore``, ``purge``, ``rollback``."""

from __future__ import annotations

import pytest

from strongroom.cli import removing
from tests.unit.cli_support import Cli


@pytest.fixture
def run() -> Cli:
    """The program on a store with a secret of two versions."""
    cli = Cli()
    with cli.store() as store:
        store.put("db/password", "one")
        store.put("db/password", "two")
    return cli


def _names(run: Cli) -> list[str]:
    return run("list").out.split()


def test_deleted_and_restored(run: Cli) -> None:
    """Gone, then back with its value; what is not in the bin is not found."""
    assert run("delete", "db/password").code == 0
    assert run("get", "db/password").code == 3
    assert run("restore", "db/password").code == 0
    assert run("get", "db/password").out == "two"
    assert run("restore", "db/password").code == 3


def test_a_purge_needs_a_yes_where_nobody_can_be_asked(run: Cli) -> None:
    """The name piped in is no confirmation."""
    refused = run("purge", "db/password", stdin="db/password\n")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert _names(run) == ["db/password"]
    assert run("purge", "db/password", "--yes").code == 0
    assert _names(run) == []
    assert run("purge", "db/password", "--yes").code == 3


def test_a_person_confirms_a_purge_by_typing_the_name(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else, a plain yes too, does nothing."""
    monkeypatch.setattr(removing, "can_ask", lambda: True)
    assert run("purge", "db/password", stdin="y\n").code == 2
    assert run("purge", "db/password", stdin="").code == 130
    assert _names(run) == ["db/password"]
    assert run("purge", "db/password", stdin="db/password\n").code == 0
    assert _names(run) == []


def test_a_rollback_makes_a_new_version_of_the_previous_value(run: Cli) -> None:
    """And says which; a stale --if-version is a conflict."""
    with run.store() as store:
        current = store.get("db/password").version
    done = run("rollback", "db/password", "--json")
    assert done.json["replaces"] == current
    assert done.json["version"] != current
    assert run("get", "db/password").out == "one"
    assert run("rollback", "db/password", "--if-version", current).code == 5
    assert run("rollback", "no/such").code == 3


@pytest.mark.parametrize("command", ["delete", "restore", "purge", "rollback"])
def test_a_dry_run_changes_nothing(run: Cli, command: str) -> None:
    """And says what would happen."""
    done = run(command, "db/password", "--dry-run")
    assert done.code == 0
    assert "would" in done.out
    assert run("get", "db/password").out == "two"
