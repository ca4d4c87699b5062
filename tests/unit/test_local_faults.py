"""Every exception that SQLite and the operating system can raise has its meaning."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from strongroom.errors import (
    IntegrityError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom_local import faults
from strongroom_local.faults import WRITES, os_error, sqlite_error
from strongroom_local.kek import DatabaseWrapCounter
from tests.unit.local_support import local


def _classes(base: type[Exception]) -> list[type[Exception]]:
    return [base, *(found for cls in base.__subclasses__() for found in _classes(cls))]


@pytest.mark.parametrize("kind", [*_classes(sqlite3.Error), sqlite3.Warning])
def test_every_class_of_sqlite_is_translated(kind: type[Exception]) -> None:
    """Also without a result code, as Python's own module raises some."""
    assert isinstance(sqlite_error(kind("text"), "put"), SecretStoreError)


@pytest.mark.parametrize("code", range(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB + 1))
def test_every_result_code_is_in_the_table(code: int) -> None:
    """All primary codes that mean an error (https://sqlite.org/rescode.html)."""
    assert code in faults._PRIMARY


@pytest.mark.parametrize("operation", ["get", *sorted(WRITES)])
@pytest.mark.parametrize(("code", "kind", "performed"), [
    (sqlite3.SQLITE_BUSY, UnavailableError, False),
    (sqlite3.SQLITE_BUSY_SNAPSHOT, UnavailableError, False),
    (sqlite3.SQLITE_FULL, UnavailableError, False),
    (sqlite3.SQLITE_IOERR_FSYNC, UnavailableError, None),
    (sqlite3.SQLITE_IOERR_SHORT_READ, IntegrityError, False),
    (sqlite3.SQLITE_CORRUPT_INDEX, IntegrityError, False),
    (sqlite3.SQLITE_NOTADB, IntegrityError, False),
    (sqlite3.SQLITE_ERROR, IntegrityError, False),
    (sqlite3.SQLITE_READONLY_DIRECTORY, PermissionDeniedError, False),
])  # fmt: skip
def test_a_code_says_what_happened(
    operation: str, code: int, kind: type[SecretStoreError], performed: bool | None
) -> None:
    """Only a disk that failed at the commit leaves open whether the write happened."""
    exc = sqlite3.OperationalError("provider text")
    exc.sqlite_errorcode = code
    error = sqlite_error(exc, operation)
    assert type(error) is kind
    assert error.performed is (performed if operation in WRITES else False)
    assert "provider text" not in str(error)
    assert error.hint


def test_a_message_that_is_not_utf8_means_damage() -> None:
    """SQLite quotes the schema it cannot parse, and Python fails to decode the quotation."""
    exc = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert type(sqlite_error(exc, "get")) is IntegrityError


def test_a_strange_exception_is_not_claimed() -> None:
    """The edge says that it is unexpected."""
    assert sqlite_error(KeyError("x"), "get") is None


@pytest.mark.parametrize(("number", "kind"), [
    (errno.EACCES, PermissionDeniedError),
    (errno.EROFS, PermissionDeniedError),
    (errno.ENOSPC, UnavailableError),
    (errno.EIO, UnavailableError),
    (None, UnavailableError),
])  # fmt: skip
def test_the_system_s_errors_are_told_by_number(number: int | None, kind: type[SecretStoreError]) -> None:
    """Never by their text, which holds paths."""
    exc = OSError() if number is None else OSError(number, "text", "/path")
    assert type(os_error(exc)) is kind
    assert "/path" not in str(os_error(exc))


def test_a_counter_s_failure_is_translated(tmp_path: Path) -> None:
    """A key wrapper's errors do not pass the backend's edge."""
    backend = local(tmp_path, timeout=0.01)
    other = sqlite3.connect(tmp_path / "data" / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError) as busy:
        DatabaseWrapCounter(backend._database).reserve(1)
    assert busy.value.__context__ is None
    other.close()
    backend.close()
