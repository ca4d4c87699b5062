"""LocalKey passes the suite of KEKs: it asks a provider for nothing but the numbers of its wraps."""

from __future__ import annotations

import pytest

from strongroom.errors import UnavailableError
from strongroom.keys import KeyWrapper
from strongroom.localkey import LocalKey
from tests.conformance.support import KEY_BYTES, Counter, WrapperSuite


class _NoDisk:
    """A counter whose numbers cannot be made durable."""

    def reserve(self, count: int) -> int:
        raise UnavailableError("the counter cannot be written")


class TestLocalKey(WrapperSuite):
    """AES-256-GCM in this process; unwrapping counts nothing, so that it needs nobody."""

    offline = frozenset({"unwrap"})

    @pytest.fixture
    def wrapper(self) -> KeyWrapper:
        return LocalKey(KEY_BYTES, name="one", counter=Counter())

    @pytest.fixture
    def other(self) -> KeyWrapper:
        return LocalKey(KEY_BYTES[::-1], name="two", counter=Counter())

    @pytest.fixture
    def refused(self) -> KeyWrapper:
        """A keyset that this identity can read and not write."""
        return LocalKey(KEY_BYTES, name="one")

    @pytest.fixture
    def unreachable(self) -> KeyWrapper:
        return LocalKey(KEY_BYTES, name="one", counter=_NoDisk())
