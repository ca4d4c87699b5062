"""What the processes of one test run share: a private folder, and short notes left in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "STRONGROOM_TEST_SESSION"


def folder() -> Path | None:
    """The run's private folder; None outside a test run (a server started by hand, a bench)."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def note(kind: str, **facts: object) -> None:
    """Leave a note for the process that reports: one short O_APPEND write, so that lines never mix."""
    home = folder()
    if home is None:
        return
    with (home / f"{kind}.notes").open("a") as file:
        file.write(json.dumps(facts) + "\n")


def notes(kind: str) -> list[dict[str, str]]:
    """Every note of this kind left so far, by whichever process, each once."""
    home = folder()
    path = home / f"{kind}.notes" if home else None
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in dict.fromkeys(path.read_text().splitlines())]
