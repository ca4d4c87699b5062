"""``replica divergence``: what a returning source had acknowledged, for a person to read and let go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError

from .failure import one_line
from .options import Options, changing, configuration, pass_options
from .output import day, on_terminal, print_json, print_table, report
from .replicas import order
from .rotation_running import confirmed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.replicas import Domains
    from strongroom.replication.divergence import Divergence, DivergenceReport
    from strongroom.replication.events import Events
    from strongroom.replication.member import Member

_COLUMNS: Final = ("secret", "place", "what", "of", "written", "found", "write")
_PARTIAL: Final = 8


class _Kept(NamedTuple):
    """One write, and the store whose report has it."""

    member: Member
    write: Divergence


@click.command(short_help="print what returning sources had, and let it go (asks)")
@click.argument("name", required=False)
@click.option("--value", is_flag=True, help="Print the value of NAME's newest write, as `get` does.")
@click.option("--write", metavar="ID", help="With --value: of that write.")
@click.option("--reveal", is_flag=True, help="Allow a value on a terminal.")
@click.option("--discard", is_flag=True, help="Let NAME's writes go, and destroy their values.")
@changing
@pass_options
def divergence(
    options: Options, name: str | None, *, value: bool, write: str | None, reveal: bool, discard: bool
) -> int:
    """Print the writes that an old source had acknowledged and its successor never had; or those of NAME.

    They were kept when the old source returned, before anything was written over them. To use one after all:
    strongroom replica divergence NAME --value | strongroom put NAME. --store says whose report is meant.
    """
    if (value or discard) and name is None:
        raise InvalidRequestError("which name's is not said", operation="replica divergence")
    if value and on_terminal() and not reveal:
        raise InvalidRequestError(
            "stdout is a terminal", hint="add --reveal to show the value on it, or pipe it"
        )
    from strongroom.replicas import domains

    with domains(configuration(options)) as found:
        kept, errors = _kept(options, found, name)
        if value:
            return _print_value(found, _one(kept, name or "", write))
        if discard:
            return _discard(options, found, kept, name or "")
        _print(options, kept)
    for error in errors:
        click.echo(one_line(str(error)), err=True)
    return _PARTIAL if errors else 0


def _kept(options: Options, found: Domains, name: str | None) -> tuple[list[_Kept], list[SecretStoreError]]:
    """What the reports have; a store that does not answer says nothing of the others'."""
    kept, errors = [], []
    for alias, member in found.members.items():
        if options.store not in (None, alias):
            continue
        try:
            kept += list(_of(member, name))
        except SecretStoreError as error:
            error.backend = error.backend or alias
            errors.append(error.with_traceback(None))
    if errors and not kept:
        raise errors[0]
    return kept, errors


def _of(member: Member, name: str | None) -> Iterator[_Kept]:
    held = _report(member)
    for one in [name] if name else held.names():
        yield from (_Kept(member, write) for write in held.of(one))


def _one(kept: list[_Kept], name: str, write: str | None) -> _Kept:
    for one in kept:
        if not one.write.deleted and write in (None, one.write.record.write_id):
            return one
    raise SecretNotFoundError(
        "no report has such a value",
        operation="replica divergence",
        name=name,
        hint="list them without --value",
    )


def _print_value(found: Domains, one: _Kept) -> int:
    """Reading it is reading the secret: it is recorded as that."""
    write = one.write

    def read() -> Any:
        return _report(one.member).value(write.name, write.record.write_id)

    taken = _events(found, one.member).run("get", write.name, read, version=write.version)
    click.echo(taken.reveal(), nl=on_terminal())
    return 0


def _discard(options: Options, found: Domains, kept: list[_Kept], name: str) -> int:
    members = {one.member.alias: one.member for one in kept}
    if not options.dry_run and kept:
        confirmed(options, f"Destroy {len(kept)} kept writes of {name}?", "replica divergence")
        for member in members.values():
            _events(found, member).run("replica.discard", name, partial(_report(member).discard, name))
    verb = "would let" if options.dry_run else "let"
    facts = {"name": name, "writes": len(kept), "dry_run": options.dry_run}
    report(options, facts, f"{verb} {len(kept)} kept writes of {name} go")
    return 0


def _print(options: Options, kept: list[_Kept]) -> None:
    if options.json:
        print_json({"writes": [_document(one) for one in kept]})
    elif kept:
        print_table(_COLUMNS, [_row(one.write) for one in kept])
    elif not options.quiet:
        click.echo("no report has a write")


def _row(write: Divergence) -> tuple[str, ...]:
    what = "deletion" if write.deleted else "value"
    written, found = day(write.written_at), day(write.found_at)
    return write.name, order(write.record), what, write.origin, written, found, write.record.write_id


def _document(one: _Kept) -> dict[str, Any]:
    write = one.write
    return {
        "name": write.name,
        "report": one.member.alias,
        "epoch": write.record.epoch,
        "seq": write.record.seq,
        "write": write.record.write_id,
        "origin": write.origin,
        "version": write.version,
        "deleted": write.deleted,
        "written": write.written_at,
        "found": write.found_at,
    }


def _report(member: Member) -> DivergenceReport:
    from strongroom.replication.divergence import DivergenceReport

    return DivergenceReport(member.backend)


def _events(found: Domains, member: Member) -> Events:
    from strongroom.replication.events import Events

    return Events(found.hooks, member, found.clock)
