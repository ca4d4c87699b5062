"""``import``: a file's values into the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import click

from strongroom.errors import InvalidRequestError
from strongroom.names import suggest_name

from . import formats, transfer
from .options import Options, changing, opened, pass_options
from .output import print_json, print_table
from .sources import read_file
from .transfer import Existing, Step


@click.command("import", short_help="take in .env, JSON, TOML or YAML")
@click.argument("file", type=click.Path())
@click.option(
    "--format", "kind", type=click.Choice(list(formats.READERS)), help="By default by the file's name."
)
@click.option("--prefix", default="", metavar="PREFIX/", help="Put before every name.")
@click.option("--map", "mapped", multiple=True, metavar="KEY=NAME", help="Name this key otherwise.")
@click.option("--if-absent", is_flag=True, help="Keep what is there already.")
@click.option("--replace", is_flag=True, help="Write new versions over what is there already.")
@click.option("--expand/--literal", default=None, help="What ${KEY} in a .env value means; no default.")
@changing
@pass_options
def import_file(
    options: Options,
    *,
    file: str,
    kind: str | None,
    prefix: str,
    mapped: tuple[str, ...],
    if_absent: bool,
    replace: bool,
    expand: bool | None,
) -> None:
    """Take in FILE, or stdin if it is -: .env, JSON, TOML or YAML (an object; objects in it stay JSON).

    BINANCE_API_KEY becomes binance/api-key; --dry-run shows all names. If a name holds another value already,
    nothing is written unless --if-absent or --replace says what to do. Equal values are not written again, so
    that a broken-off import is simply repeated. Keys without a value are left out.
    """
    parsed = formats.read(read_file(file), kind or formats.format_of(file), expand)
    named = name_keys(parsed.entries, prefix, mapped)
    values = {named[key]: value for key, value in parsed.entries.items()}
    with opened(options) as store:
        steps = transfer.plan(store, values, existing(if_absent, replace))
        written = {} if options.dry_run else transfer.apply(store, steps)
    keys = {name: key for key, name in named.items()}
    tell(options, [(keys[step.name], step) for step in steps], written, parsed.empty)
    if not (options.quiet or options.json or options.dry_run or file == "-"):
        click.echo(f"{file} still holds these values in clear: remove it when you need it no more", err=True)


def existing(if_absent: bool, replace: bool) -> Existing:
    """What the two options say about names that hold another value.

    Raises:
        InvalidRequestError: both were given.
    """
    if if_absent and replace:
        raise InvalidRequestError("--if-absent and --replace exclude each other")
    return "keep" if if_absent else "replace" if replace else "refuse"


def name_keys(keys: Iterable[str], prefix: str, mapped: Sequence[str]) -> dict[str, str]:
    """The secret's name for each key of a file.

    Raises:
        InvalidRequestError: a key has no portable name, two keys would share one, or a mapping is malformed.
    """
    keys = list(keys)
    chosen = dict(_pair(text) for text in mapped)
    unknown = sorted(set(chosen) - set(keys))
    if unknown:
        raise InvalidRequestError(f"--map names keys that the file does not have: {', '.join(unknown)}")
    named = {key: prefix + (chosen.get(key) or suggest_name(key) or "") for key in keys}
    nameless = [key for key, name in named.items() if name == prefix]
    if nameless:
        raise InvalidRequestError(
            f"no name fits {', '.join(nameless)[:200]}; nothing was written", hint="--map KEY=NAME"
        )
    transfer.check_names(list(named.values()))
    return named


def _pair(text: str) -> tuple[str, str]:
    key, _, name = text.partition("=")
    if not key or not name:
        raise InvalidRequestError("--map reads KEY=NAME", hint="for example --map DB_PASS=db/password")
    return key, name


def tell(
    options: Options, steps: Sequence[tuple[str, Step]], written: dict[str, str], empty: Sequence[str]
) -> None:
    """Print what was done, or would be: a row for each name, then the sum."""
    items = [
        {"from": key, "name": step.name, "action": step.action.value, "version": written.get(step.name)}
        for key, step in steps
    ]
    counts = Counter(step.action.value for _, step in steps)
    if options.json:
        print_json({"dry_run": options.dry_run, "items": items, "empty": list(empty), "counts": dict(counts)})
    elif not options.quiet:
        same = all(key == step.name for key, step in steps)
        rows = [(key, step.name, step.action.value)[same:] for key, step in steps]
        print_table(("from", "name", "action")[same:], rows)
        for key in empty:
            click.echo(f"left out, since it is empty: {key}", err=True)
        total = ", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing"
        click.echo(f"{'would do' if options.dry_run else 'done'}: {total}")
