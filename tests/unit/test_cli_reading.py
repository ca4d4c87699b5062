"""``get``, ``list`` and ``show``: values only where they were asked for, and exactly as they are."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner

from strongroom.backend import Stage
from strongroom.cli import output, reading
from strongroom.store import SecretStore
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import Cli


@pytest.fixture
def run() -> Cli:
    """The program on a store with one text, one binary and one JSON secret."""
    cli = Cli()
    with cli.store() as store:
        store.put("db/password", f"old {CANARY}")
        store.put("db/password", CANARY)
        store.put("tls/key", b"\x00\xff" + CANARY.encode())
        store.put("db/login", {"user": "app", "password": CANARY, "ports": [1, 2]})
    return cli


def test_a_value_comes_out_as_it_is(run: Cli) -> None:
    """In a pipe: the bytes, and no newline after them."""
    assert run("get", "db/password").out_bytes == CANARY.encode()
    assert run("get", "tls/key").out_bytes == b"\x00\xff" + CANARY.encode()


def test_json_tells_version_and_kind(run: Cli) -> None:
    """Text as text, bytes in base64, each beside its facts."""
    text, binary = run("get", "db/password", "--json").json, run("--json", "get", "tls/key").json
    assert (text["value"], text["kind"], text["stage"]) == (CANARY, "text", "current")
    assert base64.b64decode(binary["value_base64"]) == b"\x00\xff" + CANARY.encode()
    with run.store() as store:
        assert text["version"] == store.get("db/password").version


@pytest.mark.parametrize(
    ("pointer", "expected"), [("/password", CANARY), ("/ports/1", "2"), ("/ports", "[1, 2]")]
)
def test_a_part_of_a_json_value(run: Cli, pointer: str, expected: str) -> None:
    """By option and by reference: text as it is, anything else as JSON."""
    assert run("get", "db/login", "--pointer", pointer).out == expected


def test_older_values_by_stage_and_by_id(run: Cli) -> None:
    """Both reach the previous value; both at once are refused."""
    with run.store() as store:
        version = store.get("db/password", stage=Stage.PREVIOUS).version
    assert run("get", "db/password", "--stage", "previous").out == f"old {CANARY}"
    assert run("get", "db/password", "--version", version).out == f"old {CANARY}"
    assert run("get", "db/password", "--version", version, "--stage", "current").code == 2


def test_an_answer_in_doubt_is_announced(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale or degraded value comes out, and stderr says so; stdout holds the value alone."""
    get = SecretStore.get
    monkeypatch.setattr(SecretStore, "get", lambda *args, **kw: replace(get(*args, **kw), stale=True))
    doubtful = run("get", "db/password")
    assert (doubtful.out, doubtful.code) == (CANARY, 0)
    assert "stale" in doubtful.err
    assert run("get", "db/password", "--quiet").err == ""
    assert run("get", "db/password", "--json").json["stale"] is True


def test_tables_on_a_terminal_are_framed_and_take_no_markup(
    run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rich where it is installed, else plain; a cell cannot style or drive anything."""
    rows = [("[red]a[/red]", "b\x1b[2J")]
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    framed = CliRunner().invoke(click.Command("t", callback=lambda: output.print_table(("x", "y"), rows)))
    assert "┃" in framed.stdout
    assert "[red]a[/red]" in framed.stdout
    assert "\x1b[2J" not in framed.stdout
    for module in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    plain = CliRunner().invoke(click.Command("t", callback=lambda: output.print_table(("x", "y"), rows)))
    assert plain.stdout.splitlines() == ["x             y", "[red]a[/red]  b?[2J"]


def test_a_terminal_sees_a_value_only_when_asked(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --reveal nothing is even read; with it a newline follows; bytes are refused."""
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setattr(reading, "on_terminal", lambda: True)
    for args in (["db/password"], ["no/such"], ["db/password", "--json"]):
        refused = run("get", *args)
        assert (refused.code, refused.out) == (2, "")
        assert "--reveal" in refused.err
    assert run("get", "db/password", "--reveal").out == f"{CANARY}\n"
    binary = run("get", "tls/key", "--reveal")
    assert (binary.code, binary.out) == (2, "")


def test_what_is_not_there_exits_with_3(run: Cli) -> None:
    """A missing name, a missing version, and nothing on stdout."""
    for args in (["no/such"], ["db/password", "--version", "no-such"]):
        missing = run("get", *args)
        assert (missing.code, missing.out) == (3, "")
        assert missing.err.count("\n") == 1


def test_a_value_that_is_not_json_is_not_quoted(run: Cli) -> None:
    """The error of a pointer into plain text says what is wrong and shows none of it."""
    failed = run("get", "db/password", "--pointer", "/a", "--debug")
    assert failed.code == 2
    assert "not JSON" in failed.err
    assert_no_canary(failed.err)


def test_names_are_listed_by_prefix(run: Cli) -> None:
    """One a line, or as JSON."""
    assert run("list").out.split() == ["db/login", "db/password", "tls/key"]
    assert run("list", "tls/").out == "tls/key\n"
    assert run("list", "db/", "--json").json == {"names": ["db/login", "db/password"]}
    assert run("list", "none/").out == ""


def test_show_tells_versions_and_tags_and_no_value(run: Cli) -> None:
    """Stages stand beside the versions; the value stands nowhere."""
    with run.store() as store:
        store.set_tags("db/password", {"owner": "ledger"})
        current, previous = store.versions("db/password")
    shown, document = run("show", "db/password"), run("show", "db/password", "--json").json
    assert "owner=ledger" in shown.out
    assert [version["id"] for version in document["versions"]] == [current.id, previous.id]
    assert [version["stages"] for version in document["versions"]] == [["current"], ["previous"]]
    assert document["tags"] == {"owner": "ledger"}
    assert_no_canary(shown.out, json.dumps(document))
