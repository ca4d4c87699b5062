"""``delete``, ``restore``, ``purge``, ``rollback``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import click

from strongroom.errors import InvalidRequestError, SecretNotFoundError

from .options import Options, changing, opened, pass_options
from .output import can_ask, report
from .rotations import rolling_back
from .writing import current_version


@click.command(short_help="put in the bin, recoverably")
@click.argument("name")
@changing
@pass_options
def delete(options: Options, name: str) -> None:
    """Put NAME in the bin, whence `strongroom restore` brings it back.

    Where the store cannot keep it recoverably, nothing happens and the exit code is 2.
    """
    _act(options, name, "delete", "deleted")


@click.command(short_help="take out of the bin")
@click.argument("name")
@changing
@pass_options
def restore(options: Options, name: str) -> None:
    """Take NAME out of the bin, with its versions and tags."""
    _act(options, name, "restore", "restored")


@click.command(short_help="destroy for ever (asks)")
@click.argument("name")
@changing
@pass_options
def purge(options: Options, name: str) -> None:
    """Destroy NAME and all its versions for ever, also when it is in the bin.

    You are asked to type the name; --yes skips that. An answer is never read from a pipe.
    """
    if not options.yes and not options.dry_run:
        _confirm(name)
    _act(options, name, "purge", "purged")


def _confirm(name: str) -> None:
    if not can_ask():
        raise InvalidRequestError(
            "purge cannot be undone, and nobody can be asked here",
            operation="purge",
            name=name,
            hint="add --yes",
        )
    typed = click.prompt(f"This cannot be undone. Type {name!r} to destroy it", prompt_suffix=": ", err=True)
    if typed != name:
        raise InvalidRequestError("not confirmed; nothing was done", operation="purge", name=name)


def _act(options: Options, name: str, operation: str, done: str) -> None:
    with opened(options) as store:
        act: Callable[[str], None] = getattr(store, operation)
        if not options.dry_run:
            act(name)
    line = f"would {operation} {name}" if options.dry_run else f"{done} {name}"
    report(options, {"name": name, "operation": operation, "dry_run": options.dry_run}, line)


@click.command(short_help="make the previous value current again")
@click.argument("name")
@click.option("--if-version", metavar="ID", help="Only if that version is current; else whatever is now.")
@changing
@pass_options
def rollback(options: Options, name: str, if_version: str | None) -> None:
    """Write the previous value of NAME again, as a new version; nothing is lost.

    Of a secret that is rotated, only while its rotation is in grace: after that the previous value is
    refused at its target. Its revoke is cancelled.
    """
    with ExitStack() as held:
        rotated = held.enter_context(rolling_back(options, name))
        store = held.enter_context(opened(options))
        current = if_version or current_version(store, name)
        if current is None:
            raise SecretNotFoundError("no such secret", operation="rollback", name=name)
        if options.dry_run:
            document = {"name": name, "replaces": current, "dry_run": True}
            report(options, document, f"would replace version {current} of {name} by the one before it")
            return
        version = rotated(current) if rotated else store.rollback(name, if_version=current)
    document = {"name": name, "version": version.id, "replaces": current}
    report(options, document, f"rolled {name} back; the value is version {version.id} now")
