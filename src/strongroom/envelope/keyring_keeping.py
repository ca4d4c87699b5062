"""A keyring's one message: making it, reading it, and writing it anew without losing what others wrote."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple, final

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)

from .keyring_document import Document, VersionKey

if TYPE_CHECKING:
    from strongroom.backend import Clock

    from .keyring_places import Held, KeyringPlace
    from .keyring_roots import Roots

_ATTEMPTS: Final = 40
_LAG_PAUSE: Final = 0.5  # so that all attempts together outlast any lag
_CONFLICT_PAUSE: Final = 0.02  # at most, at random, so that two who met do not meet again


class _Mark(NamedTuple):
    """What was seen in a place: which keyring, how new, and when."""

    id: str
    generation: int
    since: float


# The newest that this process has seen in each place. Without a lock: of two threads that raise it at once,
# one may lose, and each keyring object remembers its own as well.
_newest: dict[str, _Mark] = {}


class Opened(NamedTuple):
    """A keyring's message and what it says; its repr shows no key.

    Attributes:
        passed_over: key ids of roots that should have opened it and did not.
    """

    document: Document
    message: bytes
    passed_over: tuple[str, ...] = ()


class Rewrapped(NamedTuple):
    """What `Keyring.rewrap` changed: key ids of the roots added and removed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@final
