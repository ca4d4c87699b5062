"""The checkpoints that a journal is held against: its own, in order, and the anchors kept elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from strongroom.errors import InvalidRequestError

from .verify_files import MAX_LINE, lines, names, read_small, size_of
from .verify_note import Checkpoint, MalformedNoteError, cosigned_by, parse_checkpoint, signed_by
from .verify_report import Finding, Kind, Witnessed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from .verify_note import VerifierKey

OWN: Final = "checkpoints.jsonl"


class Mark(NamedTuple):
    """A checkpoint to hold the tree against.

    Attributes:
        size: how many records it covers.
        root: the root of the tree over them.
        where: file and line.
        time: when it was made, as the writer says (it is not signed); empty for an anchor.
        anchor: whether it was kept elsewhere.
    """

    size: int
    root: bytes
    where: str
    time: str = ""
    anchor: bool = False


class Judge:
    """Reads notes; those that may not be held against the tree become findings.

    Attributes:
        origin: what the journal's checkpoints call it.
        keyed: whether a signing key was given, so that what is let through is signed.
        refused: how many notes were not let through.
        witnessed: for each witness whose key was given, its newest cosignature.
    """

    def __init__(self, origin: str, keys: Sequence[VerifierKey], tell: Callable[[Finding], None]):
        self.refused = 0
        self.witnessed: dict[str, Witnessed] = {}
        self.origin, self._tell = origin, tell
        self._keys = [key for key in keys if not key.witness]
        self._witnesses = [key for key in keys if key.witness]
        self.keyed = bool(self._keys)

    def mark(self, note: object, where: str, *, time: str = "", anchor: bool = False) -> Mark | None:
        """The mark that a note sets; None if it sets none."""
        try:
            checkpoint = parse_checkpoint(note if isinstance(note, str) else "")
        except MalformedNoteError as error:
            self.refuse(Kind.BAD_SIGNATURE, f"it is no checkpoint: {error}", where)
            return None
        if self._keys and not signed_by(checkpoint, self._keys):
            detail = f"none of the given keys signed the checkpoint over {checkpoint.size} records"
            self.refuse(Kind.BAD_SIGNATURE, detail, where)
            return None
        if checkpoint.origin != self.origin:
            detail = f"the checkpoint is of the journal {checkpoint.origin!r}, this one is {self.origin!r}"
            self.refuse(Kind.SPLICED, detail, where)
            return None
        self._witness(checkpoint)
        return Mark(checkpoint.size, checkpoint.root, where, time, anchor)

    def refuse(self, kind: Kind, detail: str, where: str) -> None:
        """Tell why what stands there is no checkpoint to go by."""
        self.refused += 1
        self._tell(Finding(kind, detail, where=where))

    def _witness(self, checkpoint: Checkpoint) -> None:
        for key in self._witnesses:
            time = cosigned_by(checkpoint, key)
            known = self.witnessed.get(key.name)
            if time is not None and (known is None or checkpoint.size >= known.size):
                self.witnessed[key.name] = Witnessed(key.name, checkpoint.size, time)


def own_marks(path: Path, judge: Judge) -> Iterator[Mark]:
    """The journal's own checkpoints that count, in order and with growing sizes; one at a time.

    Those that are made meanwhile are not told: what they cover may be written after it was looked for.
    """
    last: Mark | None = None
    for line in lines(path / OWN, size_of(path / OWN)):
        where = f"{OWN}:{line.number}"
        entry = json_object(line.text)
        if not line.whole:
            continue  # the writer is at work, or was cut off; a checkpoint lost so is told by the anchors
        if entry.keys() != {"time", "note"} or not isinstance(entry["time"], str):
            judge.refuse(Kind.ALTERED, "the line is no checkpoint", where)
            continue
        mark = judge.mark(entry["note"], where, time=entry["time"])
        if mark is None:
            continue
        if last and mark.size < last.size:
            detail = f"it covers {mark.size} records, the one before {last.size}"
            judge.refuse(Kind.REORDERED, detail, where)
            continue
        if not last or (mark.size, mark.root) != (last.size, last.root):
            yield mark  # the same once more is the one that a witness cosigned
        last = mark


def anchor_marks(anchors: Sequence[Path], journal: Path | None, judge: Judge) -> list[Mark]:
    """The checkpoints in files and folders kept elsewhere, smallest first.

    A file holds one note, or JSON lines with a ``note`` each. A folder may hold the anchors of several
    journals, each in a folder named by its origin, ``_2F`` for a slash; then only this journal's are read.

    Raises:
        InvalidRequestError: one of them is not there, or lies in the journal itself.
    """
    folders = [_folder(anchor, judge.origin) for anchor in anchors]
    found = [mark for anchor in folders for file in _files(anchor, journal) for mark in _read(file, judge)]
    return sorted(found, key=lambda mark: mark.size)


def _folder(anchor: Path, origin: str) -> Path:
    quoted = quote(origin, safe="", errors="replace").replace("_", "%5F").replace("~", "%7E")
    name = (quoted if origin.strip(".") else quoted.replace(".", "%2E")).replace("%", "_")
    # Looked up, not opened: a damaged origin may be longer than any file's name.
    return anchor / name if name in names(anchor) else anchor


def _files(anchor: Path, journal: Path | None) -> Iterator[Path]:
    if journal and anchor.resolve().is_relative_to(journal.resolve()):
        hint = "an anchor is a copy that the journal's writer cannot change"
        raise InvalidRequestError("an anchor may not come out of the journal itself", hint=hint)
    if not anchor.exists():
        raise InvalidRequestError(f"there is no anchor {str(anchor)!r}")
    if not anchor.is_dir():
        yield anchor
    for name in names(anchor):
        inner = anchor / name
        if not name.startswith(".") and (inner.is_file() or (inner.is_dir() and not inner.is_symlink())):
            yield from _files(inner, journal)


def _read(file: Path, judge: Judge) -> Iterator[Mark]:
    first = next(lines(file), None)
    if first and "note" in json_object(first.text):
        entries = [(line.number, json_object(line.text)) for line in lines(file) if line.whole]
        marks = [judge.mark(entry.get("note"), f"{file}:{at}", anchor=True) for at, entry in entries]
    else:
        marks = [judge.mark(_text(read_small(file)), str(file), anchor=True)]
    yield from (mark for mark in marks if mark)


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object of a line; an empty one if it holds none, or a key twice."""
    try:
        found = json.loads(text, object_pairs_hook=_once) if len(text) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key that stands twice could be read as one or the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
