"""Keyrings pass the suite of KEKs, kept in a file and in a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.envelope.keyring import FilePlace, Keyring, KeyringPlace, StorePlace
from strongroom.envelope.keyring_places import Held, KeyCounter
from strongroom.errors import PermissionDeniedError, UnavailableError
from strongroom.keys import KeyWrapper
from strongroom.localkey import LocalKey
from strongroom.memory import MemoryBackend
from tests.conformance.support import KEY_BYTES, Counter, WrapperSuite


def _root() -> KeyWrapper:
    return LocalKey(KEY_BYTES, name="root", counter=Counter())


class _Uncounted(KeyringPlace):
    """A place whose keyring can be read, and whose counters cannot be written."""

    def __init__(self, inner: KeyringPlace, error: type[PermissionDeniedError | UnavailableError]):
        self.where, self._inner, self._error = inner.where, inner, error

    def read(self) -> Held:
        return self._inner.read()

    def write(self, message: bytes, over: Held | None) -> None:
        self._inner.write(message, over)

    def create_counter(self, key_name: str) -> None:
        self._inner.create_counter(key_name)

    def counter(self, key_name: str) -> KeyCounter:
        return self

    def reserve(self, count: int) -> int:
        raise self._error("the counter cannot be written")

    def taken(self) -> int:
        return 0


class Suite(WrapperSuite):
    """Unwrapping asks nobody once the keyring is open."""

    offline = frozenset({"unwrap"})

    @pytest.fixture
    def place(self) -> KeyringPlace:
        raise NotImplementedError

    @pytest.fixture
    def wrapper(self, place: KeyringPlace) -> Iterator[KeyWrapper]:
        keyring = Keyring.create(place, [_root()], name="main")
        keyring.rotate()
        yield keyring
        keyring.close()

    @pytest.fixture
    def other(self) -> KeyWrapper:
        return Keyring.create(StorePlace(MemoryBackend(), "other"), [_root()], name="other")

    @pytest.fixture
    def refused(self, wrapper: KeyWrapper, place: KeyringPlace) -> KeyWrapper:
        """The same keyring, whose counters this identity may not write."""
        return Keyring.open(_Uncounted(place, PermissionDeniedError), [_root()], name="main")

    @pytest.fixture
    def unreachable(self, wrapper: KeyWrapper, place: KeyringPlace) -> KeyWrapper:
        return Keyring.open(_Uncounted(place, UnavailableError), [_root()], name="main")


class TestKeyringInAFile(Suite):
    """With its counters beside it."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> KeyringPlace:
        return FilePlace(tmp_path / "main.keyring")


class TestKeyringInAStore(Suite):
    """In its reserved name space."""

    second_way = True

    @pytest.fixture
    def place(self) -> KeyringPlace:
        return StorePlace(MemoryBackend(), "main")
