"""Recorded: a source of replication. Each write says which place it has among all versions of its secret."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, final

from strongroom.backend import ABSENT, ANY_CAS, Absent, Clock, unsupported
from strongroom.companion import rotation_uuid
from strongroom.errors import SecretConflictError, UnavailableError
from strongroom.names import Name
from strongroom.replication.order import Order

from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.backend import Backend, SecretVersion
    from strongroom.names import Key
    from strongroom.value import SecretValue

_ATTEMPTS: Final = 20
_LAGS: Final = 6
"""How often one and the same version may be found current, where labels lag or somebody is at it just now."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@final
class Recorded(Layer):
    """Writes each version with its replication record, compare-and-set on the version that it replaces.

    It stands above encryption (a digest is of the plaintext) and below stages, so that a promote has its
    record too. A write costs three reads more: the sheet, what is current, and its page.

    Args:
        inner: the store with its encryption.
        domain: the logical id that it shares with its replicas.
        alias: the store's, by which sheets know it.
        covers: which secrets are replicated; the others are written as they are. None: all.
        clock: injected in tests.

    Raises:
        UnsupportedOperationError: the store has no compare-and-set, without which there is no order.
    """

    def __init__(
        self,
        inner: Backend,
        domain: str,
        *,
        alias: str = "",
        covers: Callable[[str], bool] | None = None,
        clock: Clock | None = None,
    ):
        super().__init__(inner)
        if not inner.capabilities & ANY_CAS:
            raise unsupported(inner, "be a source of replication without compare-and-set")
        self._covers, self._clock = covers, clock or Clock()
        self.order = Order(inner, domain, clock=self._clock, alias=alias)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        if record is not None or not isinstance(key, Name) or not self._covered(key):
            return self.inner.put(key, value, if_version, record)
        if if_version is None:
            return self._put_over_any(key, value)
        _, make = self.order.next(key, if_version)
        return self.inner.put(key, value, if_version, make(value).text)

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        if record is not None or not isinstance(key, Name) or not self._covered(key):
            return self.inner.put_pending(key, rotation_id, value, base_version, record)
        # The rotation's own id makes a repeat bear the very same record: it is one write.
        write_id = rotation_uuid(rotation_id).hex
        try:
            _, make = self.order.next(key, base_version)
        except SecretConflictError:  # the backend knows whether this is a repeat, and what to say
            return self.inner.put_pending(key, rotation_id, value, base_version)
        text = make(value, write_id=write_id).text
        return self.inner.put_pending(key, rotation_id, value, base_version, text)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        self._require(key)
        return self.inner.promote_pending(key, rotation_id)

    def delete(self, key: Key) -> None:
        self._bury(key)
        self.inner.delete(key)

    def purge(self, key: Key) -> None:
        self._bury(key)
        self.inner.purge(key)

    def restore(self, key: Key) -> None:
        self._require(key)
        self.inner.restore(key)
        if isinstance(key, Name) and self._covered(key):
            # Bound above its tombstone; if not by us, then by who reads it next: it has come back already.
            with contextlib.suppress(UnavailableError, SecretConflictError):
                self.order.next(key)

    def _put_over_any(self, name: Name, value: SecretValue) -> SecretVersion:
        """Unconditional means on top of whatever is there: who loses a race writes on the winner."""
        bases: list[str | None] = []
        pause = _FIRST_PAUSE
        for _ in range(_ATTEMPTS):
            error: SecretConflictError
            try:
                base, make = self.order.next(name)
                bases.append(base)
                return self.inner.put(name, value, base or ABSENT, make(value).text)
            except SecretConflictError as exc:
                error = exc
            same = _LAGS if error.retryable or self.eventual else 2
            if bases[-same:] == same * bases[-1:]:
                break  # nobody was first: the name is in the bin, say
            self._clock.sleep(pause * self._clock.chance())
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise error

    def _bury(self, key: Key) -> None:
        """The tombstone first: a crash before the deletion is repeated, one after it is not forgotten."""
        self._require(key)
        if isinstance(key, Name) and self._covered(key) and not self.order.standing(key, value=False).deleted:
            self.order.bury(key)

    def _require(self, key: Key) -> None:
        if isinstance(key, Name) and self._covered(key):
            self.order.begin()

    def _covered(self, name: Name) -> bool:
        return self._covers is None or self._covers(str(name))
