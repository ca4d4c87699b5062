"""Encrypted: any backend, holding only messages that this layer can open.

Each value is a message of the AWS Encryption SDK's format, bound to the store's domain and to the
secret's key. A message moved to another name or domain, or into a companion, is ``IntegrityError``.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from strongroom.backend import Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.value import Kind, SecretValue

from .edge import edge
from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.backend import Absent, Backend, Secret, SecretVersion
    from strongroom.keys import KeyWrapper
    from strongroom.names import Key

_HEADER_BYTES = 512
"""Room for the header's fixed part and its context (domain, name, write id, kind)."""
_FORMAT_VERSION = b"\x02"
_KEY_BYTES = 1024
_FRAME_SHARE = 1 << 14  # one frame header of 32 bytes a MiB, rounded up generously


class Encrypted(Layer):
    """Encrypts every value under ``keys`` before it reaches ``inner``; any one of them opens it.

    Args:
        inner: where the messages go.
        keys: key encryption keys.
        domain: the logical id of the store, the same on all its replicas.
        forgeable: accept a key whose public half wraps, so that whoever has it can forge secrets.

    Raises:
        InvalidRequestError: no key, no domain, or an asymmetric key without ``forgeable``.
    """

    def __init__(self, inner: Backend, keys: Sequence[KeyWrapper], domain: str, *, forgeable: bool = False):
        super().__init__(edge(inner))
        self._keys = tuple(keys)
        self._domain = domain
        if not keys or not domain:
            raise InvalidRequestError("an encrypted store needs a key and a domain")
        asymmetric = next((key.key_id for key in keys if not key.symmetric), None)
        if asymmetric and not forgeable:
            raise InvalidRequestError(
                f"key {asymmetric} is asymmetric: whoever has its public half could forge secrets",
                hint="use a symmetric key, or write forgeable = true",
            )

    @property
    def domain(self) -> str:  # type: ignore[override]
        return self._domain

    @property
    def writer(self) -> Backend:
        return self

    def get(self, key: Key, version: str | Stage) -> Secret:
        return self._opened(key, self.inner.get(key, version))

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return self.inner.put(key, self._sealed(key, value), if_version, record)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return {key: self._outcome(key, found) for key, found in self.inner.get_many(keys).items()}

    def put_pending(self, key: Key, rotation_id: str, value: SecretValue, base_version: str) -> SecretVersion:
        """Each message differs, so the backend takes a repeat for another value: compare plaintexts here."""
        conflict = None
        try:
            return self.inner.put_pending(key, rotation_id, self._sealed(key, value), base_version)
        except SecretConflictError as error:
            conflict = error
        held = self._message_held(key, rotation_id, conflict)
        if self._opened(key, held).value != value:
            raise SecretConflictError("another value is pending under this rotation id")
        # The very message that is held: the backend finishes whatever the first call left undone.
        return self.inner.put_pending(key, rotation_id, held.value, base_version)

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        return self._opened(key, self.inner.get_pending(key, rotation_id))

    def limit(self, key: Key) -> int | None:
        limit = self.inner.limit(key)
        return None if limit is None else limit - len(str(key).encode())  # the message's context names it

    def size(self, value: SecretValue) -> int:
        plain = len(value.reveal())
        header = _HEADER_BYTES + 2 * len(self._domain.encode()) + _KEY_BYTES * len(self._keys)
        return self.inner.size(SecretValue(bytes(plain + plain // _FRAME_SHARE + header)))

    def own_key(self) -> None:
        """None: what had to be encrypted is."""

    def after_fork(self) -> None:
        super().after_fork()
        for key in self._keys:
            key.after_fork()

    def _message_held(self, key: Key, rotation_id: str, conflict: SecretConflictError) -> Secret:
        try:
            return self.inner.get_pending(key, rotation_id)
        except SecretNotFoundError:  # anything else leaves it unknown whether the conflict is our own write
            pass
        raise conflict

    def _bound(self, key: Key) -> dict[str, str]:
        return {"strongroom-domain": self._domain, "strongroom-name": str(key)}

    def _sealed(self, key: Key, value: SecretValue) -> SecretValue:
        from strongroom.envelope.cipher import encrypt

        facts = {"strongroom-write-id": uuid.uuid4().hex, "strongroom-kind": value.kind}
        bindings = self._bound(key) | facts
        return SecretValue(encrypt(value.reveal(), keys=self._keys, context={}, bindings=bindings))

    def _opened(self, key: Key, secret: Secret) -> Secret:
        from strongroom.envelope.cipher import decrypt

        if secret.value.reveal()[:1] != _FORMAT_VERSION:
            raise IntegrityError(
                "what is stored is no encrypted message",
                hint="somebody wrote it past this layer: import it from a store without encrypt",
            )
        plain = decrypt(secret.value.reveal(), keys=self._keys, context={}, bindings=self._bound(key))
        kind = plain.context.get("strongroom-kind", "binary")
        if kind not in ("text", "binary"):
            raise IntegrityError("the message names no kind of value that exists")
        return replace(secret, value=SecretValue(plain.value, cast("Kind", kind)))

    def _outcome(self, key: Key, found: Secret | SecretStoreError) -> Secret | SecretStoreError:
        if isinstance(found, SecretStoreError):
            return found
        try:
            return self._opened(key, found)
        except SecretStoreError as error:
            return error.with_traceback(None)
