"""Stamps: what each version carries of its making, and the order of versions that follows from them.

Pure: the rules that `guarded` and its backends judge by. A version written under a fence that does not follow
the recorded one is late; one that was hidden by a late version and written again is the same version twice.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

_STAMP = re.compile(r"(\d{1,19})(a?)\.([0-9a-f]{32})\.(.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a version carries of its making, written in the same call as its value.

    Attributes:
        before: the version that was newest, or None for the first.
        fence: of the lease it was written under; 0 without a coordinator.
        write_id: tells this write from any other, so that a lost answer can be looked up.
        again: its value is its predecessor's, which a late version had hidden.
    """

    before: str | None
    fence: int
    write_id: str
    again: bool = False

    @classmethod
    def new(cls, before: str | None, fence: int = 0, *, again: bool = False) -> Stamp:
        """A stamp for one write."""
        return cls(before, fence, uuid.uuid4().hex, again)

    def pack(self) -> str:
        """As one text; at most 54 characters and the predecessor's id."""
        return f"{self.fence}{'a' * self.again}.{self.write_id}.{self.before or ''}"

    @classmethod
    def parse(cls, text: str | None) -> Stamp | None:
        """What `pack` made, or None for anything else, such as another program's version."""
        match = _STAMP.fullmatch(text or "")
        return cls(match[4] or None, int(match[1]), match[3], bool(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class Head:
    """A version as the provider tells it now; without a stamp it is somebody else's."""

    version: str
    stamp: Stamp | None = None

    @property
    def fence(self) -> int:
        """The fence it was written under; 0 if under none."""
        return self.stamp.fence if self.stamp else 0

    @property
    def before(self) -> str | None:
        """Its predecessor, if it says so."""
        return self.stamp.before if self.stamp else None

    @property
    def again(self) -> bool:
        """Whether it stands for its predecessor, with the same value."""
        return self.stamp is not None and self.stamp.again


def chain(heads: Sequence[Head], tip: Head | None = None) -> list[Head]:
    """The versions from `tip` (default: the first) back along their predecessors, newest first.

    A late version that was written past is not on it, and what was written again stands on it once, under
    its newest id. Behind a version without a stamp the provider's own order goes on.
    """
    line, kept, same = back(heads, tip), [], False
    for head in line:
        if not same:
            kept.append(head)
        same = head.again
    return kept


def back(heads: Sequence[Head], tip: Head | None = None) -> list[Head]:
    """As `chain`, with every copy."""
    by_id = {head.version: at for at, head in enumerate(heads)}
    line: list[Head] = []
    at = by_id.get(tip.version) if tip else (0 if heads else None)
    while at is not None and heads[at] not in line:
        head = heads[at]
        line.append(head)
        following = at + 1 if at + 1 < len(heads) else None
        at = following if head.stamp is None else by_id.get(head.before or "")
    return line


def standing_for(line: Sequence[Head]) -> set[str]:
    """The ids under which the first of `line`, a result of `back`, has been known."""
    at = next((at for at, head in enumerate(line) if not head.again), len(line))
    return _ids(line[: at + 1])


def true_tip(heads: Sequence[Head], recorded: str | None) -> Head | None:
    """Which of these versions, newest first, is current: the first that is not a late one.

    What was written under a fence upon the recorded version counts, the highest fence of several, and so
    does all that follows it; anything else written under a fence is late. A version without a fence was
    written by somebody who knows nothing of the coordinator, and counts.
    """
    if recorded is None:
        return heads[0] if heads else None
    upon = [head for head in heads if head.fence and head.before == recorded]
    root = max(upon, key=lambda head: head.fence).version if upon else recorded
    at_root = next((head for head in heads if head.version == root), None)
    behind = _ids(back(heads, at_root)) if at_root else set()
    for head in heads:
        foreign = not head.fence and head.version not in behind
        if foreign or head.version == root or root in _ids(back(heads, head)):
            return head
    return None


def _ids(line: Sequence[Head]) -> set[str]:
    return {head.version for head in line}
