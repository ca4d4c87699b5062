"""``audit verify``, ``prove``, ``check-proof`` and ``checkpoint``: that a journal is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.errors import InvalidRequestError

from .failure import one_line
from .options import Options, changing, common, configuration, pass_options
from .output import print_json, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.audit.verify_report import Report
    from strongroom.keys import Signer

_KEYS = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY|FILE",
    help="A key that signs checkpoints, name+id+base64, or a file of them; repeatable.",
)


@click.command(short_help="check a whole journal, offline, with public keys alone")
@click.argument("path", required=False, type=click.Path())
@_KEYS
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(),
    help="Checkpoints that were kept elsewhere; repeatable.",
)
@common
@click.pass_context
@pass_options
def verify(
    options: Options, ctx: click.Context, path: str | None, keys: tuple[str, ...], anchors: tuple[str, ...]
) -> None:
    """Verify the journal in PATH, a copy of it, or the configured one, without any network or private key.

    Told are the first bad record and what was done to it: altered, missing, inserted, duplicated, reordered,
    truncated, segment missing, forked, spliced, bad signature, split view, unsigned gap. What no anchor
    covers is UNANCHORED: its end could have been cut off, or all of it replaced. Exit: 0 anchored and whole,
    7 broken, 10 unanchored.
    """
    from strongroom.audit.verify import verify as verified

    found = verified(_folder(options, path), read_keys(keys), anchors)
    if options.json:
        print_json(found.as_json())
    else:
        for line in list(_verdict(found))[: 1 if options.quiet else None]:
            click.echo(one_line(line))
    ctx.exit(found.exit_code)


def _verdict(found: Report) -> Iterator[str]:
    newer = found.records - found.anchored
    if found.first:
        yield f"BROKEN  {found.first}"
        yield from (f"also    {finding}" for finding in found.findings[1:])
        if found.more:
            yield f"also    {found.more} more"
    elif found.status == "unanchored":
        yield f"UNANCHORED  {_lack(found)}"
    else:
        yield f"ok  {found.anchored} records are as they were when they were anchored; {newer} are newer"
    yield from _facts(found)


def _lack(found: Report) -> str:
    if not found.keyed:
        return "no key was given (--key), so no checkpoint is worth more than the journal itself"
    return (
        "the records follow from one another, but nothing kept elsewhere was given (--anchor) that covers any"
    )


def _facts(found: Report) -> Iterator[str]:
    if found.origin:
        yield f"journal   {found.origin}: {found.records} records in {found.chains} chains"
    yield f"anchored  {found.anchored} records, by {found.anchors} checkpoints kept elsewhere"
    yield f"signed    {found.signed} records, by {found.checkpoints} checkpoints of its own"
    for witness in found.witnesses:
        yield f"witness   {witness.name} saw {witness.size} records at {_utc(witness.time)}"
    if found.gaps:
        yield f"gaps      {found.gaps} times operations went on unrecorded; strongroom audit show tells when"
    if found.recoveries:
        yield f"recovered {found.recoveries} times a writer was cut off in the middle of a line"
    yield from (f"note      {note}" for note in found.notes)


def _utc(seconds: int) -> str:
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"


def _folder(options: Options, path: str | None) -> Path:
    """The journal's folder, whatever is in it: that it is gone is for the verifier to say."""
    entry = None if path else configuration(options).audit
    if not path and not (entry and entry.path):
        hint = "name its folder, or configure one: [audit] journal in strongroom.toml"
        raise InvalidRequestError("no journal is named", hint=hint)
    return Path(path or (entry.path if entry else ""))


def read_keys(given: Sequence[str]) -> list[str]:
    """The verifier keys that options name, by themselves or in files with one on each line.

    Raises:
        InvalidRequestError: neither a key nor a file.
    """
    return [key for text in given for key in ([text] if text.count("+") >= 2 else _key_file(Path(text)))]


def _key_file(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        hint = "a key reads name+id+base64; strongroom audit checkpoint prints it"
        raise InvalidRequestError(f"{str(path)!r} is no verifier key, and no file that holds one", hint=hint)
    return found


@click.command(short_help="sign what the journal holds now")
@click.argument("path", required=False, type=click.Path())
@click.option(
    "--signer", metavar="ALIAS|FILE", help="The key to sign with; else the configured [audit] checkpoint's."
)
@click.option(
    "--new-key",
    metavar="FILE",
    type=click.Path(),
    help="Make an Ed25519 key in a new file, and sign with it.",
)
@changing
@pass_options
def checkpoint(options: Options, path: str | None, signer: str | None, new_key: str | None) -> None:
    """Sign now what the journal in PATH, or the configured one, holds; print the key that verifies it.

    Keep that key, and copies of the checkpoints, where the journal's writer cannot reach them: they are what
    `strongroom audit verify` is given. A key in a file is for machines without a KMS or an HSM: who can read
    it can sign another history, which only earlier anchors then disprove.
    """
    from strongroom.audit.journal import origin_of

    folder = _folder(options, path)
    origin = origin_of(folder)
    if options.dry_run:
        report(options, {"journal": str(folder), "origin": origin, "dry_run": True}, f"would sign {origin}")
        return
    if new_key:
        from strongroom.audit.notekey import create_note_key

        create_note_key(new_key, origin)
    _sign(options, folder, signer or new_key)


def _sign(options: Options, folder: Path, signer: str | None) -> None:
    from strongroom.audit.checkpoint import Checkpointer

    opened = _signer(options, signer)
    try:
        maker = Checkpointer(folder, opened)
        made, key = maker.checkpoint(), str(maker.key)
    finally:
        opened.close()
    size = made.size if made else 0
    document = {"journal": str(folder), "size": size, "key": key, "note": made.note if made else None}
    report(options, document, f"{size} records are signed; the key that verifies it: {key}")


def _signer(options: Options, named: str | None) -> Signer:
    """The signing key: an alias of strongroom.toml, or the file of a key."""
    from strongroom.audit.notekey import FileSigner
    from strongroom.config import reach
    from strongroom.registry import open_signer

    config = configuration(options)
    entry = config.audit.checkpoint if config.audit else None
    target = named or (entry.signer if entry else None)
    if target is None:
        hint = "name one with --signer, or make one with --new-key"
        raise InvalidRequestError("no key is named to sign with", hint=hint)
    if target not in config.keys and ":" not in target:
        return FileSigner.open(target)
    found = config.key(target)
    return open_signer(found.url, reach(found, config))  # signing the journal is no entry in it
