"""Anchors: what each keeps, what it refuses, and that a dead one delays nobody."""

from __future__ import annotations

import base64
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from strongroom.audit.anchors import Export, FileExport, FolderExport, HttpsExport, folder_name
from strongroom.audit.exporting import Exporter, exporters
from strongroom.audit.head import Checkpoint
from strongroom.audit.note import Note, NoteKey
from strongroom.audit.verify import verify
from strongroom.audit.verify_tree import consistent
from strongroom.audit.witness import WitnessExport
from strongroom.auditing import exports_of
from strongroom.backend import Settings
from strongroom.cli.main import cli
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    UnavailableError,
)
from strongroom.registry import open_export
from strongroom.testing.clock import FakeClock
from strongroom.toml.file import read_text
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.servers.https import Authority, Request, Response, serving
from tests.unit.audit_journal import LogKey
from tests.unit.audit_log import ORIGIN, Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    (tmp_path / "log").mkdir()
    return Log(tmp_path / "log")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "anchors").mkdir()
    return tmp_path / "anchors"


def forged(checkpoint: Checkpoint) -> Checkpoint:
    """Another tree of the same size."""
    return replace(checkpoint, root=bytes(32))


class TestFiles:
    """Anchors on a file system of another machine."""

    def test_a_folder_has_one_file_for_each_checkpoint(self, log: Log, place: Path) -> None:
        """By origin and size, read-only, and a second time is no error."""
        anchor = open_export(f"file://{place}/")
        for _ in range(2):
            log.write()
            made = log.sign()
            anchor.put(made, log.path)
            anchor.put(made, log.path)
        files = sorted(place.glob("*/*"))
        assert [file.name for file in files] == [f"{size:020d}.note" for size in (6, 11)]
        assert stat.S_IMODE(files[0].stat().st_mode) & 0o222 == 0
        assert files[-1].read_text() == made.note
        assert log.verified(place).anchors >= 2

    def test_a_file_has_one_line_for_each_checkpoint(self, log: Log, place: Path) -> None:
        """The same lines as the journal's own checkpoints, so that it can be compared with them."""
        anchor = open_export(f"file://{place}/audit.jsonl")
        for _ in range(2):
            log.write()
            made = log.sign()
            anchor.put(made, log.path)
            anchor.put(made, log.path)
        assert (place / "audit.jsonl").read_bytes() == (log.path / "checkpoints.jsonl").read_bytes()
        assert log.verified(place / "audit.jsonl").exit_code == 0

    @pytest.mark.parametrize("kind", [FileExport, FolderExport])
    def test_another_tree_of_one_size_is_refused(
        self, log: Log, place: Path, kind: type[FileExport | FolderExport]
    ) -> None:
        """One of the two is a forgery; what was there stays there."""
        anchor = kind(place / "anchor")
        if kind is FolderExport:
            (place / "anchor").mkdir()
        log.write()
        made = log.sign()
        anchor.put(made, log.path)
        with pytest.raises(IntegrityError, match="one of the two is a forgery"):
            anchor.put(forged(made), log.path)
        assert anchor.above(ORIGIN, 0) == replace(made, time=made.time if kind is FileExport else "")

    def test_what_others_put_there_is_no_word_on_ours(self, log: Log, place: Path) -> None:
        """A stray file, and another journal's checkpoint, stop neither the anchor nor the signing."""
        anchor, file = FolderExport(place), FileExport(place / "audit.jsonl")
        log.write()
        made = log.sign()
        anchor.put(made, log.path)
        folder = place / folder_name(ORIGIN)
        (folder / "99999999999999999999.note").write_text("nothing")
        (folder / "zzz.note").write_text(made.note.replace(ORIGIN, "example.com/other"))
        file.path.write_text('{"note": 1}\n')
        assert anchor.above(ORIGIN, 0) == replace(made, time="")
        assert anchor.above(ORIGIN, 6) is None
        assert file.above(ORIGIN, 0) is None
        file.put(made, log.path)
        (folder / f"{11:020d}.note").write_text("nothing")
        log.write()
        with pytest.raises(UnavailableError, match="something else under the checkpoint's name"):
            anchor.put(log.sign(), log.path)

    @pytest.mark.parametrize("url", ["file://{}/exports/", "file://{}/anchor.jsonl"])
    def test_an_anchor_inside_the_journal_is_none(self, log: Log, url: str) -> None:
        """Whoever can change the journal could change it, too."""
        log.write()
        with pytest.raises(InvalidRequestError, match="anchors nothing"):
            open_export(url.format(log.path)).put(log.sign(), log.path)

    def test_a_folder_that_is_gone_is_told(self, log: Log, place: Path) -> None:
        """A disk that is not mounted is unavailable, not an error for ever."""
        log.write()
        made = log.sign()
        for url in (f"file://{place}/absent/", f"file://{place}/absent/file"):
            with pytest.raises(UnavailableError):
                open_export(url).put(made, log.path)

    @pytest.mark.parametrize("url", ["", "audit", "ftp://a/b", "file://relative/", "witness+https://a/"])
    def test_what_is_no_anchor_is_refused(self, url: str) -> None:
        """Before anything is written, with the forms that are."""
        with pytest.raises(InvalidRequestError):
            open_export(url)

    def test_no_two_origins_share_a_name_and_none_leaves_its_folder(self) -> None:
        """Every origin is one path segment of its own."""
        origins = ["a/b", "a_2Fb", "a%2Fb", "..", ".", "...", "~", "_7E", "a b", "ü", "a.b-c"]
        names = [folder_name(origin) for origin in origins]
        assert len(set(names)) == len(origins)
        assert not {"", ".", ".."} & set(names)
        assert all(name.isascii() and "/" not in name and "%" not in name for name in names)


