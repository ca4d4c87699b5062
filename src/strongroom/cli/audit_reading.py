"""``audit show`` and ``audit export``: the records of a journal, for people and for a SIEM."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import closing
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.audit.formats import FORMATS, render, render_line
from strongroom.audit.visible import visible
from strongroom.errors import IntegrityError

from .journals import Actors, journal_argument, journal_folder, moment
from .options import Decorated, Options, common, pass_options
from .output import on_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.audit.reading import Cursors, Reader
    from strongroom.audit.selecting import Selection

Record = dict[str, Any]

_COLUMNS: Final = ("time", "operation", "name", "outcome", "actor", "store", "version", "record")
_SHORT: Final = 40
_SHORTER: Final = {"version": 12, "actor": 28}
_BOOKS: Final = ("chain", "adopt", "segment")


def _selecting(command: Decorated) -> Decorated:
    """The options that say which records are asked for."""
    for option in (
        click.option("--name", "names", multiple=True, metavar="PATTERN", help="Of this secret, or db/*."),
        click.option("--actor", "actors", multiple=True, metavar="WHO", help="By this principal or uid."),
        click.option(
            "--op", "operations", multiple=True, metavar="PATTERN", help="Such as get, or pending.*."
        ),
        click.option("--until", metavar="WHEN", help="Before that time."),
        click.option("--since", metavar="WHEN", help="From 2026-11-23, 2026-11-23T09:30:00Z, or 24h ago on."),
    ):
        command = option(command)
    return common(journal_argument(command))


@click.command(short_help="print records")
@_selecting
@click.option(
    "-n", "--last", default=100, metavar="N", type=click.IntRange(min=0), help="So many at most; 0 is all."
)
@click.option("--all", "everything", is_flag=True, help="Intents with an outcome and the journal's own, too.")
@click.option("--full", is_flag=True, help="Shorten nothing.")
@pass_options
def show(
    options: Options,
    /,
    path: str | None,
    *,
    last: int,
    everything: bool,
    full: bool,
    **asked: Any,
) -> None:
    """Print the last records of the journal in PATH, or of the configured one, as they stand there.

    Nothing is verified: `strongroom audit verify` does that. Actors are told where the keys of the subjects
    are at hand; otherwise by the uid of the subject.
    """
    folder = journal_folder(options, path)
    with closing(Actors(options, folder)) as actors:
        found = _Found(folder, _selection(actors, **asked))
        chosen = list(found) if everything else _answers(found, last)
        chosen = chosen[-last:] if last else chosen
        if options.json:
            _print_ascii([render(record, actor=actors.of(record)) for record in chosen])
        else:
            _print_rows([_row(record, actors, full) for record in chosen], full)
        _tell(options, actors)
    found.check()


@click.command(short_help="write records as OCSF, ECS, CEF or JSON")
@_selecting
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="json", help="json is as it stands there."
)
@click.option("--open-actors", "told", is_flag=True, help="Tell who acted, where the subjects' keys are.")
@click.option("-o", "--output", metavar="OUT", type=click.Path(), help="A file instead of stdout.")
@click.option("--replace", is_flag=True, help="Write over OUT if it is there already.")
@pass_options
def export(
    options: Options,
    /,
    path: str | None,
    *,
    form: str,
    told: bool,
    output: str | None,
    replace: bool,
    **asked: Any,
) -> None:
    """Write the records of the journal in PATH, or of the configured one, one a line.

    OCSF is version 1.9.0 with the profile record_integrity, ECS is 9.1, CEF is version 0; json is the
    journal's own line. Without --open-actors nobody's name leaves the journal, so that no copy keeps
    who is shredded there later.
    """
    from strongroom.envelope.atomic import PRIVATE

    from .binary import sink

    folder = journal_folder(options, path)
    count = 0
    with closing(Actors(options, folder)) as actors:
        found = _Found(folder, _selection(actors, **asked))
        with sink(output, replace=replace, mode=PRIVATE) as out:
            for count, record in enumerate(found, 1):  # noqa: B007  (the last count is told)
                actor = actors.of(record) if told else None
                out.write(render_line(record, form, actor=actor, host=found.host(record)) + b"\n")
        _tell(options, actors)
    if output is not None and not options.quiet:
        click.echo(f"{count} records in {output}", err=True)
    found.check()


class _Found:
    """The records asked for, by time; what is no record is counted and passed over."""

    def __init__(self, folder: Path, selection: Selection):
        self._folder, self._selection = folder, selection
        self._hosts: dict[str, str] = {}
        self._wrong = 0

    def __iter__(self) -> Iterator[Record]:
        from strongroom.audit.reading import Cursors, Reader

        reader, cursors, told = Reader(self._folder), Cursors(), Counter[str]()
        for chain, _, record in reader.records(cursors):
            told[chain] += 1
            if "host" in record:
                self._hosts[record["chain"]] = record["host"]
            if self._selection.takes(record):
                yield record
        self._wrong = sum(_passed_over(reader, chain, cursors, told[chain]) for chain in reader.chains())

    def host(self, record: Record) -> str:
        """Where the writer of the record's chain runs, as far as it was read."""
        return self._hosts.get(record["chain"], "")

    def check(self) -> None:
        """Raise IntegrityError if some lines were no records."""
        if self._wrong:
            hint = "strongroom audit verify names the first"
            raise IntegrityError(f"{self._wrong} lines of the journal are not records", hint=hint)


