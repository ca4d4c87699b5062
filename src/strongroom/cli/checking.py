"""``check``: does what the configuration names open and answer, what can it do, and how old is it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import InvalidRequestError, SecretStoreError

from .auditcheck import NONE, AuditFinding
from .auditcheck import examine as examine_audit
from .auditcheck import unexamined as unexamined_audit
from .failure import ACTION_NEEDED, one_line
from .keyrings import KeyringFinding, examine_keyring, print_keyrings, unexamined
from .keys import KeyFinding, examine, print_findings
from .options import Options, common, configuration, pass_options
from .output import day, print_json, print_table
from .replicacheck import ReplicaFinding
from .replicacheck import examine as examine_replica
from .replicacheck import unexamined as unexamined_replica
from .revocationcheck import RevocationsFinding
from .revocationcheck import examine as examine_revocations
from .revocationcheck import unexamined as unexamined_revocations
from .rotationcheck import RotationFinding
from .rotationcheck import examine as examine_rotation
from .rotationcheck import unexamined as unexamined_rotation
from .sidebyside import Job, side_by_side
from .storecheck import Finding, StoreCheck, no_answer

if TYPE_CHECKING:
    from strongroom.toml.audit_entries import AuditEntry
    from strongroom.toml.entries import KeyEntry, KeyringEntry
    from strongroom.toml.file import Config
    from strongroom.toml.replicas import ReplicaEntry

_LEASE = 5.0
_SECONDS = 60


@dataclass(slots=True)
class CoordinatorFinding:
    """What `check` learned of the coordinator: its URL, and what keeps it from working, if anything does."""

    url: str
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem)


AnyFinding = (
    Finding
    | KeyFinding
    | KeyringFinding
    | CoordinatorFinding
    | AuditFinding
    | RotationFinding
    | RevocationsFinding
    | ReplicaFinding
)


@click.command(short_help="test configuration, access, capabilities, ages; reveals nothing")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@click.option("--offline", is_flag=True, help="Only read the configuration, or these files; ask nothing.")
@click.option("--max-age", type=click.IntRange(min=1), metavar="DAYS", help="Older secrets need action.")
@click.option(
    "--timeout",
    "seconds",
    type=click.IntRange(min=1),
    default=_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for any one of them.",
)
@common
@click.pass_context
@pass_options
def check(
    options: Options,
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    offline: bool,
    max_age: int | None,
    seconds: int,
) -> None:
    """Open every store of the configuration, or the one that --store names, and say how it is.

    Names are listed where that is allowed, the dates of all secrets are asked for, and one value is read to
    prove that it decrypts, or a name that nobody has; no value is shown. Of a store with allow_plaintext or
    old_keys every value is read, to say which ones still need that. Without --store each key wraps and
    unwraps random bytes, or tells its public half, each keyring is opened, the coordinator gives a lease, and
    the audit takes a record, the ledger of rotations answers, and what is overdue is told, how long the
    list of revocations is believed still, and how far each replica is behind. All are asked at once, and what
    hangs is left behind. Exit code 10 says that something needs action.

    With --offline nothing is opened, asked or read but the files: their lines, all their profiles, schedules
    and the options of rotators. Exit code 2 says that one is wrong.
    """
    if files and not offline:
        raise click.UsageError("FILE goes with --offline; else say --config")
    if offline:
        from .offline import check_files

        ctx.exit(check_files(options, files))
    config = configuration(options)
    found = _Findings(config, options.store, max_age, float(seconds))
    needs_action = any(one.needs_action for one in found.all())
    if options.json:
        print_json(found.document())
    elif not options.quiet or needs_action:
        found.print()
    ctx.exit(ACTION_NEEDED if needs_action else 0)


class _Findings:
    """Everything that the configuration names, or one store alone; all of it looked at, at once."""

    def __init__(self, config: Config, target: str | None, max_age: int | None, seconds: float):
        if not (target or config.stores or config.keys):
            hint = "run: strongroom init"
            raise InvalidRequestError("no store is configured", operation="check", hint=hint)
        self._config = config
        targets = [target] if target else list(config.stores)
        checks = [StoreCheck(config, one, max_age, seconds) for one in targets]
        jobs: list[Job[Any]] = [Job(one.run, one.late) for one in checks]
        if not target:
            jobs += [_key_job(config, entry, seconds) for entry in config.keys.values()]
            jobs += [_keyring_job(config, entry, seconds) for entry in config.keyrings.values()]
            jobs += [_coordinator_job(config, config.coordinator.url, seconds)] if config.coordinator else []
            jobs += [_audit_job(config, config.audit, seconds)] if config.audit else []
            jobs += [_rotation_job(config, seconds)] if config.rotations else []
            jobs += [_revocations_job(config, seconds)] if config.revocations else []
            jobs += [_replica_job(config, entry, seconds) for entry in config.replicas.values()]
        found = side_by_side(jobs, seconds)
        self.stores = [one for one in found if isinstance(one, Finding)]
        self.keys = [one for one in found if isinstance(one, KeyFinding)]
        self.keyrings = [one for one in found if isinstance(one, KeyringFinding)]
        self.coordinator = next((one for one in found if isinstance(one, CoordinatorFinding)), None)
        self.audit = next((one for one in found if isinstance(one, AuditFinding)), None)
        self.rotation = next((one for one in found if isinstance(one, RotationFinding)), None)
        self.revocations = next((one for one in found if isinstance(one, RevocationsFinding)), None)
        self.replicas = [one for one in found if isinstance(one, ReplicaFinding)]

    def all(self) -> Iterator[AnyFinding]:
        yield from self.stores
        yield from self.keys
        yield from self.keyrings
        yield from filter(None, (self.coordinator, self.audit, self.rotation, self.revocations))
        yield from self.replicas

    def document(self) -> dict[str, Any]:
        return {
            "config": str(self._config.path) if self._config.path else None,
            "profile": self._config.profile or None,
            "stores": [{**asdict(one), "needs_action": one.needs_action} for one in self.stores],
            "keys": list(map(asdict, self.keys)),
            "audit": self.audit.document() if self.audit else None,
            "keyrings": list(map(asdict, self.keyrings)),
            "coordinator": asdict(self.coordinator) if self.coordinator else None,
            "rotation": self.rotation.document() if self.rotation else None,
            "revocations": self.revocations.document() if self.revocations else None,
            "replicas": [one.document() for one in self.replicas],
        }

    def print(self) -> None:
        if self._config.profile:
            click.echo(f"profile: {self._config.profile}")
        if self.stores:
            _print_stores(self.stores)
        if self.keys:
            print_findings(self.keys)
        if self.keyrings:
            print_keyrings(self.keyrings)
        if self.coordinator:
            click.echo(one_line(f"coordinator {self.coordinator.url}: {self.coordinator.problem or 'ok'}"))
        if self.audit:
            self.audit.print()
        elif not self._config.audit:
            click.echo(NONE)
        for one in (self.rotation, self.revocations, *self.replicas):
            if one is not None:
                one.print()


def _key_job(config: Config, entry: KeyEntry, seconds: float) -> Job[KeyFinding]:
    return Job(
        lambda: examine(config, entry, use=True),
        lambda: KeyFinding(entry.alias, entry.url, problem=no_answer(seconds)),
    )


def _keyring_job(config: Config, entry: KeyringEntry, seconds: float) -> Job[KeyringFinding]:
    return Job(
        lambda: examine_keyring(config, entry, use=True),
        lambda: replace(unexamined(entry), problems=[no_answer(seconds)]),
    )


def _coordinator_job(config: Config, url: str, seconds: float) -> Job[CoordinatorFinding]:
    return Job(lambda: _coordinator(config, url), lambda: CoordinatorFinding(url, no_answer(seconds)))


def _audit_job(config: Config, entry: AuditEntry, seconds: float) -> Job[AuditFinding]:
    return Job(lambda: examine_audit(config, entry), lambda: unexamined_audit(entry, no_answer(seconds)))


def _rotation_job(config: Config, seconds: float) -> Job[RotationFinding]:
    return Job(lambda: examine_rotation(config), lambda: unexamined_rotation(config, no_answer(seconds)))


def _revocations_job(config: Config, seconds: float) -> Job[RevocationsFinding]:
    late = lambda: unexamined_revocations(config, no_answer(seconds))  # noqa: E731
    return Job(lambda: examine_revocations(config), late)


def _replica_job(config: Config, entry: ReplicaEntry, seconds: float) -> Job[ReplicaFinding]:
    return Job(lambda: examine_replica(config, entry), lambda: unexamined_replica(entry, no_answer(seconds)))


def _coordinator(config: Config, url: str) -> CoordinatorFinding:
    """Whether the coordinator gives a lease: of a name that no secret has, and only for a moment."""
    from strongroom.config import coordinator

    finding = CoordinatorFinding(url)
    try:
        with coordinator(config) as opened:
            if opened and (lease := opened.acquire("strongroom check", _LEASE)):
                opened.release(lease)
    except SecretStoreError as error:
        finding.problem = one_line(str(error))
    return finding


def _print_stores(findings: list[Finding]) -> None:
    print_table(
        ("store", "state", "access", "names", "oldest", "newest", "capabilities"), map(_cells, findings)
    )
    for finding in findings:
        if finding.problem:
            click.echo(one_line(f"{finding.store}: {finding.problem}"))
        if finding.may_list is False:
            click.echo(one_line(f"{finding.store}: names may not be listed with these credentials"))
        if finding.transition and not finding.problem:
            click.echo(one_line(f"{finding.store}: {_said_of_transition(finding)}"))
        for name in finding.old:
            click.echo(one_line(f"{finding.store}: {name} is older than --max-age"))


def _cells(finding: Finding) -> tuple[str, ...]:
    access = [word for word, may in (("list", finding.may_list), ("read", finding.may_read)) if may]
    return (
        finding.store,
        "action needed" if finding.needs_action else "ok",
        " ".join(access) or "-",
        "-" if finding.names is None else str(finding.names),
        day(finding.oldest) or "-",
        day(finding.newest) or "-",
        " ".join(finding.capabilities).lower() or "-",
    )


def _said_of_transition(finding: Finding) -> str:
    ways = " and ".join(finding.transition)
    if finding.names is None:
        return f"has {ways}, and cannot list what needs it"
    if not finding.left:
        return f"every current value is under its keys: nothing needs {ways} but previous versions"
    share = f"{len(finding.left)} of {finding.names} secrets still need {ways}, first {finding.left[0]}"
    return f"{share}: run strongroom reencrypt --store {finding.store}"
