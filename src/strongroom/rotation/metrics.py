"""What a worker has done: its steps, counted."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, final

from strongroom.audit.event import AuditHook
from strongroom.cardinality import Budget

if TYPE_CHECKING:
    from strongroom.audit.event import AuditEvent

_PREFIX: Final = "rotation."
_MOST: Final = 100
"""Pairs of step and outcome: an outcome may be the class of anybody's exception."""


@final
class StepCounter(AuditHook):
    """Counts the steps of rotations by operation and outcome. No name is a label: there may be a million."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._budget = Budget(_MOST)
        self._budget.reserve("", ("step", "outcome"))
        self._lock = threading.Lock()

    def after(self, event: AuditEvent) -> None:
        """One more."""
        if event.operation.startswith(_PREFIX):
            found = (("step", event.operation.removeprefix(_PREFIX)), ("outcome", event.outcome or ""))
            (_, step), (_, outcome) = self._budget.admit("", found)
            with self._lock:
                self._counts[step, outcome] += 1

    def counts(self) -> dict[tuple[str, str], int]:
        """By step and outcome: ``ok`` or the class of an error; what there were too many of is ``other``."""
        with self._lock:
            return dict(self._counts)
