"""``run`` up to the point where CMD takes over: what CMD is given, and what stops it before."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from strongroom.cli import environment, following, running
from strongroom.cli.child import Environment, cannot_run
from strongroom.cli.main import cli
from strongroom.errors import SecretNotFoundError
from strongroom.redaction import Needles
from strongroom.references import Resolver
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import library, new_store_url

PASSWORD = "strongroom://prod/db/password"


class Run:
    """The command, with CMD not started but shown what it would be given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.url, self.folder = new_store_url(), folder
        self.given: dict[bytes, bytes] | None = None
        self.variables = {"PATH": "/bin", "PLAIN": "text"}
        self.config = folder / "strongroom.toml"
        self.config.write_text(f'[store.prod]\nurl = "{self.url}"\n[store.other]\nurl = "{self.url}-other"\n')
        monkeypatch.setattr(running, "become", self._become)

    def _become(self, command: Any, given: Environment) -> None:
        self.given = dict(given)
        sys.exit(0)

    def __call__(self, *args: str, **variables: str) -> Any:
        """Run ``strongroom run ARGS``; click's result."""
        self.given = None
        done = CliRunner().invoke(
            cli,
            ["--config", str(self.config), "run", *args],
            env={**dict.fromkeys(os.environ), **self.variables, **variables},
            prog_name="strongroom",
        )
        assert_no_canary(done.stderr, done.stdout)
        return done

    def store(self) -> SecretStore:
        """What is behind the alias ``prod``."""
        return library(self.url)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command, and a store with two secrets."""
    run = Run(tmp_path, monkeypatch)
    with run.store() as store:
        store.put("db/password", CANARY)
        store.put("db/login", {"user": "app", "password": f"{CANARY}-2"})
        store.put("evil", PASSWORD)
        store.put("raw", b"\xff" + CANARY.encode())
        store.put("zero", b"\0")
        yield run


def test_references_are_replaced_and_nothing_else(run: Run) -> None:
    """Whole values only; what a secret holds is taken as it is, bytes too."""
    done = run(
        "--", "cmd",
        A=PASSWORD, B=f"{PASSWORD}#", C="strongroom://prod/db/login#/password",
        D=f"x {PASSWORD}", E="strongroom://prod/evil", F="strongroom://prod/raw",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert run.given == {
        b"PATH": b"/bin",
        b"PLAIN": b"text",
        b"A": CANARY.encode(),
        b"B": CANARY.encode(),
        b"C": f"{CANARY}-2".encode(),
        b"D": f"x {PASSWORD}".encode(),
        b"E": PASSWORD.encode(),
        b"F": b"\xff" + CANARY.encode(),
    }


@pytest.mark.parametrize(
    ("args", "variables", "said"),
    [
        (["--nope", "cmd"], {}, "--nope"),
        ([], {}, "Missing argument"),
        (["--signal", "HUP", "cmd"], {}, "--watch"),
        (["--watch", "--signal", "NOPE", "cmd"], {}, "HUP"),
        (["cmd"], {"A": "strongroom://prod/none"}, "A: no such secret"),
        (["cmd"], {"A": "strongroom://prdo/db/password"}, "did you mean 'prod'"),
        (["cmd"], {"A": "strongroom://prod"}, "A: this is not a reference"),
        (["cmd"], {"A": "strongroom://prod/a?stage=pending"}, "pending"),
        (["cmd"], {"A": "strongroom://prod/zero"}, "zero byte"),
        (["--allow", "other", "cmd"], {"A": PASSWORD}, "not allowed"),
        (["--store", "other", "cmd"], {"A": PASSWORD}, "not allowed"),
        (["--", "cmd", "-p", PASSWORD], {}, "arguments"),
        (["--", "cmd", f"--password={PASSWORD}"], {}, "arguments"),
        (["cmd"], {"REQUEST_METHOD": "GET", "HTTP_USER_AGENT": PASSWORD}, "web request"),
        (["--env-file", "/no/such/file", "cmd"], {}, "/no/such/file"),
    ],
)
def test_what_fails_before_cmd_exits_with_125(
    run: Run, args: list[str], variables: dict[str, str], said: str
) -> None:
    """Its own codes would be taken for CMD's; CMD is not started; what is wrong is said."""
    done = run(*args, **variables)
    assert (done.exit_code, run.given) == (125, None)
    assert said in done.stderr


