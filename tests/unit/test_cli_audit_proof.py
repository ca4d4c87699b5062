"""``audit verify``, ``prove``, ``check-proof`` and ``checkpoint``: verdicts, exit codes, what is printed."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from strongroom.audit.journal import Journal, origin_of
from strongroom.audit.note import NoteSigner
from strongroom.audit.notekey import FileSigner
from strongroom.cli.main import cli
from tests.canary import assert_no_canary
from tests.unit.audit_journal import LogKey, MadeJournal, body
from tests.unit.cli_support import Result

A = "a" * 32


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def run(*args: str) -> Result:
    done = CliRunner().invoke(cli, ["audit", *args], prog_name="strongroom")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert_no_canary(done.stdout + done.stderr)
    return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


@pytest.fixture
def key() -> LogKey:
    made = LogKey()
    Path("keys").write_text(f"# the journal's\n{made.text}\n")
    return made


@pytest.fixture
def made(key: LogKey) -> MadeJournal:
    """A journal in ``journal`` with its last checkpoint in ``anchor``, its key in ``keys``."""
    journal = MadeJournal(key)
    for _ in range(9):
        journal.read("a")
    Path("anchor").write_text(journal.checkpoint())
    journal.read("a", time="2026-11-23T11:30:00.000000000Z")
    journal.write(Path("journal"))
    return journal


class TestVerify:
    """The verdict."""

    def test_ok(self, made: MadeJournal) -> None:
        """Exit 0, with how many records are newer than the last anchor."""
        done = run("verify", "journal", "--key", "keys", "--anchor", "anchor")
        assert done.code == 0
        assert done.out.startswith("ok  10 records are as they were when they were anchored; 1 are newer\n")
        assert "example.com/audit: 11 records in 1 chains" in done.out

    def test_the_key_itself(self, made: MadeJournal) -> None:
        """A key may stand on the command line: it is public."""
        assert run("verify", "journal", "--key", made.key.text, "--anchor", "anchor").code == 0

    def test_unanchored(self, made: MadeJournal) -> None:
        """Said plainly, exit 10, whether the anchor or the key is lacking."""
        for arguments in (["--key", "keys"], ["--anchor", "anchor"], []):
            done = run("verify", "journal", *arguments)
            assert done.code == 10
            assert done.out.startswith("UNANCHORED  ")

    def test_broken(self, made: MadeJournal) -> None:
        """Kind, record, index, file and line; exit 7."""
        segment = Path("journal/chains") / A / "00000001.jsonl"
        segment.write_bytes(segment.read_bytes().replace(b"db/3", b"db/4", 1))
        done = run("verify", "journal", "--key", "keys", "--anchor", "anchor")
        assert done.code == 7
        assert done.out.startswith(f"BROKEN  altered: {A}:3 (index 3) in chains/{A}/00000001.jsonl:4: ")

    def test_a_name_that_would_drive_a_terminal(self, made: MadeJournal) -> None:
        """What stands in a journal's files is printed without control characters."""
        for origin in ("\x1b[2J\x1b[31mok", "\x9b31mok\u202e", "\ud800", "x" * 9999):
            Path("journal/journal.json").write_text(json.dumps({"v": 1, "origin": origin}))
            for more in ([], ["--json"]):
                done = run("verify", "journal", "--key", "keys", "--anchor", "anchor", *more)
                assert done.code == 7
                assert not {"\x1b", "\x9b", "\u202e"} & set(done.out)

    def test_json(self, made: MadeJournal) -> None:
        """One document, for a pipeline; the same exit code."""
        done = run("verify", "journal", "--key", "keys", "--anchor", "anchor", "--json")
        assert (done.code, done.json["status"], done.json["anchored"]) == (0, "ok", 10)
        assert run("verify", "nothing", "--json").json["findings"][0]["kind"] == "not a journal"

    def test_quiet(self, made: MadeJournal) -> None:
        """The verdict alone."""
        assert run("verify", "journal", "--quiet").out.count("\n") == 1

    def test_the_journal_of_the_configuration(self, made: MadeJournal) -> None:
        """Without a path it is the one of strongroom.toml; without that, an error that says so."""
        assert run("verify").code == 2
        text = f'[audit]\njournal = {{ path = "{Path("journal").resolve()}" }}\n'
        Path("strongroom.toml").write_text(text)
        assert run("verify", "--key", "keys", "--anchor", "anchor").code == 0

    @pytest.mark.parametrize("given", ["nothing", "anchor", "a+b+c"])
    def test_what_is_no_key(self, made: MadeJournal, given: str) -> None:
        """Exit 2, and what a key looks like."""
        done = run("verify", "journal", "--key", given)
        assert done.code == 2
        assert "no verifier key" in done.err


