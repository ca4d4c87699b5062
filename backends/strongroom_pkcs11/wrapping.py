"""How a token wraps a data key: three mechanisms, with what makes each of them safe."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final

import pkcs11
from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import DATA_KEY_LENGTH, bind, encode_context, unbind

from .access import Find

_FORGED: Final = (pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange, pkcs11.GeneralError)
"""What tokens answer to a wrong tag; the last is SoftHSM's answer."""

_BOUND_LENGTH: Final = 64
_IV_LENGTH: Final = 12
_TAG_LENGTH: Final = 16

# What carries a data key through C_WrapKey: a session object, which no other process sees and which ends with
# its session. It must be readable, since it is our own data key.
_CARRIER: Final = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}
_UNWRAPPED: Final = {name: _CARRIER[name] for name in list(_CARRIER)[3:]}


class Wrapping(ABC):
    """A mechanism, as `TokenKey` uses it.

    Attributes:
        algorithm, context, symmetric: as of `KeyWrapper`.
    """

    algorithm: str
    context: str = "bound by digest"
    symmetric: ClassVar[bool] = True

    @abstractmethod
    def seal(self, find: Find, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """The ciphertext of a data key."""

    @abstractmethod
    def open(self, find: Find, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        """The data key, or IntegrityError or the token's own exception."""


class KeyWrapPad(Wrapping):
    """CKM_AES_KEY_WRAP_PAD over exactly 64 bytes, the data key and the SHA-256 of its context.

    It needs no IV and no counter. 64 bytes, because SoftHSM pads other lengths with zeros which it does not
    take off again. The ciphertext is RFC 5649's 72 bytes on SoftHSM; NSS pads before it wraps and makes 80;
    each opens its own.
    """

    algorithm = "AES-KEY-WRAP-PAD"

    def seal(self, find: Find, data_key: bytes, context: Mapping[str, str]) -> bytes:
        kek = _able(find(ObjectClass.SECRET_KEY, KeyType.AES), "wrap_key")
        carrier = kek.session.create_object({**_CARRIER, Attribute.VALUE: bind(data_key, context)})
        wrapped = bytes(kek.wrap_key(carrier, mechanism=Mechanism.AES_KEY_WRAP_PAD))
        carrier.destroy()
        return wrapped

    def open(self, find: Find, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        _check_length(ciphertext, (_BOUND_LENGTH + 8, _BOUND_LENGTH + 16))
        kek = _able(find(ObjectClass.SECRET_KEY, KeyType.AES), "unwrap_key")
        carrier = kek.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.GENERIC_SECRET,
            ciphertext,
            mechanism=Mechanism.AES_KEY_WRAP_PAD,
            capabilities=0,
            template=_UNWRAPPED,
        )
        bound = bytes(carrier[Attribute.VALUE])
        carrier.destroy()
        return unbind(bound, context)


class Gcm(Wrapping):
    """CKM_AES_GCM with the context as additional data, on tokens that take the IV safely.

    Safely means three things. The IV is 96 random bits, drawn for each wrap, which the token must use: one
    that makes its own (FIPS 140 mode) cannot tell it through python-pkcs11, so every ciphertext is opened
    again before it is handed out, and a token that ignored the IV is noticed then, not when the value is
    needed. The key only encrypts and decrypts: were it also to wrap, whoever has the PIN could wrap another
    key of the token and decrypt the result. And it wraps at most 2^32 data keys (NIST SP 800-38D section
    8.3): no token counts them and no process sees the others', so this is not the default. It fits the root
    of a keyring, which wraps a few keys a year.
    """

    algorithm = "AES-256-GCM"
    context = "authenticated"

    def seal(self, find: Find, data_key: bytes, context: Mapping[str, str]) -> bytes:
        key = _able(find(ObjectClass.SECRET_KEY, KeyType.AES), "encrypt")
        iv, aad = os.urandom(_IV_LENGTH), encode_context(context)
        sealed = key.encrypt(data_key, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(iv, aad))
        ciphertext = iv + bytes(sealed)
        if not self._opens(find, ciphertext, context, data_key):
            raise InvalidRequestError(
                "the token does not take the IV it is given", hint="use the mechanism aes-key-wrap-pad"
            )
        return ciphertext

    def open(self, find: Find, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        _check_length(ciphertext, (_IV_LENGTH + DATA_KEY_LENGTH + _TAG_LENGTH,))
        key = _able(find(ObjectClass.SECRET_KEY, KeyType.AES), "decrypt")
        param = _gcm(ciphertext[:_IV_LENGTH], encode_context(context))
        opened = key.decrypt(ciphertext[_IV_LENGTH:], mechanism=Mechanism.AES_GCM, mechanism_param=param)
        return bytes(opened)

    def _opens(self, find: Find, ciphertext: bytes, context: Mapping[str, str], data_key: bytes) -> bool:
        with suppress(*_FORGED, IntegrityError):
            return self.open(find, ciphertext, context) == data_key
        return False


class Oaep(Wrapping):
    """RSA-OAEP over the 64 bytes of `bind`; asymmetric: whoever has the public key can make messages.

    With SHA-1 it runs on every token, SoftHSM among them, which has no other; OAEP does not rely on the
    hash's resistance to collisions (RFC 8017, appendix B.1). With SHA-256 where the token has it.
    """

    symmetric: ClassVar[bool] = False

    def __init__(self, algorithm: str, digest: Mechanism, mgf: MGF):
        self.algorithm = algorithm
        self._param = (digest, mgf, None)

    def seal(self, find: Find, data_key: bytes, context: Mapping[str, str]) -> bytes:
        key = _able(find(ObjectClass.PUBLIC_KEY, KeyType.RSA), "encrypt")
        bound = bind(data_key, context)
        return bytes(key.encrypt(bound, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=self._param))

    def open(self, find: Find, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        key = _able(find(ObjectClass.PRIVATE_KEY, KeyType.RSA), "decrypt")
        _check_length(ciphertext, (len(key[Attribute.MODULUS]),))
        bound = key.decrypt(ciphertext, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=self._param)
        return unbind(bytes(bound), context)


WRAPPINGS: Final[Mapping[str, Wrapping]] = {
    "aes-key-wrap-pad": KeyWrapPad(),
    "aes-gcm": Gcm(),
    "rsa-oaep": Oaep("RSA-OAEP", Mechanism.SHA_1, MGF.SHA1),
    "rsa-oaep-256": Oaep("RSA-OAEP-256", Mechanism.SHA256, MGF.SHA256),
}
"""What the option ``mechanism`` may say."""


def _gcm(iv: bytes, aad: bytes) -> pkcs11.GCMParams:
    return pkcs11.GCMParams(nonce=iv, aad=aad, tag_bits=_TAG_LENGTH * 8)


def _able(key: Any, method: str) -> Any:
    """python-pkcs11 gives a key object only the methods that the key's own attributes allow."""
    if not hasattr(key, method):
        raise InvalidRequestError(
            f"the token does not let this key {method.removesuffix('_key')}",
            hint="keys that strongroom key create makes have what their mechanism needs, and no more",
        )
    return key


def _check_length(ciphertext: bytes, lengths: tuple[int, ...]) -> None:
    """Before the token sees it; lengths tell the mechanisms apart."""
    if len(ciphertext) not in lengths:
        raise IntegrityError(
            "the wrapped data key has the wrong length", hint="was it wrapped by another mechanism?"
        )
