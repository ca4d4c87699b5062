"""The journal: whoever appends gets an answer when the record would outlive a power cut, many at one sync."""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError

from .chains import Chain, claim
from .segments import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEGMENT_BYTES: Final = 2**26
FLUSH_SECONDS: Final = 0.5
"""How long what nobody waits for is gathered: DESIGN allows a crash to lose a second of it."""

_HINTS: Final = {
    errno.ENOSPC: "its disk is full: free space there",
    errno.EDQUOT: "its owner's quota is used up: free space there",
    errno.EFBIG: "it met a limit of file size: raise it",
    errno.EROFS: "its disk is mounted read-only: mount it for writing",
    errno.EACCES: "this user may not write there: give it the folder",
    errno.EPERM: "this user may not write there: give it the folder",
    errno.ENOENT: "its folder is gone: restore it",
    errno.EIO: "its disk fails: replace it",
}


class _Batch:
    """Those who wait for one write. Who comes through the gate first writes; then it stays open.

    A condition would have each of them fight for the journal's lock again when it wakes: at a hundred
    threads that takes longer than the disk.
    """

    __slots__ = ("done", "gate", "problem", "waiters")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.done, self.waiters = False, 0
        self.problem: OSError | None = None


@final
class Journal:
    """Appends records to a journal, from any thread, each process to a chain of its own.

    A record whose write failed was refused to its caller, yet keeps its place: readers may have seen it. It
    is written when the disk answers again, before anything else; so an intent without an outcome may be one
    that was refused.

    Attributes:
        path: the journal's folder.
        failed: why the last write failed, until one succeeds.
    """

    def __init__(self, path: Path, clock: Clock, segment_bytes: int, files: Files):
        self.path = path
        self.failed: SecretStoreError | None = None
        self._clock, self._segment_bytes, self._files = clock, segment_bytes, files
        self._callbacks: list[Callable[[], None]] = []
        self._closed = False
        self._chain: Chain | None = None
        self._begin()
        _journals.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Clock | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        origin: str | None = None,
        files: Files | None = None,
    ) -> Self:
        """A journal in a folder, which is made if it does not exist (0700).

        A disk that refuses is told by `failed`, and by every `append` until it takes something.

        Args:
            segment_bytes: a segment that holds so many bytes is followed by another.
            origin: what the journal's checkpoints call it; of an existing journal it must be the same.

        Raises:
            InvalidRequestError: the journal has another origin, or the folder holds something else.
        """
        journal = cls(Path(path), clock or Clock(), segment_bytes, files or Files())
        try:
            _make(journal.path, origin, journal._files)
        except OSError as problem:
            refused = problem
        else:
            return journal
        journal.failed = journal._unavailable(refused)
        return journal

    def append(self, fields: Mapping[str, Any], *, durable: bool = True) -> str:
        """Add a record and return its id, ``<chain>:<seq>``.

        Args:
            fields: its `kind` and what that kind holds; `time` too, if it is not now.
            durable: return when it would outlive a power cut; otherwise at once, and it will within a second.

        Raises:
            UnavailableError: with ``performed=False``, it could not be made durable, or records before it.
            InvalidRequestError: not a record, or the journal is closed.
        """
        record: str | None = None
        while record is None:
            record, batch = self._place(fields, durable=durable)
            if batch is not None:
                self._settle(batch)
        if not durable:
            self._flush_soon()
        self._tell()
        return record

    def flush(self) -> None:
        """Return when everything that was appended is durable.

        Raises:
            UnavailableError: it could not be made so.
        """
        with self._lock:
            if self._chain is None or not (self._chain.waiting or self._leading):
                return
            batch = self._join()
        self._settle(batch)
        self._tell()

    def close(self) -> None:
        """Flush, and leave the chain to the next process that wants one.

        Raises:
            UnavailableError: some records could not be made durable.
        """
        with self._lock:
            self._closed = True
        try:
            self.flush()
        finally:
            self._closing.set()
            self._stirred.set()
            with self._lock:
                self._give_up()

    def committed(self, callback: Callable[[], None]) -> None:
        """Call this after each write, in the thread of one who waited for it; it must be quick."""
        self._callbacks.append(callback)

    def after_fork(self) -> None:
        """Begin a chain of our own: the parent's locks, records and descriptors are the parent's."""
        self._give_up()
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._batch = _Batch()
        self._leading = self._news = False
        self._closing, self._stirred = threading.Event(), threading.Event()
        self._flusher: threading.Thread | None = None

    def _give_up(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            chain.close()

    def _place(self, fields: Mapping[str, Any], *, durable: bool) -> tuple[str | None, _Batch | None]:
        """The record's id and whom to wait with; without an id if something must be written first."""
        with self._lock:
            if self._closed:
                raise InvalidRequestError("the audit journal is closed")
            if self._chain is None:
                self._chain = self._claimed()
            if self.failed is not None:
                return None, self._join()
            return self._chain.add(fields), self._join() if durable else None

    def _claimed(self) -> Chain:
        problem: OSError
        try:
            _make(self.path, None, self._files)
            chain = claim(self.path / "chains", self._files, self._clock, self._segment_bytes)
            chain.begin(_library())
        except OSError as exc:
            problem = exc
        else:
            return chain
        self.failed = self._unavailable(problem)
        raise self._unavailable(problem)

    def _join(self) -> _Batch:
        """Wait with those of the next write; if nobody writes, its gate is open."""
        self._batch.waiters += 1
        if not self._leading:
            self._leading = True
            self._batch.gate.release()
        return self._batch

    def _settle(self, batch: _Batch) -> None:
        with batch.gate:
            if not batch.done:
                self._lead(batch)
        if batch.problem is not None:
            raise self._unavailable(batch.problem)

    def _lead(self, batch: _Batch) -> None:
        """Write what has gathered, without the lock, so that the next batch gathers meanwhile."""
        with self._lock:
            chain, self._batch = self._chain, _Batch()
        problem: OSError | None = InterruptedError(errno.EINTR, "")
        try:
            if chain is not None:  # closed while we waited our turn: that wrote what there was
                chain.write()
            problem = None
        except OSError as exc:
            problem = exc.with_traceback(None)
        except BaseException:
            self._give_up()
            raise
        finally:
            with self._lock:
                self._written(batch, problem)

    def _written(self, batch: _Batch, problem: OSError | None) -> None:
        """Tell those who waited; after a failure also those of the next batch, whose records stand behind."""
        self.failed = None if problem is None else self._unavailable(problem)
        self._news = problem is None
        late = self._batch
        if problem is not None:
            self._batch = _Batch()
            late.done, late.problem = True, problem
        batch.done, batch.problem = True, problem
        self._leading = problem is None and late.waiters > 0
        if self._leading or problem is not None:
            late.gate.release()

    def _tell(self) -> None:
        if self._news:
            self._news = False
            for callback in self._callbacks:
                callback()

    def _flush_soon(self) -> None:
        if not self._stirred.is_set():  # setting it takes a lock: a tenth of what a record costs
            self._stirred.set()
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flushing, name="strongroom-audit", daemon=True)
            self._flusher.start()

    def _flushing(self) -> None:
        closing, stirred = self._closing, self._stirred
        while not closing.is_set():
            stirred.wait()
            stirred.clear()
            self._clock.wait(closing, FLUSH_SECONDS)
            with contextlib.suppress(UnavailableError):  # `failed` says it, and the next append
                self.flush()

    def _unavailable(self, problem: OSError) -> UnavailableError:
        code = problem.errno or 0
        hint = _HINTS.get(code, "see that its disk works")
        name = errno.errorcode.get(code, "error")
        return UnavailableError(
            f"the audit journal at {self.path} cannot be written ({name})", performed=False, hint=hint
        )


