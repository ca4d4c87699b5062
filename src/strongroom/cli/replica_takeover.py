"""``replica takeover``: a person decides that a replica is the source from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.errors import InvalidRequestError, SecretConflictError, SecretStoreError

from .failure import describe, one_line
from .options import Options, changing, configuration, pass_options
from .output import print_json
from .replica_turning import turned
from .rotation_running import confirmed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.replicas import Domains
    from strongroom.replication.member import Member
    from strongroom.replication.replicating import Replicating
    from strongroom.replication.takeover import Outlook, Taken
    from strongroom.toml.file import Config

_PARTIAL: Final = 8


@click.command(short_help="make a replica the source (asks)")
@click.argument("alias")
@click.option("--lost", is_flag=True, help="Do not bring over what the old source has: it is lost.")
@click.option("--deny-old", is_flag=True, help="Have the old source's provider refuse its writes too (AWS).")
@click.option("--allow-old", is_flag=True, help="Take such a refusal away, so that it can be a replica.")
@changing
@pass_options
def takeover(options: Options, alias: str, *, lost: bool, deny_old: bool, allow_old: bool) -> int:
    """Make the replica ALIAS the source of its domain, under the next epoch of the [coordinator].

    The old source is fenced, and what it has is brought over first. With --lost it need not answer: it is
    fenced on its return, or when this is repeated, and what only it has acknowledged is kept: see `strongroom
    replica divergence`. Where two stores were made the source at once, --lost decides for ALIAS.
    """
    if deny_old and allow_old:
        raise InvalidRequestError("--deny-old and --allow-old exclude each other")
    from strongroom.replicas import domains

    config = configuration(options)
    with domains(config) as found:
        outlook = found.takeover(alias).look()
        if options.dry_run:
            return _would(options, found, outlook)
        if not outlook.done:
            question = f"{_question(found, outlook, lost=lost)}{_has_only(config, alias)}"
            confirmed(options, f"{question} Make it the source?", "replica takeover")
        taken = found.takeover(alias).run(None if lost or outlook.done else _replicator(found, outlook).sync)
        failed = _refusing(found, alias, deny_old=deny_old, allow_old=allow_old)
        return _told(options, taken, turned(config, alias), failed)


def _replicator(found: Domains, outlook: Outlook) -> Replicating:
    """What brings the old source's last writes over: the replication that the file has, if it is that one."""
    if error := found.away.get(outlook.source):
        error.hint = (
            f"if it is lost, add --lost ({error.hint})" if error.hint else "if it is lost, add --lost"
        )
        raise error
    replicator = found.replicas.get(outlook.member)
    if replicator is None or replicator.source.alias != outlook.source:
        raise SecretConflictError(
            f"the file does not replicate {outlook.source} to {outlook.member}",
            operation="replica takeover",
            hint=f"write [replica.{outlook.member}] with source = {outlook.source!r}, or add --lost",
        )
    return replicator


def _question(found: Domains, outlook: Outlook, *, lost: bool) -> str:
    domain = found.members[outlook.member].domain
    begun = "has begun to be" if outlook.resumes else "would be"
    asked = f"{outlook.member} {begun} the source of {domain} under epoch {outlook.becomes}."
    if not lost:
        return f"{outlook.source} is the source now, takes no more writes then, and is brought over. {asked}"
    seen = "does not answer" if outlook.source in outlook.unreachable else "answers"
    kept = "what only it has acknowledged is kept in the divergence report when it returns"
    return f"{outlook.source} is the source now, and {seen}; {kept}. {asked}"


def _has_only(config: Config, alias: str) -> str:
    entry = config.replicas.get(alias)
    return "" if entry is None or entry.whole else f" It has only {', '.join(entry.names)}."


def _would(options: Options, found: Domains, outlook: Outlook) -> int:
    missing = None if outlook.done else _missing(found, outlook)
    facts = {
        "domain": found.members[outlook.member].domain,
        "member": outlook.member,
        "source": outlook.source,
        "epoch": outlook.epoch,
        "becomes": outlook.becomes,
        "resumes": outlook.resumes,
        "done": outlook.done,
        "missing": missing,
        "unreachable": _errors(outlook.unreachable),
        "dry_run": True,
    }
    if options.json:
        print_json(facts)
    elif not options.quiet:
        since = f"is the source since epoch {outlook.epoch} already"
        would = f"would be the source under epoch {outlook.becomes}, after {outlook.source}"
        click.echo(one_line(f"{outlook.member} {since if outlook.done else would}"))
        if missing is not None:
            click.echo(f"{len(missing)} names are not there as {outlook.source} has them")
        for name in missing or ():
            click.echo(one_line(f"  {name}"))
        _say_unreachable(outlook.unreachable)
    return 0


def _missing(found: Domains, outlook: Outlook) -> list[str] | None:
    """The names that a takeover would have to bring over, or leave; None where nobody can tell."""
    try:
        plan = _replicator(found, outlook).plan()
    except SecretStoreError:
        return None
    return [step.name for step in (*plan.due, *plan.waiting)]


def _refusing(found: Domains, alias: str, *, deny_old: bool, allow_old: bool) -> dict[str, SecretStoreError]:
    """Names of fenced stores whose writes the provider was to refuse, or to take again, and did not."""
    failed: dict[str, SecretStoreError] = {}
    if not (deny_old or allow_old):
        return failed
    from strongroom.replication.denying import Denying

    for old in _fenced(found, alias):
        denying = Denying(old, hooks=found.hooks, clock=found.clock)
        failed |= (denying.deny() if deny_old else denying.lift()).failed
    return failed


def _fenced(found: Domains, alias: str) -> list[Member]:
    from strongroom.replication.fencing import read

    sheets = {one.alias: read(one).sheet for one in found.others(alias)}
    fenced = [one for one in found.others(alias) if (sheet := sheets[one.alias]) and sheet.fenced]
    if not fenced:
        raise InvalidRequestError(
            "no fenced store is in the file", operation="replica takeover", hint="keep the old source in it"
        )
    return fenced


def _told(
    options: Options,
    taken: Taken,
    lines: list[str],
    failed: Mapping[str, SecretStoreError],
) -> int:
    sheet = taken.sheet
    if options.json:
        facts: dict[str, Any] = {"domain": sheet.domain, "source": sheet.source, "epoch": sheet.epoch}
        facts |= {"takeover": sheet.takeover, "before": taken.before, "fenced": taken.fenced}
        facts |= {"again": taken.again, "unreachable": _errors(taken.unreachable), "failed": _errors(failed)}
        print_json(facts | {"write": lines})
    elif not options.quiet:
        click.echo(one_line(f"{sheet.source} is the source of {sheet.domain} since epoch {sheet.epoch}"))
        for alias in taken.fenced:
            click.echo(one_line(f"{alias} is fenced"))
        _say_unreachable(taken.unreachable)
        if lines:  # the file still says what was, and the sheets refuse what it says
            click.echo("write in strongroom.toml, for applications and for those that replicate:")
        for line in lines:
            click.echo(one_line(f"  {line}"))
    for name, error in failed.items():
        click.echo(one_line(f"{name}: {error}"), err=True)
    return _PARTIAL if failed else 0


def _say_unreachable(unreachable: Mapping[str, SecretStoreError]) -> None:
    for alias, error in unreachable.items():
        click.echo(one_line(f"{alias} was not asked: {error}; it is fenced on its return"), err=True)


def _errors(found: Mapping[str, SecretStoreError]) -> dict[str, Any]:
    return {name: describe(error) for name, error in found.items()}
