"""``copy``: names from one store to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from strongroom.backend import Capability
from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError

from . import transfer
from .importing import existing, tell
from .options import Options, changing, opened, pass_options
from .output import progress

if TYPE_CHECKING:
    from strongroom.store import SecretStore

    from .transfer import Step


@click.command(short_help="migrate names between stores")
@click.argument("src")
@click.argument("dst")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--prefix", default="", help="All names that begin so; without it and without NAME, all.")
@click.option("--if-absent", is_flag=True, help="Keep what is there already.")
@click.option("--replace", is_flag=True, help="Write new versions over what is there already.")
@changing
@pass_options
def copy(
    options: Options, src: str, dst: str, names: tuple[str, ...], prefix: str, if_absent: bool, replace: bool
) -> None:
    """Copy the current values and tags of store SRC to store DST; each is an alias or a URL.

    Names keep their names; older versions and pending values stay behind. If a name holds another value in
    DST, nothing is written unless --if-absent or --replace says what to do. Equal values are not written
    again, so that a broken-off copy is simply repeated.
    """
    if names and prefix:
        raise InvalidRequestError("--prefix and NAME exclude each other")
    with opened(options, src) as source, opened(options, dst) as target:
        wanted = list(dict.fromkeys(names)) or list(source.list_names(prefix))
        steps = _plan(source, target, wanted, existing(if_absent, replace))
        written = {} if options.dry_run else _write(source, target, steps)
    tell(options, [(step.name, step) for step in steps], written, ())


def _plan(
    source: SecretStore, target: SecretStore, names: Sequence[str], existing: transfer.Existing
) -> list[Step]:
    found = transfer.read_many(source, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise SecretNotFoundError(f"not in the source: {', '.join(missing[:5])}; nothing was written")
    return transfer.plan(target, {name: secret.value for name, secret in found.items()}, existing)


def _write(source: SecretStore, target: SecretStore, steps: Sequence[Step]) -> dict[str, str]:
    written = transfer.apply(target, steps)
    tagged = Capability.DESCRIBE in source.capabilities and Capability.TAGS in target.capabilities
    owned = [step.name for step in steps if step.action is not transfer.Action.KEEP]
    errors: dict[str, SecretStoreError] = {}
    for name in progress(owned, "tagging") if tagged else ():
        try:
            _copy_tags(source, target, name)
        except SecretStoreError as error:
            errors[name] = error.with_traceback(None)
    transfer.finish(written, errors, len(owned))
    return written


def _copy_tags(source: SecretStore, target: SecretStore, name: str) -> None:
    tags = source.describe(name).tags
    there = target.describe(name).tags if tags and Capability.DESCRIBE in target.capabilities else {}
    missing = {key: text for key, text in tags.items() if there.get(key) != text}
    if missing:
        target.set_tags(name, dict(missing))
