"""The tamper matrix: whatever is done to a journal is named, and with it the first record that is bad."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from strongroom.audit.record import encode, leaf_hash, parse
from strongroom.audit.verify import verify
from strongroom.audit.verify_report import Kind, Report
from tests.scale import scaled
from tests.unit.audit_journal import LogKey, MadeChain, MadeJournal, body, copy, write_lines

A, B = "a" * 32, "b" * 32


@dataclass
class Journal:
    """A journal on disk that somebody may tamper with, and the anchors, which nobody can reach."""

    made: MadeJournal
    path: Path
    anchors: Path

    def verify(self, *more: str) -> Report:
        return verify(self.path, [self.made.key.text, *more], [self.anchors])

    def lines(self, chain: str = A) -> list[bytes]:
        files = sorted((self.path / "chains" / chain).glob("*.jsonl"))
        return [line for file in files for line in file.read_bytes().splitlines(keepends=True)]

    def rewrite(self, change: Callable[[list[bytes]], None], chain: str = A, segment: int = 2) -> None:
        """Change the lines of one segment."""
        file = self.segment(segment, chain)
        lines = file.read_bytes().splitlines(keepends=True)
        change(lines)
        file.write_bytes(b"".join(lines))

    def segment(self, number: int, chain: str = A) -> Path:
        return self.path / "chains" / chain / f"{number:08d}.jsonl"

    def first(self, segment: int = 2) -> int:
        """The place of a segment's first record."""
        return int(parse(self.segment(segment).read_bytes().split(b"\n")[0])["seq"])

    def index(self, record: str) -> int:
        return self.made.ids.index(record)

    def cut(self, name: str, keep: int) -> None:
        """Keep so many lines of a file of the journal."""
        file = self.path / name
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:keep]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeJournal, Path]:
    """Ten thousand records in two chains, six segments, twenty checkpoints, and a tail that has none."""
    return _make(LogKey(), scaled(10_000, "tampered journal", 25), tmp_path_factory.mktemp("journal"))


