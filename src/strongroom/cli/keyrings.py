"""``key rotate`` and ``key rewrap``; making keyrings, and what `key list` and `check` say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from strongroom.errors import InvalidRequestError, SecretStoreError
from strongroom.localkey import MAX_WRAPS

from .failure import one_line
from .options import Options, changing, configuration, pass_options
from .output import can_ask, print_table, report

if TYPE_CHECKING:
    from strongroom.config import Config, KeyringEntry
    from strongroom.envelope.keyring import Keyring

_NEARLY_SPENT = MAX_WRAPS * 9 // 10

_ELSEWHERE = {
    "aws-kms": "KMS rotates it: aws kms enable-key-rotation; what it wrapped opens still",
    "azure-key": "Key Vault rotates it: az keyvault key rotate; what its older versions wrapped opens still",
    "gcp-kms": "Cloud KMS rotates it: gcloud kms keys versions create --primary; what it wrapped opens still",
    "vault-transit": "Vault rotates it: vault write -f MOUNT/keys/NAME/rotate; what it wrapped opens still",
}
_NEW_KEY = "make another with strongroom key create, then move to it with strongroom reencrypt --to"


@dataclass(slots=True)
class KeyringFinding:
    """What is known of one configured keyring.

    Attributes:
        keyring: its alias.
        place: where it is kept: a store's alias, or a file.
        roots: the aliases of its configured roots; after a check, those that open it by themselves.
        versions: how many keys it has; None until it is checked.
        primary: the version that wraps.
        created: when that was made, UTC, ISO 8601.
        wraps: how many of its 2^31 wraps are taken.
        checked: it was opened.
        problems: what somebody should do something about.
    """

    keyring: str
    place: str
    roots: list[str]
    versions: int | None = None
    primary: str = ""
    created: str = ""
    wraps: int | None = None
    checked: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problems)


def create_keyring(options: Options, config: Config, target: str) -> None:
    """Make the keyring that an alias names; one that is there is never replaced."""
    from strongroom.config import keyring

    entry = config.keyring(target)
    document = {"keyring": target, "place": _place(entry), "roots": entry.roots, "dry_run": options.dry_run}
    said = f"keyring {target} in {_place(entry)}, under {', '.join(entry.roots)}"
    if options.dry_run:
        report(options, document, f"would make {said}")
        return
    made = keyring(target, config=config, create=True)
    try:
        document |= {"id": made.key_id, "version": made.versions[-1].name}
        report(options, document, f"made {said}")
    finally:
        made.close()


@click.command("rotate", short_help="a new version of a keyring wraps from now on")
@click.argument("target", metavar="ALIAS")
@changing
@pass_options
def rotate(options: Options, target: str) -> None:
    """Add a version to the keyring ALIAS; it wraps from now on, and all older ones still open.

    All roots must answer. Programs that run take it up within five minutes. To bring old messages under it,
    use strongroom reencrypt.
    """
    with _opened(options, target) as keyring:
        _refuse_strangers(keyring)
        document = {"keyring": target, "versions": len(keyring.versions) + 1, "dry_run": options.dry_run}
        if options.dry_run:
            report(options, document, f"would add version {len(keyring.versions) + 1} to keyring {target}")
            return
        document["version"] = keyring.rotate()
        document["versions"] = len(keyring.versions)
        report(options, document, f"keyring {target} wraps under version {document['version']} from now on")


@click.command("rewrap", short_help="encrypt a keyring anew under its configured roots")
@click.argument("target", metavar="ALIAS")
@click.option("--drop-roots", is_flag=True, help="Remove roots that are no longer configured (asks).")
@changing
@pass_options
def rewrap(options: Options, target: str, drop_roots: bool) -> None:
    """Encrypt the keyring ALIAS anew under the roots that strongroom.toml names for it.

    That writes one small message; whatever was encrypted under the keyring stays as it is. All roots must
    answer. It does not revoke: who kept the old message and a removed root still opens what it held.
    """
    with _opened(options, target) as keyring:
        added, removed = list(keyring.roots_missing), _strangers(keyring)
        if removed and not drop_roots:
            _refuse_strangers(keyring)
        document = {"keyring": target, "added": added, "removed": removed, "dry_run": options.dry_run}
        if not options.dry_run:
            if removed and not options.yes:
                _confirm(target, removed)
            done = keyring.rewrap(drop_roots=drop_roots)
            document |= {"added": done.added, "removed": done.removed}
            added, removed = list(done.added), list(done.removed)
        verb = "would rewrap" if options.dry_run else "rewrapped"
        report(options, document, f"{verb} keyring {target}{_changes(added, removed)}")


def _changes(added: list[str], removed: list[str]) -> str:
    more = [f"root {root} added" for root in added] + [f"root {root} removed" for root in removed]
    return f": {', '.join(more)}" if more else ", with the roots it had"


@contextmanager
def _opened(options: Options, target: str) -> Iterator[Keyring]:
    from strongroom.config import keyring

    config = configuration(options)
    if target not in config.keyrings:
        scheme = config.key(target).url.partition(":")[0]  # raises where nothing is called so
        raise InvalidRequestError(f"{target!r} is no keyring", hint=_ELSEWHERE.get(scheme, _NEW_KEY))
    found = keyring(target, config=config)
    try:
        yield found
    finally:
        found.close()


def _strangers(keyring: Keyring) -> list[str]:
    return [root.key_id for root in keyring.roots if not root.configured]


def _refuse_strangers(keyring: Keyring) -> None:
    """Before anything else, so that a dry run says it too."""
    if strangers := _strangers(keyring):
        raise InvalidRequestError(
            f"keyring {keyring.name} has roots that are not configured: {', '.join(strangers)}",
            hint=f"configure them, or drop them with strongroom key rewrap {keyring.name} --drop-roots",
        )


def _confirm(target: str, removed: list[str]) -> None:
    roots = ", ".join(removed)
    if not can_ask():
        raise InvalidRequestError(
            f"{roots} would open keyring {target} no more, and nobody can be asked here", hint="add --yes"
        )
    click.confirm(one_line(f"{roots} will open keyring {target} no more. Go on?"), abort=True, err=True)


def examine_keyrings(options: Options, *, use: bool) -> list[KeyringFinding]:
    """What is known of every configured keyring, by alias; if they are to be used, each is opened."""
    config = configuration(options)
    return [examine_keyring(config, entry, use=use) for entry in config.keyrings.values()]


def unexamined(entry: KeyringEntry) -> KeyringFinding:
    """What the configuration alone tells of a keyring."""
    return KeyringFinding(entry.alias, _place(entry), list(entry.roots))


def examine_keyring(config: Config, entry: KeyringEntry, *, use: bool) -> KeyringFinding:
    """What is known of one keyring; if it is to be used, it is opened."""
    from strongroom.config import keyring

    found = unexamined(entry)
    if use:
        try:
            opened = keyring(entry.alias, config=config)
            try:
                _look(opened, entry, found)
            finally:
                opened.close()
        except SecretStoreError as error:
            found.problems.append(one_line(str(error)))
    return found


def _look(keyring: Keyring, entry: KeyringEntry, found: KeyringFinding) -> None:
    """Nothing is wrapped: a process that wraps takes 64 of a version's 2^31 wraps."""
    found.checked, found.versions = True, len(keyring.versions)
    found.primary, found.created = next(
        (version.name, version.created) for version in keyring.versions if version.primary
    )
    tried = dict(zip(entry.roots, keyring.try_roots(), strict=True))
    found.roots = [alias for alias, problem in tried.items() if problem is None]
    found.problems += [
        one_line(f"root {alias} does not open it: {problem}") for alias, problem in tried.items() if problem
    ]
    found.problems += [
        one_line(f"root {key_id} opens it and is not configured (key rewrap --drop-roots removes it)")
        for key_id in _strangers(keyring)
    ]
    found.wraps = keyring.wraps
    if found.wraps > _NEARLY_SPENT:
        found.problems.append(f"the primary has wrapped {found.wraps} of {MAX_WRAPS} data keys: rotate it")


def _place(entry: KeyringEntry) -> str:
    return entry.file or f"store {entry.store}"


def print_keyrings(findings: Iterable[KeyringFinding]) -> None:
    """A table, and what is wrong below it."""
    found = list(findings)
    columns = ("keyring", "state", "versions", "primary", "since", "roots", "place")
    print_table(columns, [_cells(finding) for finding in found])
    for finding in found:
        for problem in finding.problems:
            click.echo(one_line(f"{finding.keyring}: {problem}"))


def _cells(finding: KeyringFinding) -> tuple[str, ...]:
    state = "action needed" if finding.problems else "ok" if finding.checked else "not checked"
    versions = "-" if finding.versions is None else str(finding.versions)
    facts = (finding.primary, finding.created[:10], ", ".join(finding.roots))
    return finding.keyring, state, versions, *(fact or "-" for fact in facts), finding.place
