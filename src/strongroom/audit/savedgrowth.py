"""What a checkpointer remembers between processes, so that the next need not read the journal from its start.

It is a hint and never believed: its tree must have the root of the checkpoint it was saved with, its sum must
be right, and each chain's next record must name the one that it remembers as the last.
"""

from __future__ import annotations

import contextlib
import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from .growth import Growth, Place
from .reading import Cursor
from .tree import Frontier

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "checkpoint.state"


def save(growth: Growth, noted: int, name: str = NAME) -> None:
    """Remember a tree.

    Args:
        noted: where its checkpoint begins in the checkpoints: who restores compares that one again.
        name: of the file, within the journal.
    """
    state = {
        "v": 1,
        "size": growth.tree.size,
        "peaks": [peak.hex() for peak in growth.tree.peaks],
        "ordered": growth.ordered,
        "noted": noted,
        "places": {chain: [*place.cursor, place.prev] for chain, place in growth.places.items()},
    }
    target = growth.path / name
    draft = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    with contextlib.suppress(OSError):  # without it the next start takes longer, and that is all
        try:
            draft.write_text(json.dumps({"state": state, "sum": _sum(state)}, separators=(",", ":")))
            draft.chmod(0o600)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


def restore(path: Path, name: str = NAME) -> Growth | None:
    """The tree that was remembered for the journal in a folder; None if there is none that is whole."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        saved = json.loads((path / name).read_bytes())
        if saved["sum"] == _sum(saved["state"]) and saved["state"]["v"] == 1:
            return _growth(path, saved["state"])
    return None


def _growth(path: Path, state: dict[str, Any]) -> Growth:
    growth = Growth(path)
    growth.tree = Frontier(state["size"], [bytes.fromhex(peak) for peak in state["peaks"]])
    growth.ordered, growth.noted = state["ordered"], state["noted"]
    growth.places = {
        chain: Place(Cursor(segment, offset, seq), prev)
        for chain, (segment, offset, seq, prev) in state["places"].items()
    }
    return growth


def _sum(state: object) -> str:
    return sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
