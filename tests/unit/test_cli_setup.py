"""``init``, ``check``, ``backend`` and ``completion``."""

from __future__ import annotations

import json
import sys
import tomllib
import types
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from strongroom.backend import Capability, Clock, Settings
from strongroom.cli import environment, setup, table
from strongroom.cli.main import cli
from strongroom.memory import MemoryBackend
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import Cli, Result, library, new_store_url


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private folder to work in, with a home beside it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir(mode=0o700)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "STRONGROOM_CONFIG", environment.VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def _run(*args: str, stdin: str = "") -> Result:
    done = CliRunner().invoke(cli, args, input=stdin, prog_name="strongroom")
    assert_no_canary(done.stderr)
    return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


def test_init_makes_a_store_that_works_at_once(home: Path) -> None:
    """Configuration and database; put and get follow without an option; the file names no secret."""
    assert _run("init").code == 0
    config = tomllib.loads((home / "strongroom.toml").read_text())
    assert config["store"]["local"]["url"] == f"local://{home / 'secrets.db'}"
    assert (home / "secrets.db").stat().st_mode & 0o077 == 0
    assert _run("put", "db/password", stdin=CANARY).code == 0
    assert _run("get", "db/password").out == CANARY
    assert _run("check").code == 0


def test_init_overwrites_nothing(home: Path) -> None:
    """A configuration that is there is a conflict; a database that is there is used."""
    _run("init")
    _run("put", "db/password", stdin=CANARY)
    assert _run("init").code == 5
    (home / "strongroom.toml").unlink()
    assert _run("init").code == 0
    assert _run("get", "db/password").out == CANARY


def test_init_can_be_rehearsed(home: Path) -> None:
    """A dry run leaves the folder as it was."""
    assert "would make" in _run("init", "--dry-run").out
    assert list(home.iterdir()) == []


def test_init_with_a_keyset_of_ones_choice(home: Path) -> None:
    """Outside the database's folder; beside it, it is refused and nothing is left behind."""
    beside = _run("init", "--keyset", str(home / "keyset.json"))
    assert beside.code == 2
    assert not (home / "strongroom.toml").exists()
    elsewhere = home.parent / "home" / "keyset.json"
    assert _run("init", "--keyset", str(elsewhere)).code == 0
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    _run("put", "db/password", stdin=CANARY)
    assert _run("get", "db/password").out == CANARY


