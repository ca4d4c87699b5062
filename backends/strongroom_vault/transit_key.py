"""Keys of a transit engine of HashiCorp Vault or OpenBao as key encryption keys, behind ``vault-transit://``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError, UnsupportedOperationError
from strongroom.keys import DataKey, KeyWrapper, WrappedKey, Wrapping, bind, encode_context, unbind

from ._errors import error_for, error_for_status, garbage
from ._transit import LOGGERS, PROVIDER, TransitEngineKey, b64, bytes_in, versioned
from .transport import json_body

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

_OAEP = "RSA-OAEP-256"
_NO_PAIRS = b"\0\0"
"""The empty context, for a derived key, which takes none: a count of zero, as no other context begins."""

Item = tuple[bytes, Mapping[str, str]]


class TransitKey(KeyWrapper):
    """A key that never leaves Vault, which wraps data keys under a context.

    What the key is, is read once from ``MOUNT/keys/KEY`` ("read"); then the policy needs "update" on
    ``MOUNT/encrypt/KEY``, ``MOUNT/decrypt/KEY`` and, for a derived key, ``MOUNT/datakey/plaintext/KEY``.

    - A derived key gets the encoded context as ``context``: each context has a key of its own.
    - Otherwise an AEAD key gets it as ``associated_data`` (HashiCorp Vault 1.10 or later, any OpenBao).

    Other types are refused; the option ``algorithm = "RSA-OAEP-256"`` declares an RSA key, see
    `AsymmetricTransitKey`, so that opening a store need not ask a Vault that may be down. Convergent keys
    work: data keys are random, so that nothing repeats. A message records the host and port of the URL,
    namespace, mount and name: a Vault that moves must keep its name.

    After a rotation the latest version wraps, and each still allowed version opens what it wrapped.
    """

    provider_id = PROVIDER
    loggers = LOGGERS
    algorithm = "AES-256-GCM, ChaCha20-Poly1305"
    longest = 256  # vault:v1: and the base64 of at most 24 + 64 + 16 bytes
    _types: ClassVar[tuple[str, ...]] = ("aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305")

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = TransitEngineKey(url, settings, "algorithm")
        self.key_id = self._key.id
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``vault-transit://HOST:PORT/MOUNT/KEY[?namespace=team]``, without I/O."""
        algorithm = settings.options.get("algorithm")
        if algorithm not in (None, _OAEP):
            raise InvalidRequestError("no algorithm for transit keys that wrap", hint=f"{_OAEP}, or none")
        found: type[TransitKey] = AsymmetricTransitKey if algorithm == _OAEP else TransitKey
        return found(url, settings)  # type: ignore[return-value]  # both are transit keys

    @classmethod
    def wrappings(cls) -> tuple[Wrapping, ...]:
        return TransitKey.wrapping(), AsymmetricTransitKey.wrapping(f'algorithm = "{_OAEP}"')

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what hvac and requests raise."""
        return error_for(exc, operation)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        return self.wrap_many([(data_key, context)])[0]

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        [outcome] = self.unwrap_many([(wrapped, context)])
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return outcome

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        encoded = encode_context(context)  # refuses what a message cannot hold, before any request
        if not self._is_derived("generate_data_key"):
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
        try:
            return self._unbound(bytes_in(outcome, "plaintext", "unwrap"), context)
        except IntegrityError as error:
            return error.with_traceback(None)

    def _is_derived(self, operation: str) -> bool:
        facts = self._key.facts(operation)
        if facts.type not in self._types:
            raise UnsupportedOperationError(
                f"a transit key of type {facts.type} cannot wrap data keys so",
                hint=f"use one of {', '.join(self._types)}; for RSA say algorithm = {_OAEP!r}",
            )
        return facts.derived

    def _sealing(self, data_key: bytes, context: Mapping[str, str]) -> dict[str, str]:
        return {"plaintext": b64(data_key), **self._binding("wrap", context)}

    def _binding(self, operation: str, context: Mapping[str, str]) -> dict[str, str]:
        encoded = encode_context(context)
        if self._is_derived(operation):
            return {"context": b64(encoded or _NO_PAIRS)}
        return {"associated_data": b64(encoded)}

    def _unbound(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        return plaintext

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


class AsymmetricTransitKey(TransitKey):
    """An RSA key: whoever may read its public half can wrap, so that encrypted stores refuse it.

    RSA-OAEP takes no context: what is wrapped is the data key and the context's SHA-256, 64 bytes.
    """

    symmetric = False
    algorithm = _OAEP
    context = "bound by digest"
    largest = 190  # RFC 8017 section 7.1.1, for 2,048 bits and SHA-256
    longest = 768  # the base64 of 512 bytes, and the version before it
    _types: ClassVar[tuple[str, ...]] = ("rsa-2048", "rsa-3072", "rsa-4096")

    def _sealing(self, data_key: bytes, context: Mapping[str, str]) -> dict[str, str]:
        return super()._sealing(bind(data_key, context), context)

    def _binding(self, operation: str, context: Mapping[str, str]) -> dict[str, str]:
        self._is_derived(operation)
        return {}

    def _unbound(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        return unbind(plaintext, context)


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
