"""Each step of a rotation as it is done: on a terminal, or as a worker's log."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from strongroom.audit.event import AuditHook

from .failure import one_line

if TYPE_CHECKING:
    from strongroom.audit.event import AuditEvent

    from .options import Options

_PREFIX: Final = "rotation."


class Progress(AuditHook):
    """Prints on stderr what is begun and how it ended; nothing of the stores' own operations."""

    def before(self, event: AuditEvent) -> None:
        """A step is begun."""
        if event.operation.startswith(_PREFIX):
            _show(f"{event.name}: {event.operation.removeprefix(_PREFIX)} ...", err=True, nl=False)

    def after(self, event: AuditEvent) -> None:
        """It has ended."""
        if event.operation.startswith(_PREFIX):
            _show(f" {event.outcome}", err=True)


class StepLog(AuditHook):
    """Prints a line for each step on stdout: time, secret, step, how it ended, rotation id."""

    def __init__(self, options: Options):
        self._json, self._quiet = options.json, options.quiet

    def after(self, event: AuditEvent) -> None:
        """It has ended."""
        if self._quiet or not event.operation.startswith(_PREFIX):
            return
        facts = {
            "at": f"{event.time:%Y-%m-%dT%H:%M:%SZ}",
            "secret": f"{event.store}:{event.name}",
            "step": event.operation.removeprefix(_PREFIX),
            "outcome": event.outcome or "",
            "rotation": event.rotation_id or "",
        }
        _show(json.dumps(facts) if self._json else "  ".join(facts.values()))


def _show(line: str, *, err: bool = False, nl: bool = True) -> None:
    """A hook that raised would keep the step from beginning: nobody rotates less for a closed terminal."""
    with suppress(OSError):
        click.echo(one_line(line), err=err, nl=nl)
