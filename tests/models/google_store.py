"""A secret and its companion in the modelled Secret Manager, under the real store: `SecretManager` over a
client whose every call is a step of the model.

Modelled beside `google`: destroyed versions, the ledger. Not modelled: metadata that is read late, purge.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from strongroom.backend import Clock, Settings
from strongroom.companion import Frame
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.names import Name, StoreURL
from strongroom.value import SecretValue
from strongroom_gcp._client import LATEST, Added
from strongroom_gcp._known import Known
from strongroom_gcp._port import Gone
from strongroom_gcp.secret_manager import SecretManager
from tests.models import google
from tests.models.ledger import Ledger, keep
from tests.models.replay import Call, Lost, Port, Refused

WRITES = frozenset({"create", "change", "add", "destroy", "advance"})
NAME = Name("password")
SECRET, COMPANION = 0, 1
GONE = "(destroyed)"
LIFE = "1000000000"
"""A secret's `create_time` of one second."""
FIRST = f"1.{LIFE}"
_TICK = 20.0
"""Seconds: as long as an intent lasts under the default timeout."""


class World(NamedTuple):
    """The secret, its companion, and the ledger of rotations."""

    secrets: tuple[google.World, google.World] = (google.START, google.NOTHING)
    ledger: Ledger = ()

    def recorded(self) -> list[str]:
        """The secret's texts that were ever recorded as current, oldest first."""
        secret = self.secrets[SECRET]
        return [secret.versions[number - 1] for number in secret.book.chain]

    def counts(self, version: str) -> str | None:
        """The text of a version that was ever recorded as current."""
        number, secret = int(version.partition(".")[0]), self.secrets[SECRET]
        return secret.versions[number - 1] if number in secret.book.chain else None

    def held(self) -> list[str]:
        """The values that can still be read in the companion."""
        framed = [text for text in self.secrets[COMPANION].versions if text != GONE]
        split = [Frame.split(SecretValue(text)) for text in framed]
        return [value.reveal_text() for frame, value in split if frame.held]


def apply(world: World, actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to the provider or the ledger, atomically."""
    if call.name in ("ledger", "advance"):
        ledger, answer = keep(world.ledger, call)
        return world._replace(ledger=ledger), answer
    if call.name == "expire":
        first, second = (secret._replace(time=secret.time + 1) for secret in world.secrets)
        return world._replace(secrets=(first, second)), "ok"
    at, *args = call.args
    changed, answer = _applied(world.secrets[at], actor, Call(call.name, tuple(args)))
    pair = (changed, world.secrets[1]) if at == SECRET else (world.secrets[0], changed)
    return world._replace(secrets=pair), answer


def _applied(secret: google.World, actor: str, call: Call) -> tuple[google.World, Hashable]:
    if call.name == "latest":
        return secret, (len(secret.versions), secret.versions[-1] if secret.versions else None)
    if call.name == "destroy":
        kept = [GONE if at == call.args[0] else text for at, text in enumerate(secret.versions, 1)]
        return secret._replace(versions=tuple(kept)), "ok"
    return google.apply(secret, actor, call)


class _Time(Clock):
    """The model's time as it was last seen. Waiting is waiting until every deadline has passed."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.ticks = 0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.ticks * _TICK, UTC)

    def sleep(self, seconds: float) -> None:
        self._port.call("expire")


class _Client:
    """The calls of `strongroom_gcp._client.Client` that a rotation makes."""

    def __init__(self, port: Port, clock: _Time) -> None:
        self._port = port
        self._clock = clock

    def secret(self, name: str) -> Any | None:
        return self._told(self._port.call("look", _slot(name)))

    def create(self, name: str, annotations: Mapping[str, str]) -> Any | None:
        return self._told(self._asked("create", name, tuple(sorted(annotations.items()))))

    def annotate(self, name: str, etag: str, annotations: Mapping[str, str]) -> Any | None:
        return self._told(self._asked("change", name, int(etag), tuple(sorted(annotations.items()))))

    def add(self, name: str, payload: SecretValue) -> Added:
        return Added(self._asked("add", name, payload.reveal_text()), None)

    def destroy(self, name: str, number: int) -> None:
        self._asked("destroy", name, number)

    def access(self, name: str, version: str | int) -> tuple[int, SecretValue]:
        number, text = version, None
        if isinstance(version, int):
            text = self._port.call("read", _slot(name), version)
        else:
            number, text = self._port.call("latest", _slot(name))
        if text is None or text == GONE:
            raise SecretNotFoundError("no such version")
        return int(number), SecretValue(text)

    def read(self, name: str, number: int) -> SecretValue | Gone | None:
        text = self._port.call("read", _slot(name), number)
        return None if text is None else Gone.DESTROYED if text == GONE else SecretValue(text)

    def version(self, name: str, version: str | int) -> Any:
        assert version == LATEST
        return SimpleNamespace(name=f"{name}/versions/{self._port.call('newest', _slot(name))}")

    def _asked(self, call: str, name: str, *args: Hashable) -> Any:
        answer = self._port.call(call, _slot(name), *args)
        if isinstance(answer, Lost):
            raise UnavailableError("the answer was lost", performed=None)
        return answer

    def _told(self, answer: Any) -> Any | None:
        if isinstance(answer, Refused):
            return None
        etag, annotations, self._clock.ticks = answer
        if not etag:
            return None
        time = SimpleNamespace(seconds=int(LIFE[:1]), nanos=0)
        return SimpleNamespace(etag=str(etag), annotations=dict(annotations), create_time=time)


def _slot(name: str) -> int:
    return COMPANION if "pending" in name else SECRET


class _Digests:
    def digest(self, secret: str, write_id: str, payload: SecretValue) -> str:
        return hashlib.sha256(f"{secret} {write_id} {payload.reveal_text()}".encode()).hexdigest()[:32]


_OPENED = SecretManager(StoreURL.parse("gcp-sm://model/"), Settings())


def opened(port: Port) -> SecretManager:
    """The real store, as a new process opens it."""
    store, clock = copy.copy(_OPENED), _Time(port)
    client: Any = _Client(port, clock)
    digests: Any = _Digests()
    store._settings = Settings(clock=clock)
    store._client, store._digests, store._known = client, digests, Known(client)
    return store


@contextmanager
def process(who: str, run: int, waits: int) -> Iterator[None]:
    """Write ids are the same each time the checker runs a life of a program again; for another writer a
    program waits so many times."""
    count = iter(range(10**6))

    def next_id(_size: int) -> str:
        return hashlib.sha256(f"{who} {run} {next(count)}".encode()).hexdigest()[:16]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("strongroom_gcp._calls.secrets.token_hex", next_id)
        patched.setattr("strongroom_gcp._calls._WAITS", waits)
        yield


def program(who: str, act: Callable[[Port], str], waits: int) -> Callable[[Port], str]:
    """What runs in a process of its own."""

    def run(port: Port) -> str:
        with process(who, port.run, waits):
            return act(port)

    return run
