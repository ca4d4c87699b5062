"""The journal: an answer means durable, many share a sync, and each process has a chain of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.chains import LINE_LIMIT
from strongroom.audit.journal import Journal, origin_of
from strongroom.audit.segments import Files
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, UnavailableError
from tests.unit.audit_disk import FailingFiles, records_of

INTENT = {"kind": "event", "phase": "intent", "op": "get", "name": "db/password"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def kinds(path: Path) -> list[list[object]]:
    """The kinds of the records of each chain, which are checked whole."""
    return [[record["kind"] for record in records] for records in records_of(path).values()]


class HeldFiles(FailingFiles):
    """A disk whose syncs wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Semaphore(0), threading.Semaphore(0)
        self.holding = False

    def sync(self, descriptor: int) -> None:
        if self.holding:
            self.entered.release()
            assert self.released.acquire(timeout=30)
        super().sync(descriptor)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While this lasts, syncs wait; the first of them has begun."""
        self.holding = True
        yield
        self.holding = False
        self.released.release(1000)


class AtOnce(Clock):
    """Waits for nothing, and notes how long it was asked to."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        self.waits.append(seconds)
        return event.is_set()


class TestAppending:
    """One process."""

    def test_an_answer_is_the_place_of_a_record_on_disk(self, path: Path) -> None:
        """Chain and number, and the record is there when the answer is."""
        journal = Journal.open(path)
        for expected in (1, 2, 3):
            chain, seq = journal.append(INTENT).split(":")
            assert int(seq) == expected
            assert records_of(path)[chain][expected]["name"] == "db/password"

    def test_each_answer_has_its_sync(self, path: Path) -> None:
        """Written is not durable."""
        files = FailingFiles()
        journal = Journal.open(path, files=files)
        before = files.syncs
        for _ in range(5):
            journal.append(INTENT)
        assert files.syncs == before + 5

    def test_who_comes_during_a_sync_shares_the_next(self, path: Path) -> None:
        """Forty threads are answered with two syncs."""
        files = HeldFiles()
        journal = Journal.open(path, files=files)
        journal.append(INTENT)
        before, found = files.syncs, []
        threads = [threading.Thread(target=lambda: found.append(journal.append(INTENT))) for _ in range(40)]
        with files.held():
            threads[0].start()
            assert files.entered.acquire(timeout=30)
            for thread in threads[1:]:
                thread.start()
            while journal._chain is None or journal._chain._last.seq < 42:
                threading.Event().wait(0.001)
        for thread in threads:
            thread.join(30)
        assert sorted(int(record.split(":")[1]) for record in found) == list(range(2, 42))
        assert files.syncs == before + 2
        assert kinds(path) == [["chain", *["event"] * 41]]

    def test_when_a_shared_sync_fails_all_who_shared_it_are_refused(self, path: Path) -> None:
        """Also those whose records gathered behind it: they name what is not durable."""
        files = HeldFiles()
        journal = Journal.open(path, files=files)
        journal.append(INTENT)
        refused: list[UnavailableError] = []

        def append() -> None:
            try:
                journal.append(INTENT)
            except UnavailableError as error:
                refused.append(error)

        threads = [threading.Thread(target=append) for _ in range(10)]
        with files.failing("sync"), files.held():
            for thread in threads:
                thread.start()
            assert files.entered.acquire(timeout=30)
            while journal._chain is None or journal._chain._last.seq < 12:
                threading.Event().wait(0.001)
            files.released.release(1000)
            for thread in threads:
                thread.join(30)
        assert len(refused) == 10
        assert len({id(error) for error in refused}) == 10
        journal.append(INTENT)
        assert kinds(path) == [["chain", *["event"] * 11, "segment", "recovery", "event"]]

    def test_what_does_not_wait_is_written_soon(self, path: Path) -> None:
        """By a thread of the journal's own, which gathers for less than the second that a crash may lose."""
        clock = AtOnce()
        journal = Journal.open(path, clock=clock)
        written = threading.Event()
        journal.committed(written.set)
        journal.append(INTENT, durable=False)
        for _ in range(1000):
            if kinds(path) == [["chain", "event"]]:
                break
            threading.Event().wait(0.01)
        assert kinds(path) == [["chain", "event"]]
        assert [seconds for seconds in clock.waits if seconds is None or seconds >= 1] == []
        journal.close()

    def test_what_did_not_wait_is_written_at_close_and_at_exit(self, path: Path) -> None:
        """A program that ends in order loses nothing."""
        script = (
            "import sys; from strongroom.audit.journal import Journal\n"
            f"journal = Journal.open(sys.argv[1]); journal.append({INTENT!r}, durable=False)"
        )
        subprocess.run([sys.executable, "-c", script, path], check=True)
        with contextlib.closing(Journal.open(path)) as journal:
            journal.append(INTENT, durable=False)
        assert kinds(path) == [["chain", "event", "adopt", "event"]]

    def test_a_closed_journal_takes_nothing_more(self, path: Path) -> None:
        """And closing twice is closing once."""
        journal = Journal.open(path)
        journal.append(INTENT)
        journal.close()
        journal.close()
        with pytest.raises(InvalidRequestError, match="closed"):
            journal.append(INTENT)

    @pytest.mark.parametrize("fields", [{"kind": "value"}, {**INTENT, "value": "x"}, {"kind": "segment"}])
    def test_what_is_not_a_record_takes_no_place(self, path: Path, fields: dict[str, Any]) -> None:
        """It is the program's bug, and no gap in the chain."""
        journal = Journal.open(path)
        with pytest.raises(InvalidRequestError):
            journal.append(fields)
        journal.append(INTENT)
        assert kinds(path) == [["chain", "event"]]

    def test_a_line_has_a_limit(self, path: Path) -> None:
        """So that readers need no more memory than that."""
        reads = [["n" * 100, "1", 1]] * (LINE_LIMIT // 100)
        journal = Journal.open(path)
        with pytest.raises(InvalidRequestError, match="longer than"):
            journal.append({"kind": "reads", "since": "2026-11-23T12:00:00.000000000Z", "reads": reads})
        journal.append(INTENT)
        assert kinds(path) == [["chain", "event"]]

    def test_commits_are_told(self, path: Path) -> None:
        """Once for each, after the record is there; who is told may append."""
        journal, seen = Journal.open(path), []
        journal.committed(lambda: seen.append(len(kinds(path)[0])))
        journal.append(INTENT)
        journal.append(INTENT)
        assert seen == [2, 3]

    def test_an_interrupt_while_writing_leaves_a_whole_chain(self, path: Path) -> None:
        """Ctrl-C in the middle of a write: the chain is taken over anew, as after a crash."""
        files = InterruptedFiles()
        journal = Journal.open(path, files=files)
        journal.append(INTENT)
        files.interrupts = True
        with pytest.raises(KeyboardInterrupt):
            journal.append(INTENT)
        journal.append(INTENT)
        assert kinds(path) == [["chain", "event", "adopt", "recovery", "event"]]


class InterruptedFiles(Files):
    """The next write is interrupted after ten bytes."""

    interrupts = False

    def write(self, descriptor: int, data: bytes) -> int:
        if self.interrupts:
            self.interrupts = False
            super().write(descriptor, data[:10])
            raise KeyboardInterrupt
        return super().write(descriptor, data)


class TestSegments:
    """A chain is cut into files."""

    def test_a_full_segment_names_the_next(self, path: Path) -> None:
        """And the chain goes on over the cut."""
        journal = Journal.open(path, segment_bytes=2000)
        for _ in range(30):
            journal.append(INTENT)
        ((chain, records),) = records_of(path).items()
        segments = sorted((path / "chains" / chain).glob("*.jsonl"))
        assert len(segments) > 2
        assert [record["next"] for record in records if record["kind"] == "segment"] == [
            segment.name for segment in segments[1:]
        ]
        assert all(segment.stat().st_size < 3000 for segment in segments)

    def test_a_batch_goes_over_the_cut(self, path: Path) -> None:
        """Records that were gathered together may stand in two files."""
        journal = Journal.open(path, segment_bytes=2000)
        for _ in range(30):
            journal.append(INTENT, durable=False)
        journal.flush()
        (found,) = kinds(path)
        assert found.count("event") == 30
        assert found.count("segment") > 1

    def test_a_chain_is_taken_over_at_a_cut(self, path: Path) -> None:
        """The last record of its last file says that another follows: the next process makes it."""
        for _ in range(4):
            journal = Journal.open(path, segment_bytes=1)
            journal.append(INTENT)
            journal.close()
        (found,) = kinds(path)
        assert found.count("event") == 4

    def test_files_are_for_their_user_alone(self, path: Path) -> None:
        """Who reads the journal learns who reads which secret."""
        Journal.open(path).append(INTENT)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        files = [file for file in path.rglob("*") if file.is_file()]
        assert len(files) == 3
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


class TestWriters:
    """Many processes, one journal."""

    def test_writers_at_once_have_chains_of_their_own(self, path: Path) -> None:
        """Two that wrote one chain would fork it."""
        first, second = Journal.open(path), Journal.open(path)
        assert first.append(INTENT).split(":")[0] != second.append(INTENT).split(":")[0]

    def test_a_chain_that_was_left_is_taken_over(self, path: Path) -> None:
        """So there are as many chains as there were writers at once, and no more."""
        for _ in range(3):
            with contextlib.closing(Journal.open(path)) as journal:
                journal.append(INTENT)
        assert kinds(path) == [["chain", "event", "adopt", "event", "adopt", "event"]]

    def test_a_forked_child_begins_a_chain_of_its_own(self, path: Path) -> None:
        """What the parent had gathered is the parent's to write; each record is there once."""
        journal = Journal.open(path)
        journal.append(INTENT)
        journal.append({**INTENT, "name": "gathered"}, durable=False)
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                journal.append({**INTENT, "name": "child"})
                journal.close()
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        journal.append({**INTENT, "name": "parent"})
        named = [[record.get("name") for record in records] for records in records_of(path).values()]
        assert sorted(named, key=len) == [[None, "child"], [None, "db/password", "gathered", "parent"]]

    def test_a_fork_during_a_write_leaves_the_child_free(self, path: Path) -> None:
        """The thread that writes is not in the child; its lock must not be either."""
        files = HeldFiles()
        journal = Journal.open(path, files=files)
        journal.append(INTENT)
        writer = threading.Thread(target=journal.append, args=(INTENT,))
        with files.held():
            writer.start()
            assert files.entered.acquire(timeout=30)
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                files.holding = False
                with contextlib.suppress(BaseException):
                    journal.append(INTENT)
                    os._exit(0)
                os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        writer.join(30)
        assert sorted(map(len, kinds(path))) == [2, 3]

    def test_a_childs_end_does_not_free_the_parents_chain(self, path: Path) -> None:
        """A lock belongs to the open file, which a fork shares."""
        journal = Journal.open(path)
        mine = journal.append(INTENT).split(":")[0]
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        assert Journal.open(path).append(INTENT).split(":")[0] != mine

    def test_a_parents_end_frees_its_chain_whatever_its_children_do(self, path: Path) -> None:
        """A daemon forked by a program must not keep the program's chain for ever."""
        read, write = os.pipe()
        begun, begin = os.pipe()
        parent = os.fork()
        if parent == 0:
            journal = Journal.open(path)
            journal.append(INTENT)
            if os.fork() == 0:
                os.close(write)
                os.write(begin, b"1")
                os.read(read, 1)
            os._exit(0)
        os.close(read)
        os.waitpid(parent, 0)
        os.read(begun, 1)  # until then the daemon is still being forked
        Journal.open(path).append(INTENT)
        for descriptor in (write, begun, begin):
            os.close(descriptor)
        assert kinds(path) == [["chain", "event", "adopt", "event"]]


class TestOrigin:
    """What a journal is called."""

    def test_a_journal_keeps_its_origin(self, path: Path) -> None:
        """A checkpoint of another origin would be of another journal."""
        Journal.open(path, origin="example.net/audit")
        assert origin_of(path) == "example.net/audit"
        assert json.loads((path / "journal.json").read_bytes()) == {"v": 1, "origin": "example.net/audit"}
        Journal.open(path)
        Journal.open(path, origin="example.net/audit")
        with pytest.raises(InvalidRequestError, match="another origin"):
            Journal.open(path, origin="example.net/other")

    def test_a_journal_without_a_name_gets_one_of_its_own(self, tmp_path: Path) -> None:
        """Two journals on one machine are two logs."""
        first, second = (Journal.open(tmp_path / name).path for name in "ab")
        assert origin_of(first) != origin_of(second)

    @pytest.mark.parametrize("content", ["", "[]", '{"v":2,"origin":"x"}', '{"v":1}', "\0"])
    def test_a_folder_with_something_else_is_not_a_journal(self, path: Path, content: str) -> None:
        """Nothing is written beside somebody else's files."""
        path.mkdir()
        (path / "journal.json").write_text(content)
        for origin in (None, "example.net/audit"):
            with pytest.raises(InvalidRequestError, match="no audit journal"):
                Journal.open(path, origin=origin)
        assert [file.name for file in path.iterdir() if file.is_file()] == ["journal.json"]
        with pytest.raises(InvalidRequestError, match="no audit journal"):
            origin_of(path)