class TestProof:
    """One record, for somebody who has not got the journal."""

    @pytest.fixture
    def proved(self) -> dict[str, Any]:
        """A proof in ``proof``, its key in ``keys``, two checkpoints in ``old`` and ``new``."""
        journal = Journal.open("real", origin="example.com/real")
        for number in range(7):
            journal.append({"kind": "event", "phase": "intent", "op": "get", "name": f"db/{number}"})
            if number == 3:
                first = run("checkpoint", "real", "--new-key", "log.key", "--json").json
        journal.close()
        record = run("checkpoint", "real", "--signer", "log.key", "--json").json
        for file, text in (("keys", first["key"]), ("old", first["note"]), ("new", record["note"])):
            Path(file).write_text(text)
        [segment] = Path("real").glob("chains/*/*.jsonl")
        id_ = f"{segment.parent.name}:5"
        assert run("prove", id_, "--journal", "real", "--older", "old", "-o", "proof").code == 0
        found: dict[str, Any] = json.loads(Path("proof").read_text())
        return found

    def test_ok(self, proved: dict[str, Any]) -> None:
        """Its place, its fields, what it extends; without the journal."""
        shutil.rmtree("real")
        done = run("check-proof", "proof", "--key", "keys", "--anchor", "old")
        assert done.code == 0
        assert done.out.startswith(
            f"ok  record {proved['id']} is number 5 of 8 in the journal example.com/real"
        )
        assert '"name": "db/4"' in done.out
        assert "it extends the checkpoint over 5 records" in done.out
        assert "anchored" in done.out

    def test_every_record_of_every_chain(self, proved: dict[str, Any]) -> None:
        """Also on stdout, and without an older checkpoint."""
        for seq in range(8):
            record = f"{proved['id'][: 32 - 4 * seq]}:{seq}"
            Path("other").write_text(run("prove", record, "--journal", "real").out)
            done = run("check-proof", "other", "--key", "keys", "--json")
            assert (done.code, done.json["index"], done.json["older"]) == (0, seq, None)

    def test_without_a_key(self, proved: dict[str, Any]) -> None:
        """Said plainly, exit 10."""
        done = run("check-proof", "proof")
        assert (done.code, done.out[:10]) == (10, "UNVERIFIED")

    def test_another_key(self, proved: dict[str, Any]) -> None:
        """Bad signature, exit 7."""
        done = run("check-proof", "proof", "--key", LogKey("example.com/real").text)
        assert done.code == 7
        assert done.out.startswith("BROKEN  bad signature")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(("record", '{"v":1}'), ("record", 5), ("id", "a" * 32 + ":5"), ("index", 4), ("index", -1)),
            *(("index", True), ("origin", "example.com/other"), ("inclusion", []), ("inclusion", "x")),
            *(("inclusion", ["AA=="]), ("inclusion", ["x"] * 9), ("checkpoint", ""), ("v", 2), ("extra", 1)),
            *(("older", 1), ("older", {}), ("older", {"checkpoint": "", "consistency": []})),
        ],
    )
    def test_any_other_value(self, proved: dict[str, Any], key: str, value: object) -> None:
        """Nothing in the file can be changed."""
        Path("proof").write_text(json.dumps({**proved, key: value}))
        assert run("check-proof", "proof", "--key", "keys").code == 7

    def test_any_other_letter(self, proved: dict[str, Any]) -> None:
        """Of the record, of each hash, of both checkpoints."""
        texts = [proved["record"], *proved["inclusion"], *proved["older"]["consistency"]]
        texts += [proved["checkpoint"], proved["older"]["checkpoint"]]
        chance = random.Random(5)
        for text in texts:
            at = chance.randrange(len(text))
            other = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            changed = json.dumps(proved).replace(json.dumps(text)[1:-1], json.dumps(other)[1:-1], 1)
            Path("proof").write_text(changed)
            assert run("check-proof", "proof", "--key", "keys").code == 7

    def test_a_split_view(self, proved: dict[str, Any]) -> None:
        """A checkpoint over as many records, signed by the same key, that was kept from before."""
        leaves = [bytes([number]) * 32 for number in range(8)]
        text = body(leaves, "example.com/real")
        Path("kept").write_text(NoteSigner("example.com/real", FileSigner.open("log.key")).sign(text))
        done = run("check-proof", "proof", "--key", "keys", "--anchor", "kept")
        assert done.code == 7
        assert done.out.startswith("BROKEN  split view")

    def test_what_is_no_proof(self, proved: dict[str, Any]) -> None:
        """A missing file is usage; anything else is broken."""
        assert run("check-proof", "nothing", "--key", "keys").code == 2
        for text in ("", "{}", "[" * 9999, "\x00"):
            Path("proof").write_text(text)
            assert run("check-proof", "proof", "--key", "keys").code == 7

    def test_what_cannot_be_proved(self, proved: dict[str, Any]) -> None:
        """No id, no such record, none that a checkpoint covers; a file that is there is not replaced."""
        chain = proved["id"].partition(":")[0]
        assert run("prove", "5", "--journal", "real").code == 2
        assert run("prove", f"{chain}:99", "--journal", "real").code == 3
        assert run("prove", f"{chain[:6]}:99", "--journal", "real").code == 3
        assert run("prove", ":5", "--journal", "real").code == 2
        assert run("prove", proved["id"], "--journal", "real", "-o", "proof").code == 5
        assert run("prove", proved["id"], "--journal", "real", "--older", "nothing").code == 2


