"""What the suites of key services stand on: fixtures, facts of the key, helpers."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest

from strongroom.errors import IntegrityError, PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.keys import DATA_KEY_LENGTH, KeyWrapper, ProviderKey, WrappedKey

CONTEXT: Mapping[str, str] = {"domain": "prod", "name": "db/password"}
CHILD_FAILED = 2


class Broken(KeyWrapper):
    """A KEK whose provider answers with one error only."""

    def __init__(self, like: KeyWrapper, error: type[SecretStoreError]):
        self.key_id, self.provider_id, self.symmetric = like.key_id, like.provider_id, like.symmetric
        self._like, self._error = like, error

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        raise self._error("broken")

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        raise self._error("broken")

    def matches(self, wrapped: WrappedKey) -> bool:
        return self._like.matches(wrapped)


class KeyHarness:
    """Fixtures and facts of a KEK; a subclass gives `wrapper` and `other`.

    Attributes:
        marker: stands in data keys; what the redaction cases search for. At most 32 bytes.
        symmetric: what the KEK must say of itself.
        offline: the operations that need no answer of the provider (with a public key: ``wrap`` and
            ``generate_data_key``), so that they work for whoever is refused, and without a connection.
    """

    marker: ClassVar[str] = f"key-{secrets.token_hex(12)}"
    symmetric: ClassVar[bool] = True
    offline: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def wrapper(self) -> KeyWrapper:
        """The KEK under test."""
        raise NotImplementedError("give a fixture `wrapper` that returns an open KeyWrapper")

    @pytest.fixture
    def other(self) -> KeyWrapper:
        """Another KEK of the same provider."""
        raise NotImplementedError("give a fixture `other` that returns another key of the same provider")

    @pytest.fixture
    def disposable(self, wrapper: KeyWrapper) -> KeyWrapper:
        """The KEK for cases that close it; give another object where `wrapper` is shared."""
        return wrapper

    @pytest.fixture
    def refused(self, wrapper: KeyWrapper) -> KeyWrapper:
        """The same key, seen by an identity that may not use it; override it with a real one."""
        return Broken(wrapper, PermissionDeniedError)

    @pytest.fixture
    def unreachable(self, wrapper: KeyWrapper) -> KeyWrapper:
        """The same key, of a provider that does not answer; override it with a real one."""
        return Broken(wrapper, UnavailableError)

    def count(self, nightly: int) -> int:
        """How often to repeat what a nightly run repeats so often."""
        return max(1, nightly // 10)

    @property
    def data_key(self) -> bytes:
        """A data key that holds the marker."""
        data_key = self.marker.encode().ljust(DATA_KEY_LENGTH, b"\xa5")
        assert len(data_key) == DATA_KEY_LENGTH, "the marker is too long"
        return data_key

    @staticmethod
    def is_refused(wrapper: KeyWrapper, wrapped: WrappedKey) -> bool:
        """Whether `wrapped` does not match, or does not open: an alias may have to ask which key it means."""
        if not wrapper.matches(wrapped):
            return True
        error = error_of(lambda: wrapper.unwrap(wrapped, CONTEXT))
        return isinstance(error, IntegrityError)


def error_of(call: Callable[[], object]) -> SecretStoreError | None:
    """The error of ours that `call` raises, or None."""
    try:
        call()
    except SecretStoreError as error:
        return error
    return None


def in_child(key: ProviderKey, check: Callable[[], bool]) -> bool:
    """Whether `check` holds in a forked child, which was told of the fork as a store would tell it."""
    child = os.fork()
    if not child:
        os._exit(_checked_in_child(key, check))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _checked_in_child(key: ProviderKey, check: Callable[[], bool]) -> int:
    try:
        key.after_fork()
        return 0 if check() else 1
    except BaseException:  # noqa: BLE001  (the child must never return into the test run)
        return CHILD_FAILED
