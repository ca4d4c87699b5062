"""What the report counts, says and writes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.audit.journal import Journal
from strongroom.audit.record import stamp
from strongroom.audit.report.charts import _nice, timeline
from strongroom.audit.report.figures import Figures, Timeline
from strongroom.audit.report.html import element
from strongroom.audit.report.page import page
from strongroom.audit.report.words import many, share, span
from strongroom.audit.verify_report import Finding, Kind, Report
from strongroom.cli.main import cli
from tests.canary import assert_no_canary
from tests.scale import scaled
from tests.unit.audit_records import CHAIN
from tests.unit.cli_support import Result
from tests.unit.report_support import HOSTILE, Fortnight, fortnight

MADE = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> Fortnight:
    """A journal with names that would be markup."""
    return fortnight(tmp_path, per_day=2, names=HOSTILE)


def run(*args: object) -> Result:
    done = CliRunner().invoke(cli, ["audit", "report", *map(str, args)], prog_name="strongroom")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert_no_canary(done.stdout_bytes, done.stderr)
    return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


def _record(kind: str, minute: int = 0, **more: Any) -> dict[str, Any]:
    time = stamp(MADE + timedelta(minutes=minute))
    return {"chain": CHAIN, "seq": minute, "time": time, "kind": kind, **more}


def _event(operation: str, minute: int = 0, **more: Any) -> dict[str, Any]:
    told = {"phase": "outcome", "op": operation, "name": "db/a", "outcome": "ok", "actor": {"uid": "u"}}
    return _record("event", minute, **{**told, **more})


class TestFigures:
    """The counts."""

    def test_each_access_is_counted_once(self) -> None:
        """By its outcome, not by its intent; accounted reads by their number."""
        records = [
            _event("get", phase="intent", cid="1"),
            _event("get", cid="1"),
            _event("put", 1, cid="2"),
            _event("get", 2, cid="3", outcome="PermissionDeniedError"),
            _record("reads", 3, since=stamp(MADE), reads=[["db/a", "v", 40], ["db/b", "v", 2]]),
        ]
        figures = Figures().take(records)
        assert figures.kinds == {"read": 43, "change": 1, "failure": 1}
        assert figures.secrets["db/a"].kinds == {"read": 41, "change": 1, "failure": 1}
        assert figures.secrets["db/b"].total == 2
        assert figures.actors["u"].others == {"db/a": 3}
        assert (figures.records, figures.outcomes, len(figures.open)) == (5, {"PermissionDeniedError": 1}, 0)

    def test_what_has_no_outcome_is_told(self) -> None:
        """A process died, or the outcome could not be recorded."""
        intents = [_event("put", phase="intent", cid=str(n), outcome=None) for n in range(3)]
        assert len(Figures().take([*intents, _event("put", cid="1")]).open) == 2

    def test_a_listing_is_of_no_secret(self) -> None:
        """Its name is a prefix."""
        figures = Figures().take([_event("list_names", name="db/")])
        assert (figures.kinds["read"], figures.secrets, figures.actors["u"].total) == (1, {}, 1)

    def test_the_journals_own_records_are_no_accesses(self) -> None:
        """Of each kind there is; each is counted where it belongs."""
        records = [
            _record("chain", library="x"), _record("adopt", library="x"), _record("segment", next="x"),
            _record("recovery", lost=1), _record("skipped", sink="s", count=5),
            _record("gap", since=stamp(MADE), until=stamp(MADE), count=2),
            _record("detection", rule="r", severity="high"), _record("suppression", rule="r"),
        ]  # fmt: skip
        figures = Figures().take(records)
        assert figures.kinds.total() == 0
        assert (figures.recoveries, figures.skipped, len(figures.gaps)) == (1, 5, 1)
        assert (figures.severities, len(figures.suppressions)) == ({"high": 1}, 1)

    @settings(max_examples=scaled(200, "timelines"))
    @given(st.lists(st.integers(0, 2**32), max_size=40))
    def test_a_timeline_of_any_span_fits_and_loses_nothing(self, seconds: list[int]) -> None:
        """From a minute to a century, in any order; each access stands in its step."""
        line = Timeline()
        for second in seconds:
            line.add(second, "read", 1)
        buckets = line.buckets()
        assert len(buckets) <= 96
        assert sum(counts.total() for _, counts in buckets) == len(seconds)
        for second in seconds:
            assert dict(buckets)[second // line.step * line.step]["read"] >= 1

    def test_steps_grow_as_little_as_needed(self) -> None:
        """A day is told by quarters of an hour."""
        line = Timeline()
        for minute in range(0, 24 * 60, 5):
            line.add(minute * 60, "read", 1)
        assert (line.step, len(line.buckets())) == (15 * 60, 96)


class TestWords:
    """Numbers as people read them."""

    def test_all_is_only_all(self) -> None:
        """One record of a million is not rounded away."""
        shown = [share(part, 10**6) for part in (0, 1, 999_999, 10**6)]
        assert shown == ["0 %", "< 0.1 %", "99.9 %", "100 %"]
        assert share(0, 0) != "0 %"

    def test_one_is_not_many(self) -> None:
        """And thousands stand apart."""
        assert (many(1, "read"), many(12345, "access", "accesses")) == ("1 read", "12,345 accesses")

    def test_a_step_is_told_by_what_is_in_it(self) -> None:
        """Hours of a day, a day, days."""
        at = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp())
        said = [span(at, step).replace("\u2013", "-") for step in (3600, 86400, 7 * 86400)]
        assert said == ["Mon 23 Nov, 00:00-01:00", "Mon 23 Nov", "Mon 23 Nov - Sun 29 Nov"]


class _Page(HTMLParser):
    """What a browser would see: elements, attributes, texts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.texts = Counter[str](), list[tuple[str, str]](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


NAMES = st.text(max_size=30) | st.sampled_from(HOSTILE)


@settings(max_examples=scaled(200, "names in a report"))
@given(NAMES, NAMES, NAMES)
def test_no_name_is_ever_markup(name: str, actor: str, title: str) -> None:
    """Whatever stands in names, actors and titles: the page has the elements that it has with plain ones."""

    def tags(name: str, actor: str, title: str) -> Counter[str]:
        records = [
            _event("get", name=name, actor={"uid": actor}, outcome="UnavailableError"),
            _record(
                "detection", rule=title, title=title, severity=title, facts={title: name}, records=[name]
            ),
            _record("suppression", rule=title, reason=name),
        ]
        report = Report("x", origin=name, findings=[Finding(Kind.ALTERED, title, record=name)], notes=[actor])
        text = page(Figures().take(records), report, made=MADE, asked=name)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u2028\u2029\u202e]", text)
        return _Page(text).tags

    filled = [text or "x" for text in (name, actor, title)]
    assert tags(*filled) == tags("a", "b", "c")