def _make(path: Path, origin: str | None, files: Files) -> None:
    """The journal's folders and the file that names it, whole and durable, whoever else is making them."""
    path.mkdir(0o700, parents=True, exist_ok=True)
    (path / "chains").mkdir(0o700, exist_ok=True)
    about = path / "journal.json"
    if not about.exists():
        _create(about, origin or _origin(), files)
    found = origin_of(path)
    if origin not in (None, found):
        raise InvalidRequestError(
            f"the audit journal at {path} has another origin", hint="give each its own folder"
        )


def _create(about: Path, origin: str, files: Files) -> None:
    draft = about.with_name(f".{about.name}.{os.urandom(8).hex()}")
    descriptor = files.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        files.write(
            descriptor, json.dumps({"v": 1, "origin": origin}, separators=(",", ":")).encode() + b"\n"
        )
        files.sync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, about)
    finally:
        os.close(descriptor)
        draft.unlink(missing_ok=True)
    for folder in (about.parent, about.parent.parent):
        files.sync_folder(folder)


def origin_of(path: str | os.PathLike[str]) -> str:
    """What the checkpoints of the journal in this folder call it.

    Raises:
        InvalidRequestError: the folder holds no journal.
    """
    origin: object = None
    with contextlib.suppress(ValueError, FileNotFoundError, NotADirectoryError):
        about = json.loads((Path(path) / "journal.json").read_bytes())
        origin = about.get("origin") if isinstance(about, dict) and about.get("v") == 1 else None
    if not isinstance(origin, str) or not origin:
        raise InvalidRequestError(f"there is no audit journal at {path}")
    return origin


def _origin() -> str:
    return f"strongroom/{os.uname().nodename}/{os.urandom(4).hex()}"


def _library() -> str:
    from importlib import metadata

    try:
        return f"strongroom {metadata.version('strongroom')}"
    except metadata.PackageNotFoundError:  # a packer stripped *.dist-info
        return "strongroom"


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork() -> None:
    for journal in list(_journals):
        journal.after_fork()


def _at_exit() -> None:
    """What nobody waited for is written when the program ends; what cannot be is lost with it."""
    for journal in list(_journals):
        with contextlib.suppress(UnavailableError):
            journal.flush()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
