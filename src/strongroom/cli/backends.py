"""``backend list`` and ``backend test``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import BackendNotInstalledError, InvalidRequestError

from .options import Options, common, configuration, pass_options
from .output import print_json, print_table

if TYPE_CHECKING:
    from strongroom.backend import Settings

    from .table import KeyRow, Row


@click.group(short_help="what is installed; test a backend")
def backend() -> None:
    """What is installed, and whether a backend keeps its promises."""


@backend.command("list", short_help="schemes, capabilities, what to install")
@common
@pass_options
def list_backends(options: Options) -> None:
    """Print the schemes of stores and keys, what each can do, and what is still to be installed.

    A star marks what only a coordinator gives.
    """
    from .table import KEY_COLUMNS, key_cells, key_rows, rows

    if options.json:
        print_json({"backends": list(map(_store, rows())), "keys": list(map(_key, key_rows()))})
        return
    stores = [(row.scheme, row.problem or _capabilities(row)) for row in rows()]
    print_table(("store", "capabilities"), stores)
    click.echo()
    print_table(("key", *KEY_COLUMNS), key_cells())


def _store(row: Row) -> dict[str, Any]:
    return {
        "scheme": row.scheme,
        "installed": not row.problem,
        "hint": row.problem or None,
        "capabilities": [name.lower() for name in row.capabilities.names],
        "needs_coordinator": [name.lower() for name in row.needs_coordinator.names],
    }


def _key(row: KeyRow) -> dict[str, Any]:
    return {
        "scheme": row.scheme,
        "installed": not row.problem,
        "hint": row.problem or None,
        "wrappings": [wrapping._asdict() for wrapping in row.wrappings],
        "signatures": row.algorithms,
    }


def _capabilities(row: Row) -> str:
    starred = row.needs_coordinator.names
    names = [name.lower() + "*" * (name in starred) for name in row.capabilities.names]
    return " ".join(names) or "read only"


@backend.command("test", short_help="run the conformance suite on a URL")
@click.argument("target", metavar="ALIAS|URL")
@common
@click.pass_context
@pass_options
def test_backend(options: Options, ctx: click.Context, target: str) -> None:
    """Run the conformance suite on a store; credentials come from the configuration, as for every command.

    It writes, deletes and purges secrets of its own there: give it a place where nothing else lives. It needs
    pytest.
    """
    url, settings = _reachable(options, target)
    try:
        from strongroom.testing import plugin
    except ImportError as error:
        missing = error.name
    else:
        ctx.exit(plugin.run(url, settings))
    raise BackendNotInstalledError(
        f"the conformance suite needs {missing}", operation="test", hint="pip install pytest"
    )


def _reachable(options: Options, target: str) -> tuple[str, Settings]:
    """Where the store is, and how to get there; what is wrong with that is told once, not by every case."""
    from strongroom.config import reach
    from strongroom.registry import open_backend

    config = configuration(options)
    entry = config.entry(target)
    if not entry.url:
        raise InvalidRequestError(f"{target} is a failover", hint="test its members, one by one")
    settings = reach(entry, config)
    open_backend(entry.url, settings).close()
    return entry.url, settings
