"""The verifier's parts, its word on journals that nobody touched, and that no input makes it fall over."""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import os
import shutil
import string
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strongroom.audit.verify
from strongroom.audit import verify_files, verify_note
from strongroom.audit.verify import verify
from strongroom.audit.verify_note import MalformedNoteError, parse_checkpoint, parse_key, signed_by
from strongroom.audit.verify_report import MAX_FINDINGS, Kind
from strongroom.audit.verify_tree import Tree, consistent, included, node_hash
from strongroom.errors import InvalidRequestError, PermissionDeniedError, SecretStoreError
from tests.scale import scaled
from tests.unit.audit_journal import LogKey, MadeJournal, body, root_of, write_lines

A = "a" * 32
KEY = LogKey()


def small(folder: Path, *, reads: int = 12) -> tuple[MadeJournal, Path, Path]:
    """A journal of two chains with three checkpoints, where it is, and its last checkpoint kept elsewhere."""
    made = MadeJournal(KEY)
    for number in range(reads):
        made.read("ab"[number % 3 == 2])
        if number % (reads // 3) == reads // 3 - 1:
            made.rotate("a")
            made.checkpoint()
    (folder / "anchor").write_text(made.notes[-1])
    return made, made.write(folder / "journal"), folder / "anchor"


class TestIndependence:
    """The verifier is a second opinion."""

    def test_it_shares_no_code_with_the_writer_but_the_record(self) -> None:
        """Of the package `audit`, what begins with ``verify`` imports itself, `record`, and nothing else."""
        home = Path(strongroom.audit.verify.__file__).parent
        files = sorted(home.glob("verify*.py"))
        assert len(files) >= 8
        for file in files:
            for name in _imports(ast.parse(file.read_text())):
                assert name == "record" or name.startswith("verify") or name == "strongroom.errors", file.name

    def test_a_verification_loads_nothing_of_the_writer_and_nothing_of_the_network(
        self, tmp_path: Path
    ) -> None:
        """Seen from outside: after it was done, no other module of `audit` and no socket is there."""
        _, path, anchor = small(tmp_path)
        code = (
            "import sys; from strongroom.audit.verify import verify; "
            "print(verify(*sys.argv[1:2], [sys.argv[2]], [sys.argv[3]]).status, *sys.modules)"
        )
        argv = [sys.executable, "-c", code, str(path), KEY.text, str(anchor)]
        verdict, *loaded = subprocess.run(argv, capture_output=True, check=True, text=True).stdout.split()
        ours = {name.removeprefix("strongroom.") for name in loaded if name.startswith("strongroom.")}
        assert verdict == "ok"
        assert ours <= {"errors", "audit", "audit.record"} | {n for n in ours if n.startswith("audit.verify")}
        assert not {"socket", "_socket", "ssl", "http.client"} & set(loaded)

    def test_the_record_leads_nowhere_else(self) -> None:
        """What `record` imports when it runs is the standard library and the errors."""
        path = Path(strongroom.audit.verify.__file__).parent / "record.py"
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
        assert set(_imports(tree)) <= {"strongroom.errors"}


def _imports(tree: ast.AST) -> list[str]:
    """The modules of Strongroom that are imported anywhere in it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or str(node.module).startswith("strongroom")):
            found.append(node.module or ".")
        elif isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name.startswith("strongroom")]
    return found


def leaf(number: int) -> bytes:
    """Any leaf hash."""
    return sha256(b"\0%d" % number).digest()


LEAVES = [leaf(number) for number in range(40)]


def path_of(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The inclusion proof by the recursive definition of RFC 6962 section 2.1.1."""
    if len(leaves) <= 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if index < half:
        return [*path_of(index, leaves[:half]), root_of(leaves[half:])]
    return [*path_of(index - half, leaves[half:]), root_of(leaves[:half])]


def proof_of(old: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """The consistency proof by the recursive definition of RFC 6962 section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [root_of(leaves)]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= half:
        return [*proof_of(old, leaves[:half], whole=whole), root_of(leaves[half:])]
    return [*proof_of(old - half, leaves[half:], whole=False), root_of(leaves[:half])]


class TestTree:
    """RFC 6962, against its recursive definitions."""

    def test_roots(self) -> None:
        """Of every size, the empty tree too."""
        tree = Tree()
        for size in range(len(LEAVES)):
            assert tree.root() == root_of(LEAVES[:size])
            tree.append(LEAVES[size])
        assert tree.size == len(LEAVES)

    def test_the_published_root(self) -> None:
        """Of the eight leaves that Certificate Transparency's own tests use."""
        data = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ]
        tree = Tree()
        for each in data:
            tree.append(sha256(b"\0" + bytes.fromhex(each)).digest())
        assert tree.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"

    def test_inclusion(self) -> None:
        """Every leaf of every size; and no other leaf, place, size, root or proof."""
        for size in range(1, 20):
            root = root_of(LEAVES[:size])
            for index in range(size):
                proof = path_of(index, LEAVES[:size])
                assert included(LEAVES[index], index, size, proof, root)
                assert not included(leaf(99), index, size, proof, root)
                assert not included(LEAVES[index], index, size, [*proof, leaf(1)], root)
                assert not included(LEAVES[index], index, size, proof, leaf(1))
                assert not included(LEAVES[index], index + size, size, proof, root)
                assert not proof or not included(LEAVES[index], index, size, proof[:-1], root)
                assert not any(
                    included(LEAVES[index], other, size, proof, root)
                    for other in range(size)
                    if other != index
                )

    def test_consistency(self) -> None:
        """Every pair of sizes; and no other root, size or proof."""
        for size in range(1, 20):
            root = root_of(LEAVES[:size])
            for old in range(size + 1):
                old_root = root_of(LEAVES[:old])
                proof = proof_of(old, LEAVES[:size]) if old else []
                assert consistent(old, old_root, size, root, proof)
                assert not consistent(old, leaf(99), size, root, proof)
                assert not consistent(old, old_root, size, root, [*proof, leaf(1)])
                assert not proof or not consistent(old, old_root, size, root, proof[:-1])
                assert not old or not consistent(old, old_root, size, leaf(99), proof)
                assert not consistent(size, root, old, old_root, proof) or size == old

    def test_sizes_out_of_any_range(self) -> None:
        """Nothing is true of them, and nothing takes long."""
        for index, size in [(-1, 5), (5, 5), (0, 1 << 64), (1 << 70, 1 << 71)]:
            assert not included(leaf(0), index, size, [], leaf(0))
            assert size == index or not consistent(size, leaf(0), index, leaf(0), [])

    def test_a_leaf_is_no_node(self) -> None:
        """What two leaves hash to is not what one leaf with their hashes in it does."""
        assert node_hash(leaf(0), leaf(1)) != sha256(b"\0" + leaf(0) + leaf(1)).digest()


class TestNotes:
    """C2SP signed notes, checkpoints and cosignatures."""

    def test_a_published_note(self) -> None:
        """The key, text and signature of the documentation of golang.org/x/mod/sumdb/note."""
        key = parse_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
        text = (
            b"If you think cryptography is the answer to your problem,\n"
            b"then you don't know what your problem is.\n"
        )
        signature = base64.b64decode(
            "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
        )
        note = verify_note.Checkpoint("", 0, b"", text, (("PeterNeumann", signature[:4], signature[4:]),))
        assert signed_by(note, [key])

    def test_a_key_of_the_hsm_kind(self) -> None:
        """ECDSA P-256: its id is the hash of the DER alone."""
        private = ec.generate_private_key(ec.SECP256R1())
        der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        number = sha256(der).digest()[:4]
        key = parse_key(f"hsm+{number.hex()}+{base64.b64encode(bytes([2]) + der).decode()}")
        text = body(LEAVES[:5])
        signature = base64.b64encode(number + private.sign(text.encode(), ec.ECDSA(SHA256()))).decode()
        assert signed_by(parse_checkpoint(f"{text}\n— hsm {signature}\n"), [key])
        assert not signed_by(parse_checkpoint(f"{text.replace('5', '6', 1)}\n— hsm {signature}\n"), [key])

    def test_one_good_signature_is_enough_and_one_wrong_one_too_much(self) -> None:
        """Signatures by keys that are not known are passed over."""
        text, other = body(LEAVES[:5]), LogKey("other")
        keys = [parse_key(KEY.text), parse_key(other.text)]
        good, wrong = KEY.line(text), other.line("another text\n")
        stranger = LogKey("stranger").line(text)
        assert signed_by(parse_checkpoint(f"{text}\n{stranger}{good}"), keys)
        assert signed_by(parse_checkpoint(f"{text}\n{good}{wrong}"), keys[:1])
        assert not signed_by(parse_checkpoint(f"{text}\n{good}{wrong}"), keys)
        assert not signed_by(parse_checkpoint(f"{text}\n{stranger}"), keys)

    def test_a_witness_does_not_sign(self) -> None:
        """Its cosignature alone makes no checkpoint good."""
        text, witness = body(LEAVES[:5]), LogKey("witness.example", 4)
        note = parse_checkpoint(f"{text}\n{witness.line(text, 1_700_000_000)}")
        key = parse_key(witness.text)
        assert not signed_by(note, [key])
        assert verify_note.cosigned_by(note, key) == 1_700_000_000

    @pytest.mark.parametrize(
        "text",
        [
            *("", "name", "name+00000000", "a b+00000000+AA==", "+11223344+AQ==", f"{KEY.text}A"),
            *(KEY.text[:-4], KEY.text.replace("+", "+0", 1)),
            "n+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ],
        ids=lambda text: f"{len(text)} characters",  # the key is another in each run
    )
    def test_what_is_no_key(self, text: str) -> None:
        """One error that says so."""
        with pytest.raises(InvalidRequestError, match="no verifier key"):
            parse_key(text)

    def test_a_key_of_another_curve(self) -> None:
        """Is refused, and not taken for one that nobody signed with."""
        private = ec.generate_private_key(ec.SECP384R1())
        der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = f"n+{sha256(der).digest()[:4].hex()}+{base64.b64encode(bytes([2]) + der).decode()}"
        with pytest.raises(InvalidRequestError, match="P-256"):
            parse_key(text)

    @pytest.mark.parametrize(
        "change",
        [
            lambda note: note.replace("\n5\n", "\n05\n"),
            lambda note: note.replace("\n5\n", "\n\u0665\n"),
            lambda note: note.replace("\n5\n", "\n-5\n"),
            lambda note: note.replace("\n5\n", f"\n{2**63}\n"),
            lambda note: note.replace("\n5\n", "\n"),
            lambda note: note.replace("\n\n", "\n"),
            lambda note: note.replace("example", "exa\tmple"),
            lambda note: note.replace("example", "exa\ud800mple"),
            lambda note: note.replace("— ", "- "),
            lambda note: note[:-1],
            lambda note: note + "x",
            lambda note: note.replace("=\n\n", "\n\n"),
            lambda note: note + note.rpartition("\n\n")[2] * 64,
            lambda note: "x" * (1 << 20) + note,
        ],
    )
    def test_what_is_no_checkpoint(self, change: object) -> None:
        """Other spellings of a number, a hash, or a signature are not read."""
        text = body(LEAVES[:5])
        note = f"{text}\n{KEY.line(text)}"
        parse_checkpoint(note)
        with pytest.raises(MalformedNoteError):
            parse_checkpoint(change(note))  # type: ignore[operator]

    def test_a_hash_in_another_spelling(self) -> None:
        """The last letter has two bits that decoders pass over; here every bit counts."""
        text = body(LEAVES[:5])
        letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
        spelled = text.split("\n")[2]
        other = f"{spelled[:-2]}{letters[letters.index(spelled[-2]) ^ 1]}="
        assert base64.b64decode(spelled) == base64.b64decode(other)
        with pytest.raises(MalformedNoteError):
            parse_checkpoint(f"{text.replace(spelled, other)}\n{KEY.line(text)}")


class TestUntouched:
    """What is said of journals that nobody tampered with."""

    def test_without_an_anchor_it_is_unanchored(self, tmp_path: Path) -> None:
        """Whole in itself, which is not enough: exit 10."""
        made, path, _ = small(tmp_path)
        report = verify(path, [KEY.text])
        assert (report.status, report.exit_code, report.anchored) == ("unanchored", 10, 0)
        assert (report.signed, report.checkpoints) == (len(made.ids), 3)

    def test_without_a_key_it_is_unanchored(self, tmp_path: Path) -> None:
        """An anchor whose signature nobody checked could be anybody's."""
        _, path, anchor = small(tmp_path)
        assert verify(path, [], [anchor]).status == "unanchored"
        assert verify(path, [LogKey("w", 4).text], [anchor]).status == "unanchored"

    def test_an_empty_journal_is_unanchored(self, tmp_path: Path) -> None:
        """There is nothing that could be proved."""
        path = MadeJournal(KEY).write(tmp_path)
        assert verify(path, [KEY.text]).status == "unanchored"

    def test_anchors_as_lines_in_one_file(self, tmp_path: Path) -> None:
        """A file that was appended to is as good as one for each."""
        made, path, anchor = small(tmp_path)
        write_lines(anchor, [{"time": "2026-11-23T11:00:00Z", "note": note} for note in made.notes])
        report = verify(path, [KEY.text], [anchor])
        assert (report.status, report.anchors) == ("ok", 3)

    def test_a_last_line_of_the_anchors_that_is_cut_off(self, tmp_path: Path) -> None:
        """It is being appended to; what stands before it counts."""
        made, path, anchor = small(tmp_path)
        write_lines(anchor, [{"time": "2026-11-23T11:00:00Z", "note": note} for note in made.notes])
        with anchor.open("a") as file:
            file.write('{"time":"2026')
        assert verify(path, [KEY.text], [anchor]).status == "ok"

    def test_a_folder_with_the_anchors_of_several_journals(self, tmp_path: Path) -> None:
        """Each has a folder named by its origin; without this journal's own the others are not its."""
        made, path, _ = small(tmp_path)
        anchors = tmp_path / "anchors"
        for origin, note in ((made.origin, made.notes[-1]), ("example.com/other", _other_note())):
            folder = anchors / origin.replace("/", "_2F")
            folder.mkdir(parents=True)
            (folder / "00000000000000000005.note").write_text(note)
        assert verify(path, [KEY.text], [anchors]).status == "ok"
        shutil.rmtree(anchors / "example.com_2Faudit")
        report = verify(path, [KEY.text], [anchors])
        assert report.first
        assert report.first.kind is Kind.SPLICED

    def test_a_key_that_was_replaced(self, tmp_path: Path) -> None:
        """Both are given: each checkpoint is signed by one of them."""
        made, old = MadeJournal(KEY), KEY
        made.read("a")
        made.checkpoint()
        made.key = LogKey(KEY.name)
        made.read("a")
        (tmp_path / "anchor").write_text(made.checkpoint())
        path = made.write(tmp_path / "journal")
        assert verify(path, [made.key.text, old.text], [tmp_path / "anchor"]).status == "ok"
        assert verify(path, [old.text], [tmp_path / "anchor"]).status == "broken"

    def test_a_witness_is_told_but_anchors_nothing(self, tmp_path: Path) -> None:
        """Its cosignature stands in the journal, where a thief of the end would have cut it off as well."""
        witness = LogKey("witness.example", 4)
        made = MadeJournal(KEY)
        for time in (1_700_000_000, 1_700_000_060):
            made.read("a")
            note = made.checkpoint()
            made.notes[-1] = note + witness.line(note.rpartition("\n\n")[0] + "\n", time)
        report = verify(made.write(tmp_path), [KEY.text, witness.text])
        assert report.status == "unanchored"
        [seen] = report.witnesses
        assert (seen.name, seen.size, seen.time) == ("witness.example", 3, 1_700_000_060)

    def test_a_line_that_is_being_written(self, tmp_path: Path) -> None:
        """No tampering: it is noted, and claims nothing; in the order and the checkpoints too."""
        _, path, anchor = small(tmp_path)
        for name in (f"chains/{A}/00000004.jsonl", "order.jsonl", "checkpoints.jsonl"):
            with (path / name).open("a") as file:
                file.write('{"v":1,"cha')
        report = verify(path, [KEY.text], [anchor])
        assert report.status == "ok"
        assert [note for note in report.notes if "is cut off" in note]

    def test_a_segment_that_was_not_begun(self, tmp_path: Path) -> None:
        """A writer that ends between two segments leaves the next unmade."""
        _, path, anchor = small(tmp_path)
        (path / "chains" / A / "00000004.jsonl").unlink()
        report = verify(path, [KEY.text], [anchor])
        assert report.status == "ok"
        assert [note for note in report.notes if "00000004.jsonl was to be next" in note]

    def test_gaps_and_recoveries_are_counted(self, tmp_path: Path) -> None:
        """They are honest records of what is not in the journal."""
        made = MadeJournal(KEY)
        made.read("a")
        made.add("a", kind="recovery", lost=17)
        moment = "2026-11-23T10:00:00.000000000Z"
        made.add("a", kind="gap", since=moment, until=moment, count=3)
        made.checkpoint()
        report = verify(made.write(tmp_path), [KEY.text])
        assert (report.gaps, report.recoveries, report.findings) == (1, 1, [])

    def test_memory_does_not_grow_with_the_records(self, tmp_path: Path) -> None:
        """Four times as many records take as much."""
        peaks = []
        for count in (600, 2400):
            folder = tmp_path / str(count)
            folder.mkdir()
            _, path, anchor = small(folder, reads=count)
            tracemalloc.start()
            assert verify(path, [KEY.text], [anchor]).status == "ok"
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.5 * peaks[0]

    def test_the_report_is_json(self, tmp_path: Path) -> None:
        """With status, exit code and every finding, for a pipeline."""
        _, path, anchor = small(tmp_path)
        (path / "chains" / A / "00000001.jsonl").unlink()
        document = json.loads(json.dumps(verify(path, [KEY.text], [anchor]).as_json()))
        assert (document["status"], document["exit"]) == ("broken", 7)
        assert document["findings"][0]["kind"] == "segment missing"


def _other_note() -> str:
    text = body(LEAVES[:5], "example.com/other")
    return f"{text}\n{KEY.line(text)}"


class TestRefusals:
    """What is the caller's fault, or the machine's."""

    def test_an_anchor_out_of_the_journal_itself(self, tmp_path: Path) -> None:
        """Whoever could change the journal could change it too."""
        _, path, _ = small(tmp_path)
        link = tmp_path / "link"
        link.symlink_to(path / "checkpoints.jsonl")
        for anchor in (path, path / "checkpoints.jsonl", link):
            with pytest.raises(InvalidRequestError, match="journal itself"):
                verify(path, [KEY.text], [anchor])

    def test_an_anchor_that_is_not_there(self, tmp_path: Path) -> None:
        """A path that was mistyped is not an empty folder."""
        _, path, _ = small(tmp_path)
        with pytest.raises(InvalidRequestError, match="there is no anchor"):
            verify(path, [KEY.text], [tmp_path / "anchors"])

    def test_a_file_that_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is not taken for an empty one."""
        _, path, anchor = small(tmp_path)
        opened = os.open

        def refuse(file: Path, *flags: int) -> int:
            if str(file).endswith("00000002.jsonl"):
                raise PermissionError(13, "Permission denied")
            return opened(file, *flags)

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(PermissionDeniedError, match=r"00000002\.jsonl cannot be read"):
            verify(path, [KEY.text], [anchor])

    @pytest.mark.parametrize("put", ["pipe", "folder", "link to nothing", "link to itself"])
    @pytest.mark.parametrize("name", ["journal.json", "order.jsonl", f"chains/{A}/00000002.jsonl"])
    def test_something_else_in_place_of_a_file(self, tmp_path: Path, put: str, name: str) -> None:
        """Broken, or not readable; never waited for."""
        _, path, anchor = small(tmp_path)
        (path / name).unlink()
        if put == "pipe":
            os.mkfifo(path / name)
        elif put == "folder":
            (path / name).mkdir()
        else:
            (path / name).symlink_to("nowhere" if put == "link to nothing" else path / name)
        with contextlib.suppress(SecretStoreError):
            assert verify(path, [KEY.text], [anchor]).status == "broken"

    def test_a_line_without_an_end(self, tmp_path: Path) -> None:
        """Some megabytes of one line are passed over in bounded memory."""
        _, path, anchor = small(tmp_path)
        file = path / "chains" / A / "00000002.jsonl"
        file.write_bytes(b"x" * 5_000_000 + b"\n" + file.read_bytes())
        tracemalloc.start()
        report = verify(path, [KEY.text], [anchor])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.first
        assert report.first.kind is Kind.INSERTED
        assert peak < 4 * verify_files.MAX_LINE

    def test_findings_are_bounded(self, tmp_path: Path) -> None:
        """A journal of checkpoints that are all wrong does not fill the report."""
        made = MadeJournal(LogKey())
        made.read("a")
        for _ in range(MAX_FINDINGS + 20):
            made.checkpoint()
        made.order = made.order[:1]
        report = verify(made.write(tmp_path), [KEY.text])
        assert (len(report.findings), report.more) == (MAX_FINDINGS, 20)


NUMBERS: st.SearchStrategy[object] = st.sampled_from(
    [-1, 0, 1, 2, 5, 9, 2**31, 2**63 - 1, 2**63, 2**70, 1.5, True, None, "1", [], {}]
)


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, int, bytes]:
    """What to do to a file: where, how many bytes or lines to take out, and what to put in."""
    how = draw(st.sampled_from(["bytes", "line out", "line twice", "swap", "value", "empty", "gone", "end"]))
    put = draw(
        st.one_of(st.binary(max_size=40), st.sampled_from([b"\n", b"[" * 5000, b'{"v":1}\n', b"\xff"]))
    )
    return how, draw(st.integers(0, 10_000)), put


def _edited(data: bytes, how: str, at: int, put: bytes, number: object) -> bytes:
    lines = data.splitlines(keepends=True)
    line = at % len(lines) if lines else 0
    if how == "bytes":
        place = at % (len(data) + 1)
        return data[:place] + put + data[place + at % 3 :]
    if how == "end":
        return data[: at % (len(data) + 1)]
    if not lines or how == "empty":
        return b""
    if how == "swap":
        lines[line], lines[line // 2] = lines[line // 2], lines[line]
    elif how == "line out":
        del lines[line]
    elif how == "line twice":
        lines.insert(at // 7 % len(lines), lines[line])
    elif how == "value":
        lines[line] = _other_value(lines[line], at, number)
    return b"".join(lines)


def _other_value(line: bytes, at: int, number: object) -> bytes:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if isinstance(document, dict) and document:
        document[list(document)[at % len(document)]] = number
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeJournal, Path, Path]:
    return small(tmp_path_factory.mktemp("fuzzed"))


@pytest.mark.timeout(900)
@given(
    changes=st.lists(st.tuples(st.integers(0, 50), edits(), NUMBERS), min_size=1, max_size=3),
    keyed=st.booleans(),
)
@settings(
    max_examples=scaled(5_000, "fuzzed journals", 100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_whatever_is_done_nothing_crashes_and_no_change_is_called_ok(
    original: tuple[MadeJournal, Path, Path],
    changes: list[tuple[int, tuple[str, int, bytes], object]],
    keyed: bool,
) -> None:
    """If the verdict is ok, every anchored record is what it was, byte for byte, in its place."""
    made, path, anchor = original
    before = {file: file.read_bytes() for file in sorted(path.rglob("*.json*"))}
    try:
        for which, (how, at, put), number in changes:
            _change(list(before)[which % len(before)], how, at, put, number)
        report = verify(path, [KEY.text] if keyed else [], [anchor])
        json.dumps(report.as_json())
        assert all(map(str, report.findings))
        if report.status == "ok":
            for chain in made.chains.values():
                held = [line for segment in chain.segments for line in segment]
                there = [file.read_bytes() for file in before if file.exists() and chain.name in str(file)]
                assert b"".join(there).startswith(b"".join(line + b"\n" for line in held))
    finally:
        for file, data in before.items():
            file.write_bytes(data)


def _change(file: Path, how: str, at: int, put: bytes, number: object) -> None:
    if how == "gone":
        file.unlink(missing_ok=True)
    elif file.exists():
        file.write_bytes(_edited(file.read_bytes(), how, at, put, number))


_NOTE = f"{body(LEAVES[:5])}\n{KEY.line(body(LEAVES[:5]))}"


@given(start=st.integers(0, 300), text=st.text(max_size=40), stop=st.integers(0, 300))
@settings(max_examples=scaled(20_000, "fuzzed notes", 200), deadline=None)
def test_no_text_crashes_the_readers_of_notes_and_keys(start: int, text: str, stop: int) -> None:
    """A typed error, or a checkpoint, or a key; and no other text passes for the one that was signed."""
    changed = _NOTE[:start] + text + _NOTE[stop:]
    with contextlib.suppress(MalformedNoteError):
        checkpoint = parse_checkpoint(changed)
        same = checkpoint.text.decode() == body(LEAVES[:5])
        assert same or not signed_by(checkpoint, [parse_key(KEY.text)])
    with contextlib.suppress(InvalidRequestError):
        parse_key(KEY.text[:start] + text + KEY.text[stop:])
