"""Ways to log in, from ``auth = {...}`` in strongroom.toml, or ``VAULT_TOKEN``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from strongroom.errors import InvalidRequestError
from strongroom.names import check_prefix
from strongroom.value import SecretValue

from .address import same_origin
from .transport import json_body

Auth = Mapping[str, str | SecretValue]

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  (a path)
"""Where Kubernetes puts a pod's token; it changes it in place, so each login reads it anew."""


@dataclass(frozen=True, slots=True)
class Login:
    """One auth method: where to log in, and with what, made anew each time.

    Attributes:
        method: its name, for messages.
        path: below ``/v1/``.
        body: the request's JSON.
    """

    method: str
    path: str
    body: Callable[[], SecretValue]


class Credentials(NamedTuple):
    """What settings say about identity: a way to log in or a token, and the TLS client certificate."""

    login: Login | None = None
    token: SecretValue | None = None
    certificate: tuple[str, str] | None = None


def credentials(auth: Auth, endpoint: str) -> Credentials:
    """Read ``Settings.auth``; empty means ``VAULT_TOKEN``, if ``VAULT_ADDR`` names this endpoint.

    Raises:
        InvalidRequestError: an unknown method, or something is missing.
    """
    if not auth:
        return Credentials(token=_ambient_token(endpoint))
    method = _text(auth, "method", "token" if "token" in auth else None)
    certificate = (_text(auth, "cert"), _text(auth, "key")) if "cert" in auth or method == "cert" else None
    if method == "token":
        return Credentials(token=_secret(auth, "token"), certificate=certificate)
    if method not in _METHODS:
        known = ", ".join(["token", *_METHODS])
        raise InvalidRequestError(f"there is no auth method {method!r}", hint=f"methods: {known}")
    mount = check_prefix(_text(auth, "mount", method), "native")
    return Credentials(_METHODS[method](auth, f"auth/{mount}/login"), certificate=certificate)


def _ambient_token(endpoint: str) -> SecretValue | None:
    """``VAULT_TOKEN`` belongs to the server that ``VAULT_ADDR`` names, and to nobody else."""
    token = os.environ.get("VAULT_TOKEN")
    return SecretValue(token) if token and same_origin(os.environ.get("VAULT_ADDR", ""), endpoint) else None


def _approle(auth: Auth, path: str) -> Login:
    role, secret = _text(auth, "role_id"), _secret(auth, "secret_id") if "secret_id" in auth else None

    def body() -> SecretValue:
        proof = {"secret_id": secret.reveal_text()} if secret else {}
        return json_body({"role_id": role, **proof})

    return Login("approle", path, body)


def _jwt(auth: Auth, path: str) -> Login:
    return _by_jwt("jwt", auth, path, None)


def _kubernetes(auth: Auth, path: str) -> Login:
    return _by_jwt("kubernetes", auth, path, SERVICE_ACCOUNT_TOKEN)


def _by_jwt(method: str, auth: Auth, path: str, default_file: str | None) -> Login:
    role = _text(auth, "role")
    given = _secret(auth, "jwt") if "jwt" in auth else None
    file = "" if given else _text(auth, "jwt_file", default_file)

    def body() -> SecretValue:
        token = given or _read(file)
        return json_body({"role": role, "jwt": token.reveal_text().strip()})

    return Login(method, path, body)


def _cert(auth: Auth, path: str) -> Login:
    role = {"name": _text(auth, "role")} if "role" in auth else {}
    return Login("cert", path, lambda: json_body(role))


def _userpass(auth: Auth, path: str) -> Login:
    user, password = check_prefix(_text(auth, "username"), "native"), _secret(auth, "password")
    return Login("userpass", f"{path}/{user}", lambda: json_body({"password": password.reveal_text()}))


_METHODS: dict[str, Callable[[Auth, str], Login]] = {
    "approle": _approle,
    "kubernetes": _kubernetes,
    "jwt": _jwt,
    "cert": _cert,
    "userpass": _userpass,
}


def _text(auth: Auth, key: str, default: str | None = None) -> str:
    value = auth.get(key, default)
    if value is None:
        raise InvalidRequestError(f"auth needs {key!r}", hint="write it in the store's auth table")
    return value.reveal_text() if isinstance(value, SecretValue) else str(value)


def _secret(auth: Auth, key: str) -> SecretValue:
    value = auth.get(key)
    if value is None:
        raise InvalidRequestError(f"auth needs {key!r}", hint="write it in the store's auth table")
    return value if isinstance(value, SecretValue) else SecretValue(value)


def _read(path: str) -> SecretValue:
    try:
        return SecretValue(Path(path).read_bytes())
    except OSError:
        pass
    raise InvalidRequestError(f"cannot read a JSON web token from {path}", hint="check `jwt_file`")
