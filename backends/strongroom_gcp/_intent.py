"""Compare-and-set on Google. All it guards is the secret's own patch, so a writer leaves its intent there.

::

    look      who holds the intent? what counts as current?    GetSecret, AccessSecretVersion by number
    begin     the intent is set under the etag                 UpdateSecret, or CreateSecret with it
    add       the version                                      AddSecretVersion, which takes no etag
    check     is ours the newest?                              AccessSecretVersion by number
    clear     the number is recorded, the intent gone          UpdateSecret under the etag of `begin`

A version that arrives after another writer took its intent over is a **late loser**: the taker keeps its
trace, so that the next writer knows it, never counts it, and writes on top. A version that no trace knows is
**foreign**: it counts, and is reported. Nothing is ever disabled, since a disabled newest makes ``latest``
fail for everybody. So ``latest`` may show a late loser until the next write. A secret that was read late
harms nobody: what is decided from it fails at the etag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from strongroom.backend import ABSENT
from strongroom.errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.value import SecretValue

from ._book import Book, Intent, Trace
from ._judge import State, judge
from ._port import Gone, Port, Seen, Write, Written, holds

_ROUNDS: Final = 64
_ADDS: Final = 4


def put(port: Port, write: Write) -> Written:
    """Write under an intent.

    Raises:
        SecretConflictError: the condition does not hold; ``retryable`` if another writer is at work.
        UnavailableError: ``performed`` is None if the version may have become current, or still may.
    """
    return _finish(port, write, _begin(port, write))


def _begin(port: Port, write: Write) -> Seen:
    """Our intent stands, and the condition held when it was set."""
    for times in range(_ROUNDS):
        seen, begun = port.look(), None
        if seen is None:
            begun = _create(port, write)
        elif not (seen.book.intent and seen.book.intent.deadline > port.now()):
            begun = _take(port, write, seen)
        if begun is not None:
            return begun
        if not port.wait(times):
            break
    raise SecretConflictError("another writer is at work", retryable=True, hint="try again in a moment")


def _create(port: Port, write: Write) -> Seen | None:
    if isinstance(write.condition, int):
        raise _not_current()
    book = Book(intent=_intent_of(port, write, 1))
    return _set(port, write, lambda: port.create(book))


def _take(port: Port, write: Write, seen: Seen) -> Seen | None:
    """Set the intent where there is none, or over one whose time is up; None if somebody was faster."""
    state = judge(port, seen)
    port.report(state.foreign)
    problem = _conflict(port, write, seen, state)
    if problem is None:
        return _intend(port, write, seen, state)
    _repair(port, seen, state)
    raise problem


def _intend(port: Port, write: Write, seen: Seen, state: State) -> Seen | None:
    before = state.book.intent
    kept = state.book.keeping(before.trace) if before else state.book
    book = replace(kept, intent=_intent_of(port, write, state.newest + 1))
    return _set(port, write, lambda: port.change(seen, book))


def _intent_of(port: Port, write: Write, expected: int) -> Intent:
    until = port.now() + port.patience()
    return Intent(_trace(port, write), expected, until, write.mark, write.record)


def _trace(port: Port, write: Write) -> Trace:
    return Trace(write.write_id, port.digest(write.write_id, write.payload))


def _set(port: Port, write: Write, call: Callable[[], Seen | None]) -> Seen | None:
    """Do what sets our intent; after a lost answer look whether it stands. No version was written so far."""
    try:
        return call()
    except UnavailableError as exc:
        error = exc
    seen = _looked(port, performed=False) if error.performed is None else None
    if seen is not None and _is_ours(seen, write):
        return seen
    error.performed = False
    raise error


def _is_ours(seen: Seen, write: Write) -> bool:
    return seen.book.intent is not None and seen.book.intent.trace.write_id == write.write_id


def _conflict(port: Port, write: Write, seen: Seen, state: State) -> SecretConflictError | None:
    if write.condition is None or (write.condition == state.current and write.life == seen.life):
        return None
    if write.condition is not ABSENT:
        return _not_current()
    vacant = not state.current or port.read(state.current) is Gone.DESTROYED
    return None if vacant else SecretConflictError("exists already")


def _not_current() -> SecretConflictError:
    return SecretConflictError("if_version is not the current version", hint="read it again and decide")


def _repair(port: Port, seen: Seen, state: State) -> None:
    """A late loser is the newest: write the recorded value again. If another writer is faster, so much the
    better; if it fails, the next one does it."""
    if not 0 < state.current < state.newest:
        return
    payload = port.read(state.current)
    if not isinstance(payload, SecretValue):
        return
    mark, record = state.book.mark(state.current), state.book.records.get(state.current)
    again = Write(payload, mark, port.new_id(), record=record)
    try:
        begun = _intend(port, again, seen, state)
        if begun is not None:
            _finish(port, again, begun)
    except SecretStoreError:
        return


def _finish(port: Port, write: Write, seen: Seen) -> Written:
    """Add until ours is the newest, then record it."""
    if seen.book.intent and seen.book.intent.deadline <= port.now():
        raise UnavailableError("this writer was suspended until its time was up", performed=False)
    lost, last = False, 0
    for _ in range(_ADDS):
        number = _add(port, write, seen, last)
        lost, last = lost or not number, number or last
        if number and _read(port, number + 1) is None:
            return _clear(port, write, seen, number, keep=lost)
        if number:
            port.report([number + 1])
        now = _looked(port, performed=None)
        if now is None or not _is_ours(now, write):
            return _overtaken(port, write, seen, now)
        seen = now
    raise UnavailableError("no answer says that the version was added", performed=None)


def _add(port: Port, write: Write, seen: Seen, last: int) -> int:
    """The number of our version; 0 if the answer was lost and it is not there, though it may still arrive.

    `last`: the number of an earlier copy, which is not what was asked for now.
    """
    error: SecretStoreError
    try:
        return port.add(write.payload)
    except SecretStoreError as exc:
        error = exc
    if error.performed is False:
        _give_back(port, seen)
        if isinstance(error, SecretNotFoundError):
            error = SecretConflictError("the secret was purged meanwhile", retryable=True)
        raise error
    found = max(_copies(port, write, seen), default=0)
    return found if found > last else 0


def _copies(port: Port, write: Write, seen: Seen) -> Iterator[int]:
    """The numbers of the versions that hold our value: more than one if an answer was lost."""
    number, mine = seen.book.intent.expected if seen.book.intent else 1, _trace(port, write)
    while (payload := _read(port, number)) is not None:
        if holds(port, mine, payload):
            yield number
        number += 1


def _clear(port: Port, write: Write, seen: Seen, number: int, *, keep: bool) -> Written:
    """Record the number under the etag; who changed something else meanwhile (tags) does not disturb.

    `keep`: another copy of the value may still arrive, so its trace is kept.
    """
    trace = _trace(port, write)
    for _ in range(_ROUNDS):
        book = seen.book.recording(number, write.mark, write.record)
        done = _changed(port, seen, book.keeping(trace) if keep else book)
        if done is not None:
            return Written(number, done)
        now = _looked(port, performed=None)
        if now is None or not _is_ours(now, write):
            return _overtaken(port, write, seen, now)
        seen = now
    raise UnavailableError("the secret is patched too often to record the write", performed=None)


def _changed(port: Port, seen: Seen, book: Book) -> Seen | None:
    """The secret once the book is recorded; None if that is to be looked at."""
    unknown = False
    try:
        return port.change(seen, book)
    except SecretStoreError as exc:
        unknown = exc.performed is None
    if unknown:
        return None
    raise UnavailableError("the version was added, but could not be recorded", performed=None)


def _overtaken(port: Port, write: Write, seen: Seen, now: Seen | None) -> Written:
    """The intent is not ours any more: a success if our version was ever recorded, else nobody knows."""
    if now is not None and now.life == seen.life:
        for number in _copies(port, write, seen):
            if number in now.book.chain:
                return Written(number, now)
    raise UnavailableError("another writer took over while this one was slow", performed=None)


def _give_back(port: Port, seen: Seen) -> None:
    """Nothing was written: do not make others wait for the deadline."""
    try:
        port.change(seen, replace(seen.book, intent=None))
    except SecretStoreError:
        return


def _looked(port: Port, *, performed: bool | None) -> Seen | None:
    """A look that decides what became of a write."""
    try:
        return port.look()
    except SecretStoreError as exc:
        error = exc
    error.performed = performed
    raise error


def _read(port: Port, number: int) -> SecretValue | Gone | None:
    """A read after the add: if it fails, what became of the write is unknown."""
    try:
        return port.read(number)
    except SecretStoreError as exc:
        error = exc
    error.performed = None
    raise error