def test_init_with_a_passphrase(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from the environment, each time; without it, or with another, nothing opens."""
    missing = _run("init", "--kek", "passphrase")
    assert missing.code == 2
    assert environment.VARIABLE in missing.err
    monkeypatch.setenv(environment.VARIABLE, f"correct horse {CANARY}")
    assert _run("init", "--kek", "passphrase").code == 0
    assert _run("put", "db/password", stdin=CANARY).code == 0
    assert _run("get", "db/password").out == CANARY
    monkeypatch.setenv(environment.VARIABLE, "wrong")
    assert _run("get", "db/password").code in (4, 7)
    assert_no_canary((home / "strongroom.toml").read_text())


def test_on_a_terminal_init_asks_where_the_key_shall_live(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is taken; --yes takes the keyset without a question."""
    monkeypatch.setattr(setup, "can_ask", lambda: True)
    monkeypatch.setenv(environment.VARIABLE, CANARY)
    assert "(key: passphrase)" in _run("init", stdin="passphrase\n").out
    assert "(key: keyset)" in _run("init", "--yes", "--config", "other.toml", "--database", "other.db").out


@pytest.mark.parametrize(
    ("damage", "code", "hint"),
    [
        (lambda keyset, _: keyset.chmod(0o644), 2, "chmod 600"),
        (lambda keyset, _: keyset.unlink(), 2, "backup"),
        (lambda keyset, _: keyset.write_text("{"), 7, "backup"),
        (lambda _, database: database.write_bytes(b"garbage" * 1000), 7, "backup"),
        (lambda _, database: database.chmod(0o644), 2, "chmod 600"),
        (lambda _, database: database.unlink(), 2, "strongroom init"),
    ],
    ids=[
        "keyset open to others",
        "no keyset",
        "bad keyset",
        "bad database",
        "database open to others",
        "none",
    ],
)
def test_what_is_damaged_is_told_with_what_to_do(
    home: Path, damage: Callable[[Path, Path], object], code: int, hint: str
) -> None:
    """And `check` says that action is needed."""
    _run("init", "--keyset", str(home.parent / "home" / "keyset.json"))
    _run("put", "db/password", stdin=CANARY)
    damage(home.parent / "home" / "keyset.json", home / "secrets.db")
    failed = _run("get", "db/password")
    assert (failed.code, failed.out) == (code, "")
    assert hint in failed.err
    assert _run("check").code == 10


def _configure(home: Path, **stores: str) -> None:
    tables = "".join(f"[store.{alias}]\nurl = {json.dumps(url)}\n" for alias, url in stores.items())
    (home / "strongroom.toml").write_text(tables)


def test_check_says_how_each_store_is(home: Path) -> None:
    """A good one and a broken one: exit 10, what is wrong, and no value."""
    good = new_store_url()
    with library(good) as store:
        store.put("db/password", CANARY)
    _configure(home, good=good, broken="local:///no/such/folder/secrets.db")
    done = _run("check", "--json")
    good_one, broken = done.json["stores"]
    assert done.code == 10
    assert (good_one["names"], good_one["needs_action"]) == (1, False)
    assert "PUT" in good_one["capabilities"]
    assert broken["problem"]
    assert_no_canary(done.out)
    plain = _run("check")
    assert plain.code == 10
    assert "action needed" in plain.out


def test_check_of_one_store_by_url() -> None:
    """--store needs no configuration."""
    assert Cli()("check").code == 0


def test_check_counts_ages(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret older than --max-age needs action; without the option its age is only told."""
    url = new_store_url()
    with library(url) as store:
        store.put("db/password", CANARY)
    _configure(home, prod=url)
    later = Clock().now() + timedelta(days=91)

    class Later(Clock):
        def now(self) -> datetime:
            return later

    monkeypatch.setattr("strongroom.cli.storecheck.Clock", Later)
    assert _run("check").code == 0
    assert _run("check", "--max-age", "92").code == 0
    old = _run("check", "--max-age", "90")
    assert old.code == 10
    assert "db/password" in old.out


def test_check_without_a_configuration_says_what_to_do(home: Path) -> None:
    """Exit 2 and the command that makes one."""
    done = _run("check")
    assert done.code == 2
    assert "strongroom init" in done.err


def test_a_bad_line_is_named_with_its_place(home: Path) -> None:
    """File, line and the nearest right key."""
    (home / "strongroom.toml").write_text('[store.prod]\nurl = "memory://"\ntimeuot = "3s"\n')
    done = _run("list")
    assert done.code == 2
    assert "strongroom.toml:3" in done.err
    assert "'timeout'" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str) -> None:
    """They name the program and the variable that starts the completion."""
    done = _run("completion", shell)
    assert done.code == 0
    assert "_STRONGROOM_COMPLETE" in done.out


def test_completion_knows_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell asks, answered without opening anything."""
    monkeypatch.setenv("_STRONGROOM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "strongroom re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "restore" in _run().out
    monkeypatch.setenv("COMP_WORDS", "strongroom purge --dr")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert "--dry-run" in _run().out


def test_backends_are_listed_with_what_they_can() -> None:
    """Also those whose SDK is missing: then with what to install."""
    found = {entry["scheme"]: entry for entry in _run("backend", "list", "--json").json["backends"]}
    assert found["memory"]["installed"]
    assert set(found["memory"]["capabilities"]) == {
        name.lower() for name in MemoryBackend().capabilities.names
    }
    assert "memory" in _run("backend", "list").out


def test_a_missing_sdk_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row stays in the table."""
    from strongroom.errors import BackendNotInstalledError

    def missing(scheme: str) -> type:
        raise BackendNotInstalledError("no SDK", hint="pip install 'strongroom[aws]'")

    monkeypatch.setattr("strongroom.registry.backend_class", missing)
    row = table.row("aws-sm")
    assert row == table.Row("aws-sm", Capability(0), "pip install 'strongroom[aws]'")


def test_backend_test_runs_the_conformance_suite(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a URL or an alias; its exit code is ours. What cannot be opened is told before any case is run."""
    plugin = types.ModuleType("strongroom.testing.plugin")
    urls: list[str] = []

    def run(url: str, settings: Settings) -> int:
        urls.append(url)
        return 1

    vars(plugin)["run"] = run
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    monkeypatch.setattr("strongroom.testing.plugin", plugin, raising=False)
    assert _run("backend", "test", "memory://").code == 1
    assert urls == ["memory://"]
    assert _run("backend", "test", "memroy://").code == 2
    (home / "strongroom.toml").write_text(
        '[store.a]\nurl = "memory://a"\n[store.b]\nurl = "memory://b"\n[store.both]\nfailover = ["a", "b"]\n'
    )
    assert _run("backend", "test", "both").code == 2
    assert _run("backend", "test", "a").code == 1
    assert urls == ["memory://", "memory://a"]


def test_backend_test_without_pytest_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, as for any missing extra."""
    monkeypatch.setitem(sys.modules, "strongroom.testing.plugin", None)
    monkeypatch.delattr("strongroom.testing.plugin", raising=False)
    refused = _run("backend", "test", "memory://")
    assert refused.code == 2
    assert "pip install pytest" in refused.err
