"""``audit show`` and ``audit export``: what is in a journal, for people and for a SIEM."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import strongroom
from strongroom.audit.actor import Actor
from strongroom.audit.journal import Journal
from strongroom.audit.record import encode, stamp
from strongroom.audit.subjects import Subjects
from strongroom.cli.journals import moment
from strongroom.errors import InvalidRequestError
from tests.canary import CANARY, assert_no_canary
from tests.scale import scaled
from tests.unit.audit_records import CHAIN, HEAD, names, record
from tests.unit.cef_reader import read_cef
from tests.unit.cli_support import Cli

ALICE, BOB = Actor("alice@example.net", "explicit"), Actor("bob@example.net", "os")
AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def sides(journal: Journal, name: str, op: str = "get", **fields: Any) -> None:
    """The intent and the outcome of one operation."""
    fields = {"kind": "event", "op": op, "name": name, "cid": f"{op}-{name[:9]}", "store": "prod", **fields}
    journal.append({**fields, "phase": "intent"}, durable=False)
    journal.append({**fields, "phase": "outcome", "outcome": "ok", "version": "v-1"}, durable=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal of two people, an accounted read, a gap, and an intent without an outcome."""
    path = tmp_path / "journal"
    journal, subjects = Journal.open(path), Subjects(path)
    alice, bob = subjects.seal(ALICE), subjects.seal(BOB)
    sides(journal, "db/password", time=stamp(AT), actor=alice)
    sides(journal, "api/key", "put", time=stamp(AT + timedelta(hours=1)), actor=bob)
    sides(journal, "db/other", "pending.put", time=stamp(AT + timedelta(hours=2)), actor=alice)
    reads = [["db/password", "v-1", 40], ["api/key", "v-1", 2]]
    times = {"since": stamp(AT), "time": stamp(AT + timedelta(hours=3))}
    journal.append({"kind": "reads", "reads": reads, "store": "prod", **times})
    gap = {"since": stamp(AT), "until": stamp(AT), "count": 3, "reason": "disk full"}
    journal.append({"kind": "gap", "time": stamp(AT + timedelta(hours=4)), **gap})
    lost = {"kind": "event", "phase": "intent", "op": "purge", "name": "old", "cid": "lost", "actor": bob}
    journal.append({**lost, "time": stamp(AT + timedelta(hours=5))})
    journal.close()
    subjects.close()
    return path


def shown(folder: Path, *options: str) -> list[dict[str, Any]]:
    """The records that ``audit show --json`` gives."""
    result = Cli()("audit", "show", str(folder), "--json", *options)
    assert result.code == 0
    assert result.out.isascii()
    records: list[dict[str, Any]] = result.json["records"]
    return records


def told(records: list[dict[str, Any]]) -> list[str]:
    return [f"{found.get('op', found['kind'])} {found.get('name', '')}".rstrip() for found in records]


def test_show_is_a_table_of_what_happened(folder: Path) -> None:
    """One line an operation, the actor by name, a lone intent as what it is; no bookkeeping."""
    result = Cli()("audit", "show", str(folder))
    assert result.code == 0
    head, *rows = result.out.splitlines()
    assert head.split() == "time operation name outcome actor store version record".split()  # noqa: SIM905
    assert len(rows) == 6
    assert rows[0].split()[2:8] == ["get", "db/password", "ok", "alice@example.net", "prod", "v-1"]
    assert "db/password x40, api/key x2" in rows[3]
    assert "3 operations went unrecorded" in rows[4]
    assert rows[5].split()[2:6] == ["purge", "old", "intent", "bob@example.net"]


def test_show_all_has_every_record(folder: Path) -> None:
    """The intents that were answered, and what the journal says of itself."""
    everything = shown(folder, "--all", "-n", "0")
    assert [found["seq"] for found in sorted(everything, key=lambda found: found["seq"])] == list(range(10))
    assert sum(found["kind"] == "chain" for found in everything) == 1
    assert len(shown(folder, "-n", "0")) == 6


