"""``audit verify``, ``prove``, ``check-proof`` and ``checkpoint``: that a journal is as it was written."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.errors import InvalidRequestError, SecretConflictError, SecretStoreError, UnavailableError

from .failure import one_line
from .options import Options, changing, common, configuration, pass_options
from .output import on_terminal, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.audit.checkpoint import Checkpointer
    from strongroom.audit.head import Checkpoint
    from strongroom.audit.verify_proof import ProofReport
    from strongroom.audit.verify_report import Report
    from strongroom.clock import Clock
    from strongroom.keys import Signer

_PATIENCE = 10.0
"""Seconds that `audit checkpoint` waits for its anchors."""

_KEYS = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY|FILE",
    help="A key that signs checkpoints, name+id+base64, or a file of them; repeatable.",
)


_ANCHORS = click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(),
    help="Checkpoints that were kept elsewhere; repeatable.",
)


@click.command(short_help="check a whole journal, offline, with public keys alone")
@click.argument("path", required=False, type=click.Path())
@_KEYS
@_ANCHORS
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
        _print_ascii(found.as_json())
    else:
        for line in list(_verdict(found))[: 1 if options.quiet else None]:
            click.echo(one_line(line))
    ctx.exit(found.exit_code)


def _print_ascii(document: Mapping[str, object]) -> None:
    """In ASCII: what stands in the files of a stranger could drive a terminal, or not be text at all."""
    click.echo(json.dumps(document, indent=2 if on_terminal() else None))


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


@click.command(short_help="write the proof of one record, for a third party")
@click.argument("record")
@click.option("--journal", metavar="PATH", type=click.Path(), help="The journal; else the configured one.")
@click.option(
    "--older",
    metavar="FILE",
    type=click.Path(),
    help="A checkpoint that the third party kept, to be extended.",
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(), help="Write to a new file, not to stdout.")
@common
@pass_options
def prove(options: Options, record: str, journal: str | None, older: str | None, output: str | None) -> None:
    """Prove that a record is in the journal to somebody who has not got the journal.

    RECORD is CHAIN:SEQ, as `audit show` tells it; a beginning of the chain's name is enough. The proof is one
    JSON file with the record, a checkpoint and the hashes between them; it gives away nothing else of the
    journal. `strongroom audit check-proof` checks it with the public key alone.
    """
    from strongroom.audit.proof import prove as proved

    folder, note = _folder(options, journal), _text(Path(older)) if older else None
    text = json.dumps(proved(folder, _whole_id(folder, record), older=note), indent=2)
    if output is None:
        click.echo(text)
        return
    _create(Path(output), text + "\n")
    report(options, {"record": record, "proof": output}, f"the proof of {record} is in {output}")


def _whole_id(folder: Path, record: str) -> str:
    """The record's id with the whole name of its chain, if there is one that begins so."""
    beginning, _, seq = record.partition(":")
    found = [path.name for path in (folder / "chains").glob("*") if path.name.startswith(beginning)]
    return f"{found[0]}:{seq}" if len(found) == 1 and beginning else record


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        pass
    raise InvalidRequestError(f"{str(path)!r} cannot be read", hint="name the file of a checkpoint's note")


def _create(path: Path, text: str) -> None:
    try:
        with path.open("x") as file:
            file.write(text)
        return
    except FileExistsError:
        failure: SecretStoreError = SecretConflictError(f"there is a file {str(path)!r} already")
    except OSError as exc:
        failure = UnavailableError(f"{str(path)!r} cannot be written ({exc.strerror})")
    raise failure


