"""A keyset under a passphrase: scrypt (RFC 7914), then AES-256-GCM, as a small versioned JSON document."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from typing import Any, Final, NamedTuple

from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError
from strongroom.localkey import aes_gcm

from .keyset import MAX_KEYSET_LENGTH, Keyset, corrupt

_FORMAT: Final = "strongroom-keyset-passphrase"
_VERSION: Final = 1
_SALT_LENGTH: Final = 16
_IV: Final = bytes(12)  # the key is used once: it comes from a fresh salt
_LOG_N: Final = 17
_R: Final = 8


class _Sealed(NamedTuple):
    log_n: int
    p: int
    salt: bytes
    commitment: bytes
    ciphertext: bytes


def seal_keyset(keyset: Keyset, passphrase: str) -> bytes:
    """`keyset` under `passphrase`, to be kept anywhere, even beside the database.

    scrypt with n = 2^17, r = 8, p = 1 (OWASP's first recommendation): 128 MiB and about 0.4 s a guess. Half
    of its output is the key, the other half a commitment, so that one document cannot be made to open under
    many passphrases and answer which of them is right (Len, Grubbs, Ristenpart: Partitioning Oracle Attacks,
    2021).

    Raises:
        InvalidRequestError: the passphrase is empty.
    """
    if not passphrase:
        raise InvalidRequestError("the passphrase is empty")
    salt = os.urandom(_SALT_LENGTH)
    key, commitment = _stretch(passphrase, salt, _LOG_N, 1)
    ciphertext = aes_gcm()[0](key).encrypt(_IV, keyset.to_json().encode(), None)
    fields = {"salt": salt, "commitment": commitment, "ciphertext": ciphertext}
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "scrypt": {"log_n": _LOG_N, "r": _R, "p": 1},
        **{name: base64.b64encode(field).decode() for name, field in fields.items()},
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def open_keyset(sealed: bytes, passphrase: str, where: str) -> Keyset:
    """The keyset in `sealed`; `where` names its place in errors.

    The parameters are bounded before any work, to 512 MiB and four passes, so that a document cannot exhaust
    the machine that tries to open it.

    Raises:
        PermissionDeniedError: the passphrase is wrong (or salt or commitment were changed, which looks the
        same). IntegrityError: the document is corrupt, or asks for more than the bounds.
    """
    parsed = _parse(sealed)
    if parsed is None:
        raise corrupt(where)
    keyset, passphrase = _open(parsed, passphrase, where), ""  # this frame travels with the error
    if isinstance(keyset, Keyset):
        return keyset
    raise keyset


def _open(sealed: _Sealed, passphrase: str, where: str) -> Keyset | PermissionDeniedError | IntegrityError:
    """Nothing in here raises, so that no key travels in an error's frames."""
    key, commitment = _stretch(passphrase, sealed.salt, sealed.log_n, sealed.p)
    if not hmac.compare_digest(commitment, sealed.commitment):
        return PermissionDeniedError(
            f"the passphrase does not open the keyset in {where}",
            hint="type it again; if it is surely right, the keyset was changed: restore it from a backup",
        )
    aead, invalid_tag = aes_gcm()
    try:
        text = aead(key).decrypt(_IV, sealed.ciphertext, None)
        return Keyset.from_json(text, where)
    except (invalid_tag, IntegrityError):
        return corrupt(where)


def _stretch(passphrase: str, salt: bytes, log_n: int, p: int) -> tuple[bytes, bytes]:
    n, password = 1 << log_n, passphrase.encode("utf-8", "surrogatepass")
    maxmem = 130 * _R * (n + p + 2)  # scrypt needs 128 r (n + p + 2) bytes; OpenSSL allows 32 MiB unless told
    secret = hashlib.scrypt(password, salt=salt, n=n, r=_R, p=p, maxmem=maxmem, dklen=64)
    return secret[:32], secret[32:]


def _parse(sealed: bytes) -> _Sealed | None:
    if len(sealed) > 2 * MAX_KEYSET_LENGTH:
        return None
    try:
        document = json.loads(sealed)
        cost = document["scrypt"]
        names = ("salt", "commitment", "ciphertext")
        fields = [base64.b64decode(document[name], validate=True) for name in names]
        parsed = _Sealed(cost["log_n"], cost["p"], *fields)
        return parsed if _is_sound(document, cost, parsed) else None
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        return None


def _is_sound(document: Any, cost: Any, sealed: _Sealed) -> bool:
    return (
        (document["format"], document["version"], cost["r"]) == (_FORMAT, _VERSION, _R)
        and type(sealed.log_n) is type(sealed.p) is int
        and _LOG_N <= sealed.log_n <= 19
        and 1 <= sealed.p <= 4
        and (len(sealed.salt), len(sealed.commitment)) == (_SALT_LENGTH, 32)
    )
