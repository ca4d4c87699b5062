"""Portable names, the keys made of them, and store URLs.

A portable name fits every provider with its companion mark, so that a store can move by changing one
URL. A name can never climb out of its URL's prefix.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .errors import InvalidRequestError

NameMode = Literal["portable", "native"]

NAME_UNITS = 80
"""Room for a name on the tightest provider (Azure: 127 characters) with prefix and mark."""
PREFIX_UNITS = 24
RESERVED_ROOT = "_strongroom"
"""Where reserved keys live: before the prefix, so that a grant on the prefix never reaches them.

No portable name begins with an underscore; native names that begin so are refused."""

_SEGMENT = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_PORTABLE = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_KIND = re.compile(r"[a-z]+(?:-[a-z]+)*")
_PENDING = "pending"
_UNITS = {"/": 2, ".": 3, "_": 4}
_RUNS = {
    "-": {"-": "-", "/": "--", ".": "---", "_": "----"},
    "_": {"_": "_", "/": "__", ".": "___"},
}
_MARK = 5
_NATIVE_LIMIT = 1024
# Texts, which `re` compiles when they are first needed: not at the start of every process.
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
_AMBIGUOUS = r"[\\@#?%\s\x00-\x1f]|[^\x00-\x7f]"
_UNCLEAR_HOST = r"[%\\\s]"  # URL parsers disagree where such a host ends
_ENCODED_STEP = r"(?i)[\\/]|%(?:2e|2f|5c|25)"


@dataclass(frozen=True, slots=True)
class Name:
    """A checked secret name; make one with ``Name.parse``."""

    text: str

    @classmethod
    def parse(cls, text: str, mode: NameMode = "portable") -> Name:
        """Check a name a user gave.

        Portable: segments ``[a-z0-9]+([._-][a-z0-9]+)*`` joined by ``/``, at most 80 units (letter, digit
        and ``-`` 1, ``/`` 2, ``.`` 3, ``_`` 4: the widths of the Azure encoding). Native: the provider's
        own names, without climbing segments, control characters, ARNs or resource paths.

        Raises:
            InvalidRequestError: with the nearest legal name as a hint.
        """
        if not isinstance(text, str):
            raise InvalidRequestError(f"a secret name is a str, not {type(text).__name__}")
        problem = _portable_problem(text, NAME_UNITS) if mode == "portable" else _native_problem(text)
        if problem:
            raise InvalidRequestError(f"illegal name {text[:200]!r}: {problem}", hint=_hint(text))
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Companion:
    """The key beside a secret where its pending value waits, on stores whose newest version is current."""

    name: Name

    def __str__(self) -> str:
        return f"{RESERVED_ROOT}/{_PENDING}/{self.name}"


@dataclass(frozen=True, slots=True)
class Reserved:
    """A key for Strongroom's own records: leases, ledger records, keyrings, digest keys, tombstones."""

    kind: str
    name: Name

    def __post_init__(self) -> None:
        if self.kind == _PENDING or not _KIND.fullmatch(self.kind):
            raise InvalidRequestError(f"{self.kind[:40]!r} is no kind of reserved key")

    def __str__(self) -> str:
        return f"{RESERVED_ROOT}/{self.kind}/{self.name}"


Key: TypeAlias = Name | Companion | Reserved


def key_path(key: Key, prefix: str = "") -> str:
    """Where a key lives on a provider with hierarchical names: reserved keys stand before the prefix."""
    inside = f"{prefix}/{key_name(key)}" if prefix else str(key_name(key))
    if isinstance(key, Companion):
        return f"{RESERVED_ROOT}/{_PENDING}/{inside}"
    if isinstance(key, Reserved):
        return f"{RESERVED_ROOT}/{key.kind}/{inside}"
    return inside


def path_key(path: str, prefix: str = "", mode: NameMode = "portable") -> Key | None:
    """The key that ``key_path`` put at ``path``, or None for what is not ours to show."""
    kind = None
    if path.startswith(f"{RESERVED_ROOT}/"):
        _, kind, path = (*path.split("/", 2), "", "")[:3]
        if not _KIND.fullmatch(kind):
            return None
    if prefix and not path.startswith(f"{prefix}/"):
        return None
    text = path[len(prefix) + 1 :] if prefix else path
    if _portable_problem(text, NAME_UNITS) if mode == "portable" else _native_problem(text):
        return None
    name = Name(text)
    return name if kind is None else Companion(name) if kind == _PENDING else Reserved(kind, name)


