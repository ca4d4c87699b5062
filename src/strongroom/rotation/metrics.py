"""What a worker has done: its steps, counted."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, final

from strongroom.audit.event import AuditHook

if TYPE_CHECKING:
    from strongroom.audit.event import AuditEvent

_PREFIX: Final = "rotation."


@final
class StepCounter(AuditHook):
    """Counts the steps of rotations by operation and outcome. No name is a label: there may be a million."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def after(self, event: AuditEvent) -> None:
        """One more."""
        if event.operation.startswith(_PREFIX):
            with self._lock:
                self._counts[event.operation.removeprefix(_PREFIX), event.outcome or ""] += 1

    def counts(self) -> dict[tuple[str, str], int]:
        """By step and outcome: ``ok`` or the class of an error."""
        with self._lock:
            return dict(self._counts)