def test_an_attribute_cannot_be_ended() -> None:
    """By any quote."""
    found = _Page(element("p", title="\"'><script>alert(1)</script>", hidden=True))
    assert (found.tags, dict(found.attributes)["title"]) == ({"p": 1}, "\"'><script>alert(1)</script>")


def test_the_page_loads_nothing_and_may_not(made: Fortnight) -> None:
    """No address in it; a policy that lets only this style and this script be used."""
    text = run(made.path, "--html").out
    found = _Page(text)
    assert not found.tags.keys() & {"link", "img", "iframe", "object", "embed", "base", "form"}
    names = {name for name, _ in found.attributes}
    assert not {name for name in names if name in ("src", "style", "action") or name.startswith("on")}
    assert {value[0] for name, value in found.attributes if name == "href"} == {"#"}
    assert "://" not in text
    policy = next(value for name, value in found.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    for tag in ("style", "script"):
        [source] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_nobodys_name_is_in_it_unless_asked_for(made: Fortnight) -> None:
    """Who is shredded in the journal would live on in a copy."""
    assert "mallory" not in run(made.path).out
    assert "mallory@example.com" in run(made.path, "--open-actors").out


def test_the_verdict_is_the_verifiers(made: Fortnight) -> None:
    """Unanchored is said plainly, and broken with the first bad record."""
    assert "<strong>Unanchored</strong>" in run(made.path).out
    assert "<strong>Unanchored</strong>" in run(made.path, "--key", made.key).out
    assert "<strong>Proved</strong>" in run(made.path, "--key", made.key, "--anchor", made.anchor).out
    [segment] = made.path.glob("chains/*/00000001.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"db/orders", b"db/0rders", 1))
    broken = run(made.path, "--key", made.key, "--anchor", made.anchor).out
    assert re.search("<strong>Broken</strong><span>altered: [0-9a-f]{32}:", broken)


def test_part_of_the_time_may_be_asked_for(made: Fortnight, tmp_path: Path) -> None:
    """The page says so; the proof stays that of the whole journal."""
    done = run(made.path, "--since", "2026-11-21", "--until", "2026-11-22", "-o", "r.html", "--json")
    assert done.json["accesses"]["read"] < 40
    text = (tmp_path / "r.html").read_text()
    assert "Only what was from 21 Nov 2026, 00:00 until 22 Nov 2026, 00:00 UTC" in text
    assert run(made.path, "--since", "someday").code == 2


def test_the_file_is_private_and_not_written_over(made: Fortnight, tmp_path: Path) -> None:
    """Unless that is said."""
    told = run(made.path, "-o", "r.html", "--key", made.key, "--anchor", made.anchor)
    assert re.fullmatch(r"r\.html: \d+ records; the journal is ok\n", told.out)
    assert (tmp_path / "r.html").stat().st_mode & 0o777 == 0o600
    assert run(made.path, "-o", "r.html").code == 5
    assert json.loads(run(made.path, "-o", "r.html", "--replace", "--json").out)["status"] == "unanchored"


def test_an_empty_journal_has_a_page_too(tmp_path: Path) -> None:
    """It says that nothing was."""
    Journal.open(tmp_path / "journal").close()
    (tmp_path / "journal" / "chains").mkdir(exist_ok=True)
    text = run("journal").out
    assert "no records" in text
    assert "Nothing failed." in text
    assert "Nothing was detected." in text
    assert run("nowhere").code == 2


@given(st.integers(1, 10**12))
def test_the_scale_is_as_high_as_needed(most: int) -> None:
    """It has a half, and the bars take half of it at least."""
    top = _nice(most)
    assert most <= top <= max(2 * most, 2)
    assert top % 2 == 0


def test_one_failure_among_thousands_is_seen() -> None:
    """Its bar is not rounded away."""
    line = Timeline()
    line.add(0, "read", 100_000)
    line.add(0, "failure", 1)
    assert re.search(r'height="2\.00" class="failure"', timeline(line))
