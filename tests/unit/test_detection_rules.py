"""Rule files: ours are Sigma to pySigma too, what our engine cannot run is refused; calendars and times."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sigma.collection import SigmaCollection
from sigma.validation import SigmaValidator
from sigma.validators.core import validators

from strongroom.audit import detect
from strongroom.audit.detect.calendars import Calendar
from strongroom.audit.detect.conditions import compile_condition
from strongroom.audit.detect.matching import compile_part
from strongroom.audit.detect.settings import DetectSettings
from strongroom.audit.detect.sigma import load_rules
from strongroom.audit.detect.spans import moment_of, parse_span, parse_time, since_epoch, written
from strongroom.errors import InvalidRequestError
from tests.scale import scaled
from tests.unit.detection_support import OFFICE, Scene, judged

SHIPPED = Path(detect.__path__[0]).parent / "rules"
# These three ask MITRE's servers what tags there are; a test asks nobody.
ONLINE = {"attacktag", "d3_fendtag", "cartag"}


def test_our_rules_are_sigma_and_pysigma_has_nothing_against_them() -> None:
    """Read and checked by the reference implementation, its advice included."""
    collection = SigmaCollection.load_ruleset([SHIPPED])
    checks = {check for name, check in validators.items() if name not in ONLINE}
    rules: Any = collection.rules
    issues = SigmaValidator(checks).validate_rules(iter(rules))
    assert len(collection.rules) == 15
    assert not collection.errors
    assert [f"{type(issue).__name__}: {[rule.title for rule in issue.rules]}" for issue in issues] == []


def test_both_read_the_same_from_our_rules() -> None:
    """Names, levels, and of correlations what is counted, by what, and in which time."""
    theirs = {str(rule.name): rule for rule in SigmaCollection.load_ruleset([SHIPPED]).rules}
    ours = {rule.name: rule for rule in load_rules()}
    assert ours.keys() == theirs.keys()
    for name, rule in ours.items():
        assert str(theirs[name].level) == rule.level
        assert str(theirs[name].id) == rule.id
        if rule.correlation:
            other: Any = theirs[name]
            assert other.type.name.lower() == rule.correlation.kind
            assert tuple(other.group_by) == rule.correlation.group_by
            assert other.timespan.seconds * 10**9 == rule.correlation.span
            assert [one.reference for one in other.rules] == list(rule.correlation.rules)


def test_the_rule_in_the_documentation_runs_here_and_is_sigma(tmp_path: Path) -> None:
    """It makes some secrets overdue after thirty days."""
    page = Path(__file__).parents[2] / "docs" / "audit-detections.md"
    text = page.read_text().split("```yaml\n")[1].split("```")[0]
    assert len(SigmaCollection.from_yaml(text).rules) == 1
    [rule] = [rule for rule in load_rules(own(tmp_path, text)) if rule.name == "rotation-overdue"]
    aged = {"kind": "age", "rotated": True, "age_days": 40}
    assert rule.matches
    assert rule.matches({**aged, "name": "exchange/hot"})
    assert not rule.matches({**aged, "name": "db/ledger"})


def own(folder: Path, text: str) -> Path:
    """A folder with one rule file."""
    (folder / "own.yml").write_text(text)
    return folder


PLAIN = """
title: Hot key used
name: hot-key
level: high
detection:
    selection:
        kind: event
        phase: outcome
        name: exchange/hot
    condition: selection
"""
OVERDUE = PLAIN.replace("hot-key", "rotation-overdue")


def test_an_operators_own_rule_runs_beside_ours(tmp_path: Path) -> None:
    """And finds what it is for."""
    rules = load_rules(own(tmp_path, PLAIN))
    assert {rule.name for rule in rules} == {"hot-key"} | {rule.name for rule in load_rules()}
    scene = Scene()
    scene.reads("web", "exchange/hot", outcome="SecretNotFoundError")
    from strongroom.audit.detect.engine import Engine
    from strongroom.audit.detect.state import State

    [found] = judged(scene.records, using=Engine(rules, State()))
    assert (found.rule, found.title) == ("hot-key", "Hot key used")


def test_a_rule_of_the_same_name_replaces_ours(tmp_path: Path) -> None:
    """Other thresholds are an operator's business."""
    [rule] = [rule for rule in load_rules(own(tmp_path, OVERDUE)) if rule.name == "rotation-overdue"]
    assert rule.title == "Hot key used"


