"""From a sink's URL and table to the sink."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from strongroom.errors import InvalidRequestError

from .base import hidden, hidden_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.audit.wire import Reach
    from strongroom.clock import Clock
    from strongroom.value import SecretValue
    from strongroom.webhooks.schemes import SigningKey

    from .base import Sink

_HINT: Final = "write file:///path, syslog+tls://host, https://host/path, otel: or logging:"


def open_sink(  # noqa: PLR0913  (a sink's table, by keyword)
    url: str,
    *,
    format: str = "json",  # noqa: A002  (the key in the file)
    secret: SigningKey | Sequence[SigningKey] | None = None,
    ca: Path | str | None = None,
    identity: tuple[Path | str, Path | str] | None = None,
    timeout: float = 10.0,
    private: bool = False,
    limit: int | None = None,
    headers: Mapping[str, str | SecretValue] | None = None,
    clock: Clock | None = None,
) -> Sink:
    """The sink that a URL names; nothing is sent yet.

    Args:
        url: ``file:///path``, ``syslog+tls://host[:6514]``, ``https://host/path``, ``otel:`` or
            ``logging:[logger]``.
        format: ``json`` (the journal's own lines), ``ocsf``, ``ecs`` or ``cef``.
        secret: what an https sink signs by (Standard Webhooks); two while one replaces the other.
        ca: PEM file of the only authorities to trust; None: the system's.
        identity: PEM files of our own certificate and key, for receivers that ask who sends.
        timeout: seconds for one batch.
        private: whether an https host may have an address that is not public.
        limit: bytes of one record that the receiver takes; a longer one is clipped.
        headers: of an https sink's requests.
        clock: signs with this time.

    Raises:
        InvalidRequestError: no such sink, or it needs what it was not given.
        BackendNotInstalledError: its library is not installed.
    """
    from strongroom.audit.wire import Reach

    # Hidden first: a frame that an error leaves holds no token.
    secret, headers = hidden(secret), hidden_values(headers)
    parts, reach = _parts(url), Reach(ca, identity, timeout, private)
    if parts.scheme in ("https", "http"):
        from .webhook import WebhookSink

        return WebhookSink(url, secret, format, reach=reach, limit=limit, headers=headers, clock=clock)
    if secret or headers:
        raise InvalidRequestError("only an https sink takes a secret or headers")
    return _unsigned(parts, format, reach, limit)


def _unsigned(parts: SplitResult, form: str, reach: Reach, limit: int | None) -> Sink:
    if parts.scheme == "syslog+tls":
        from .syslog import PORT, SyslogSink

        return SyslogSink(_host(parts), parts.port or PORT, form, reach=reach, limit=limit)
    if parts.scheme == "file":
        from .files import FileSink

        return FileSink(_path(parts), form, limit=limit)
    if parts.scheme == "otel":
        from .otel import OpenTelemetrySink

        return OpenTelemetrySink(form, timeout=reach.timeout, limit=limit)
    if parts.scheme == "logging":
        from .logger import LOGGER, LoggingSink

        return LoggingSink(parts.path or LOGGER, form, limit=limit)
    raise InvalidRequestError("there is no such kind of sink", hint=_HINT)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        problem = parts.port == 0 or parts.username is not None or re.search(r"[^!-~]", url) is not None
    except ValueError:
        problem = True
    if problem:
        raise InvalidRequestError("the sink's URL is malformed or holds credentials", hint=_HINT)
    return parts


def _host(parts: SplitResult) -> str:
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidRequestError("the sink's URL is malformed", hint="write syslog+tls://host:6514")
    return parts.hostname


def _path(parts: SplitResult) -> Path:
    path = Path(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment or not path.is_absolute() or "\0" in str(path):
        raise InvalidRequestError("the sink's URL is malformed", hint="write file:///absolute/path")
    return path
