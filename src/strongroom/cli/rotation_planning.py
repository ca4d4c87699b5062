"""``rotation plan``: when each secret will be rotated, and what should have been already."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import InvalidRequestError

from .failure import ACTION_NEEDED, one_line
from .options import Options, common, configuration, pass_options
from .output import day, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from strongroom.rotation.planning import Outlook
    from strongroom.rotation.validation import Problem

COLUMNS = ("secret", "rotation", "rotated", "next", "UTC", "")


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--days", type=click.IntRange(1, 3660), default=365, show_default=True, help="How far ahead.")
@click.option("--show", type=click.IntRange(1), default=12, show_default=True, help="At most, of a secret.")
@click.option("--timezone", metavar="ZONE", help="An IANA name; else the one of each schedule.")
@common
@pass_options
@click.pass_context
def plan(
    ctx: click.Context, options: Options, names: Sequence[str], days: int, show: int, timezone: str | None
) -> None:
    """Print when each secret will be rotated, in its schedule's zone and in UTC.

    Jitter is included, so these are the instants at which a worker begins. Without NAME all secrets of
    [rotation.LABEL] are printed, or those of the store that --store names. Nothing is changed, and no target
    is asked. Exit code 10 says that a secret is overdue, or that its rotation has stopped and waits for a
    person. --json has all instants of the time asked for.
    """
    from strongroom.rotation.cron import zone_of
    from strongroom.rotation.planning import outlook
    from strongroom.rotationchecks import refuse_bad
    from strongroom.rotations import rotations

    if timezone:
        zone_of(timezone)
    config = configuration(options)
    with rotations(config) as found:
        policies = [one for one in found.policies if options.store in (None, one.store.alias)]
        _check_names(names, {one.name for one in policies})
        wanted = [one for one in policies if not names or one.name in names]
        until = found.ledger.now() + timedelta(days=days)
        plans = list(outlook(wanted, found.ledger))
        warnings = refuse_bad(config, wanted)
    if options.json:
        print_json(_document(plans, warnings, until))
    elif not options.quiet:
        _print(plans, warnings, until, show, timezone)
    ctx.exit(ACTION_NEEDED if any(one.overdue for one in plans) else 0)


def _check_names(names: Sequence[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise InvalidRequestError("no [rotation.LABEL] rotates it", operation="rotation plan", name=name)


def _document(plans: Sequence[Outlook], warnings: Sequence[Problem], until: datetime) -> dict[str, Any]:
    return {
        "until": until,
        "secrets": [_secret(one, until) for one in plans],
        "warnings": [{"secret": one.secret, "text": one.text, "hint": one.hint} for one in warnings],
    }


def _secret(one: Outlook, until: datetime) -> dict[str, Any]:
    schedule = one.policy.schedule
    return {
        "secret": one.secret,
        "name": one.policy.name,
        "rotation": one.policy.label,
        "every": schedule.every if schedule else None,
        "timezone": schedule.timezone if schedule else None,
        "last_success": one.last,
        "next": one.next,
        "overdue": one.overdue,
        "overdue_since": one.since,
        "open": one.open and {"id": one.open.id, "state": one.open.state.value},
        "instants": list(one.coming(until)),
    }


def _print(
    plans: Sequence[Outlook], warnings: Sequence[Problem], until: datetime, show: int, timezone: str | None
) -> None:
    print_table(COLUMNS, [row for one in plans for row in _rows(one, until, show, timezone)])
    for warning in warnings:
        click.echo(one_line(f"warning: {warning.secret}: {warning.text} ({warning.hint})"), err=True)


def _rows(one: Outlook, until: datetime, show: int, timezone: str | None) -> Iterator[Sequence[str]]:
    head = [one.secret, one.policy.label, day(one.last) or "never"]
    instants = one.coming(until)
    shown = list(islice(instants, show))
    if not shown:
        yield [*head, _when(one.next, one, timezone), day(one.next), _note(one)]
    for instant in shown:
        yield [*head, _when(instant, one, timezone), day(instant), _note(one) if instant is shown[0] else ""]
        head = ["", "", ""]
    if more := sum(1 for _ in instants):
        yield ["", "", "", f"{more} more until {until:%Y-%m-%d}", "", ""]


def _when(instant: datetime | None, one: Outlook, timezone: str | None) -> str:
    from strongroom.rotation.cron import zone_of

    if instant is None:
        return "on request"
    schedule = one.policy.schedule
    zone = timezone or (schedule.timezone if schedule else "UTC")
    return f"{instant.astimezone(zone_of(zone)):%a %Y-%m-%d %H:%M %Z}"


def _note(one: Outlook) -> str:
    """What there is to say beside the first instant."""
    notes = []
    if one.open is not None:
        notes.append(f"rotation {one.open.id} is {one.open.state.value}")
    if one.since:
        notes.append(f"overdue since {day(one.since)}{'' if one.reason else ', its window is closed'}")
    if one.reason == "max-age":
        notes.append("outside its window, or it would become too old")
    return "; ".join(notes)
