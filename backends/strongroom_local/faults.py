"""SQLite's and the file system's errors in Strongroom's words."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import Final, NamedTuple

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)

WRITES: Final = frozenset(
    (
        *("put", "purge", "delete", "restore", "retire", "set_tags"),
        *("put_pending", "promote_pending", "discard_pending"),
    )
)
"""The operations that change the store."""


class _Fault(NamedTuple):
    kind: type[SecretStoreError]
    message: str
    hint: str | None = None


_CORRUPT = _Fault(IntegrityError, "the database is corrupt", "restore it from a backup")
_BUSY = _Fault(UnavailableError, "another process holds the database's lock", "try again")
_READ_ONLY = _Fault(
    PermissionDeniedError,
    "the database is read-only for this user",
    "grant write access to the file and its folder, where SQLite keeps its log",
)
_DISK = _Fault(UnavailableError, "the disk failed", "check the disk and the system's log")
_MISUSED = _Fault(SecretStoreError, "SQLite was used wrongly, which is a bug in Strongroom", "report it")
_STOPPED = _Fault(UnavailableError, "SQLite could not finish", "try again")
_CANNOT_OPEN = _Fault(
    UnavailableError, "the database cannot be opened", "check its folder and the limit of open files"
)
FULL: Final = _Fault(UnavailableError, "the disk is full", "free some space, then try again")

# Primary result codes (https://sqlite.org/rescode.html). Statements are ours and fixed, so that an SQL error
# or a violated constraint means that the schema is not what we wrote.
_PRIMARY: Final = {
    sqlite3.SQLITE_ERROR: _CORRUPT,
    sqlite3.SQLITE_INTERNAL: _CORRUPT,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_ABORT: _STOPPED,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_NOMEM: _Fault(UnavailableError, "out of memory"),
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_INTERRUPT: _STOPPED,
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTFOUND: _CORRUPT,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_CANTOPEN: _CANNOT_OPEN,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_EMPTY: _CORRUPT,
    sqlite3.SQLITE_SCHEMA: _STOPPED,
    sqlite3.SQLITE_TOOBIG: _CORRUPT,
    sqlite3.SQLITE_CONSTRAINT: _CORRUPT,
    sqlite3.SQLITE_MISMATCH: _CORRUPT,
    sqlite3.SQLITE_MISUSE: _MISUSED,
    sqlite3.SQLITE_NOLFS: _DISK,
    sqlite3.SQLITE_AUTH: _READ_ONLY,
    sqlite3.SQLITE_FORMAT: _CORRUPT,
    sqlite3.SQLITE_RANGE: _MISUSED,
    sqlite3.SQLITE_NOTADB: _Fault(
        IntegrityError, "the file is not a database, or its header is corrupt", "restore it from a backup"
    ),
}
_EXTENDED: Final = {
    sqlite3.SQLITE_IOERR_SHORT_READ: _CORRUPT,  # the file was cut
    sqlite3.SQLITE_IOERR_CORRUPTFS: _CORRUPT,
}
# Exceptions that Python's module raises on its own account bear no code.
_CLASSES: Final[tuple[tuple[type[Exception], _Fault], ...]] = (
    (sqlite3.ProgrammingError, _MISUSED),
    (sqlite3.InterfaceError, _MISUSED),
    (sqlite3.NotSupportedError, _MISUSED),
    (sqlite3.Warning, _MISUSED),
    (sqlite3.Error, _CORRUPT),  # a text that is not UTF-8 among them
    (UnicodeDecodeError, _CORRUPT),  # SQLite's message quotes a damaged schema
)


def sqlite_error(exc: Exception, operation: str) -> SecretStoreError | None:
    """Translate an exception of ``sqlite3`` or the operating system; None for any other.

    Every error comes before the commit, which undoes the transaction, but a failed disk: the log may hold
    the whole commit, to be found after a crash, so that whether a write happened is not known.
    """
    if isinstance(exc, OSError):
        return os_error(exc)
    fault = _fault(exc)
    if fault is None:
        return None
    unknown = fault is _DISK and operation in WRITES
    return fault.kind(fault.message, hint=fault.hint, performed=None if unknown else False)


def _fault(exc: Exception) -> _Fault | None:
    code = getattr(exc, "sqlite_errorcode", None)
    if isinstance(exc, sqlite3.Error) and isinstance(code, int):
        return _EXTENDED.get(code) or _PRIMARY.get(code & 0xFF, _CORRUPT)
    return next((fault for kind, fault in _CLASSES if isinstance(exc, kind)), None)


_NUMBERS: Final = {
    errno.ENAMETOOLONG: _Fault(InvalidRequestError, "the name is too long for this file system"),
    errno.EACCES: _Fault(PermissionDeniedError, "this user may not use the file", "grant access to it"),
    errno.EPERM: _Fault(PermissionDeniedError, "this user may not use the file", "grant access to it"),
    errno.EROFS: _Fault(PermissionDeniedError, "the file system is read-only", "choose another folder"),
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
}


def os_error(exc: OSError) -> SecretStoreError:
    """Translate an error of the operating system by its number; an unknown one is `UnavailableError`."""
    number = exc.errno or 0
    kind, message, hint = _NUMBERS.get(
        number, _Fault(UnavailableError, "the file system failed", os.strerror(number))
    )
    return kind(message, hint=hint)
