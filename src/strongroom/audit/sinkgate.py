"""A sink as the gate, for functions and other places without a durable disk.

Every operation waits until the sink has its intent. Records chain as they do in a journal, one chain for each
process; nobody checkpoints them here, so what proves them is what the receiver does with them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import SecretStoreError, UnavailableError

from .record import GENESIS, VERSION, encode, leaf_hash, stamp
from .sinks.base import Entry

if TYPE_CHECKING:
    from strongroom.clock import Clock

    from .actor import Actor
    from .sinks.base import Sink

_MOST: Final = 10_000
"""Records that may wait for the sink: outcomes of reads and counts, which nobody waits for."""


class SinkGate:
    """A `Trail` that is a sink. What it did not take is sent again before anything else, by the same id.

    Args:
        sink: asked in the calling thread, within its own timeout.
        name: what the configuration calls it.
        clock: injected in tests.
    """

    def __init__(self, sink: Sink, name: str, clock: Clock):
        self._sink, self._name, self._clock = sink, name, clock
        self.after_fork()

    def after_fork(self) -> None:
        """A chain of our own; what the parent has not sent it sends."""
        self.failed: SecretStoreError | None = None
        self._lock = threading.Lock()
        self._chain, self._seq, self._prev = os.urandom(16).hex(), 0, GENESIS
        self._waiting: list[bytes] = []
        self._sink.after_fork()

    def append(self, fields: Mapping[str, Any], *, durable: bool = True) -> str:
        """Add a record; with `durable` the sink has it when this returns.

        Raises:
            UnavailableError: with ``performed=False``, the sink did not take it.
        """
        with self._lock:
            if self.failed or len(self._waiting) >= _MOST:
                self._send()
            if not self._seq:
                self._add(
                    {
                        "kind": "chain",
                        "library": "strongroom",
                        "host": os.uname().nodename,
                        "pid": os.getpid(),
                    }
                )
            record = self._add(fields)
            if durable:
                self._send()
            return record

    def flush(self) -> None:
        """Send what waits.

        Raises:
            UnavailableError: the sink did not take it.
        """
        with self._lock:
            self._send()

    def close(self) -> None:
        """Send what waits, and let go of the sink."""
        try:
            self.flush()
        finally:
            self._sink.close()

    def _add(self, fields: Mapping[str, Any]) -> str:
        head = {"v": VERSION, "chain": self._chain, "seq": self._seq, "prev": self._prev}
        when = {"time": fields.get("time") or stamp(self._clock.now()), "mono": time.monotonic_ns()}
        line = encode({**head, **when, **fields})
        record = f"{self._chain}:{self._seq}"
        self._prev, self._seq = leaf_hash(line).hex(), self._seq + 1
        self._waiting.append(line)
        return record

    def _send(self) -> None:
        if not self._waiting:
            return
        self.failed = self._refused()
        if self.failed:
            raise self.failed
        self._waiting.clear()

    def _refused(self) -> SecretStoreError | None:
        host = os.uname().nodename
        try:
            # A receiver that refuses a size gets it clipped: a long name is no reason to refuse an operation.
            if not self._sink.send_fitting([Entry(line, host) for line in self._waiting]):
                return None
            problem = "its size is refused"
        except SecretStoreError as error:
            problem = type(error).__name__
        except Exception as exc:  # noqa: BLE001  (a sink may be a stranger's code)
            problem = type(exc).__name__
        said = f"the audit sink {self._name}, which is the gate, took no record ({problem})"
        return UnavailableError(said, performed=False, hint="see that it answers from here")


def unsealed(actor: Actor) -> dict[str, str]:
    """What a record says of an actor where no disk keeps subjects' keys: the principal, in clear, alone."""
    return {"uid": actor.principal, "how": actor.how}
