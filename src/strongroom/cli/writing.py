"""``put`` and ``tag``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from strongroom.backend import ABSENT, Absent, Capability
from strongroom.errors import InvalidRequestError, SecretConflictError, SecretNotFoundError

from . import sources
from .options import Options, changing, opened, pass_options
from .output import report

if TYPE_CHECKING:
    from strongroom.store import SecretStore
    from strongroom.value import Kind, SecretValue


@click.command(short_help="store a value from stdin, a prompt, a file, or made here")
@click.argument("name")
@click.argument("extra", nargs=-1, metavar="")
@click.option(
    "--file", "path", metavar="PATH", type=click.Path(), help="Take the file's bytes, exactly; - is stdin."
)
@click.option("--generate", is_flag=True, help="Make a password; it is stored and not shown.")
@click.option("--length", type=int, default=32, show_default=True, help="Of a generated password.")
@click.option(
    "--classes", default="lower,upper,digits", show_default=True, help="Of its characters; also: symbols."
)
@click.option("--exclude", default="", metavar="CHARS", help="Characters it must not hold.")
@click.option("--kind", type=click.Choice(["text", "binary"]), help="By default text if it is UTF-8.")
@click.option("--exact", is_flag=True, help="Keep a newline at the end of stdin.")
@click.option("--allow-empty", is_flag=True, help="Store nothing as a value.")
@click.option(
    "--if-version", metavar="ID|absent", help="Only if that version is current; only if there is none."
)
@click.option(
    "--rotation",
    "rotation_id",
    metavar="ID",
    help="What this rotation waits for; tested before it is current.",
)
@changing
@pass_options
def put(
    options: Options,
    *,
    name: str,
    extra: tuple[str, ...],
    path: str | None,
    generate: bool,
    length: int,
    classes: str,
    exclude: str,
    kind: str | None,
    exact: bool,
    allow_empty: bool,
    if_version: str | None,
    rotation_id: str | None,
) -> int | None:
    """Store a value under NAME.

    The value comes from stdin, from a prompt when stdin is a terminal, from --file, or from --generate; never
    from the command line, which other processes and the shell's history can read. One newline at the end of
    stdin is dropped from text, as $(...) drops it, unless --exact is given. An empty value is refused unless
    --allow-empty is given, since it is mostly the output of a command that failed.

    With --rotation the value goes to a rotation that waits for a person: it is tested first, and the one
    before it works on until its grace is over.
    """
    if extra:
        _refuse_value_in_argv()
    policy = sources.policy(length, classes, exclude) if generate else None
    if path and policy:
        raise InvalidRequestError("--file and --generate exclude each other")
    value = sources.value(path, policy, cast("Kind | None", kind), exact=exact)
    if not allow_empty and value.matches(b""):
        raise InvalidRequestError("the value is empty; nothing was stored", hint="--allow-empty stores it")
    if rotation_id:
        return _answer(options, name, rotation_id, value, alone=not if_version)
    condition = ABSENT if if_version == "absent" else if_version
    made = f" ({policy})" if policy else ""
    with opened(options) as store:
        if options.dry_run:
            _rehearse(options, store, name, condition)
            return None
        version = store.put(name, value, if_version=condition)
    facts = {"generated": str(policy), "entropy_bits": round(policy.entropy_bits, 1)} if policy else {}
    document = {"name": name, "version": version.id, "created_at": version.created_at, **facts}
    report(options, document, f"stored {name} as version {version.id}{made}")
    return None


def _answer(options: Options, name: str, rotation_id: str, value: SecretValue, *, alone: bool) -> int:
    """Bring what a rotation waits for; it is current only once it was tested."""
    from .answering import answer

    if not alone:
        hint = "leave --if-version away: the rotation knows which version is current"
        raise InvalidRequestError("--rotation and --if-version exclude each other", hint=hint)
    return answer(options, name, rotation_id, value)


def _refuse_value_in_argv() -> None:
    # click's own message would print the value once more.
    raise InvalidRequestError(
        "put takes one name; other processes and the shell history can read a value on the command line",
        operation="put",
        hint="pipe the value in; if what you typed is in use, change it",
    )


def _rehearse(options: Options, store: SecretStore, name: str, condition: str | Absent | None) -> None:
    current = current_version(store, name)
    if (condition is ABSENT and current) or (isinstance(condition, str) and condition != current):
        raise SecretConflictError("--if-version would not hold", operation="put", name=name)
    will = f"would replace version {current} of {name}" if current else f"would create {name}"
    report(options, {"name": name, "dry_run": True, "replaces": current}, will)


def current_version(store: SecretStore, name: str) -> str | None:
    """The id of the current version, without the value where the store can tell; None if there is none."""
    from strongroom.backend import Stage

    try:
        if Capability.VERSIONS not in store.capabilities:
            return store.get(name).version
        return next((v.id for v in store.versions(name) if Stage.CURRENT in v.stages), None)
    except SecretNotFoundError:
        return None


@click.command(short_help="set or remove tags")
@click.argument("name")
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove this tag; may be given again.")
@changing
@pass_options
def tag(options: Options, name: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Set tags of NAME, or remove them. Tags are not secret: providers show and log them."""
    changes: dict[str, str | None] = dict.fromkeys(remove)
    for text in tags:
        key, mark, value = text.partition("=")
        if not mark or not key:
            raise InvalidRequestError("a tag reads KEY=VALUE", operation="tag", name=name)
        changes[key] = value
    if not changes:
        raise InvalidRequestError(
            "no tags given", operation="tag", name=name, hint="KEY=VALUE or --remove KEY"
        )
    with opened(options) as store:
        if not options.dry_run:
            store.set_tags(name, changes)
    verb = "would change" if options.dry_run else "changed"
    document = {"name": name, "tags": changes, "dry_run": options.dry_run}
    report(options, document, f"{verb} {len(changes)} tag{'s' * (len(changes) > 1)} of {name}")
