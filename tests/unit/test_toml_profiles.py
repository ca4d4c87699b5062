"""Profiles of strongroom.toml: whole entries of an environment in the place of others, all checked."""

from __future__ import annotations

from pathlib import Path

import pytest

import strongroom
from strongroom.config import Config
from strongroom.errors import InvalidRequestError
from strongroom.toml.entries import CoordinatorEntry
from tests.unit.cli_support import new_store_url
from tests.unit.test_cli_keys import _run
from tests.unit.test_config import elsewhere, write

__all__ = ["elsewhere"]

FILE = """\
default = "prod"
[store.prod]
url = "aws-sm://eu-west-1/prod"
encrypt = { keys = ["main"], domain = "prod" }
[store.audit]
url = "memory://audit"
[key.main]
url = "aws-kms://eu-west-1/alias/main"
[coordinator]
url = "sqlite:///var/lib/leases.db"

[profile.laptop]
default = "local"
[profile.laptop.store]
prod = { url = "memory://laptop" }
local = { url = "memory://local" }
[profile.laptop.key.main]
url = "local-key:///k"
[profile.laptop.coordinator]
url = "sqlite:///tmp/leases.db"

[profile.staging.store.prod]
url = "aws-sm://eu-west-1/staging"
"""


@pytest.fixture(autouse=True)
def _no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGROOM_PROFILE", raising=False)


def test_a_profile_replaces_whole_entries_and_keeps_the_others(tmp_path: Path) -> None:
    """Nothing of the entry that it replaces is left, not even its encryption."""
    config = Config.load(write(tmp_path / "c.toml", FILE), "laptop")
    assert (config.profile, config.default, set(config.stores)) == (
        "laptop",
        "local",
        {"prod", "audit", "local"},
    )
    assert (config.stores["prod"].url, config.stores["prod"].keys) == ("memory://laptop", ())
    assert config.stores["audit"].url == "memory://audit"
    assert config.keys["main"].url == "local-key:///k"
    assert config.coordinator == CoordinatorEntry("sqlite:///tmp/leases.db")


def test_what_a_profile_does_not_name_is_as_without_it(tmp_path: Path) -> None:
    """Default, coordinator, keys."""
    config = Config.load(write(tmp_path / "c.toml", FILE), "staging")
    plain = Config.load(tmp_path / "c.toml")
    assert config.stores["prod"].url == "aws-sm://eu-west-1/staging"
    assert (config.default, config.coordinator) == (plain.default, plain.coordinator)
    assert config.keys["main"].url == plain.keys["main"].url
    assert (plain.profile, plain.stores["prod"].url) == ("", "aws-sm://eu-west-1/prod")


def test_a_profile_is_chosen_by_name_or_by_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is given, then by the variable; none is the file without profiles."""
    path = write(tmp_path / "c.toml", FILE)
    monkeypatch.setenv("STRONGROOM_PROFILE", "laptop")
    assert Config.load(path).profile == "laptop"
    assert Config.load(path, "staging").profile == "staging"
    monkeypatch.setenv("STRONGROOM_PROFILE", "")
    assert Config.load(path).profile == ""
    monkeypatch.setenv("STRONGROOM_PROFILE", "laptop")
    with strongroom.open("prod", config=path) as store:
        assert "laptop" in store.origin


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("laptpo", FILE, "did you mean 'laptop'"),
        ("laptop", '[store.a]\nurl = "memory://"\n', "write [profile.NAME]"),
        ("x", FILE, "known: laptop, staging"),
    ],
)
def test_a_profile_that_is_not_there_is_an_error(tmp_path: Path, name: str, text: str, hint: str) -> None:
    """Going on without it would open the stores of another environment ▲."""
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(InvalidRequestError, match=f"no profile is called '{name}'") as caught:
        Config.load(path, name)
    assert hint in str(caught.value)


@pytest.mark.usefixtures("elsewhere")
def test_a_profile_without_a_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody meant a file."""
    monkeypatch.setenv("STRONGROOM_PROFILE", "prod")
    with pytest.raises(InvalidRequestError, match="No such file"):
        Config.load()


WRONG = {
    "unknown key": (
        '[profile.p.store.a]\nurl = "memory://"\ntiemout = 1\n',
        2,
        "profile.p.store.a.tiemout",
        "timeout",
    ),
    "unknown part": ("[profile.p.stroe.a]\n", 0, "profile.p.stroe", "did you mean 'store'"),
    "profile in a profile": ("[profile.p.profile.q]\n", 0, "profile.p.profile", "no such key"),
    "unknown default": ('[profile.p]\ndefault = "prdo"\n', 1, "profile.p.default", "did you mean 'prod'"),
    "name": ("[profile.Prod]\n", 0, "profile.Prod", "lower-case"),
    "key that is not there": (
        '[profile.p.store.a]\nurl = "memory://"\nencrypt = { keys = ["mian"], domain = "d" }\n',
        *(2, "profile.p.store.a.encrypt.keys", "did you mean 'main'"),
    ),
    "coordinator": (
        '[profile.p.coordinator]\nurl = "redis://x"\n',
        1,
        "profile.p.coordinator.url",
        "sqlite:///",
    ),
    "auth": (
        '[profile.p.store.a]\nurl = "vault://h/s"\nauth.rolle = "x"\n',
        2,
        "profile.p.store.a.auth.rolle",
        "role",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_in_a_profile_is_told_whichever_is_chosen(tmp_path: Path, case: str) -> None:
    """It is found when it is written, not on the day when it is needed."""
    text, line, key, piece = WRONG[case]
    path = write(tmp_path / "c.toml", FILE + text)
    with pytest.raises(InvalidRequestError) as caught:
        Config.load(path)
    assert str(caught.value).startswith(f"{path}:{FILE.count(chr(10)) + 1 + line}: {key}: ")
    assert piece in str(caught.value)


def test_what_is_wrong_only_under_a_profile_names_it(tmp_path: Path) -> None:
    """The entry is right where it stands; what a profile puts beside it makes it wrong."""
    text = (
        '[store.a]\nurl = "memory://"\n[store.b]\nurl = "memory://"\n[store.both]\nfailover = ["a", "b"]\n'
        '[profile.dr.store.b]\nfailover = ["a"]\n'
    )
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(InvalidRequestError) as caught:
        Config.load(path)
    assert f"{path}:6: store.both.failover: 'b' is itself a failover (with profile 'dr')" in str(caught.value)


def test_the_command_line_takes_a_profile(tmp_path: Path) -> None:
    """--profile, before or after the command; `check` says which it was."""
    url = new_store_url()
    path = write(tmp_path / "c.toml", f'[store.a]\nurl = "memory://a"\n[profile.p.store.b]\nurl = "{url}"\n')
    assert _run("--config", str(path), "--profile", "p", "--store", "b", "list").code == 0
    assert _run("list", "--config", str(path), "--store", "b").code == 2
    said = _run("check", "--config", str(path), "--profile", "p")
    assert (said.code, said.out.splitlines()[0]) == (0, "profile: p")
    told = _run("check", "--config", str(path), "--profile", "p", "--json").json
    assert (told["profile"], [store["store"] for store in told["stores"]]) == ("p", ["a", "b"])
    assert _run("check", "--config", str(path), "--json").json["profile"] is None
    unknown = _run("check", "--config", str(path), "--profile", "q")
    assert (unknown.code, "no profile is called 'q'" in unknown.err) == (2, True)
