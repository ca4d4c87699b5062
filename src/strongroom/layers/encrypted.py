"""Encrypted: any backend, holding only messages that this layer can open.

Each value is a message of the AWS Encryption SDK's format, bound to the store's domain and to the
secret's key. A message moved to another name or domain, or into a companion, is ``IntegrityError``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from strongroom.backend import Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.keys import encode_context
from strongroom.value import Kind, SecretValue

from .edge import edge
from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.backend import Absent, Backend, Secret, SecretVersion
    from strongroom.envelope.datakeys import DataKeyCache
    from strongroom.keys import KeyWrapper
    from strongroom.names import Key

MAX_KEYS: Final = 16
"""Keys and old keys together: what a message may be tried with."""

_FORMAT_VERSION: Final = b"\x02"
_STARTS: Final = (b"\x02\x04\x78", b"\x02\x05\x78")  # with the two suites
_FIXED_BYTES: Final = 92  # of a header, its tag with them, without what follows a length
_FRAME_LENGTH: Final = 1 << 20
_FRAME_BYTES: Final = 40  # of the final one; the others take 32
_A_MESSAGE: Final = SecretValue("message")
_GROUP: Final = 4  # base64 rounds up: what is longer by some bytes may take a group more than they do alone


class Encrypted(Layer):
    """Encrypts every value under ``keys`` before it reaches ``inner``; any one of them opens it.

    Args:
        inner: where the messages go.
        keys: key encryption keys, keyrings among them; each new message is under all of them.
        domain: the logical id of the store, the same on all its replicas.
        old_keys: open messages too; no new message is made under them.
        forgeable: accept a key whose public half wraps, so that whoever has it can forge secrets.
        allow_plaintext: what is no message is a value of before the store was encrypted, and is read as it
            is: whoever may write the store can then forge secrets without any key. For a transition only.
        data_keys: spares a remote key the repeated reads of a version. Each write has a data key of its own.

    Attributes:
        answered: whether every key has wrapped once; until then an alias may not be known by its key.

    Raises:
        InvalidRequestError: no key or over `MAX_KEYS`, no domain, or an asymmetric key, old or not, without
            ``forgeable``.
    """

    def __init__(
        self,
        inner: Backend,
        keys: Sequence[KeyWrapper],
        domain: str,
        *,
        old_keys: Sequence[KeyWrapper] = (),
        forgeable: bool = False,
        allow_plaintext: bool = False,
        data_keys: DataKeyCache | None = None,
    ):
        super().__init__(edge(inner))
        self.keys, self._opens = tuple(keys), (*keys, *old_keys)
        self.answered = False
        self._domain, self._allow_plaintext, self._data_keys = domain, allow_plaintext, data_keys
        if not keys or not domain:
            raise InvalidRequestError("an encrypted store needs a key and a domain")
        if len(self._opens) > MAX_KEYS:
            raise InvalidRequestError(f"an encrypted store takes at most {MAX_KEYS} keys, old ones included")
        asymmetric = next((key.key_id for key in self._opens if not key.symmetric), None)
        if asymmetric and not forgeable:
            raise InvalidRequestError(
                f"key {asymmetric} is asymmetric: whoever has its public half could forge secrets",
                hint="use a symmetric key, or write forgeable = true",
            )
        self._overhead = _FIXED_BYTES + _FRAME_BYTES + sum(key.room() for key in keys)
        self._overhead += len(encode_context(self._said("", "binary")))

    @property
    def domain(self) -> str:  # type: ignore[override]
        return self._domain

    @property
    def writer(self) -> Backend:
        return self

    def get(self, key: Key, version: str | Stage) -> Secret:
        return self.opened(key, self.inner.get(key, version))

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return self.inner.put(key, self.sealed(key, value), if_version, record)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return {key: self._outcome(key, found) for key, found in self.inner.get_many(keys).items()}

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        """Each message differs, so the backend takes a repeat for another value: compare plaintexts here."""
        conflict = None
        try:
            return self.inner.put_pending(key, rotation_id, self.sealed(key, value), base_version, record)
        except SecretConflictError as error:
            conflict = error
        held = self._message_held(key, rotation_id, conflict)
        if self.opened(key, held).value != value:
            raise SecretConflictError("another value is pending under this rotation id")
        # The very message that is held: the backend finishes whatever the first call left undone.
        return self.inner.put_pending(key, rotation_id, held.value, base_version, record)

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        return self.opened(key, self.inner.get_pending(key, rotation_id))

    def delete(self, key: Key) -> None:
        self._forget_data_keys()
        self.inner.delete(key)

    def purge(self, key: Key) -> None:
        self._forget_data_keys()
        self.inner.purge(key)

    def retire(self, key: Key, version: str) -> None:
        self._forget_data_keys()
        self.inner.retire(key, version)

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        self.inner.check(key, _A_MESSAGE, tags)  # which is never empty, whatever its value

    def limit(self, key: Key) -> int | None:
        limit = self.inner.limit(key)
        if limit is None:
            return None
        named = self._stored(self._overhead + len(str(key).encode())) - self._stored(self._overhead)
        return limit - named - _GROUP

    def size(self, value: SecretValue) -> int:
        plain = len(value.reveal())
        return self._stored(plain + plain // _FRAME_LENGTH * _FRAME_BYTES + self._overhead)

    def own_key(self) -> None:
        """None: what had to be encrypted is."""

    def after_fork(self) -> None:
        super().after_fork()
        for key in self._opens:
            key.after_fork()

    def close(self) -> None:
        self._forget_data_keys()
        super().close()

    def is_message(self, stored: SecretValue) -> bool:
        """Whether what ``inner`` holds begins as a message does; anything else opens nowhere."""
        return stored.reveal().startswith(_STARTS)

    def sealed(self, key: Key, value: SecretValue) -> SecretValue:
        """The message that ``inner`` is given for a value.

        Raises:
            InvalidRequestError: it does not fit, though the value did by all that was known of the keys.
        """
        from strongroom.envelope.cipher import encrypt

        said = self._said(str(key), value.kind)
        message = SecretValue(encrypt(value.reveal(), keys=self.keys, context={}, bindings=said))
        self.answered = True
        limit = self.inner.limit(key)
        if limit is not None and (size := self.inner.size(message)) > limit:
            problem = f"the value takes {size} bytes once encrypted, over the limit of {limit}"
            raise InvalidRequestError(problem, hint="keep the large part elsewhere, and its place here")
        return message

    def opened(self, key: Key, secret: Secret) -> Secret:
        """What ``inner`` holds, opened and verified.

        Raises:
            IntegrityError: it is no message of this key, domain and layer.
        """
        from strongroom.envelope.cipher import decrypt

        message, bound = secret.value.reveal(), self._bound(str(key))
        if self._allow_plaintext and not message.startswith(_STARTS):
            return secret
        if message[:1] != _FORMAT_VERSION:
            message = b""  # this frame travels with the error
            raise IntegrityError(
                "what is stored is no encrypted message",
                hint="if it is older than the store's encryption: allow_plaintext = true, then strongroom"
                " reencrypt; else somebody wrote it past this layer",
            )
        plain = decrypt(message, keys=self._opens, context={}, bindings=bound, data_keys=self._data_keys)
        kind = plain.context.get("strongroom-kind", "binary")
        if kind not in ("text", "binary"):
            raise IntegrityError("the message names no kind of value that exists")
        return replace(secret, value=SecretValue(plain.value, cast("Kind", kind)))

    def _stored(self, length: int) -> int:
        # No text, as no message is: a backend would store that otherwise, and count it otherwise.
        return self.inner.size(SecretValue(b"\xff" * length))

    def _message_held(self, key: Key, rotation_id: str, conflict: SecretConflictError) -> Secret:
        try:
            return self.inner.get_pending(key, rotation_id)
        except SecretNotFoundError:  # anything else leaves it unknown whether the conflict is our own write
            pass
        raise conflict

    def _bound(self, name: str) -> dict[str, str]:
        return {"strongroom-domain": self._domain, "strongroom-name": name}

    def _said(self, name: str, kind: str) -> dict[str, str]:
        return {**self._bound(name), "strongroom-write-id": os.urandom(16).hex(), "strongroom-kind": kind}

    def _forget_data_keys(self) -> None:
        if self._data_keys is not None:
            self._data_keys.clear()

    def _outcome(self, key: Key, found: Secret | SecretStoreError) -> Secret | SecretStoreError:
        if isinstance(found, SecretStoreError):
            return found
        try:
            return self.opened(key, found)
        except SecretStoreError as error:
            return error.with_traceback(None)
