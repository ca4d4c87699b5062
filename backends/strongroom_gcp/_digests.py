"""The keyed digests by which a writer knows a value again that stands in a secret it may not have written.

Annotations are metadata: whoever may list secrets reads them. An unkeyed hash there would let every viewer
try passwords offline, and so would a key that stands beside it. So the key is a secret itself, with its own
grant (`secretAccessor` on it is what a writer needs and a viewer lacks), in the reserved name space, which
grants on a prefix do not reach; one for each store. The write id is part of what is digested, so that equal
values have different digests.

Which key is in use is decided by Google's numbering: it is version 1 of its secret, whoever added that. Two
writers that make the key at once read the same one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from typing import Final

from strongroom.errors import SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue

from ._client import Client
from ._port import Gone

KEY: Final = Reserved("digest-key", Name("intents"))
"""Where the key is kept."""

_BYTES: Final = 32


class Digests:
    """Digests under this store's key, which is read, or made, when it is first needed.

    Args:
        client: to get the key with.
        name: the key's resource name.
    """

    def __init__(self, client: Client, name: str):
        self._client = client
        self._name = name
        self._key: SecretValue | None = None
        self._lock = threading.Lock()

    def digest(self, secret: str, write_id: str, payload: SecretValue) -> str:
        """32 hexadecimal digits for a payload of this secret, under this write id."""
        key = self._key or self._ready()
        parts = f"{secret}\n{write_id}\n".encode()
        return hmac.new(key.reveal(), parts + payload.reveal(), hashlib.sha256).hexdigest()[:32]

    def _ready(self) -> SecretValue:
        with self._lock:
            self._key = self._key or self._read() or self._make()
            return self._key

    def _read(self) -> SecretValue | None:
        found = self._client.read(self._name, 1)
        if isinstance(found, Gone):
            raise UnavailableError(
                "the key of this store's digests is disabled or destroyed",
                retryable=False,
                hint=f"enable version 1 of {self._name}; or, with no writer at work, delete that secret",
            )
        return found

    def _make(self) -> SecretValue:
        key = SecretValue(secrets.token_bytes(_BYTES))
        _done_or_lost(lambda: self._client.create(self._name, {}))
        _done_or_lost(lambda: self._client.add(self._name, key))
        found = self._read()
        if found is None:
            raise UnavailableError("the key of this store's digests could not be made", performed=False)
        return found

    def after_fork(self) -> None:
        """Forget the key, and the lock that another thread of the parent may have held."""
        self._lock = threading.Lock()
        self._key = None


def _done_or_lost(act: Callable[[], object]) -> None:
    """Do what may be done twice. After a lost answer the next step finds out whether it was done.

    Raises:
        SecretStoreError: it was refused.
    """
    error: SecretStoreError
    try:
        act()
    except SecretStoreError as exc:
        error = exc
    else:
        return
    if error.performed is False and not isinstance(error, SecretNotFoundError):
        raise error