def test_an_ingredient_alerts_by_itself_only_when_it_says_so(tmp_path: Path) -> None:
    """`generate: true` in the correlation, as Sigma has it."""
    correlation = """
---
title: Hot key used often
name: hot-key-often
level: critical
correlation:
    type: event_count
    rules: [hot-key]
    group-by: [actor.uid]
    timespan: 1h
    condition: {gt: 2}
"""
    quiet = {rule.name: rule for rule in load_rules(own(tmp_path, PLAIN + correlation))}
    assert not quiet["hot-key"].alerts
    assert quiet["hot-key-often"].correlation
    assert quiet["hot-key-often"].correlation.at_least == 3
    loud = correlation.replace("    timespan", "    generate: true\n    timespan")
    assert {rule.name: rule for rule in load_rules(own(tmp_path, PLAIN + loud))}["hot-key"].alerts


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text + ": :\n- [", "not YAML"),
        (lambda text: "- 1\n", "a mapping with a title"),
        (lambda text: text.replace("name: hot-key\n", ""), "neither name nor id"),
        (lambda text: text.replace("level: high", "level: loud"), "is no level"),
        (
            lambda text: text.replace("condition: selection", "condition: selektion"),
            "'selektion' is not a part",
        ),
        (lambda text: text.replace("condition: selection", "condition: selection and"), "ends too early"),
        (lambda text: text.replace("condition: selection", "condition: (selection"), "not closed"),
        (lambda text: text.replace("condition: selection", "condition: selection selection"), "too many"),
        (
            lambda text: text.replace("condition: selection", "condition: 1 of other*"),
            "no part of the detection",
        ),
        (lambda text: text.replace("    condition: selection\n", ""), "no detection with a condition"),
        (
            lambda text: text.replace("name: exchange/hot", "name|base64: x"),
            "uses what this engine does not know",
        ),
        (lambda text: text.replace("name: exchange/hot", "name|gte: many"), "needs a number"),
        (lambda text: text.replace("name: exchange/hot", "name|re: '('"), "no regular expression"),
        (lambda text: text.replace("name: exchange/hot", "name|cidr: 10.0.0.0/99"), "no network"),
        (
            lambda text: text.replace("    selection:", "    selection: [hot]\n    other:"),
            "a mapping of fields",
        ),
        (lambda text: text + "strongroom: {loud: yes}\n", "key, quiet and learn"),
        (lambda text: text + "strongroom: {learn: all}\n", "habit or peak"),
        (lambda text: text + "strongroom: {quiet: 5}\n", "no span of time"),
        (lambda text: text + "correlation: {type: value_avg}\n", "of a type this engine does not know"),
    ],
)
def test_what_cannot_be_run_is_refused_by_file_and_rule(
    tmp_path: Path, change: Callable[[str], str], reason: str
) -> None:
    """A rule that silently never matches would be worse than none."""
    with pytest.raises(InvalidRequestError, match=reason) as raised:
        load_rules(own(tmp_path, change(PLAIN)))
    assert "own.yml" in str(raised.value)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{type: event_count, rules: [none], timespan: 5m, condition: {gte: 3}}", "no rule is named 'none'"),
        ("{type: event_count, rules: [secret-read], timespan: 5m, condition: {lt: 3}}", "`gt` or `gte`"),
        ("{type: event_count, rules: [secret-read], timespan: 5m}", "`gt` or `gte`"),
        ("{type: value_count, rules: [secret-read], timespan: 5m, condition: {gte: 3}}", "names one field"),
        ("{type: temporal, rules: [secret-read], timespan: soon}", "no span of time"),
        ("{type: temporal, rules: [], timespan: 5m}", "lists its rules"),
        (
            "{type: temporal, rules: [secret-read], timespan: 5m, aliases: {}}",
            "a key this engine does not know",
        ),
    ],
)
def test_a_correlation_that_cannot_be_run_is_refused(tmp_path: Path, given: str, reason: str) -> None:
    """What it needs, and what it may not ask."""
    with pytest.raises(InvalidRequestError, match=reason):
        load_rules(own(tmp_path, f"title: T\nname: t\nlevel: low\ncorrelation: {given}\n"))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Or rules that somebody relies on would not run."""
    with pytest.raises(InvalidRequestError, match="no folder of rules"):
        load_rules(tmp_path / "gone")


@pytest.mark.parametrize(
    ("part", "fields", "matches"),
    [
        ({"name": "db/*"}, {"name": "DB/Ledger"}, True),
        ({"name": "db/?"}, {"name": "db/12"}, False),
        ({"name": r"db/\*"}, {"name": "db/*"}, True),
        ({"name": r"db/\*"}, {"name": "db/x"}, False),
        ({"name": r"db\x"}, {"name": r"db\x"}, True),
        ({"name": r"db\\x"}, {"name": r"db\x"}, True),
        ({"name|cased": "DB"}, {"name": "db"}, False),
        ({"name|contains": "b/l"}, {"name": "db/ledger"}, True),
        ({"name|startswith": ["x", "db"]}, {"name": "db/ledger"}, True),
        ({"name|endswith": "db"}, {"name": "db/ledger"}, False),
        ({"name|contains|all": ["db", "led"]}, {"name": "db/ledger"}, True),
        ({"name|contains|all": ["db", "x"]}, {"name": "db/ledger"}, False),
        ({"name|re": "l.dger$"}, {"name": "db/ledger"}, True),
        ({"name|re|i": "LEDGER"}, {"name": "db/ledger"}, True),
        ({"name|neq": "db"}, {"name": "db"}, False),
        ({"name|neq": "db"}, {}, True),
        ({"name|exists": True}, {"name": None}, False),
        ({"name|exists": False}, {}, True),
        ({"name": None}, {}, True),
        ({"name": ""}, {"name": ""}, True),
        ({"count": 3}, {"count": 3}, True),
        ({"count": "3"}, {"count": 3}, True),
        ({"count": 1}, {"count": True}, False),
        ({"flag": True}, {"flag": True}, True),
        ({"flag": True}, {"flag": "true"}, False),
        ({"count|gt": 3}, {"count": 3}, False),
        ({"count|gte": 3}, {"count": 3.5}, True),
        ({"count|lt": 3}, {"count": "1"}, False),
        ({"address|cidr": "10.0.0.0/8"}, {"address": "10.1.2.3"}, True),
        ({"address|cidr": "10.0.0.0/8"}, {"address": "db"}, False),
        ({"names": "b"}, {"names": ["a", "b"]}, True),
        ([{"name": "a"}, {"name": "b", "count": 1}], {"name": "b", "count": 2}, False),
        ([{"name": "a"}, {"name": "b"}], {"name": "b"}, True),
    ],
)
def test_a_part_matches_as_sigma_says(part: Any, fields: dict[str, Any], matches: bool) -> None:
    """Case, wildcards, escapes, lists, numbers, and what is absent."""
    assert compile_part(part, "rule")(fields) is matches


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "c", "1 of f*", "all of f*", "1 of them"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("not ({})".format),
        inner.map("({})".format),
    ),
    max_leaves=12,
)


@settings(max_examples=scaled(500, "conditions"), deadline=None)
@given(EXPRESSIONS)
def test_a_condition_means_what_python_makes_of_it(text: str) -> None:
    """Python's `and`, `or` and `not` bind as Sigma's do."""
    names = ("a", "b", "c", "f1", "f2", "_hidden")
    parts = {name: lambda fields, name=name: bool(fields[name]) for name in names}
    condition = compile_condition(text, parts, "rule")
    words = {"1 of f*": "(f1 or f2)", "all of f*": "(f1 and f2)", "1 of them": "(a or b or c or f1 or f2)"}
    expression = text
    for words_of, python in words.items():
        expression = expression.replace(words_of, python)
    for values in itertools.product([True, False], repeat=len(names)):
        fields = dict(zip(names, values, strict=True))
        assert condition(fields) is bool(eval(expression, {}, fields))


@settings(max_examples=scaled(200, "rule files of noise"), deadline=None)
@given(st.text(max_size=60))
def test_no_file_makes_the_reader_stumble(tmp_path_factory: pytest.TempPathFactory, noise: str) -> None:
    """Whatever stands in it, it is a rule or refused."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "own.yml").write_text(f"title: T\nname: t\ndetection:\n  s: {noise}\n  condition: {noise}\n")
    with suppress(InvalidRequestError):
        load_rules(folder)


