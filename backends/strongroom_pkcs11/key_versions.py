"""Rotates a key in a token: a new key beside the old one, which from then on only verifies or unwraps."""

from __future__ import annotations

import base64
import os
import uuid
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pkcs11
from pkcs11 import Attribute, ObjectClass

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DATA_KEY_LENGTH
from strongroom.names import StoreURL
from strongroom.rotation.fields import identifier
from strongroom.rotation.rotator import Rotator

from ._errors import error_for
from .create import KINDS, make_version
from .keys import TokenKey
from .sessions import Token
from .signer import TokenSigner
from .uri import TokenURI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.rotation.rotator import Rotation, Source
    from strongroom.value import SecretValue

_KEKS: Final = {"aes-256": "aes-key-wrap-pad", "aes-256-gcm": "aes-gcm"}
_KINDS: Final = tuple(kind for kind in KINDS if kind != "rsa-3072")
_USES: Final = (Attribute.SIGN, Attribute.WRAP, Attribute.ENCRYPT)
"""What a new message needs; verifying, unwrapping and decrypting go on."""

_PRIVATE: Final = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)
_UUID_LENGTH: Final = 36
_CONTEXT: Final = {"purpose": "strongroom rotation"}


class TokenKeyRotator(Rotator):
    """Renews a key in a PKCS#11 token, which signs or wraps.

    The secret says which key is in use: JSON of its URL, algorithm and public half, none of them secret. A
    key is labelled ``OBJECT.ROTATION-ID.EPOCH`` and has the rotation id as its CKA_ID. Applications read the
    secret and open its ``key``. When the old one's grace is over it signs, wraps and encrypts no more,
    which who may log in could undo; it is never destroyed, since what it signed or wrapped needs it. To
    destroy it is an act of its own, by the token's tool and as many people as the token asks for. What a
    crashed attempt left was never in use, and is destroyed.

    Args:
        token: the URL of the token with ``object=``, what the labels begin with.
        kind: as of ``strongroom key create``: p256, secp256k1, ed25519 and hmac sign, aes-256 and aes-256-gcm
            wrap data keys.
        module: the absolute path of the PKCS#11 library.
        pin: the user's PIN.
        timeout: seconds for which the module may be busy.

    Raises:
        InvalidRequestError: the kind is unknown, or the URL names no object.
    """

    slots = "version"

    def __init__(self, *, token: str, module: str, pin: Source, kind: str = "p256", timeout: float = 5.0):
        self._uri = TokenURI.parse(StoreURL.parse(token))
        if kind not in _KINDS:
            raise InvalidRequestError(
                "no kind of key that can be rotated", hint=f"kinds: {', '.join(_KINDS)}"
            )
        if self._uri.object is None or self._uri.id is not None:
            raise InvalidRequestError("the URL says what labels begin with", hint="add object=LABEL, no id=")
        self._kind, self._module, self._pin, self._timeout = kind, module, pin, timeout

    def create_secret(self, r: Rotation) -> dict[str, str]:
        """Make a key inside the token."""
        label = f"{self._uri.object}.{r.id}.{r.epoch}"
        made = replace(self._uri, object=label, id=uuid.UUID(r.id).bytes)
        r.check()
        with self._session() as session:
            make_version(session, self._kind, label, made.id or b"")
        return {"key": str(made), "kind": self._kind, **self._described(made)}

    def reclaim(self, r: Rotation) -> tuple[str, ...]:
        """Destroy what a crashed attempt of this rotation made.

        Returns:
            the labels of keys of ours that could sign or wrap still, and that no version of the secret names.
        """
        kept = {uri.object for value in (r.current, r.previous, r.pending) if (uri := self._named(value))}
        strangers = []
        with self._session() as session:
            for key in self._ours(session):
                rotation_id, epoch = key.label.rsplit(".", 2)[1:]
                if key.label in kept:
                    continue
                if rotation_id == r.id and int(epoch) < r.epoch:
                    r.check()
                    _destroy(session, key.label)
                elif rotation_id != r.id and any(_may(key, use) for use in _USES):
                    strangers.append(key.label)
        return tuple(strangers)

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if the key signs, or wraps, and what it made verifies under what the secret says of it.

        Raises:
            PermissionDeniedError: it may not.
            IntegrityError: the secret names another public key than the token has.
        """
        uri = self._own(value)
        told = self._used(uri)
        if identifier(value, "public_key") != told.get("public_key"):
            raise IntegrityError("the token has another public key than the secret names")

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        """Take from the key what a new message needs; what was signed or wrapped is read as before.

        Raises:
            IntegrityError: it is the key in use.
            InvalidRequestError: the token lets nobody change the key, which was not made by a rotation.
        """
        uri = self._named(previous)
        if uri is None:
            return
        now = self._named(r.pending)
        if now is not None and now.object == uri.object:
            raise IntegrityError("the new value names the key that is to be ended")
        r.check()
        with self._session() as session:
            for key in _private(session, uri.object):
                _end(key)

    def refuses(self, r: Rotation, value: SecretValue) -> bool:
        """Whether the token refuses to sign or wrap with the key."""
        uri = self._named(value)
        if uri is None:
            return True
        try:
            self._used(uri)
        except PermissionDeniedError:
            return True
        return False

    def _used(self, uri: TokenURI) -> dict[str, str]:
        """What the secret says of a key, once that has been used; PermissionDeniedError if it may not be."""
        try:
            return self._described(uri)
        except PermissionDeniedError as error:  # of the rotator's own PIN: no word about the key
            problem: SecretStoreError = UnavailableError("the token refuses the rotator", hint=error.hint)
        except (InvalidRequestError, AttributeError):  # python-pkcs11 has no method for what a key may not do
            problem = PermissionDeniedError("the token does not let this key be used", name=uri.object)
        raise problem

    def _described(self, uri: TokenURI) -> dict[str, str]:
        settings = self._settings()
        if self._kind in _KEKS:
            options = {**settings.options, "mechanism": _KEKS[self._kind]}
            with closing(TokenKey(uri, replace(settings, options=options))) as kek:
                data_key = os.urandom(DATA_KEY_LENGTH)
                if kek.unwrap(kek.wrap(data_key, _CONTEXT), _CONTEXT) != data_key:
                    raise IntegrityError("the key unwraps something else than it wrapped")
                return {"algorithm": kek.algorithm}
        with closing(TokenSigner(uri, settings)) as signer:
            message = os.urandom(32)
            signature, public = signer.sign(message), signer.public_key()
            if public is None:
                return {"algorithm": signer.algorithm}
            _verify(signer.algorithm, public, signature, message)
            return {"algorithm": signer.algorithm, "public_key": base64.b64encode(public).decode()}

    def _own(self, value: SecretValue) -> TokenURI:
        uri = self._named(value)
        if uri is None:
            raise PermissionDeniedError("the secret names no key of this token", hint="rotate it")
        return uri

    def _named(self, value: SecretValue | None) -> TokenURI | None:
        """The key that a secret names; None if it names none.

        Raises:
            IntegrityError: a key of another token, or that is not of this rotation.
        """
        text = identifier(value, "key")
        if text is None:
            return None
        uri = TokenURI.parse(StoreURL.parse(text))
        same = replace(uri, object=self._uri.object, id=None) == self._uri
        mine = f"{uri.object}.".startswith(f"{self._uri.object}.")
        if not same or not mine:
            raise IntegrityError("the secret names a key that this rotation has nothing to do with")
        return uri

    def _ours(self, session: Any) -> list[Any]:
        stem = f"{self._uri.object}."
        found = [key for kind in _PRIVATE for key in session.get_objects({Attribute.CLASS: kind})]
        return [key for key in found if _is_version(key.label or "", stem)]

    def _settings(self) -> Settings:
        return Settings(
            auth={"pin": self._pin()}, options={"module": self._module}, timeout=self._timeout, attempts=1
        )

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """A session of the token; what python-pkcs11 raises in it ends here."""
        error: SecretStoreError | None = None
        token = Token(self._uri, self._settings())
        try:
            with token.session() as session:
                yield session
        except pkcs11.PKCS11Error as exc:
            error = error_for(exc, "create")
        finally:
            token.close()
        if error is not None:
            raise error


def _is_version(label: str, stem: str) -> bool:
    rotation_id, _, epoch = label.removeprefix(stem).partition(".")
    return label.startswith(stem) and len(rotation_id) == _UUID_LENGTH and epoch.isdecimal()


def _private(session: Any, label: str | None) -> list[Any]:
    found = [session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label}) for kind in _PRIVATE]
    return [key for objects in found for key in objects]


def _destroy(session: Any, label: str) -> None:
    for key in list(session.get_objects({Attribute.LABEL: label})):
        key.destroy()


def _may(key: Any, use: Attribute) -> bool:
    try:
        return bool(key[use])
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive):  # not of this kind of key
        return False


def _end(key: Any) -> None:
    uses = [use for use in _USES if _may(key, use)]
    if uses and not key[Attribute.MODIFIABLE]:
        raise InvalidRequestError(
            "the token lets nobody end this key's use, since it was not made by a rotation",
            hint="end it by the token's own tool, then: strongroom rotation resume",
        )
    for use in uses:
        key[use] = False


def _verify(algorithm: str, public: bytes, signature: bytes, message: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(public)
    try:
        if isinstance(key, Ed25519PublicKey):
            return key.verify(signature, message)
        if isinstance(key, EllipticCurvePublicKey):
            return key.verify(signature, message, ECDSA(SHA384() if algorithm == "ES384" else SHA256()))
    except InvalidSignature:
        pass
    raise IntegrityError("what the key signs does not verify under its own public half")
