"""[audit] in strongroom.toml: one journal for a process, a sink as the gate, keys that sign and wrap."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

import strongroom
from strongroom.audit import service
from strongroom.audit.reading import Reader
from strongroom.audit.record import parse
from strongroom.audit.sinks.base import Entry, Sink
from strongroom.audit.verify import verify
from strongroom.config import Config
from strongroom.errors import InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.toml.file import read_text
from tests.canary import assert_no_canary
from tests.unit.cli_support import Cli
from tests.unit.core_support import DEADLINE, NAME, Running, text


class Held(Sink):
    """A receiver that takes everything, or nothing, or never answers.

    Attributes:
        entries: what it took.
        broken: it refuses.
        asked: set when somebody waits for it.
        answer: nobody is answered before it is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.broken = False
        self.asked, self.answer = threading.Event(), threading.Event()
        self.answer.set()

    def deliver(self, entries: Sequence[Entry]) -> None:
        self.asked.set()
        assert self.answer.wait(DEADLINE)
        if self.broken:
            raise UnavailableError("gone")
        self.entries += entries

    def told(self) -> list[tuple[str | None, str | None, str | None]]:
        """Kind, operation and outcome of each record."""
        fields = [entry.fields for entry in self.entries]
        return [(one.get("kind"), one.get("op"), one.get("outcome")) for one in fields]


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """What every sink of a configuration is in this test."""
    held = Held()
    monkeypatch.setattr("strongroom.auditing.sink_of", lambda entry, clock: held)
    yield held
    held.answer.set()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def config(journal: Path | None, more: str = "", stores: str = 'prod = { url = "memory://" }') -> Config:
    """A configuration whose audit is in the journal, or as `more` says."""
    where = f'journal = {{ path = "{journal}" }}' if journal else ""
    return read_text(Path("strongroom.toml"), f"[store]\n{stores}\n[audit]\n{where}\n{more}\n", "")


def interrupted(event: strongroom.AuditEvent) -> None:
    raise KeyboardInterrupt


def records(journal: Path) -> list[dict[str, Any]]:
    return [parse(line.data) for line in Reader(journal).lines()]


def told(journal: Path) -> list[tuple[str, str, str | None]]:
    """Operation, store and outcome of each event."""
    events = [one for one in records(journal) if one["kind"] == "event"]
    return [(one["op"], one.get("store", ""), one.get("outcome")) for one in events]


