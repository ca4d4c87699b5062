"""Which versions a migration carries, in which order, and which of them the target has already. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strongroom.backend import Stage

if TYPE_CHECKING:
    from strongroom.backend import SecretVersion
    from strongroom.value import SecretValue


def in_order(newest_first: Sequence[SecretVersion]) -> list[SecretVersion]:
    """A secret's versions as they must be written, so that its stages come out as they are.

    Oldest first; but the previous one last but one, and the current one last, wherever labels stand (on AWS
    a version may become current after a newer one).
    """
    oldest_first = newest_first[::-1]
    return sorted(oldest_first, key=lambda version: max(map(_rank, version.stages), default=0))


def _rank(stage: Stage) -> int:
    return {Stage.PREVIOUS: 1, Stage.CURRENT: 2}.get(stage, 0)


def carried(there: Sequence[SecretValue], wanted: Sequence[SecretValue]) -> int | None:
    """How many of the source's versions the target has already, both oldest first; None if it is another's.

    What it holds must be a beginning of the source's history, so that writing the rest makes it whole. It
    need not be all of that: targets forget old versions (Vault keeps 10 unless told otherwise), and so do
    sources.
    """
    if _same(there, wanted[: len(there)]):
        return len(there)
    if _same(there[-1:], wanted[-1:]):
        return len(wanted)  # whatever stood before: an older value must not become current once more
    ends = range(len(wanted), 0, -1)
    return next((end for end in ends if _end_alike(there, wanted[:end])), None)


def _end_alike(there: Sequence[SecretValue], begun: Sequence[SecretValue]) -> bool:
    common = min(len(there), len(begun))
    return _same(there[-common:], begun[-common:])


def _same(ours: Sequence[SecretValue], theirs: Sequence[SecretValue]) -> bool:
    return len(ours) == len(theirs) and all(map(same, ours, theirs))


def same(one: SecretValue, other: SecretValue) -> bool:
    """Whether two values are equal in bytes and kind."""
    return one == other and one.kind == other.kind
