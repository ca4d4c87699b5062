"""Roots whose calls are counted and which can be put out of reach, and keyrings under them."""

from __future__ import annotations

from collections import Counter as Calls
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.keyring import FilePlace, Keyring, KeyringPlace
from strongroom.envelope.keyring_places import Held, KeyCounter
from strongroom.errors import SecretStoreError
from strongroom.keys import KeyWrapper, WrappedKey
from strongroom.localkey import LocalKey
from strongroom.names import Name, Reserved
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY_BYTES
from tests.conformance.support import Counter

CONTEXT = {"domain": "prod", "name": "db/password"}
NAME = "main"
DATA_KEY = CANARY_BYTES[:31].ljust(32, b"\xa5")
MESSAGE = Reserved("keyring", Name(NAME))


class Root(KeyWrapper):
    """A root of this process; `calls` counts what it was asked, `error` is what it answers instead."""

    def __init__(self, name: str = "one", *, symmetric: bool = True):
        self._key = LocalKey(name.encode().ljust(32, b"."), name=name, counter=Counter())
        self.key_id, self.provider_id, self.symmetric = name, self._key.provider_id, symmetric
        self.calls: Calls[str] = Calls()
        self.error: SecretStoreError | None = None

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        self._called("wrap")
        return self._key.wrap(data_key, context)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        self._called("unwrap")
        return self._key.unwrap(wrapped, context)

    def matches(self, wrapped: WrappedKey) -> bool:
        return self._key.matches(wrapped)

    def after_fork(self) -> None:
        self.calls["after_fork"] += 1

    def close(self) -> None:
        self.calls["close"] += 1

    def _called(self, what: str) -> None:
        self.calls[what] += 1
        if self.error:
            raise self.error


class WatchedPlace(KeyringPlace):
    """A file; its readings are counted, and `error` is what they give instead."""

    def __init__(self, path: Path):
        self._file = FilePlace(path)
        self.where = self._file.where
        self.reads = 0
        self.error: SecretStoreError | None = None

    def read(self) -> Held:
        self.reads += 1
        if self.error:
            raise self.error
        return self._file.read()

    def write(self, message: bytes, over: Held | None) -> None:
        self._file.write(message, over)

    def create_counter(self, key_name: str) -> None:
        self._file.create_counter(key_name)

    def counter(self, key_name: str) -> KeyCounter:
        return self._file.counter(key_name)


class World:
    """One place, one clock, and as many processes as keyrings are opened."""

    def __init__(self, folder: Path):
        self.path = folder / "main.keyring"
        self.clock = FakeClock()
        self.root = Root()

    def create(self, *roots: KeyWrapper) -> Keyring:
        return Keyring.create(FilePlace(self.path), roots or [self.root], name=NAME, clock=self.clock)

    def open(self, *roots: KeyWrapper) -> Keyring:
        return Keyring.open(FilePlace(self.path), roots or [self.root], name=NAME, clock=self.clock)


def round_trips(writer: KeyWrapper, reader: KeyWrapper | None = None) -> bool:
    """Whether `reader` opens what `writer` encrypts."""
    message = encrypt(CANARY_BYTES, keys=[writer], context=CONTEXT)
    return decrypt(message, keys=[reader or writer], context=CONTEXT).value == CANARY_BYTES


def opens(reader: KeyWrapper, message: bytes) -> bool:
    """Whether `reader` opens a message of `sealed`."""
    return decrypt(message, keys=[reader], context=CONTEXT).value == CANARY_BYTES


sealed = partial(encrypt, CANARY_BYTES, context=CONTEXT)
