"""The table of PKCS#11's return codes: whole, free of provider text, and right about what was performed."""

from __future__ import annotations

import inspect

import pkcs11
import pytest
from pkcs11 import exceptions

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretStoreError,
    UnavailableError,
)
from strongroom_pkcs11._errors import CLASSES, WRITES, error_for
from strongroom_pkcs11.keys import TokenKey
from strongroom_pkcs11.signer import TokenSigner
from tests.canary import CANARY, assert_no_canary_in

EXCEPTIONS = [cls for _, cls in inspect.getmembers(exceptions, inspect.isclass) if issubclass(cls, Exception)]


@pytest.mark.parametrize("cls", EXCEPTIONS, ids=lambda cls: cls.__name__)
def test_every_exception_of_the_sdk_stands_in_the_table(cls: type[Exception]) -> None:
    """By its own name; its error holds nothing of what the exception holds."""
    assert cls.__name__ in CLASSES
    for operation in ("get", "put", "wrap", "unwrap", "sign", "create"):
        error = error_for(cls(CANARY), operation)
        assert isinstance(error, SecretStoreError)
        assert isinstance(error.__cause__, ProviderFault)
        assert_no_canary_in(error)


def test_the_walk_finds_the_classes() -> None:
    """Or the test above would hold of nothing; and the table names no class that is not there."""
    assert len(EXCEPTIONS) > 70
    assert set(CLASSES) == {cls.__name__ for cls in EXCEPTIONS}


def test_a_class_that_a_later_sdk_adds_means_what_its_base_means() -> None:
    """Nothing of the SDK is unknown."""

    class New(pkcs11.DeviceRemoved):
        pass

    assert isinstance(error_for(New(), "get"), UnavailableError)


def test_what_is_not_the_sdks_has_no_error() -> None:
    """A bug of ours is not an outage of theirs."""
    assert error_for(KeyError("x"), "get") is None
    assert error_for(RuntimeError("x"), "put") is None


@pytest.mark.parametrize("owner", [TokenKey, TokenSigner])
def test_keys_and_signers_translate_by_the_table(owner: type[TokenKey | TokenSigner]) -> None:
    """At the edge that the registry puts around them."""
    assert isinstance(owner.error_for(pkcs11.PinLocked(), "wrap"), PermissionDeniedError)


MEANINGS = [
    (pkcs11.PinIncorrect, PermissionDeniedError),
    (pkcs11.PinLocked, PermissionDeniedError),
    (pkcs11.PinExpired, PermissionDeniedError),
    (pkcs11.UserNotLoggedIn, PermissionDeniedError),
    (pkcs11.KeyUnextractable, PermissionDeniedError),
    (pkcs11.AttributeSensitive, PermissionDeniedError),
    (pkcs11.EncryptedDataInvalid, IntegrityError),
    (pkcs11.WrappedKeyInvalid, IntegrityError),
    (pkcs11.DeviceRemoved, UnavailableError),
    (pkcs11.SessionHandleInvalid, UnavailableError),
    (pkcs11.SessionCount, UnavailableError),
    (pkcs11.TokenNotPresent, UnavailableError),
    (pkcs11.GeneralError, UnavailableError),
    (pkcs11.NoSuchToken, UnavailableError),
    (pkcs11.NoSuchKey, InvalidRequestError),
    (pkcs11.MultipleObjectsReturned, InvalidRequestError),
    (pkcs11.MechanismInvalid, InvalidRequestError),
]


@pytest.mark.parametrize(("cls", "error"), MEANINGS, ids=lambda value: value.__name__)
def test_a_code_means_one_error(cls: type[Exception], error: type[SecretStoreError]) -> None:
    """In every operation but the one below."""
    assert {type(error_for(cls(), operation)) for operation in ("get", "put", "wrap", "sign")} == {error}


def test_invalid_data_is_a_forgery_only_where_something_is_unwrapped() -> None:
    """NSS says CKR_DATA_LEN_RANGE of a wrapped key of a wrong length; elsewhere it is the caller's fault."""
    assert isinstance(error_for(pkcs11.DataLenRange(), "unwrap"), IntegrityError)
    assert isinstance(error_for(pkcs11.DataLenRange(), "wrap"), InvalidRequestError)


@pytest.mark.parametrize(
    ("cls", "lost"),
    [
        (pkcs11.DeviceRemoved, True),
        (pkcs11.DeviceError, True),
        (pkcs11.GeneralError, True),
        (pkcs11.SessionHandleInvalid, True),
        (pkcs11.SessionCount, False),
        (pkcs11.DeviceMemory, False),
        (pkcs11.NoSuchToken, False),
        (pkcs11.PinIncorrect, False),
        (pkcs11.TokenWriteProtected, False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_performed_is_unknown_only_where_a_write_may_have_happened(cls: type[Exception], lost: bool) -> None:
    """A token that goes away in the middle of a write may have done it; a read performs nothing ever."""
    read = error_for(cls(), "get")
    assert read is not None
    assert read.performed is False
    for operation in WRITES:
        write = error_for(cls(), operation)
        assert write is not None
        assert write.performed is (None if lost else False)
