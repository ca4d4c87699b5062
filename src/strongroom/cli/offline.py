"""``check --offline``: whether files are right by themselves. Nothing is asked, and no value is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from strongroom.errors import BackendNotInstalledError, InvalidRequestError, SecretStoreError

from .failure import one_line
from .output import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.toml.file import Config

    from .options import Options

WRONG: Final = 2
"""The exit code of a configuration that is wrong, as of every command that reads it."""


@dataclass(slots=True)
class FileFinding:
    """What a file says.

    Attributes:
        file: its path.
        stores: how many it names.
        rotations: how many tables of rotation it has.
        unseen: what could not be looked at here, since a package is missing; empty if nothing.
        problem: what is wrong, with its line; empty if nothing is.
    """

    file: str
    stores: int = 0
    rotations: int = 0
    unseen: str = ""
    problem: str = ""


def examine(path: str | None, profile: str | None) -> FileFinding:
    """Read a file as every command does, all its profiles too, and make its schedules and rotators."""
    from strongroom.toml.file import Config

    found = FileFinding(path or "strongroom.toml")
    try:
        _look(found, Config.load(path, profile))
    except BackendNotInstalledError as error:
        found.unseen = one_line(str(error))
    except SecretStoreError as error:
        found.problem = one_line(str(error))
    return found


def _look(found: FileFinding, config: Config) -> None:
    found.file = str(config.path or found.file)
    found.stores, found.rotations = len(config.stores), len(config.rotations)
    if not (config.stores or config.keys):
        hint = "write [store.ALIAS], or run: strongroom init"
        raise InvalidRequestError(f"{found.file}: no store is configured", hint=hint)
    if config.rotations:
        from strongroom.rotations import judge

        judge(config)


def check_files(options: Options, files: Sequence[str]) -> int:
    """Print what is wrong with these files, or with the configuration, and give the exit code."""
    findings = [examine(file, options.profile) for file in files or (options.config,)]
    wrong = any(one.problem for one in findings)
    if options.json:
        print_json({"files": [asdict(one) for one in findings]})
    else:
        _print(findings, quiet=options.quiet)
    return WRONG if wrong else 0


def _print(findings: Sequence[FileFinding], *, quiet: bool) -> None:
    for one in findings:
        if one.problem:
            click.echo(one.problem)
        elif not quiet:
            click.echo(one_line(f"{one.file}: ok; stores: {one.stores}, rotations: {one.rotations}"))
        if one.unseen and not quiet:
            click.echo(one_line(f"{one.file}: rotators not looked at: {one.unseen}"))
