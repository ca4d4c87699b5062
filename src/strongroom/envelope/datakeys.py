"""Data keys: made and wrapped under every KEK of a new message, recovered by any KEK of an old one."""

from __future__ import annotations

import copy
import os
import sys
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, final

from strongroom.clock import elapsed
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DATA_KEY_LENGTH

from .message import MAX_WRAPPED_KEYS
from .suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from strongroom.keys import Context, KeyWrapper, WrappedKey

    from .message import Header
    from .suites import Suite

MAX_AGE: Final = 300.0
"""Seconds for which a data key may be used again: as long as a disabled KEK may still serve."""

MAX_MESSAGES: Final = 2**20
"""Messages under one data key, each with a message key of its own."""

MAX_BYTES: Final = 2**36
"""Bytes of plaintext under one data key."""

_PATIENCE: Final = 60.0
"""Seconds to wait for another thread's call to the KEKs: longer than any with all its attempts. One that was
interrupted before it could even begin would else keep the others waiting for ever."""

T = TypeVar("T")

Made = tuple[bytes, "tuple[WrappedKey, ...]"]
"""A data key, and what it is under each KEK."""

Recovered = tuple[bytes, "tuple[str, ...]"]
"""A data key, and the key ids of KEKs that should have given it and did not."""


def check_count(keys: Sequence[KeyWrapper]) -> None:
    """Raises InvalidRequestError unless there are 1 to 16 `keys`."""
    if not 1 <= len(keys) <= MAX_WRAPPED_KEYS:
        raise InvalidRequestError(f"a message takes 1 to {MAX_WRAPPED_KEYS} keys, not {len(keys)}")


def make(
    keys: Sequence[KeyWrapper],
    context: Context,
    suite: Suite,
    length: int | None = None,
    cache: DataKeyCache | None = None,
) -> Made:
    """A data key for a new message of at most `length` bytes, wrapped under all of `keys`.

    Every one of them must answer: that a message lacks a KEK would be noticed only on the day when that KEK
    is needed. A length that is not known could not be counted, so nothing is cached then.
    """
    check_count(keys)
    if cache is None or length is None or not _cacheable(keys, suite.signed):
        return _make(keys, context)
    about = ("make", suite.number, context.encoded)
    return cache.serve(keys, about, length, lambda: _make(keys, context))


def recover(header: Header, keys: Sequence[KeyWrapper], cache: DataKeyCache | None = None) -> Recovered:
    """The data key of a message, by the first of `keys` that opens it; one that fails is passed over.

    Raises:
        UnavailableError, PermissionDeniedError, IntegrityError: no KEK opened it; the first of these three
            that a KEK gave, since a retry may help against the first and a grant against the second.
    """
    if cache is None or not _cacheable(keys, SUITES[header.suite].signed):
        return _recover(header, keys)
    about = ("recover", header.suite, header.wrapped_keys, header.context.encoded)
    return cache.serve(keys, about, 0, lambda: _recover(header, keys))


def _cacheable(keys: Sequence[KeyWrapper], signed: bool) -> bool:
    # A signed message has its public key in its context, so that its entry could never serve another.
    return not signed and any(key.remote for key in keys)


def _make(keys: Sequence[KeyWrapper], context: Context) -> Made:
    data_key, first = keys[0].generate_data_key(context)
    if len(keys) == 1:
        return data_key, (first,)
    try:
        return data_key, (first, *[key.wrap(data_key, context) for key in keys[1:]])
    except BaseException:
        data_key = b""  # this frame travels with the error
        raise


def _recover(header: Header, keys: Sequence[KeyWrapper]) -> Recovered:
    failures: list[tuple[str, SecretStoreError]] = []
    for wrapped in header.wrapped_keys:
        for key in keys:
            if key.matches(wrapped):
                try:
                    data_key = key.unwrap(wrapped, header.context)
                except (IntegrityError, PermissionDeniedError, UnavailableError) as error:
                    failures.append((key.key_id, error))
                    continue
                if len(data_key) == DATA_KEY_LENGTH:
                    return data_key, tuple([key_id for key_id, _ in failures]) if failures else ()
                data_key, problem = b"", f"{key.key_id} gave no data key of {DATA_KEY_LENGTH} bytes"
                failures.append((key.key_id, IntegrityError(problem)))
    raise _worst(header, [error for _, error in failures])


def _worst(header: Header, errors: Sequence[SecretStoreError]) -> SecretStoreError:
    for kind in (UnavailableError, PermissionDeniedError, IntegrityError):
        for error in errors:
            if isinstance(error, kind):
                return error
    made_under = ", ".join(sorted({repr(wrapped.provider_id) for wrapped in header.wrapped_keys}))
    return IntegrityError(
        "none of the configured keys made this message", hint=f"it was encrypted under keys of {made_under}"
    )


class _Flight:
    """One call to the KEKs, and those who wait for it."""

    __slots__ = ("done", "failure")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.failure: SecretStoreError | None = None


class _Entry:
    """One data key, how often it may be used, and the call that is making it."""

    __slots__ = ("born", "flight", "key_ids", "keys", "length", "made", "messages")

    def __init__(self, keys: Sequence[KeyWrapper]):
        self.keys = tuple(keys)  # held, so that no other KEK can come to have the id of one of them
        self.made: Any = None
        self.flight: _Flight | None = None
        self.born, self.messages, self.length = 0.0, 0, 0
        self.key_ids: list[tuple[str, str]] = []


