"""Payload: a new value waits at the replica, is read back there, and only then becomes what readers get.

It waits where a rotation's pending value would, and is promoted as one: natively, or in the companion. A
crash at any point leaves the old value or the new one; the next run finds the payload and goes on with it, so
that each version of the source is written at most once. The order of the writes is model-checked
(``tests/models``): a payload is keyed by its record and its base, and a later one supersedes it.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Final, final

from strongroom.backend import Capability
from strongroom.companion import Frame, find
from strongroom.errors import IntegrityError, SecretConflictError, SecretNotFoundError
from strongroom.names import Companion
from strongroom.stages import Pending, check_size

from .bearing import Bearing
from .holding import verifies
from .record import Record

if TYPE_CHECKING:
    from strongroom.backend import Backend, SecretVersion
    from strongroom.names import Name
    from strongroom.value import SecretValue

_NAMESPACE: Final = uuid.UUID("6d8f4ab4-6c53-5c7c-9a55-0b6f6f0a1a5e")


def payload_id(record: Record, base: str) -> str:
    """The id under which a record's payload waits to follow a version.

    With the base in it: a record that is applied anew over what somebody else has written since is another
    attempt, and the first one is done for ever.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{record.text}/{base}"))


class NewerWaitsError(SecretConflictError):
    """A payload of a higher record waits at the replica.

    Attributes:
        record: its record, which is proved.
    """

    def __init__(self, record: Record):
        super().__init__("a newer version is being replicated", retryable=True)
        self.record = record


@final
class Payload:
    """One record's value on its way into a replica, over a version that stands there.

    Args:
        replica: the store, with its encryption.
        key: the domain's digest key.
        name: the secret's.
        record: the value's.
        base: the version that is replaced.
    """

    def __init__(self, replica: Backend, key: SecretValue, name: Name, record: Record, base: str):
        self._replica, self._key, self._name = replica, key, name
        self._record, self._base = record, base
        self._bearing = Bearing(replica, record)
        self._pending = Pending(self._bearing, name, payload_id(record, base))

    def deliver(self, value: SecretValue) -> SecretVersion:
        """Hold the value, read it back, and make it current; a repeat is one.

        Raises:
            SecretConflictError: the base is not current any more, or another payload stands in the way, which
                is then brought to its end: look again.
            IntegrityError: the replica gives back another value than it was given; readers never saw it.
            InvalidRequestError: the value does not fit.
        """
        check_size(self._replica, self._name, value, "replicate")
        self._hold(value)
        with contextlib.suppress(SecretNotFoundError):
            return self._promoted()
        raise SecretConflictError("another replicator took the payload over", retryable=True)

    def _promoted(self) -> SecretVersion:
        if verifies(self._key, self._name, self._pending.get().value, self._record):
            return self._pending.promote()
        raise IntegrityError("the replica gives back another value than it was given", name=str(self._name))

    def _hold(self, value: SecretValue) -> None:
        error = None
        try:
            self._pending.put(value, base_version=self._base)
            return
        except SecretConflictError as exc:
            error = exc
        if Capability.NATIVE_PENDING in self._replica.capabilities:
            self._finish_lower()
            raise error
        if not self._supersede(value):
            raise error

    def _supersede(self, value: SecretValue) -> bool:
        """Take the companion over from a lower record, in one write; whether it was held by one."""
        found = find(self._replica, self._name)
        if found is None or not found.frame.held:
            return False
        lower = self._ours(found.secret.record, found.frame.rotation_id, found.frame.base, found.value)
        frame = Frame(self._pending.rotation_id, True, self._base).with_value(value)
        self._bearing.put(Companion(self._name), frame, found.version)
        self._replica.retire(Companion(self._name), found.version)
        return lower

    def _finish_lower(self) -> None:
        """Promote what an older apply left waiting, or drop it if its base is gone."""
        for held_id, base in self._replica.describe(self._name).pending.items():
            try:
                held = self._replica.get_pending(self._name, held_id)
            except SecretNotFoundError:
                continue
            self._ours(held.record, held_id, base, held.value)
            try:
                self._replica.promote_pending(self._name, held_id)
            except SecretConflictError:
                self._replica.discard_pending(self._name, held_id)

    def _ours(self, text: str | None, held_id: str, base: str | None, value: SecretValue) -> bool:
        """Return True if the waiting value is a payload below this one.

        Raises:
            SecretConflictError: it is a rotation's, another tool's, or of a higher record.
        """
        record = Record.parse(text) if text else None
        mine = record and payload_id(record, base or "") == held_id
        if not (mine and record and verifies(self._key, self._name, value, record)):
            hint = "see strongroom rotation clean"
            raise SecretConflictError("a pending value that is no replica's stands in the way", hint=hint)
        if record.order > self._record.order:
            raise NewerWaitsError(record)
        return True
