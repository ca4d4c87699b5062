"""What commands print: lines and plain columns in a pipe, tables on a terminal, JSON on request."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from .failure import one_line
from .options import Options

Item = TypeVar("Item")


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def can_ask() -> bool:
    """Whether a person sits at stdin; an answer is never taken from a pipe."""
    return sys.stdin is not None and sys.stdin.isatty()


def report(options: Options, document: Mapping[str, Any], line: str) -> None:
    """Say what was done: a line, or `document` as JSON; nothing if quiet."""
    if options.json:
        print_json(document)
    elif not options.quiet:
        click.echo(one_line(line))


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout; dates as ISO 8601."""
    click.echo(json.dumps(document, default=_plain, ensure_ascii=False, indent=2 if on_terminal() else None))


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    raise TypeError(f"{type(value).__name__} is not for JSON")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns; framed by rich on a terminal, when it is installed."""
    safe = [[one_line(cell) for cell in row] for row in rows]
    if not (on_terminal() and _print_rich(columns, safe)):
        widths = [max(map(len, cells)) for cells in zip(columns, *safe, strict=True)]
        for row in (columns, *safe):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))  # Text, since a cell could hold what rich takes for markup
    Console().print(table)
    return True


def day(moment: datetime | None) -> str:
    """A date and time for people, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M}Z" if moment else ""


def progress(items: Sequence[Item], verb: str) -> Iterator[Item]:
    """The items, counted on stderr while they are worked through, if stderr is a terminal."""
    shown = sys.stderr.isatty()
    for done, item in enumerate(items, 1):
        if shown:
            click.echo(f"\r{verb} {done}/{len(items)}", nl=done == len(items), err=True)
        yield item
