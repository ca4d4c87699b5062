"""Order at one store: which place each version of a secret has, and which the next one gets.

A version's own record counts if its digest is the value's, and if nothing was ordered above it since.
Otherwise the page has the version's record, or gives it one above all that was ever given out. So whatever is
current at a source always stands highest there in the end, whoever wrote, restored or promoted it::

    current, then its page  ->  counts?  -> its record
                                else     -> page, current once more, the page under compare-and-set

The order of these reads is model-checked (``tests/models/test_replication_order.py``).
"""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from strongroom.backend import ABSENT, Absent, Capability, Clock, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue

from .page import BEFORE_ALL, Page, Place, read_page, write_page
from .record import Record, digest_of
from .sheet import NO_TAKEOVER, Sheet, read_sheet, write_sheet
from .standing import Standing, Version, after, judged, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.backend import Backend, Secret

Maker = Callable[..., Record]
"""Makes the record of a value at the place it was made for; ``write_id=`` where a repeat must be the same."""

__all__ = ["DIGEST_KEY", "Maker", "Order", "Standing"]

DIGEST_KEY: Final = Reserved("digest-key", Name("replication"))
LOOKS_BACK: Final = 8
"""Older versions read for the last record, where a version has none: so many foreign writes in a row."""

_ATTEMPTS: Final = 10
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_LAGS: Final = 4
"""How often the current version is read where labels lag behind a write, before it counts as moved."""


