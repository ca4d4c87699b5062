"""Every failure is one line and an exit code, and none shows a value."""

from __future__ import annotations

import inspect
import json
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from strongroom import errors
from strongroom.cli import failure
from strongroom.cli.main import SECTIONS, cli
from strongroom.errors import PartialFailureError, ProviderFault, SecretNotFoundError, SecretStoreError
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import Cli

CODES = {
    "SecretNotFoundError": 3,
    "SecretConflictError": 5,
    "PermissionDeniedError": 4,
    "InvalidRequestError": 2,
    "UnavailableError": 6,
    "IntegrityError": 7,
    "UnsupportedOperationError": 2,
    "BackendNotInstalledError": 2,
    "PartialFailureError": 8,
}
KINDS = [
    kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, SecretStoreError)
]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not SecretStoreError])
def test_each_error_has_its_exit_code(kind: type[SecretStoreError]) -> None:
    """A new error class cannot be forgotten in the table."""
    assert failure.EXIT_CODES[kind] == CODES[kind.__name__]


def _raise(error: BaseException, monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str, str]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr("strongroom.cli.options.opened", fail)
    monkeypatch.setattr("strongroom.cli.reading.opened", fail)
    done = CliRunner().invoke(cli, ["get", "db/password", *args])
    return done.exit_code, done.stdout, done.stderr


def test_an_error_is_one_line_with_what_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr; control characters cannot reach the terminal."""
    error = SecretNotFoundError(
        "no such\nsecret\x1b[2J", operation="get", name="db/password", hint="list shows"
    )
    code, out, err = _raise(error, monkeypatch)
    assert (code, out) == (3, "")
    assert err == "strongroom: get db/password: no such?secret?[2J (list shows)\n"


def test_an_error_as_json_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every fact of the error and the exit code."""
    error = SecretNotFoundError("no such secret", operation="get", name="db/password", request_id="r-1")
    _, _, err = _raise(error, monkeypatch, "--json")
    assert json.loads(err) == {
        "error": "SecretNotFoundError",
        "message": "no such secret",
        "hint": "strongroom list shows what there is",
        "operation": "get",
        "name": "db/password",
        "backend": None,
        "retryable": False,
        "performed": False,
        "request_id": "r-1",
        "exit": 3,
    }
    assert err.count("\n") == 1


def test_what_to_do_is_always_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's hint if it has one, else by the command line's."""
    assert "(strongroom list" in _raise(SecretNotFoundError("no such secret"), monkeypatch)[2]
    hinted = _raise(SecretNotFoundError("no such secret", hint="restore brings it back"), monkeypatch)[2]
    assert hinted == "strongroom: no such secret (restore brings it back)\n"


def test_a_partial_failure_names_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both forms."""
    error = PartialFailureError("1 of 2", results={"a": 1}, errors={"b": SecretNotFoundError("gone")})
    code, _, err = _raise(error, monkeypatch)
    assert code == 8
    assert "  b: gone" in err
    _, _, err = _raise(error, monkeypatch, "--json")
    assert json.loads(err)["errors"]["b"]["error"] == "SecretNotFoundError"
    assert json.loads(err)["results"] == ["a"]


def test_an_unforeseen_exception_is_a_bug_and_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message, its cause and its locals could hold a value: only classes and places are told."""
    error = KeyError(CANARY)
    error.__cause__ = ValueError(CANARY)
    for args in ([], ["--debug"], ["--json"], ["--json", "--debug"]):
        code, out, err = _raise(error, monkeypatch, *args)
        assert code == 1
        assert "KeyError" in err
        assert ("ValueError" in err) == ("--debug" in args)
        assert "Traceback" not in err
        assert_no_canary(out, err)


def test_debug_prints_the_chain_of_what_the_provider_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class, code and request id: what a ProviderFault holds, which is no value."""
    error = errors.UnavailableError("no answer")
    error.__cause__ = ProviderFault("ReadTimeoutError", code="timeout", request_id="r-1")
    assert "ReadTimeoutError" not in _raise(error, monkeypatch)[2]
    assert "ReadTimeoutError, timeout, request r-1" in _raise(error, monkeypatch, "--debug")[2]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_exits_with_130(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is noticed."""
    assert _raise(error, monkeypatch)[::2] == (130, "strongroom: interrupted\n")


def test_a_usage_error_is_one_line() -> None:
    """It says what was wrong and where the help is; a mistyped command gets the nearest one."""
    run = Cli()
    for args in (["get"], ["get", "a", "b"], ["get", "a", "--nope"], ["nope"], ["backend", "nope"]):
        failed = run(*args)
        assert (failed.code, failed.out, failed.err.count("\n")) == (2, "", 1)
        assert "--help" in failed.err
    assert "'restore'" in run("restor", "a").err
    assert run("get", "--json", "--nope").error["exit"] == 2


def test_the_overview_says_what_each_command_says() -> None:
    """The table of the overview, which loads no command, and the commands themselves agree."""
    context = click.Context(cli)
    for section in SECTIONS.values():
        for name, entry in section.items():
            command = cli.get_command(context, name)
            assert command is not None
            assert (command.name, command.short_help) == (name, entry.summary)


def test_every_command_has_the_options_that_mean_the_same() -> None:
    """--store, --config and so on everywhere; --yes and --dry-run where something changes."""
    context = click.Context(cli)
    changing = {"init", "put", "tag", "delete", "restore", "purge", "rollback", "import", "copy"}
    changing |= {"reencrypt", "key create", "key rotate", "key rewrap", "revoke"}
    changing |= {"audit shred", "audit checkpoint", "replica sync", "replica adopt"}
    changing |= {"replica takeover", "replica divergence"}
    changing |= {
        f"rotation {verb}" for verb in ("start", "tick", "package", "resume", "abort", "take-in", "clean")
    }
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        group = isinstance(command, click.Group)
        verbs = command.list_commands(context) if isinstance(command, click.Group) else [""]
        for verb in verbs:
            leaf = command.get_command(context, verb) if isinstance(command, click.Group) else command
            assert leaf is not None
            given = {option for param in leaf.params for option in param.opts}
            assert given >= {"--store", "--config", "--profile", "--json", "--quiet", "--debug"}, name
            assert (given >= {"--yes", "--dry-run"}) == ((f"{name} {verb}" if group else name) in changing), (
                name
            )
