"""What a worker has done, and how it is, in Prometheus' text format 0.0.4."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, final

from strongroom.audit.event import AuditHook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.audit.event import AuditEvent

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "rotation."
Labels = tuple[tuple[str, str], ...]


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


def rendered(families: Iterable[tuple[str, str, str, Mapping[Labels, float]]]) -> str:
    """Metric families as text.

    Args:
        families: name, type, help, and the samples by their labels.
    """
    lines: list[str] = []
    for name, kind, meaning, samples in families:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{_labels(labels)} {value:g}" for labels, value in sorted(samples.items())]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
