"""Making checkpoints: what the journal holds, put in order, signed, and handed out of its writer's reach.

The order of the steps is what keeps every signed tree a beginning of the next, whatever stops in between:
the records are durable, then their place in the order is, then the tree is signed, then the note is durable,
and only then does anybody else see it. One process at a time takes these steps, under ``checkpoint.lock``;
whoever takes over reads what the last one wrote and signs nothing that does not begin with it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.clock import Clock
from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError, UnavailableError

from .exporting import PATIENCE, exporters
from .growth import ORDER, Growth
from .head import CHECKPOINTS, LOCK, Checkpoint, body, checkpoints, newest
from .journal import origin_of
from .linefile import LineFile
from .note import NoteKey, NoteSigner
from .notekey import FileSigner
from .reading import Reader
from .record import stamp
from .savedgrowth import restore, save
from .segments import Files
from .trouble import tell, told
from .turn import turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.keys import Signer

    from .anchors import Export
    from .reading import Cursors

TROUBLE: Final = "checkpoint.trouble"
EVERY: Final = 60.0
RECORDS: Final = 10_000
_GLANCE: Final = 1.0
"""Seconds between two looks at how much there is to sign, at least."""

_PATIENCE: Final = 10.0
"""Seconds that `Checkpointer.checkpoint` waits for another process's turn."""

_LONGEST_PAUSE: Final = 300.0


