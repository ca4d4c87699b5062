"""What keeps a background worker from its work, where other processes can read it: `check` does."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from .record import stamp

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


def tell(file: Path, trouble: str | None, now: datetime) -> None:
    """Say what is wrong, since when; None: nothing is. A disk that refuses this, too, is told elsewhere."""
    with contextlib.suppress(OSError):
        if trouble is None:
            file.unlink(missing_ok=True)
        elif trouble != told(file):
            draft = file.with_name(f".{file.name}.{os.urandom(4).hex()}")
            try:
                draft.write_text(json.dumps({"since": stamp(now), "trouble": trouble}))
                draft.chmod(0o600)
                draft.replace(file)
            finally:
                draft.unlink(missing_ok=True)


def told(file: Path) -> str | None:
    """What is wrong, if anything is."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(file.read_bytes())["trouble"])
    return None