@click.command("check-proof", short_help="check such a proof; needs no journal")
@click.argument("file", type=click.Path())
@_KEYS
@_ANCHORS
@common
@click.pass_context
@pass_options
def check_proof(
    options: Options, ctx: click.Context, file: str, keys: tuple[str, ...], anchors: tuple[str, ...]
) -> None:
    """Check the proof of one record in FILE, offline, with the public key of its journal.

    With --anchor, a checkpoint kept from before, also that the key signed no other history of its size. Exit:
    0 proved, 7 broken, 10 unverified, since no key was given.
    """
    from strongroom.audit.verify_proof import check_proof as checked

    found = checked(file, read_keys(keys), anchors)
    if options.json:
        _print_ascii(found.as_json())
    else:
        for line in list(_proved(found))[: 1 if options.quiet else None]:
            click.echo(one_line(line))
    ctx.exit(found.exit_code)


def _proved(found: ProofReport) -> Iterator[str]:
    yield from (f"BROKEN  {finding}" for finding in found.findings)
    if found.status == "unverified":
        yield "UNVERIFIED  no key was given (--key): whoever wrote the file could have signed it too"
    elif found.status == "ok":
        yield f"ok  record {found.id} is number {found.index} of {found.size} in the journal {found.origin}"
    if found.status != "broken":
        yield f"record    {json.dumps(found.record)}"
    if found.older is not None:
        yield f"older     it extends the checkpoint over {found.older} records"
    if found.anchored:
        yield "anchored  one of its checkpoints is among those that were kept"


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
    `strongroom audit verify` is given. The configured exports are sent it at once. A key in a file is for
    machines without a KMS or an HSM: who can read it can sign another history, which only earlier anchors
    then disprove.
    """
    from strongroom.audit.journal import origin_of

    folder = _folder(options, path)
    if new_key and not options.dry_run:
        _begin(options, folder)
    origin = origin_of(folder)
    if options.dry_run:
        report(options, {"journal": str(folder), "origin": origin, "dry_run": True}, f"would sign {origin}")
        return
    if new_key:
        from strongroom.audit.notekey import create_note_key

        create_note_key(new_key, origin)
    made, key, failed = _sign(options, folder, signer or new_key)
    size, note = (made.size, made.note) if made else (0, None)
    document = {"journal": str(folder), "size": size, "key": key, "note": note}
    # A file of keys skips the first line, so that what is printed here is one.
    report(options, document, f"# {size} records are signed; this key verifies it:")
    if not options.json:
        click.echo(key)
    if failed:
        raise failed


def _begin(options: Options, folder: Path) -> None:
    """Make the journal if there is none: a key is made before the first program runs that it audits."""
    from strongroom.audit.journal import Journal

    entry = configuration(options).audit
    if entry and entry.path and Path(entry.path).resolve() == folder.resolve():
        Journal.open(folder, origin=entry.origin or None).close()


def _sign(
    options: Options, folder: Path, signer: str | None
) -> tuple[Checkpoint | None, str, SecretStoreError | None]:
    """The checkpoint, the key that verifies it, and why an anchor has not got it, if one has not."""
    from strongroom.audit.checkpoint import Checkpointer
    from strongroom.auditing import exports_of
    from strongroom.clock import Clock

    clock, entry = Clock(), configuration(options).audit
    ours = entry and entry.checkpoint and Path(entry.path).resolve() == folder.resolve()
    exports = exports_of(entry.checkpoint, clock) if ours and entry and entry.checkpoint else []
    with (
        closing(_signer(options, signer)) as opened,
        closing(Checkpointer(folder, opened, exports=exports, clock=clock)) as maker,
    ):
        made, key = maker.checkpoint(), str(maker.key)
        return made, key, _lag(maker, clock)


def _lag(maker: Checkpointer, clock: Clock) -> SecretStoreError | None:
    """Why an anchor has not got the newest checkpoint, after a while."""
    until = clock.monotonic() + _PATIENCE
    while True:
        behind = [export for export in maker.status()["exports"] if export["behind"]]
        if not behind:
            return None
        if all(export["error"] for export in behind) or clock.monotonic() >= until:
            name, why = behind[0]["name"], behind[0]["error"] or "it takes long"
            hint = "the next checkpoint covers this one; strongroom check tells how far each is behind"
            return UnavailableError(f"{name} has not got the checkpoint: {why}", hint=hint)
        clock.sleep(0.05)


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
