"""A keyring in a store that has compare-and-set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from strongroom.backend import ABSENT, ANY_CAS, Backend, Capability, Clock, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.localkey import MAX_WRAPS
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue

from .keyring_places import Held, KeyCounter, KeyringPlace

if TYPE_CHECKING:
    from strongroom.backend import Absent, Secret

SETTLES: Final = 10.0
"""Seconds for which a store whose labels lag may still answer with the keyring before the last one."""

_ATTEMPTS: Final = 12
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0


@final
class StorePlace(KeyringPlace):
    """A key of a store's reserved name space, with each version's counter beside it.

    The message stands in the store as it is, below any encryption of the store's own: a keyring cannot be
    encrypted under itself. Each process that wraps takes a block of a version's 2^31 wraps by one
    write: 64 at first, then twice as many each time, up to 65,536.

    Args:
        backend: with compare-and-set, CAS or CAS_GUARDED; its errors are Strongroom's, as those of
            ``open_backend`` are. This object closes it.
        name: the keyring's, a portable name.
        clock: injected in tests.

    Raises:
        UnsupportedOperationError: the store has no compare-and-set, so that of two rotations at once one
            would be lost.
        InvalidRequestError: the name is not portable.
    """

    def __init__(self, backend: Backend, name: str, *, clock: Clock | None = None):
        needed = Capability.PUT | Capability.CREATE_ONLY
        if needed not in backend.capabilities or not backend.capabilities & ANY_CAS:
            raise UnsupportedOperationError(
                f"{backend.origin or type(backend).__name__} has no compare-and-set, which a keyring needs",
                hint="keep it in another store, in a file, or configure a coordinator",
            )
        self._backend, self._clock = backend, clock or Clock()
        self._key = Reserved("keyring", Name.parse(name))
        self.where = f"{backend.origin or 'the store'} (keyring {name})"
        self.settles = SETTLES if backend.eventual else 0.0

    def read(self) -> Held:
        try:
            found = self._backend.get(self._key, Stage.CURRENT)
            return Held(found.value.reveal(), found.version)
        except SecretNotFoundError:
            pass
        raise SecretNotFoundError(
            f"there is no keyring in {self.where}", hint="make it with strongroom key create"
        )

    def write(self, message: bytes, over: Held | None) -> None:
        value, limit = SecretValue(message), self._backend.limit(self._key)
        if limit is not None and self._backend.size(value) > limit:
            raise InvalidRequestError(
                f"the keyring takes {self._backend.size(value)} bytes; {self.where} holds {limit}",
                hint="keep it in a file or another store",
            )
        self._backend.put(self._key, value, ABSENT if over is None else over.version)

    def create_counter(self, key_name: str) -> None:
        StoreWrapCounter(self._backend, key_name, self._clock).create()

    def counter(self, key_name: str) -> KeyCounter:
        return StoreWrapCounter(self._backend, key_name, self._clock)

    def after_fork(self) -> None:
        self._backend.after_fork()

    def close(self) -> None:
        self._backend.close()


@final
class StoreWrapCounter:
    """Counts the wraps of one key in a store: the number given out so far, as text, by compare-and-set."""

    def __init__(self, backend: Backend, key_name: str, clock: Clock):
        self._backend, self._clock = backend, clock
        self._key = Reserved("keyring-wraps", Name.parse(key_name))

    def create(self) -> None:
        """Make the counter of a new key. One that is there is not touched."""
        problem: SecretStoreError
        try:
            self._put(0, ABSENT)
            return
        except SecretConflictError as error:
            problem = error
        except UnavailableError as error:
            if error.performed is False:
                raise
            problem = error
        # The name is random: what is there is ours, of a write whose answer was lost.
        found = self._find()
        if found is None or self._count(found) != 0:
            raise problem

    def reserve(self, count: int) -> int:
        """Take the next `count` numbers; see `strongroom.localkey.WrapCounter`.

        Raises:
            IntegrityError: the counter is gone or damaged. It is never made anew, since starting at zero
                would forget every wrap there was.
            UnavailableError: other processes took the block each time.
            PermissionDeniedError: this identity may not write, so the key only unwraps.
        """
        pause = _FIRST_PAUSE
        for _ in range(_ATTEMPTS):
            found = self._read()
            start = self._count(found)
            if start >= MAX_WRAPS or self._takes(start + count, found.version):
                return start
            self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise UnavailableError("the keyring's wrap counter is taken by others each time", hint="repeat it")

    def taken(self) -> int:
        """How many numbers were given out.

        Raises:
            IntegrityError: the counter is gone or damaged.
        """
        return self._count(self._read())

    def _takes(self, count: int, over: str) -> bool:
        try:
            self._put(count, over)
        except SecretConflictError:
            return False
        return True

    def _put(self, count: int, over: str | Absent) -> None:
        self._backend.put(self._key, SecretValue(str(count)), over)

    def _read(self) -> Secret:
        found = self._find()
        if found is None:
            raise IntegrityError(
                f"the keyring's wrap counter {self._key.name} is missing",
                hint="rotate the keyring, which makes a new key; reading still works",
            )
        return found

    def _find(self) -> Secret | None:
        try:
            return self._backend.get(self._key, Stage.CURRENT)
        except SecretNotFoundError:
            return None

    def _count(self, found: Secret) -> int:
        text = found.value.reveal()
        if not text.isdigit() or len(text) > len(str(2 * MAX_WRAPS)):
            raise IntegrityError(
                f"the keyring's wrap counter {self._key.name} is damaged",
                hint="rotate the keyring, which makes a new key; reading still works",
            )
        return int(text)
