"""The files of tests/vectors, read as their README says."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "vectors"


@dataclass(frozen=True)
class Vector:
    """One scenario; `plaintext` is None where the message must be refused."""

    name: str
    kek: bytes
    key_name: str
    namespace: str
    context: dict[str, str]
    bindings: dict[str, str]
    plaintext: bytes | None
    message: bytes


def read(path: Path) -> Vector:
    """The scenario in a file."""
    head, _, body = path.read_text().partition("\n\n")
    says = dict(line.split(": ", 1) for line in head.splitlines())
    assert says["expect"] in ("success", "integrity failure")
    return Vector(
        path.stem,
        bytes.fromhex(says["kek"]),
        says["key-name"],
        says.get("namespace", "strongroom-local"),
        json.loads(says["context"]),
        json.loads(says.get("bindings", "{}")),
        bytes.fromhex(says.get("plaintext", "")) if says["expect"] == "success" else None,
        base64.b64decode(body),
    )


VECTORS = [read(path) for path in sorted(FOLDER.glob("*.txt"))]
