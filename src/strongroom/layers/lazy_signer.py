"""A signing key that is opened when it first signs: what it signs for must not wait for an HSM to start."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from strongroom.keys import Signer

if TYPE_CHECKING:
    from collections.abc import Callable


class LazySigner(Signer):
    """Opens its key at the first use; a failure is that use's, and the next tries again.

    Args:
        opens: gives the key.
    """

    def __init__(self, opens: Callable[[], Signer]):
        self._opens = opens
        self._found: Signer | None = None
        self._lock = threading.Lock()

    @property
    def key_id(self) -> str:  # type: ignore[override]
        return self._inner().key_id

    @property
    def provider_id(self) -> str:  # type: ignore[override]
        return self._inner().provider_id

    @property
    def algorithm(self) -> str:  # type: ignore[override]
        return self._inner().algorithm

    def sign(self, message: bytes) -> bytes:
        return self._inner().sign(message)

    def sign_digest(self, digest: bytes) -> bytes:
        return self._inner().sign_digest(digest)

    def public_key(self) -> bytes | None:
        return self._inner().public_key()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._found:
            self._found.after_fork()

    def close(self) -> None:
        found, self._found = self._found, None
        if found:
            found.close()

    def _inner(self) -> Signer:
        with self._lock:
            if self._found is None:
                self._found = self._opens()
            return self._found

    def __repr__(self) -> str:
        return f"<LazySigner {self._found!r}>"
