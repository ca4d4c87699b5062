"""Each step of a rotation on a terminal, as it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from strongroom.audit.event import AuditHook

from .failure import one_line

if TYPE_CHECKING:
    from strongroom.audit.event import AuditEvent

_PREFIX: Final = "rotation."


class Progress(AuditHook):
    """Prints on stderr what is begun and how it ended; nothing of the stores' own operations."""

    def before(self, event: AuditEvent) -> None:
        """A step is begun."""
        if event.operation.startswith(_PREFIX):
            click.echo(
                one_line(f"{event.name}: {event.operation.removeprefix(_PREFIX)} ..."), nl=False, err=True
            )

    def after(self, event: AuditEvent) -> None:
        """It has ended."""
        if event.operation.startswith(_PREFIX):
            click.echo(one_line(f" {event.outcome}"), err=True)
