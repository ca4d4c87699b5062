"""The journal on a disk that fails, fills up, tears lines, or is meddled with: refused, never silent."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.audit.chains import tail_of
from strongroom.audit.journal import Journal
from strongroom.audit.reading import Reader
from strongroom.audit.verify import verify
from strongroom.errors import UnavailableError
from tests.scale import scaled
from tests.unit.audit_disk import FailingFiles, records_of

INTENT = {"kind": "event", "phase": "intent", "op": "get", "name": "db/password"}


def intent(name: str) -> dict[str, object]:
    return {**INTENT, "name": name}


@pytest.fixture
def files() -> FailingFiles:
    return FailingFiles()


@pytest.fixture
def journal(tmp_path: Path, files: FailingFiles) -> Journal:
    return Journal.open(tmp_path / "audit", files=files)


def names(journal: Journal) -> list[object]:
    """The names of the events, and the kinds of what is not one; the journal's one chain is checked."""
    (records,) = records_of(journal.path).values()
    return [record.get("name", record["kind"]) for record in records]


class TestRefused:
    """A disk that refuses."""

    @pytest.mark.parametrize("call", ["write", "sync"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EFBIG])
    def test_an_append_fails_and_says_what_to_do(
        self, journal: Journal, files: FailingFiles, call: str, code: int
    ) -> None:
        """UnavailableError, not performed, retryable, with a hint; nothing of the OSError hangs on it."""
        journal.append(INTENT)
        with files.failing(call, code), pytest.raises(UnavailableError) as caught:
            journal.append(INTENT)
        assert caught.value.performed is False
        assert caught.value.retryable
        assert caught.value.hint
        assert caught.value.__context__ is None
        assert isinstance(journal.failed, UnavailableError)

    @pytest.mark.parametrize("call", ["write", "sync", "open", "truncate"])
    def test_every_append_fails_until_the_disk_answers(
        self, journal: Journal, files: FailingFiles, call: str
    ) -> None:
        """And what does not wait is refused as well: it could not be written in time."""
        journal.append(intent("first"))
        with files.failing("sync"), pytest.raises(UnavailableError):
            journal.append(intent("second"))
        with files.failing(call):
            for durable in (True, False):
                with pytest.raises(UnavailableError):
                    journal.append(intent("refused"), durable=durable)
        journal.append(intent("third"))
        assert journal.failed is None
        assert "refused" not in names(journal)

    def test_what_readers_may_have_seen_keeps_its_place(self, journal: Journal, files: FailingFiles) -> None:
        """A record that was refused while being written stays: a checkpoint may cover it already."""
        journal.append(intent("first"))
        with files.failing("sync"), pytest.raises(UnavailableError):
            journal.append(intent("second"))
        seen = [line.data for line in Reader(journal.path).lines()]
        journal.append(intent("third"))
        assert [line.data for line in Reader(journal.path).lines()][: len(seen)] == seen
        assert names(journal)[:3] == ["chain", "first", "second"]

    def test_a_failed_sync_ends_the_segment(self, journal: Journal, files: FailingFiles) -> None:
        """Linux forgets what it could not write: the data is written again, and the next goes elsewhere."""
        journal.append(intent("first"))
        with files.failing("sync"), pytest.raises(UnavailableError):
            journal.append(intent("second"))
        journal.append(intent("third"))
        journal.append(intent("fourth"))
        assert names(journal) == ["chain", "first", "second", "segment", "recovery", "third", "fourth"]
        (folder,) = (journal.path / "chains").iterdir()
        assert len(list(folder.glob("*.jsonl"))) == 2
        assert verify(journal.path).findings == []

    def test_nobody_goes_on_from_what_a_disk_forgot(self, journal: Journal, files: FailingFiles) -> None:
        """Killed after a failed sync: the file looks whole until the power goes, and syncs without error."""
        journal.append(intent("first"))
        with files.failing("sync"), pytest.raises(UnavailableError):
            journal.append(intent("second"))
        assert journal._chain is not None
        journal._chain.close()  # as a kill would, which a test does not survive
        told = [record.get("name") for _, _, record in Reader(journal.path, durable=True).records()]
        assert told == [None, "first"]
        Journal.open(journal.path).append(intent("next"))
        assert names(journal) == ["chain", "first", "adopt", "segment", "recovery", "next"]

    def test_what_was_written_again_can_be_gone_on_from(self, journal: Journal, files: FailingFiles) -> None:
        """The mark goes when the disk answers."""
        journal.append(intent("first"))
        with files.failing("sync"), pytest.raises(UnavailableError):
            journal.append(intent("second"))
        journal.append(intent("third"))
        journal.close()
        Journal.open(journal.path).append(intent("next"))
        assert names(journal)[-2:] == ["adopt", "next"]
        told = [record.get("name") for _, _, record in Reader(journal.path, durable=True).records()]
        assert [name for name in told if name] == ["first", "second", "third", "next"]

    @pytest.mark.parametrize("partial", [0, 1, 100])
    def test_half_a_line_on_a_full_disk_is_cut_off_before_the_next(
        self, journal: Journal, files: FailingFiles, partial: int
    ) -> None:
        """Readers never see half a line followed by another."""
        journal.append(intent("first"))
        with files.failing("write", errno.ENOSPC, partial=partial), pytest.raises(UnavailableError):
            journal.append(intent("second"))
        journal.append(intent("third"))
        assert names(journal) == ["chain", "first", "second", "third"]

    @pytest.mark.parametrize("call", ["open", "sync_folder"])
    def test_a_folder_that_refuses_at_the_start_is_told_and_tried_again(
        self, tmp_path: Path, files: FailingFiles, call: str
    ) -> None:
        """`open` does not raise: whether operations go on without a journal is their policy's to say."""
        with files.failing(call, errno.EROFS):
            journal = Journal.open(tmp_path / "audit", files=files)
            assert isinstance(journal.failed, UnavailableError)
            with pytest.raises(UnavailableError, match="EROFS"):
                journal.append(INTENT)
        journal.append(INTENT)
        assert journal.failed is None
        assert names(journal) == ["chain", "db/password"]

    def test_a_next_segment_that_cannot_be_made_is_made_later(
        self, tmp_path: Path, files: FailingFiles
    ) -> None:
        """Nothing is written to a file whose name a power cut would forget."""
        journal = Journal.open(tmp_path / "audit", files=files, segment_bytes=1)
        journal.append(intent("first"))
        with files.failing("sync_folder"), pytest.raises(UnavailableError):
            journal.append(intent("second"))
        journal.append(intent("third"))
        found = [name for name in names(journal) if name not in ("segment", "chain")]
        assert found == ["first", "second", "third"]

    def test_a_journal_that_fails_still_closes(self, journal: Journal, files: FailingFiles) -> None:
        """It says that something was not written, and leaves its chain to the next."""
        journal.append(intent("first"))
        journal.append(intent("second"), durable=False)
        with files.failing("write"), pytest.raises(UnavailableError):
            journal.close()
        again = Journal.open(journal.path)
        again.append(intent("third"))
        assert [name for name in names(again) if name != "second"] == ["chain", "first", "adopt", "third"]


