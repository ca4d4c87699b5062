"""Making keys inside a token: ``strongroom key create pkcs11:token=prod;object=kek``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from strongroom.errors import InvalidRequestError, SecretConflictError, SecretStoreError
from strongroom.names import StoreURL

from ._errors import error_for
from .access import candidates
from .sessions import Token
from .uri import TokenURI

if TYPE_CHECKING:
    from strongroom.backend import Settings

_KEY_CLASSES: Final = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
_ID_LENGTH: Final = 16

# MODIFIABLE false: who has the PIN cannot later allow a KEK to decrypt, or a signing key to be let out.
_PRIVATE: Final = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
}
_SIGNS: Final = MechanismFlag.SIGN | MechanismFlag.VERIFY
_Template = Mapping[Attribute, Any]
_Make = Callable[..., Any]


def _secret(key_type: KeyType, mechanism: Mechanism, capabilities: int) -> _Make:
    def make(session: Any, names: dict[str, Any], private: _Template | None = None) -> Any:
        return session.generate_key(
            key_type,
            256,
            mechanism=mechanism,
            capabilities=capabilities,
            store=True,
            template=private or _PRIVATE,
            **names,
        )

    return make


def _curve(key_type: KeyType, mechanism: Mechanism, params: str) -> _Make:
    def make(session: Any, names: dict[str, Any], private: _Template | None = None) -> Any:
        domain = session.create_domain_parameters(
            key_type, {Attribute.EC_PARAMS: bytes.fromhex(params)}, local=True
        )
        _, made = domain.generate_keypair(
            mechanism=mechanism,
            capabilities=_SIGNS,
            store=True,
            private_template=private or _PRIVATE,
            **names,
        )
        return made

    return make


def _rsa(session: Any, names: dict[str, Any], private: _Template | None = None) -> Any:
    _, made = session.generate_keypair(
        KeyType.RSA,
        3072,
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
        store=True,
        private_template=private or _PRIVATE,
        **names,
    )
    return made


# A key either wraps or decrypts: with both, another key of the token could be wrapped and then read.
_MAKERS: Final[Mapping[str, _Make]] = {
    "aes-256": _secret(KeyType.AES, Mechanism.AES_KEY_GEN, MechanismFlag.WRAP | MechanismFlag.UNWRAP),
    "aes-256-gcm": _secret(KeyType.AES, Mechanism.AES_KEY_GEN, MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT),
    "rsa-3072": _rsa,
    "p256": _curve(KeyType.EC, Mechanism.EC_KEY_PAIR_GEN, "06082a8648ce3d030107"),
    "secp256k1": _curve(KeyType.EC, Mechanism.EC_KEY_PAIR_GEN, "06052b8104000a"),
    "ed25519": _curve(KeyType.EC_EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN, "06032b6570"),
    "hmac": _secret(KeyType.GENERIC_SECRET, Mechanism.GENERIC_SECRET_KEY_GEN, _SIGNS),
}
KINDS: Final = tuple(_MAKERS)
"""What `create_key` makes: KEKs for each mechanism, and a signing key for each algorithm."""


def create_key(url: str | StoreURL, settings: Settings, kind: str) -> str:
    """Generate a key inside the token, sensitive and not extractable; return its URL.

    Raises:
        InvalidRequestError: the kind is unknown, the URL gives no object, or the token makes no such keys.
        SecretConflictError: a key with that label exists. Labels are not unique on a token, but two keys of
            one label are nobody's choice.
        PermissionDeniedError: the PIN is missing or wrong, or the token is write-protected.
        UnavailableError: the token does not answer; `performed` says whether a key may have been made.
    """
    uri = TokenURI.parse(StoreURL.parse(url) if isinstance(url, str) else url)
    if kind not in _MAKERS:
        raise InvalidRequestError("unknown kind of key", hint=f"kinds: {', '.join(KINDS)}")
    if uri.object is None:
        raise InvalidRequestError("the URL gives the key no label", hint="add object=LABEL")
    token = Token(uri, settings)
    try:
        made = _attempt(token, uri, _MAKERS[kind])
    finally:
        token.close()
    if isinstance(made, SecretStoreError):
        raise made
    return made


def _attempt(token: Token, uri: TokenURI, make: _Make) -> str | SecretStoreError:
    error: SecretStoreError | None
    try:
        with token.session() as session:
            return _made(session, uri, make)
    except SecretStoreError as exc:
        error = exc.with_traceback(None)
    except pkcs11.PKCS11Error as exc:
        error = error_for(exc, "create")
    assert error is not None
    return error


def _made(session: Any, uri: TokenURI, make: _Make) -> str:
    if _labelled(session, uri):
        raise SecretConflictError("a key with this label is on the token", hint="choose another object=")
    key_id = uri.id or os.urandom(_ID_LENGTH)
    key = make(session, {"label": uri.object, "id": key_id})
    weak = not key[Attribute.SENSITIVE] or key[Attribute.EXTRACTABLE]
    doubled = any(found[Attribute.ID] != key_id for found in _labelled(session, uri))
    if weak or doubled:
        _destroy(session, uri, key_id)
    if doubled:
        raise SecretConflictError("another key with this label was made at the same time", hint="try again")
    if weak:
        raise InvalidRequestError("the token makes only keys that can be taken out of it")
    return str(uri)


def make_version(session: Any, kind: str, label: str, key_id: bytes) -> Any:
    """A key whose use can be ended later, by who may log in; what it is can never be changed or let out.

    PKCS #11 3.0, section 4.9: CKA_SENSITIVE cannot become false, nor CKA_EXTRACTABLE true.
    """
    return _MAKERS[kind](session, {"label": label, "id": key_id}, {**_PRIVATE, Attribute.MODIFIABLE: True})


def _labelled(session: Any, uri: TokenURI) -> list[Any]:
    label = replace(uri, id=None)
    return [key for kind in _KEY_CLASSES for key in candidates(session, label, kind)]


def _destroy(session: Any, uri: TokenURI, key_id: bytes) -> None:
    for key in _labelled(session, uri):
        if key[Attribute.ID] == key_id:
            key.destroy()
