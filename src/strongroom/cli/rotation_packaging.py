"""``rotation package``: the zip of a cloud function."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from strongroom.errors import InvalidRequestError
from strongroom.rotation.functions.packaging import MIB, Package, Request
from strongroom.rotation.functions.packaging import package as make
from strongroom.rotation.functions.wheels import MACHINES, PYTHONS

from .options import Options, changing, pass_options
from .output import report

if TYPE_CHECKING:
    from strongroom.rotation.functions.entrypoints import Platform

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="make the zip of a cloud function")
@click.argument("platform", type=click.Choice(["aws-lambda", "google", "azure"]))
@click.option("-o", "--output", required=True, type=_FILE, help="Where the zip goes.")
@click.option("--rotator", metavar="PKG:CLASS", help="For the secrets that no --config names (aws-lambda).")
@click.option(
    "--python", default="3.13", show_default=True, type=click.Choice(PYTHONS), help="Of the runtime."
)
@click.option(
    "--arch", default="x86-64", show_default=True, type=click.Choice([*MACHINES]), help="Its machine."
)
@click.option("--requirement", "more", multiple=True, metavar="SPEC", help="What the rotator needs besides.")
@click.option("--lock", type=_FILE, help="Fetch what this file of hashed requirements says, and no more.")
@click.option("--with-sdk", is_flag=True, help="Pack boto3 too, which AWS's runtime has.")
@changing
@pass_options
def package(
    options: Options,
    *,
    platform: str,
    output: Path,
    rotator: str | None,
    python: str,
    arch: str,
    more: tuple[str, ...],
    lock: Path | None,
    with_sdk: bool,
) -> None:
    """Make the zip of a function that rotates, to be deployed as it is.

    It holds the rotators, this library, the backends that are needed, and wheels for the runtime's Python and
    machine. The same input gives the same bytes; --lock fixes what pip chooses. --config packs a
    strongroom.toml, whose [rotation.LABEL] the function runs; without one, --rotator rotates every secret for
    which Secrets Manager calls.
    """
    config = Path(options.config) if options.config else None
    asked = Request(cast("Platform", platform), rotator, config, python, arch, more, lock, with_sdk)
    made = make(asked)
    if not options.dry_run:
        _write(output, made.data)
    verb = "would write" if options.dry_run else "wrote"
    size = f"{len(made.data) / MIB:.1f} MiB, {made.unpacked / MIB:.1f} unpacked"
    report(options, _document(made, output), f"{verb} {output} ({size}); handler {made.handler}")


def _document(made: Package, output: Path) -> dict[str, Any]:
    return {
        "path": str(output),
        "bytes": len(made.data),
        "unpacked": made.unpacked,
        "sha256": made.sha256,
        "handler": made.handler,
        "files": made.files,
    }


def _write(output: Path, data: bytes) -> None:
    """At once or not at all: half a zip must not be deployed."""
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    problem = None
    try:
        beside.write_bytes(data)
        beside.replace(output)
    except OSError as exc:
        problem = exc.strerror or "cannot be written"
        beside.unlink(missing_ok=True)
    if problem:
        raise InvalidRequestError(f"{output}: {problem}", hint="choose another --output")
