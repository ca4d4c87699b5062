"""``get``, ``list``, ``show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.backend import Capability, Stage
from strongroom.errors import InvalidRequestError
from strongroom.references import Reference, is_reference, part

from .failure import one_line
from .options import Options, common, opened, pass_options
from .output import day, on_terminal, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.backend import Secret, SecretInfo, SecretVersion
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

_FACTS = (
    "name",
    "version",
    "stage",
    "origin",
    "created_at",
    "confirmed_at",
    "stale",
    "degraded",
    "behind",
    "audit_degraded",
)


@click.command(short_help="print one value")
@click.argument("ref")
@click.option("--version", metavar="ID", help="That version instead of the current one.")
@click.option("--stage", type=click.Choice(["current", "previous"]), help="That stage instead of current.")
@click.option("--pointer", metavar="/PATH", help="The part of a JSON value that an RFC 6901 pointer names.")
@click.option("--reveal", is_flag=True, help="Allow a value on a terminal.")
@common
@pass_options
def get(
    options: Options, ref: str, version: str | None, stage: str | None, pointer: str | None, reveal: bool
) -> None:
    """Print the value of REF: a name, or strongroom://ALIAS/NAME[?version=ID][#/json/pointer].

    In a pipe the bytes come out exactly as they are, with no newline added. On a terminal, where they would
    stay on the screen, --reveal is needed.
    """
    if on_terminal() and not reveal:
        raise InvalidRequestError(
            "stdout is a terminal", hint="add --reveal to show the value on it, or pipe it"
        )
    reference = Reference.parse(ref) if is_reference(ref) else Reference("", ref)
    version, pointer = reference.version or version, reference.pointer or pointer
    if version and stage:
        raise InvalidRequestError("--version and --stage exclude each other")
    with opened(options, reference.alias or None) as store:
        secret = store.get(reference.name, version=version, stage=Stage(stage or "current"))
    if not options.quiet and not options.json:
        _warn(secret)
    value = part(secret.value, pointer or "")
    if options.json:
        print_json({**_facts(secret), **_shown(value)})
    else:
        _print_value(value)


def _warn(secret: Secret) -> None:
    doubts = [doubt for doubt in ("stale", "degraded", "audit_degraded") if getattr(secret, doubt)]
    if secret.behind:
        doubts.append(f"behind by {secret.behind} or more writes")
    if doubts:
        click.echo(f"strongroom: this answer is {', '.join(doubts)} (see docs/guide.md)", err=True)


def _facts(secret: Secret) -> dict[str, Any]:
    return {fact: getattr(secret, fact) for fact in _FACTS}


def _shown(value: SecretValue) -> dict[str, str]:
    if value.kind == "text":
        return {"kind": "text", "value": value.reveal_text()}
    from base64 import b64encode

    return {"kind": "binary", "value_base64": b64encode(value.reveal()).decode()}


def _print_value(value: SecretValue) -> None:
    if on_terminal() and value.kind == "binary":
        raise InvalidRequestError("the value is binary", hint="pipe it into a file, or use --json for base64")
    click.echo(value.reveal(), nl=on_terminal())


@click.command("list", short_help="print names")
@click.argument("prefix", default="")
@common
@pass_options
def list_names(options: Options, prefix: str) -> None:
    """Print the names that begin with PREFIX, one a line; never values."""
    with opened(options) as store:
        names = store.list_names(prefix)
        if options.json:
            print_json({"names": list(names)})
            return
        for name in names:
            click.echo(name)


@click.command(short_help="print versions, stages and tags, never the value")
@click.argument("name")
@common
@pass_options
def show(options: Options, name: str) -> None:
    """Print what is known of NAME: tags, versions and stages, rotation, replicas. The value is not shown.

    A pending value is no version yet, and is not listed.
    """
    with opened(options) as store:
        info, versions = _known(store, name)
        origin = store.origin
    from .replicas import replicas_of  # `get` is in this file, and must load neither
    from .rotations import rotation_of

    rotation, copies = rotation_of(options, name), replicas_of(options, name)
    if options.json:
        print_json(_document(name, origin, info, versions) | {"rotation": rotation, "replicas": copies})
        return
    tags = dict(info.tags) if info else {}
    facts = {"name": name, "store": origin, "created": day(info.created_at) if info else ""}
    for label, text in {**facts, "tags": " ".join(f"{k}={v}" for k, v in sorted(tags.items()))}.items():
        click.echo(f"{label:<8} {text or '-'}")
    if rotation:
        click.echo(one_line(f"rotation {_rotation(rotation)}"))
    for copy in copies:
        click.echo(one_line(f"replica  {_replica(copy)}"))
    rows = [(v.id, _stages(v) or "-", day(v.created_at) or "-") for v in versions]
    print_table(("version", "stages", "created"), rows)


def _rotation(found: Mapping[str, Any]) -> str:
    if problem := found.get("problem"):
        return f"{found['label']}: {problem}"
    planned = "not planned yet" if found["every"] else "on request"
    last, coming = day(found["last"]) or "never", day(found["next"]) or planned
    return f"{found['label']}: {found['state'] or 'none yet'}, last {last}, next {coming}"


def _replica(copy: Mapping[str, Any]) -> str:
    if problem := copy.get("problem"):
        return f"{copy['replica']}: {problem}"
    behind = f", {copy['behind']} behind" if copy["behind"] else ""
    why = f": {copy['reason']}" if copy["reason"] else ""
    return f"{copy['replica']}: {copy['action']}{behind}{why}"


def _known(store: SecretStore, name: str) -> tuple[SecretInfo | None, list[SecretVersion]]:
    can = store.capabilities
    info = store.describe(name) if Capability.DESCRIBE in can else None
    if Capability.VERSIONS in can:
        return info, list(store.versions(name))
    if info and info.newest:
        return info, [info.newest]
    from strongroom.backend import SecretVersion

    # Where nothing else is offered, a read tells at least which version there is.
    secret = store.get(name)
    return info, [SecretVersion(secret.version, secret.created_at, frozenset({Stage.CURRENT}))]


def _document(
    name: str, origin: str, info: SecretInfo | None, versions: list[SecretVersion]
) -> dict[str, Any]:
    return {
        "name": name,
        "origin": origin,
        "created_at": info.created_at if info else None,
        "tags": dict(info.tags) if info else {},
        "versions": [{"id": v.id, "created_at": v.created_at, "stages": v.stages} for v in versions],
    }


def _stages(version: SecretVersion) -> str:
    return " ".join(sorted(stage.value for stage in version.stages))
