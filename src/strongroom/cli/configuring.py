"""``config schema``."""

from __future__ import annotations

import json

import click

from .options import common


@click.group(short_help="about strongroom.toml: print its JSON Schema")
def config() -> None:
    """About strongroom.toml itself."""


@config.command("schema", short_help="print its JSON Schema")
@common
def schema() -> None:
    """Print the JSON Schema of strongroom.toml (draft 2020-12).

    Editors check and complete by it: a first line `#:schema PATH` names it to those that know the Taplo
    language server.
    """
    from strongroom.toml.schema import schema as whole

    click.echo(json.dumps(whole(), indent=2, ensure_ascii=False))
