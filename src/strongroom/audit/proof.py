"""The proof of one record for a third party, who needs nothing of the journal but this one file and a key.

::

    {"v": 1, "origin": "…", "id": "CHAIN:SEQ", "record": "the record's line",
     "index": 17, "inclusion": ["base64", …], "checkpoint": "the signed note",
     "older": {"checkpoint": "an older signed note", "consistency": ["base64", …]}}

`inclusion` is the audit path from the record's leaf to the checkpoint's root (RFC 6962 section 2.1.1), lowest
first; `consistency` proves that the checkpoint's tree begins with the older one's (section 2.1.2). `older` is
there if it was asked for: a checkpoint that the third party kept, and so knows to be of its time.
"""

from __future__ import annotations

import base64
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError, InvalidRequestError, SecretNotFoundError

from .growth import ORDER, Growth, Run
from .head import Checkpoint, newest
from .linefile import LineFile
from .reading import Reader
from .record import leaf_hash
from .tree import consistency_proof, inclusion_proof

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

VERSION: Final = 1
_ID: Final = re.compile(r"([0-9a-f]{32}):(0|[1-9][0-9]{0,17})", re.ASCII)


def prove(path: Path, record: str, *, older: str | None = None) -> dict[str, Any]:
    """The proof that a record is in the journal's newest checkpoint; memory does not grow with the journal.

    Args:
        path: the journal's folder.
        record: its id, ``CHAIN:SEQ``.
        older: the signed note of an older checkpoint, which the newest is to be proved to extend.

    Raises:
        InvalidRequestError: no record's id; or no checkpoint covers it yet, or there is none.
        SecretNotFoundError: there is no such record.
        IntegrityError: the journal does not give the trees of its checkpoints: it was changed.
    """
    chain, seq = _parsed(record)
    checkpoint, line = newest(path), _line(path, chain, seq)
    index = _index(path, chain, seq)
    if checkpoint is None or index is None or index >= checkpoint.size:
        raise InvalidRequestError(
            f"no checkpoint covers {record} yet", hint="strongroom audit checkpoint makes one now"
        )
    growth = Growth(path)
    leaves = _checked(growth.grow(checkpoint.size), index, leaf_hash(line))
    inclusion = inclusion_proof(index, checkpoint.size, leaves)
    _exhaust(leaves)
    _same(growth, checkpoint)
    proof = {
        "v": VERSION,
        "origin": checkpoint.origin,
        "id": record,
        "record": line.decode("ascii"),
        "index": index,
        "inclusion": _texts(inclusion),
        "checkpoint": checkpoint.note,
    }
    return proof if older is None else proof | {"older": _extends(path, Checkpoint.parse(older), checkpoint)}


def _extends(path: Path, older: Checkpoint, checkpoint: Checkpoint) -> dict[str, Any]:
    if older.origin != checkpoint.origin or older.size > checkpoint.size:
        raise InvalidRequestError("the older checkpoint is not an older one of this journal")
    growth = Growth(path)
    _exhaust(growth.grow(older.size))
    _same(growth, older)
    proof = consistency_proof(growth.tree, checkpoint.size, growth.copy().leaves())
    return {"checkpoint": older.note, "consistency": _texts(proof)}


def _parsed(record: str) -> tuple[str, int]:
    match = _ID.fullmatch(record)
    if match is None:
        raise InvalidRequestError("this is not a record's id", hint="it reads CHAIN:SEQ, see audit show")
    return match[1], int(match[2])


def _line(path: Path, chain: str, seq: int) -> bytes:
    found = next((line for line in Reader(path).chain(chain) if line.seq == seq), None)
    if found is None:
        raise SecretNotFoundError("there is no such record in the journal")
    return found.data


def _index(path: Path, chain: str, seq: int) -> int | None:
    """The record's place among the leaves."""
    before = 0
    for _, fields in LineFile(path / ORDER).read():
        run = Run.of(fields)
        if run.chain == chain and run.first <= seq < run.first + run.count:
            return before + seq - run.first
        before += run.count
    return None


def _checked(leaves: Iterator[bytes], index: int, leaf: bytes) -> Iterator[bytes]:
    yield from islice(leaves, index)
    for found in islice(leaves, 1):
        if found != leaf:
            raise IntegrityError("the record in the tree is another one", hint="see strongroom audit verify")
        yield found
    yield from leaves


def _exhaust(leaves: Iterable[bytes]) -> None:
    for _ in leaves:
        pass


def _same(growth: Growth, checkpoint: Checkpoint) -> None:
    if growth.tree.root() != checkpoint.root:
        raise IntegrityError(
            f"the journal does not give the checkpoint of {checkpoint.size} records",
            hint="strongroom audit verify says where they differ",
        )


def _texts(hashes: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(each).decode() for each in hashes]