class TestJournal:
    """What opens by the configuration records in its journal."""

    def test_a_store_records_and_ends_it_at_its_close(self, journal: Path) -> None:
        """Intent, outcome, the counts of warm reads; then the chain is free for the next process."""
        with strongroom.open("prod", config=config(journal)) as store:
            store.put(NAME, text("first"))
            store.get(NAME)
            for _ in range(5):
                store.get(NAME)
        assert told(journal) == [(op, "prod", how) for op in ("put", "get") for how in (None, "ok")]
        (reads,) = [one for one in records(journal) if one["kind"] == "reads"]
        assert (reads["store"], reads["reads"][0][0], reads["reads"][0][2]) == ("prod", NAME, 5)
        assert not verify(journal).findings
        assert not service._shared

    def test_stores_of_one_process_share_it(self, journal: Path) -> None:
        """One chain, until the last of them closes."""
        two = config(journal, stores='prod = { url = "memory://" }\nother = { url = "memory://other" }')
        with strongroom.open("prod", config=two) as first:
            with strongroom.open("other", config=two) as second:
                second.put(NAME, text("x"))
            first.put(NAME, text("x"))
        assert len(Reader(journal).chains()) == 1
        assert [store for _, store, _ in told(journal)] == ["other", "other", "prod", "prod"]

    def test_a_store_that_fails_to_open_leaves_nothing_running(self, journal: Path) -> None:
        """The journal is closed again, and the next store opens it."""
        with pytest.raises(InvalidRequestError):
            strongroom.open("nothing:at-all", config=config(journal))
        assert not service._shared

    def test_a_credential_that_another_store_keeps_is_recorded_as_read(self, journal: Path) -> None:
        """Reading it is an access like any other."""
        stores = (
            'machine = { url = "memory://machine-of-the-audit" }\n'
            'prod = { url = "vault://127.0.0.1:9/secret", '
            'auth = { token = "strongroom://machine/vault/token" } }'
        )
        both = config(journal, stores=stores)
        with strongroom.open("machine", config=both) as machine:
            machine.put("vault/token", text("token"))
        strongroom.open("prod", config=both).close()
        assert ("get", "machine", "ok") in told(journal)

    def test_a_forked_child_has_a_chain_of_its_own(self, journal: Path) -> None:
        """And the parent's goes on; both verify, and each has what its process did."""
        with strongroom.open("prod", config=config(journal)) as store:
            store.put(NAME, text("first"))
            child = os.fork()
            if not child:
                code = 1
                try:
                    store.put(NAME, text("second"))
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            store.put(NAME, text("third"))
        assert len(Reader(journal).chains()) == 2
        assert [one for one in told(journal) if one[2]] == [("put", "prod", "ok")] * 3
        assert not verify(journal).findings

    def test_what_a_programs_own_hook_refuses_is_recorded_as_tried(self, journal: Path) -> None:
        """The journal hears of it first, and of the refusal as its outcome."""

        class Veto(strongroom.AuditHook):
            def before(self, event: strongroom.AuditEvent) -> None:
                raise PermissionDeniedError("not today")

        store = strongroom.open("prod", config=config(journal), hooks=[Veto()])
        with store, pytest.raises(PermissionDeniedError):
            store.put(NAME, text("x"))
        assert told(journal) == [("put", "prod", None), ("put", "prod", "PermissionDeniedError")]

    def test_a_strict_store_is_one_by_its_table(self, journal: Path) -> None:
        """Each read of it has its own pair."""
        strict = config(journal, stores='prod = { url = "memory://", audit = "strict" }')
        with strongroom.open("prod", config=strict) as store:
            store.put(NAME, text("first"))
            for _ in range(3):
                store.get(NAME)
        assert told(journal).count(("get", "prod", "ok")) == 3

    def test_a_journal_that_cannot_be_made_refuses_operations_not_the_open(self, tmp_path: Path) -> None:
        """A program starts, and each of its operations says what is wrong."""
        (tmp_path / "file").write_text("")
        broken = config(tmp_path / "file" / "journal")
        with strongroom.open("prod", config=broken) as store, pytest.raises(UnavailableError) as caught:
            store.put(NAME, text("x"))
        assert caught.value.performed is False


class TestGate:
    """Without a durable disk, a named sink stands for the journal."""

    GATE = 'gate = "siem"\nsinks = [{ url = "https://siem.example.net/", name = "siem" }]'

    def test_it_has_the_intent_before_the_value_leaves(self, sink: Held) -> None:
        """The records chain as in a journal."""
        with strongroom.open("prod", config=config(None, self.GATE)) as store:
            store.put(NAME, text("first"))
            assert sink.told() == [("chain", None, None), ("event", "put", None), ("event", "put", "ok")]
            store.get(NAME)
            assert sink.told()[-1] == ("event", "get", None)
        assert sink.told()[-1] == ("event", "get", "ok")
        previous = [parse(entry.line)["prev"] for entry in sink.entries[1:]]
        from strongroom.audit.record import leaf_hash

        assert previous == [leaf_hash(entry.line).hex() for entry in sink.entries[:-1]]

    def test_a_sink_that_refuses_refuses_the_operation(self, sink: Held) -> None:
        """``performed=False``; what it did not take comes first when it is back, by the same id."""
        with strongroom.open("prod", config=config(None, self.GATE)) as store:
            store.put(NAME, text("first"))
            sink.broken = True
            with pytest.raises(UnavailableError) as caught:
                store.get("db/other")
            assert caught.value.performed is False
            assert "siem" in caught.value.message
            sink.broken = False
            store.get(NAME)
        sequence = [entry.fields["seq"] for entry in sink.entries]
        assert sequence == sorted(set(sequence)) == list(range(len(sequence)))
        assert_no_canary(*(entry.line.decode() for entry in sink.entries))

    def test_it_names_who_acted(self, sink: Held) -> None:
        """In clear: where there is no disk nobody keeps the key of a subject."""
        with strongroom.open("prod", config=config(None, self.GATE)) as store, strongroom.actor("alice"):
            store.put(NAME, text("first"))
        assert sink.entries[1].fields["actor"] == {"uid": "alice", "how": "explicit"}


