"""What the guard asks of a token: a secret's newest version, all of them, and one attempt to make another.

An object's value cannot be changed, so that each version is an object of its own. A write makes the new one
under the secret's name, then renames the one before, then destroys the oldest. Whoever is killed between two
of these calls leaves the new version and the old one under one name, and never neither; whoever writes next
finishes. Strongroom knows which of them is newer; another program may get either until then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pkcs11

from strongroom.backend import Secret, SecretVersion, Stage
from strongroom.errors import SecretNotFoundError, SecretStoreError
from strongroom.guarded import Head, Stamp
from strongroom.names import Key
from strongroom.retry import attempts

from . import _entries
from ._entries import Entry
from ._errors import error_for
from ._mark import Mark, digests, number_of
from .sessions import Token

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.value import Kind, SecretValue

    from .uri import TokenURI

T = TypeVar("T")
SALT_BYTES: Final = 16
_log = logging.getLogger(__name__)


class Versions:
    """The secrets of one token, as `strongroom.guarded.Port`.

    Args:
        uri: which token.
        settings: module, PIN, timeout, attempts and clock.
        place: where a key lives on the token.
        keep: how many versions of a key, the newest included.
        origin: what answers say of where they came from.
    """

    def __init__(
        self,
        uri: TokenURI,
        settings: Settings,
        place: Callable[[Key], str],
        keep: Callable[[Key], int],
        origin: str,
    ):
        self._settings, self._place, self._keep, self._origin = settings, place, keep, origin
        self._token = Token(uri, settings)

    def read(self, work: Callable[[Any], T]) -> T:
        """What `work(session)` returns; tried again where the token fails for the moment."""
        return attempts(self._settings, partial(self._attempt, "get", work), again=True)

    def change(self, operation: str, work: Callable[[Any], T]) -> T:
        """One attempt of something that changes the token.

        Raises:
            UnavailableError: `performed` is None if the token failed midway.
        """
        outcome = self._attempt(operation, work)
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return outcome

    def head(self, key: Key) -> Head | None:
        """The newest version."""
        path = self._place(key)

        def head(session: Any) -> Head | None:
            found = _entries.current(session, path)
            return found.head if found else None

        return self.read(head)

    def heads(self, key: Key) -> Sequence[Head]:
        """Every version, newest first."""
        path = self._place(key)
        return self.read(lambda session: _entries.heads(_entries.history(session, path)))

    def known(self, key: Key) -> dict[str, SecretVersion]:
        """Every version, by id."""
        path = self._place(key)
        return self.read(lambda session: {v.version: public(v) for v in _entries.history(session, path)})

    def newest(self, key: Key) -> Secret:
        """The current version, with its value."""
        path = self._place(key)

        def newest(session: Any) -> Secret:
            return self._secret(key, _entries.current(session, path, value=True), Stage.CURRENT)

        return self.read(newest)

    def get(self, key: Key, version: str) -> Secret:
        """One version, with its value."""
        path = self._place(key)
        return self.read(lambda session: self._secret(key, _find(session, path, version), None))

    def write(self, key: Key, value: SecretValue, record: str | None, stamp: Stamp) -> SecretVersion:
        """One attempt to make a new version: value, kind, record and stamp in one call.

        Raises:
            UnavailableError: `performed` is None if the token failed during that call.
        """
        path = self._place(key)
        # Apart: what fails before the one call that writes has certainly written nothing.
        mark = self.change("get", lambda session: self._mark(session, path, value.kind, record, stamp))
        self.change("put", lambda session: _entries.create(session, mark, value))
        self._tidy(key)
        return mark.public(Stage.CURRENT)

    def retire(self, key: Key, version: str) -> None:
        """Destroy exactly this version. If it was the newest, no older one takes its place."""
        path, keep = self._place(key), self._keep(key)

        def destroyed(session: Any) -> None:
            _entries.tidy(session, path, keep)
            found = [entry for entry in _entries.everything(session, path) if entry.version == version]
            for entry in found:
                entry.destroy()

        self._again("retire", destroyed)

    def purge(self, *keys: Key) -> None:
        """Destroy every version of these, the newest last: what is left after a crash is still whole.

        Raises:
            SecretNotFoundError: the first of them has none.
        """
        paths = [self._place(key) for key in keys]

        def destroyed(session: Any) -> bool:
            found = [_entries.ordered(_entries.everything(session, path)) for path in paths]
            for line in reversed(found):
                for entry in reversed(line):
                    entry.destroy()
            return bool(found[0])

        if not self._again("purge", destroyed):
            raise SecretNotFoundError("no such secret")

    def close(self) -> None:
        """Leave the token."""
        self._token.close()

    def _mark(self, session: Any, path: str, kind: Kind, record: str | None, stamp: Stamp) -> Mark:
        before = number_of(stamp.before) or _highest(session, path)
        foreign = [entry.value for entry in _entries.bearers(session, path) if not entry.mark]
        salt = os.urandom(SALT_BYTES).hex() if foreign else ""
        now, over = self._settings.clock.now(), digests(salt, foreign)
        return Mark(path, before + 1, stamp, kind, now, record, over, salt)

    def _tidy(self, key: Key) -> None:
        """The version is written, whatever comes of this."""
        path, keep = self._place(key), self._keep(key)
        try:
            self._again("put", lambda session: _entries.tidy(session, path, keep))
        except SecretStoreError as exc:
            problem = exc.message
        else:
            return
        _log.warning("%s: older versions keep the secret's label for now: %s", path, problem)

    def _again(self, operation: str, work: Callable[[Any], T]) -> T:
        """For what may be done twice."""
        return attempts(self._settings, partial(self._attempt, operation, work), again=True)

    def _attempt(self, operation: str, work: Callable[[Any], T]) -> T | SecretStoreError:
        """It returns its error: python-pkcs11's frames, and what they hold, end here."""
        error: SecretStoreError | None
        try:
            with self._token.session() as session:
                return work(session)
        except SecretStoreError as exc:
            error = exc.with_traceback(None)
        except pkcs11.PKCS11Error as exc:
            error = error_for(exc, operation)
        assert error is not None
        return error

    def _secret(self, key: Key, found: Entry | None, stage: Stage | None) -> Secret:
        if found is None:
            raise SecretNotFoundError("no such secret or version")
        mark, now = found.mark, self._settings.clock.now()
        made, record = (mark.created_at, mark.record) if mark else (None, None)
        return Secret(str(key), found.value, found.version, stage, self._origin, made, now, record=record)


def public(entry: Entry, *stages: Stage) -> SecretVersion:
    """An entry as users see it. When a foreign one was made nothing tells."""
    return entry.mark.public(*stages) if entry.mark else SecretVersion(entry.version, None, frozenset(stages))


def _find(session: Any, path: str, version: str) -> Entry | None:
    return next((entry for entry in _entries.history(session, path) if entry.version == version), None)


def _highest(session: Any, path: str) -> int:
    return max((entry.mark.number for entry in _entries.ours(session, path) if entry.mark), default=0)
