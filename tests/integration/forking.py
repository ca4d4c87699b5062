"""One store under many threads and forks, in a process of its own: ``python -m tests.integration.forking``.

It gets a strongroom.toml whose store ``it`` is to be used; it says in JSON what it found, never a value.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import psutil

import strongroom
from strongroom.backend import Capability
from strongroom.store import SecretStore
from strongroom.testing.conformance_safety import at_once
from tests.canary import CANARY
from tests.scale import NIGHTLY

THREADS, CHILDREN = 64, 8
SHARED = "shared"
CERTIFICATE = "leased/host.example.net"
"""What all read of a store that makes certificates."""
PATIENCE = 900 if NIGHTLY else 90
"""Seconds after which whatever has not ended is taken for a deadlock, and shows where it stands."""


@dataclass
class Found:
    """What is said at the end.

    Attributes:
        wrong: what went wrong, a line each.
        left: descriptors and threads before the store was opened and after it was closed.
    """

    wrong: list[str] = field(default_factory=list)
    left: dict[str, tuple[int, int]] = field(default_factory=dict)


def value(label: object) -> str:
    """A value that tells who wrote it."""
    return f"{CANARY} {label}"


class Load:
    """What threads and children do with the store."""

    def __init__(self, store: SecretStore, rounds: int):
        self._store, self._rounds = store, rounds
        self._writes = Capability.PUT in store.capabilities
        self._name = CERTIFICATE if store.origin.startswith("vault-pki") else SHARED
        self._held: str | None = None  # of a store that makes what it gives: which version the parent has
        self._parent = os.getpid()

    def plant(self) -> None:
        """What all of them read."""
        if self._writes:
            self._store.put(SHARED, value(SHARED))

    def use(self, name: str) -> list[str]:
        """Read what all share, write and read back what nobody else touches."""
        wrong = []
        for turn in range(self._rounds):
            if not self._is_right():
                wrong.append(f"{name} read another value of {SHARED}")
            if self._writes:
                version = self._store.put(name, value(f"{name} {turn}"))
                wrong += self.check(name, turn, version.id)
        return wrong

    def _is_right(self) -> bool:
        """A leased value is made for this process: its threads share one, and a child has another."""
        secret = self._store.get(self._name)
        if not self._store.origin.startswith(("vault-leased", "vault-pki")):
            return secret.value.matches(value(SHARED))
        self._held = self._held or secret.version
        return (secret.version == self._held) is (os.getpid() == self._parent)

    def check(self, name: str, turn: int, version: str | None = None) -> list[str]:
        """That a name holds what was written in a turn, as this version if it is given."""
        secret = self._store.get(name)
        right = secret.value.matches(value(f"{name} {turn}")) and version in (None, secret.version)
        return [] if right else [f"{name} was read as something else"]

    def threads(self) -> list[str]:
        """All at once; each has a name of its own."""
        answers = at_once([partial(self.use, f"thread-{number}") for number in range(THREADS)])
        return [
            line for answer in answers for line in (answer if isinstance(answer, list) else [_told(answer)])
        ]

    def children(self) -> list[str]:
        """Forked while no call is in flight; the parent looks at what they wrote, and goes on."""
        pids = [self._fork(f"child-{number}") for number in range(CHILDREN)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        wrong = [f"child {number} ended with {code}" for number, code in enumerate(codes) if code]
        if self._writes and not wrong and not self._store.origin.startswith("memory"):
            for number in range(CHILDREN):
                wrong += self.check(f"child-{number}", self._rounds - 1)
        return wrong + self.use("parent")

    def _fork(self, name: str) -> int:
        if pid := os.fork():
            return pid
        code = 2
        try:
            signal.alarm(PATIENCE - 10)
            wrong = self.use(name)
            self._store.close()
            wrong += _strange_threads()
            print(*wrong, sep="\n", end="", file=sys.stderr)
            code = 1 if wrong else 0
        except BaseException as error:
            print(name, _told(error), file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)


def _told(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{type(error).__name__}: {error} {[(at.name, at.lineno) for at in frame]}"


def _strange_threads() -> list[str]:
    """Those that a child has beside its own: none of the parent's lives there."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    return [f"threads {others} are left"] if others else []


def measured() -> tuple[int, int]:
    """Descriptors and threads that are open now."""
    gc.collect()
    return psutil.Process().num_fds(), len(threading.enumerate())


def run(configuration: str, rounds: int) -> Found:
    """Open, use and close the store; what its SDK keeps for ever is open before the first measure."""

    def once(work: Callable[[Load], list[str]]) -> list[str]:
        with strongroom.open("it", config=configuration) as store:
            load = Load(store, rounds)
            load.plant()
            return work(load)

    found = Found(once(lambda load: load.use("warm")))
    before = measured()
    found.wrong += once(lambda load: load.threads() + load.children())
    found.left = dict(zip(("descriptors", "threads"), zip(before, measured(), strict=True), strict=True))
    return found


if __name__ == "__main__":
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    print(json.dumps(asdict(run(sys.argv[1], int(sys.argv[2])))))
