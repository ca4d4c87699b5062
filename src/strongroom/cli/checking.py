"""``check``: do the configured stores open and answer, what can they do, and how old are their secrets?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import click

from strongroom.backend import Capability, Clock
from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError

from .failure import ACTION_NEEDED, one_line
from .keyrings import KeyringFinding, examine_keyrings, print_keyrings
from .keys import KeyFinding, examine_all, print_findings
from .options import Options, common, configuration, opened, pass_options
from .output import day, print_json, print_table, progress

if TYPE_CHECKING:
    from strongroom.store import SecretStore


@dataclass(slots=True)
class Finding:
    """What `check` learned of one store.

    Attributes:
        store: its alias, or the URL that was given.
        origin: where it says it is.
        capabilities: names of its flags.
        names: how many secrets there are; None where the store cannot list.
        oldest: when the secret that was longest not written was written.
        transition: what is configured so that values of other keys, or of none, are still read.
        left: names of the secrets that still need it; see `strongroom.reencryption.StoreReport.left`.
        problem: what keeps it from working, with what to do; empty if nothing does.
    """

    store: str
    origin: str = ""
    capabilities: tuple[str, ...] = ()
    names: int | None = None
    oldest: datetime | None = None
    old: list[str] = field(default_factory=list)
    transition: tuple[str, ...] = ()
    left: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem or self.old or self.left)


@dataclass(slots=True)
class CoordinatorFinding:
    """What `check` learned of the coordinator: its URL, and what keeps it from working, if anything does."""

    url: str
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem)


_LEASE = 5.0


@click.command(short_help="test configuration, access, capabilities, ages; reveals nothing")
@click.option("--max-age", type=click.IntRange(min=1), metavar="DAYS", help="Older secrets need action.")
@common
@click.pass_context
@pass_options
def check(options: Options, ctx: click.Context, max_age: int | None) -> None:
    """Open every store of the configuration, or the one that --store names, and say how it is.

    Names are listed, the dates of all secrets are asked for, and one value is read to prove that it decrypts;
    no value is shown. Of a store with allow_plaintext or old_keys every value is read, to say which ones
    still need that. Without --store each key wraps and unwraps random bytes, or tells its public half, each
    keyring is opened, and the coordinator gives a lease. Exit code 10 says that something needs action.
    """
    findings = [examine(options, target, max_age) for target in _targets(options)]
    keys = [] if options.store else examine_all(options, use=True)
    keyrings = [] if options.store else examine_keyrings(options, use=True)
    guard = None if options.store else _coordinator(options)
    needs_action = any([finding.needs_action for finding in findings] + [key.needs_action for key in keys])
    needs_action |= any(keyring.needs_action for keyring in keyrings)
    needs_action |= guard is not None and guard.needs_action
    if options.json:
        stores = [{**asdict(finding), "needs_action": finding.needs_action} for finding in findings]
        document = {"stores": stores, "keys": list(map(asdict, keys)), "audit": None}
        document["keyrings"] = list(map(asdict, keyrings))
        print_json({**document, "coordinator": asdict(guard) if guard else None})
    elif not options.quiet or needs_action:
        if findings:
            _print(findings)
        _print_rest(keys, keyrings, guard)
    ctx.exit(ACTION_NEEDED if needs_action else 0)


def _targets(options: Options) -> list[str]:
    if options.store:
        return [options.store]
    config = configuration(options)
    if not (config.stores or config.keys):
        raise InvalidRequestError("no store is configured", operation="check", hint="run: strongroom init")
    return list(config.stores)


def _coordinator(options: Options) -> CoordinatorFinding | None:
    """Whether the coordinator gives a lease: of a name that no secret has, and only for a moment."""
    from strongroom.config import coordinator

    config = configuration(options)
    finding = CoordinatorFinding(config.coordinator)
    try:
        with coordinator(config) as opened_one:
            if opened_one and (lease := opened_one.acquire("strongroom check", _LEASE)):
                opened_one.release(lease)
    except SecretStoreError as error:
        finding.problem = one_line(str(error))
    return finding if config.coordinator else None


def examine(options: Options, target: str, max_age: int | None) -> Finding:
    """Try one store; whatever is wrong stands in the finding."""
    finding = Finding(target)
    try:
        with opened(options, target) as store:
            finding.origin, finding.capabilities = store.origin, store.capabilities.names
            _look(store, finding, max_age)
            _look_at_transition(options, target, store, finding)
    except SecretStoreError as error:
        finding.problem = one_line(str(error))
    return finding


def _look(store: SecretStore, finding: Finding, max_age: int | None) -> None:
    if Capability.LIST not in store.capabilities:
        return
    names = list(store.list_names())
    finding.names = len(names)
    if names:
        store.get(names[0])
    for name in progress(names if Capability.DESCRIBE in store.capabilities else [], "checking"):
        written = _written(store, name)
        finding.oldest = min(filter(None, (finding.oldest, written)), default=None)
        if max_age and written and (Clock().now() - written).days >= max_age:
            finding.old.append(name)


def _look_at_transition(options: Options, target: str, store: SecretStore, finding: Finding) -> None:
    from strongroom.reencryption import reencrypt_store

    entry = configuration(options).entry(target)
    ways = {"allow_plaintext": entry.allow_plaintext, "old_keys": bool(entry.old_keys)}
    finding.transition = tuple(way for way, configured in ways.items() if configured)
    if finding.transition and Capability.LIST in store.capabilities:
        finding.left = reencrypt_store(store, dry_run=True).left


def _written(store: SecretStore, name: str) -> datetime | None:
    try:
        newest = store.describe(name).newest
    except SecretNotFoundError:  # deleted since it was listed
        return None
    return newest.created_at if newest else None


def _print_rest(
    keys: list[KeyFinding], keyrings: list[KeyringFinding], guard: CoordinatorFinding | None
) -> None:
    if keys:
        print_findings(keys)
    if keyrings:
        print_keyrings(keyrings)
    if guard:
        click.echo(one_line(f"coordinator {guard.url}: {guard.problem or 'ok'}"))
    click.echo("audit: no journal is configured; only the program's own hooks run")


def _print(findings: list[Finding]) -> None:
    rows = [
        (
            finding.store,
            "action needed" if finding.needs_action else "ok",
            "-" if finding.names is None else str(finding.names),
            day(finding.oldest) or "-",
            " ".join(finding.capabilities).lower() or "-",
        )
        for finding in findings
    ]
    print_table(("store", "state", "names", "oldest", "capabilities"), rows)
    for finding in findings:
        if finding.problem:
            click.echo(f"{finding.store}: {finding.problem}")
        if finding.transition and not finding.problem:
            click.echo(one_line(f"{finding.store}: {_said_of_transition(finding)}"))
        for name in finding.old:
            click.echo(one_line(f"{finding.store}: {name} is older than --max-age"))


def _said_of_transition(finding: Finding) -> str:
    ways = " and ".join(finding.transition)
    if finding.names is None:
        return f"has {ways}, and cannot list what needs it"
    if not finding.left:
        return f"every current value is under its keys: nothing needs {ways} but previous versions"
    share = f"{len(finding.left)} of {finding.names} secrets still need {ways}, first {finding.left[0]}"
    return f"{share}: run strongroom reencrypt --store {finding.store}"
