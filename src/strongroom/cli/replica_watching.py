"""``replica sync --watch``: follows the sources until it is stopped."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from strongroom.errors import SecretStoreError

from .failure import describe, one_line
from .replica_running import told
from .replicas import opened_replicas
from .serving import address_of, listening, say, stopped_by_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.replication.following import Following
    from strongroom.replication.plan import Report

    from .options import Options


def watch(options: Options, every: float, listen: str | None) -> None:
    """Follow until SIGTERM or SIGINT."""
    address_of(listen)
    with ExitStack() as held:
        following = held.enter_context(opened_following(options, every))
        held.enter_context(listening(options, listen, following))
        held.enter_context(stopped_by_signals(following.stop))
        say(options, f"following for {', '.join(following.replicas)}")
        following.run()
    say(options, "stopped; nothing is under way here")


@contextmanager
def opened_following(options: Options, every: float) -> Iterator[Following]:
    """What keeps the replicas up that the configuration names; they are closed at the end."""
    from strongroom.replication.following import Following
    from strongroom.replication.marks import file_mark

    with opened_replicas(options) as found:
        marks = {alias: file_mark(one.source.backend.origin) for alias, one in found.items()}
        known = {alias: mark for alias, mark in marks.items() if mark is not None}
        yield Following(found, every=every, marks=known, tell=partial(tell, options))


def tell(options: Options, replica: str, outcome: Report | SecretStoreError) -> None:
    """What a pass did or left, or why there was none."""
    if isinstance(outcome, SecretStoreError):
        say(options, f"{replica}: {outcome}; tried again")
        return
    for step in outcome.done:
        _line(options, replica, step.name, step.action.value, "ok")
    for name, error in outcome.failed.items():
        _line(options, replica, name, "", type(error).__name__)
        say(options, f"{replica}: {name}: {describe(error)['message']}; tried again")
    for line in told(outcome):
        say(options, f"{replica}: {line}")
    if outcome.complete and not outcome.done:
        say(options, f"{replica}: up to its source again")


def _line(options: Options, replica: str, name: str, action: str, outcome: str) -> None:
    """What was written, on stdout, as a worker's log says it."""
    if options.quiet:
        return
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    facts = {"at": at, "replica": replica, "secret": name, "action": action, "outcome": outcome}
    line = json.dumps(facts) if options.json else "  ".join(filter(None, facts.values()))
    with suppress(OSError):  # whoever read it has gone; the work goes on
        click.echo(one_line(line))
