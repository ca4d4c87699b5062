"""What an apply was about to write when it was killed, so that the next one knows its own work again.

Terraform tells a provider nothing that lasts from a killed apply to the next: of what was written then, state
knows nothing. A note in Terraform's own data folder does. It names the secret and the version, never a value;
where that folder does not last, the next apply takes what was written for somebody else's, which is safe.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final


@dataclass(frozen=True, slots=True)
class Note:
    """One write that state may not know of.

    Attributes:
        secret: the secret's reference.
        wanted: the ``value_wo_version`` that it was written for.
        base: the version that was to be current before it; None for a first one.
        written: the version that it made; None where the write was killed, or its answer lost.
    """

    secret: str
    wanted: str
    base: str | None
    written: str | None = None


@final
class Unfinished:
    """The notes of one working folder, one for each secret.

    Args:
        folder: where they lie; Terraform's data folder if not said.
    """

    def __init__(self, folder: Path | None = None):
        self._folder = folder or Path(os.environ.get("TF_DATA_DIR") or ".terraform") / "strongroom"

    def keep(self, note: Note) -> None:
        """Write it down, in place of an older one of its secret; a folder that takes none is no error."""
        path = self._path(note.secret)
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = path.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps(asdict(note)))
            beside.replace(path)

    def of(self, secret: str) -> Note | None:
        """The note of a secret; None too for one that cannot be read."""
        with suppress(OSError, ValueError, TypeError):
            note = Note(**json.loads(self._path(secret).read_text()))
            return note if note.secret == secret else None
        return None

    def forget(self, secret: str) -> None:
        """State knows; again does nothing."""
        with suppress(OSError):
            self._path(secret).unlink()

    def _path(self, secret: str) -> Path:
        return self._folder / f"{hashlib.sha256(secret.encode()).hexdigest()[:32]}.json"
