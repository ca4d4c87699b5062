"""What Vault's answers and the HTTP library's exceptions mean, by table. No text of theirs gets through.

Statuses: https://developer.hashicorp.com/vault/api-docs#http-status-codes. Texts are only compared, never
shown: some of Vault's messages quote the request.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import hvac.exceptions
import requests.exceptions
import urllib3.exceptions

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)

WRITES = frozenset({"put", "purge", "delete", "restore", "retire", "set_tags"})


@dataclass(frozen=True, slots=True)
class _Meaning:
    error: type[SecretStoreError]
    message: str
    hint: str | None = None
    lost: bool = False  # a write may have happened all the same
    retryable: bool | None = None


_REDIRECT = _Meaning(
    UnavailableError,
    "the server redirects, which is refused: a redirect could carry the token elsewhere",
    "name the active node or the load balancer in the URL",
    retryable=False,
)
_SEALED = _Meaning(UnavailableError, "the server is sealed", "unseal it: bao operator unseal")
_BY_STATUS = {
    400: _Meaning(InvalidRequestError, "the server refused the request as malformed"),
    401: _Meaning(PermissionDeniedError, "the server did not accept the identity"),
    403: _Meaning(PermissionDeniedError, "permission denied"),
    404: _Meaning(SecretNotFoundError, "no such secret"),
    405: _Meaning(InvalidRequestError, "the server does not know this operation", "is it a KV engine?"),
    412: _Meaning(UnavailableError, "the node that answered is behind its leader"),
    413: _Meaning(InvalidRequestError, "the request is larger than the server takes"),
    429: _Meaning(UnavailableError, "a rate limit or quota of the server is exhausted"),
    500: _Meaning(
        UnavailableError, "internal error of the server", "its log says more; is an audit device full?", True
    ),
    501: _Meaning(UnavailableError, "the server is not initialised", "run: bao operator init"),
    502: _Meaning(UnavailableError, "a gateway before the server failed", lost=True),
    503: _Meaning(UnavailableError, "the server is down for maintenance or has no leader", lost=True),
    504: _Meaning(UnavailableError, "a gateway before the server timed out", lost=True),
}
_UNVERIFIED = _Meaning(
    IntegrityError,
    "the wrapped data key does not verify under this transit key",
    "the message or its context was changed, or it was made under another key of this name",
)
_TOO_OLD = _Meaning(
    PermissionDeniedError,
    "the version of the key that wrapped this may no longer decrypt",
    "its min_decryption_version was raised; reencrypt before raising it",
)
_NO_KEY = _Meaning(PermissionDeniedError, "no such transit key", "was it deleted? check mount and name")
_ROTATED = _Meaning(
    PermissionDeniedError,
    "the version of the key that this signer uses may no longer sign",
    "open the signer again to sign with the latest version",
)
_BY_TEXT = (  # status, what the server's text holds, meaning
    (
        400,
        "check-and-set parameter did not match",
        _Meaning(SecretConflictError, "if_version is not the current version"),
    ),
    (400, "upgrading from non-versioned", _Meaning(UnavailableError, "the server is upgrading this mount")),
    (
        404,
        "no handler for route",
        _Meaning(InvalidRequestError, "no engine is mounted there", "check mount and namespace in the URL"),
    ),
    (503, "sealed", _SEALED),
    (400, "unknown role", _Meaning(SecretNotFoundError, "no such role of this engine")),
    # What the transit engine says, as OpenBao 2.7 and HashiCorp's builtin/logical/transit word it.
    (400, "message authentication failed", _UNVERIFIED),
    (400, "invalid ciphertext", _UNVERIFIED),
    (500, "failed to rsa decrypt", _UNVERIFIED),
    (400, "disallowed by policy (too old)", _TOO_OLD),
    (400, "key not found", _NO_KEY),
    (400, "soft-deleted key", _Meaning(PermissionDeniedError, "the transit key is deleted", "restore it")),
    (400, "no such key version", _ROTATED),
    (400, "version is too old", _ROTATED),
    (500, "less than the minimum encryption key version", _ROTATED),
)
_BY_VAULT_CLASS = {
    hvac.exceptions.InvalidRequest: 400,
    hvac.exceptions.Unauthorized: 401,
    hvac.exceptions.Forbidden: 403,
    hvac.exceptions.InvalidPath: 404,
    hvac.exceptions.UnsupportedOperation: 405,
    hvac.exceptions.PreconditionFailed: 412,
    hvac.exceptions.RateLimitExceeded: 429,
    hvac.exceptions.InternalServerError: 500,
    hvac.exceptions.VaultNotInitialized: 501,
    hvac.exceptions.BadGateway: 502,
    hvac.exceptions.VaultDown: 503,
    hvac.exceptions.ParamValidationError: 400,
    hvac.exceptions.UnexpectedError: 500,
    hvac.exceptions.VaultError: 500,
}

_TLS = _Meaning(
    UnavailableError,
    "no trusted TLS 1.2+ connection: the certificate does not verify or the server's TLS is too old",
    "set `ca` to the file of its certificate authority, and check host name and TLS version",
    retryable=False,
)
_NO_ANSWER = _Meaning(UnavailableError, "the connection broke before an answer came", lost=True)
_NOT_REACHED = _Meaning(UnavailableError, "the server cannot be reached", "check host, port and network")
_GARBAGE = _Meaning(UnavailableError, "the answer is not what Vault sends", "is it Vault?", lost=True)
_PROXY = _Meaning(UnavailableError, "the proxy failed", "check HTTPS_PROXY", lost=True)
_BAD_URL = _Meaning(InvalidRequestError, "the endpoint is not an http(s) URL")
_BAD_HEADER = _Meaning(InvalidRequestError, "a token or header holds characters HTTP cannot carry")
_BY_HTTP_CLASS: dict[type[Exception], _Meaning] = {  # the first match counts: narrow classes first
    requests.exceptions.SSLError: _TLS,
    requests.exceptions.ConnectTimeout: _NOT_REACHED,
    requests.exceptions.ReadTimeout: _Meaning(UnavailableError, "no answer within the timeout", lost=True),
    requests.exceptions.ProxyError: _PROXY,
    requests.exceptions.TooManyRedirects: _REDIRECT,
    requests.exceptions.InvalidURL: _BAD_URL,
    requests.exceptions.InvalidSchema: _BAD_URL,
    requests.exceptions.MissingSchema: _BAD_URL,
    requests.exceptions.URLRequired: _BAD_URL,
    requests.exceptions.InvalidHeader: _BAD_HEADER,
    requests.exceptions.InvalidJSONError: _GARBAGE,
    requests.exceptions.ContentDecodingError: _GARBAGE,
    requests.exceptions.RequestException: _NO_ANSWER,
    urllib3.exceptions.SSLError: _TLS,
    urllib3.exceptions.LocationValueError: _BAD_URL,
    urllib3.exceptions.ProxySchemeUnsupported: _PROXY,
    urllib3.exceptions.HTTPError: _NO_ANSWER,
    ssl.SSLError: _TLS,
    UnicodeError: _BAD_HEADER,  # http.client encodes headers as latin-1, and its error quotes the token
    OSError: _NO_ANSWER,
}
_NEVER_CONNECTED = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.NameResolutionError,
    urllib3.exceptions.ConnectTimeoutError,
    ConnectionRefusedError,
)
_HANDSHAKE = ("CERTIFICATE", "PROTOCOL", "VERSION", "HANDSHAKE", "CIPHER", "UNKNOWN_CA")


def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
    """The error that an exception of hvac, requests or urllib3 stands for; None if it is not theirs."""
    if isinstance(exc, hvac.exceptions.VaultError):
        status = next((_BY_VAULT_CLASS[c] for c in type(exc).__mro__ if c in _BY_VAULT_CLASS), 500)
        return error_for_status(status, operation, [str(text) for text in exc.errors or ()])
    meaning = next((m for cls, m in _BY_HTTP_CLASS.items() if isinstance(exc, cls)), None)
    if meaning is None:
        return None
    return _error(_narrowed(exc, meaning), operation, ProviderFault(type(exc).__name__))


def error_for_status(
    status: int, operation: str, texts: Iterable[str] = (), hint: str | None = None
) -> SecretStoreError:
    """The error an HTTP status stands for; `texts` are the server's, which only narrow it."""
    said = " ".join(texts).lower()
    meaning = next((m for code, text, m in _BY_TEXT if code == status and text in said), None)
    meaning = meaning or _BY_STATUS.get(status) or _unlisted(status)
    return _error(meaning, operation, ProviderFault("HTTP", code=str(status)), hint)