class TestCalendars:
    """Working time, in a zone that has summer time."""

    @pytest.mark.parametrize(
        ("moment", "working"),
        [
            ("2026-03-06T06:00", True),  # Friday 07:00 in winter
            ("2026-03-06T05:59", False),
            ("2026-03-30T05:00", True),  # Monday 07:00 in summer: the clocks changed on the day before
            ("2026-03-30T17:00", False),
            ("2026-03-29T10:00", False),  # that Sunday
            ("2026-10-26T06:00", True),  # and back
            ("2026-10-26T05:30", False),
            ("2026-04-03T10:00", False),  # a holiday
            ("2026-04-02T22:30", False),  # the holiday has begun there, not the work
        ],
    )
    def test_office_hours(self, moment: str, working: bool) -> None:
        """07:00 to 19:00 in Zurich, whatever UTC says."""
        calendar = Calendar.parse(OFFICE, "here")
        assert calendar.is_working_time(datetime.fromisoformat(moment).replace(tzinfo=UTC)) is working

    @pytest.mark.parametrize(
        ("moment", "working"),
        [
            ("2026-03-06T23:00", True),
            ("2026-03-07T05:00", True),
            ("2026-03-07T23:00", False),
            ("2026-03-09T05:00", False),
        ],
    )
    def test_a_shift_over_midnight_belongs_to_the_day_it_begins_on(self, moment: str, working: bool) -> None:
        """Friday's ends on Saturday morning; Sunday has none."""
        calendar = Calendar.parse({"days": "mon-fri", "hours": "22:00-06:00"}, "here")
        assert calendar.is_working_time(datetime.fromisoformat(moment).replace(tzinfo=UTC)) is working

    def test_whole_days(self) -> None:
        """From midnight to midnight."""
        calendar = Calendar.parse({"days": "fri-mon", "hours": "00:00-24:00"}, "here")
        week = [datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(days=day) for day in range(7)]
        assert [calendar.is_working_time(day) for day in week] == [
            True,
            False,
            False,
            False,
            True,
            True,
            True,
        ]

    @pytest.mark.parametrize(
        "given",
        [
            *(
                {"zone": "UTC"},
                {"timezone": "Mars/Olympus"},
                {"timezone": "../etc/passwd"},
                {"days": "mon-fry"},
            ),
            *({"hours": "9-5"}, {"hours": "07:00"}, {"holidays": ["Easter"]}),
        ],
    )
    def test_what_is_no_calendar_is_refused(self, given: dict[str, Any]) -> None:
        """By key, with an example."""
        with pytest.raises(InvalidRequestError, match="here"):
            Calendar.parse(given, "here")


