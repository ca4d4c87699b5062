"""``copy``: names from one store to another, with their versions, or as they are now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from strongroom.backend import Capability
from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError

from . import transfer
from .importing import existing, tell
from .options import Options, changing, opened, pass_options
from .output import print_json, print_table, progress

if TYPE_CHECKING:
    from strongroom.clock import Clock
    from strongroom.replication.inventory import Loss, Target
    from strongroom.replication.migrating import Outcome
    from strongroom.replication.migrating import Step as Carried
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

    from .transfer import Step


@click.command(short_help="migrate names between stores")
@click.argument("src")
@click.argument("dst")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--prefix", default="", help="All names that begin so; without it and without NAME, all.")
@click.option("--if-absent", is_flag=True, help="Keep what is there already.")
@click.option("--replace", is_flag=True, help="Write new versions over what is there already.")
@click.option("--current-only", is_flag=True, help="Leave older versions behind.")
@click.option("--allow-loss", is_flag=True, help="Copy what the target can hold, and tell what it cannot.")
@changing
@pass_options
def copy(
    options: Options,
    *,
    src: str,
    dst: str,
    names: tuple[str, ...],
    prefix: str,
    if_absent: bool,
    replace: bool,
    current_only: bool,
    allow_loss: bool,
) -> None:
    """Copy store SRC to store DST: versions, oldest first, stages and tags; each is an alias or a URL.

    Names keep their names; pending values stay behind. If a name holds another value in DST, or if DST cannot
    hold something of SRC, nothing is written unless an option says what to do; --dry-run tells it all. Every
    value is read back. What is there already is not written again, so that a broken-off copy is simply
    repeated, and once more to carry what changed since.
    """
    if names and prefix:
        raise InvalidRequestError("--prefix and NAME exclude each other")
    kept = existing(if_absent, replace)
    with opened(options, src) as source, opened(options, dst) as target:
        wanted = list(dict.fromkeys(names)) or list(source.list_names(prefix))
        if current_only:
            _copy_current(options, source, target, wanted, kept)
        else:
            _migrate(options, source, target, wanted, kept, allow_loss)


def _migrate(
    options: Options,
    source: SecretStore,
    target: SecretStore,
    names: Sequence[str],
    kept: transfer.Existing,
    allow_loss: bool,
) -> None:
    from strongroom.replication.migrating import Migration, Outcome

    migration = Migration(source, target_of(target), existing=kept, progress=progress)
    steps = migration.plan(names)
    losses = [loss for step in steps for loss in step.losses]
    if losses and not (allow_loss or options.dry_run):
        _tell_losses(losses)
        raise InvalidRequestError(
            f"the target cannot hold {len(losses)} things; nothing was written",
            hint="--allow-loss copies the rest, --current-only leaves older versions behind",
        )
    outcome = Outcome() if options.dry_run else migration.apply(steps)
    _tell(options, steps, outcome, [*losses, *outcome.losses])
    written = {name: made for name, made in outcome.versions.items() if name not in outcome.errors}
    transfer.finish(written, outcome.errors, sum(step.writes for step in steps))


def target_of(store: SecretStore, clock: Clock | None = None) -> Target:
    """A store as a migration's target: it tells what it refuses, and is written no faster than it takes."""
    from strongroom import stages
    from strongroom.replication.budget import Budget
    from strongroom.replication.inventory import Target

    backend, gate = store._backend, store._gate  # noqa: SLF001  (what a store refuses before any I/O)

    def check(name: str, value: SecretValue, tags: Mapping[str, str]) -> None:
        key = gate.key(name, "put")
        stages.check_size(backend, key, value, "put")
        backend.check(key, value, tags)

    return Target(store, check, Budget(backend.write_budget, clock).take)


def _tell(options: Options, steps: Sequence[Carried], outcome: Outcome, losses: Sequence[Loss]) -> None:
    counts = Counter(step.move.value for step in steps)
    if options.json:
        items = [_item(step, outcome.versions.get(step.name, [])) for step in steps]
        document = {"dry_run": options.dry_run, "items": items, "counts": counts}
        print_json({**document, "losses": [asdict(loss) for loss in losses]})
    elif not options.quiet:
        rows = [(step.name, step.move.value, str(len(step.versions)), str(len(step.tags))) for step in steps]
        print_table(("name", "action", "versions", "tags"), rows)
        total = ", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing"
        click.echo(f"{'would do' if options.dry_run else 'done'}: {total}")
    _tell_losses([] if options.json else losses)


def _item(step: Carried, made: Sequence[str]) -> dict[str, Any]:
    action = {"name": step.name, "from": step.name, "action": step.move.value}
    return {**action, "carries": len(step.versions), "versions": list(made), "tags": sorted(step.tags)}


def _tell_losses(losses: Sequence[Loss]) -> None:
    for loss in losses:
        at = f" version {loss.version}" if loss.version else ""
        click.echo(f"stays behind: {loss.name}{at}, {loss.what}: {loss.why}", err=True)


def _copy_current(
    options: Options,
    source: SecretStore,
    target: SecretStore,
    names: Sequence[str],
    kept: transfer.Existing,
) -> None:
    steps = _plan(source, target, names, kept)
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
