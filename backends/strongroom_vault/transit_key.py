"""Keys of a transit engine of HashiCorp Vault or OpenBao as key encryption keys, behind ``vault-transit://``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from strongroom.errors import IntegrityError, SecretStoreError, UnsupportedOperationError
from strongroom.keys import DataKey, KeyWrapper, WrappedKey, bind, encode_context, unbind

from ._errors import error_for, error_for_status, garbage
from ._transit import LOGGERS, PROVIDER, TransitEngineKey, b64, bytes_in, versioned
from .transport import json_body

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

_AEAD = frozenset({"aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"})
_RSA = frozenset({"rsa-2048", "rsa-3072", "rsa-4096"})
_NO_PAIRS = b"\0\0"
"""The empty context, for a derived key, which takes none: a count of zero, as no other context begins."""

Item = tuple[bytes, Mapping[str, str]]


class TransitKey(KeyWrapper):
    """A key that never leaves Vault, which wraps data keys under a context.

    What the key is, is read once from ``MOUNT/keys/KEY`` ("read"); then the policy needs "update" on
    ``MOUNT/encrypt/KEY``, ``MOUNT/decrypt/KEY`` and, for a derived key, ``MOUNT/datakey/plaintext/KEY``.

    - A derived key gets the encoded context as ``context``: each context has a key of its own.
    - Otherwise an AEAD key gets it as ``associated_data`` (HashiCorp Vault 1.10 or later, any OpenBao).
    - RSA keys take none: the data key is bound to the context's digest. Whoever may read the public key could
      wrap, so that encrypted stores refuse them.

    Other types are refused. Convergent keys work; data keys are random, so that nothing repeats. A message
    records the host and port of the URL, namespace, mount and name: a Vault that moved keeps its name.

    After a rotation the latest version wraps, and each still allowed version opens what it wrapped.
    """

    provider_id = PROVIDER
    loggers = LOGGERS
    algorithm: ClassVar[str] = "AES-256-GCM, ChaCha20-Poly1305"

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = TransitEngineKey(url, settings)
        self.key_id = self._key.id
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``vault-transit://HOST:PORT/MOUNT/KEY[?namespace=team]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what hvac and requests raise."""
        return error_for(exc, operation)

    @property
    def symmetric(self) -> bool:  # type: ignore[override]  # the server knows it
        """False for an RSA key."""
        return self._kind("open") != "rsa"

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        return self.wrap_many([(data_key, context)])[0]

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        [outcome] = self.unwrap_many([(wrapped, context)])
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return outcome

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        encoded = encode_context(context)  # refuses what a message cannot hold, before any request
        if self._kind("generate_data_key") != "derived":
            # HashiCorp's datakey has no associated_data and would ignore it: a key that never opens again
            # (builtin/logical/transit/path_datakey.go).
            return super().generate_data_key(context)
        body = json_body({"context": b64(encoded or _NO_PAIRS)})
        answer = self._key.call("generate_data_key", "datakey/plaintext", body).data
        return DataKey(bytes_in(answer, "plaintext", "generate_data_key"), self._wrapped(answer))

    def wrap_many(self, items: Sequence[Item]) -> list[WrappedKey]:
        """Wrap data keys, each with its context, in one request.

        Raises:
            SecretStoreError: as `wrap`, for the first that fails.
        """
        for _, context in items:
            encode_context(context)
        bodies = [self._sealing(data_key, context) for data_key, context in items]
        outcomes = self._batch("wrap", "encrypt", bodies)
        return [self._wrapped(_raised(outcome)) for outcome in outcomes]

    def unwrap_many(
        self, items: Sequence[tuple[WrappedKey, Mapping[str, str]]]
    ) -> list[bytes | SecretStoreError]:
        """The data keys, or what is wrong with each, in one request."""
        sound = [versioned(wrapped.ciphertext.decode("latin-1")) is not None for wrapped, _ in items]
        bodies = [
            {"ciphertext": wrapped.ciphertext.decode(), **self._binding("unwrap", context)}
            for (wrapped, context), good in zip(items, sound, strict=True)
            if good
        ]
        answers = iter(self._batch("unwrap", "decrypt", bodies) if bodies else ())
        return [
            self._opened(next(answers), context) if good else _malformed()
            for (_, context), good in zip(items, sound, strict=True)
        ]

    def _opened(
        self, outcome: Mapping[str, Any] | SecretStoreError, context: Mapping[str, str]
    ) -> bytes | SecretStoreError:
        if isinstance(outcome, SecretStoreError):
            return outcome
        plaintext = bytes_in(outcome, "plaintext", "unwrap")
        try:
            return unbind(plaintext, context) if self._kind("unwrap") == "rsa" else plaintext
        except IntegrityError as error:
            return error.with_traceback(None)

    def _kind(self, operation: str) -> str:
        facts = self._key.facts(operation)
        if facts.type in _RSA:
            return "rsa"
        if facts.type not in _AEAD:
            raise UnsupportedOperationError(
                "a transit key of this type cannot wrap data keys",
                hint=f"types: {', '.join(sorted(_AEAD | _RSA))}",
            )
        return "derived" if facts.derived else "aead"

    def _sealing(self, data_key: bytes, context: Mapping[str, str]) -> dict[str, str]:
        plaintext = bind(data_key, context) if self._kind("wrap") == "rsa" else data_key
        return {"plaintext": b64(plaintext), **self._binding("wrap", context)}

    def _binding(self, operation: str, context: Mapping[str, str]) -> dict[str, str]:
        kind, encoded = self._kind(operation), encode_context(context)
        if kind == "derived":
            return {"context": b64(encoded or _NO_PAIRS)}
        return {"associated_data": b64(encoded)} if kind == "aead" else {}

    def _batch(
        self, operation: str, verb: str, bodies: Sequence[Mapping[str, str]]
    ) -> list[Mapping[str, Any] | SecretStoreError]:
        body = json_body({"batch_input": bodies})
        bodies, count = (), len(bodies)  # this frame may travel with an error
        answer = self._key.call(operation, verb, body, partial_ok=True)
        results = answer.data.get("batch_results")
        if not isinstance(results, list) or len(results) != count:
            raise garbage(operation)
        return [_outcome(result, operation) for result in results]

    def _wrapped(self, answer: Mapping[str, Any]) -> WrappedKey:
        ciphertext = answer.get("ciphertext")
        if versioned(ciphertext) is None:
            raise garbage("wrap")
        return self.wrapped(str(ciphertext).encode())


def _outcome(result: Any, operation: str) -> Mapping[str, Any] | SecretStoreError:
    if not isinstance(result, dict):
        return garbage(operation)
    if not result.get("error"):
        return result
    text = str(result["error"])
    # In a batch an RSA failure is the item's, not an internal error of the server.
    return error_for_status(500 if "RSA" in text else 400, operation, [text])


def _raised(outcome: Mapping[str, Any] | SecretStoreError) -> Mapping[str, Any]:
    if isinstance(outcome, SecretStoreError):
        raise outcome
    return outcome


def _malformed() -> SecretStoreError:
    return error_for_status(400, "unwrap", ["invalid ciphertext"])
