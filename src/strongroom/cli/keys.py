"""The group ``key``: ``key create`` and ``key list``; and what `check` says of keys."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.keys import DATA_KEY_LENGTH

from .failure import ACTION_NEEDED, one_line
from .keyrings import create_keyring, examine_keyrings, print_keyrings, rewrap, rotate
from .options import Options, changing, common, configuration, pass_options, recorded
from .output import can_ask, print_json, print_table, report
from .sources import typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.backend import Settings
    from strongroom.config import Config, KeyEntry

KINDS = ("aes-256", "aes-256-gcm", "rsa-3072", "p256", "secp256k1", "ed25519", "hmac")
"""What a token makes; a keyset file holds the first."""


@dataclass(slots=True)
class KeyFinding:
    """What is known of one configured key.

    Attributes:
        key: its alias.
        url: where it is.
        use: ``wraps`` or ``signs``; empty until it is checked, since only the key itself knows.
        algorithm: how it wraps if it wraps; of a checked signing key, what it signs.
        context: as of `strongroom.keys.Wrapping`; empty for a signing key.
        symmetric: None for a signing key.
        checked: it was asked, and did what it is for.
        problem: what keeps it from working, with what to do; empty if nothing does.
    """

    key: str
    url: str
    use: str = ""
    algorithm: str = ""
    context: str = ""
    symmetric: bool | None = None
    checked: bool = False
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem)


@click.group(short_help="make, rotate and list keys and keyrings")
def key() -> None:
    """Keys that encrypt stores, keyrings of such keys, and keys that sign."""


key.add_command(rotate)
key.add_command(rewrap)


@key.command("create", short_help="make a keyring, or a key inside a token or in a keyset file")
@click.argument("target", metavar="ALIAS|URL")
@click.option(
    "--kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="Of a token's key."
)
@click.option("--module", type=click.Path(), help="The PKCS#11 library, for a URL that is not configured.")
@changing
@pass_options
def create(options: Options, target: str, kind: str, module: str | None) -> None:
    """Make a configured keyring, or the key that a pkcs11: or local-key: URL names; never replace one.

    A token's key is made inside it and never leaves it. aes-256 wraps data keys and aes-256-gcm does by
    another mechanism; rsa-3072 wraps too, but anybody can make messages with its public half; the others
    sign. The PIN comes from the configuration, or is asked for on a terminal.
    """
    from strongroom.config import reach
    from strongroom.registry import create_key

    config = configuration(options)
    if target in config.keyrings:
        if module or kind != KINDS[0]:
            raise InvalidRequestError(
                "a keyring has keys of one kind, and no module", hint=f"kind: {KINDS[0]}"
            )
        create_keyring(options, config, target)
        return
    entry = config.key(target)
    document = {"key": target, "url": entry.url, "kind": kind, "dry_run": options.dry_run}
    if options.dry_run:
        report(options, document, f"would make {entry.url} ({kind})")
        return
    settings = _unlocked(replace(entry, settings=reach(entry, config)), module)
    with recorded(config, target) as record:
        document["url"] = record("key.create", lambda: create_key(entry.url, settings, kind))
    report(options, document, f"made {document['url']} ({kind})")


def _unlocked(entry: KeyEntry, module: str | None) -> Settings:
    settings = entry.settings
    if module:
        settings = replace(settings, options={**settings.options, "module": module})
    if entry.url.startswith("pkcs11:") and "pin" not in settings.auth and can_ask():
        settings = replace(settings, auth={**settings.auth, "pin": typed("PIN: ")})
    return settings


@key.command("list", short_help="the configured keys and keyrings; --check uses each")
@click.option(
    "--check",
    is_flag=True,
    help="Wrap and unwrap 32 random bytes; of a signing key, read the public half; open a keyring.",
)
@common
@click.pass_context
@pass_options
def list_keys(options: Options, ctx: click.Context, check: bool) -> None:
    """Print the keys of strongroom.toml and how they wrap, and its keyrings.

    Without --check nothing is sent to any of them. With it, a keyring's versions are told, and which roots
    open it. Exit code 10 says that something needs action.
    """
    findings, keyrings = examine_all(options, use=check), examine_keyrings(options, use=check)
    if options.json:
        print_json({"keys": list(map(asdict, findings)), "keyrings": list(map(asdict, keyrings))})
    else:
        print_findings(findings)
        if keyrings:
            print_keyrings(keyrings)
    needs_action = any([one.needs_action for one in findings] + [one.needs_action for one in keyrings])
    ctx.exit(ACTION_NEEDED if needs_action else 0)


def examine_all(options: Options, *, use: bool) -> list[KeyFinding]:
    """What is known of every configured key, by alias."""
    config = configuration(options)
    return [examine(config, entry, use=use) for entry in config.keys.values()]


def examine(config: Config, entry: KeyEntry, *, use: bool) -> KeyFinding:
    """What the URL and the options tell of a key; if it is to be used, whether it wraps, or else signs."""
    found = KeyFinding(entry.alias, entry.url)
    try:
        _as_wrapper(config, entry, found, use=use)
    except SecretStoreError as error:
        found.problem = one_line(str(error))
        # Nothing but the key itself knows what it was made for, and each provider refuses in its own way.
        if not isinstance(error, UnavailableError):
            found = _as_signer(config, entry, use=use) or found
    return found


def _as_wrapper(config: Config, entry: KeyEntry, found: KeyFinding, *, use: bool) -> None:
    from strongroom.config import reach
    from strongroom.registry import open_key

    wrapper = open_key(entry.url, reach(entry, config))
    try:
        found.algorithm, found.context = wrapper.algorithm, wrapper.context
        found.symmetric = wrapper.symmetric
        # A process that wraps under a keyset reserves some of its 2^31 wraps; that it opened says enough.
        if use and not entry.url.startswith("local-key:"):
            context, data_key = {"purpose": "strongroom check"}, os.urandom(DATA_KEY_LENGTH)
            if wrapper.unwrap(wrapper.wrap(data_key, context), context) != data_key:
                raise IntegrityError("the key unwraps something else than it wrapped")
        found.use, found.checked = "wraps" if use else "", use
    finally:
        wrapper.close()


def _as_signer(config: Config, entry: KeyEntry, *, use: bool) -> KeyFinding | None:
    """Asked for its public half alone: a signature that no application made would be an alarm in an audit."""
    from strongroom.config import reach
    from strongroom.registry import open_signer

    found = KeyFinding(entry.alias, entry.url, "signs")
    try:
        signer = open_signer(entry.url, reach(entry, config))
        try:
            if use:
                found.algorithm = signer.algorithm
                signer.public_key()
                found.checked = True
        finally:
            signer.close()
    except SecretStoreError:
        return None
    return found


def print_findings(findings: Iterable[KeyFinding]) -> None:
    """A table, and what is wrong below it."""
    found = list(findings)
    columns = ("key", "state", "use", "algorithm", "context", "symmetric", "url")
    print_table(columns, [_cells(finding) for finding in found])
    for finding in found:
        if finding.problem:
            click.echo(f"{finding.key}: {finding.problem}")


def _cells(finding: KeyFinding) -> tuple[str, ...]:
    state = "action needed" if finding.problem else "ok" if finding.checked else "not checked"
    symmetric = {True: "yes", False: "no", None: "-"}[finding.symmetric]
    facts: Any = (finding.use, finding.algorithm, finding.context)
    return finding.key, state, *(fact or "-" for fact in facts), symmetric, finding.url