@final
class Order:
    """The order of the secrets of one store: a source's, or a replica's. Its methods may be called by many.

    Args:
        backend: the store with its encryption, and without the layers above.
        domain: the logical id that the store shares with its replicas.
        clock: injected in tests.
        alias: the store's, by which its sheet knows it; without one, only a fence stops its writes.

    Raises:
        UnsupportedOperationError: from what writes, if the store has no compare-and-set.
    """

    def __init__(self, backend: Backend, domain: str, *, clock: Clock | None = None, alias: str = ""):
        self.backend, self.domain, self.alias = backend, domain, alias
        self.clock = clock or Clock()
        self._key: SecretValue | None = None

    def sheet(self) -> Sheet | None:
        """The store's sheet, read anew each time; None before the first write under replication.

        Raises:
            InvalidRequestError: it is another domain's.
        """
        sheet, _ = read_sheet(self.backend)
        if sheet and sheet.domain != self.domain:
            raise InvalidRequestError(f"this store replicates domain {sheet.domain}, not {self.domain}")
        return sheet

    def begin(self) -> Sheet:
        """The sheet, made with epoch 1 and a digest key where there is none: a source's first step.

        Raises:
            PermissionDeniedError: another store is the source, or this one is fenced.
            IntegrityError: the sheet is of a takeover, and the digest key is gone.
        """
        sheet = self.sheet() or self._first_sheet()
        sheet.require(self.alias)
        if self.digest_key() is None:
            if sheet.takeover != NO_TAKEOVER:
                raise IntegrityError(
                    "the digest key is missing at a source that was taken over",
                    hint="copy it from a replica: strongroom replica sync",
                )
            self.copy_digest_key(SecretValue(os.urandom(32)))
        return sheet

    def digest_key(self) -> SecretValue | None:
        """The domain's digest key; None if this store has none yet. It never changes once it is there."""
        if self._key is None:
            with contextlib.suppress(SecretNotFoundError):
                self._key = self.backend.get(DIGEST_KEY, Stage.CURRENT).value
        return self._key

    def copy_digest_key(self, key: SecretValue) -> SecretValue:
        """Keep the domain's digest key here unless there is one; the one that is here then."""
        with contextlib.suppress(SecretConflictError):
            self.backend.put(DIGEST_KEY, key, ABSENT)
        for pause in self._pauses():
            if held := self.digest_key():
                return held
            self.clock.sleep(pause)
        raise UnavailableError("the digest key that was just written is not there yet")

    def standing(self, name: Name, *, value: bool = True) -> Standing:
        """How a secret stands here: two requests.

        Args:
            name: the secret.
            value: read it too. Without it the record is taken at its word: nothing proves that it is of this
                value.

        Raises:
            IntegrityError: the page is damaged.
            SecretStoreError: as the backend says.
        """
        # The current version first. Read the other way round, a tombstone that is written in between would
        # not be seen, and a value at the same place as the tombstone would count.
        current = self._read(name) if value else self._told(name)
        page, _ = read_page(self.backend, name)
        return self._judged(name, page, current, proved=value)

    def verify(self, name: Name, secret: Secret) -> bool:
        """Whether a secret bears a record of this domain that is of exactly its value."""
        return self.proves(name, parsed(secret.record), secret.value)

    def proves(self, name: Name, record: Record | None, value: SecretValue | None) -> bool:
        """Whether a record is of exactly this value, or of a deletion where that is None."""
        key = self.digest_key() if record else None
        if key is None or record is None:
            return False
        return hmac.compare_digest(record.digest, digest_of(key, str(name), value, *record.order))

    def bind(self, name: Name, version: str, *, floor: Record | None = None) -> Record:
        """The record of the version that is current, given to it on the page if none counts.

        Args:
            name: the secret.
            version: the one that was read as current.
            floor: what a replica holds: the record will be above it.

        Raises:
            SecretConflictError: it is not current any more.
            IntegrityError: its value does not open, so that nothing can be said of it.
            PermissionDeniedError: another store is the source.
            UnavailableError: the page was written by others each time; nothing was bound.
        """
        epoch, above = self.begin().epoch, floor.order if floor else BEFORE_ALL
        moved = 0
        for pause in self._pauses():
            page, at = read_page(self.backend, name)
            # Current is read after the page: had anything been bound above it before, it would be seen now,
            # and whatever is bound from here on makes the compare-and-set fail.
            current = self._read(name, opens=True)
            if current is None or current.id != version or current.secret is None:
                moved += 1
                if moved < (_LAGS if self.backend.eventual else 1):
                    self.clock.sleep(pause)
                    continue
                raise SecretConflictError("the version is not current any more", name=str(name))
            held = self._judged(name, page, current).record
            if held and held.order > above:
                return held
            place = after(epoch, max(above, page.floor, self._known(name, current, epoch)))
            record = self._maker(name, place)(current.secret.value)
            if self._written(name, page.with_binding(version, record), at):
                # A write that landed meanwhile stands below now, and would come before what it replaced.
                self._require_current(name, version)
                return record
            self.clock.sleep(pause)
        raise _crowded(name)

    def bury(self, name: Name, *, floor: Record | None = None, gone: bool = False) -> Record:
        """The record of a deletion, on the page before the secret is deleted, or after it has vanished.

        Args:
            name: the secret.
            floor: what a replica holds: the record will be above it.
            gone: the secret is not there already, by a read of its name.

        Raises:
            SecretConflictError: it is there, though it should be gone.
            PermissionDeniedError: another store is the source.
            UnavailableError: the page was written by others each time.
        """
        epoch, above = self.begin().epoch, floor.order if floor else BEFORE_ALL
        for pause in self._pauses():
            page, at = read_page(self.backend, name)
            current = self._read(name)
            if current and gone:
                raise SecretConflictError("the secret is there", name=str(name))
            held = self._judged(name, page, current).record
            if held and not current and held.order > above:
                return held
            known = max(above, page.floor, held.order if held else self._known(name, current, epoch))
            record = self._maker(name, after(epoch, known, unseen=current is None))(None)
            buried = page.with_tombstone(record, held if current else None)
            if self._written(name, buried, at) and self._is_above(name, record):
                return record
            self.clock.sleep(pause)
        raise _crowded(name)

    def next(self, name: Name, version: str | Absent | None = None) -> tuple[str | None, Maker]:
        """The version that a write replaces (None if there is none), and what makes the write's record.

        The write must be compare-and-set on that version: else two writes could have one place.

        Args:
            name: the secret.
            version: the one to be replaced, or ABSENT, if that is not whatever is current.

        Raises:
            SecretConflictError: the version is not there, or what is current changed just now.
            PermissionDeniedError: another store is the source.
            UnavailableError: with ``performed=False``: nothing was written.
        """
        with _nothing_written():
            epoch = self.begin().epoch
            current = None if version is ABSENT else self._read(name, version or Stage.CURRENT)
            if current is None and isinstance(version, str):
                raise SecretConflictError(
                    "if_version is not the current version",
                    hint="read it again; if it was deleted, restore or purge it first",
                )
            page, _ = read_page(self.backend, name)
            known = self._judged(name, page, current).record
            if current and current.secret and not known:
                known = self.bind(name, current.id)
            above = max(page.floor, known.order if current and known else self._known(name, current, epoch))
            made = self._maker(name, after(epoch, above, unseen=current is None))
            return current.id if current else None, made

    def _read(
        self, name: Name, version: str | Stage = Stage.CURRENT, *, opens: bool = False
    ) -> Version | None:
        """A version, or None. One that does not open can still be replaced, unless it must open."""
        error = None
        try:
            secret = self.backend.get(name, version)
        except SecretNotFoundError:
            return None
        except IntegrityError as exc:
            error = exc
        if error is None:
            return Version(secret.version, parsed(secret.record), secret)
        if opens or Capability.DESCRIBE not in self.backend.capabilities:
            raise error
        told = self._told(name)
        return told if told and version in (Stage.CURRENT, told.id) else None

    def _told(self, name: Name) -> Version | None:
        """The current version by what the store tells of it, without its value where that can be spared."""
        if Capability.DESCRIBE not in self.backend.capabilities:
            return self._read(name)
        try:
            info = self.backend.describe(name)
        except SecretNotFoundError:
            return None
        return Version(info.newest.id, parsed(info.record), None) if info.newest else None

    def _judged(self, name: Name, page: Page, current: Version | None, *, proved: bool = True) -> Standing:
        own, secret = (current.own, current.secret) if current else (None, None)
        genuine = not proved or (secret is not None and self.proves(name, own, secret.value))
        return judged(name, page, current, genuine=genuine)

    def _known(self, name: Name, current: Version | None, epoch: int) -> Place:
        """The highest place that the secret's versions tell of, proved or not.

        One of a later epoch, which proves nothing here, is not believed: it would stop all writes.
        """
        if current and current.own:
            told = [current.own]
        else:
            told = list(self._history(name, current.id if current else None))
        return max((record.order for record in told if record.epoch <= epoch), default=BEFORE_ALL)

    def _history(self, name: Name, besides: str | None) -> Iterator[Record]:
        """The newest record among a secret's older versions, if there is one."""
        if Capability.VERSIONS not in self.backend.capabilities:
            return
        older: list[str] = []
        with contextlib.suppress(SecretNotFoundError):
            older = [version.id for version in self.backend.versions(name) if version.id != besides]
        for version in older[:LOOKS_BACK]:
            with contextlib.suppress(SecretNotFoundError, IntegrityError):
                if record := parsed(self.backend.get(name, version).record):
                    yield record
                    return

    def _require_current(self, name: Name, version: str) -> None:
        current = self._read(name)
        if current is None or current.id != version:
            raise SecretConflictError("the version is not current any more", name=str(name))

    def _is_above(self, name: Name, tombstone: Record) -> bool:
        """Whether no writer that had not seen the tombstone took its place meanwhile."""
        current = self._read(name)
        own = current.own if current else None
        return own is None or own.epoch > tombstone.epoch or own.order < tombstone.order

    def _maker(self, name: Name, place: Place) -> Maker:
        def made(value: SecretValue | None, *, write_id: str | None = None) -> Record:
            key = self.digest_key()
            if key is None:
                raise IntegrityError("the digest key is missing")
            return Record(*place, write_id or new_write_id(), digest_of(key, str(name), value, *place))

        return made

    def _written(self, name: Name, page: Page, if_version: str | None) -> bool:
        """False if another was first, or if that is not known: reading again tells."""
        try:
            write_page(self.backend, name, page, if_version)
        except SecretConflictError:
            return False
        except UnavailableError as error:
            if error.performed is False:
                raise
            return False
        return True

    def _first_sheet(self) -> Sheet:
        first = Sheet(self.domain, 1, NO_TAKEOVER, self.alias)
        with contextlib.suppress(SecretConflictError):
            write_sheet(self.backend, first, None)
        for pause in self._pauses():
            if sheet := self.sheet():
                return sheet
            self.clock.sleep(pause)
        raise UnavailableError("the replication sheet that was just written is not there yet")

    def _pauses(self) -> Iterator[float]:
        pause = _FIRST_PAUSE
        for _ in range(_ATTEMPTS):
            yield pause * self.clock.chance()
            pause = min(2 * pause, _LONGEST_PAUSE)


def new_write_id() -> str:
    """Of a write that nobody has tried before."""
    return os.urandom(16).hex()


def _crowded(name: Name) -> UnavailableError:
    return UnavailableError("the replication page is written by too many at once", name=str(name))


@contextlib.contextmanager
def _nothing_written() -> Iterator[None]:
    """What comes before a write has written nothing of it, whatever became of the page."""
    try:
        yield
    except UnavailableError as error:
        error.performed = False
        raise
