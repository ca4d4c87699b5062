"""What PKCS#11's return codes mean, by table. python-pkcs11 has one exception class for each.

Codes: OASIS PKCS #11 Cryptographic Token Interface Base Specification 2.40, section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pkcs11

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretStoreError,
    UnavailableError,
)

WRITES: Final = frozenset({"put", "purge", "delete", "restore", "retire", "set_tags", "create"})


@dataclass(frozen=True, slots=True)
class _Meaning:
    error: type[SecretStoreError]
    message: str
    hint: str | None = None
    lost: bool = False  # a write may have happened all the same
    retryable: bool | None = None


_PIN = _Meaning(PermissionDeniedError, "the token does not accept the PIN", "correct pin in strongroom.toml")
_LOCKED = _Meaning(
    PermissionDeniedError,
    "the token has locked the PIN after too many wrong ones",
    "the security officer unlocks it",
)
_EXPIRED = _Meaning(PermissionDeniedError, "the PIN has expired", "set a new one with the token's own tool")
_NO_PIN = _Meaning(PermissionDeniedError, "the token has no user PIN yet", "the security officer sets it")
_LOGIN = _Meaning(PermissionDeniedError, "the token wants a login", "set pin in strongroom.toml")
_OTHER_USER = _Meaning(
    PermissionDeniedError, "another user is logged in to the token in this process", "log out the other one"
)
_GONE = _Meaning(UnavailableError, "the token does not answer", "is it connected?", lost=True)
_NO_TOKEN = _Meaning(UnavailableError, "no such token", "check the URL's token, and that it is connected")
_SESSION = _Meaning(UnavailableError, "the token ended the session", lost=True)
_FULL = _Meaning(UnavailableError, "the token has no session left", "other programs hold them all")
_MEMORY = _Meaning(UnavailableError, "the token or its module is out of memory", "is the token full?")
_STALE = _Meaning(UnavailableError, "the object is not where it was", lost=True)
_BROKEN = _Meaning(UnavailableError, "the token or its module failed", lost=True)
_NO_RANDOM = _Meaning(UnavailableError, "the token cannot make random numbers", retryable=False)
_CHANGED = _Meaning(IntegrityError, "what the token was given does not verify", "it was changed")
_READ_ONLY = _Meaning(PermissionDeniedError, "the token is write-protected")
_SECRET = _Meaning(PermissionDeniedError, "the token does not let this key out")
_NOT_ALLOWED = _Meaning(
    InvalidRequestError, "the token does not let this key be used so", "is it of the right kind?"
)
_MECHANISM = _Meaning(
    InvalidRequestError, "the token does not have this mechanism", "choose another kind of key or mechanism"
)
_NO_KEY = _Meaning(InvalidRequestError, "no such key on the token", "strongroom key create makes one")
_AMBIGUOUS = _Meaning(
    InvalidRequestError, "several objects or tokens answer to this URL", "add id=, serial= or type="
)
_MISUSE = _Meaning(InvalidRequestError, "the token refused the request's parameters")

_TABLE: Final = {
    _PIN: "PinIncorrect PinInvalid PinLenRange PinTooWeak",
    _LOCKED: "PinLocked",
    _EXPIRED: "PinExpired",
    _NO_PIN: "UserPinNotInitialized",
    _LOGIN: "UserNotLoggedIn",
    _OTHER_USER: "AnotherUserAlreadyLoggedIn UserTooManyTypes UserAlreadyLoggedIn SessionReadWriteSOExists",
    _GONE: "DeviceError DeviceRemoved TokenNotPresent TokenNotRecognised SlotIDInvalid",
    _NO_TOKEN: "NoSuchToken",
    _SESSION: "SessionHandleInvalid SessionClosed OperationActive OperationNotInitialized",
    _FULL: "SessionCount SessionExists SessionReadOnlyExists",
    _MEMORY: "DeviceMemory HostMemory",
    _STALE: """KeyHandleInvalid ObjectHandleInvalid WrappingKeyHandleInvalid UnwrappingKeyHandleInvalid""",
    _BROKEN: "PKCS11Error GeneralError FunctionFailed FunctionCancelled ExceededMaxIterations NoEvent",
    _NO_RANDOM: "RandomNoRNG RandomSeedNotSupported",
    _CHANGED: """EncryptedDataInvalid EncryptedDataLenRange WrappedKeyInvalid WrappedKeyLenRange
        SignatureInvalid SignatureLenRange""",
    _READ_ONLY: "TokenWriteProtected SessionReadOnly",
    _SECRET: "AttributeSensitive KeyUnextractable",
    _NOT_ALLOWED: """FunctionRejected KeyTypeInconsistent KeyNotWrappable KeySizeRange KeyIndigestible
        UnwrappingKeySizeRange UnwrappingKeyTypeInconsistent WrappingKeySizeRange
        WrappingKeyTypeInconsistent""",
    _MECHANISM: "MechanismInvalid MechanismParamInvalid FunctionNotSupported",
    _NO_KEY: "NoSuchKey",
    _AMBIGUOUS: "MultipleObjectsReturned MultipleTokensReturned",
    _MISUSE: """ArgumentsBad AttributeTypeInvalid AttributeValueInvalid AttributeReadOnly DataInvalid
        DataLenRange DomainParamsInvalid KeyNeeded KeyNotNeeded PublicKeyInvalid TemplateIncomplete
        TemplateInconsistent""",
}
CLASSES: Final = {name: meaning for meaning, names in _TABLE.items() for name in names.split()}
"""What each class of `pkcs11.exceptions` means, by name."""

_FORGED: Final = ("DataInvalid", "DataLenRange")
"""What NSS answers to a wrapped key that was changed, and other modules to their caller's mistakes."""

ENDS_LOGIN: Final = (
    pkcs11.DeviceError, pkcs11.DeviceRemoved, pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised,
    pkcs11.SlotIDInvalid, pkcs11.SessionHandleInvalid, pkcs11.SessionClosed, pkcs11.UserNotLoggedIn,
)  # fmt: skip
"""After these nothing of the token's state is to be trusted: all its sessions are made anew."""


def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
    """The error that an exception of python-pkcs11 stands for; None if it is not one."""
    if not isinstance(exc, pkcs11.PKCS11Error):
        return None
    kind = next(base for base in type(exc).__mro__ if base.__name__ in CLASSES)
    forged = operation == "unwrap" and kind.__name__ in _FORGED
    meaning = _CHANGED if forged else CLASSES[kind.__name__]
    error = meaning.error(
        meaning.message,
        retryable=meaning.retryable,
        performed=None if meaning.lost and operation in WRITES else False,
        hint=meaning.hint,
    )
    error.__cause__ = ProviderFault(kind.__name__)
    return error