class TestHttps:
    """A receiver over HTTPS."""

    def sent(self, authority: Authority, log: Log, path: str) -> Request:
        log.write()
        with serving(lambda _: Response(201), authority) as server:
            settings = Settings(ca=str(authority.ca_file), auth={"token": SecretValue(CANARY)})
            anchor = open_export(server.url + path, settings)
            anchor.put(log.sign(), log.path)
            assert CANARY not in anchor.name + repr(anchor)
            return server.requests[0]

    def test_it_is_put_below_a_url_that_ends_with_a_slash(self, authority: Authority, log: Log) -> None:
        """Under the checkpoint's own name, with the token, the note as it is."""
        sent = self.sent(authority, log, "/anchors/")
        assert (sent.method, sent.path) == ("PUT", f"/anchors/{folder_name(ORIGIN)}/{6:020d}.note")
        assert sent.headers["Authorization"] == f"Bearer {CANARY}"
        assert sent.body.decode() == log.notes()[0]["note"]

    def test_it_is_posted_to_any_other(self, authority: Authority, log: Log) -> None:
        """Each one to the same address."""
        sent = self.sent(authority, log, "/anchors?log=1")
        assert (sent.method, sent.path) == ("POST", "/anchors?log=1")

    @pytest.mark.parametrize(
        ("status", "error"), [(403, PermissionDeniedError), (302, UnavailableError), (500, UnavailableError)]
    )
    def test_what_it_refuses_is_told(self, log: Log, status: int, error: type[Exception]) -> None:
        """By its status alone; its text is never shown."""
        log.write()
        with serving(lambda _: Response(status, CANARY.encode())) as server:
            with pytest.raises(error, match=f"HTTP {status}") as caught:
                HttpsExport(server.url).put(log.sign(), log.path)
            assert CANARY not in str(caught.value)


