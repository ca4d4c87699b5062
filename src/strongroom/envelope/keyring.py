"""Keyrings: versioned local KEKs that are themselves one small message under root KEKs.

Encrypting under a keyring costs no call to a KMS once it is open, any one of its roots opens it, and changing
roots (`Keyring.rewrap`) writes that one message anew, however much was encrypted under the keyring.

Whoever may write the place can put an older message of the same keyring back. A process notices what is older
than the newest it has seen; one that starts afterwards cannot, and would wrap under an old version, which
all the keyring's readers open: nothing leaks by it, and nothing is lost but the rotation.
"""

from __future__ import annotations

import copy
import os
import threading
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NoReturn

from strongroom.backend import Clock
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DATA_KEY_LENGTH, KeyWrapper

from .keyring_document import VERSION_LENGTH, VersionKey
from .keyring_file import FilePlace
from .keyring_keeping import Keeper, Opened, Rewrapped
from .keyring_places import KeyringPlace
from .keyring_roots import RAW_AES, RAW_AES_TAIL, Root, Roots
from .keyring_state import PROVIDER_ID, KeyringVersion, State
from .keyring_store import StorePlace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.keys import WrappedKey
    from strongroom.localkey import LocalKey

__all__ = ["FilePlace", "Keyring", "KeyringPlace", "KeyringVersion", "Rewrapped", "Root", "StorePlace"]

RECHECK: Final = 300.0
"""Seconds for which a process wraps under a primary without looking whether the keyring was rotated."""

ASK_AGAIN: Final = 1.0
"""Seconds between two readings of the place for versions that are not known."""