def test_show_has_the_last_ones(folder: Path) -> None:
    """As many as asked for, counted in what is shown."""
    assert told(shown(folder, "-n", "2")) == ["gap", "purge old"]
    assert told(shown(folder, "-n", "2", "--op", "pending.*", "--op", "put")) == [
        "put api/key",
        "pending.put db/other",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--op", "get"], ["get db/password", "reads"]),
        (["--op", "p*"], ["put api/key", "pending.put db/other", "purge old"]),
        (["--name", "db/*"], ["get db/password", "pending.put db/other", "reads"]),
        (["--name", "api/key"], ["put api/key", "reads"]),
        (["--actor", "bob@example.net"], ["put api/key", "purge old"]),
        (["--actor", "nobody"], []),
        (["--since", "2026-11-23T15:00:00Z"], ["reads", "gap", "purge old"]),
        (["--until", "2026-11-23T14:00:00+01:00"], ["get db/password"]),
        (["--since", "2026-11-23T13:00", "--until", "2026-11-23T14:00"], ["put api/key"]),
        (["--until", "2026-11-23"], []),
    ],
)
def test_show_and_export_take_the_same_filters(folder: Path, options: list[str], expected: list[str]) -> None:
    """All that are given must fit; patterns are the shell's, times are UTC unless they say otherwise."""
    assert told([one for one in shown(folder, *options) if one["kind"] != "chain"]) == expected
    lines = Cli()("audit", "export", str(folder), *options).out.splitlines()
    exported = [json.loads(line) for line in lines]
    answers = [one for one in exported if one.get("phase") != "intent" or one["cid"] == "lost"]
    assert told([one for one in answers if one["kind"] != "chain"]) == expected


def test_export_writes_the_journals_own_lines(folder: Path) -> None:
    """JSON is what stands there, byte for byte, so that what was exported can be proved."""
    [segment] = folder.glob("chains/*/*.jsonl")
    result = Cli()("audit", "export", str(folder))
    assert sorted(result.out.encode().splitlines()) == sorted(segment.read_bytes().splitlines())


def test_export_does_not_tell_who_acted_unless_asked(folder: Path) -> None:
    """A copy would keep the name of who is shredded in the journal."""
    for form in ("json", "ocsf", "ecs", "cef"):
        sealed = Cli()("audit", "export", str(folder), "--format", form).out
        opened = Cli()("audit", "export", str(folder), "--format", form, "--open-actors").out
        assert "alice@example.net" not in sealed
        assert "alice@example.net" in opened


def test_export_knows_the_host_from_the_chains_first_record(folder: Path) -> None:
    """Also of records that are asked for without that one."""
    out = Cli()("audit", "export", str(folder), "--format", "ocsf", "--op", "put").out
    hosts = {json.loads(line)["src_endpoint"].get("hostname") for line in out.splitlines()}
    assert len(hosts) == 1
    assert None not in hosts


def test_export_to_a_file_is_private_and_replaces_nothing(folder: Path, tmp_path: Path) -> None:
    """0600, since names of secrets stand in it; a file that is there is a conflict."""
    out = tmp_path / "records.cef"
    call = ("audit", "export", str(folder), "--format", "cef", "-o", str(out))
    assert Cli()(*call).code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert len(out.read_text().splitlines()) == 10
    assert all(read_cef(line).extension["cs1"] for line in out.read_text().splitlines())
    assert Cli()(*call).code == 5
    assert Cli()(*call, "--replace").code == 0


def test_no_export_holds_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store that is audited: its records tell of the secret, never what it is."""
    monkeypatch.chdir(tmp_path)
    run, alias = Cli(), "local"
    assert run("init", "--yes").code == 0
    with (tmp_path / "strongroom.toml").open("a") as file:
        file.write(f'\n[audit]\njournal = {{ path = "{tmp_path}/audit" }}\n')
    assert run("put", "db/password", stdin=CANARY, store=alias).code == 0
    assert run("get", "db/password", store=alias).code == 0
    for form in ("json", "ocsf", "ecs", "cef"):
        out = run("audit", "export", "--format", form, "--open-actors").out
        assert "db/password" in out
        assert_no_canary(out)
    assert_no_canary(run("audit", "show", "--full", "--all").out)


def test_the_subjects_key_of_the_configuration_opens_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it is told who acted; reading writes nothing into the journal."""
    monkeypatch.chdir(tmp_path)
    run, key = Cli(), f"local-key://{tmp_path}/subjects.keyset"
    assert run("key", "create", key).code == 0
    journal = f'[audit]\njournal = {{ path = "{tmp_path}/audit" }}\nsubject_key = "subjects"\n'
    configured = f'[store]\nmain = {{ url = "{run.url}" }}\n[key]\nsubjects = {{ url = "{key}" }}\n{journal}'
    (tmp_path / "strongroom.toml").write_text(configured)
    with strongroom.open("main") as store, strongroom.actor("alice@example.net"):
        store.put("db/password", CANARY)
    files = [path.read_bytes() for path in tmp_path.glob("audit/chains/*/*.jsonl")]
    assert "alice@example.net" in run("audit", "show").out
    assert "alice@example.net" in run("audit", "show", "--actor", "alice@example.net").out
    assert [path.read_bytes() for path in tmp_path.glob("audit/chains/*/*.jsonl")] == files
    (tmp_path / "strongroom.toml").unlink()
    assert "alice" not in run("audit", "show", str(tmp_path / "audit")).out