def no_answer(exc: Exception, operation: str) -> SecretStoreError:
    """The error for an exception that no table knows: nothing is known of what the request did."""
    return _error(_NO_ANSWER, operation, ProviderFault(type(exc).__name__))


def garbage(operation: str) -> SecretStoreError:
    """The error for an answer of the wrong shape."""
    return _error(_GARBAGE, operation, ProviderFault("HTTP"))


def _unlisted(status: int) -> _Meaning:
    if 300 <= status < 400:
        return _REDIRECT
    return _BY_STATUS[400] if 400 <= status < 500 else _GARBAGE if status < 400 else _BY_STATUS[500]


def _narrowed(exc: Exception, meaning: _Meaning) -> _Meaning:
    chain = list(_chain(exc))
    if meaning is _TLS and not any(_in_handshake(inner) for inner in chain):
        return _NO_ANSWER
    if meaning is _NO_ANSWER and any(isinstance(inner, ssl.SSLError) for inner in chain):
        return _TLS if any(_in_handshake(inner) for inner in chain) else meaning
    if meaning is _NO_ANSWER and any(isinstance(inner, _NEVER_CONNECTED) for inner in chain):
        return _NOT_REACHED
    return meaning


def _in_handshake(exc: BaseException) -> bool:
    """Whether TLS failed before the request went out; an SSL error may also cut off an answer."""
    reason = str(getattr(exc, "reason", "") or "").upper() if isinstance(exc, ssl.SSLError) else ""
    return isinstance(exc, ssl.SSLCertVerificationError) or any(word in reason for word in _HANDSHAKE)


def _chain(exc: object, depth: int = 8) -> Iterator[BaseException]:
    """`exc` and what it wraps: requests and urllib3 hide the cause in `args`, `reason` or `__context__`."""
    if not isinstance(exc, BaseException) or not depth:
        return
    yield exc
    for inner in {id(i): i for i in (*exc.args, getattr(exc, "reason", None), exc.__context__)}.values():
        yield from _chain(inner, depth - 1)


def _error(
    meaning: _Meaning, operation: str, fault: ProviderFault, hint: str | None = None
) -> SecretStoreError:
    lost = meaning.lost and operation in WRITES
    denied = meaning.error is PermissionDeniedError
    error = meaning.error(
        meaning.message,
        retryable=meaning.retryable,
        performed=None if lost else False,
        hint=meaning.hint or (hint if denied else None),
    )
    error.__cause__ = fault
    return error