class Keyring(KeyWrapper):
    """A KEK of several versions: wraps under the newest, unwraps under any. Made by `create` or `open`.

    What it wrapped opens with the AWS Encryption SDK's raw AES keyring under the name space
    ``strongroom-keyring`` and the name ``<keyring id>/<version>``.

    Wrapping looks every 300 s whether the keyring was rotated elsewhere; a place or root that does not answer
    then leaves the primary in use. A version that is not known makes it read its place again, once a second
    at most. As long as the place's bytes are the same, that calls no root.

    It owns its place and its roots from a successful opening on: `close` closes them, `after_fork` tells
    them.

    Attributes:
        key_id: the keyring's id, random.
        name: what the configuration calls it; bound to its message.
        remote: False, wrapping asks no provider.
    """

    provider_id = PROVIDER_ID
    longest = DATA_KEY_LENGTH + 16
    remote = False

    def __init__(self, keeper: Keeper, clock: Clock, opened: Opened):
        self.name, self.key_id = keeper.name, opened.document.id
        self._prefix = f"{self.key_id}/".encode()
        self._keeper, self._clock = keeper, clock
        self._asked = float("-inf")
        self._failure: SecretStoreError | None = None
        self._lock = threading.Lock()
        self._state: State | None = None
        self._adopt(opened)
        _keyrings.add(self)

    @classmethod
    def create(
        cls,
        place: KeyringPlace,
        roots: Sequence[KeyWrapper],
        *,
        name: str,
        forgeable: bool = False,
        clock: Clock | None = None,
    ) -> Keyring:
        """Make a keyring with one version, and open it. One that is there is never replaced.

        Args:
            place: where it will be kept.
            roots: 1 to 16 KEKs, each of which opens it alone. All must answer.
            name: its alias; a message of another name in this place will be an IntegrityError.
            forgeable: accept asymmetric roots, see `Roots`; the keyring is then not symmetric either.
            clock: injected in tests.

        Raises:
            SecretConflictError: the place holds one already.
            UnavailableError, PermissionDeniedError: a root, which is named, or the place could not be used.
            InvalidRequestError: no root or too many, an asymmetric one, or the place is wrong.
        """
        clock = clock or Clock()
        keeper = Keeper(place, Roots(roots, forgeable=forgeable), name, clock)
        return cls(keeper, clock, keeper.create())

    @classmethod
    def open(
        cls,
        place: KeyringPlace,
        roots: Sequence[KeyWrapper],
        *,
        name: str,
        forgeable: bool = False,
        clock: Clock | None = None,
    ) -> Keyring:
        """Open the keyring of a place with whichever of `roots` answers; arguments are those of `create`.

        Raises:
            SecretNotFoundError: there is none.
            IntegrityError: what is there is no keyring of this name, was made under none of `roots`, or is
                older than what this process has seen.
            UnavailableError, PermissionDeniedError: the place, or every root that could open it, could not be
                used.
            InvalidRequestError: an asymmetric root, or the place is wrong.
        """
        clock = clock or Clock()
        keeper = Keeper(place, Roots(roots, forgeable=forgeable), name, clock)
        return cls(keeper, clock, keeper.open())

    def rotate(self) -> str:
        """Add a version, which wraps from now on, and return its name. Messages of the others still open.

        Of two rotations at once both versions stay. Processes that run take up the new version within 300 s,
        and at once when they meet a message under it.

        Raises:
            InvalidRequestError: the keyring has a root that is not configured, which would lose it.
            UnavailableError, PermissionDeniedError: a root, which is named, or the place could not be used;
                nothing changed, or with ``performed=None`` that is not known.
            SecretConflictError: others changed the keyring each time.
        """
        added = VersionKey.generate(self._clock.now())
        self._change(added, drop_roots=False)
        return added.name

    def rewrap(self, *, drop_roots: bool = False) -> Rewrapped:
        """Encrypt the keyring anew under the roots it was opened with. Its versions stay as they are.

        That is one small message; nothing that was encrypted under the keyring is touched. It does not revoke
        a removed root: who kept the old message and that root still opens the versions there were.

        Args:
            drop_roots: remove roots that are not configured, instead of refusing.

        Raises: as `rotate`.
        """
        return self._change(None, drop_roots=drop_roots)

    @property
    def symmetric(self) -> bool:  # type: ignore[override]  # as its roots are
        """Whether nobody can put a keyring in the place who cannot open one."""
        return self._keeper.roots.symmetric

    @property
    def generation(self) -> int:
        """How often the keyring was written."""
        return self._current.generation

    @property
    def versions(self) -> tuple[KeyringVersion, ...]:
        """Every version, the oldest first."""
        return self._current.versions

    @property
    def roots(self) -> tuple[Root, ...]:
        """The roots that the keyring's message names."""
        return self._keeper.roots.named_in(self._current.message)

    @property
    def roots_missing(self) -> tuple[str, ...]:
        """Key ids of configured roots that cannot open the keyring until `rewrap` has added them."""
        return self._keeper.roots.missing_in(self._current.message)

    @property
    def passed_over(self) -> tuple[str, ...]:
        """Key ids of roots that should have opened the keyring when it was last read, and did not."""
        return self._current.passed_over

    @property
    def wraps(self) -> int:
        """How many of the primary's 2^31 wraps processes have taken, in blocks.

        Raises:
            IntegrityError: the counter is gone or damaged, so that the keyring wraps no more: rotate.
            SecretStoreError: as the place says.
        """
        return self._keeper.place.counter(self._current.primary.key_id).taken()

    def try_roots(self) -> tuple[SecretStoreError | None, ...]:
        """For each root the keyring was opened with, in that order: None if it opens it alone, or why not."""
        return tuple(self._keeper.roots.tried(self._current.message, self.name))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        """Wrap under the primary.

        Raises:
            InvalidRequestError: the primary has wrapped 2^31 data keys: rotate.
            IntegrityError: the keyring in its place was set back or exchanged: what is wrapped now, nobody
                else could open.
            UnavailableError: the same, since it was removed; or the counter could not be made durable.
            PermissionDeniedError: the primary's wrap counter may not be written, so that the keyring only
                unwraps.
        """
        try:
            if self._clock.monotonic() - self._checked >= RECHECK:
                self._stay_current()
            return self._current.primary.wrap(data_key, context)
        except BaseException:
            data_key = b""  # this frame travels with the error
            raise

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        """The data key.

        Raises:
            IntegrityError: the wrapped key or the context was changed, or the keyring has no such version.
            UnavailableError, PermissionDeniedError: the version is not known, and the place could not be
                read again.
        """
        version = wrapped.key_info[:-RAW_AES_TAIL]
        key = self._current.keys.get(version) or self._newer(version)
        if key is None:
            raise IntegrityError(
                f"keyring {self.name} has no version that wrapped this data key",
                hint="it was changed; or the keyring was rotated within the last seconds: try again",
            )
        return key.unwrap(wrapped, context)

    def matches(self, wrapped: WrappedKey) -> bool:
        """By the keyring's id, whatever the version: one made meanwhile may not be known yet."""
        info = wrapped.key_info
        return (
            wrapped.provider_id == PROVIDER_ID
            and len(info) == len(self._prefix) + VERSION_LENGTH + RAW_AES_TAIL
            and info.startswith(self._prefix)
            and info[-RAW_AES_TAIL : -RAW_AES_TAIL + len(RAW_AES)] == RAW_AES
        )

    def is_primary(self, wrapped: WrappedKey) -> bool:
        """Whether the version that wraps now, as far as is known here, made `wrapped`."""
        return self._current.primary.matches(wrapped)

    def after_fork(self) -> None:
        """In a forked child: drop what is open to providers; the opened keyring stays."""
        self._lock = threading.Lock()
        self._keeper.place.after_fork()
        for root in self._keeper.roots.keys:
            root.after_fork()

    def close(self) -> None:
        """Forget the keys, and close the roots and the place."""
        self._state = None
        with ExitStack() as closing:
            closing.callback(self._keeper.place.close)
            for root in self._keeper.roots.keys:
                closing.callback(root.close)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keyring cannot be pickled: it would carry its keys")

    @property
    def _current(self) -> State:
        state = self._state
        if state is None:
            raise InvalidRequestError("the keyring is closed")
        return state

    def _change(self, added: VersionKey | None, *, drop_roots: bool) -> Rewrapped:
        with self._lock:
            opened, changed = self._keeper.change(added, drop_roots=drop_roots)
            self._adopt(opened)
        return changed

    def _adopt(self, opened: Opened) -> None:
        self._state = State.of(opened, self._state, self._keeper.place, self.name)
        self._checked = self._clock.monotonic()

    def _stay_current(self) -> None:
        """Look whether the keyring was rotated. One thread does, the others go on under the primary, unless
        the last look found the keyring set back or gone."""
        if self._failure is None and self._lock.locked():
            return
        with self._lock:
            if self._clock.monotonic() - self._checked < RECHECK:
                return
            self._ask()
            if isinstance(self._failure, UnavailableError | PermissionDeniedError):
                self._checked = self._clock.monotonic()
            elif self._failure is not None:
                raise self._told(self._failure)

    def _newer(self, version: bytes) -> LocalKey | None:
        """The key of a version that was not known a moment ago."""
        with self._lock:
            now = self._clock.monotonic()
            if now - self._asked >= ASK_AGAIN and version not in self._current.keys:
                self._asked = now
                self._ask()
            if version not in self._current.keys and self._failure is not None:
                raise self._told(self._failure)
            return self._current.keys.get(version)

    @staticmethod
    def _told(failure: SecretStoreError) -> SecretStoreError:
        """A keyring that is gone must not pass for a secret that is."""
        if isinstance(failure, SecretNotFoundError):
            return UnavailableError(failure.message, hint=failure.hint, retryable=False)
        return copy.copy(failure)

    def _ask(self) -> None:
        try:
            self._read_again()
            self._failure = None  # not before: other threads go by it while this one reads
        except (UnavailableError, PermissionDeniedError) as error:
            self._failure = error.with_traceback(None)
        except SecretStoreError as error:  # set back, exchanged or gone: no wrap passes before that is over
            self._failure, self._checked = error.with_traceback(None), float("-inf")

    def _read_again(self) -> None:
        opened = self._keeper.newer()
        if opened is not None:
            self._adopt(opened)
        self._checked = self._clock.monotonic()


_keyrings: weakref.WeakSet[Keyring] = weakref.WeakSet()


def _after_fork() -> None:
    # A thread that does not exist in the child may have held it.
    for keyring in list(_keyrings):
        keyring._lock = threading.Lock()  # noqa: SLF001  (the same module's)


os.register_at_fork(after_in_child=_after_fork)