def _make(key: LogKey, count: int, folder: Path) -> tuple[MadeJournal, Path]:
    journal, step = MadeJournal(key), count // 20
    (folder / "anchors").mkdir()
    for number in range(count):
        journal.read("ab"[number % 5 == 0])
        if number % (count // 4) == count // 8:
            journal.rotate("a")
        if number % step == step - 1:
            note = journal.checkpoint()
            (folder / "anchors" / f"{number:06d}").write_text(note)
    for digit in "aabb":
        journal.read(digit, time="2026-11-23T11:30:00.000000000Z")
    journal.write(folder / "journal")
    return journal, folder


@pytest.fixture
def journal(made: tuple[MadeJournal, Path], tmp_path: Path) -> Journal:
    return Journal(made[0], copy(made[1] / "journal", tmp_path / "journal"), made[1] / "anchors")


@pytest.fixture
def chance() -> random.Random:
    return random.Random(6962)


def named(report: Report) -> tuple[Kind, str | None]:
    """The kind and the first bad record."""
    assert report.status == "broken"
    assert report.exit_code == 7
    assert report.first
    return report.first.kind, report.first.record


def test_a_journal_that_nobody_touched_verifies(journal: Journal) -> None:
    """Everything up to the last anchor is anchored, and what came later is told apart."""
    report = journal.verify()
    covered = len(journal.made.ids)
    assert (report.status, report.exit_code, report.findings) == ("ok", 0, [])
    assert (report.records, report.signed, report.anchored) == (covered + 4, covered, covered)
    assert (report.checkpoints, report.anchors, report.chains, report.segments) == (20, 20, 2, 6)


def test_it_verifies_in_any_place(journal: Journal, tmp_path: Path) -> None:
    """The folder can be moved; nothing in it says where it was."""
    journal.path = journal.path.rename(tmp_path / "elsewhere")
    assert journal.verify().status == "ok"


class TestRecords:
    """Single records of a chain, in the middle of what is anchored."""

    def at(self, journal: Journal, chance: random.Random) -> int:
        return chance.randrange(5, len(journal.segment(2).read_bytes().splitlines()) - 5)

    def test_a_flipped_bit(self, journal: Journal, chance: random.Random) -> None:
        """In any byte, also in one that ends the line: altered, and which record."""
        original = journal.segment(2).read_bytes()
        first = journal.first()
        for _ in range(scaled(50, "flipped bits of a large journal")):
            flipped = bytearray(original)
            place = chance.randrange(2_000, len(original) - 2_000)
            flipped[place] ^= 1 << chance.randrange(8)
            journal.segment(2).write_bytes(flipped)
            at = original.count(b"\n", 0, place)
            report = journal.verify()
            assert named(report) == (Kind.ALTERED, f"{A}:{first + at}")
            assert report.first
            assert report.first.index == journal.index(f"{A}:{first + at}")
            assert report.first.where == f"chains/{A}/00000002.jsonl:{at + 1}"

    def test_a_deleted_record(self, journal: Journal, chance: random.Random) -> None:
        """Missing, whether it is one or several."""
        at, count = self.at(journal, chance), chance.choice([1, 3])

        def delete(lines: list[bytes]) -> None:
            del lines[at : at + count]

        journal.rewrite(delete)
        first = journal.first() + at
        report = journal.verify()
        assert named(report) == (Kind.MISSING, f"{A}:{first}")
        assert report.first
        assert report.first.last == (f"{A}:{first + count - 1}" if count > 1 else None)

    @pytest.mark.parametrize("distance", [1, 2, 3, 20])
    def test_two_swapped_records(self, journal: Journal, chance: random.Random, distance: int) -> None:
        """Reordered, at the place of the first."""
        at = self.at(journal, chance) % 20 + 5

        def swap(lines: list[bytes]) -> None:
            lines[at], lines[at + distance] = lines[at + distance], lines[at]

        journal.rewrite(swap)
        assert named(journal.verify()) == (Kind.REORDERED, f"{A}:{journal.first() + at}")

    @pytest.mark.parametrize("distance", [-4, 0, 1, 5])
    def test_a_record_that_stands_there_twice(self, journal: Journal, distance: int) -> None:
        """Duplicated, where the copy stands, before or behind the original."""

        def duplicate(lines: list[bytes]) -> None:
            lines.insert(10 + distance, lines[10])

        journal.rewrite(duplicate)
        place = journal.first() + 10 + max(distance, 1 if distance >= 0 else distance)
        assert named(journal.verify()) == (Kind.DUPLICATED, f"{A}:{place}")

    @pytest.mark.parametrize("which", ["fits", "garbage", "strange hash", "taken place", "later place"])
    def test_an_inserted_record(self, journal: Journal, which: str) -> None:
        """Inserted, also if it claims to follow the record before it."""

        def insert(lines: list[bytes]) -> None:
            before, after = parse(lines[9][:-1]), parse(lines[10][:-1])
            forged = {
                "fits": {**after, "name": "forged"},
                "garbage": after,
                "strange hash": {**after, "prev": "7" * 64},
                "taken place": {**before, "name": "forged"},
                "later place": {**parse(lines[12][:-1]), "name": "forged"},
            }[which]
            lines.insert(10, b'{"v":1}\n' if which == "garbage" else encode(forged) + b"\n")

        journal.rewrite(insert)
        assert named(journal.verify()) == (Kind.INSERTED, f"{A}:{journal.first() + 10}")

    def test_a_record_in_place_of_another(self, journal: Journal) -> None:
        """Altered: the record behind it names the hash of the one that stood there."""

        def replace(lines: list[bytes]) -> None:
            lines[10] = encode({**parse(lines[10][:-1]), "name": "another/secret"}) + b"\n"

        journal.rewrite(replace)
        assert named(journal.verify()) == (Kind.ALTERED, f"{A}:{journal.first() + 10}")

    @pytest.mark.parametrize("change", [4, -3, 1_000_000])
    def test_another_place_claimed(self, journal: Journal, change: int) -> None:
        """Altered, not missing or inserted: it still follows from the record before it."""

        def claim(lines: list[bytes]) -> None:
            fields = parse(lines[10][:-1])
            lines[10] = encode({**fields, "seq": fields["seq"] + change}) + b"\n"

        journal.rewrite(claim)
        assert named(journal.verify()) == (Kind.ALTERED, f"{A}:{journal.first() + 10}")

    def test_another_chain_claimed(self, journal: Journal) -> None:
        """Altered, not spliced, for the same reason."""

        def claim(lines: list[bytes]) -> None:
            lines[10] = encode({**parse(lines[10][:-1]), "chain": B}) + b"\n"

        journal.rewrite(claim)
        assert named(journal.verify()) == (Kind.ALTERED, f"{A}:{journal.first() + 10}")

    def test_a_first_record_that_begins_no_chain(self, tmp_path: Path) -> None:
        """Altered: a chain begins with the record that names its writer."""
        made = MadeJournal(LogKey())
        made.chains[A] = MadeChain(A)
        made.read("a")
        made.checkpoint()
        assert named(verify(made.write(tmp_path), [made.key.text])) == (Kind.ALTERED, f"{A}:0")

    def test_two_writers_in_one_chain(self, journal: Journal) -> None:
        """Forked: both go on from the same record."""

        def fork(lines: list[bytes]) -> None:
            other = encode({**parse(lines[10][:-1]), "mono": 5})
            after = encode({**parse(lines[11][:-1]), "prev": leaf_hash(other).hex()})
            lines[12:12] = [other + b"\n", after + b"\n"]

        journal.rewrite(fork)
        kind, record = named(journal.verify())
        assert (kind, record) == (Kind.FORKED, f"{A}:{journal.first() + 12}")

    def test_a_rewritten_tail_whose_hashes_fit(self, journal: Journal) -> None:
        """Altered, from the last checkpoint that fits: the chain alone would not show it."""
        start = journal.first() + 10
        _recompute(journal, start)
        report = journal.verify()
        kind, _ = named(report)
        assert report.first
        assert report.first.index is not None
        assert kind is Kind.ALTERED
        assert report.first.index <= journal.index(f"{A}:{start}")
        assert journal.index(f"{A}:{start}") - report.first.index < len(journal.made.ids) // 20 + 10
        assert report.anchored == report.first.index

    def test_the_same_with_checkpoints_and_order_made_to_fit(self, journal: Journal) -> None:
        """Who has no key cannot sign; the anchors show where it begins even if the checkpoints are gone."""
        _recompute(journal, journal.first() + 10)
        journal.cut("checkpoints.jsonl", 1)
        assert named(journal.verify())[0] is Kind.ALTERED


def _recompute(journal: Journal, start: int) -> list[bytes]:
    """Change a record of chain A and compute every hash after it anew; the leaves of chain A."""
    prev, leaves = "", []
    for file in sorted((journal.path / "chains" / A).glob("*.jsonl")):
        lines = []
        for line in file.read_bytes().splitlines():
            fields = parse(line)
            if fields["seq"] >= start:
                fields |= {"prev": prev} if fields["seq"] > start else {"mono": 1}
            lines.append(encode(fields))
            leaves.append(leaf_hash(lines[-1]))
            prev = leaves[-1].hex()
        file.write_bytes(b"".join(line + b"\n" for line in lines))
    return leaves


class TestEnds:
    """What is cut off, at any level."""

    def test_the_tail_of_a_chain(self, journal: Journal) -> None:
        """Truncated, at the first record that is gone."""
        last = int(journal.made.ids[-1].partition(":")[2])
        chain = journal.made.ids[-1].partition(":")[0]
        gone = last - 2
        segment = len(list((journal.path / "chains" / chain).glob("*.jsonl")))
        journal.rewrite(lambda lines: lines.__delitem__(slice(-5, None)), chain, segment)
        assert named(journal.verify()) == (Kind.TRUNCATED, f"{chain}:{gone}")

    def test_the_tail_in_the_middle_of_a_line(self, journal: Journal) -> None:
        """As a whole record."""
        journal.rewrite(lambda lines: lines.__setitem__(slice(-5, None), [lines[-5][:40]]), B, 1)
        kind, record = named(journal.verify())
        assert kind is Kind.TRUNCATED
        assert record == f"{B}:{len(journal.lines(B)) - 1}"

    def test_the_end_of_a_segment_in_the_middle_of_a_line(self, journal: Journal) -> None:
        """Truncated: no writer leaves a line unfinished where another segment follows."""
        last = journal.first(3) - 1
        journal.rewrite(lambda lines: lines.__setitem__(-1, lines[-1][:40]))
        assert named(journal.verify()) == (Kind.TRUNCATED, f"{A}:{last}")

    def test_records_order_and_checkpoints_together(self, journal: Journal) -> None:
        """Truncated, though what is left is whole in itself: the anchors know of more."""
        order = [json.loads(line) for line in (journal.path / "order.jsonl").read_text().splitlines()]
        kept = {A: 0, B: 0}
        for run in order[:20]:
            kept[run["chain"]] = run["first"] + run["count"]
        journal.cut("order.jsonl", 20)
        journal.cut("checkpoints.jsonl", 10)
        for chain, count in kept.items():
            _keep(journal, chain, count)
        report = journal.verify()
        assert report.first
        assert (report.first.kind, report.first.index) == (Kind.TRUNCATED, sum(kept.values()))
        assert verify(journal.path, [journal.made.key.text]).status == "unanchored"

    @pytest.mark.parametrize("number", [1, 2, 4, 5])
    def test_a_segment(self, journal: Journal, number: int) -> None:
        """Segment missing, and its first record."""
        first = journal.first(number)
        journal.segment(number).unlink()
        assert named(journal.verify()) == (Kind.SEGMENT_MISSING, f"{A}:{first}")

    def test_a_whole_chain(self, journal: Journal) -> None:
        """Segment missing, at its record 0."""
        journal.segment(1, B).unlink()
        assert named(journal.verify()) == (Kind.SEGMENT_MISSING, f"{B}:0")
        (journal.path / "chains" / B / "lock").unlink()
        (journal.path / "chains" / B).rmdir()
        assert named(journal.verify()) == (Kind.SEGMENT_MISSING, f"{B}:0")

    def test_a_renamed_segment(self, journal: Journal) -> None:
        """As if it were gone: something outside rotated it."""
        first = journal.first(2)
        journal.segment(2).rename(journal.segment(2).with_suffix(".1"))
        assert named(journal.verify()) == (Kind.SEGMENT_MISSING, f"{A}:{first}")

    def test_a_segment_under_the_number_of_another(self, journal: Journal) -> None:
        """The record before names the file that must follow, though nothing else is missing."""
        first, number = journal.first(5), 5
        journal.segment(number).rename(journal.segment(number + 1))
        assert named(journal.verify()) == (Kind.SEGMENT_MISSING, f"{A}:{first}")

    def test_all_records(self, journal: Journal) -> None:
        """With the order left, or nothing but the journal's name."""
        for chain in (A, B):
            for file in (journal.path / "chains" / chain).glob("*.jsonl"):
                file.unlink()
        assert named(journal.verify())[0] is Kind.SEGMENT_MISSING
        for name in ("order.jsonl", "checkpoints.jsonl"):
            (journal.path / name).unlink()
        report = journal.verify()
        assert report.first
        assert (report.first.kind, report.first.index) == (Kind.TRUNCATED, 0)

    def test_everything(self, journal: Journal, tmp_path: Path) -> None:
        """No journal is there any more; that is not an empty one."""
        journal.path = tmp_path / "nothing"
        assert named(journal.verify())[0] is Kind.NOT_A_JOURNAL
        journal.path.mkdir()
        assert named(journal.verify())[0] is Kind.NOT_A_JOURNAL

    @pytest.mark.parametrize("name", ["order.jsonl", "checkpoints.jsonl"])
    def test_the_files_of_the_proof(self, journal: Journal, name: str) -> None:
        """Without the order the tree cannot be built; checkpoints that an anchor has must be there."""
        (journal.path / name).unlink()
        expected = Kind.TRUNCATED if name == "order.jsonl" else Kind.MISSING
        assert named(journal.verify())[0] is expected


def _keep(journal: Journal, chain: str, count: int) -> None:
    for file in sorted((journal.path / "chains" / chain).glob("*.jsonl")):
        lines = file.read_bytes().splitlines(keepends=True)
        if count > 0:
            file.write_bytes(b"".join(lines[:count]))
        else:
            file.unlink()
        count -= len(lines)


class Other(NamedTuple):
    """Another journal, signed by the same key."""

    made: MadeJournal
    path: Path
    anchors: Path


@pytest.fixture
def other(journal: Journal, tmp_path: Path) -> Other:
    made = MadeJournal(journal.made.key, "example.com/other")
    for _ in range(60):
        made.read("c")
    made.checkpoint()
    folder = tmp_path / "other"
    return Other(made, made.write(folder / "journal"), folder)


class TestSplices:
    """Parts of another journal."""

    def test_records_of_another_chain(self, journal: Journal, other: Other) -> None:
        """Spliced, where they stand."""
        strange = (
            (other.path / "chains" / ("c" * 32) / "00000001.jsonl").read_bytes().splitlines(keepends=True)
        )

        def splice(lines: list[bytes]) -> None:
            lines[10:13] = strange[10:13]

        journal.rewrite(splice)
        assert named(journal.verify()) == (Kind.SPLICED, f"{A}:{journal.first() + 10}")

    def test_a_segment_of_another_journal(self, journal: Journal, other: Other) -> None:
        """Spliced, at its first record."""
        first = journal.first(2)
        journal.segment(2).write_bytes((other.path / "chains" / ("c" * 32) / "00000001.jsonl").read_bytes())
        assert named(journal.verify()) == (Kind.SPLICED, f"{A}:{first}")

    def test_a_whole_chain_put_beside_the_others(self, journal: Journal, other: Other) -> None:
        """Its records are older than checkpoints that do not hold them."""
        copy(other.path / "chains" / ("c" * 32), journal.path / "chains" / ("c" * 32))
        report = journal.verify()
        assert named(report) == (Kind.SPLICED, "c" * 32 + ":0")

    def test_checkpoints_of_another_journal(self, journal: Journal, other: Other) -> None:
        """Spliced, though the same key signed them."""
        (journal.path / "checkpoints.jsonl").write_bytes((other.path / "checkpoints.jsonl").read_bytes())
        report = journal.verify()
        assert named(report)[0] is Kind.SPLICED

    def test_another_journal_in_its_place(self, journal: Journal, other: Other) -> None:
        """Whole in itself, and not what the anchors are of."""
        journal.path = other.path
        assert named(journal.verify())[0] is Kind.SPLICED


class TestSplitViews:
    """What whoever has the signing key can do, and what they cannot undo."""

    def test_two_checkpoints_over_as_many_records(self, journal: Journal) -> None:
        """Each is signed; together they prove that the key signed two histories."""
        made = journal.made
        size = int(made.notes[9].split("\n")[1])
        text = body([*made.leaves[: size - 1], bytes(32)])
        _replace_note(journal, 9, f"{text}\n{made.key.line(text)}")
        report = journal.verify()
        assert named(report)[0] is Kind.SPLIT_VIEW
        assert report.first
        assert report.first.index == int(made.notes[8].split("\n")[1])

    def test_a_history_signed_anew_with_the_stolen_key(self, journal: Journal) -> None:
        """The journal is whole, down to its signatures; the anchors of before show the other history."""
        _recompute(journal, journal.first() + 10)
        _sign_anew(journal)
        key = journal.made.key.text
        assert verify(journal.path, [key]).status == "unanchored"
        assert named(journal.verify())[0] is Kind.SPLIT_VIEW

    def test_the_same_without_the_checkpoints_of_before(self, journal: Journal) -> None:
        """No two checkpoints are over as many records; one of them fits, so the other proves the forgery."""
        _recompute(journal, journal.first() + 10)
        _sign_anew(journal)
        file = journal.path / "checkpoints.jsonl"
        last = file.read_text().splitlines(keepends=True)[-1]
        file.write_text(last)
        anchor = sorted(journal.anchors.iterdir())[-2]
        report = verify(journal.path, [journal.made.key.text], [anchor])
        assert Kind.SPLIT_VIEW in [finding.kind for finding in report.findings]
        assert Kind.ALTERED not in [finding.kind for finding in report.findings]


def _replace_note(journal: Journal, at: int, note: str) -> None:
    file = journal.path / "checkpoints.jsonl"
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    entries[at]["note"] = note
    write_lines(file, entries)


def _sign_anew(journal: Journal) -> None:
    chains = {chain: [leaf_hash(line[:-1]) for line in journal.lines(chain)] for chain in (A, B)}
    leaves = []
    for run in journal.made.order:
        leaves += chains[run["chain"]][run["first"] : run["first"] + run["count"]]
    for at, note in enumerate(journal.made.notes):
        text = body(leaves[: int(note.split("\n")[1])])
        _replace_note(journal, at, f"{text}\n{journal.made.key.line(text)}")


class TestProofs:
    """Order, checkpoints and anchors themselves."""

    def test_a_bit_of_a_checkpoint(self, journal: Journal, chance: random.Random) -> None:
        """Bad signature, in whatever part of the note it is."""
        note = bytearray(journal.made.notes[4].encode())
        note[chance.randrange(len(note))] ^= 1 << chance.randrange(7)
        _replace_note(journal, 4, note.decode(errors="replace"))
        kind, _ = named(journal.verify())
        assert kind is Kind.BAD_SIGNATURE

    def test_another_key(self, journal: Journal) -> None:
        """Nothing that the given keys did not sign counts."""
        report = verify(journal.path, [LogKey().text], [journal.anchors])
        assert named(report)[0] is Kind.BAD_SIGNATURE
        assert (report.checkpoints, report.anchored) == (0, 0)

    def test_an_order_that_passes_over_records(self, journal: Journal) -> None:
        """Unsigned gap: records that no checkpoint holds."""
        run = journal.made.order[10]
        order = [dict(each) for each in journal.made.order]
        order[10] |= {"first": run["first"] + 2, "count": run["count"] - 2}
        write_lines(journal.path / "order.jsonl", order)
        assert named(journal.verify()) == (Kind.UNSIGNED_GAP, f"{run['chain']}:{run['first']}")

    def test_records_that_were_kept_out_of_the_checkpoints(self, tmp_path: Path) -> None:
        """Unsigned gap: the tail of a chain is older than checkpoints that do not hold it."""
        made = MadeJournal(LogKey())
        for _ in range(5):
            made.read("a")
        made.checkpoint()
        late = made.read("a")
        report = verify(made.write(tmp_path / "journal"), [made.key.text])
        assert named(report) == (Kind.UNSIGNED_GAP, late)

    @pytest.mark.parametrize("change", ["swap", "again", "garbage", "other keys"])
    def test_lines_of_the_order(self, journal: Journal, change: str) -> None:
        """Reordered, duplicated, altered."""
        order: list[object] = [dict(each) for each in journal.made.order]
        if change == "swap":
            order[10], order[12] = order[12], order[10]
        elif change == "again":
            order.insert(12, order[10])
        else:
            order[10] = "garbage" if change == "garbage" else {**journal.made.order[10], "x": 1}
        write_lines(journal.path / "order.jsonl", order)
        expected = {"swap": Kind.REORDERED, "again": Kind.DUPLICATED}.get(change, Kind.ALTERED)
        assert named(journal.verify())[0] is expected

    def test_swapped_checkpoints(self, journal: Journal) -> None:
        """Reordered, and in which line."""
        file = journal.path / "checkpoints.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        lines[4], lines[5] = lines[5], lines[4]
        file.write_text("".join(lines))
        report = verify(journal.path, [journal.made.key.text])
        assert report.first
        assert (report.first.kind, report.first.where) == (Kind.REORDERED, "checkpoints.jsonl:6")

    def test_a_deleted_checkpoint(self, journal: Journal) -> None:
        """Missing: an anchor has it."""
        file = journal.path / "checkpoints.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:5] + lines[6:]))
        assert named(journal.verify())[0] is Kind.MISSING

    def test_the_name_of_the_journal(self, journal: Journal) -> None:
        """Its checkpoints are of another."""
        (journal.path / "journal.json").write_text('{"v":1,"origin":"example.com/auditt"}')
        assert named(journal.verify())[0] is Kind.SPLICED


def test_any_bit_of_any_line_is_missed_by_nobody(tmp_path: Path) -> None:
    """Every bit of a record, and of the line end behind it: altered, and exactly which record."""
    made = MadeJournal(LogKey())
    for _ in range(6):
        made.read("a")
    made.checkpoint()
    path = made.write(tmp_path / "journal")
    (tmp_path / "anchor").write_text(made.notes[-1])
    file = path / "chains" / A / "00000001.jsonl"
    data = file.read_bytes()
    start = data.index(b"\n") + 1
    length = data.index(b"\n", start) + 1 - start
    bits = random.Random(1).sample(range(length * 8), min(length * 8, scaled(2_000, "flipped bits", 20)))
    for bit in bits:
        flipped = bytearray(data)
        flipped[start + bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        report = verify(path, [made.key.text], [tmp_path / "anchor"])
        assert named(report) == (Kind.ALTERED, f"{A}:1"), bit


def test_the_last_record_of_all_is_told_to_the_checkpoint(tmp_path: Path) -> None:
    """Nothing follows it that names its hash, so the finding is the range since the checkpoint before."""
    made = MadeJournal(LogKey())
    for _ in range(9):
        made.read("a")
    made.checkpoint()
    for _ in range(3):
        made.read("a")
    made.checkpoint()
    path = made.write(tmp_path / "journal")
    file = path / "chains" / A / "00000001.jsonl"
    file.write_bytes(file.read_bytes().replace(b"db/12", b"db/13"))
    report = verify(path, [made.key.text])
    assert report.first
    assert (report.first.kind, report.first.record, report.first.last) == (Kind.ALTERED, f"{A}:10", f"{A}:12")