def test_all_that_is_wrong_is_told_at_once(run: Run) -> None:
    """By the variable."""
    told = json.loads(
        run("--json", "cmd", A="strongroom://prod/none", B="strongroom://prod/no ne", C=PASSWORD).stderr
    )
    assert told["exit"] == 125
    assert {name: error["error"] for name, error in told["errors"].items()} == {
        "A": "SecretNotFoundError",
        "B": "InvalidRequestError",
    }


def test_a_bug_is_told_without_a_value(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with --debug."""

    def broken(*_: object) -> None:
        raise ValueError(CANARY)

    monkeypatch.setattr(running, "become", broken)
    done = run("--debug", "cmd", A=PASSWORD)
    assert done.exit_code == 125
    assert "ValueError" in done.stderr


FILES = {
    "app.env": f"# a comment\nexport A='{PASSWORD}'\nB=${{PLAIN}}\nC=\n",
    "app.json": json.dumps({"A": PASSWORD, "B": "${PLAIN}", "C": ""}),
    "app.yaml": f"A: {PASSWORD}\nB: ${{PLAIN}}\nC: ''\n",
    "app.toml": f'A = "{PASSWORD}"\nB = "${{PLAIN}}"\nC = ""\n',
}


@pytest.mark.parametrize("name", FILES)
def test_variables_come_from_files(run: Run, name: str) -> None:
    """Of each format, over the environment's own; ${NAME} is not expanded."""
    (run.folder / name).write_text(FILES[name])
    assert run("--env-file", str(run.folder / name), "cmd", A="own", PATH="/bin").exit_code == 0
    assert run.given
    assert (run.given[b"A"], run.given[b"B"], run.given[b"C"]) == (CANARY.encode(), b"${PLAIN}", b"")
    assert run.given[b"PLAIN"] == b"text"


def test_the_last_file_is_right(run: Run) -> None:
    """As with a shell that reads them in order."""
    for name, text in (("a.env", "A=1\nB=1"), ("b.env", "B=2")):
        (run.folder / name).write_text(text)
    files = [f"--env-file={run.folder / name}" for name in ("a.env", "b.env")]
    assert run(*files, "cmd").exit_code == 0
    assert run.given
    assert (run.given[b"A"], run.given[b"B"]) == (b"1", b"2")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", '{"A": 8080}', "quote it"),
        ("a.yaml", "A: 0123", "quote it"),
        ("a.json", '{"A": {"b": "c"}}', "no text"),
        ("a.toml", '[a]\nb = "c"', "no text"),
        ("a.toml", "a = ", "not TOML"),
        ("a.json", "[]", "top level"),
        ("a.json", '{"A=B": "c"}', "no variable"),
        ("a.env", "nonsense", "line 1"),
        ("a.env", "A=1\nA=2", "twice"),
    ],
)
def test_a_file_that_is_not_plain_is_refused(run: Run, name: str, text: str, said: str) -> None:
    """With its name and what is wrong."""
    (run.folder / name).write_text(text)
    done = run("--env-file", str(run.folder / name), "cmd")
    assert (done.exit_code, run.given) == (125, None)
    assert name in done.stderr
    assert said in done.stderr


