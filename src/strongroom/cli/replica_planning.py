"""``replica plan``: what a sync would write to each replica, and what waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from .failure import ACTION_NEEDED
from .options import Options, common, pass_options
from .output import print_json, print_table
from .replicas import each, opened_replicas, order, step_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.replication.plan import Plan, Step

_COLUMNS: Final = ("replica", "secret", "action", "source", "held", "")


@click.command(short_help="print what a sync would write, and why")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "same", is_flag=True, help="Those that are as they should be, too.")
@common
@pass_options
def plan(options: Options, names: tuple[str, ...], *, same: bool) -> int:
    """Print what `replica sync` would do, name by name, and what it would leave to a person.

    Nothing is written, and no value is shown. Without NAME all names of the replica's patterns are compared;
    --store is one replica of [replica], else all of them. The columns say where the source's version and the
    one that the replica holds stand in their order: epoch and sequence. Exit code 10 says that there is
    something to do.
    """
    with opened_replicas(options) as found:
        answers = each(found, lambda one: one.plan(names or None))
    print_plans(options, answers.results, same=same)
    answers.refuse()
    return ACTION_NEEDED if any(left(one) for one in answers.results.values()) else 0


def print_plans(options: Options, plans: Mapping[str, Plan], *, same: bool = False) -> None:
    """Plans by replica: as a table and a line of counts for each, or as JSON with every step."""
    if options.json:
        print_json({"replicas": {alias: _document(one, same) for alias, one in plans.items()}})
    elif not options.quiet:
        rows = [row for alias, one in plans.items() for row in _rows(alias, _shown(one, same))]
        if rows:
            print_table(_COLUMNS, rows)
        for alias, one in plans.items():
            click.echo(f"{alias}: {_counts(one)}")


def left(one: Plan) -> Sequence[Step]:
    """The steps that somebody has to do something about: a sync or a person."""
    return (*one.due, *one.waiting)


def _shown(one: Plan, same: bool) -> Sequence[Step]:
    return one.steps if same else [step for step in one.steps if step in left(one)]


def _document(one: Plan, same: bool) -> dict[str, object]:
    counts = {action.value: count for action, count in one.counts.items()}
    return {"epoch": one.epoch, "counts": counts, "steps": [*map(step_document, _shown(one, same))]}


def _rows(alias: str, steps: Sequence[Step]) -> Iterator[Sequence[str]]:
    for step in steps:
        yield alias, step.name, step.action.value, order(step.record), order(step.held), step.reason


def _counts(one: Plan) -> str:
    said = [f"{action.value} {count}" for action, count in one.counts.items()]
    return ", ".join(said) or "no names"
