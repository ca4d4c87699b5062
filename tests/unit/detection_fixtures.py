"""What each shipped rule is shown; ``python -m`` this module writes it to tests/vectors/detections.

Each has a first week in which everybody does what they always do, which the engine learns, and then one thing
that should not happen. They are whole chains of a journal: copied into one they can be replayed anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.unit.detection_support import MONDAY, OFFICE, Scene

FOLDER: Final = Path(__file__).parents[1] / "vectors" / "detections"
SETTINGS: Final[dict[str, Any]] = {"calendar": OFFICE}
SECRETS: Final = [
    f"db/{name}" for name in ("ledger", "orders", "quotes", *(f"shard-{n:02}" for n in range(20)))
]
AFTER_LEARNING: Final = MONDAY + timedelta(days=14)


def _learned() -> Scene:
    """A week of work, and a second one that is like it; nobody reads many secrets at once."""
    scene = Scene()
    for day in range(14):
        scene.at(MONDAY + timedelta(days=day))
        for name in SECRETS[day::5] if day < 5 else ():
            scene.wait(minutes=20).reads("a11ce", name)
        scene.wait(minutes=5).warm("web", ("db/ledger", "v1", 3600), ("db/orders", "v1", 20))
    return scene.at(AFTER_LEARNING)


def _denied_burst() -> Scene:
    scene = _learned()
    for number in range(12):
        scene.wait(seconds=20).reads(
            "web", f"exchange/key-{number % 3}", outcome="PermissionDeniedError", version=""
        )
    return scene


def _distinct_secret_burst() -> Scene:
    scene = _learned()
    for name in SECRETS[:22]:
        scene.wait(seconds=15).reads("a11ce", name)
    return scene


def _first_seen_principal() -> Scene:
    scene = _learned()
    for _ in range(5):
        scene.wait(minutes=1).reads("web", "db/quotes")
    return scene


def _off_hours() -> Scene:
    scene = _learned().at(datetime(2026, 3, 22, 2, tzinfo=UTC))
    for _ in range(3):
        scene.wait(minutes=10).reads("a11ce", "db/ledger")
    return scene


def _previous_after_grace() -> Scene:
    scene = _learned()
    scene.rotates("rotator", "db/ledger", "v2")
    for _ in range(9):  # a cache, in its right; the last is 90 minutes after
        scene.wait(minutes=10).warm("web", ("db/ledger", "v1", 60))
    for _ in range(6):
        scene.wait(minutes=10).does("web", "get", "db/ledger", version="v1")
    return scene


def _use_after_revoke() -> Scene:
    scene = _learned()
    scene.rotates("rotator", "db/ledger", "v2")
    scene.wait(minutes=1).warm("web", ("db/ledger", "v1", 60))
    scene.wait(minutes=9).does("rotator", "rotation.revoke", "db/ledger", version="v1")
    for _ in range(3):
        scene.wait(minutes=5).reads("web", "db/ledger", "v2")
        scene.wait(minutes=5).warm("web", ("db/ledger", "v1", 60))
    return scene


def _secret_compromised() -> Scene:
    scene = _learned()
    for _ in range(3):  # a repeat does what was left
        scene.wait(minutes=5).does("a11ce", "revoke", "db/ledger", version="v1")
    return scene


def _replica_quarantined() -> Scene:
    scene = _learned()
    for _ in range(3):  # each sync finds it
        scene.wait(minutes=5).does("replicator", "replica.quarantine", "db/ledger")
    return scene


def _rotation_overdue() -> Scene:
    scene = _learned()
    scene.rotates("rotator", "db/ledger", "v2")
    for _ in range(93):
        scene.wait(days=1).warm("web", ("db/ledger", "v2", 3600))
    return scene


def _audit_gap() -> Scene:
    scene = _learned()
    since, until = (f"2026-03-16T{time}.000000000Z" for time in ("09:00:05", "09:02:00"))
    scene.add("gap", since=since, until=until, count=14, ops={"get": 14}, reason="no space left on device")
    return scene


def _break_glass() -> Scene:
    scene = _learned()
    for _ in range(3):
        scene.wait(seconds=30).reads("a11ce", "break-glass/root", outcome="PermissionDeniedError", version="")
    return scene


SCENES: Final[dict[str, Callable[[], Scene]]] = {
    "audit-gap": _audit_gap,
    "break-glass": _break_glass,
    "denied-burst": _denied_burst,
    "distinct-secret-burst": _distinct_secret_burst,
    "first-seen-principal": _first_seen_principal,
    "off-hours": _off_hours,
    "previous-after-grace": _previous_after_grace,
    "replica-quarantined": _replica_quarantined,
    "rotation-overdue": _rotation_overdue,
    "secret-compromised": _secret_compromised,
    "use-after-revoke": _use_after_revoke,
}


def write() -> None:
    """Write the fixtures anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, scene in SCENES.items():
        (FOLDER / f"{name}.jsonl").write_bytes(scene().lines())
    (FOLDER / "settings.json").write_text(json.dumps(SETTINGS, indent=2) + "\n")


if __name__ == "__main__":
    write()
