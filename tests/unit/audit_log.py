"""A journal with a key, for tests of what is signed over it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strongroom.audit.anchors import Export
from strongroom.audit.checkpoint import Checkpointer
from strongroom.audit.head import Checkpoint
from strongroom.audit.journal import Journal
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.audit.verify import verify
from strongroom.audit.verify_report import Report

ORIGIN = "example.com/log"


class Log:
    """A journal in `folder`, and everything that was ever signed over it.

    Attributes:
        path: the journal's folder.
        signer: its key.
    """

    def __init__(self, folder: Path):
        self.path, self._kept = folder / "journal", folder / "kept.jsonl"
        create_note_key(folder / "audit.key", ORIGIN)
        self.signer = FileSigner.open(folder / "audit.key")
        self.journal = Journal.open(self.path, origin=ORIGIN)

    def write(self, count: int = 5, journal: Journal | None = None) -> list[str]:
        """Append so many records; their ids."""
        into = journal or self.journal
        fields = {"kind": "event", "phase": "intent", "op": "get", "name": "db/password"}
        return [into.append(fields) for _ in range(count)]

    def checkpointer(self, exports: Sequence[Export] = (), **options: Any) -> Checkpointer:
        """A new one, as another process would have."""
        return Checkpointer(self.path, self.signer, exports=exports, **options)

    def sign(self) -> Checkpoint:
        """A checkpoint over what there is, kept elsewhere."""
        made = self.checkpointer().checkpoint()
        assert made is not None
        self.keep(made)
        return made

    def keep(self, checkpoint: Checkpoint) -> None:
        """Remember what was signed."""
        with self._kept.open("ab") as file:
            file.write(checkpoint.line())

    def notes(self) -> list[dict[str, Any]]:
        """The lines of the journal's own checkpoints."""
        file = self.path / "checkpoints.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def verified(self, *anchors: Path) -> Report:
        """The verifier's word, held against everything that was kept."""
        kept = [self._kept] if self._kept.exists() else []
        return verify(self.path, [str(self.signer.note_key)], [*kept, *anchors])