class TestCheckpoint:
    """Signing now."""

    @pytest.fixture
    def journal(self) -> Path:
        with_records = Journal.open("real", origin="example.com/real")
        with_records.append({"kind": "event", "phase": "intent", "op": "get", "name": "db/password"})
        with_records.close()
        return with_records.path

    def test_with_a_new_key(self, journal: Path) -> None:
        """It is made, signs, and its public half is printed, which verifies; the file is private."""
        done = run("checkpoint", "real", "--new-key", "log.key", "--json")
        assert (done.code, done.json["size"]) == (0, 2)
        assert Path("log.key").stat().st_mode & 0o777 == 0o600
        Path("anchor").write_text(done.json["note"])
        assert run("verify", "real", "--key", done.json["key"], "--anchor", "anchor").code == 0

    def test_what_it_prints_is_a_file_of_keys(self, journal: Path) -> None:
        """As it comes: what it says beside the key is a comment in there."""
        Path("keys").write_text(run("checkpoint", "real", "--new-key", "log.key").out)
        quiet = run("checkpoint", "real", "--signer", "log.key", "--quiet").out
        assert Path("keys").read_text().splitlines()[1:] == quiet.splitlines()
        assert "bad signature" not in run("verify", "real", "--key", "keys").out

    def test_with_the_same_key_again(self, journal: Path) -> None:
        """By its file, or as the configuration names it."""
        made = run("checkpoint", "real", "--new-key", "log.key", "--json").json
        assert made["key"] in run("checkpoint", "real", "--signer", "log.key").out
        where, key = journal.resolve(), Path("log.key").resolve()
        toml = f'[audit]\njournal = {{ path = "{where}" }}\ncheckpoint = {{ signer = "{key}" }}\n'
        Path("strongroom.toml").write_text(toml)
        assert made["key"] in run("checkpoint").out

    def test_a_key_for_a_journal_that_is_not_there_yet(self, tmp_path: Path) -> None:
        """The configuration names both; the key is made first, and nothing is signed yet."""
        toml = f'[audit]\njournal = {{ path = "{tmp_path}/new" }}\n'
        Path("strongroom.toml").write_text(toml)
        done = run("checkpoint", "--new-key", "log.key", "--json")
        assert (done.code, done.json["size"]) == (0, 0)
        assert FileSigner.open("log.key").name == origin_of(tmp_path / "new")

    def test_a_key_that_is_there_is_not_replaced(self, journal: Path) -> None:
        """It may have signed; exit 5."""
        Path("log.key").write_text("something")
        assert run("checkpoint", "real", "--new-key", "log.key").code == 5
        assert Path("log.key").read_text() == "something"

    def test_a_dry_run(self, journal: Path) -> None:
        """Nothing is made or signed."""
        assert run("checkpoint", "real", "--new-key", "log.key", "--dry-run").code == 0
        assert not Path("log.key").exists()
        assert not Path("real/checkpoints.jsonl").exists()

    def test_the_configured_exports_are_sent_it(self, journal: Path, tmp_path: Path) -> None:
        """At once; one that does not take it is an error, after the checkpoint was made."""
        Path("anchors").mkdir()
        run("checkpoint", "real", "--new-key", "log.key")
        export = [f"file://{tmp_path}/anchors/", f"file://{tmp_path}/no/such/"]
        key = Path("log.key").resolve()
        Path("strongroom.toml").write_text(
            f'[audit]\njournal = {{ path = "{journal.resolve()}" }}\n'
            f'checkpoint = {{ signer = "{key}", export = {json.dumps(export)} }}\n'
        )
        done = run("checkpoint", "--json")
        assert done.code == 6
        assert "no/such/ has not got the checkpoint" in done.err
        assert run("verify", "--key", done.json["key"], "--anchor", "anchors").code == 0

    def test_a_journal_that_was_set_back_is_not_signed(self, journal: Path, tmp_path: Path) -> None:
        """An anchor has a checkpoint of more records: another signature would contradict it. Exit 7."""
        Path("anchors").mkdir()
        run("checkpoint", "real", "--new-key", "log.key")
        key, anchor = Path("log.key").resolve(), f"file://{tmp_path}/anchors/"
        Path("strongroom.toml").write_text(
            f'[audit]\njournal = {{ path = "{journal.resolve()}" }}\n'
            f'checkpoint = {{ signer = "{key}", export = ["{anchor}"] }}\n'
        )
        shutil.copytree("real", "backup")
        with closing(Journal.open("real")) as more:
            more.append({"kind": "event", "phase": "intent", "op": "get", "name": "db/password"})
        assert run("checkpoint").code == 0
        shutil.rmtree("real")
        shutil.copytree("backup", "real")
        with closing(Journal.open("real")) as other:
            other.append({"kind": "event", "phase": "intent", "op": "put", "name": "db/password"})
        assert run("checkpoint").code == 7

    def test_without_a_key_or_a_journal(self, journal: Path) -> None:
        """Exit 2, and what to do."""
        assert "--new-key" in run("checkpoint", "real").err
        assert run("checkpoint", "nothing", "--new-key", "log.key").code == 2
        assert not Path("log.key").exists()
