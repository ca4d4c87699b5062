"""Carrying checkpoints to an anchor, by a thread of its own: an anchor that is dead delays nobody.

Only the newest checkpoint is carried. It covers all before it, so that an anchor which was away for a week
needs one request to be up to date.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import Counter
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import IntegrityError, SecretStoreError, UnavailableError

from .head import checkpoints, newest
from .journal import origin_of
from .trouble import tell, told
from .turn import turn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.clock import Clock

    from .anchors import Export
    from .head import Checkpoint

FOLDER: Final = "exports"
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 300.0
PATIENCE: Final = 2.0
"""Seconds that all anchors together are waited for, before the first checkpoint and at the end."""


def exporters(path: Path, exports: Sequence[Export], clock: Clock) -> list[Exporter]:
    """One for each; anchors of one name are numbered, so that each has its own memory."""
    names: Counter[str] = Counter()
    made = []
    for export in exports:
        names[export.name] += 1
        number = f" #{names[export.name]}" if names[export.name] > 1 else ""
        made.append(Exporter(path, export, clock, export.name + number))
    return made


@final
class Exporter:
    """Carries the checkpoints of one journal to one anchor; processes take turns."""

    def __init__(self, path: Path, export: Export, clock: Clock, name: str = ""):
        self._path, self._export, self._clock = path, export, clock
        self._name = name or export.name
        self._place = path / FOLDER / sha256(self._name.encode()).hexdigest()[:16]
        self._error: SecretStoreError | None = None
        self._failures = 0
        self._asked = threading.Event()
        self._own = threading.Lock()
        self._stirred, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def notify(self) -> None:
        """There is a new checkpoint."""
        self._stirred.set()
        with self._own:
            if self._thread is None and not self._closing.is_set():
                run = partial(self._run, self._stirred, self._closing)
                self._thread = threading.Thread(target=run, name="strongroom-export", daemon=True)
                self._thread.start()

    def resume(self) -> None:
        """Go on with what an earlier process left."""
        if self._thread is None:
            self.notify()

    def conflict(self, until: float) -> IntegrityError | None:
        """Why nothing may be signed: the anchor has what the journal has not, so the journal was set back.

        Args:
            until: by the monotonic clock; an anchor that has not answered by then is asked later.
        """
        self._clock.wait(self._asked, max(0.0, until - self._clock.monotonic()))
        return self._error if isinstance(self._error, IntegrityError) else None

    def step(self) -> float | None:
        """Carry the newest checkpoint if the anchor has not got it.

        Returns:
            Seconds until the next attempt; None if there is nothing to do before the next checkpoint.
        """
        try:
            return self._attempt()
        finally:
            self._asked.set()

    def _attempt(self) -> float | None:
        error: SecretStoreError
        try:
            return self._carry()
        except SecretStoreError as exc:
            error = exc
        except OSError as exc:
            error = UnavailableError("the journal cannot be written", hint=os.strerror(exc.errno or 0))
        self._error = error.with_traceback(None)
        self._failures += 1
        tell(self._place.with_suffix(".trouble"), str(error), self._clock.now())
        longest: float = min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
        return max(error.retry_after or 0.0, longest * (1 + self._clock.chance()) / 2)

    def status(self) -> dict[str, Any]:
        """The anchor's name, how many records it covers, how many it lacks, and what is wrong with it."""
        last, done = newest(self._path), self._done()
        behind = max(0, (last.size if last else 0) - done)
        trouble = told(self._place.with_suffix(".trouble"))
        return {"name": self._name, "size": done, "behind": behind, "error": trouble}

    def end(self) -> None:
        """Carry what there is, if the anchor answers, and stop."""
        self._closing.set()
        self._stirred.set()

    def close(self, until: float) -> None:
        """`end`, and wait for it as long as that, by the monotonic clock of the system."""
        self.end()
        thread, self._thread = self._thread, None
        if thread is not None and not self._failures:
            thread.join(max(0.0, until - monotonic()))
        self._export.close()

    def _carry(self) -> float | None:
        last = newest(self._path)
        self._place.parent.mkdir(mode=0o700, exist_ok=True)
        with turn(self._place.with_suffix(".lock")) as mine:
            if not mine:
                return _LONGEST_PAUSE  # another process is at it; should it end, this one goes on
            done = self._done()
            self._agree(done)
            if last is not None and last.size > done:
                self._export.put(last, self._path)
                self._note(last)
        self._error, self._failures = None, 0
        tell(self._place.with_suffix(".trouble"), None, self._clock.now())
        return None

    def _agree(self, done: int) -> None:
        """What the anchor has beyond what we know to have given it must be of ours all the same."""
        there = self._export.above(origin_of(self._path), done)
        if there is None:
            return
        if not any((ours.size, ours.root) == (there.size, there.root) for _, ours in checkpoints(self._path)):
            raise IntegrityError(
                f"{self._export.name} has a checkpoint of {there.size} records that is not the journal's",
                hint="the journal was cut back, restored or forged; strongroom audit verify says more",
            )

    def _done(self) -> int:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads(self._place.with_suffix(".json").read_bytes())["size"])
        return 0

    def _note(self, checkpoint: Checkpoint) -> None:
        """Lost or torn, this costs one more request: the anchor knows what it has."""
        told = json.dumps({"name": self._export.name, "size": checkpoint.size, "time": checkpoint.time})
        draft = self._place.with_suffix(f".{os.urandom(4).hex()}")
        try:
            draft.write_text(told)
            draft.chmod(0o600)
            draft.replace(self._place.with_suffix(".json"))
        finally:
            draft.unlink(missing_ok=True)

    def _run(self, stirred: threading.Event, closing: threading.Event) -> None:
        while not (closing.is_set() and self._failures):
            last = closing.is_set()
            stirred.clear()
            pause = self.step()
            if last:
                return
            # What fails is not tried sooner because there is a newer one.
            self._clock.wait(closing if self._failures else stirred, pause)
