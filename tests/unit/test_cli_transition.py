"""``check`` of a store whose values move to other keys, or to their first."""

from __future__ import annotations

from pathlib import Path

import pytest

import strongroom
from strongroom.backend import Capability
from strongroom.memory import MemoryBackend
from strongroom.reencryption import reencrypt_store
from strongroom_local.keyset import KeysetFile
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import Cli, Result, new_store_url

NAMES = ("a/one", "b/two")


@pytest.fixture
def url() -> str:
    return new_store_url()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where strongroom.toml is, with two keysets beside it."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    for name in ("old", "new"):
        KeysetFile(tmp_path / f"{name}.json").create()
    return tmp_path


def configure(home: Path, url: str, encrypt: str) -> None:
    keys = "".join(f'[key.{name}]\nurl = "local-key://{home}/{name}.json"\n' for name in ("old", "new"))
    table = f'[store.prod]\nurl = "{url}"\n'
    table += f'encrypt = {{ {encrypt}, domain = "d" }}\n' if encrypt else ""
    Path("strongroom.toml").write_text(keys + table)


def put() -> None:
    with strongroom.open("prod") as store:
        for name in NAMES:
            store.put(name, CANARY)


def check(*args: str) -> Result:
    return Cli()("check", *args, store="prod")


@pytest.mark.parametrize(
    ("before", "during", "after", "way"),
    [
        ("", 'keys = ["new"], allow_plaintext = true', 'keys = ["new"]', "allow_plaintext"),
        ('keys = ["old"]', 'keys = ["new"], old_keys = ["old"]', 'keys = ["new"]', "old_keys"),
    ],
)
def test_check_says_what_is_left_of_a_transition_until_nothing_is(
    home: Path, url: str, before: str, during: str, after: str, way: str
) -> None:
    """Action is needed, with names in JSON; then only the line that may go is told; then it is gone."""
    configure(home, url, before)
    put()
    configure(home, url, during)
    told = check("--json")
    (prod,) = told.json["stores"]
    assert (told.code, prod["needs_action"]) == (10, True)
    assert (prod["transition"], prod["left"], prod["problem"]) == ([way], list(NAMES), "")
    plain = check()
    assert f"2 of 2 secrets still need {way}, first a/one: run strongroom reencrypt --store prod" in plain.out
    with strongroom.open("prod") as store:
        assert reencrypt_store(store).left == []
    told = check("--json")
    assert (told.code, told.json["stores"][0]["left"]) == (0, [])
    assert f"nothing needs {way} but previous versions" in check().out
    configure(home, url, after)
    told = check("--json")
    assert (told.code, told.json["stores"][0]["transition"]) == (0, [])
    assert "need" not in check().out
    assert_no_canary(plain.out, told.out)


def test_a_store_that_cannot_list_says_so(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left nobody can tell."""
    configure(home, url, 'keys = ["new"], old_keys = ["old"]')
    put()
    shared = MemoryBackend._shared[url.removeprefix("memory://")]
    monkeypatch.setattr(shared, "capabilities", shared.capabilities & ~Capability.LIST)
    assert "has old_keys, and cannot list what needs it" in check().out
