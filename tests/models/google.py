"""Google Secret Manager as the models see it: one secret, its etag and annotations, and its versions."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from strongroom.errors import UnavailableError
from strongroom.value import SecretValue
from strongroom_gcp._book import Book
from strongroom_gcp._port import Gone, Seen
from tests.models.replay import Call, Lost, Port, Refused

WRITES = frozenset({"create", "change", "add"})
LIFE = "1"
Annotations = tuple[tuple[str, str], ...]


class World(NamedTuple):
    """`time` moves on when an intent's deadline passes; `versions` are texts, the first has number 1."""

    etag: int
    annotations: Annotations
    versions: tuple[str, ...]
    time: int = 0

    @property
    def book(self) -> Book:
        return Book.of(dict(self.annotations))


START = World(1, (("strongroom.chain", "1"),), ("old",))
NOTHING = World(0, (), ())
"""The name was never written: etag 0 stands for no secret."""


def apply(world: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """What a call does, and answers. Only `change` is guarded, by the etag."""
    if call.name == "look":
        return world, (world.etag, world.annotations, world.time)
    if call.name == "create":
        if world.etag:
            return world, Refused("exists")
        made = world._replace(etag=1, annotations=call.args[0])
        return made, (made.etag, made.annotations, made.time)
    if call.name == "read":
        number = call.args[0]
        return world, world.versions[number - 1] if number <= len(world.versions) else None
    if call.name == "newest":
        return world, len(world.versions)
    if call.name == "expire":
        return world._replace(time=world.time + 1), "ok"
    if call.name == "add":
        return world._replace(versions=(*world.versions, call.args[0])), len(world.versions) + 1
    etag, annotations = call.args
    if etag not in (0, world.etag):
        return world, Refused("etag")
    changed = world._replace(etag=world.etag + 1, annotations=annotations)
    return changed, (changed.etag, annotations, world.time)


class GooglePort:
    """The port of `strongroom_gcp`'s protocol, each call of it a step of the model.

    A deadline is one tick of the world's time away, and the time is that of the last look: later ticks make a
    writer no wiser than one that was suspended.
    """

    def __init__(self, port: Port, name: str) -> None:
        self._port = port
        self._name = name
        self._ids = 0
        self._time = 0

    def look(self) -> Seen | None:
        return self._seen(self._port.call("look"))

    def create(self, book: Book) -> Seen | None:
        return self._answered(self._port.call("create", tuple(sorted(book.over({}).items()))))

    def change(self, seen: Seen, book: Book) -> Seen | None:
        return self.patch(seen, book, guarded=True)

    def patch(self, seen: Seen, book: Book, *, guarded: bool) -> Seen | None:
        """A patch under the etag; without it as Google does it where none is given."""
        etag = int(seen.etag) if guarded else 0
        answer = self._port.call("change", etag, tuple(sorted(book.over({}).items())))
        return self._answered(answer)

    def _answered(self, answer: Any) -> Seen | None:
        if isinstance(answer, Lost):
            raise UnavailableError("lost", performed=None)
        return None if isinstance(answer, Refused) else self._seen(answer)

    def add(self, payload: SecretValue) -> int:
        answer = self._port.call("add", payload.reveal_text())
        if isinstance(answer, Lost):
            raise UnavailableError("lost", performed=None)
        number: int = answer
        return number

    def read(self, number: int) -> SecretValue | Gone | None:
        answer = self._port.call("read", number)
        return None if answer is None else SecretValue(answer)

    def newest(self) -> int:
        number: int = self._port.call("newest")
        return number

    def digest(self, write_id: str, payload: SecretValue) -> str:
        return hashlib.sha256(f"{write_id} {payload.reveal_text()}".encode()).hexdigest()[:32]

    def new_id(self) -> str:
        """The same in every re-execution."""
        self._ids += 1
        return hashlib.sha256(f"{self._name} {self._port.run} {self._ids}".encode()).hexdigest()[:16]

    def now(self) -> int:
        return self._time

    def patience(self) -> int:
        return 1

    def wait(self, times: int) -> bool:
        return False

    def report(self, numbers: Iterable[int]) -> None:
        list(numbers)

    def _seen(self, answer: tuple[int, Annotations, int]) -> Seen | None:
        etag, annotations, self._time = answer
        if not etag:
            return None
        return Seen(str(etag), LIFE, Book.of(dict(annotations)))