@dataclass
class Witness:
    """A witness by the rules of c2sp.org/tlog-witness, with the verifier's code."""

    trusted: str
    key: LogKey = field(default_factory=lambda: LogKey("witness.example/w1", 4))
    size: int = 0
    root: bytes = b""
    lie: bool = False
    shown: list[int] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        head, _, note = request.body.decode().partition("\n\n")
        old, *proof = head.split("\n")
        checkpoint = Checkpoint.parse(note)
        shown = int(old.removeprefix("old "))
        self.shown.append(shown)
        if checkpoint.origin != ORIGIN or request.path != "/w/add-checkpoint":
            return Response(404)
        if not NoteKey.parse(self.trusted).signed(Note.parse(note)):
            return Response(403)
        if shown != self.size or (shown == checkpoint.size and checkpoint.root != self.root):
            return Response(409, f"{self.size}\n".encode(), {"Content-Type": "text/x.tlog.size"})
        hashes = [base64.b64decode(line) for line in proof]
        if shown and not consistent(shown, self.root, checkpoint.size, checkpoint.root, hashes):
            return Response(422)
        self.size, self.root = checkpoint.size, checkpoint.root
        text = Note.parse(note).text
        return Response(200, self.key.line("another\n" if self.lie else text, 1_700_000_000).encode())


@contextmanager
def witnessing(log: Log) -> Iterator[tuple[Witness, WitnessExport]]:
    witness = Witness(str(log.signer.note_key))
    with serving(witness.answer) as server:
        anchor = open_export(f"witness+{server.url}/w?key={witness.key.text}")
        assert isinstance(anchor, WitnessExport)
        yield witness, anchor


class TestWitness:
    """A witness that follows C2SP's rules."""

    def test_it_cosigns_each_tree_that_extends_the_last(self, log: Log) -> None:
        """The cosignature stands beside the checkpoint, and the verifier knows when it was made."""
        with witnessing(log) as (witness, anchor):
            for size in (6, 11, 16):
                log.write()
                anchor.put(log.sign(), log.path)
                assert witness.size == size
        assert witness.shown == [0, 6, 11]
        report = log.verified()
        assert report.exit_code == 0
        seen = verify(log.path, [str(log.signer.note_key), witness.key.text]).witnesses
        assert [(each.size, each.time) for each in seen] == [(16, 1_700_000_000)]

    def test_one_that_remembers_more_than_we_do_is_asked_where_it_stands(self, log: Log) -> None:
        """Our memory of it is lost: it tells its size, and is shown the proof from there."""
        with witnessing(log) as (witness, anchor):
            log.write()
            anchor.put(log.sign(), log.path)
            for state in log.path.glob("exports/*.state"):
                state.unlink()
            log.write()
            anchor.put(log.sign(), log.path)
        assert (witness.size, witness.shown) == (11, [0, 0, 6])

    def test_it_is_shown_one_checkpoint_twice_without_harm(self, log: Log) -> None:
        """After a crash between its answer and our note of it."""
        with witnessing(log) as (witness, anchor):
            log.write()
            made = log.sign()
            anchor.put(made, log.path)
            anchor.put(made, log.path)
        assert witness.shown == [0, 6]
        assert log.verified().exit_code == 0

    def test_a_journal_that_was_set_back_is_found_out(self, log: Log) -> None:
        """The witness has seen more records than the journal has."""
        with witnessing(log) as (witness, anchor):
            log.write()
            made = log.sign()
            witness.size = 100
            with pytest.raises(IntegrityError, match="seen 100 records"):
                anchor.put(made, log.path)

    def test_another_tree_of_one_size_is_found_out(self, log: Log) -> None:
        """The witness has seen as many records, and others."""
        with witnessing(log) as (witness, anchor):
            log.write()
            made = log.sign()
            anchor.put(made, log.path)
            witness.root = bytes(32)
            with pytest.raises(IntegrityError, match="one of the two is a forgery"):
                anchor.put(made, log.path)

    def test_another_history_is_found_out(self, log: Log) -> None:
        """The witness does not find that the tree begins with the one it has seen."""
        with witnessing(log) as (witness, anchor):
            log.write()
            anchor.put(log.sign(), log.path)
            witness.root = bytes(32)
            log.write()
            with pytest.raises(IntegrityError, match="does not find the tree to extend"):
                anchor.put(log.sign(), log.path)

    def test_a_cosignature_that_does_not_verify_is_none(self, log: Log) -> None:
        """It is not kept, and the witness has not seen the checkpoint as far as we know."""
        with witnessing(log) as (witness, anchor):
            witness.lie = True
            log.write()
            with pytest.raises(IntegrityError, match="does not verify under its key"):
                anchor.put(log.sign(), log.path)
        assert len(log.notes()) == 1

    @pytest.mark.parametrize("problem", ["origin", "key"])
    def test_a_witness_that_does_not_know_us_says_so(self, log: Log, problem: str) -> None:
        """404 for an unknown origin, 403 for an unknown key."""
        with witnessing(log) as (witness, anchor):
            log.write()
            made = log.sign()
            if problem == "key":
                witness.trusted = LogKey(ORIGIN).text
            else:
                anchor._url += "/elsewhere"
            with pytest.raises(PermissionDeniedError):
                anchor.put(made, log.path)

    def test_a_key_that_is_no_witnesss_is_refused(self, log: Log) -> None:
        """A log's own key cosigns nothing."""
        with pytest.raises(InvalidRequestError, match="not a witness's key"):
            open_export(f"witness+https://witness.example/?key={log.signer.note_key}")


