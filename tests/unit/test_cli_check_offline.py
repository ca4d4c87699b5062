"""``check --offline``: files that are right by themselves, with nothing opened, asked or read."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest

from strongroom import registry
from strongroom.errors import BackendNotInstalledError
from tests.unit.cli_support import Result
from tests.unit.test_cli_keys import _run

STORE = '[store.prod]\nurl = "vault://vault.example.net:8200/secret/prod"\n'
LEDGER = '[ledger]\nurl = "postgresql://db.example.net/strongroom"\npassword = "file:///no/such/file"\n'
ROTATION = '[rotation.a]\nnames = ["a"]\n'


@pytest.fixture(autouse=True)
def _nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No store opens, and nobody is called."""

    def asked(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("asked")

    for variable in ("STRONGROOM_CONFIG", "STRONGROOM_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "open_backend", asked)
    monkeypatch.setattr(socket.socket, "connect", asked)


def offline(text: str, *args: str) -> Result:
    Path("strongroom.toml").write_text(text)
    return _run("check", "--offline", *args)


def test_what_is_right_is_said_so() -> None:
    """Without the credentials that it names, which are where it is deployed."""
    rotation = (
        '[rotation.db]\nnames = ["db/**"]\nrotator = "postgresql"\nschedule = { every = "rate(30 days)" }\n'
        'options = { host = "db.example.net", user = "app", admin = "strongroom://prod/db/a" }\n'
    )
    auth = 'auth = { method = "approle", role_id = "env://NOT_HERE", secret_id = "file:///no/such/file" }\n'
    done = offline(STORE + auth + LEDGER + rotation)
    assert (done.code, done.out) == (0, "strongroom.toml: ok; stores: 1, rotations: 1\n"), done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[store.prod]\nurl = "vualt://v.example.net/secret"', "strongroom.toml:2: store.prod.url: unknown"),
        (STORE + "tokn = 1", "strongroom.toml:3: "),
        (STORE + "[profile.test]\nstore = { prod = { cache = 1 } }", "strongroom.toml:4: "),
        (STORE + "[[", "not valid TOML"),
        ("", "no store is configured"),
        (
            STORE
            + LEDGER
            + '[rotation.a]\nnames = ["a"]\nrotator = "random"\nschedule = { every = "cron(x)" }',
            "rotation.a.schedule",
        ),
        (
            STORE + LEDGER + ROTATION + 'rotator = "random"\noptions = { lenght = 9 }',
            "did you mean 'length'?",
        ),
        (STORE + LEDGER + ROTATION + 'rotator = "rendom"', "rotation.a.rotator"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, said: str) -> None:
    """Also in a profile that is not chosen, and in what is otherwise only met when a rotation begins."""
    done = offline(text)
    assert done.code == 2
    assert said in done.out


def test_all_files_are_looked_at(tmp_path: Path) -> None:
    """One that is wrong hides no other; in JSON too."""
    (tmp_path / "good.toml").write_text(STORE)
    (tmp_path / "bad.toml").write_text("x = 1")
    done = _run("check", "--offline", "--json", "bad.toml", "good.toml", "none.toml")
    assert done.code == 2
    assert [(one["file"], bool(one["problem"])) for one in done.json["files"]] == [
        ("bad.toml", True), ("good.toml", False), ("none.toml", True),
    ]  # fmt: skip


def test_what_is_not_installed_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook has an environment of its own; it says what it could not see."""

    def missing(_config: object) -> NoReturn:
        raise BackendNotInstalledError("the module 'acme' is not installed", hint="pip install acme")

    monkeypatch.setattr("strongroom.rotations.judge", missing)
    done = offline(STORE + LEDGER + ROTATION + 'rotator = "acme.rotators:Ledger"')
    assert done.code == 0
    assert "rotators not looked at: the module 'acme' is not installed" in done.out


def test_a_file_without_offline_is_no_argument() -> None:
    """What is opened is named by --config."""
    done = _run("check", "strongroom.toml")
    assert done.code == 2
    assert "--offline" in done.err
