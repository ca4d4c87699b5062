"""The table backends x capabilities: ``backend list`` and the README show it.

``python -m strongroom.cli.table`` prints it as Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import click

from strongroom.backend import Capability
from strongroom.errors import BackendNotInstalledError, SecretStoreError


class Row(NamedTuple):
    """A scheme, what its class declares, and why it cannot be used, if it cannot.

    An instance may have less: KV version 1 has no versions, whatever its class can.
    """

    scheme: str
    capabilities: Capability
    problem: str = ""


def rows() -> list[Row]:
    """One row for each scheme that can be named here, those of other packages too."""
    from strongroom.registry import schemes

    return [row(scheme) for scheme in schemes()]


def row(scheme: str) -> Row:
    """The row of one scheme."""
    from strongroom.registry import backend_class

    try:
        return Row(scheme, backend_class(scheme).capabilities)
    except BackendNotInstalledError as error:
        return Row(scheme, Capability(0), error.hint or error.message)
    except SecretStoreError as error:
        return Row(scheme, Capability(0), str(error))


def markdown() -> str:
    """The table for the README: a line for each capability, a column for each scheme of our own."""
    from importlib.metadata import entry_points

    from strongroom.registry import ENTRY_POINTS
    from strongroom.stages import supports_pending

    foreign = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
    columns = [row for row in rows() if row.scheme not in foreign]
    lines = [f"| | {' | '.join(f'`{column.scheme}`' for column in columns)} |"]
    lines.append("| --- |" + " :-: |" * len(columns))
    lines.append(_line("get", [True] * len(columns)))
    for flag in Capability:
        name = (flag.name or "").replace("_", " ").lower()
        lines.append(_line(name, [flag in column.capabilities for column in columns]))
    lines.append(_line("pending values", [supports_pending(column.capabilities) for column in columns]))
    return "\n".join(lines) + "\n"


def _line(name: str, cells: Sequence[bool]) -> str:
    return f"| {name} | {' | '.join('✓' if cell else '·' for cell in cells)} |"


if __name__ == "__main__":
    click.echo(markdown(), nl=False)
