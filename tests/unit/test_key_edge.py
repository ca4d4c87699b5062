"""The edge of key services: their exceptions end there, and so do data keys in frames."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.keys import KeyWrapper, Signer, WrappedKey
from strongroom.layers.key_edge import KeyEdge, SignerEdge
from tests.canary import CANARY, assert_no_canary_in


class SdkError(Exception):
    """What a provider's client raises, with the request in it."""

    def __init__(self, request: bytes):
        super().__init__(f"failed: {request!r}")
        self.request = request


class _Key(KeyWrapper):
    provider_id = "acme"
    key_id = "one"
    closed = 0

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        raise SdkError(data_key)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        raise KeyError(CANARY)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        return UnavailableError("down") if isinstance(exc, SdkError) else None

    def close(self) -> None:
        self.closed += 1


class _Signer(Signer):
    provider_id = "acme"
    key_id = "one"
    algorithm = "ES256"

    def sign_digest(self, digest: bytes) -> bytes:
        raise SdkError(CANARY.encode())

    def public_key(self) -> bytes | None:
        return b"key"


WRAPPED = WrappedKey("acme", b"one", b"")


def test_an_exception_of_the_sdk_becomes_one_of_ours() -> None:
    """By the key's table, with operation and provider; nothing of it, nor of the data key, travels on."""
    with pytest.raises(UnavailableError) as caught:
        KeyEdge(_Key()).wrap(CANARY.encode(), {})
    error = caught.value
    assert (error.operation, error.backend, error.__context__) == ("wrap", "acme", None)
    assert_no_canary_in(error)


def test_an_exception_nobody_expected_does_too() -> None:
    """It says its class and nothing else."""
    with pytest.raises(SecretStoreError, match="KeyError") as caught:
        KeyEdge(_Key()).unwrap(WRAPPED, {})
    assert_no_canary_in(caught.value)
    with pytest.raises(SecretStoreError) as of_signer:
        SignerEdge(_Signer()).sign(b"message")
    assert_no_canary_in(of_signer.value)
    assert of_signer.value.operation == "sign"


def test_a_closed_key_refuses() -> None:
    """Its SDK would connect again, and may log its requests by then; closing twice is one thing."""
    inner = _Key()
    key, signer = KeyEdge(inner), SignerEdge(_Signer())
    for each in (key, signer):
        each.close()
        each.close()
    assert inner.closed == 2
    for call in (lambda: key.wrap(b"", {}), lambda: key.unwrap(WRAPPED, {}), lambda: signer.sign(b"")):
        with pytest.raises(InvalidRequestError, match="closed"):
            call()
