"""A fork while the wrap counter's file is locked."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from strongroom.localkey import FIRST_BLOCK
from strongroom.wrapcount import FileWrapCounter

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_child_forked_under_the_lock_reserves_after_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child shares the parent's open file, and with it the lock, which closing in the parent keeps."""
    counter = FileWrapCounter(tmp_path / "count")
    counter.create()
    reader, writer = os.pipe()
    children: list[int] = []
    synced = os.fsync

    def fork_under_the_lock(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", synced)
        synced(descriptor)
        children.append(os.fork())
        if not children[0]:
            os.write(writer, str(counter.reserve(1)).encode())
            os._exit(0)

    monkeypatch.setattr(os, "fsync", fork_under_the_lock)
    assert counter.reserve(1) == 0
    answered, _, _ = select.select([reader], [], [], 30)
    if not answered:
        os.kill(children[0], 9)
    os.waitpid(children[0], 0)
    assert answered, "the child waits for a lock that it holds itself"
    assert int(os.read(reader, 20)) == FIRST_BLOCK
    os.close(reader)
    os.close(writer)