def flat_name(key: Key, prefix: str = "", mark: str = "-", mode: NameMode = "portable") -> str:
    """Where a key lives on a provider whose names hold no ``/``; `mark` is what runs are made of.

    With ``-`` (Azure), runs of one to four stand for ``- / . _``. With ``_`` (Google), ``-`` and ``_`` stand
    for themselves, two for ``/`` and three for ``.``. A run of five sets a reserved key's kind apart from the
    prefix and name; no name encodes to it. Native names stand as they are.

    Raises:
        InvalidRequestError: a native name that would read as a reserved key.
    """
    inside = f"{prefix}/{key_name(key)}" if prefix else str(key_name(key))
    text = inside if mode == "native" else "".join(_RUNS[mark].get(char, char) for char in inside)
    if _MARK * mark in text:
        raise InvalidRequestError(f"a name may not hold {_MARK * mark!r}, which marks Strongroom's own keys")
    if isinstance(key, Name):
        return text
    return f"{_PENDING if isinstance(key, Companion) else key.kind}{_MARK * mark}{text}"


def flat_key(text: str, prefix: str = "", mark: str = "-", mode: NameMode = "portable") -> Key | None:
    """The key that ``flat_name`` put at `text`, or None for what is not ours to show."""
    kind, found, name = text.partition(_MARK * mark)
    if not found:
        name = text
    elif not _KIND.fullmatch(kind) or _MARK * mark in name:
        return None
    path = name if mode == "native" else _unrun(name, mark)
    if path is None:
        return None
    root = f"{RESERVED_ROOT}/{kind}/" if found else ""
    key = path_key(root + path, prefix, mode)
    # Other texts can read as the same key: shown as it, they would lead to another secret than their own.
    return key if key is not None and flat_name(key, prefix, mark, mode) == text else None


def _unrun(text: str, mark: str) -> str | None:
    """Each run of marks as the character it stands for; a run that stands for none is not ours."""
    meaning = {run: char for char, run in _RUNS[mark].items()}
    parts = re.split(f"({mark}+)", text)
    if any(run not in meaning for run in parts[1::2]):
        return None
    return "".join(meaning[part] if at % 2 else part for at, part in enumerate(parts))


def key_name(key: Key) -> Name:
    """The secret's name a key belongs to."""
    return key if isinstance(key, Name) else key.name


def check_prefix(prefix: str, mode: NameMode = "portable") -> str:
    """Check the prefix of a store URL: a name of at most 24 units, or nothing.

    Raises:
        InvalidRequestError: it could climb, or leaves no room for names.
    """
    problem = (
        ""
        if not prefix
        else _native_problem(prefix)
        if mode == "native"
        else _portable_problem(prefix, PREFIX_UNITS)
    )
    if problem:
        raise InvalidRequestError(f"illegal prefix {prefix[:200]!r}: {problem}", hint=_hint(prefix))
    return prefix


def check_beginning(text: str, mode: NameMode = "portable") -> str:
    """Check what a listing is asked for: nothing, or what a name could begin with, such as ``db/`` or ``db``.

    Raises:
        InvalidRequestError: no legal name begins so; a listing could climb out of the prefix.
    """
    if mode == "native":
        problem = text and _native_problem(text.removesuffix("/"))
    else:
        problem = _portable_problem(text + "x", NAME_UNITS) and _portable_problem(text, NAME_UNITS)
    if problem:
        raise InvalidRequestError(f"no name begins with {text[:200]!r}: {problem}", hint=_hint(text))
    return text


def suggest_name(text: str) -> str | None:
    """The portable name nearest to ``text``: ``BINANCE_API_KEY`` becomes ``binance/api-key``."""
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
    if re.fullmatch(r"[A-Z0-9]+(_[A-Z0-9]+)+", text):
        candidate = "/".join([words[0], "-".join(words[1:])])
    else:
        segments = [re.split(r"[^a-z0-9.]+", part.lower()) for part in text.split("/")]
        candidate = "/".join(
            "-".join(word for word in (w.strip(".") for w in part) if word) for part in segments
        )
        candidate = re.sub(r"/+", "/", candidate).strip("/")
    return candidate if candidate and not _portable_problem(candidate, NAME_UNITS) else None


def _portable_problem(text: str, limit: int) -> str:
    if not _PORTABLE.fullmatch(text):
        return (
            _shape_problem(text)
            or "use lower-case letters, digits and single . _ - between them, segments joined by /"
        )
    units = len(text) + sum(text.count(char) * (width - 1) for char, width in _UNITS.items())
    return f"{units} units, at most {limit} fit every provider" if units > limit else ""


def _native_problem(text: str) -> str:
    lowered = text.strip().lower()
    if lowered.startswith(("arn:", "projects/", "http://", "https://")):
        return "a name is relative to the store's URL, not a resource path"
    if lowered.split("/", 1)[0].strip() == RESERVED_ROOT:  # some providers' names know no case
        return f"{RESERVED_ROOT} is reserved"
    if len(text) > _NATIVE_LIMIT:
        return f"longer than {_NATIVE_LIMIT} characters"
    return _shape_problem(text)


