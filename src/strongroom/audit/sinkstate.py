"""How far a sink has come in the journal, as it is kept beside it."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .reading import Cursor, Cursors, Reader
from .segments import segment_name, segment_numbers

if TYPE_CHECKING:
    from strongroom.errors import SecretStoreError


@dataclass
class State:
    """What is known of a sink's progress.

    Attributes:
        cursors: behind what the receiver has, or what was given up.
        hosts: where the writer of each chain runs, at its cursor.
        sent: records that it took, over all time.
        skipped: records that were given up, over all time.
        last: when it last took something.
        behind: bytes of the journal that it does not have.
        error: why the last attempt failed; None when it did not.
        holder: whether this process does the sending.
    """

    cursors: Cursors = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    skipped: int = 0
    last: str | None = None
    behind: int = 0
    error: SecretStoreError | None = None
    holder: bool = False


def behind(reader: Reader, cursors: Cursors) -> int:
    """Bytes of the journal after the cursors."""
    return sum(pending(reader, chain, cursors.get(chain, Cursor())) for chain in reader.chains())


def pending(reader: Reader, chain: str, cursor: Cursor) -> int:
    """Bytes of one chain after the cursor."""
    folder = reader.path / "chains" / chain
    later = [number for number in segment_numbers(folder) if number >= cursor.segment]
    sizes = {number: (folder / segment_name(number)).stat().st_size for number in later}
    return sum(sizes.values()) - min(cursor.offset, sizes.get(cursor.segment, 0))


def load(folder: Path) -> State:
    """The state kept in a sink's folder; where it is damaged all is sent again, by the same ids."""
    state = State()
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        kept = json.loads((folder / "cursor.json").read_bytes())
        cursors = {str(chain): Cursor(*map(int, place)) for chain, place in kept["chains"].items()}
        hosts = {str(chain): str(host) for chain, host in kept["hosts"].items()}
        state = State(cursors, hosts, int(kept["sent"]), int(kept["skipped"]), kept["last"])
    return state


def save(folder: Path, state: State) -> None:
    """Keep the state, whole or not at all.

    It is synced before it takes the old one's name: some file systems would else have an empty file after a
    power cut, and a journal of years would be sent again.
    """
    kept = {"v": 1, "chains": state.cursors, "hosts": state.hosts, "sent": state.sent}
    kept |= {"skipped": state.skipped, "last": state.last}
    draft = folder / "cursor.tmp"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        rest = json.dumps(kept).encode()
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(folder / "cursor.json")
