"""``put`` and ``tag``: where values come from, and under which conditions they are written."""

from __future__ import annotations

import getpass
import warnings
from pathlib import Path

import pytest

from strongroom.cli import sources
from strongroom.errors import SecretNotFoundError
from strongroom.passwords import Policy
from tests.canary import CANARY, assert_no_canary, plaintext
from tests.unit.cli_support import Cli


@pytest.fixture
def run() -> Cli:
    """The program on an empty store."""
    return Cli()


def _stored(run: Cli, name: str = "db/password") -> bytes:
    with run.store() as store:
        return store.get(name).value.reveal()


@pytest.mark.parametrize(
    ("stdin", "options", "expected"),
    [
        (b"v\n", [], b"v"),
        (b"v", [], b"v"),
        (b"v\n\n", [], b"v\n"),
        (b"v\r\n", [], b"v\r"),
        (b" v \n", [], b" v "),
        (b"v\n", ["--exact"], b"v\n"),
        (b"v\n", ["--kind", "binary"], b"v\n"),
        (b"\xff\n", [], b"\xff\n"),
    ],
)
def test_stdin_loses_one_newline_if_it_is_text(
    run: Cli, stdin: bytes, options: list[str], expected: bytes
) -> None:
    """As $(...) would take one; never from bytes, and not under --exact."""
    done = run("put", "db/password", *options, stdin=stdin)
    assert done.code == 0
    assert _stored(run) == expected


def test_the_kind_is_what_the_bytes_are_unless_stated(run: Cli) -> None:
    """UTF-8 is text; bytes said to be text are refused, without being quoted."""
    for stdin, kind in ((b"text", "text"), (b"\xff", "binary")):
        run("put", "db/password", stdin=stdin)
        with run.store() as store:
            assert store.get("db/password").value.kind == kind
    refused = run("put", "db/password", "--kind", "text", stdin=b"\xff" + CANARY.encode())
    assert refused.code == 2


def test_an_empty_value_is_mostly_an_accident(run: Cli) -> None:
    """`false | strongroom put` stores nothing; --allow-empty says it is meant."""
    for stdin in (b"", b"\n"):
        refused = run("put", "db/password", stdin=stdin)
        assert refused.code == 2
        assert "--allow-empty" in refused.err
    with run.store() as store, pytest.raises(SecretNotFoundError):
        store.get("db/password")
    assert run("put", "db/password", "--allow-empty").code == 0


def test_a_file_is_taken_as_it_is(run: Cli, tmp_path: Path) -> None:
    """With its last newline; a file that cannot be read is named."""
    path = plaintext(tmp_path / "key.pem", "the input of put --file")
    path.write_text(f"{CANARY}\n")
    assert run("put", "db/password", "--file", str(path)).code == 0
    assert _stored(run) == f"{CANARY}\n".encode()
    assert run("put", "piped/exactly", "--file", "-", stdin="v\n").code == 0
    assert _stored(run, "piped/exactly") == b"v\n"
    missing = run("put", "db/password", "--file", str(tmp_path / "none"))
    assert missing.code == 2
    assert "No such file" in missing.err


def test_a_generated_password_is_stored_and_not_shown(run: Cli) -> None:
    """The answer tells policy and entropy."""
    done = run("put", "db/password", "--generate", "--length", "40", "--classes", "lower,digits", "--json")
    password = _stored(run).decode()
    assert Policy(40, ("lower", "digits")).allows(password)
    assert password not in done.out + done.err
    assert done.json["entropy_bits"] > 200


def test_a_value_in_argv_is_refused_and_not_repeated(run: Cli) -> None:
    """Wherever it was typed: as a second name, or as an option's value."""
    for args in (
        [CANARY],
        [f"--value={CANARY}"],
        ["--value", CANARY],
        ["--kind", CANARY],
        ["--length", CANARY],
    ):
        refused = run("put", "db/password", *args, stdin="other")
        assert refused.code == 2
        assert_no_canary(refused.out, refused.err)
    with run.store() as store:
        assert list(store.list_names()) == []


def test_compare_and_set(run: Cli) -> None:
    """`absent` creates only; an id replaces only that version."""
    first = run("put", "db/password", "--if-version", "absent", "--json", stdin="1").json["version"]
    assert run("put", "db/password", "--if-version", "absent", stdin="2").code == 5
    assert run("put", "db/password", "--if-version", first, stdin="2").code == 0
    stale = run("put", "db/password", "--if-version", first, "--json", stdin="3")
    assert stale.code == 5
    assert (stale.error["error"], stale.error["performed"]) == ("SecretConflictError", False)
    assert _stored(run) == b"2"


def test_a_dry_run_writes_nothing_and_tells_what_would_be(run: Cli) -> None:
    """Also that a condition would not hold."""
    assert "would create db/password" in run("put", "db/password", "--dry-run", stdin=CANARY).out
    assert run("put", "db/password", "--dry-run", "--if-version", "no-such", stdin=CANARY).code == 5
    with run.store() as store:
        assert list(store.list_names()) == []
    run("put", "db/password", stdin="1")
    assert "would replace version" in run("put", "db/password", "--dry-run", stdin=CANARY).out
    assert run("put", "db/password", "--dry-run", "--if-version", "absent", stdin=CANARY).code == 5
    assert _stored(run) == b"1"


def test_quiet_says_nothing(run: Cli) -> None:
    """Exit code 0 is answer enough."""
    done = run("put", "db/password", "-q", stdin="1")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_prompt_asks_twice_and_never_echoes(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two must be equal; a terminal that cannot hide what is typed is refused."""
    answers = [CANARY, CANARY, CANARY, "other"]
    monkeypatch.setattr(sources, "can_ask", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda _: answers.pop(0))
    assert run("put", "db/password").code == 0
    assert _stored(run) == CANARY.encode()
    assert run("put", "db/password").code == 2

    def echoing(_: str) -> str:
        warnings.warn("it would echo", getpass.GetPassWarning, stacklevel=1)
        return CANARY

    monkeypatch.setattr(getpass, "getpass", echoing)
    refused = run("put", "db/password")
    assert refused.code == 2
    assert "hide" in refused.err


def test_two_sources_are_refused(run: Cli, tmp_path: Path) -> None:
    """A file and a generated password cannot both be meant."""
    assert run("put", "db/password", "--generate", "--file", str(tmp_path)).code == 2


@pytest.mark.parametrize("args", [["--length", "5"], ["--classes", "emoji"], ["--classes", ""]])
def test_a_policy_that_cannot_work_is_refused(run: Cli, args: list[str]) -> None:
    """Before anything is written."""
    refused = run("put", "db/password", "--generate", *args)
    assert refused.code == 2
    assert "policy" in refused.err


def test_tags_are_set_and_removed(run: Cli) -> None:
    """Others stay; what is no KEY=VALUE is refused; a dry run changes nothing."""
    run("put", "db/password", stdin="1")
    assert run("tag", "db/password", "owner=ledger", "url=a=b").code == 0
    assert run("tag", "db/password", "tier=1", "--remove", "owner").code == 0
    assert run("tag", "db/password", "tier=2", "--dry-run").code == 0
    for args in (["novalue"], ["=v"], []):
        assert run("tag", "db/password", *args).code == 2
    with run.store() as store:
        assert store.describe("db/password").tags == {"url": "a=b", "tier": "1"}


def test_an_illegal_name_is_refused_with_the_nearest_legal_one(run: Cli) -> None:
    """Exit 2, and the name to use."""
    refused = run("put", "BINANCE_API_KEY", stdin="1")
    assert refused.code == 2
    assert "binance/api-key" in refused.err
