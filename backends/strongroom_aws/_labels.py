"""What the staging labels of a secret say. AWS's own three, and ours, which all begin with ``strongroom/``.

    strongroom/put/TOKEN        a conditional write that did not win, or not yet
    strongroom/record/RECORD    replication's record, which says nothing of stages
    strongroom/ROTATION/BASE    a pending value, and the version that was current when it was put
    strongroom/ROTATION/done    it became current
    strongroom/ROTATION/void    it was discarded
    strongroom/ROTATION/lost    it cannot be promoted: its base was replaced, or another rotation is held
    strongroom/turn/ROTATION    a version that holds no secret: it says which rotation follows a base

A version of ours that never was current bears ``put``, a base, ``lost`` or ``void``; one that bears none of
them, was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from strongroom.backend import Stage

CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
OURS = "strongroom/"
PUT = f"{OURS}put/"
RECORD = f"{OURS}record/"
TURN = f"{OURS}turn/"
_TURN_ID = "strongroom-turn-"
_STAGES = {CURRENT: Stage.CURRENT, PREVIOUS: Stage.PREVIOUS, PENDING: Stage.PENDING}

RotationState = Literal["none", "held", "lost", "promoted", "void"]


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
        if lost(rotation_id) in labels:
            return "lost"
        return "held" if self.base(rotation_id) else "none"

    def held(self) -> dict[str, str]:
        """The base of every rotation whose value waits; its version's id is the rotation's."""
        bases = {version: self.base(version) for version in self.by_version if self.state(version) == "held"}
        return {rotation_id: base for rotation_id, base in bases.items() if base}

    def foreign(self) -> str | None:
        """The version under AWSPENDING that is no rotation of ours, such as one that RotateSecret made."""
        holder = self.holder(PENDING)
        return holder if holder and self.state(holder) == "none" else None

    def follower(self, base: str) -> str | None:
        """The rotation whose turn it is to follow a version, as far as labels tell."""
        return turn_in(self.on(turn_of(base)))

    def rival(self, rotation_id: str) -> str | None:
        """Another rotation that has AWSPENDING or the turn, whatever its base, and is not over."""
        holder = self.holder(PENDING)
        if holder not in (None, rotation_id) and self.state(str(holder)) in ("none", "held"):
            return holder
        turns = [turn for labels in self.by_version.values() if (turn := turn_in(labels))]
        return next((turn for turn in turns if turn != rotation_id and self.state(turn) == "held"), None)


def turn_of(base: str) -> str:
    """The id of the version that says which rotation follows ``base``."""
    return _TURN_ID + hashlib.sha256(base.encode()).hexdigest()[:32]  # an id has 32 to 64 characters


def is_turn(version: str) -> bool:
    """Whether a version says whose turn it is, labels or none, and so holds no secret."""
    return version.startswith(_TURN_ID)


def turn_in(labels: Iterable[str]) -> str | None:
    """The rotation that these labels of a version give the turn to."""
    return next((label.removeprefix(TURN) for label in labels if label.startswith(TURN)), None)


def done(rotation_id: str) -> str:
    """The label that says that the value became current."""
    return f"{OURS}{rotation_id}/done"


def void(rotation_id: str) -> str:
    """The label that says that the value was discarded."""
    return f"{OURS}{rotation_id}/void"


def lost(rotation_id: str) -> str:
    """The label that says that the value cannot become current."""
    return f"{OURS}{rotation_id}/lost"
