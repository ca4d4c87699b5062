"""A new password in the place of the old one: a value that is a password, a URL, or JSON about a login.

Generated passwords hold letters, digits and, if asked for, ``-``, ``.``, ``_`` and ``~``, and begin with a
letter or digit: no URL (RFC 3986, unreserved characters), shell, ``.env`` file, connection string or SQL
literal breaks on them, and no command takes one for an option.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from strongroom.errors import InvalidRequestError
from strongroom.passwords import CLASSES, Policy, generate
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from collections.abc import Mapping

SAFE_SYMBOLS: Final = "-._~"
"""RFC 3986, section 2.3: the symbols that need no encoding in a URL."""

_URL: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://"
    r"(?P<user>[^:/?#@]*):(?P<password>[^/?#]*)@(?P<hosts>[^/?#@]*)(?:/(?P<database>[^?#]*))?",
)
_HOST: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{1,5}))?")
_STRING: Final = re.compile(r"(?i)\b(password|pwd)\s*=")
_HINT: Final = "store a password, scheme://user:password@host/database, or JSON with username and password"
_USERS, _DATABASES = ("username", "user"), ("dbname", "database")


@dataclass(frozen=True, slots=True)
class Login:
    """What a value says of a login; what it leaves open is None or empty.

    Attributes:
        password: all of a value that is a password alone.
        user: who logs in.
        hosts: where, with the port if it is said; a URL may name several.
        database: which of the server's.
    """

    password: SecretValue
    user: str | None = None
    hosts: tuple[tuple[str, int | None], ...] = ()
    database: str | None = None


def password_policy(length: int = 32, symbols: bool = False) -> Policy:
    """What generated passwords look like: letters and digits, with `symbols` also `SAFE_SYMBOLS`.

    Raises:
        InvalidRequestError: no password of this length is strong enough.
    """
    classes = ("lower", "upper", "digits", *(("symbols",) if symbols else ()))
    return Policy(length, classes, "".join(c for c in CLASSES["symbols"] if c not in SAFE_SYMBOLS))


def new_password(policy: Policy | None = None) -> str:
    """A password of the policy that begins with a letter or digit, all of them equally likely."""
    policy = policy or password_policy()
    while not (password := generate(policy))[0].isalnum():
        pass
    return password


def login(value: SecretValue) -> Login:
    """What a value says of a login.

    Raises:
        InvalidRequestError: it is JSON or a URL without a password, or a connection string of another form.
    """
    found = _read(value)
    if isinstance(found, str):
        raise InvalidRequestError(found, hint=_HINT)
    return found


def renewed(current: SecretValue, password: str, *, user: str | None = None) -> SecretValue:
    """The current value with another password, and another user if one is given; all else stays as it is.

    Raises:
        InvalidRequestError: as `login` does; or a user is given, and the value does not say one.
    """
    new, password = _renewed(current, password, user), ""
    if isinstance(new, str):
        raise InvalidRequestError(new, hint=_HINT)
    return new


# What follows returns its problem instead of raising it: the frame of whoever raises holds no plaintext.


def _read(value: SecretValue) -> Login | str:
    text = _text(value)
    if text is None:
        return "the value is binary, not a login"
    if (fields := _fields(text)) is not None:
        return _of_fields(fields)
    if "://" in text:
        found = _URL.match(text)
        return _of_url(found) if found else "the URL has no user and password before its host"
    if _STRING.search(text):
        return "the value is a connection string"
    return Login(SecretValue(text)) if text else "the value is empty"


def _text(value: SecretValue) -> str | None:
    try:
        return value.reveal_text()
    except InvalidRequestError:
        return None


def _fields(text: str) -> dict[str, Any] | None:
    """A JSON object; a password that begins with a brace is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _of_fields(fields: Mapping[str, Any]) -> Login | str:
    password = fields.get("password")
    if not isinstance(password, str) or not password:
        return "the JSON has no password"
    if any(isinstance(other, str) and "://" in other and password in other for other in fields.values()):
        return "the JSON holds its password a second time, inside a URL"
    host, port = fields.get("host"), fields.get("port")
    known = port is None or re.fullmatch("[0-9]{1,5}", str(port))
    if not known:
        return "the port in the JSON is no number"
    hosts = ((str(host).lower(), None if port is None else int(port)),) if host else ()
    user, database = _one(fields, _USERS), _one(fields, _DATABASES)
    return Login(SecretValue(password), user, hosts, database)


def _one(fields: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((str(fields[name]) for name in names if fields.get(name)), None)


def _of_url(found: re.Match[str]) -> Login | str:
    hosts = []
    for each in found["hosts"].split(","):
        parts = _HOST.fullmatch(each)
        if not parts:
            return "the URL's host is not one"
        hosts.append((parts["host"].strip("[]").lower(), int(parts["port"]) if parts["port"] else None))
    if not found["password"]:
        return "the URL has no password"
    user, database = unquote(found["user"]), unquote(found["database"] or "")
    named = tuple(host for host in hosts if host[0])
    return Login(SecretValue(unquote(found["password"])), user or None, named, database or None)


def _renewed(current: SecretValue, password: str, user: str | None) -> SecretValue | str:
    old = _read(current)
    if isinstance(old, str):
        return old
    if user is not None and old.user is None:
        return "the value does not say a user"
    text = current.reveal_text()
    if (fields := _fields(text)) is not None:
        name = next((name for name in _USERS if fields.get(name)), _USERS[0])
        changed = {"password": password, **({} if user is None else {name: user})}
        return SecretValue.of({**fields, **changed})
    if found := _URL.match(text):
        who = found["user"] if user is None else quote(user, safe="")
        start, end = found.start("user"), found.end("password")
        return SecretValue(f"{text[:start]}{who}:{quote(password, safe='')}{text[end:]}")
    return SecretValue(password)
