"""Disks that fail, and disks that forget what nobody had them sync when the power goes."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strongroom.audit.record import GENESIS, leaf_hash, parse
from strongroom.audit.segments import Files

PAGE = 4096


class FailingFiles(Files):
    """A disk whose next calls of one kind fail.

    Attributes:
        broken: the call that fails (`write`, `sync`, `open`, `truncate`, `sync_folder`) and its errno.
        partial: bytes that a failing write still takes.
        syncs: how often data was synced.
    """

    def __init__(self) -> None:
        self.broken: dict[str, int] = {}
        self.partial = 0
        self.syncs = 0

    def open(self, path: Path, flags: int) -> int:
        self._check("open")
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes) -> int:
        if "write" in self.broken and self.partial:
            taken, self.partial = super().write(descriptor, data[: self.partial]), 0
            return taken
        self._check("write")
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        self._check("sync")
        super().sync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._check("truncate")
        super().truncate(descriptor, size)

    def sync_folder(self, path: Path) -> None:
        self._check("sync_folder")
        super().sync_folder(path)

    @contextmanager
    def failing(self, call: str, code: int = errno.EIO, *, partial: int = 0) -> Iterator[None]:
        """While this lasts, every such call fails."""
        self.broken[call], self.partial = code, partial
        try:
            yield
        finally:
            del self.broken[call]
            self.partial = 0

    def _check(self, call: str) -> None:
        if call in self.broken:
            raise OSError(self.broken[call], os.strerror(self.broken[call]))


class ForgetfulFiles(Files):
    """A disk that notes what it was made to keep; `power_cut` makes it forget the rest.

    The notes survive a kill -9 of the process, as its other writes do.
    """

    def __init__(self, notes: Path):
        self._notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._paths: dict[int, str] = {}

    def open(self, path: Path, flags: int) -> int:
        descriptor = super().open(path, flags)
        self._paths[descriptor] = str(path)
        return descriptor

    def sync(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        super().sync(descriptor)
        self._note(self._paths[descriptor], size)

    def sync_folder(self, path: Path) -> None:
        names = os.listdir(path)
        super().sync_folder(path)
        for name in names:
            self._note(str(path / name), -1)

    def _note(self, path: str, size: int) -> None:
        os.write(self._notes, json.dumps([path, size]).encode() + b"\n")


def power_cut(root: Path, notes: Path, chance: random.Random) -> None:
    """Take from the files under `root` what was not synced: all of it, the end, or pages in the middle."""
    kept: dict[str, int] = {}
    for line in notes.read_bytes().splitlines():
        path, size = json.loads(line)
        kept[path] = max(size, kept.get(path, -1))
    for path in sorted((root / "chains").glob("*/*.jsonl")):
        known = kept.get(str(path))
        if known is None and chance.random() < 0.5:
            path.unlink()
        else:
            _forget(path, max(0, known or 0), chance)
    for folder in sorted((root / "chains").iterdir()):
        if str(folder) not in kept and chance.random() < 0.5:
            shutil.rmtree(folder)


def _forget(path: Path, synced: int, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    way = chance.choice(("all", "end", "pages", "nothing"))
    if way == "all":
        del data[synced:]
    elif way == "end":
        del data[chance.randint(synced, len(data)) :]
    elif way == "pages":  # pages reach the disk in any order; what did not is read as zeros
        for start in range(synced, len(data), PAGE):
            end = min(start - start % PAGE + PAGE, len(data))
            if chance.random() < 0.5:
                data[start:end] = bytes(end - start)
    path.write_bytes(data)


def records_of(root: Path) -> dict[str, list[dict[str, object]]]:
    """The records by chain, each chain checked whole from its first: no gap, no fork, nothing torn."""
    return {folder.name: _chain(folder) for folder in sorted((root / "chains").iterdir())}


def _chain(folder: Path) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    prev = GENESIS
    for path in sorted(folder.glob("*.jsonl")):
        data = path.read_bytes()
        assert not data or data.endswith(b"\n"), f"{path} ends in the middle of a line"
        for line in data.splitlines():
            record = parse(line)
            assert (record["chain"], record["seq"], record["prev"]) == (folder.name, len(records), prev)
            records.append(record)
            prev = leaf_hash(line).hex()
    return records
