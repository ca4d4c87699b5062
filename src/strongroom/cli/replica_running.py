"""``replica sync``: brings replicas up to their source, once or for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from strongroom.errors import InvalidRequestError

from .bar import bar
from .failure import ACTION_NEEDED, one_line
from .options import Options, changing, pass_options
from .output import print_json
from .replica_planning import print_plans
from .replicas import each, opened_replicas, report_document
from .serving import LISTEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from strongroom.replication.plan import Report, Step
    from strongroom.replication.replicating import Replicating

_PARTIAL: Final = 8
_EVERY: Final = 30


@click.command(short_help="bring replicas up to their source, once or for ever")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--watch", is_flag=True, help="Follow what changes, until SIGTERM or SIGINT.")
@click.option(
    "--every",
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help=f"With --watch: how long between two looks at everything.  [default: {_EVERY}]",
)
@LISTEN
@changing
@pass_options
def sync(
    options: Options, names: tuple[str, ...], every: int | None, listen: str | None, *, watch: bool
) -> int:
    """Write to each replica what it lacks, payload first, each read back; --store names one replica.

    Without NAME all names of the replica's patterns. What was broken off is gone on with when it is repeated,
    and what is as it should be is not written. Exit code 8 says that some failed, 10 that the rest waits for
    a person. --watch compares everything now and then, looks at once at what it is told of, prints each write
    as a line, and goes on when a replica or its source is down.
    """
    if watch and (names or options.dry_run):
        raise InvalidRequestError("--watch follows every name, and writes")
    if not watch and (every or listen):
        raise InvalidRequestError("--every and --listen belong to --watch")
    if watch:
        from .replica_watching import watch as follow

        follow(options, float(every or _EVERY), listen)
        return 0
    return _once(options, names or None)


def _once(options: Options, names: Sequence[str] | None) -> int:
    with opened_replicas(options) as found:
        if options.dry_run:
            planned = each(found, lambda one: one.plan(names))
            print_plans(options, planned.results)
            planned.refuse()
            return 0
        answers = each(found, lambda one: _synced(options, one, names))
    print_reports(options, answers.results)
    answers.refuse()
    return exit_code(answers.results.values())


def _synced(options: Options, one: Replicating, names: Sequence[str] | None) -> Report:
    with bar(options, one.replica.alias, unit="items") as advance:
        return one.sync(names, progress=advance)


def print_reports(options: Options, reports: Mapping[str, Report]) -> None:
    """What was done at each replica, what failed, and what nobody tried."""
    if options.json:
        print_json({"replicas": {alias: report_document(one) for alias, one in reports.items()}})
        return
    for alias, one in reports.items():
        if not options.quiet:
            click.echo(one_line(f"{alias}: {_counts(one)}"))
        for name, error in one.failed.items():
            click.echo(one_line(f"{alias}: {name}: {error}"), err=True)
        for line in told(one):
            click.echo(one_line(f"{alias}: {line}"), err=True)


def told(one: Report) -> Iterator[str]:
    """What nobody has done: a line for each name that waits for a person, one for all others."""
    yield from (f"{step.name}: {_why(step)}" for step in one.skipped if step.tried)
    if late := [step for step in one.skipped if not step.tried]:
        yield f"{len(late)} more: {late[0].reason}"


def exit_code(reports: Iterable[Report]) -> int:
    """Whether a person is needed, or something failed."""
    found = list(reports)
    if any(step.tried for one in found for step in one.skipped):
        return ACTION_NEEDED
    return 0 if all(one.complete for one in found) else _PARTIAL


def _counts(one: Report) -> str:
    waiting = sum(step.tried for step in one.skipped)
    late = len(one.skipped) - waiting
    more = [(len(one.failed), "failed"), (late, "not tried"), (waiting, "wait for a person")]
    said = [f"{count} {what}" for count, what in more if count]
    return f"{', '.join([f'{len(one.done)} written', *said])}, in {one.seconds:.1f} s"


def _why(step: Step) -> str:
    return f"{step.action.value}: {step.reason}" if step.reason else step.action.value
