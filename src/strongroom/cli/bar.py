"""How far a long command has come, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from .options import Options

Advance = Callable[..., None]
"""Called with how much is done, and with how much there is in all if that is known by now."""

Unit = Literal["bytes", "items"]


@contextmanager
def bar(
    options: Options, verb: str, total: int | None = None, *, unit: Unit = "bytes", hidden: bool = False
) -> Iterator[Advance | None]:
    """What to call as the work goes on; None where nobody would see it.

    That is: `hidden`, ``--quiet`` or ``--json``, stderr is no terminal, or `rich` is not installed.
    """
    unseen = hidden or options.quiet or options.json or not sys.stderr.isatty()
    shown = None if unseen else _bar(unit)
    if shown is None:
        yield None
        return
    with shown:
        task = shown.add_task(verb, total=total)
        yield lambda done, total=total: shown.update(task, completed=done, total=total)


def _bar(unit: Unit) -> Any:
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        return None
    console = Console(stderr=True)
    if console.is_dumb_terminal:  # which cannot redraw a line
        return None
    amount = {
        "bytes": (progress.DownloadColumn(binary_units=True), progress.TransferSpeedColumn()),
        "items": (progress.MofNCompleteColumn(),),
    }[unit]
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), *amount)
    return progress.Progress(*columns, progress.TimeRemainingColumn(), console=console, transient=True)
