"""What was done about a leaked value, step by step, and how long it works where nobody was reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """One step.

    Attributes:
        at: when it ended.
        step: ``fence``, ``replace``, ``target``, ``store``, ``unavailable``, ``cache`` or ``list``.
        outcome: ``done``, ``failed``, or ``skipped`` where there is nothing to do it with.
        what: a line for people; identifiers, never a value.
    """

    at: datetime
    step: str
    outcome: str
    what: str


@dataclass(frozen=True, slots=True)
class Bound:
    """Who may use the value still.

    Attributes:
        who: readers that could not be reached from here.
        until: at the latest; None if nothing bounds it, so that somebody must act.
        why: what ends it.
    """

    who: str
    until: datetime | None
    why: str


@dataclass
class Cut:
    """What became of a leaked version.

    Attributes:
        name: the secret.
        version: the one that leaked.
        replacement: the version that is current instead; None if there is none.
        unavailable: readers are told that there is no such secret, since nothing could replace it.
        refused: whether the target was seen to refuse it; None if it cannot be asked, or there is none.
        timeline: each step.
        bounds: who may use it still, and until when.
    """

    name: str
    version: str
    replacement: str | None = None
    unavailable: bool = False
    refused: bool | None = None
    timeline: list[Moment] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)

    @property
    def failures(self) -> list[Moment]:
        """The steps that somebody must see to."""
        return [moment for moment in self.timeline if moment.outcome == "failed"]

    @property
    def worst(self) -> datetime | None:
        """When the last reader that has a bound is cut off."""
        return max((bound.until for bound in self.bounds if bound.until), default=None)

    @property
    def complete(self) -> bool:
        """Whether every step was done, and everything else has a bound."""
        return not self.failures and all(bound.until for bound in self.bounds)

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "replacement": self.replacement,
            "unavailable": self.unavailable,
            "refused": self.refused,
            "complete": self.complete,
            "worst": self.worst,
            "timeline": [_shown(moment) for moment in self.timeline],
            "bounds": [_shown(bound) for bound in self.bounds],
        }


def _shown(one: Moment | Bound) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}
