"""Which version of a secret counts, whoever wrote what appeared above the recorded one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from strongroom.errors import SecretNotFoundError, UnavailableError

from ._book import Book, Chain
from ._port import Port, Seen, holds

_JUDGED: Final = 32
"""How many unrecorded versions are compared with the traces that are kept; older ones count as foreign."""
_ROUNDS: Final = 64


@dataclass(frozen=True, slots=True)
class State:
    """What is the case.

    Attributes:
        current: the number of the version that counts, 0 if there is none.
        newest: the highest number there is; above `current` it is a late loser.
        book: the one that was read, with what was found: versions that count joined its chain.
        foreign: those of them that no trace knows.
    """

    current: int
    newest: int
    book: Book
    foreign: tuple[int, ...] = ()


def judge(port: Port, seen: Seen) -> State:
    """Look at everything above the recorded version.

    It counts if it holds what the intent that stands was for (its writer may have died since: it is rolled
    forward), or if no trace knows it (foreign). It does not count if it holds what an intent that was taken
    over was for: a late loser.
    """
    book = seen.book
    newest = _newest(port, book.chain.last)
    if newest and book == Book():  # a secret that no writer of ours ever touched
        return State(newest, newest, Book(Chain(((1, newest),))))
    foreign = []
    for number in range(book.chain.last + 1, newest + 1):
        payload = port.read(number) if number > newest - _JUDGED else None
        intent = book.intent
        if intent and holds(port, intent.trace, payload):
            book = replace(book.recording(number, intent.mark, intent.record), intent=intent)
        elif not any(holds(port, trace, payload) for trace in book.late):
            book = replace(book, chain=book.chain.plus(number))
            foreign.append(number)
    return State(book.chain.last, newest, book, tuple(foreign))


def _newest(port: Port, recorded: int) -> int:
    """The highest number, found by reading by number, which is strongly consistent.

    ``latest`` may lag, so it only tells where to begin if there is more than one to look at.
    """
    number = recorded
    if not recorded or port.read(recorded + 1) is not None:
        number = max(port.newest(), recorded)
    while port.read(number + 1) is not None:
        number += 1
    return number


def settle(port: Port) -> tuple[Seen, State] | None:
    """What counts, recorded: from here on no writer decides otherwise. None if there is no secret.

    What counts only because the intent it was for still stands could become a late loser yet: whoever takes
    the intent over may have looked before it arrived. Recorded under the etag, while the intent stays, it is
    known to all; and the etag tells a secret that was read late.

    Raises:
        UnavailableError: the secret was patched again and again meanwhile.
    """
    for times in range(_ROUNDS):
        seen = port.look()
        if seen is None:
            return None
        state = judge(port, seen)
        settled = seen if state.book == seen.book else port.change(seen, state.book)
        if settled is not None:
            port.report(state.foreign)
            return settled, state
        if not port.wait(times):
            break
    raise UnavailableError("another writer is at work", hint="try again in a moment")


def current(port: Port) -> int:
    """The number of the version that counts, settled.

    Raises:
        SecretNotFoundError: there is none.
    """
    settled = settle(port)
    if settled is None or not settled[1].current:
        raise SecretNotFoundError("no such secret")
    return settled[1].current


def after(port: Port, base: int, life: str) -> list[int]:
    """The versions that count, right after `base` and later, oldest first, settled.

    Raises:
        SecretNotFoundError: the base is not known any more, or never counted.
    """
    settled = settle(port)
    if settled is None or settled[0].life != life or base not in settled[1].book.chain:
        raise SecretNotFoundError("the base version is not known any more")
    return [number for number in settled[1].book.chain if number > base]
