"""The program ``strongroom``: the table of commands, and the one place where failures end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from .lazy import Entry, LazyGroup
from .options import Options, common

SECTIONS = {
    "Begin": {
        "init": Entry("setup", "init", "make a starter configuration and a local store"),
        "check": Entry(
            "checking", "check", "test configuration, access, capabilities, ages; reveals nothing"
        ),
    },
    "Secrets": {
        "get": Entry("reading", "get", "print one value"),
        "put": Entry("writing", "put", "store a value from stdin, a prompt, a file, or made here"),
        "list": Entry("reading", "list_names", "print names"),
        "show": Entry("reading", "show", "print versions, stages and tags, never the value"),
        "tag": Entry("writing", "tag", "set or remove tags"),
        "delete": Entry("removing", "delete", "put in the bin, recoverably"),
        "restore": Entry("removing", "restore", "take out of the bin"),
        "purge": Entry("removing", "purge", "destroy for ever (asks)"),
        "rollback": Entry("removing", "rollback", "make the previous value current again"),
    },
    "Many at once": {
        "import": Entry("importing", "import_file", "take in .env, JSON, TOML or YAML"),
        "copy": Entry("copying", "copy", "migrate names between stores"),
    },
    "Programs": {
        "run": Entry("running", "run", "start a program with references in its environment resolved"),
        "render": Entry("rendering", "render", "fill a template with secrets"),
    },
    "Files and streams": {
        "encrypt": Entry("encrypting", "encrypt", "encrypt a file or a stream under one or several keys"),
        "decrypt": Entry("encrypting", "decrypt", "decrypt a file or a stream"),
        "inspect": Entry("inspecting", "inspect", "say what a message says of itself; needs no key"),
        "reencrypt": Entry("reencrypting", "reencrypt", "put files, folders or a store under other keys"),
    },
    "Rotation": {
        "rotation": Entry("rotating", "rotation", "renew secrets at their targets, by schedule or now"),
        "revoke": Entry("revoking", "revoke", "cut a leaked value off everywhere, now (asks)"),
    },
    "Replication": {
        "replica": Entry("replicating", "replica", "keep copies in other regions and clouds; take over"),
    },
    "Audit": {
        "audit": Entry("auditing", "audit", "prove, read and watch the audit journal"),
    },
    "Other": {
        "key": Entry("keys", "key", "make, rotate and list keys and keyrings"),
        "config": Entry("configuring", "config", "about strongroom.toml: print its JSON Schema"),
        "backend": Entry("backends", "backend", "what is installed; test a backend"),
        "completion": Entry("completion", "completion", "print the completion script for a shell"),
    },
}


class Program(LazyGroup):
    """The root command. Whatever happens below ends here, in one line and an exit code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run and exit."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            result = super().main(given, *rest, **extra)
            if sys.stdout:  # None if it was closed before
                sys.stdout.flush()
        except BrokenPipeError:
            _die_of_broken_pipe()
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            result = 2
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (nothing may reach the interpreter's traceback)
            result = _fail(error, given)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and meet two ends before click makes its own of them.

        It would print an empty line for an interrupt, and exit with 1 when the reader of a pipe has gone.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _die_of_broken_pipe()
        except (KeyboardInterrupt, EOFError):
            raise click.Abort from None


def _fail(error: BaseException, args: list[str]) -> int:
    from .failure import exit_code, tell

    # The arguments may not have been parsed when the error arose.
    said = args[: args.index("--")] if "--" in args else args
    tell(error, as_json="--json" in said, debug="--debug" in said)
    return exit_code(error)


def _die_of_broken_pipe() -> NoReturn:
    """End as every filter ends whose reader has gone: silently, by SIGPIPE (a shell reports 141)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    raise SystemExit(128 + signal.SIGPIPE)


@click.group(
    cls=Program,
    sections=SECTIONS,
    epilog="Exit: 0 ok, 1 bug, 2 usage, 3 not found, 4 denied, 5 conflict, 6 unavailable, 7 integrity, "
    "8 partial, 10 action needed, 125 `run` failed before its command, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="strongroom", message="%(prog)s %(version)s")
@common
@click.pass_context
def cli(ctx: click.Context) -> None:
    """One interface to secrets, whatever holds them."""
    ctx.ensure_object(Options)


def main() -> NoReturn:
    """The entry point."""
    cli.main(prog_name="strongroom")
