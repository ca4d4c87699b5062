"""``strongroom audit watch``: what it prints, records, suppresses, and how it ends."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.journal import Journal
from strongroom.audit.reading import Reader
from strongroom.clock import Clock
from strongroom.errors import UnavailableError
from tests.unit.cli_support import Cli

RULE = """
title: Hot key used
name: hot-key
level: high
detection:
    selection:
        phase: outcome
        name: exchange/hot
    condition: selection
"""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal, and no configuration in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    Journal.open(tmp_path / "journal").close()
    return tmp_path / "journal"


def asks(journal: Path, name: str = "break-glass/root", actor: str = "eve") -> None:
    """Somebody asks for a secret, and is refused."""
    event = {"op": "get", "name": name, "cid": "c1", "actor": {"uid": actor, "how": "os"}}
    with closing(Journal.open(journal)) as writer:
        writer.append({"kind": "event", "phase": "outcome", "outcome": "PermissionDeniedError", **event})


def records(journal: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind."""
    return [record for _, _, record in Reader(journal).records() if record["kind"] == kind]


def test_once_tells_what_was_found_and_that_somebody_should_act(journal: Path) -> None:
    """A line, exit 10, a record; the second time there is nothing more to tell."""
    asks(journal)
    first, second = (Cli()("audit", "watch", str(journal), "--once") for _ in range(2))
    assert first.code == 10
    assert first.out.count("\n") == 1
    assert "  high  break-glass  Break-glass secret used: op get, name break-glass/root" in first.out
    assert (second.code, second.out, second.err) == (0, "", "")
    assert len(records(journal, "detection")) == 1


def test_json_is_the_record_in_one_line(journal: Path) -> None:
    """What the sinks get, but for its place in the chain."""
    asks(journal)
    told = Cli()("--json", "audit", "watch", str(journal), "--once").json
    [record] = records(journal, "detection")
    assert told == {key: record[key] for key in told}
    assert told["facts"]["actor.uid"] == "eve"


def test_no_name_reaches_the_terminal_as_it_is(journal: Path) -> None:
    """Escape sequences, line breaks and marks that turn the direction of writing."""
    asks(journal, "break-glass/\x1b[2J\r\n\u202eroot\u2028")
    out = Cli()("audit", "watch", str(journal), "--once").out
    assert out.count("\n") == 1
    assert not set(out) & set("\x1b\r\u202e\u2028")


def test_the_configuration_says_how_it_judges(journal: Path, tmp_path: Path) -> None:
    """The journal, and the rules in a folder of the operator's."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "own.yml").write_text(RULE)
    (tmp_path / "strongroom.toml").write_text(
        f'[audit]\njournal = {{ path = "{journal}" }}\n[audit.detect]\nrules = "{tmp_path / "rules"}"\n'
        'learn = "0s"\ncalendar = { timezone = "Europe/Zurich", days = "mon-fri" }\n'
    )
    asks(journal, "exchange/hot")
    assert "hot-key" in Cli()("audit", "watch", "--once").out


def test_the_configured_sinks_take_a_detection_at_once(journal: Path, tmp_path: Path) -> None:
    """Also where no application runs that would ship it."""
    (tmp_path / "strongroom.toml").write_text(
        f'[audit]\njournal = {{ path = "{journal}" }}\nsinks = [{{ url = "file://{tmp_path}/siem.jsonl" }}]\n'
    )
    asks(journal)
    assert Cli()("audit", "watch", "--once").code == 10
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "siem.jsonl").read_text().splitlines()]
    assert kinds.count("detection") == 1


def test_a_folder_of_rules_may_be_given(journal: Path, tmp_path: Path) -> None:
    """To try them on a copy of a journal."""
    (tmp_path / "own.yml").write_text(RULE)
    asks(journal, "exchange/hot")
    assert "hot-key" in Cli()("audit", "watch", str(journal), "--once", "--rules", str(tmp_path)).out


def test_a_rule_that_cannot_be_run_is_a_usage_error(journal: Path, tmp_path: Path) -> None:
    """With the file and the rule, before anything is judged."""
    (tmp_path / "own.yml").write_text(RULE.replace("condition: selection", "condition: all"))
    done = Cli()("audit", "watch", str(journal), "--once", "--rules", str(tmp_path))
    assert done.code == 2
    assert "own.yml: hot-key" in done.err


def test_learning_takes_what_is_there_for_normal(journal: Path) -> None:
    """But a break-glass secret is never normal."""
    with closing(Journal.open(journal)) as writer:
        for number in range(30):
            event = {
                "op": "get",
                "name": f"db/{number}",
                "cid": f"c{number}",
                "actor": {"uid": "web", "how": "os"},
            }
            writer.append({"kind": "event", "phase": "outcome", "outcome": "ok", **event}, durable=False)
    assert Cli()("audit", "watch", str(journal), "--once", "--learn").out == ""
    asks(journal)
    assert "break-glass" in Cli()("audit", "watch", str(journal), "--once", "--learn").out


def test_a_suppression_is_recorded_with_who_and_why(journal: Path) -> None:
    """For one identity and one secret; another is told."""
    options = ("--for", "2h", "--reason", "drill 7", "--actor", "a11ce", "--name", "break-glass/root")
    done = Cli()("audit", "watch", str(journal), "--suppress", "break-glass", *options)
    assert (done.code, done.err) == (0, "")
    [record] = records(journal, "suppression")
    assert record["reason"] == "drill 7"
    assert record["facts"] == {"name": "break-glass/root", "actor.uid": "a11ce"}
    assert record["actor"]["how"] == "os"
    for actor in ("a11ce", "eve"):
        asks(journal, actor=actor)
    [told] = [
        json.loads(line)
        for line in Cli()("--json", "audit", "watch", str(journal), "--once").out.splitlines()
    ]
    assert told["facts"]["actor.uid"] == "eve"


@pytest.mark.parametrize(
    "options",
    [
        ("--suppress", "break-glas", "--for", "2h", "--reason", "drill"),
        ("--suppress", "break-glass", "--for", "2h"),
        ("--suppress", "break-glass", "--reason", "drill"),
        ("--suppress", "break-glass", "--for", "91d", "--reason", "drill"),
        ("--for", "2h", "--once"),
    ],
)
def test_a_suppression_that_says_too_little_is_refused(journal: Path, options: tuple[str, ...]) -> None:
    """Nothing is recorded."""
    assert Cli()("audit", "watch", str(journal), *options).code == 2
    assert records(journal, "suppression") == []


def test_it_follows_until_it_is_interrupted(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written meanwhile is told once it is old enough for others to have written theirs."""
    waits = []

    def sleep(self: Clock, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            asks(journal)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Clock, "sleep", sleep)
    (journal.parent / "strongroom.toml").write_text(
        f'[audit]\njournal = {{ path = "{journal}" }}\ndetect = {{ lateness = "0s" }}\n'
    )
    done = Cli()("audit", "watch")
    assert done.code == 130
    assert done.out.count("break-glass/root") == 1


def test_a_full_disk_ends_a_watcher_and_not_the_watch(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told on stderr, and tried again."""
    waits: list[float] = []

    def sleep(self: Clock, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    def full(self: object, *, drain: bool = False) -> None:
        raise UnavailableError("no space left on device")

    monkeypatch.setattr(Clock, "sleep", sleep)
    monkeypatch.setattr("strongroom.audit.detect.watcher.Watcher.poll", full)
    done = Cli()("audit", "watch", str(journal))
    assert done.err.count("no space left on device; trying again") == 2
    assert waits == [10.0, 10.0]
