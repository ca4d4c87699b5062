"""``revoke``: cut a leaked value off."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError

from .failure import ACTION_NEEDED, one_line
from .options import Options, changing, configuration, opened, pass_options
from .output import can_ask, print_json, report
from .writing import current_version

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.rotation.compromise import Compromise
    from strongroom.rotation.timeline import Bound, Cut

_PARTIAL: Final = 8
LISTED: Final = "replicas and backups"


@click.command(short_help="cut a leaked value off everywhere, now (asks)")
@click.argument("name")
@click.option("--compromised", is_flag=True, help="It leaked: neither schedule nor grace counts any more.")
@click.option("--reason", default="", metavar="TEXT", help="One line for the list and for alarms; no value.")
@click.option("--version", metavar="ID", help="What leaked; without it the current version.")
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="How long each step is tried.",
)
@changing
@pass_options
def revoke(
    options: Options, *, name: str, compromised: bool, reason: str, version: str | None, patience: int
) -> int:
    """Cut the value of NAME off: replace it, have its target refuse it, and cut off who still holds it.

    The rotation that runs is taken from its worker. A new value is made, tested and current before the old
    one is revoked; where that cannot be, the old one is revoked first, and readers are told that there is no
    such secret. The version is destroyed and signed into the list of [revocations]. What was done is printed,
    and until when the value works where nobody was reached.

    Exit code 8 says that a step failed: repeat it with --version. 10 says that a person must act, since
    nothing replaces the value.
    """
    if not compromised or not reason:
        raise InvalidRequestError(
            "a value is revoked because it leaked" if not compromised else "why is it revoked?",
            operation="revoke",
            name=name,
            hint="add --compromised --reason TEXT",
        )
    with ExitStack() as stack:
        means = _means(options, stack, patience)
        if options.dry_run:
            _rehearse(options, means, name, version)
            return 0
        if not options.yes:
            _confirm(name, renewed=means.policy(name) is not None)
        cut = means.revoke(name, reason=reason, version=_own(version, means))
    cut.bounds += _elsewhere(options, cut)
    _tell(options, cut)
    return _PARTIAL if _unfinished(cut) else 0 if cut.complete else ACTION_NEEDED


def _unfinished(cut: Cut) -> bool:
    """Whether a step failed; that nothing could replace the value is none where it was made unavailable."""
    return any(moment.step != "replace" or not cut.unavailable for moment in cut.failures)


def _means(options: Options, stack: ExitStack, patience: int) -> Compromise:
    from strongroom.config import audit
    from strongroom.revoking import bound_record, owner, readers, revocations
    from strongroom.rotation.compromise import Compromise

    from .rotations import opened_engine

    config = configuration(options)
    store = stack.enter_context(opened(options, owner(config, options.store)))
    engine = None
    if config.rotations and config.ledger:
        engine = stack.enter_context(opened_engine(options, judged=False)).engine
    hooks = []
    if config.audit:
        trail = audit(config, config.audit)
        stack.callback(trail.close)
        hooks.append(trail.hook(alias=store.alias))
    return Compromise(
        store,
        engine=engine,
        revocations=stack.enter_context(revocations(config)),
        caches=readers(config, store.alias),
        bound=partial(bound_record, config, options.store),
        hooks=hooks,
        patience=timedelta(seconds=patience),
    )


def _own(version: str | None, means: Compromise) -> str | None:
    """A failover names its members in the ids of versions that it hands out."""
    return version.removeprefix(f"{means.store.alias}:") if version else None


def _elsewhere(options: Options, cut: Cut) -> list[Bound]:
    from strongroom.revoking import copies, replicas_with
    from strongroom.rotation.timeline import Bound

    listed = next((bound.until for bound in cut.bounds if bound.who == LISTED), None)
    why = "a copy of its own: see that it is replaced there too, and revoked by its own version id"
    config = configuration(options)
    bounds = [Bound(f"readers of {one}", listed, why) for one in copies(config, options.store)]
    known = "what is signed reaches it with strongroom replica sync, or at their next look at the list"
    replicas = replicas_with(config, options.store, cut.name)
    return [*bounds, *(Bound(f"readers of replica {one}", listed, known) for one in replicas)]


def _confirm(name: str, *, renewed: bool) -> None:
    if not can_ask():
        raise InvalidRequestError(
            "revoking cannot be undone, and nobody can be asked here",
            operation="revoke",
            name=name,
            hint="add --yes",
        )
    what = "work nowhere any more" if renewed else "be gone, and nothing renews it: readers will find none"
    question = f"Its value will {what}. Type {name!r} to revoke it"
    typed = click.prompt(question, prompt_suffix=": ", err=True)
    if typed != name:
        raise InvalidRequestError("not confirmed; nothing was done", operation="revoke", name=name)


def _rehearse(options: Options, means: Compromise, name: str, version: str | None) -> None:
    policy, current = means.policy(name), current_version(means.store, name)
    if current is None:
        raise SecretNotFoundError("no such secret", operation="revoke", name=name)
    leaked = version or current
    document = {
        "name": name,
        "version": leaked,
        "rotation": policy.label if policy else None,
        "list": means.revocations.domain if means.revocations else None,
        "dry_run": True,
    }
    how = f"replace it by rotation.{policy.label}" if policy else "leave none, since nothing renews it"
    if version not in (None, current):
        how = "end it at its target"
    report(options, document, f"would revoke version {leaked} of {name}, and {how}")


def _tell(options: Options, cut: Cut) -> None:
    if options.json:
        print_json(cut.document())
        return
    if options.quiet:
        return
    for moment in cut.timeline:
        mark = "" if moment.outcome == "done" else f" {moment.outcome}:"
        click.echo(one_line(f"{moment.at:%H:%M:%S}Z {moment.step}:{mark} {moment.what}"))
    for bound in cut.bounds:
        until = f"until {_second(bound.until)} at the latest" if bound.until else "until a person acts"
        click.echo(one_line(f"may be used by {bound.who} {until}: {bound.why}"))
    click.echo(one_line(_verdict(cut)))


def _verdict(cut: Cut) -> str:
    if _unfinished(cut):
        first = f"strongroom restore {cut.name}, then " if cut.unavailable else ""
        again = f"strongroom revoke {cut.name} --compromised --version {cut.version}"
        return f"not finished; repeat: {first}{again}"
    if cut.unavailable:
        return f"{cut.name} is unavailable until somebody puts a new value: see the runbook"
    done = f"version {cut.version} of {cut.name} is cut off, version {cut.replacement} is current"
    if not cut.complete:
        return f"{done}; the rest is a person's: see the runbook"
    return f"{done}; it works nowhere after {_second(cut.worst)}" if cut.worst else done


def _second(moment: datetime) -> str:
    """Not rounded to minutes: that would promise a bound before it holds."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def keep_list(options: Options) -> None:
    """Sign the list of revocations anew before it is too old to be believed; a failure is told, no more."""
    from strongroom.revoking import revocations

    config = configuration(options)
    if config.revocations is None or not config.revocations.signer:
        return
    try:
        with revocations(config) as found:
            if found and (signed := found.keep()) and not (options.quiet or options.json):
                click.echo(f"signed revocation list {signed.sequence} of {signed.domain}", err=True)
    except SecretStoreError as error:
        click.echo(one_line(f"the revocation list could not be signed: {error}"), err=True)