@pytest.mark.parametrize("given", [{"learning": "7d"}, {"learn": "week"}, {"calendar": {"days": "?"}}])
def test_settings_that_nobody_knows_are_refused(given: dict[str, Any]) -> None:
    """What they were meant to do would not be done."""
    with pytest.raises(InvalidRequestError, match=r"audit\.detect"):
        DetectSettings.parse(given)


@given(st.timedeltas(timedelta(0), timedelta(days=80_000)), st.integers(0, 999))
def test_times_are_exact_to_the_nanosecond(passed: timedelta, nanoseconds: int) -> None:
    """A float has no room for them."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + passed
    time = since_epoch(moment) + nanoseconds
    assert parse_time(written(time)) == time
    assert moment_of(time) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    "text", ["", "2026-13-01T00:00:00.000000000Z", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59.000000000Z"]
)
def test_no_record_hides_behind_its_time(text: str) -> None:
    """One that nobody can read counts as of now."""
    assert parse_time(text) is None
    scene = Scene()
    scene.does("web", "list", "")
    gap = {"chain": "0" * 32, "seq": 0, "time": text, "kind": "gap", "count": 1}
    [found] = judged([*scene.records, gap])
    assert found.time == parse_time(scene.records[-1]["time"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("6m", 360), ("1h", 3600), ("90d", 7_776_000), ("1M", 2_592_000)]
)
def test_spans_are_what_sigma_means(text: str, seconds: int) -> None:
    """M is a month of thirty days, m a minute."""
    assert parse_span(text, "here") == seconds * 10**9
