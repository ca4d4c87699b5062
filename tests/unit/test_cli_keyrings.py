"""``key create``, ``rotate``, ``rewrap`` and ``list`` of keyrings, and what ``check`` says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from strongroom.cli import keyrings
from strongroom.cli.main import cli
from strongroom.config import key
from strongroom.localkey import MAX_WRAPS, WRAP_BLOCK
from tests.unit.cli_support import Result
from tests.unit.keyring_support import opens, round_trips, sealed


def _run(*args: str, stdin: str = "") -> Result:
    done = CliRunner().invoke(cli, args, input=stdin, prog_name="strongroom")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


def _configure(roots: Sequence[str], place: str, keys: Sequence[str] = ("eu", "us", "old")) -> None:
    lines = [f'[store.prod]\nurl = "local://{Path.cwd()}/data/a.db"\ncache = false\n']
    lines.append(f'options = {{ keyset = "{Path.cwd()}/store.json" }}\n')
    lines += [f'[key.{name}]\nurl = "local-key://{Path.cwd()}/{name}.json"\n' for name in keys]
    lines.append(f"[keyring.main]\nroots = {json.dumps(list(roots))}\n{place}\n")
    Path("strongroom.toml").write_text("".join(lines))


@pytest.fixture(params=["file", "store"], autouse=True)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the keyring of every test is kept; three keysets are made."""
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    text = f'file = "{tmp_path}/main.keyring"' if request.param == "file" else 'store = "prod"'
    (tmp_path / "data").mkdir(mode=0o700)
    _configure(["eu", "us"], text)
    for name in ("eu", "us", "old"):
        assert _run("key", "create", name).code == 0
    if request.param == "store":
        url = f"local://{tmp_path}/data/a.db?create=keyset"
        toml = Path("strongroom.toml").read_text()
        Path("strongroom.toml").write_text(toml.replace(f"local://{tmp_path}/data/a.db", url))
        assert _run("list", "--store", "prod").code == 0
        Path("strongroom.toml").write_text(toml)
    return text


def test_a_keyring_is_made_once(place: str) -> None:
    """A dry run makes none; a second time is a conflict."""
    would = _run("key", "create", "main", "--dry-run")
    assert (would.code, "would make keyring main" in would.out) == (0, True)
    assert _run("key", "list", "--check").code == 10
    assert _run("key", "create", "main", "--kind", "p256").code == 2
    made = _run("key", "create", "main", "--json")
    assert (made.code, made.json["roots"], made.json["dry_run"]) == (0, ["eu", "us"], False)
    assert made.json["id"].startswith("keyring-")
    again = _run("key", "create", "main")
    assert (again.code, len(again.err.splitlines())) == (5, 1)
    with closing(key("main")) as keyring:
        assert round_trips(keyring)


def test_a_keyring_that_was_not_made_is_not_found() -> None:
    """One line, with what makes it."""
    for command in ("rotate", "rewrap"):
        done = _run("key", command, "main")
        assert (done.code, len(done.err.splitlines())) == (3, 1)
        assert "key create" in done.err


def test_a_rotated_keyring_wraps_under_a_new_version() -> None:
    """Messages of before still open; a dry run changes nothing."""
    _run("key", "create", "main")
    with closing(key("main")) as keyring:
        message = sealed(keys=[keyring])
    assert _run("key", "rotate", "main", "--dry-run", "--json").json["versions"] == 2
    done = _run("key", "rotate", "main", "--json")
    assert (done.code, done.json["versions"]) == (0, 2)
    assert "wraps under version" in _run("key", "rotate", "main").out
    with closing(key("main")) as keyring:
        assert opens(keyring, message)
        assert round_trips(keyring)
    [found] = _run("key", "list", "--check", "--json").json["keyrings"]
    assert (found["versions"], found["checked"], found["roots"]) == (3, True, ["eu", "us"])