class Slow(Export):
    """An anchor that hangs until it is let go, or fails."""

    name = "slow://anchor"

    def __init__(self, problem: Exception | None = None):
        self.free, self.problem = threading.Event(), problem
        self.kept: list[Checkpoint] = []
        self.held: Checkpoint | None = None

    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        if self.problem:
            raise self.problem
        self.kept.append(checkpoint)

    def above(self, origin: str, size: int) -> Checkpoint | None:
        return self.held if self.held and self.held.size > size else None


class TestCarrying:
    """How checkpoints get to an anchor."""

    def test_a_dead_anchor_is_tried_ever_later_and_stops_nothing(self, log: Log) -> None:
        """At most five minutes apart; when it answers it gets the newest, which covers all before."""
        anchor = Slow(UnavailableError("dead"))
        exporter = Exporter(log.path, anchor, FakeClock())
        for _ in range(3):
            log.write()
            log.sign()
        pauses = [exporter.step() for _ in range(12)]
        assert pauses[:4] == [0.5, 1, 2, 4]
        assert pauses[-1] == 150
        assert exporter.status() == {"name": "slow://anchor", "size": 0, "behind": 16, "error": "dead"}
        anchor.problem = None
        assert exporter.step() is None
        assert [each.size for each in anchor.kept] == [16]
        assert exporter.status() == {"name": "slow://anchor", "size": 16, "behind": 0, "error": None}

    def test_an_anchor_has_each_checkpoint_once_whatever_process_asks(self, log: Log) -> None:
        """What was carried is noted on disk."""
        anchor = Slow()
        log.write()
        log.sign()
        for _ in range(3):
            Exporter(log.path, anchor, FakeClock()).step()
        assert len(anchor.kept) == 1

    def test_the_checkpointer_hands_on_what_it_signed(self, log: Log, place: Path) -> None:
        """When `close` returns an anchor that answers has the last checkpoint."""
        checkpointer = log.checkpointer([open_export(f"file://{place}/"), open_export(f"file://{place}/a")])
        log.write()
        checkpointer.checkpoint()
        checkpointer.close()
        assert [export["behind"] for export in checkpointer.status()["exports"]] == [0, 0]
        assert len(list(place.glob("*/*.note"))) == 1

    def test_a_hanging_anchor_holds_up_no_checkpoint(self, log: Log) -> None:
        """A checkpoint is signed while the anchor hangs; only the first waits two seconds for its word."""

        class Hanging(Slow):
            def put(self, checkpoint: Checkpoint, journal: Path) -> None:
                self.free.wait(20)
                super().put(checkpoint, journal)

        anchor = Hanging()
        checkpointer = log.checkpointer([anchor])
        for size in (6, 11):
            log.write()
            made = checkpointer.checkpoint()
            assert made is not None
            assert made.size == size
        assert anchor.kept == []
        anchor.free.set()
        checkpointer.close()
        assert anchor.kept[-1].size == 11

    def test_two_anchors_of_one_name_have_each_their_own_memory(self, log: Log) -> None:
        """Such as one bucket's name on two servers: what one has says nothing of the other."""
        one, two = Slow(), Slow(UnavailableError("dead"))
        log.write()
        log.sign()
        carrying = exporters(log.path, [one, two], FakeClock())
        for exporter in carrying:
            exporter.step()
        assert [each.status()["behind"] for each in carrying] == [0, 6]
        assert [each.status()["name"] for each in carrying] == ["slow://anchor", "slow://anchor #2"]

    def test_a_journal_that_was_set_back_is_signed_no_more(self, log: Log) -> None:
        """An anchor has a checkpoint that the journal has not: a restored backup must not fork the log."""
        log.write()
        old = log.sign()
        anchor = Slow()
        anchor.held = replace(old, size=9, root=bytes(32))
        checkpointer = log.checkpointer([anchor])
        log.write()
        for _ in range(2):
            with pytest.raises(IntegrityError, match="a checkpoint of 9 records that is not the journal's"):
                checkpointer.checkpoint()
        assert len(log.notes()) == 1
        anchor.held = None
        checkpointer.close()
        assert log.sign().size == 11

    def test_a_checkpoint_of_ours_that_we_forgot_to_have_carried_is_no_conflict(self, log: Log) -> None:
        """A crash between the anchor's answer and our note of it."""
        anchor = Slow()
        log.write()
        anchor.held = log.sign()
        log.write()
        log.sign()
        assert Exporter(log.path, anchor, FakeClock()).step() is None
        assert [each.size for each in anchor.kept] == [11]


