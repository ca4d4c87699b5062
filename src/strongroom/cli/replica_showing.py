"""``replica status``: how far each replica is behind, and what waits for a person."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from .failure import ACTION_NEEDED, one_line
from .options import Options, common, pass_options
from .output import day, print_json, print_table
from .replicas import each, opened_replicas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from strongroom.replication.plan import Status

_COLUMNS: Final = ("replica", "source", "epoch", "in sync", "missing", "behind", "lag", "state")
_ADVICE: Final = {
    "ahead": "newer than at the source; see strongroom replica plan, and who writes there",
    "quarantined": "two values claim one place; look at both, then: strongroom replica adopt",
    "foreign": "somebody else's there; strongroom replica adopt, or leave them out of its names",
    "diverged": "written at an old source and never replicated; see strongroom replica divergence",
}


@click.command(short_help="print lag, drift and what waits for a person")
@common
@pass_options
def status(options: Options) -> int:
    """Print how each replica of [replica] stands, or the one that --store names.

    Names are listed at both ends and compared by their records, not by their values; nothing is written.
    Exit code 10 says that a replica is further behind than its max_lag, or that a person has to decide.
    """
    with opened_replicas(options) as found:
        answers = each(found, lambda one: Judged(one.status(), one.max_lag))
    shown = list(answers.results.values())
    if options.json:
        print_json({"replicas": {alias: one.document() for alias, one in answers.results.items()}})
    elif shown and not options.quiet:
        _print(shown)
    answers.refuse()
    return 0 if all(one.well for one in shown) else ACTION_NEEDED


class Judged(NamedTuple):
    """How a replica stands, by what the file allows it.

    Attributes:
        status: how it stands.
        max_lag: how old the oldest write that it misses may grow.
    """

    status: Status
    max_lag: timedelta | None

    @property
    def well(self) -> bool:
        """Whether nobody is needed: what is behind for no longer than it may be comes by itself."""
        return not self.late and not any(_waiting(self.status))

    @property
    def late(self) -> bool:
        """Whether it is behind for longer than it may be."""
        status = self.status
        in_time = status.lag is not None and self.max_lag is not None and status.lag <= self.max_lag
        return bool(status.lag_versions) and not in_time

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        lag = self.status.lag.total_seconds() if self.status.lag else None
        max_lag = self.max_lag.total_seconds() if self.max_lag else None
        return {**asdict(self.status), "lag": lag, "max_lag": max_lag, "needs_action": not self.well}

    def cells(self) -> Sequence[str]:
        """As a row for people."""
        one = self.status
        lag = f"{one.lag.total_seconds():.0f} s" if one.lag else "-"
        counts = str(one.epoch), f"{one.in_sync} of {one.names}", str(one.missing), str(one.lag_versions)
        return one.replica, one.source, *counts, lag, self.state

    @property
    def state(self) -> str:
        """In a word or three."""
        if any(_waiting(self.status)):
            return "needs a person"
        return "late" if self.late else "behind" if self.status.lag_versions else "ok"


def _print(shown: Sequence[Judged]) -> None:
    print_table(_COLUMNS, (one.cells() for one in shown))
    for one in shown:
        for line in findings(one.status):
            click.echo(one_line(line))


def _waiting(one: Status) -> Iterator[str]:
    ahead = one.drift - one.quarantined - one.foreign  # drift is all that somebody else changed there
    counts = {"ahead": ahead, **asdict(one)}
    return (f"{counts[kind]} {kind}: {advice}" for kind, advice in _ADVICE.items() if counts[kind] > 0)


def findings(one: Status) -> Iterator[str]:
    """What waits for a person, line by line."""
    for line in _waiting(one):
        yield f"{one.replica}: {line}"
    if one.last_sync:
        yield f"{one.replica}: last synced {day(one.last_sync)}"
