"""Records as syslog messages: RFC 5424, octet-counted over TLS (RFC 5425), nothing in clear, nothing by UDP.

Syslog has no acknowledgement, so a connection carries one batch and is ended in order: the receiver ends
its stream in turn (RFC 5425 section 4.4), and does so when it has read everything. One that died with
messages unread resets the connection instead, and one that never reads never ends it.
"""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, Any, Final

from strongroom.audit.wire import Connection, Reach, connect
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError

from .base import Sink
from .logger import is_alarm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .base import Entry

PORT: Final = 6514
"""IANA's port of syslog over TLS (RFC 5425 section 4.1)."""

SHORTEST_LIMIT: Final = 2048
"""Bytes of a message that every receiver must take (RFC 5425 section 4.3.1)."""

LIMIT: Final = 8192
"""Bytes of a message that every receiver should take (RFC 5425 section 4.3.1)."""

_LOG_AUDIT: Final = 13  # facility (RFC 5424 table 1)
_WARNING, _NOTICE, _INFORMATIONAL = 4, 5, 6  # severities (RFC 5424 table 2)
_NOT_PRINTABLE: Final = re.compile("[^!-~]")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})\d{3}Z", re.ASCII)


class SyslogSink(Sink):
    """One message a record, facility 13 (log audit), application ``strongroom``, the operation as message id.

    Args:
        host: who receives; the certificate must be of this name.
        port: `PORT` by default.
        form: how each record is written in the message.
        reach: trust and time. A receiver in one's own network is the rule, so private addresses are allowed.
        limit: bytes of one message as a whole; at least `SHORTEST_LIMIT`.
    """

    def __init__(
        self,
        host: str,
        port: int = PORT,
        form: str = "json",
        *,
        reach: Reach | None = None,
        limit: int | None = None,
    ):
        limit = LIMIT if limit is None else limit
        if limit < SHORTEST_LIMIT:
            raise InvalidRequestError(f"a syslog message may have {SHORTEST_LIMIT} bytes at least")
        hostname = _token(socket.gethostname(), 255)
        self._middle = f" {hostname} strongroom {os.getpid()} "
        super().__init__(form, limit=limit - _room(self._middle))
        self._host, self._port = host, port
        self._reach = (reach or Reach())._replace(private=True)

    def after_fork(self) -> None:
        self._middle = f" {self._middle.split()[0]} strongroom {os.getpid()} "

    def deliver(self, entries: Sequence[Entry]) -> None:
        texts = self.all_written(entries)
        data = b"".join(self._frame(entry, text) for entry, text in zip(entries, texts, strict=True))
        with connect(self._host, self._port, self._reach) as connection:
            problem = _handed_over(connection, data)
        if problem is not None:
            raise problem

    def _frame(self, entry: Entry, text: bytes) -> bytes:
        head = f"<{_priority(entry)}>1 {_time(entry.fields)}{self._middle}{_message_id(entry.fields)} - "
        message = head.encode() + text
        return b"%d %s" % (len(message), message)


def _handed_over(connection: Connection, data: bytes) -> SecretStoreError | None:
    try:
        connection.send(data)
        connection.finish()
    except TimeoutError:
        problem = "the receiver does not read what it is sent"
    except OSError:
        problem = "the connection broke before the receiver had everything"
    else:
        return None
    return UnavailableError(problem, performed=None)


def _priority(entry: Entry) -> int:
    if is_alarm(entry):
        return _LOG_AUDIT * 8 + _WARNING
    failed = entry.fields.get("outcome") not in (None, "ok")
    return _LOG_AUDIT * 8 + (_NOTICE if failed else _INFORMATIONAL)


def _time(fields: Mapping[str, Any]) -> str:
    """The record's time with six digits: more is malformed (RFC 5424 section 6.2.3)."""
    match = _TIME.fullmatch(str(fields.get("time")))
    return f"{match[1]}Z" if match else "-"


def _message_id(fields: Mapping[str, Any]) -> str:
    return _token(str(fields.get("op") or fields.get("kind") or ""), 32)


def _token(text: str, longest: int) -> str:
    """A header field: visible ASCII, bounded (RFC 5424 section 6)."""
    return _NOT_PRINTABLE.sub("?", text)[:longest] or "-"


def _room(middle: str) -> int:
    """Bytes of a message that are not the record's: priority, version, time, message id."""
    return len("<109>1 2026-01-01T00:00:00.000000Z") + len(middle) + 5 + 32 + len(" - ")