def test_a_shredded_actor_is_a_uid(folder: Path) -> None:
    """What nobody can know any more is shown as the subject that it was."""
    subjects = Subjects(folder)
    uid = subjects.find("alice@example.net") or ""
    assert subjects.shred(uid)
    subjects.close()
    out = Cli()("audit", "show", str(folder), "--actor", uid).out
    assert f"subject {uid[:8]}" in out
    assert "alice" not in out
    assert told(shown(folder, "--actor", uid)) == ["get db/password", "pending.put db/other"]


def test_without_the_subjects_file_actors_stay_sealed(folder: Path) -> None:
    """The journal alone is enough to read it."""
    (folder / "subjects.db").unlink()
    result = Cli()("audit", "show", str(folder))
    assert result.code == 0
    assert "alice" not in result.out
    assert result.out.count("subject ") == 4


def test_wrapped_keys_without_their_wrapper_are_said_once(folder: Path) -> None:
    """Whose keys are not at hand is told on stderr; the records are shown all the same."""
    import sqlite3

    with sqlite3.connect(folder / "subjects.db") as connection:
        connection.execute('UPDATE subject SET wrapped = \'["aws-kms", "00"]\'')
    connection.close()
    [uid] = {one["actor"]["uid"] for one in shown(folder, "--op", "put")}
    for options in ((), ("--actor", uid)):
        result = Cli()("audit", "show", str(folder), *options)
        assert result.code == 0
        assert result.err.count("actors stay sealed") == 1
        assert "api/key" in result.out
        assert ("db/password" in result.out) == (not options)


def test_the_configured_journal_is_the_default(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`[audit]` names it; without one the command says what to name."""
    monkeypatch.chdir(tmp_path)
    assert Cli()("audit", "show").code == 2
    (tmp_path / "strongroom.toml").write_text(f'[audit]\njournal = {{ path = "{folder}" }}\n')
    assert "db/password" in Cli()("audit", "show").out


def test_a_folder_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """Rather than told to be empty."""
    for command in ("show", "export"):
        result = Cli()("audit", command, str(tmp_path))
        assert result.code == 2
        assert "is not an audit journal" in result.err


def test_lines_that_are_no_records_are_an_integrity_failure(folder: Path) -> None:
    """The good ones are told, then the command fails: an export with holes is never taken for whole."""
    [segment] = folder.glob("chains/*/*.jsonl")
    forged = {
        **HEAD,
        "chain": segment.parent.name,
        "kind": "event",
        "phase": "outcome",
        "op": "get",
        "seq": "x",
    }
    with segment.open("ab") as file:
        file.write(json.dumps(forged).encode() + b"\n" + b'{"time": NaN}\n')
    for command in ("show", "export"):
        result = Cli()("audit", command, str(folder))
        assert result.code == 7
        assert "2 lines of the journal are not records" in result.err
        assert "db/password" in result.out


@pytest.mark.parametrize("said", ["yesterday", "1w", "", "h", "-3h", "²h", "9" * 30 + "d", "2026-13-01"])
def test_what_is_no_moment_is_refused(said: str) -> None:
    """With the forms there are."""
    with pytest.raises(InvalidRequestError, match="no moment"):
        moment(said)


def test_moments_are_told_as_records_tell_time() -> None:
    """A day begins at midnight, UTC; an offset counts; how long ago is counted from now."""
    assert moment("2026-11-23") == "2026-11-23T00:00:00.000000000Z"
    assert moment("2026-11-23T09:30:00+01:00") == "2026-11-23T08:30:00.000000000Z"
    before = stamp(datetime.now(UTC) - timedelta(minutes=90, seconds=1))
    assert before < moment("90m") < stamp(datetime.now(UTC))


def journal_of(folder: Path, *found: dict[str, Any]) -> None:
    """A journal of these records, as far as a reader that does not verify can tell."""
    chain = folder / "chains" / CHAIN
    chain.mkdir(parents=True, exist_ok=True)
    (chain / "00000001.jsonl").write_bytes(b"".join(encode(one) + b"\n" for one in found))


@settings(
    max_examples=scaled(500, "names on the terminal", 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=names)
def test_no_name_reaches_the_terminal_as_more_than_text(tmp_path: Path, name: str) -> None:
    """One row a record, printable alone; JSON is ASCII: no escape sequence, line or direction."""
    detection = record("detection", title=name, seq=8)
    journal_of(tmp_path, record(name=name, store=name, version=name, actor=None), detection)
    for options in ((), ("--full",)):
        out = Cli()("audit", "show", str(tmp_path), *options).out
        assert out.endswith("\n")
        assert len(out.splitlines()) == 3
        assert all(line.isprintable() for line in out.split("\n"))
    assert {one["seq"] for one in shown(tmp_path)} == {7, 8}