def test_the_credentials_of_strongroom_do_not_reach_cmd(run: Run) -> None:
    """Those that the configuration names, and the passphrase; a store's own variables stay."""
    auth = 'auth = { method = "approle", role_id = "env://ROLE", secret_id = "env://SID" }'
    vault, variables_of = f'[store.v]\nurl = "vault://h:8200/s"\n{auth}\n', '[store.e]\nurl = "env://APP"\n'
    run.config.write_text(run.config.read_text() + vault + variables_of)
    variables = {"ROLE": "r", "SID": "s", "STRONGROOM_PASSPHRASE": "p", "APP": "a", "VAULT_TOKEN": "t"}
    assert run("cmd", **variables).exit_code == 0
    assert run.given
    assert not run.given.keys() & {b"ROLE", b"SID", b"STRONGROOM_PASSPHRASE"}
    assert run.given.keys() >= {b"APP", b"VAULT_TOKEN"}
    assert run("--keep", "SID", "--unset", "VAULT_TOKEN", "cmd", **variables).exit_code == 0
    assert b"SID" in run.given
    assert b"VAULT_TOKEN" not in run.given


def test_what_holds_the_environment_shows_none() -> None:
    """In a crash reporter's frames."""
    held = Environment({b"A": CANARY.encode()}), Needles([CANARY.encode()])
    assert_no_canary(repr(held), str(held))


def test_what_is_too_large_for_the_system_is_said() -> None:
    """The codes are those of env(1)."""
    too_large, missing = cannot_run("cmd", errno.E2BIG), cannot_run("cmd", errno.ENOTDIR)
    assert (too_large.code, missing.code) == (126, 127)
    assert "too large" in str(too_large.reason)


def test_without_a_configuration_there_is_only_the_passphrase() -> None:
    """Which is what the embedded store asks for."""
    assert environment.credentials(None) == {"STRONGROOM_PASSPHRASE"}


class Told:
    """What a follower said and gave, to wait for."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.values: list[Mapping[str, SecretValue]] = []
        self._more = threading.Condition()

    def say(self, line: str) -> None:
        """Take a line."""
        with self._more:
            self.said.append(line)
            self._more.notify_all()

    def changed(self, values: Mapping[str, SecretValue]) -> None:
        """Take new values."""
        with self._more:
            self.values.append(values)
            self._more.notify_all()

    def wait(self, until: Callable[[], object]) -> None:
        """Until something is so."""
        with self._more:
            assert self._more.wait_for(until, timeout=20)


def test_a_change_is_followed_and_only_a_change(run: Run) -> None:
    """Other values of the same references; not a new version with the same value, nor what is pinned."""
    told, stores = Told(), list[SecretStore]()

    def open_store(_: str) -> SecretStore:
        stores.append(run.store())
        return stores[-1]

    texts = {"A": PASSWORD, "B": "strongroom://prod/db/login#/user"}
    known = {"A": SecretValue(CANARY), "B": SecretValue("before")}
    follower = following.Follower(
        lambda: Resolver(open_store, None), texts, known, told.changed, told.say, 0.01
    )
    follower.start()
    told.wait(lambda: len(told.values) == 1)  # what changed before it began is a change too
    stores[0].put("db/login", {"user": "app", "password": "other"})
    stores[0].put("db/password", f"{CANARY}-new")
    told.wait(lambda: len(told.values) == 2)
    assert told.values[1]["A"].matches(f"{CANARY}-new")
    assert told.values[1]["B"].matches("app")
    follower.stop()
    assert told.said == []


def test_what_cannot_be_read_changes_nothing_and_is_tried_again(run: Run) -> None:
    """Told each time, without a value; then it goes on."""
    told, answers = Told(), iter([SecretNotFoundError("gone"), None])

    def open_store(_: str) -> SecretStore:
        problem = next(answers, None)
        if problem:
            raise problem
        return run.store()

    follower = following.Follower(
        lambda: Resolver(open_store, None), {"A": PASSWORD}, {}, told.changed, told.say, 0.01
    )
    follower.start()
    told.wait(lambda: told.values)
    follower.stop()
    assert len(told.said) == 1
    assert "stays in use" in told.said[0]