class TestRealDisk:
    """What a kernel says by itself."""

    def test_a_limit_of_file_size_is_a_full_disk(self, tmp_path: Path) -> None:
        """Where files may not grow beyond 8 KiB appends fail, and what was answered is there."""
        answered = tmp_path / "answered"
        status = _in_child(lambda: _append_until_refused(tmp_path / "audit", answered))
        assert status == 0
        (records,) = records_of(_adopted(tmp_path / "audit")).values()
        found = {f"{record['chain']}:{record['seq']}" for record in records}
        assert set(answered.read_text().split()) <= found

    def test_a_disk_that_is_full_or_read_only_refuses_until_it_is_not(self, tmp_path: Path) -> None:
        """A file system of 64 KiB, filled by the journal and by others: nothing that was answered is lost."""
        mount = 'mount -t tmpfs -o size=64k none "$1" || exit 77; exec "$0" -c "$2" "$1"'
        argv = ["unshare", "-m", "sh", "-c", mount, sys.executable, str(tmp_path), _FILLING]
        if os.geteuid():
            argv[1:1] = ["-U", "-r"]
        run = subprocess.run(argv, capture_output=True, text=True, check=False)
        if run.returncode == 77 or "unshare" in run.stderr:
            pytest.skip("a mount namespace of one's own: this machine gives none")
        assert (run.returncode, run.stderr) == (0, "")

    def test_a_folder_that_cannot_be_written_refuses(self, tmp_path: Path) -> None:
        """As a user without the right to write there; the same answer as of a disk mounted read-only."""
        folder = tmp_path / "audit"
        folder.mkdir()
        folder.chmod(0o500)
        tmp_path.chmod(0o755)
        assert _in_child(lambda: _refused_as_nobody(folder)) == 0


_FILLING = """
import pathlib, subprocess, sys
from strongroom.audit.journal import Journal
from strongroom.audit.verify import verify
from strongroom.errors import UnavailableError
root = pathlib.Path(sys.argv[1])
(root / "ballast").write_bytes(bytes(16384))
journal, answered = Journal.open(root / "audit"), []

def append():
    answered.append(journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "x" * 200}))

def refusals(count):
    for _ in range(count):
        try:
            append()
        except UnavailableError as error:
            assert error.performed is False and "ENOSPC" in str(error) and "free space" in str(error)
            yield error

assert len(list(refusals(200))) > 20
(root / "ballast").unlink()
append()
assert journal.failed is None
journal.close()
report = verify(root / "audit")
assert report.findings == [] and report.records >= len(answered) + 1

subprocess.run(["mount", "-o", "remount,ro", root], check=True)
try:
    Journal.open(root / "audit").append({"kind": "event", "phase": "intent", "op": "get"})
except UnavailableError as error:
    assert error.performed is False and "EROFS" in str(error) and "read-only" in str(error)
else:
    raise AssertionError("a journal that cannot be written took a record")
"""