class TestSinks:
    """Receivers beside the journal are fed in their own time."""

    SINK = 'sinks = [{ url = "https://siem.example.net/", name = "siem", %s }]'

    def test_one_that_never_answers_holds_up_nothing(self, sink: Held, journal: Path) -> None:
        """It has been asked and does not answer; reads and writes go on, and it gets all when it does."""
        sink.answer.clear()
        with strongroom.open("prod", config=config(journal, self.SINK % 'format = "json"')) as store:
            store.put(NAME, text("first"))
            assert sink.asked.wait(DEADLINE)
            for number in range(20):
                store.put(f"app/{number}", text("x"))
                store.get(f"app/{number}")
            assert not sink.entries
            sink.answer.set()
        assert len([one for one in told(journal) if one[2] == "ok"]) == 41

    def test_one_that_must_keep_up_stops_operations(
        self, sink: Held, journal: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``on_full = "refuse"``: no operation begins until it has caught up."""
        behind = [UnavailableError("the sink is too far behind")]
        monkeypatch.setattr(
            "strongroom.audit.shipping.Shipper.refusal", lambda self: next(iter(behind), None)
        )
        with strongroom.open("prod", config=config(journal, self.SINK % 'on_full = "refuse"')) as store:
            with pytest.raises(UnavailableError) as caught:
                store.put(NAME, text("first"))
            assert (caught.value.performed, caught.value.message) == (False, behind.pop().message)
            store.put(NAME, text("second"))


class TestKeys:
    """A key or a signer that is opened by the library is used under the audit."""

    @pytest.fixture
    def keyset(self, tmp_path: Path) -> str:
        url = f"local-key://{tmp_path}/keyset.json"
        from strongroom.backend import Settings
        from strongroom.registry import create_key

        create_key(url, Settings(), "aes-256")
        return url

    def test_each_use_has_its_pair(self, keyset: str, journal: Path) -> None:
        """Wrap and unwrap, by the alias; the data key is nowhere."""
        both = config(journal, f'[key.main]\nurl = "{keyset}"')
        key = strongroom.key("main", config=both)
        made = key.generate_data_key({"a": "b"})
        assert key.unwrap(made.wrapped, {"a": "b"}) == made.plaintext
        key.close()
        events = [one for one in records(journal) if one["kind"] == "event"]
        assert [(one["op"], one["name"], one.get("outcome")) for one in events] == [
            ("key.generate_data_key", "main", None),
            ("key.generate_data_key", "main", "ok"),
            ("key.unwrap", "main", None),
            ("key.unwrap", "main", "ok"),
        ]
        assert not service._shared

    def test_a_hook_may_refuse_it(self, keyset: str) -> None:
        """Without an audit table too; the key is not asked."""

        class Veto(strongroom.AuditHook):
            def before(self, event: strongroom.AuditEvent) -> None:
                raise PermissionDeniedError("not today")

        key = strongroom.key(keyset, config=Config(), hooks=[Veto()])
        with pytest.raises(PermissionDeniedError) as caught:
            key.generate_data_key({})
        assert caught.value.operation == "key.generate_data_key"
        key.close()

    @pytest.mark.parametrize("side", ["before", "after"])
    def test_an_interrupt_in_a_hook_carries_no_data_key(self, keyset: str, side: str) -> None:
        """No frame of the error holds the key that was wrapped, unwrapped or made."""
        key = strongroom.key(keyset, config=Config(), hooks=[strongroom.AuditHook()])
        made = key.generate_data_key({})
        assert made.plaintext
        hook = strongroom.AuditHook()
        setattr(hook, side, interrupted)
        interrupting = strongroom.key(keyset, config=Config(), hooks=[hook])
        for call in (
            lambda: interrupting.wrap(made.plaintext, {}),
            lambda: interrupting.unwrap(made.wrapped, {}),
        ):
            with pytest.raises(KeyboardInterrupt) as caught:
                call()
            frames = [entry.frame for entry in caught.traceback if "layers" in str(entry.path)]
            frames += [entry.frame for entry in caught.traceback if "event.py" in str(entry.path)]
            assert frames
            assert not [frame for frame in frames if repr(made.plaintext) in repr(dict(frame.f_locals))]
        for one in (key, interrupting):
            one.close()

    def test_what_wraps_the_subjects_records_nothing_itself(self, keyset: str, journal: Path) -> None:
        """Or each record would need another; and without that key the subjects' keys do not open."""
        both = config(journal, f'subject_key = "main"\n[key.main]\nurl = "{keyset}"')
        with strongroom.open("prod", config=both) as store, strongroom.actor("alice"):
            store.put(NAME, text("first"))
        assert told(journal) == [("put", "prod", None), ("put", "prod", "ok")]
        from strongroom.audit.subjects import Subjects

        sealed = cast("Mapping[str, str]", records(journal)[-1]["actor"])
        subjects = Subjects(journal, reading=True)
        with pytest.raises(InvalidRequestError):
            subjects.open(sealed)
        subjects.close()


class TestCommands:
    """`check` and `audit shred`."""

    @pytest.fixture
    def file(self, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / "strongroom.toml"
        file.write_text(f'[store.prod]\nurl = "memory://"\n[audit.journal]\npath = "{journal}"\n')
        monkeypatch.setenv("STRONGROOM_CONFIG", str(file))
        return file

    def run(self, *args: str) -> Any:
        return Cli()(*args, store="prod")

    def test_check_says_how_the_audit_is(self, file: Path, journal: Path, tmp_path: Path) -> None:
        """A record shows that it can be written; where it cannot, action is needed."""
        from click.testing import CliRunner

        from strongroom.cli.main import cli

        done = CliRunner().invoke(cli, ["check", "--json"], prog_name="strongroom")
        assert done.exit_code == 0
        assert json.loads(done.stdout)["audit"]["trail"] == str(journal)
        assert ("audit.check", "", "ok") in told(journal)
        file.write_text(file.read_text().replace(str(journal), str(file / "journal")))
        done = CliRunner().invoke(cli, ["check"], prog_name="strongroom")
        assert done.exit_code == 10
        assert f"audit {file}/journal: " in done.stdout
        assert "ok; " not in done.stdout

    def test_a_shredded_subject_is_nobody_and_the_journal_verifies(self, file: Path, journal: Path) -> None:
        """Its uid stays; who it was is gone, and a new access by the same person has another uid."""
        for _ in range(2):
            with strongroom.open("prod", config=file) as store, strongroom.actor("alice", address="10.1.1.1"):
                store.put(NAME, text("x"))
        assert "alice" in self.run("audit", "show").out
        before = [line.data for line in Reader(journal).lines()]
        assert self.run("audit", "shred", "alice").code == 2, "nobody can be asked"
        assert self.run("audit", "shred", "alice", "--dry-run").code == 0
        assert "alice" in self.run("audit", "show").out
        assert self.run("audit", "shred", "alice", "--yes").code == 0
        assert "alice" not in self.run("audit", "show").out
        assert self.run("audit", "shred", "alice", "--yes").code == 3
        after = [line.data for line in Reader(journal).lines()]
        assert after[: len(before)] == before
        assert not verify(journal).findings
        old = parse(before[-1])["actor"]["uid"]
        assert ("audit.shred", "", "ok") in told(journal)
        with strongroom.open("prod", config=file) as store, strongroom.actor("alice"):
            store.put(NAME, text("x"))
        assert records(journal)[-1]["actor"]["uid"] != old

    def test_nothing_of_a_shredded_subject_is_left_on_disk(self, file: Path, journal: Path) -> None:
        """Neither in clear, nor its key, nor what found it."""
        import sqlite3

        with strongroom.open("prod", config=file) as store, strongroom.actor("alice@example.net"):
            store.put(NAME, text("x"))
        with sqlite3.connect(journal / "subjects.db") as database:
            rows = database.execute("SELECT uid, handle, key FROM subject WHERE handle <> x''").fetchall()
        database.close()
        assert len(rows) == 1
        kept = [path.read_bytes() for path in journal.rglob("*") if path.is_file()]
        assert not any(b"alice@example.net" in content for content in kept)
        assert self.run("audit", "shred", "alice@example.net", "--yes").code == 0
        database_file = (journal / "subjects.db").read_bytes()
        assert not any(part in database_file for part in (rows[0][1], rows[0][2]))


def test_two_threads_that_open_at_once_share_one_service(journal: Path) -> None:
    """One makes it, both use it, the last closes it."""
    both = config(journal)
    stores = [Running(lambda: strongroom.open("prod", config=both)) for _ in range(4)]
    opened = [cast("strongroom.SecretStore", store.result()) for store in stores]
    assert len(service._shared) == 1
    for store in opened:
        store.put(NAME, text("x"))
        store.close()
    assert not service._shared
    assert len(Reader(journal).chains()) == 1


def test_making_and_changing_keys_and_keyrings_is_recorded(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the library and by the command line; what only looks at them is not."""
    (tmp_path / "keys").mkdir(mode=0o700)
    tables = (
        f'[audit.journal]\npath = "{journal}"\n[store.prod]\nurl = "memory://"\n'
        f'[key.root]\nurl = "local-key://{tmp_path}/keys/root.json"\n'
        f'[keyring.main]\nroots = ["root"]\nfile = "{tmp_path}/keys/main"\n'
    )
    (tmp_path / "strongroom.toml").write_text(tables)
    monkeypatch.setenv("STRONGROOM_CONFIG", str(tmp_path / "strongroom.toml"))
    for args in (("create", "root"), ("create", "main"), ("rotate", "main"), ("rewrap", "main"), ("list",)):
        assert Cli()("key", *args, store="prod").code == 0
    ended = [(one["op"], one["name"]) for one in records(journal) if one.get("outcome") == "ok"]
    assert ended == [
        ("key.create", "root"),
        ("keyring.create", "main"),
        ("keyring.rotate", "main"),
        ("keyring.rewrap", "main"),
    ]
    assert not service._shared


def test_what_the_audit_stands_on_can_be_made_first(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of its subjects, though nothing can be recorded without it; then everything is."""
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "strongroom.toml").write_text(
        f'[audit]\njournal = {{ path = "{journal}" }}\nsubject_key = "kek"\n[store.prod]\nurl = "memory://"\n'
        f'[key.kek]\nurl = "local-key://{tmp_path}/keys/kek.json"\n'
    )
    monkeypatch.setenv("STRONGROOM_CONFIG", str(tmp_path / "strongroom.toml"))
    assert Cli()("list", store="prod").code == 2
    assert Cli()("key", "create", "kek", store="prod").code == 0
    assert Cli()("list", store="prod").code == 0
    assert told(journal) == [("list", "prod", None), ("list", "prod", "ok")]


def test_a_signer_that_is_down_stops_no_operation(journal: Path) -> None:
    """It is opened when it first signs, in the background, and tried again there."""
    more = 'checkpoint = { signer = "hsm" }\n[key.hsm]\nurl = "pkcs11:token=t;object=k"\nmodule = "/none.so"'
    with strongroom.open("prod", config=config(journal, more)) as store:
        store.put(NAME, text("x"))
    assert told(journal)[-1] == ("put", "prod", "ok")
    assert not service._shared


def test_each_signature_has_its_pair_and_a_hook_may_refuse_one() -> None:
    """Of a message and of a digest, by the alias; the public half is no secret and no event."""
    from strongroom.backend import Clock
    from strongroom.keys import Signer
    from strongroom.layers.audited_keys import AuditedSigner
    from tests.unit.core_support import Recorder

    class Stamp(Signer):
        key_id, provider_id, algorithm = "arn:key/1", "test", "ES256"

        def sign_digest(self, digest: bytes) -> bytes:
            return b"signature"

        def public_key(self) -> bytes:
            return b"public"

    recorder, closed = Recorder(), Recorder()
    closed.close = lambda: closed.events.append(recorder.events[-1])  # type: ignore[attr-defined]
    signer = AuditedSigner(Stamp(), "audit", [recorder], Clock(), [cast("Any", closed)])
    assert (signer.key_id, signer.algorithm, signer.public_key()) == ("arn:key/1", "ES256", b"public")
    assert signer.sign(b"message") == signer.sign_digest(bytes(32)) == b"signature"
    assert recorder.told() == [("sign", None), ("sign", "ok")] * 2
    assert {(event.name, event.backend, event.location) for event in recorder.events} == {
        ("audit", "test", "arn:key/1")
    }
    recorder.fails_before = PermissionDeniedError("no")
    with pytest.raises(PermissionDeniedError):
        signer.sign(b"message")
    signer.close()
    assert closed.events, "what was opened for it ends with it"
