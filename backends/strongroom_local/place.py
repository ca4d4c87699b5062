"""Where a database may lie: a file for its owner alone, in a folder that nobody else can write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from strongroom.errors import InvalidRequestError, PermissionDeniedError


def place(text: str) -> Path:
    """The absolute path that a URL names, its folder's links resolved; the file need not exist.

    Raises:
        InvalidRequestError: not absolute, not a file's name, a link, or in a folder that is missing or that
            others can write.
    """
    if not text.startswith("/") or text.endswith("/") or Path(text).name in ("", ".", ".."):
        raise InvalidRequestError(
            f"{text[:200]!r} is no absolute path of a file", hint="write local:///path/to/file.db"
        )
    path = Path(text).parent.resolve() / Path(text).name
    if path.is_symlink():
        raise InvalidRequestError(f"{path} is a link", hint="name the file itself")
    _check_folder(path.parent)
    return path


def check_file(path: Path) -> os.stat_result:
    """The status of an existing database file.

    ▲ By path and never on an open descriptor of our own: closing that would drop every lock this process
    holds on the file, SQLite's among them (https://sqlite.org/howtocorrupt.html, section 2.2).

    Raises:
        InvalidRequestError: it is missing, not a file, or open to others.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        status = None
    if status is None:
        raise InvalidRequestError(f"there is no database at {path}", hint="make one with `strongroom init`")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequestError(f"{path} is not a file", hint="name a database")
    if status.st_mode & 0o077:
        raise InvalidRequestError(f"the database {path} is open to others", hint=f"chmod 600 {path}")
    return status


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InvalidRequestError(f"there is no folder {folder}", hint="make the folder first")
    # Who can write the folder can put his own log beside the database, which SQLite would replay into it.
    status = folder.stat()
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private(status)):
        raise InvalidRequestError(
            f"others can write the folder {folder}", hint=f"choose another, or chmod go-w {folder}"
        )
    if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
        raise PermissionDeniedError(f"the folder {folder} belongs to another user", hint="choose another")


def _is_private(status: os.stat_result) -> bool:
    """Whether a folder's group is its owner's own, as distributions with umask 002 give everybody one."""
    import grp
    import pwd

    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return (
        owner.pw_gid == group.gr_gid
        and owner.pw_name == group.gr_name
        and set(group.gr_mem) <= {owner.pw_name}
    )