def _append_until_refused(path: Path, answered: Path) -> int:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    journal = Journal.open(path)
    with answered.open("w") as file:
        for _ in range(100):
            try:
                file.write(journal.append(INTENT) + "\n")
            except UnavailableError as error:
                return 0 if error.performed is False and "EFBIG" in str(error) else 2
    return 3


def _refused_as_nobody(folder: Path) -> int:
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        Journal.open(folder).append(INTENT)
    except UnavailableError as error:
        return 0 if "EACCES" in str(error) else 2
    return 3


def _in_child(run: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = run()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _adopted(path: Path) -> Path:
    """The journal after the next process took over what is free of it."""
    journal = Journal.open(path)
    journal.append(intent("next"))
    journal.close()
    return path


def test_a_disk_that_comes_and_goes_loses_no_answer(journal: Journal, files: FailingFiles) -> None:
    """Eight threads, and a disk that fails at one call or another: what was answered stands in one chain."""
    rounds, answered, done = scaled(2000, "records on a disk that comes and goes", 50), [], threading.Event()

    def append(thread: int) -> None:
        for number in range(rounds):
            with contextlib.suppress(UnavailableError):
                answered.append((journal.append(intent(f"{thread}.{number}")), f"{thread}.{number}"))

    def fail() -> None:
        chance = random.Random(7)
        while not done.wait(0.002):
            with files.failing(chance.choice(["write", "sync", "open"]), partial=chance.choice([0, 50, 500])):
                done.wait(0.002)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    failing = threading.Thread(target=fail)
    for thread in (failing, *threads):
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    failing.join(60)
    journal.close()
    (records,) = records_of(journal.path).values()
    assert answered
    for record, name in answered:
        assert records[int(record.split(":")[1])]["name"] == name
    assert verify(journal.path).findings == []


class TestTornTails:
    """What a crash leaves at the end of a chain."""

    def closed(self, path: Path) -> Path:
        """The one segment of a journal with a few records that nobody writes to."""
        with_records = Journal.open(path)
        for number in range(3):
            with_records.append(intent(f"n{number}"))
        with_records.close()
        (segment,) = (path / "chains").glob("*/*.jsonl")
        return segment

    def test_half_a_line_is_cut_off_and_told(self, tmp_path: Path) -> None:
        """At every byte of the last line."""
        segment = self.closed(tmp_path)
        whole = segment.read_bytes()
        last = whole[:-1].rindex(b"\n") + 1
        for size in range(last + 1, len(whole), 7):
            segment.write_bytes(whole[:size])
            _adopted(tmp_path)
            records = next(iter(records_of(tmp_path).values()))
            assert [record["kind"] for record in records[3:]] == ["adopt", "recovery", "event"]
            assert records[4]["lost"] == size - last

    @pytest.mark.parametrize("garbage", [b"\0" * 4096, b"{}\n", b"\n", b'{"v":1}\nhalf', b"\xff\n" * 3])
    def test_garbage_is_cut_off_and_told(self, tmp_path: Path, garbage: bytes) -> None:
        """Zeros are what a file system shows of pages that never reached the disk."""
        segment = self.closed(tmp_path)
        with segment.open("ab") as file:
            file.write(garbage)
        _adopted(tmp_path)
        records = next(iter(records_of(tmp_path).values()))
        assert records[5] == records[5] | {"kind": "recovery", "lost": len(garbage)}

    def test_lines_behind_a_hole_are_cut_off(self, tmp_path: Path) -> None:
        """Pages of one write reach the disk in any order; who would go on after them would fork the chain."""
        segment = self.closed(tmp_path)
        lines = segment.read_bytes().splitlines(keepends=True)
        segment.write_bytes(b"".join([*lines[:2], lines[3]]))
        _adopted(tmp_path)
        records = next(iter(records_of(tmp_path).values()))
        assert [record["kind"] for record in records] == ["chain", "event", "adopt", "recovery", "event"]

    @pytest.mark.parametrize("left", [b"", b"half a li"], ids=["nothing", "half a line"])
    def test_a_segment_that_holds_nothing_goes_on_from_the_one_before(
        self, tmp_path: Path, left: bytes
    ) -> None:
        """Killed between the end of one and the first line of the next."""
        journal = Journal.open(tmp_path, segment_bytes=1)
        journal.append(intent("first"))
        journal.append(intent("second"))
        journal.close()
        *_, last = sorted((tmp_path / "chains").glob("*/*.jsonl"))
        last.write_bytes(b"")
        (before,) = records_of(tmp_path).values()
        last.write_bytes(left)
        _adopted(tmp_path)
        (records,) = records_of(tmp_path).values()
        lost = ["recovery"] if left else []
        assert records[: len(before)] == before
        assert [record["kind"] for record in records[len(before) :]] == ["adopt", *lost, "event"]

    def test_a_chain_that_lost_its_first_record_begins_again(self, tmp_path: Path) -> None:
        """Killed in its first write: nothing of it was ever answered."""
        segment = self.closed(tmp_path)
        segment.write_bytes(segment.read_bytes()[:20])
        _adopted(tmp_path)
        (records,) = records_of(tmp_path).values()
        assert [record["kind"] for record in records] == ["chain", "recovery", "event"]

    def test_a_chain_damaged_where_no_crash_reaches_is_left_as_it_is(self, tmp_path: Path) -> None:
        """It is evidence; the next process begins a chain of its own."""
        segment = self.closed(tmp_path)
        segment.write_bytes(b"x" * 79 + b"\n" + b"y" * 2**21 + b"\n")
        before = segment.read_bytes()
        _adopted(tmp_path)
        assert segment.read_bytes() == before
        assert len(list((tmp_path / "chains").iterdir())) == 2

    def test_only_the_end_of_a_long_segment_is_read(self, tmp_path: Path) -> None:
        """Taking over costs the same after a day as after a year."""
        segment = self.closed(tmp_path)
        tail = tail_of(segment.parent)
        lines = segment.read_bytes()
        segment.write_bytes(b"z" * 2**21 + b"\n" + lines)
        assert tail_of(segment.parent).seq == tail.seq
        assert tail_of(segment.parent).prev == tail.prev


class TestMeddling:
    """Somebody else's hands on the file that is being written."""

    def meddled(self, journal: Journal, meddle: Callable[[Path], object]) -> list[dict[str, object]]:
        journal.append(intent("first"))
        (segment,) = (journal.path / "chains").glob("*/*.jsonl")
        meddle(segment)
        journal.append(intent("second"))
        journal.append(intent("third"))
        (chain,) = (journal.path / "chains").iterdir()
        return [record for _, _, record in Reader(journal.path).records() if record["chain"] == chain.name]

    @pytest.mark.parametrize("meddle", ["copytruncate", "rename", "delete", "replace"])
    def test_a_segment_that_others_cut_or_moved_is_left_and_told(self, journal: Journal, meddle: str) -> None:
        """As logrotate does, either way: what is written from now on is not lost with it."""
        ways: dict[str, Callable[[Path], object]] = {
            "copytruncate": lambda path: os.truncate(path, 0),
            "rename": lambda path: path.rename(path.with_suffix(".1")),
            "delete": lambda path: path.unlink(),
            "replace": lambda path: (path.rename(path.with_suffix(".1")), path.write_bytes(b"")),
        }
        records = self.meddled(journal, ways[meddle])
        assert [record.get("name", record["kind"]) for record in records] == ["second", "recovery", "third"]
        assert isinstance(records[1]["lost"], int)
        assert records[1]["lost"] > 400

    def test_lines_that_others_add_are_left_behind(self, journal: Journal) -> None:
        """The writer does not chain onto them."""

        def forge(path: Path) -> None:
            with path.open("ab") as file:
                file.write(b'{"forged":true}\n')

        records = self.meddled(journal, forge)
        assert [record.get("name", record["kind"]) for record in records] == [
            *("chain", "first", "second", "recovery", "third")
        ]
        assert records[3]["lost"] == 0

    def test_a_file_that_stands_in_the_way_is_passed(self, tmp_path: Path) -> None:
        """What somebody put where the next segment belongs is neither changed nor gone on from."""
        journal = Journal.open(tmp_path, segment_bytes=1)
        journal.append(intent("first"))
        *_, last = sorted((tmp_path / "chains").glob("*/*.jsonl"))
        planted = last.with_name(f"{int(last.stem) + 1:08d}.jsonl")
        planted.write_bytes(b"planted")
        journal.append(intent("second"))
        assert planted.read_bytes() == b"planted"
        assert "second" in [record.get("name") for _, _, record in Reader(tmp_path).records()]

    def test_a_journal_whose_folder_is_gone_refuses(self, journal: Journal) -> None:
        """It is not made anew in silence: that would hide that all is lost."""
        journal.append(INTENT)
        (chain,) = (journal.path / "chains").iterdir()
        chain.rename(journal.path / "elsewhere")
        with pytest.raises(UnavailableError, match="ENOENT"):
            journal.append(INTENT)
        (journal.path / "elsewhere").rename(chain)
        journal.append(INTENT)
