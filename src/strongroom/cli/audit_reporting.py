"""``audit report``: the journal as one page to look at."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .audit_proof import read_keys
from .binary import sink
from .journals import Actors, journal_argument, journal_folder, moment
from .options import Options, common, pass_options
from .output import report as tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.audit.report.figures import Figures, Record
    from strongroom.audit.verify_report import Report


@click.command(short_help="make one page to look at")
@journal_argument
@click.option(
    "--html", is_flag=True, expose_value=False, help="As HTML, which is what it is without saying so too."
)
@click.option("--since", metavar="WHEN", help="From 2026-11-23, 2026-11-23T09:30:00Z, or 24h ago on.")
@click.option("--until", metavar="WHEN", help="Before that time.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY|FILE",
    help="A key that signs checkpoints, or a file of them.",
)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(),
    help="Checkpoints that were kept elsewhere; repeatable.",
)
@click.option("--open-actors", "told", is_flag=True, help="Tell who acted, where the subjects' keys are.")
@click.option("-o", "--output", metavar="OUT", type=click.Path(), help="A file instead of stdout.")
@click.option("--replace", is_flag=True, help="Write over OUT if it is there already.")
@common
@pass_options
def report(
    options: Options,
    /,
    path: str | None,
    *,
    since: str | None,
    until: str | None,
    keys: tuple[str, ...],
    anchors: tuple[str, ...],
    told: bool,
    output: str | None,
    replace: bool,
) -> None:
    """Make a page of the journal in PATH, or of the configured one: what happened, and how far it is proved.

    It is one file that loads nothing from anywhere, for a browser on a desk or a phone: access over time, by
    secret and by actor, failures, detections, and the verification of the whole journal with the keys and
    anchors that are given. Without --open-actors nobody's name is in it, so that no copy keeps who is
    shredded in the journal later.
    """
    from strongroom.audit.report.page import page
    from strongroom.audit.verify import verify
    from strongroom.envelope.atomic import PRIVATE

    folder = journal_folder(options, path)
    found = verify(folder, read_keys(keys), anchors)
    with closing(Actors(options, folder)) as actors:
        figures = _figures(folder, actors if told else None, since, until)
        problem = actors.problem
    made = page(figures, found, made=datetime.now(UTC), asked=_asked(since, until))
    with sink(output, replace=replace, mode=PRIVATE) as out:
        out.write(made.encode())
    if problem and not options.quiet:
        click.echo(f"strongroom: actors stay sealed: {problem}", err=True)
    if output is not None:
        _tell(options, output, figures, found)


def _figures(folder: Path, actors: Actors | None, since: str | None, until: str | None) -> Figures:
    from strongroom.audit.reading import Reader
    from strongroom.audit.report.figures import Figures
    from strongroom.audit.selecting import Selection

    asked = Selection(moment(since) if since else "", moment(until) if until else "")
    records: Iterator[Record] = (record for _, _, record in Reader(folder).records() if asked.takes(record))
    return Figures(who=lambda record: _who(record, actors)).take(records)


def _who(record: Record, actors: Actors | None) -> str:
    """The principal, if it is to be told and can be; else the subject, by the first digits of its uid."""
    sealed: dict[str, Any] = record.get("actor", {})
    actor = actors.of(record) if actors else None
    if actor is not None:
        return f"{actor.principal} for {actor.on_behalf_of}" if actor.on_behalf_of else actor.principal
    return f"subject {sealed['uid'][:8]}" if "uid" in sealed else ""


def _asked(since: str | None, until: str | None) -> str:
    from strongroom.audit.report.words import minute

    if not since and not until:
        return ""
    bounds = [f"{word} {minute(moment(text))}" for word, text in (("from", since), ("until", until)) if text]
    return f"Only what was {' '.join(bounds)} UTC"


def _tell(options: Options, output: str, figures: Figures, found: Report) -> None:
    document = {
        "output": output,
        "records": figures.records,
        "accesses": dict(figures.kinds),
        "detections": figures.severities.total(),
        "status": found.status,
    }
    tell(options, document, f"{output}: {figures.records} records; the journal is {found.status}")
