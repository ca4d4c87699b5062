"""Under other keys: one secret of an encrypted store decrypted, verified and written anew.

Judged by the header of what is stored, so that a run which was cut short is simply repeated. The write is a
compare-and-set on the version that was read: a value that somebody writes meanwhile is never replaced by the
one before it. It revokes nothing: previous versions stay as they are, under the keys they were written under.
"""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, final

from strongroom.backend import Capability, SecretVersion, Stage
from strongroom.companion import Frame
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
)
from strongroom.names import Companion, Name
from strongroom.stages import supports_pending
from strongroom.value import SecretValue

from .encrypted import Encrypted
from .failover import Failover
from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.backend import Backend, Secret
    from strongroom.names import Key

_ATTEMPTS: Final = 5
_TO_ENCRYPT: Final = "write encrypt with allow_plaintext = true there; then what is stored can be reencrypted"


class Outcome(enum.Enum):
    """What became of one secret.

    DONE: it was written anew. ALREADY: there is nothing to do. DUE: a dry run, it would be written anew.
    PENDING: a rotation's value waits to follow it; neither is touched, since a new current version would end
    that rotation. Repeat when the rotation is over.
    """

    DONE = "done"
    ALREADY = "already"
    DUE = "due"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """What `SecretStore.reencrypt` did.

    Attributes:
        outcome: what became of the current version.
        written: the new current version, if there is one.
        pending: ids of rotations whose values wait under other keys than the store's; they are not touched.
        audit_degraded: it happened, but its outcome could not be recorded.
    """

    outcome: Outcome
    written: SecretVersion | None = None
    pending: tuple[str, ...] = ()
    audit_degraded: bool = False

    @property
    def version(self) -> str | None:
        """The id of what was written."""
        return self.written.id if self.written else None


class _Waiting(NamedTuple):
    """What a rotation left: whose, the version to be followed, if a value waits, if under other keys."""

    rotation_id: str
    base: str | None
    held: bool
    due: bool


def encryption(backend: Backend) -> Encrypted:
    """The layer that encrypts a store by its configuration.

    Raises:
        InvalidRequestError: the store is plain, or encrypted by its own key alone, as the embedded one is; or
            a failover, whose members have keys of their own.
    """
    layer: Backend = backend
    while isinstance(layer, Layer) and not isinstance(layer, (Encrypted, Failover)):
        layer = layer.inner
    if isinstance(layer, Failover):
        raise InvalidRequestError(f"{backend.origin} is a failover", hint="name its members one by one")
    if not isinstance(layer, Encrypted) or layer.inner.own_key() in layer.keys:
        raise InvalidRequestError(f"{backend.origin} has no encrypt in strongroom.toml", hint=_TO_ENCRYPT)
    return layer


@final
class Reencryption:
    """Puts what one layer holds under exactly its keys.

    Args:
        layer: its keys are those to be used, its old keys open what is there.
        dry_run: look, decrypt and verify, and write nothing.
    """

    def __init__(self, layer: Encrypted, *, dry_run: bool = False):
        self._layer, self._stored, self._dry_run = layer, layer.inner, dry_run

    def of(self, name: Name) -> Reencrypted:
        """One secret: its current version, and the companion that its last rotation left.

        Raises:
            SecretNotFoundError: it is not there, or not any more.
            SecretConflictError: others wrote each time.
            IntegrityError: it does not open.
            SecretStoreError: as the backend or a key says.
        """
        for _ in range(_ATTEMPTS):
            current = self._stored.get(name, Stage.CURRENT)
            due = self._is_due(name, current.value)
            waiting = [*self._held(name), *self._companion(name, due)]
            pending = tuple([one.rotation_id for one in waiting if one.held and one.due])
            if any(one.held and one.base == current.version and (due or one.due) for one in waiting):
                return Reencrypted(Outcome.PENDING, None, pending)
            version = self._anew(name, current) if due else None
            if due and not self._dry_run and not version:
                continue  # somebody wrote it meanwhile: look at theirs
            over = any(one.due and not one.held for one in waiting)
            return Reencrypted(self._outcome(due or over), version, pending)
        raise SecretConflictError("others write the secret all the time", hint="repeat it later")

    def beside(self, key: Key) -> Outcome | None:
        """What the store keeps for its own work, under a key of the reserved name space; None if not there.

        Raises:
            IntegrityError: it does not open.
            SecretStoreError: as the backend or a key says.
        """
        with contextlib.suppress(SecretNotFoundError):
            stored = self._stored.get(key, Stage.CURRENT)
            due = self._is_due(key, stored.value)
            if due:
                self._anew(key, stored)  # a conflict: it was written under the store's keys just now
            return self._outcome(due)
        return None

    def _outcome(self, touched: bool) -> Outcome:
        if not touched:
            return Outcome.ALREADY
        return Outcome.DUE if self._dry_run else Outcome.DONE

    def _held(self, name: Name) -> Iterator[_Waiting]:
        """Native pending values. A rotation knows them by their version, so that they stay as written."""
        flags = Capability.NATIVE_PENDING | Capability.DESCRIBE
        if flags not in self._stored.capabilities:
            return
        for rotation_id, base in self._stored.describe(name).pending.items():
            with contextlib.suppress(SecretNotFoundError):  # over since
                held = self._stored.get_pending(name, rotation_id)
                yield _Waiting(rotation_id, base, held=True, due=self._is_due(name, held.value))

    def _companion(self, name: Name, needed: bool) -> Iterator[_Waiting]:
        """What the companion holds. One that is done holds no value, and blocks nothing: it is written anew.

        `needed` says that it must be opened whatever it is encrypted under.
        """
        flags, key = self._stored.capabilities, Companion(name)
        if Capability.NATIVE_PENDING in flags or not supports_pending(flags):
            return
        with contextlib.suppress(SecretNotFoundError):
            stored = self._stored.get(key, Stage.CURRENT)
            due = self._is_due(key, stored.value)
            if due or needed:
                frame, _ = Frame.split(self._layer.opened(key, stored).value)
                if due and not frame.held:
                    self._anew(key, stored)  # a conflict says that a rotation began, under the store's keys
                yield _Waiting(frame.rotation_id, frame.base, held=frame.held, due=due)

    def _anew(self, key: Key, stored: Secret) -> SecretVersion | None:
        """The version written; None if another is current by now, or in a dry run."""
        value = self._layer.opened(key, stored).value
        if self._dry_run:
            return None
        try:
            return self._layer.put(key, value, stored.version, stored.record)
        except SecretConflictError:
            return None

    def _is_due(self, key: Key, stored: SecretValue) -> bool:
        from strongroom.envelope.message import decode_header
        from strongroom.envelope.reencrypt import is_under

        if not self._layer.is_message(stored):
            return True
        header, keys = decode_header(stored.reveal())[0], self._layer.keys
        if not is_under(header, keys):
            return True
        if self._layer.answered or not any(one.remote for one in keys):
            return False
        self._ask(key)
        return not is_under(header, keys)

    def _ask(self, key: Key) -> None:
        """Have every key answer once: until then an alias may mean any key of its region, old ones too."""
        denied = None
        try:
            self._layer.sealed(key, SecretValue(""))
        except PermissionDeniedError as error:
            denied = error
        if denied and not self._dry_run:  # who may only read is told what the identifiers say
            raise denied
        self._layer.answered = True