def _passed_over(reader: Reader, chain: str, cursors: Cursors, told: int) -> int:
    """How many lines of a chain the reader passed over; what was appended meanwhile is none of them."""
    from strongroom.audit.reading import Cursor
    from strongroom.audit.record import parse

    cursor = cursors.get(chain, Cursor())
    wrong = cursor.seq - told
    for line in reader.chain(chain, cursor):
        try:
            parse(line.data)
        except IntegrityError:
            wrong += 1
    return wrong


def _selection(
    known: Actors,
    *,
    since: str | None,
    until: str | None,
    operations: tuple[str, ...],
    names: tuple[str, ...],
    actors: tuple[str, ...],
) -> Selection:
    from strongroom.audit.selecting import Selection

    first, end = (moment(text) if text else "" for text in (since, until))
    return Selection(first, end, operations, names, known.uids(actors))


def _answers(found: _Found, last: int) -> list[Record]:
    """The last records without the journal's own, and without intents that were followed by their outcome."""
    told: deque[Record] = deque(maxlen=last or None)
    open_intents: OrderedDict[tuple[str, str], Record] = OrderedDict()
    for record in found:
        side = (record.get("cid", ""), record.get("name", ""))
        if record.get("phase") == "intent":
            open_intents[side] = record
            if last and len(open_intents) > last:
                open_intents.popitem(last=False)
        elif record["kind"] not in _BOOKS:
            open_intents.pop(side, None)
            told.append(record)
    return sorted([*told, *open_intents.values()], key=lambda record: (record["time"], record["seq"]))


def _row(record: Record, actors: Actors, full: bool) -> list[str]:
    """The cells of a record: nothing in them moves a terminal's cursor or turns around what stands beside."""
    from strongroom.audit.rendering import facts_of

    facts = facts_of(record)
    chain = record["chain"] if full else record["chain"][:8]
    cells = (
        f"{record['time'][:19].replace('T', ' ')}Z",
        record.get("op") or ("get" if facts.reads else record["kind"]),
        record.get("name") or _names(facts.reads) or ("" if "op" in record else facts.message),
        record.get("outcome") or record.get("phase") or record.get("severity", ""),
        _who(record, actors, full),
        record.get("store", ""),
        record.get("version", ""),
        f"{chain}:{record['seq']}",
    )
    limits = [_SHORTER.get(column, _SHORT) for column in _COLUMNS]
    shown = (visible(cell) for cell in cells)
    return [cell if full else _short(cell, limit) for cell, limit in zip(shown, limits, strict=True)]


def _names(reads: list[dict[str, Any]]) -> str:
    return ", ".join(f"{read['name']} x{read['count']}" for read in reads)


def _who(record: Record, actors: Actors, full: bool) -> str:
    actor, uid = actors.of(record), str(record.get("actor", {}).get("uid", ""))
    if actor is None:
        return uid if full or not uid else f"subject {uid[:8]}"
    return f"{actor.principal} for {actor.on_behalf_of}" if actor.on_behalf_of else actor.principal


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _print_rows(rows: list[list[str]], full: bool) -> None:
    """Aligned, what matters most first; on a terminal a line is cut at its edge, and not folded."""
    width = get_terminal_size().columns if on_terminal() and not full else None
    table = [list(_COLUMNS), *rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for row in table:
        line = "  ".join(cell.ljust(room) for cell, room in zip(row, widths, strict=True))
        click.echo(line[:width].rstrip())


def _print_ascii(records: list[Any]) -> None:
    """ASCII alone: a terminal obeys some characters beyond it."""
    click.echo(json.dumps({"records": records}).replace("\x7f", "\\u007f"))


def _tell(options: Options, actors: Actors) -> None:
    if actors.problem and not (options.quiet or options.json):
        click.echo(f"strongroom: actors stay sealed: {visible(str(actors.problem))}", err=True)