def _key_ids(keys: Sequence[KeyWrapper]) -> list[tuple[str, str]]:
    """What the KEKs are called now. An alias is known by its key once that answered, so entries note it after
    their call; where it has become another since, the data key is another's."""
    return [(key.provider_id, key.key_id) for key in keys]


@final
class DataKeyCache:
    """Spares calls to remote KEKs: a data key is used for several messages, within limits.

    Each message still has a message id, and so a message key and commitment, of its own. The price: who gets
    hold of one data key opens all messages under it, and a KEK that was disabled still serves for `max_age`.
    A local key or a keyring needs no cache: they are passed through, and so is whatever is signed.

    An entry belongs to the very KEK objects, their ids, the suite and the whole context; on the reading side
    to all wrapped data keys of the message too. Another policy, tenant or identity is another entry:
    CVE-2026-6550 was a cache that left the suite out.

    Args:
        max_age: seconds; at most 300.
        max_messages: messages written under one data key; at most 2^20.
        max_bytes: bytes of plaintext written under one data key; at most 2^36. What is longer is not cached.
        capacity: entries; the one not used for longest goes first.
        clock: seconds that never go back; the system's if not given.

    Safe across threads: one asks the KEKs, the others wait for it. A fork drops all entries in the child.

    Raises:
        InvalidRequestError: a limit is not positive, or above what is said here.
    """

    def __init__(
        self,
        *,
        max_age: float = MAX_AGE,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        capacity: int = 1000,
        clock: Callable[[], float] | None = None,
    ):
        for name, value, most in (
            ("max_age", max_age, MAX_AGE),
            ("max_messages", max_messages, MAX_MESSAGES),
            ("max_bytes", max_bytes, MAX_BYTES),
            ("capacity", capacity, sys.maxsize),
        ):
            if not 0 < value <= most:
                raise InvalidRequestError(f"a data-key cache takes {name} above 0 and at most {most}")
        self._max_age, self._max_messages, self._max_bytes = max_age, max_messages, max_bytes
        self._capacity, self._clock = capacity, clock or elapsed
        self.after_fork()
        _caches.add(self)

    def clear(self) -> None:
        """Forget all data keys, as after a revocation; calls under way are not kept either."""
        with self._lock:
            self._entries.clear()

    def after_fork(self) -> None:
        """Forget all data keys, and a lock that may never be released; called in every forked child."""
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a DataKeyCache cannot be pickled: it would carry data keys")

    def serve(self, keys: Sequence[KeyWrapper], about: Hashable, length: int, call: Callable[[], T]) -> T:
        """What `call` gives, or gave for the same `keys` and `about` within the limits.

        `length` bytes are counted before they are encrypted. An error of `call` reaches those who waited for
        it too, so that an unreachable KEK is not asked by each of them in turn.
        """
        if length > self._max_bytes:
            return call()
        while True:
            with self._lock:
                entry = self._entry((tuple(map(id, keys)), about), keys)
                if self._use(entry, length):
                    return entry.made  # type: ignore[no-any-return]
                if (flight := entry.flight) is None:
                    mine = entry.flight = _Flight()
                    break
            if not flight.done.wait(_PATIENCE):
                self._give_up(entry, flight)
            if flight.failure is not None:
                raise copy.copy(flight.failure)
        return self._call(entry, mine, length, call)

    def _give_up(self, entry: _Entry, flight: _Flight) -> None:
        with self._lock:
            if entry.flight is flight:
                entry.flight = None

    def _entry(self, identity: Hashable, keys: Sequence[KeyWrapper]) -> _Entry:
        entry = self._entries.get(identity)
        if entry is None:
            self._make_room()
            entry = self._entries[identity] = _Entry(keys)
        self._entries.move_to_end(identity)
        return entry

    def _make_room(self) -> None:
        """Also drops what can serve no more: data keys do not wait in memory for their entry's next use."""
        now = self._clock()
        for identity, entry in list(self._entries.items()):
            if entry.made is not None and not self._is_fresh(entry, now):
                del self._entries[identity]
        while len(self._entries) >= self._capacity:
            self._entries.popitem(last=False)

    def _is_fresh(self, entry: _Entry, now: float) -> bool:
        return 0 <= now - entry.born < self._max_age

    def _use(self, entry: _Entry, length: int) -> bool:
        spent = entry.messages >= self._max_messages or entry.length + length > self._max_bytes
        if entry.made is None or spent or not self._is_fresh(entry, self._clock()):
            return False
        if entry.key_ids != _key_ids(entry.keys):
            return False
        entry.messages, entry.length = entry.messages + 1, entry.length + length
        return True

    def _call(self, entry: _Entry, flight: _Flight, length: int, call: Callable[[], T]) -> T:
        made, born = None, self._clock()  # before the call, whose duration counts against the age
        try:
            made = call()
            entry.key_ids = _key_ids(entry.keys)
        except SecretStoreError as error:
            flight.failure = copy.copy(error)
            raise
        finally:
            with self._lock:
                if entry.flight is flight:
                    entry.flight = None
                entry.made, entry.born, entry.messages, entry.length = made, born, 1, length
            flight.done.set()
        return made


_caches: weakref.WeakSet[DataKeyCache] = weakref.WeakSet()


def _after_fork() -> None:
    for cache in list(_caches):
        cache.after_fork()


os.register_at_fork(after_in_child=_after_fork)