def test_what_is_no_keyring_is_told_how_it_rotates() -> None:
    """A key of a provider is rotated there; a local one is replaced."""
    done = _run("key", "rotate", "eu")
    assert done.code == 2
    assert "'eu' is no keyring" in done.err
    assert "strongroom reencrypt --to" in done.err
    for url, what in {
        "aws-kms://eu-west-1/alias/x": "enable-key-rotation",
        "vault-transit://host/transit/x": "vault write",
        "gcp-kms://p/l/r/k": "gcloud kms",
        "azure-key://vault/x": "az keyvault",
        "pkcs11:token=t;object=k": "key create",
    }.items():
        for command in ("rotate", "rewrap"):
            done = _run("key", command, url)
            assert (done.code, what in done.err) == (2, True), url
    assert "did you mean 'main'" in _run("key", "rotate", "mian").err


def test_a_root_is_added_and_dropped(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping is never done in silence: the option, and a question or --yes; then the old root opens it no
    more."""
    _run("key", "create", "main")
    _configure(["eu", "old"], place)
    listed = _run("key", "list", "--check")
    assert listed.code == 10
    assert "root old does not open it" in listed.out
    assert "is not configured" in listed.out
    for refused in (["rewrap"], ["rewrap", "--dry-run"], ["rotate"], ["rotate", "--dry-run"]):
        done = _run("key", *refused[:1], "main", *refused[1:])
        assert (done.code, "--drop-roots" in done.err) == (2, True)
    would = _run("key", "rewrap", "main", "--drop-roots", "--dry-run", "--json").json
    assert (len(would["added"]), len(would["removed"]), would["dry_run"]) == (1, 1, True)
    asked = _run("key", "rewrap", "main", "--drop-roots")
    assert (asked.code, "add --yes" in asked.err) == (2, True)
    monkeypatch.setattr(keyrings, "can_ask", lambda: True)
    assert _run("key", "rewrap", "main", "--drop-roots", stdin="n\n").code == 130
    done = _run("key", "rewrap", "main", "--drop-roots", "--yes", "--json")
    assert (done.code, done.json["added"], done.json["removed"]) == (0, would["added"], would["removed"])
    assert _run("key", "list", "--check").code == 0
    _configure(["us"], place)
    assert _run("key", "rotate", "main").code == 7


def test_rewrapping_under_the_same_roots_says_so() -> None:
    """The message is another one, of a new data key."""
    _run("key", "create", "main")
    done = _run("key", "rewrap", "main")
    assert (done.code, done.out) == (0, "rewrapped keyring main, with the roots it had\n")


def test_a_keyring_that_is_only_listed_is_not_opened() -> None:
    """Nor is the place asked: what strongroom.toml says is told."""
    done = _run("key", "list", "--json")
    [found] = done.json["keyrings"]
    assert (done.code, found["keyring"], found["roots"]) == (0, "main", ["eu", "us"])
    assert (found["checked"], found["versions"]) == (False, None)
    assert "not checked" in _run("key", "list").out


def test_check_opens_keyrings_and_says_which_roots_do(place: str) -> None:
    """With a root that is gone the keyring still opens, and that needs action."""
    _run("key", "create", "main")
    assert _run("check", "--json").json["keyrings"][0]["problems"] == []
    Path("us.json").rename("away.json")
    done = _run("key", "list", "--check", "--json")
    assert done.code == 10
    checked = _run("check", "--json")
    assert checked.code == 10
    [problem] = checked.json["keyrings"][0]["problems"]
    assert "us.json" in problem


def test_checking_a_keyring_uses_none_of_its_wraps(tmp_path: Path) -> None:
    """A monitoring that runs every minute would end its life within weeks."""
    _run("key", "create", "main")
    for _ in range(3):
        assert _run("key", "list", "--check", "--json").json["keyrings"][0]["wraps"] == 0


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_primary_that_is_nearly_spent_needs_action(tmp_path: Path, place: str) -> None:
    """At nine tenths of its 2^31 wraps."""
    _run("key", "create", "main")
    [counter] = tmp_path.glob("main.keyring.*.wraps")
    counter.write_bytes(b"." * (MAX_WRAPS // WRAP_BLOCK * 19 // 20))
    done = _run("key", "list", "--check")
    assert (done.code, "rotate it" in done.out) == (10, True)
    assert _run("key", "rotate", "main").code == 0
    assert _run("key", "list", "--check").code == 0
