"""Room for one more credential, at a target that takes so many and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import SecretConflictError

if TYPE_CHECKING:
    from collections.abc import Collection

    from .rotator import Rotation, TwoSlot


def make_room(rotator: TwoSlot, r: Rotation, live: Collection[str], capacity: int) -> set[str]:
    """Where all slots are taken, withdraw the previous value's credential: it is nobody's any more.

    It is left by a rotation that was rolled back, or by a value that was put in by hand, and would block
    every later rotation.

    Args:
        live: the credentials that the target accepts.
        capacity: how many it takes.

    Returns:
        Those that are left.

    Raises:
        SecretConflictError: none of them is the previous value's.
    """
    if len(live) < capacity:
        return set(live)
    current, previous = (rotator.credential(value) if value else None for value in (r.current, r.previous))
    if previous not in live or previous == current or previous is None:
        others = " or ".join(sorted(each for each in live if each != current))
        problem = f"the target takes {capacity} credentials at a time, and has them"
        raise SecretConflictError(problem, hint=f"delete the one that nobody uses: {others}")
    r.check()
    rotator.withdraw(r, previous)
    return {each for each in live if each != previous}