def _shape_problem(text: str) -> str:
    if not text:
        return "it is empty"
    if _has_control(text):
        return "it holds a control character"
    segments = text.split("/")
    if "" in segments:
        return "it has an empty segment"
    if any(_climbs(segment) for segment in segments):
        return "a segment could climb out of the prefix"
    return ""


def _has_control(text: str) -> bool:
    return not text.isprintable() and re.search(_CONTROL, text) is not None


def _climbs(segment: str) -> bool:
    """Also if something on the way to the provider decodes percent signs, or folds look-alike dots."""
    if segment.isascii() and segment.replace("-", "").replace("_", "").isalnum():
        return False
    plain = unicodedata.normalize("NFKC", segment)
    return plain.strip() in (".", "..") or bool(re.search(_ENCODED_STEP, plain))


def _hint(text: str) -> str | None:
    near = suggest_name(text[:400])
    return f"use {near!r}" if near and near != text else None


@dataclass(frozen=True, slots=True)
class StoreURL:
    """A parsed store or key URL. It names a resource and never holds a credential.

    Attributes:
        scheme: such as ``aws-sm``.
        host: what stands between ``//`` and the next ``/``, with its port.
        path: the rest, without the leading ``/`` for URLs that have a host, percent-decoded never:
            a name has no need of it and a decoded ``%2e%2e`` could climb.
        query: options, each at most once.
    """

    text: str
    scheme: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> StoreURL:
        """Split a URL such as ``aws-sm://eu-west-1/prod?endpoint=http://127.0.0.1:5000``.

        Raises:
            InvalidRequestError: not a URL, or it carries a credential, a fragment, or an option twice.
        """
        match = re.fullmatch(r"([a-z][a-z0-9-]*):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?", text)
        if not match or _has_control(text) or re.search(_UNCLEAR_HOST, match[2] or ""):
            raise InvalidRequestError(
                "not a store URL", hint="a store URL reads SCHEME://PLACE, such as local:///path/to/file.db"
            )
        scheme, host, path, query = match[1], match[2] or "", match[3], match[4] or ""
        if "@" in host:
            raise InvalidRequestError(
                "a URL names a resource, never a credential", hint="give credentials in strongroom.toml"
            )
        return cls(text, scheme, host, path.removeprefix("/") if host else path, _options(query))

    def option(self, name: str) -> str | None:
        """The value of ``?name=``, or None."""
        return dict(self.query).get(name)

    def allow(self, *options: str) -> StoreURL:
        """Refuse every option but these.

        Raises:
            InvalidRequestError: naming the first unknown option and those that exist.
        """
        unknown = next((name for name, _ in self.query if name not in options), None)
        if unknown is not None:
            known = ", ".join(options) or "none"
            raise InvalidRequestError(
                f"{self.scheme} URLs have no option {unknown!r}", hint=f"options: {known}"
            )
        return self

    @property
    def endpoint(self) -> str | None:
        """``?endpoint=``, which may only name this machine.

        An attacker who can set a URL could otherwise have ambient credentials sent to his own host.

        Raises:
            InvalidRequestError: the endpoint is not a literal loopback address.
        """
        endpoint = self.option("endpoint")
        if endpoint is not None and not is_loopback(endpoint):
            raise InvalidRequestError(
                "a URL may name only a loopback endpoint (127.0.0.0/8 or [::1])",
                hint="name other endpoints in strongroom.toml",
            )
        return endpoint

    def __str__(self) -> str:
        return self.text


def is_loopback(endpoint: str) -> bool:
    """Whether an http(s) endpoint is a literal 127.0.0.0/8 or ::1 (a host name may resolve anywhere).

    What URL parsers read differently (userinfo, backslashes, white space, a query) is never loopback.
    """
    from ipaddress import IPv6Address, ip_address
    from urllib.parse import urlsplit

    if re.search(_AMBIGUOUS, endpoint):
        return False
    try:
        parts = urlsplit(endpoint)
        address, _ = ip_address(parts.hostname or ""), parts.port
    except ValueError:
        return False
    loopback = address == IPv6Address(1) or (address.version == 4 and address.is_loopback)
    return parts.scheme in ("http", "https") and loopback


def _options(query: str) -> tuple[tuple[str, str], ...]:
    from urllib.parse import parse_qsl

    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        pairs = [("", "")]
    if any(not name for name, _ in pairs) or len({name for name, _ in pairs}) < len(pairs):
        raise InvalidRequestError(
            "the URL's options are malformed or repeated", hint="write ?name=value&name=value"
        )
    return tuple(pairs)
