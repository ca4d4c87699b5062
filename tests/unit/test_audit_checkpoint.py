"""Checkpoints: each signed tree is a beginning of the next, whatever stops, fails or is meddled with."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.checkpoint import Checkpointer, trouble
from strongroom.audit.head import newest
from strongroom.audit.journal import Journal
from strongroom.audit.linefile import LineFile
from strongroom.audit.note import NoteKey
from strongroom.audit.notekey import FileSigner
from strongroom.audit.savedgrowth import restore
from strongroom.audit.segments import Files
from strongroom.audit.turn import turn
from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.keys import Signer
from strongroom.testing.clock import FakeClock
from tests.unit.audit_log import ORIGIN, Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


class Hooked(Signer):
    """A signer that does something before it signs."""

    provider_id, algorithm = "test", "Ed25519"

    def __init__(self, signer: FileSigner, before: Callable[[], object]):
        self._signer, self._before, self.key_id = signer, before, signer.key_id

    def sign(self, message: bytes) -> bytes:
        self._before()
        return self._signer.sign(message)

    def sign_digest(self, digest: bytes) -> bytes:
        raise NotImplementedError

    def public_key(self) -> bytes:
        return self._signer.public_key()


class TestSigning:
    """What is signed, and when nothing is."""

    def test_it_covers_every_record_of_every_chain(self, log: Log) -> None:
        """Two writers have two chains; the order joins them, and the verifier finds all records covered."""
        other = Journal.open(log.path)
        log.write(7)
        log.write(5, other)
        made = log.sign()
        assert (made.origin, made.size) == (ORIGIN, 7 + 5 + 2)
        assert log.verified().exit_code == 0

    def test_nothing_new_is_signed_for_nothing_new(self, log: Log) -> None:
        """A second attempt gives the same note again, and the files stay as they are."""
        log.write()
        first = log.sign()
        assert log.sign().note == first.note
        assert len(log.notes()) == 1
        assert len((log.path / "order.jsonl").read_text().splitlines()) == 1

    def test_an_empty_journal_has_no_checkpoint(self, log: Log) -> None:
        """There is nothing to sign before the first record."""
        assert log.checkpointer().checkpoint() is None

    def test_another_origin_is_refused(self, log: Log) -> None:
        """A checkpoint of another log's name would be that log's forgery."""
        log.write()
        with pytest.raises(InvalidRequestError, match="another origin"):
            log.checkpointer(origin="example.com/other").checkpoint()

    def test_its_key_is_the_one_that_verifies_it(self, log: Log) -> None:
        """What is printed for the auditor is the signer's own key, under the journal's name."""
        assert log.checkpointer().key == NoteKey.parse(str(log.signer.note_key))
        hooked = Checkpointer(log.path, Hooked(log.signer, lambda: None))
        assert str(hooked.key) == str(log.signer.note_key)

    def test_a_record_whose_line_is_not_whole_waits(self, log: Log) -> None:
        """A line that is still being written is no leaf."""
        log.write(3)
        log.journal.close()
        segment = next(log.path.glob("chains/*/*.jsonl"))
        with segment.open("ab") as file:
            file.write(b'{"v":1')
        assert log.sign().size == 4

    def test_a_chain_that_does_not_go_on_is_signed_up_to_there_and_told(self, log: Log) -> None:
        """Others are signed on; the record that does not name the one before it never is."""
        log.write(3)
        log.journal.close()
        segment = next(log.path.glob("chains/*/*.jsonl"))
        lines = segment.read_bytes().splitlines(keepends=True)
        segment.write_bytes(b"".join([*lines[:2], *lines[3:]]))
        checkpointer = log.checkpointer()
        made = checkpointer.checkpoint()
        assert made is not None
        assert made.size == 2
        assert "does not follow" in str(checkpointer.status()["failed"])


class TestRefusing:
    """Nothing is signed that does not begin with what was signed before."""

    def refused(self, log: Log, match: str) -> None:
        file = log.path / "checkpoints.jsonl"
        before = file.read_bytes()
        for _ in range(2):
            with pytest.raises(IntegrityError, match=match):
                log.checkpointer().checkpoint()
        assert file.read_bytes() == before

    def test_an_altered_record(self, log: Log) -> None:
        """A record that was signed is another one now."""
        log.write()
        log.sign()
        log.write()
        segment = next(log.path.glob("chains/*/*.jsonl"))
        segment.write_bytes(segment.read_bytes().replace(b'"get"', b'"put"', 1))
        (log.path / "checkpoint.state").unlink()
        self.refused(log, "in its chain|does not give|is not the one")

    def test_a_cut_chain(self, log: Log) -> None:
        """Records that were ordered are gone."""
        log.write()
        log.sign()
        segment = next(log.path.glob("chains/*/*.jsonl"))
        segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:3]))
        (log.path / "checkpoint.state").unlink()
        self.refused(log, "was ordered and is not in its chain")

    def test_a_cut_order(self, log: Log) -> None:
        """Without the order the same records could make another tree."""
        log.write()
        log.sign()
        log.write()
        log.sign()
        order = log.path / "order.jsonl"
        order.write_bytes(order.read_bytes().splitlines(keepends=True)[0])
        self.refused(log, "ends before the last checkpoint")

    def test_a_lost_order(self, log: Log) -> None:
        """Also where the checkpoints are lost with it: what was remembered beside them still says so."""
        log.write()
        log.sign()
        log.write()
        (log.path / "order.jsonl").unlink()
        (log.path / "checkpoints.jsonl").write_bytes(b"")
        self.refused(log, "6 records were signed, and the order of records ends at 0")

    def test_an_order_of_other_records(self, log: Log) -> None:
        """The same number of records in another order has another root."""
        other = Journal.open(log.path)
        log.write()
        log.write(journal=other)
        log.sign()
        order = log.path / "order.jsonl"
        order.write_bytes(b"".join(reversed(order.read_bytes().splitlines(keepends=True))))
        (log.path / "checkpoint.state").unlink()
        self.refused(log, "is not the one whose checkpoint")

    def test_a_record_that_is_ordered_twice(self, log: Log) -> None:
        """No record is two leaves."""
        log.write()
        log.sign()
        order = log.path / "order.jsonl"
        order.write_bytes(order.read_bytes() * 2)
        self.refused(log, "gap before")

    @pytest.mark.parametrize("line", ["{}", '{"chain":"a","first":true,"count":1}', "null\n{}", "\x00\n{}"])
    def test_a_damaged_order(self, log: Log, line: str) -> None:
        """A line of the order that is none, or one before others."""
        log.write()
        log.sign()
        with (log.path / "order.jsonl").open("a") as file:
            file.write(line + "\n")
        self.refused(log, "damaged")

    @pytest.mark.parametrize("line", ["{}", '{"time":"","note":"x"}', '{"time":1,"note":""}', "\x00\n{}"])
    def test_a_damaged_checkpoint(self, log: Log, line: str) -> None:
        """A line of the checkpoints that is none: what it covered is unknown."""
        log.write()
        log.sign()
        with (log.path / "checkpoints.jsonl").open("a") as file:
            file.write(line + "\n")
        self.refused(log, "damaged|not a")

    def test_a_failure_is_told_and_stays(self, log: Log) -> None:
        """The background thread goes on looking, and signs nothing."""
        log.write()
        log.sign()
        (log.path / "order.jsonl").write_bytes(b"{}\n")
        log.write()
        checkpointer = log.checkpointer(clock=FakeClock(), records=1)
        assert checkpointer.step() > 0
        assert isinstance(checkpointer.failed, IntegrityError)
        assert "damaged" in checkpointer.status()["failed"]
        assert "damaged" in str(trouble(log.path))  # for another process: `strongroom check`


class Faulty(Files):
    """A disk that fails at its n-th call, and then forgets what the process was about."""

    def __init__(self, at: int, *, torn: bool = False):
        self._left, self._torn = at, torn

    def _due(self) -> bool:
        self._left -= 1
        return self._left == 0

    def open(self, path: Path, flags: int) -> int:
        if self._due():
            raise OSError(errno.EIO, "")
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes) -> int:
        if self._due():
            if self._torn:
                os.write(descriptor, data[: len(data) // 2])
                raise KeyboardInterrupt
            raise OSError(errno.ENOSPC, "")
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        if self._due():
            raise OSError(errno.EIO, "")
        super().sync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        if self._due():
            raise OSError(errno.EIO, "")
        super().truncate(descriptor, size)

    def sync_folder(self, path: Path) -> None:
        if self._due():
            raise OSError(errno.EIO, "")
        super().sync_folder(path)


class Noting(Files):
    """Tells which files were made durable."""

    def __init__(self, synced: list[Path]):
        self._synced = synced

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self._synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())


def unavailable() -> None:
    """A key that cannot be reached."""
    raise UnavailableError("the key does not answer")


class TestStopping:
    """Whatever stops in the middle, the next attempt, here or elsewhere, goes on consistently."""

    @pytest.mark.parametrize("torn", [False, True])
    def test_a_disk_that_fails_at_each_call(self, tmp_path: Path, torn: bool) -> None:
        """Every call fails once, a write also half done; then another process extends all before."""
        for at in count(1):
            folder = tmp_path / str(at)
            folder.mkdir()
            log = Log(folder)
            log.write(2)
            if at % 2:
                log.sign()
                log.write(2)
            faulty = log.checkpointer(files=Faulty(at, torn=torn))
            try:
                made = faulty.checkpoint()
            except (SecretStoreError, KeyboardInterrupt):
                made = None
            log.write(2)
            log.sign()
            again = faulty.checkpoint()
            assert again is not None
            log.keep(again)
            assert log.verified().exit_code == 0, at
            if made is not None:
                break
        assert at > 6

    @pytest.mark.parametrize("torn", ['{"half', '\x00\x00half"}\n', "\x00\n\n", "null\n", "\xff"])
    def test_a_crash_leaves_torn_lines_which_are_no_lines(self, log: Log, torn: str) -> None:
        """What a kill or a power cut leaves of the last append is cut off by the next."""
        log.write()
        log.sign()
        log.write()
        files = [log.path / "order.jsonl", log.path / "checkpoints.jsonl"]
        for file in files:
            file.write_bytes(file.read_bytes() + torn.encode("latin-1"))
        assert log.sign().size == 11
        assert [len(file.read_text().splitlines()) for file in files] == [2, 2]
        assert log.verified().exit_code == 0

    @pytest.mark.parametrize("spared", ["beginning", "beginning and end", "all"])
    def test_a_record_that_a_power_cut_tore_is_not_signed(self, log: Log, spared: str) -> None:
        """Its first and its last page may reach the disk without the one between: whoever adopts the chain
        puts another record there, and a tree over this one would never be given again."""
        log.write()
        log.sign()
        log.write(2)
        (file,) = log.path.glob("chains/*/*.jsonl")
        *before, last = file.read_bytes().splitlines(keepends=True)
        torn = {"beginning": last[:200], "all": last}.get(spared, last[:180] + bytes(20) + last[200:])
        file.write_bytes(b"".join(before) + torn)
        assert log.sign().size == (8 if spared == "all" else 7)
        log.journal.close()
        log.write(1, Journal.open(log.path))
        assert log.sign().size > 8
        assert log.verified().exit_code == 0

    def test_an_order_is_made_durable_before_it_is_signed_whoever_wrote_it(self, log: Log) -> None:
        """Who wrote its last line died before that reached the disk, and nothing more is to order."""
        log.write()
        with pytest.raises(UnavailableError):
            Checkpointer(log.path, Hooked(log.signer, unavailable)).checkpoint()
        synced: list[Path] = []
        assert log.checkpointer(files=Noting(synced)).checkpoint()
        assert [path.name for path in synced] == ["order.jsonl", "checkpoints.jsonl"]

    def test_what_was_ordered_and_never_signed_keeps_its_place(self, log: Log) -> None:
        """The key did not answer after the order was durable: the next tree begins with that order."""
        log.write()

        with pytest.raises(UnavailableError, match="key does not answer"):
            Checkpointer(log.path, Hooked(log.signer, unavailable)).checkpoint()
        order = (log.path / "order.jsonl").read_bytes()
        other = Journal.open(log.path)
        log.write(3, other)
        assert log.sign().size == 10
        assert (log.path / "order.jsonl").read_bytes().startswith(order)
        assert log.verified().exit_code == 0

    def test_a_stopped_one_signs_nothing_when_it_wakes_in_anothers_turn(self, log: Log) -> None:
        """Its lock was taken away before it signed, and another signed meanwhile: its note is not kept."""
        log.write()

        def overtaken() -> None:
            (log.path / "checkpoint.lock").unlink()
            log.write()
            log.sign()

        sleeper = Checkpointer(log.path, Hooked(log.signer, overtaken))
        with pytest.raises(IntegrityError, match="somebody else writes"):
            sleeper.checkpoint()
        order = (log.path / "order.jsonl").read_text().splitlines()
        assert [json.loads(line)["count"] for line in order] == [6, 5]
        assert len(log.notes()) == 1
        again = log.checkpointer().checkpoint()
        assert again is not None
        assert again.note == log.notes()[0]["note"]
        assert log.verified().exit_code == 0

    def test_two_take_turns(self, log: Log) -> None:
        """While one holds the turn another waits, and says so after ten seconds."""
        log.write()
        clock = FakeClock()
        with turn(log.path / "checkpoint.lock") as mine:
            assert mine
            with pytest.raises(UnavailableError, match="another process is busy"):
                log.checkpointer(clock=clock).checkpoint()
        assert 10 <= sum(clock.slept) < 11

    def test_several_at_once_make_one_history(self, log: Log) -> None:
        """Four threads write and sign, each with a checkpointer of its own: all they saw is consistent."""
        seen: list[Any] = []

        def work() -> None:
            checkpointer, journal = log.checkpointer(), Journal.open(log.path)
            for _ in range(5):
                log.write(3, journal)
                seen.append(checkpointer.checkpoint())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 20
        for checkpoint in seen:
            log.keep(checkpoint)
        log.sign()
        assert log.verified().exit_code == 0

    def test_a_fork_during_a_turn_does_not_keep_it(self, log: Log) -> None:
        """The child has a copy of the lock's descriptor, which does not outlive the parent's turn."""
        with turn(log.path / "checkpoint.lock") as mine:
            assert mine
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.read(read, 1)
                os._exit(0)
        with turn(log.path / "checkpoint.lock") as again:
            assert again
        os.write(write, b"x")
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


class TestRemembering:
    """What is remembered between processes spares reading, and is never believed."""

    def test_the_next_process_goes_on_from_there(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """It reads the order only from where the last one ended."""
        log.write(50)
        log.sign()
        log.write(1)
        read: list[int] = []
        original = LineFile.read

        def noted(self: LineFile, offset: int = 0) -> Any:
            read.append(offset)
            return original(self, offset)

        monkeypatch.setattr(LineFile, "read", noted)
        assert log.sign().size == 52
        assert len(read) >= 2
        assert read[1] == len((log.path / "order.jsonl").read_bytes().splitlines(keepends=True)[0])
        assert log.verified().exit_code == 0

    @pytest.mark.parametrize("state", ["", "{}", "[]", "null", '{"state":{"v":1},"sum":""}', "\xff"])
    def test_damaged_memory_is_no_memory(self, log: Log, state: str) -> None:
        """Whatever stands there, the tree is read from the start."""
        log.write()
        log.sign()
        log.write()
        (log.path / "checkpoint.state").write_bytes(state.encode("latin-1"))
        assert restore(log.path) is None
        assert log.sign().size == 11
        assert log.verified().exit_code == 0

    def test_the_memory_of_another_journal_is_found_out(self, log: Log, tmp_path: Path) -> None:
        """Its tree has not the root of the checkpoint, so the journal is read from the start."""
        (tmp_path / "other").mkdir()
        other = Log(tmp_path / "other")
        for each in (log, other):
            each.write()
            each.sign()
            each.write()
        shutil.copy(other.path / "checkpoint.state", log.path / "checkpoint.state")
        assert log.sign().size == 11
        assert log.verified().exit_code == 0


class TestSchedule:
    """When a checkpoint is due."""

    def test_after_its_time_or_so_many_records(self, log: Log) -> None:
        """The first record starts the time; the tenth makes one due at once."""
        clock = FakeClock()
        checkpointer = log.checkpointer(clock=clock, every=60, records=10)
        log.write(3)
        assert 0 < checkpointer.step() <= 60
        assert newest(log.path) is None
        clock.advance(60)
        checkpointer.step()
        assert len(log.notes()) == 1
        log.write(10)
        checkpointer.step()
        assert len(log.notes()) == 2

    def test_nothing_is_signed_while_nothing_happens(self, log: Log) -> None:
        """A quiet hour has no checkpoints."""
        clock = FakeClock()
        checkpointer = log.checkpointer(clock=clock, every=60)
        log.write()
        checkpointer.checkpoint()
        for _ in range(60):
            clock.advance(60)
            checkpointer.step()
        assert len(log.notes()) == 1

    def test_short_processes_make_one_together(self, log: Log) -> None:
        """Each ends before the time is over; the first that ends after it signs what all of them wrote."""
        clock = FakeClock()
        os.utime(log.path / "journal.json", (clock.now().timestamp(),) * 2)
        sizes = []
        for _ in range(6):
            clock.advance(25)
            log.write(1)
            process = log.checkpointer(clock=clock, every=60)
            process.notify()
            process.close()
            last = newest(log.path)
            sizes.append(last.size if last else 0)
        assert sizes == [0, 0, 4, 4, 4, 7]

    def test_a_key_that_does_not_answer_is_tried_ever_later_and_then_again(self, log: Log) -> None:
        """At most five minutes apart; when it answers, everything since is signed, the failure forgotten."""
        dead = True

        def sometimes() -> None:
            if dead:
                raise UnavailableError("the key does not answer")

        checkpointer = Checkpointer(log.path, Hooked(log.signer, sometimes), clock=FakeClock(), records=1)
        log.write()
        pauses = [checkpointer.step() for _ in range(6)]
        assert pauses == [60, 120, 240, 300, 300, 300]
        assert "key does not answer" in checkpointer.status()["failed"]
        dead = False
        checkpointer.step()
        assert (checkpointer.failed, trouble(log.path), checkpointer.status()["size"]) == (None, None, 6)

    def test_the_thread_signs_what_the_journal_commits(self, log: Log) -> None:
        """`notify` starts it; it looks after a second, and `close` ends it."""
        clock = FakeClock()
        checkpointer = log.checkpointer(clock=clock, every=60, records=5)
        log.journal.committed(checkpointer.notify)
        log.write(5)
        for _ in range(1000):
            clock.advance(1)
            if newest(log.path) or threading.Event().wait(0.005):
                break
        checkpointer.close()
        assert log.sign().size == 6
        assert not [each for each in threading.enumerate() if each.name == "strongroom-checkpoint"]

    def test_times_stand_as_the_clock_says(self, log: Log) -> None:
        """RFC 3339 in UTC, beside the note, which has none."""
        clock = FakeClock()
        log.write()
        log.checkpointer(clock=clock).checkpoint()
        clock.advance(timedelta(hours=1).total_seconds())
        assert log.notes()[0]["time"] == "2026-01-01T00:00:00.000000000Z"

    def test_a_forked_child_begins_anew(self, log: Log) -> None:
        """It has neither the parent's thread nor its memory, and signs by itself."""
        checkpointer = log.checkpointer()
        log.write()
        checkpointer.checkpoint()
        checkpointer.after_fork()
        log.write()
        again = checkpointer.checkpoint()
        assert again is not None
        assert again.size == 11