class Keeper:
    """Reads and writes the message of one keyring.

    Everything is written by compare-and-set on top of what was read. Each write counts the generation up, so
    that what is older, or another history with the same number, is noticed.
    """

    def __init__(self, place: KeyringPlace, roots: Roots, name: str, clock: Clock):
        self.place, self.roots, self.name, self._clock = place, roots, name, clock
        self._seen: Opened | None = None
        self._mark: _Mark | None = None

    def create(self) -> Opened:
        """Make a keyring with one version where none is. Raises as `Keyring.create`."""
        if self._found() is not None:
            raise self._exists()
        first = VersionKey.generate(self._clock.now())
        made = self._sealed(Document.begin(first))
        # The counter comes first: a version that others can see has one, whenever this process is killed.
        self.place.create_counter(key_name(made.document, first))
        if not self._written(made.message, None):
            raise self._exists()
        return self._saw(made)

    def open(self) -> Opened:
        """What is in the place. Raises as `Keyring.open`."""
        for _ in range(_ATTEMPTS):
            known = self._known()
            opened = self._opened(self.place.read().message)
            if self._is_newest(opened, known):
                return self._saw(opened)
            self._clock.sleep(_LAG_PAUSE)
        raise UnavailableError(f"{self.place.where} answers with an older keyring", hint="repeat it")

    def newer(self) -> Opened | None:
        """What is in the place now, or None if that is what was last seen: then no root is called.

        Raises as `Keyring.open`.
        """
        known, seen = self._known(), self._seen
        message = self.place.read().message
        same = seen is not None and message == seen.message
        opened = seen if seen is not None and same else self._opened(message)
        return self._saw(opened) if self._is_newest(opened, known) and not same else None

    def change(self, added: VersionKey | None, *, drop_roots: bool) -> tuple[Opened, Rewrapped]:
        """Write what is in the place anew, with `added` as its primary if it is given.

        Raises as `Keyring.rotate`.
        """
        counted = added is None
        for _ in range(_ATTEMPTS):
            known, held = self._known(), self.place.read()
            before = self._opened(held.message)
            if not self._is_newest(before, known):
                self._clock.sleep(_LAG_PAUSE)
                continue
            if added and before.document.has(added.name):  # the answer was lost, and others wrote since
                return self._saw(before), Rewrapped()
            after, changed = self._resealed(before, added, drop_roots=drop_roots)
            if added and not counted:
                self.place.create_counter(key_name(after.document, added))
                counted = True
            if self._written(after.message, held):
                return self._saw(after), changed
            self._clock.sleep(random.uniform(0, _CONFLICT_PAUSE))  # noqa: S311  (no secret)
        raise SecretConflictError(f"others changed the keyring in {self.place.where} each time")

    def _sealed(self, document: Document, passed_over: tuple[str, ...] = ()) -> Opened:
        return Opened(document, self.roots.seal(document.to_json(), self.name), passed_over)

    def _resealed(
        self, before: Opened, added: VersionKey | None, *, drop_roots: bool
    ) -> tuple[Opened, Rewrapped]:
        after = self._sealed(before.document.next(added), before.passed_over)
        # Judged after sealing: by then each root has answered, and an alias knows which key it means.
        removed = tuple(root.key_id for root in self.roots.named_in(before.message) if not root.configured)
        if removed and not drop_roots:
            raise InvalidRequestError(
                f"keyring {self.name} has roots that are not configured: {', '.join(removed)}",
                hint=f"configure them, or drop them with strongroom key rewrap {self.name} --drop-roots",
            )
        return after, Rewrapped(self.roots.missing_in(before.message), removed)

    def _opened(self, message: bytes) -> Opened:
        plain, passed_over = self.roots.open(message, self.name)
        return Opened(Document.from_json(plain.value, self.place.where), message, passed_over)

    def _known(self) -> _Mark | None:
        """Taken before the place is read: what another thread writes in between is no rollback."""
        return _newest.get(self.place.where)

    def _saw(self, opened: Opened) -> Opened:
        document, known = opened.document, self._known()
        mark = _Mark(document.id, document.generation, self._clock.monotonic())
        if known is None or known.id != mark.id or known.generation < mark.generation:
            _newest[self.place.where] = mark
        if self._mark is None or self._mark.generation < mark.generation:
            self._mark = mark
        self._seen = opened
        return opened

    def _is_newest(self, opened: Opened, known: _Mark | None) -> bool:
        """Whether nothing newer was seen here; False where labels lag, so that it may yet come.

        Raises:
            IntegrityError: the keyring was exchanged or set back.
        """
        document, seen, where = opened.document, self._seen, self.place.where
        if seen is not None and seen.document.id != document.id:
            raise IntegrityError(f"another keyring stands in {where}", hint=_RESTART)
        marks = [mark for mark in (known, self._mark) if mark is not None and mark.id == document.id]
        newer = [mark for mark in marks if mark.generation > document.generation]
        if any(self._clock.monotonic() - mark.since < self.place.settles for mark in newer):
            return False
        if newer:
            raise IntegrityError(f"an older keyring was put back in {where}", hint=_RESTART)
        same = seen is not None and seen.document.generation == document.generation
        if seen is not None and same and seen.message != opened.message:
            raise IntegrityError(f"a keyring of another history stands in {where}", hint=_RESTART)
        return True

    def _written(self, message: bytes, over: Held | None) -> bool:
        """Whether the message is in the place now; False if something else came first."""
        try:
            self.place.write(message, over)
            return True
        except SecretConflictError:
            return False
        except UnavailableError as error:
            if error.performed is not None:
                raise
            lost = error
        found = self._read_back()
        if found is None or (over is not None and found.message == over.message):
            raise lost
        return found.message == message

    def _read_back(self) -> Held | None:
        try:
            return self.place.read()
        except SecretStoreError:  # what is told is the write's own error
            return None

    def _found(self) -> Held | None:
        try:
            return self.place.read()
        except SecretNotFoundError:
            return None

    def _exists(self) -> SecretConflictError:
        return SecretConflictError(
            f"there is a keyring in {self.place.where} already",
            hint="it was not changed: open it; if it was deleted, restore it there",
        )


_RESTART: Final = "find out who wrote there; if it was restored on purpose, restart this process"


def key_name(document: Document, version: VersionKey) -> str:
    """The name of a version's key in messages, and of its wrap counter."""
    return f"{document.id}/{version.name}"
