"""Reading a journal that others write: whole lines, from where one left off, whatever stands beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from strongroom.audit.journal import Journal
from strongroom.audit.reading import Cursor, Cursors, Reader
from strongroom.audit.record import parse
from strongroom.testing.clock import FakeClock


def append(journal: Journal, name: str) -> str:
    return journal.append({"kind": "event", "phase": "intent", "op": "get", "name": name})


def names(records: list[dict[str, object]]) -> list[object]:
    return [record["name"] for record in records if record["kind"] == "event"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit"


class TestWhere:
    """Cursors."""

    def test_what_was_read_is_not_read_again(self, path: Path) -> None:
        """Over the ends of segments, and over chains that are new since."""
        journal, cursors, found = Journal.open(path, segment_bytes=600), Cursors(), []
        reader = Reader(path)
        for number in range(10):
            append(journal, f"n{number}")
            if number == 5:
                append(Journal.open(path), "other")
            found += [record.get("name") for _, _, record in reader.records(cursors)]
        assert [name for name in found if name] == [
            *(f"n{n}" for n in range(6)),
            "other",
            "n6",
            "n7",
            "n8",
            "n9",
        ]

    def test_cursors_may_come_from_json(self, path: Path) -> None:
        """As sinks and watchers keep them between runs."""
        journal, reader = Journal.open(path), Reader(path)
        append(journal, "first")
        _, cursors = reader.tail({}, 100)
        append(journal, "second")
        records, _ = reader.tail(json.loads(json.dumps(cursors)), 100)
        assert names(records) == ["second"]

    def test_a_batch_can_be_read_again(self, path: Path) -> None:
        """A receiver that did not take it gets the same."""
        journal, reader = Journal.open(path), Reader(path)
        for number in range(5):
            append(journal, f"n{number}")
        first, after = reader.tail({}, 3)
        assert reader.tail({}, 3) == (first, after)
        rest, _ = reader.tail(after, 100)
        assert names(first + rest) == [f"n{number}" for number in range(5)]

    def test_chains_are_merged_by_time(self, path: Path) -> None:
        """Two programs took turns: what they did is told in that order."""
        clock = FakeClock()
        first, second = Journal.open(path, clock=clock), Journal.open(path, clock=clock)
        for number in range(4):
            append(first if number % 2 else second, f"n{number}")
            clock.advance(1)
        records, _ = Reader(path).tail({}, 100)
        assert names(records) == ["n0", "n1", "n2", "n3"]

    def test_a_line_tells_where_the_next_begins(self, path: Path) -> None:
        """So that a checkpointer can remember what it covers."""
        journal, reader = Journal.open(path, segment_bytes=600), Reader(path)
        for number in range(5):
            append(journal, f"n{number}")
        lines = list(reader.lines())
        for position, line in enumerate(lines):
            assert parse(line.data)["seq"] == line.seq
            assert list(reader.lines({line.chain: line.after})) == lines[position + 1 :]


class TestBeside:
    """What else may stand in the folder."""

    @pytest.mark.parametrize("there", ["nothing", "a file", "an empty folder"])
    def test_a_journal_that_is_not_there_holds_nothing(self, path: Path, there: str) -> None:
        """Not yet, perhaps."""
        if there == "a file":
            path.write_text("")
        elif there == "an empty folder":
            path.mkdir()
        assert list(Reader(path).lines()) == []
        assert Reader(path).tail({}, 10) == ([], {})

    def test_half_a_line_is_not_told(self, path: Path) -> None:
        """Its writer is writing it; it is told when it is whole."""
        journal, reader = Journal.open(path), Reader(path)
        append(journal, "first")
        _, cursors = reader.tail({}, 100)
        (segment,) = path.glob("chains/*/*.jsonl")
        whole = segment.read_bytes()
        append(journal, "second")
        second = segment.read_bytes()[len(whole) :]
        for size in (1, len(second) - 1):
            segment.write_bytes(whole + second[:size])
            assert reader.tail(cursors, 100) == ([], cursors)
        segment.write_bytes(whole + second)
        assert names(reader.tail(cursors, 100)[0]) == ["second"]

    @pytest.mark.parametrize(
        "garbage", [b"\n", b"{}\n", b"\0\0\n", b"[" * 50_000 + b"\n", b'{"kind":"event"}\n', b"\xff\n"]
    )
    def test_lines_that_are_no_records_are_passed_over(self, path: Path, garbage: bytes) -> None:
        """`records` tells only records; `lines` tells all, for who proves or accuses."""
        journal = Journal.open(path)
        append(journal, "first")
        journal.close()
        (segment,) = path.glob("chains/*/*.jsonl")
        good = segment.read_bytes()
        segment.write_bytes(good + garbage + good)
        records, after = Reader(path).tail({}, 100)
        assert names(records) == ["first", "first"]
        assert [line.data + b"\n" for line in Reader(path).lines()][2] == garbage
        assert Reader(path).tail(after, 100)[0] == []

    def test_other_names_are_not_segments(self, path: Path) -> None:
        """Editors and people leave copies."""
        append(Journal.open(path), "first")
        (segment,) = path.glob("chains/*/*.jsonl")
        for name in (
            "00000001.jsonl.bak",
            "1.jsonl",
            "x0000002.jsonl",
            ".00000002.jsonl.swp",
            "٠٠٠٠٠٠٠٢.jsonl",
        ):
            (segment.parent / name).write_bytes(segment.read_bytes())
        (path / "chains" / "backup").mkdir()
        assert names(Reader(path).tail({}, 100)[0]) == ["first"]

    def test_a_segment_that_is_gone_is_passed_over(self, path: Path) -> None:
        """It was archived; the verifier is who says so."""
        journal = Journal.open(path, segment_bytes=1)
        for number in range(4):
            append(journal, f"n{number}")
        segments = sorted(path.glob("chains/*/*.jsonl"))
        segments[1].unlink()
        assert names(Reader(path).tail({}, 100)[0])[-1] == "n3"
        assert Reader(path).tail({segments[0].parent.name: Cursor(2, 999, 7)}, 100)[0]

    def test_a_line_without_an_end_is_given_up(self, path: Path) -> None:
        """Memory is bounded, whatever somebody put there."""
        append(Journal.open(path), "first")
        (segment,) = path.glob("chains/*/*.jsonl")
        with segment.open("ab") as file:
            file.write(b"x" * 2**23)
        assert names(Reader(path).tail({}, 100)[0]) == ["first"]


class TestDurable:
    """What is told to who hands it on."""

    def test_it_is_synced_before_it_is_told(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A receiver must not have what a power cut can take from the journal."""
        append(Journal.open(path), "first")
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
        (segment,) = path.glob("chains/*/*.jsonl")
        lines = Reader(path, durable=True).lines()
        next(lines)
        assert synced == [segment.stat().st_ino]
        assert list(Reader(path).lines())
        assert len(synced) == 1

    def test_nothing_is_told_that_cannot_be_synced(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The disk's error is the caller's to tell."""
        append(Journal.open(path), "first")

        def fails(descriptor: int) -> None:
            raise OSError(5, "EIO")

        monkeypatch.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="EIO"):
            next(Reader(path, durable=True).lines())