@final
class Checkpointer:
    """Makes the checkpoints of one journal; any number of processes may each have one.

    Args:
        path: the journal's folder.
        signer: an Ed25519 or ECDSA P-256 key; it stays its owner's to close.
        origin: as the journal has it; its own by default.
        every: seconds after which a record is covered by a checkpoint, about.
        records: how many records make one due before that.
        exports: where checkpoints go; none of them can hold up or stop anything here.

    Attributes:
        failed: why the last attempt did not succeed. An `IntegrityError` stays until somebody mends the
            journal: nothing is signed that does not extend what was signed before.
    """

    def __init__(  # noqa: PLR0913  (facts of one journal, all by keyword)
        self,
        path: str | os.PathLike[str],
        signer: Signer,
        *,
        origin: str | None = None,
        every: float = EVERY,
        records: int = RECORDS,
        exports: Sequence[Export] = (),
        clock: Clock | None = None,
        files: Files | None = None,
    ):
        if every <= 0 or records <= 0:
            raise InvalidRequestError("checkpoints are made every so many seconds and records")
        self.path, self._every, self._records = Path(path), every, records
        self._origin, self._signer = origin, signer
        self._clock, self._files = clock or Clock(), files or Files()
        self._exports = tuple(exports)
        self._note_signer: NoteSigner | None = None
        self._begin()

    def _begin(self) -> None:
        self.failed: SecretStoreError | None = None
        self._growth: Growth | None = None
        self._seen: Cursors = {}
        self._pending = self._failures = 0
        self._since: float | None = None
        self._own = threading.Lock()
        self._stirred, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._exporters = exporters(self.path, self._exports, self._clock)

    @property
    def origin(self) -> str:
        """What its checkpoints call the journal.

        Raises:
            InvalidRequestError: there is no journal, or it has another origin.
        """
        found = origin_of(self.path)
        if self._origin not in (None, found):
            raise InvalidRequestError(f"the audit journal at {self.path} has another origin")
        return found

    @property
    def key(self) -> NoteKey:
        """The public key that verifies its checkpoints. Raises as `NoteSigner.key`."""
        return self._notes().key

    def checkpoint(self) -> Checkpoint | None:
        """Sign now what the journal holds; the newest checkpoint, None if there are no records.

        Raises:
            IntegrityError: what is there does not extend the last checkpoint. Nothing was signed.
            UnavailableError: the disk or the signing key does not answer, or another process takes long.
            SecretStoreError: as the signer says.
        """
        until = self._clock.monotonic() + _PATIENCE
        while True:
            with turn(self.path / LOCK) as mine:
                if mine:
                    return self._attempt()
            if self._clock.monotonic() >= until:
                raise UnavailableError("another process is busy with a checkpoint", hint="try again")
            self._clock.sleep(0.05)

    def notify(self) -> None:
        """Something was appended; cheap enough for `Journal.committed`."""
        if not self._stirred.is_set():
            self._stirred.set()
            if self._thread is None:
                self._start()

    def step(self) -> float:
        """Look whether a checkpoint is due, and make it; the seconds until the next look.

        What goes wrong is told by `failed` and tried again, ever later, at most five minutes apart.
        """
        error: SecretStoreError
        try:
            if self._is_due():
                with turn(self.path / LOCK) as mine:
                    if mine:
                        self._attempt()
            return self._pause()
        except SecretStoreError as exc:
            error = exc
        except OSError as exc:
            error = UnavailableError("the journal cannot be read", hint=os.strerror(exc.errno or 0))
        self._growth = None
        self._fail(error.with_traceback(None))
        self._failures += 1
        return float(min(self._every * 2 ** min(self._failures - 1, 10), max(self._every, _LONGEST_PAUSE)))

    def status(self) -> dict[str, Any]:
        """What there is to say: the newest checkpoint, why the last attempt failed, how the exports stand.

        Raises:
            IntegrityError: the checkpoints are damaged.
        """
        last = newest(self.path)
        facts: dict[str, Any] = {"size": last.size, "time": last.time, "origin": last.origin} if last else {}
        return {
            **facts,
            "failed": trouble(self.path),
            "exports": [exporter.status() for exporter in self._exporters],
        }

    def close(self) -> None:
        """Make a last checkpoint if one is due, let the exports try once, and stop."""
        self._closing.set()
        self._stirred.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_PATIENCE)
            self.step()
        until = monotonic() + PATIENCE
        for exporter in self._exporters:
            exporter.end()
        for exporter in self._exporters:
            exporter.close(until)

    def after_fork(self) -> None:
        """In a forked child: begin anew; the parent's threads and its turn are the parent's."""
        for export in self._exports:
            export.after_fork()
        self._begin()

    def _notes(self) -> NoteSigner:
        if self._note_signer is None:
            name = self._signer.name if isinstance(self._signer, FileSigner) else self.origin
            self._note_signer = NoteSigner(name, self._signer)
        return self._note_signer

    def _attempt(self) -> Checkpoint | None:
        try:
            return self._make()
        except OSError as exc:
            failure = UnavailableError("the journal cannot be read", hint=os.strerror(exc.errno or 0))
        raise failure

    def _make(self) -> Checkpoint | None:
        """One checkpoint, in our turn. After any failure what is on disk is read anew."""
        growth, self._growth = self._growth or restore(self.path) or Growth(self.path), None
        growth = self._followed(growth)
        self._heed()
        grown = self._ordered(growth)
        last = grown.newest
        if grown.tree.size and (last is None or grown.tree.size > last.size):
            if grown.tree.size == growth.tree.size:  # another ordered all of it, and may have died at that
                LineFile(self.path / ORDER, self._files).settle()
            last = self._signed(grown)
        self._growth = grown
        self._settle()
        if last is not None:
            for exporter in self._exporters:
                exporter.notify()
        return last

    def _heed(self) -> None:
        """A journal that was set back would sign other trees than those that anchors have."""
        for exporter in self._exporters:
            exporter.resume()
        until = self._clock.monotonic() + PATIENCE
        for exporter in self._exporters:
            conflict = exporter.conflict(until)
            if conflict is not None:
                raise conflict

    def _followed(self, growth: Growth) -> Growth:
        """Read what others ordered since we last looked; if we remember wrongly, from the start."""
        remembered = growth.tree.size
        try:
            growth.follow(checkpoints(self.path, growth.noted))
        except IntegrityError:
            growth = Growth(self.path)
            growth.follow(checkpoints(self.path))
        if growth.tree.size < remembered:
            raise IntegrityError(
                f"{remembered} records were signed, and the order of records ends at {growth.tree.size}",
                hint="restore the journal; strongroom audit verify says what is missing",
            )
        return growth

    def _ordered(self, growth: Growth) -> Growth:
        grown = growth.copy()
        file = LineFile(self.path / ORDER, self._files)
        for run in grown.take():
            grown.ordered = file.append(run.line(), grown.ordered)
        return grown

    def _signed(self, grown: Growth) -> Checkpoint:
        text = body(self.origin, grown.tree.size, grown.tree.root())
        made = Checkpoint.parse(self._notes().sign(text), stamp(self._clock.now()))
        start = grown.noted
        grown.noted = LineFile(self.path / CHECKPOINTS, self._files).append(made.line(), start)
        grown.newest = made
        save(grown, start)
        return made

    def _settle(self) -> None:
        assert self._growth is not None
        stuck = [f"{chain}:{seq}" for chain, seq in self._growth.stuck.items()]
        self._fail(_does_not_follow(stuck[0]) if stuck else None)
        self._seen = _cursors(self._growth)
        self._pending, self._since, self._failures = 0, None, 0

    def _fail(self, error: SecretStoreError | None) -> None:
        self.failed = error
        tell(self.path / TROUBLE, str(error) if error else None, self._clock.now())

    def _is_due(self) -> bool:
        """Whether so many records, or so old ones, wait for a checkpoint."""
        if not self._seen and self._growth is None:
            self._seen = _cursors(restore(self.path))
        for line in Reader(self.path).lines(self._seen):
            self._seen[line.chain] = line.after
            self._pending += 1
        if self._pending and self._since is None:
            self._since = self._clock.monotonic() - self._age()
        waited = self._clock.monotonic() - self._since if self._since is not None else 0.0
        return self._pending >= self._records or waited >= self._every

    def _age(self) -> float:
        """Seconds since the last checkpoint, or the journal's beginning, at most `every`.

        So of many processes that are each too short for one, some process makes it.
        """
        last, then = newest(self.path), 0.0
        with contextlib.suppress(ValueError, OSError):
            about = (self.path / "journal.json").stat()
            then = datetime.fromisoformat(last.time[:26] + "+00:00").timestamp() if last else about.st_mtime
        return min(self._every, max(0.0, self._clock.now().timestamp() - then))

    def _pause(self) -> float:
        if self._since is None:
            return self._every
        return max(_GLANCE, self._since + self._every - self._clock.monotonic())

    def _start(self) -> None:
        with self._own:
            if self._thread is None and not self._closing.is_set():
                run = partial(self._run, self._stirred, self._closing)
                self._thread = threading.Thread(target=run, name="strongroom-checkpoint", daemon=True)
                self._thread.start()

    def _run(self, stirred: threading.Event, closing: threading.Event) -> None:
        while not self._clock.wait(closing, _GLANCE):
            for exporter in self._exporters:
                exporter.resume()
            stirred.clear()
            pause = self.step()
            # What fails is not tried sooner because there is more of it.
            self._clock.wait(closing if self._failures else stirred, pause)


def trouble(path: Path) -> str | None:
    """What keeps the journal in a folder from being signed, as the last process that tried it said."""
    return told(path / TROUBLE)


def _cursors(growth: Growth | None) -> Cursors:
    return {chain: place.cursor for chain, place in growth.places.items()} if growth else {}


def _does_not_follow(record: str) -> IntegrityError:
    return IntegrityError(
        f"{record} does not follow the record before it; that chain is signed up to there",
        hint="strongroom audit verify says more",
    )
