"""``replica status``: how far each replica is behind, and what waits for a person."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from .failure import ACTION_NEEDED, one_line
from .options import Options, common, pass_options
from .output import day, print_json, print_table
from .replicas import each, opened_replicas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.replication.plan import Status

_COLUMNS: Final = ("replica", "source", "epoch", "in sync", "missing", "behind", "lag", "state")
_ADVICE: Final = {
    "drift": "differ because somebody else changed them there; which: strongroom replica plan",
    "quarantined": "have two values that claim one place; look at both, then: strongroom replica adopt",
    "foreign": "are somebody else's there; to have them overwritten: strongroom replica adopt",
    "diverged": "were written at the old source and never replicated; see: strongroom replica takeover",
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
        answers = each(found, lambda one: one.status())
    shown = list(answers.results.values())
    if options.json:
        print_json({"replicas": {one.replica: _document(one) for one in shown}})
    elif shown and not options.quiet:
        _print(shown)
    answers.refuse()
    return 0 if all(one.healthy for one in shown) else ACTION_NEEDED


def _document(one: Status) -> dict[str, Any]:
    lag = one.lag.total_seconds() if one.lag else None
    return {**asdict(one), "lag": lag, "healthy": one.healthy}


def _print(shown: Sequence[Status]) -> None:
    print_table(_COLUMNS, map(_cells, shown))
    for one in shown:
        for line in _findings(one):
            click.echo(one_line(line))


def _cells(one: Status) -> Sequence[str]:
    lag = f"{one.lag.total_seconds():.0f} s" if one.lag else "-"
    in_sync = f"{one.in_sync} of {one.names}"
    versions = str(one.lag_versions)
    state = "ok" if one.healthy else "behind" if not any(_waiting(one)) else "needs a person"
    return one.replica, one.source, str(one.epoch), in_sync, str(one.missing), versions, lag, state


def _waiting(one: Status) -> Iterator[tuple[int, str]]:
    for kind, advice in _ADVICE.items():
        if count := getattr(one, kind):
            yield count, advice


def _findings(one: Status) -> Iterator[str]:
    for count, advice in _waiting(one):
        yield f"{one.replica}: {count} {advice}"
    if one.last_sync:
        yield f"{one.replica}: last synced {day(one.last_sync)}"
