"""Which version of a secret counts, whoever wrote what appeared above the recorded one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from strongroom.errors import SecretNotFoundError

from ._book import Book, Chain
from ._port import Port, Seen, holds

_JUDGED: Final = 32
"""How many unrecorded versions are compared with the traces that are kept; older ones count as foreign."""


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


def after(port: Port, base: int, life: str) -> list[int]:
    """The versions that count, right after `base` and later, oldest first.

    The numbers are looked at before the secret: a version of the intent that stands then was there before
    anybody could take that intent over, so it will be recorded.

    Raises:
        SecretNotFoundError: the base is not known any more, or never counted.
    """
    seen = port.look()
    newest = _newest(port, seen.book.chain.last) if seen else 0
    if seen and newest > seen.book.chain.last:
        seen = port.look()
    if seen is None or seen.life != life:
        raise _unknown_base()
    chain = judge(port, seen).book.chain
    if base not in chain:
        raise _unknown_base()
    return [number for number in chain if base < number <= max(newest, seen.book.chain.last)]


def _unknown_base() -> SecretNotFoundError:
    return SecretNotFoundError("the base version is not known any more")
