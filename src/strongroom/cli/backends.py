"""``backend list`` and ``backend test``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.errors import BackendNotInstalledError, InvalidRequestError

from .options import Options, common, pass_options
from .output import print_json, print_table

if TYPE_CHECKING:
    from strongroom.config import StoreEntry


@click.group(short_help="what is installed; test a backend")
def backend() -> None:
    """What is installed, and whether a backend keeps its promises."""


@backend.command("list", short_help="schemes, capabilities, what to install")
@common
@pass_options
def list_backends(options: Options) -> None:
    """Print the URL schemes that can be used here, what each can do, and what is still to be installed."""
    from .table import rows

    found = rows()
    if options.json:
        documents = [
            {"scheme": row.scheme, "installed": not row.problem, "hint": row.problem or None}
            | {"capabilities": [name.lower() for name in row.capabilities.names]}
            for row in found
        ]
        print_json({"backends": documents})
        return
    print_table(
        ("scheme", "capabilities"),
        [
            (row.scheme, row.problem or " ".join(row.capabilities.names).lower() or "read only")
            for row in found
        ],
    )


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
    entry = _reachable(options, target)
    try:
        from strongroom.testing import plugin
    except ImportError as error:
        missing = error.name
    else:
        ctx.exit(plugin.run(entry.url, entry.settings))
    raise BackendNotInstalledError(
        f"the conformance suite needs {missing}", operation="test", hint="pip install pytest"
    )


def _reachable(options: Options, target: str) -> StoreEntry:
    """The store's entry; what is wrong with its URL or credentials is told once, not by every case."""
    from strongroom.config import Config
    from strongroom.registry import open_backend

    entry = Config.load(options.config).entry(target)
    if not entry.url:
        raise InvalidRequestError(f"{target} is a failover", hint="test its members, one by one")
    open_backend(entry.url, entry.settings).close()
    return entry
