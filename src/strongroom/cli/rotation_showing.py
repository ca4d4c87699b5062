"""``rotation status``: how far each rotation has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .failure import ACTION_NEEDED, one_line
from .options import Options, common, pass_options
from .output import day, print_json, print_table
from .rotations import Opened, answer_command, document, needs_a_person, opened_engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from strongroom.rotation.ledger import Entry

_COLUMNS = ("secret", "state", "since", "goes on", "failures", "rotation")


@click.command(short_help="print how far each rotation has come")
@click.argument("which", metavar="[NAME|ID]", required=False)
@click.option("--all", "closed", is_flag=True, help="Those that are over, too.")
@common
@pass_options
def status(options: Options, which: str | None, *, closed: bool) -> int:
    """Print the rotations that are open, the one of ID, or all of NAME; the newest first.

    No target is asked. Exit code 10 says that one needs a person, or that a secret is overdue.
    """
    with opened_engine(options, judged=False) as opened:
        found = _found(opened, which, closed)
        late = [] if which else _overdue(opened)
        asked = {entry.id: _asked(opened, entry) for entry in found if entry.state.value == "waiting"}
    if options.json:
        overdue = [{"secret": secret, "since": since} for secret, since in late]
        rotations = [{**document(entry), "asked": asked.get(entry.id)} for entry in found]
        print_json({"rotations": rotations, "overdue": overdue})
    else:
        _print(options, found, late, asked)
    return ACTION_NEEDED if late or any(map(needs_a_person, found)) else 0


def _found(opened: Opened, which: str | None, closed: bool) -> Sequence[Entry]:
    if which is None:
        return [entry for entry in opened.engine.status() if closed or entry.state.open]
    by_id = [entry for entry in opened.engine.status() if entry.id == which]
    return by_id or opened.engine.status(which)


def _overdue(opened: Opened) -> list[tuple[str, datetime]]:
    from strongroom.rotation.planning import outlook

    found = outlook(opened.policies, opened.ledger)
    return [(one.secret, one.since) for one in found if one.since]


def _asked(opened: Opened, entry: Entry) -> str:
    """What a person is to do, as the rotator says, and the command that ends it."""
    rotator = opened.engine.policy(entry.secret).rotator
    instructions: str = getattr(rotator, "instructions", "")
    return f"{instructions}; then: {answer_command(entry)}" if instructions else answer_command(entry)


def _print(
    options: Options,
    found: Sequence[Entry],
    late: Sequence[tuple[str, datetime]],
    asked: Mapping[str, str],
) -> None:
    if found:
        print_table(_COLUMNS, map(_cells, found))
    elif not options.quiet:
        click.echo("no rotation is open")
    for entry in found:
        if entry.id in asked:
            click.echo(one_line(f"{entry.secret}: {asked[entry.id]}"))
        elif entry.error:
            click.echo(one_line(f"{entry.secret}: {entry.error}; {_advice(entry)}"))
    for secret, since in late:
        click.echo(one_line(f"{secret}: overdue since {day(since)}; no rotation has begun"))


def _cells(entry: Entry) -> tuple[str, ...]:
    return (
        entry.secret,
        entry.state.value,
        day(entry.updated),
        day(entry.due) if entry.state.open else "-",
        str(entry.attempts),
        entry.id,
    )


def _advice(entry: Entry) -> str:
    if needs_a_person(entry):
        return f"strongroom rotation resume {entry.id}, or abort"
    return f"tried again at {day(entry.due)}" if entry.state.open else "it is over"