class TestCheck:
    """What `strongroom check` says of checkpoints and anchors."""

    @pytest.fixture
    def file(self, log: Log, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A configuration with one anchor that works and one that is dead."""
        file = place.parent / "strongroom.toml"
        file.write_text(
            f'[store.app]\nurl = "memory://"\n[audit]\njournal = {{ path = "{log.path}" }}\n'
            f'[audit.checkpoint]\nsigner = "{log.path.parent / "audit.key"}"\n'
            f'export = ["file://{place}/", "http://127.0.0.1:9/dead"]\n'
        )
        monkeypatch.setenv("STRONGROOM_CONFIG", str(file))
        return file

    def checked(self) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(cli, ["check", "--json"], prog_name="strongroom")
        audit: dict[str, Any] = json.loads(done.stdout)["audit"]
        return done.exit_code, audit

    def test_it_tells_how_far_each_anchor_is_and_what_is_wrong(self, log: Log, file: Path) -> None:
        """By their names, also when it was another process that tried."""
        entry = read_text(file, file.read_text(), "").audit
        assert entry is not None
        assert entry.checkpoint is not None
        log.write()
        log.sign()
        for export in exports_of(entry.checkpoint, FakeClock()):
            Exporter(log.path, export, FakeClock()).step()
        code, audit = self.checked()
        assert (code, audit["signed"], audit["problem"]) == (10, 6, "")
        works, dead = audit["anchors"]
        assert (works["size"], works["behind"], works["error"]) == (6, 0, None)
        assert (dead["name"], dead["size"], dead["behind"]) == ("http://127.0.0.1:9/dead", 0, 6)
        assert "cannot be reached" in dead["error"]
        done = CliRunner().invoke(cli, ["check"], prog_name="strongroom")
        assert "audit anchor http://127.0.0.1:9/dead: covers 0 records" in done.stdout

    @pytest.mark.usefixtures("file")
    def test_it_tells_why_nothing_is_signed(self, log: Log) -> None:
        """A journal that does not extend its last checkpoint needs a person."""
        log.write()
        log.sign()
        (log.path / "order.jsonl").write_bytes(b"{}\n")
        log.write()
        log.checkpointer(records=1).step()
        code, audit = self.checked()
        assert code == 10
        assert "order of records is damaged" in audit["problem"]
