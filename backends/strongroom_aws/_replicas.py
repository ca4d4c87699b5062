"""Secrets that AWS replicates by itself: no label moves while a replica still copies the last change.

Two moves in a row can end a replication for good (https://github.com/square/password-rotation-lambda/issues/12),
and a value that no replica can have yet must not become current.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from strongroom import retry
from strongroom.backend import Clock
from strongroom.errors import UnavailableError

LONGEST: Final = 10.0
"""Seconds to wait before one move. A promote has three, and a rotation's lease is 60 s."""


class Replicas:
    """What DescribeSecret said last of the replicas of each secret; what has none costs no call.

    Args:
        describe: asks anew.
        clock: waits on this one.
    """

    def __init__(self, describe: Callable[[str], Mapping[str, Any]], clock: Clock):
        self._describe, self._clock = describe, clock
        self._replicated: set[str] = set()

    def saw(self, name: str, answer: Mapping[str, Any]) -> None:
        """Note what an answer tells."""
        if answer.get("ReplicationStatus"):
            self._replicated.add(name)
        else:
            self._replicated.discard(name)

    def wait(self, name: str) -> None:
        """Return once no replica is InProgress; a Failed one is not waited for.

        Raises:
            UnavailableError: one still is; nothing was sent.
        """
        if name not in self._replicated:
            return
        until, attempt = self._clock.monotonic() + LONGEST, 1
        while late := self._regions(name, "InProgress"):
            if self._clock.monotonic() >= until:
                where = ", ".join(late)
                raise UnavailableError(
                    f"the replica in {where} still copies the last change",
                    performed=False,
                    hint="if that region is lost, remove it from the secret's replication",
                )
            self._clock.sleep(retry.pause(attempt))
            attempt += 1

    def require(self, name: str) -> None:
        """Return if no replica's replication has failed.

        Raises:
            UnavailableError: one has; readers there would keep a value that is about to be revoked.
        """
        if name in self._replicated and (failed := self._regions(name, "Failed")):
            problem = f"the replication to {', '.join(failed)} has failed"
            raise UnavailableError(problem, performed=False, hint="repair or remove the replica, then go on")

    def _regions(self, name: str, status: str) -> list[str]:
        entries: Iterable[Mapping[str, str]] = self._describe(name).get("ReplicationStatus", ())
        return sorted(entry["Region"] for entry in entries if entry.get("Status") == status)
