"""What the staging labels of a secret say. AWS's own three, and ours, which all begin with ``strongroom/``.

    strongroom/put/TOKEN        a conditional write that did not win, or not yet
    strongroom/record/RECORD    replication's record, which says nothing of stages
    strongroom/ROTATION/BASE    a pending value, and the version that was current when it was put
    strongroom/ROTATION/done    it became current
    strongroom/ROTATION/void    it was discarded

A version of ours that never was current bears ``put``, a base or ``void``; one that bears none of them, was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from strongroom.backend import Stage

CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
OURS = "strongroom/"
PUT = f"{OURS}put/"
RECORD = f"{OURS}record/"
_STAGES = {CURRENT: Stage.CURRENT, PREVIOUS: Stage.PREVIOUS, PENDING: Stage.PENDING}

RotationState = Literal["none", "held", "promoted", "void"]


def was_current(labels: Iterable[str]) -> bool:
    """Whether a version with these labels is or was current, as far as labels tell."""
    found = set(labels)
    if found & {CURRENT, PREVIOUS} or any(
        label.startswith(OURS) and label.endswith("/done") for label in found
    ):
        return True
    return not any(
        label == PENDING or (label.startswith(OURS) and not label.startswith(RECORD)) for label in found
    )


def stages_of(labels: Iterable[str]) -> frozenset[Stage]:
    """Strongroom's stages for AWS's labels; AWSPENDING left on a current version means nothing."""
    found = frozenset(_STAGES[label] for label in labels if label in _STAGES)
    return found - {Stage.PENDING} if found & {Stage.CURRENT, Stage.PREVIOUS} else found


def record_of(labels: Iterable[str]) -> str | None:
    """Replication's record, which travels as a label of its version."""
    return next((label.removeprefix(RECORD) for label in labels if label.startswith(RECORD)), None)


@dataclass(frozen=True)
class Labels:
    """The labels of a secret's versions, as DescribeSecret tells them."""

    by_version: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, versions: Mapping[str, Iterable[str]]) -> Labels:
        """From ``VersionIdsToStages``."""
        return cls({version: frozenset(labels) for version, labels in versions.items()})

    def on(self, version: str) -> frozenset[str]:
        """The labels of a version; none if it has none or is not there."""
        return self.by_version.get(version, frozenset())

    def holder(self, label: str) -> str | None:
        """The version that bears a label."""
        return next((version for version, labels in self.by_version.items() if label in labels), None)

    def base(self, rotation_id: str) -> str | None:
        """The version that was current when this rotation's value was put."""
        start = f"{OURS}{rotation_id}/"
        ends = [label.removeprefix(start) for label in self.on(rotation_id) if label.startswith(start)]
        return next((end for end in ends if len(end) >= 32), None)  # version ids have 32 to 64 characters

    def state(self, rotation_id: str) -> RotationState:
        """Where a rotation stands."""
        labels = self.on(rotation_id)
        if labels & {CURRENT, PREVIOUS} or done(rotation_id) in labels:
            return "promoted"
        if void(rotation_id) in labels:
            return "void"
        return "held" if self.base(rotation_id) else "none"

    def blocker(self, rotation_id: str) -> str | None:
        """The version that holds AWSPENDING and is neither this rotation's nor finished."""
        holder = self.holder(PENDING)
        if holder in (None, rotation_id) or self.state(str(holder)) in ("promoted", "void"):
            return None
        return holder


def done(rotation_id: str) -> str:
    """The label that says that the value became current."""
    return f"{OURS}{rotation_id}/done"


def void(rotation_id: str) -> str:
    """The label that says that the value was discarded."""
    return f"{OURS}{rotation_id}/void"
