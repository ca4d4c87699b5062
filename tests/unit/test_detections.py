"""What the shipped rules find in scenes, and what they leave alone; records are dicts, no disk is touched."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.audit.detect.engine import PATIENCE, Detection
from strongroom.audit.detect.spans import SECOND, since_epoch, written
from strongroom.audit.record import encode, stamp
from tests.scale import NIGHTLY, scaled
from tests.unit.detection_fixtures import FOLDER, SCENES, SECRETS, SETTINGS
from tests.unit.detection_normal import Company
from tests.unit.detection_support import MONDAY, OFFICE, RULES, Scene, engine, judged, merged

ALERTS = sorted(SCENES)


def rules_of(found: list[Detection]) -> list[str]:
    """The names of the rules that found something."""
    return [detection.rule for detection in found]


def fixture(name: str) -> list[dict[str, Any]]:
    """The records of a fixture on disk."""
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


def after(records: list[dict[str, Any]]) -> datetime:
    """A while after the last record."""
    return datetime.fromisoformat(records[-1]["time"][:19]).replace(tzinfo=UTC) + timedelta(minutes=5)


def test_each_shipped_rule_has_a_fixture() -> None:
    """And the other way round: these are the ten."""
    assert (
        ALERTS
        == sorted(rule.name for rule in RULES if rule.alerts)
        == sorted(p.stem for p in FOLDER.glob("*.jsonl"))
    )
    assert len(ALERTS) == 11


@pytest.mark.parametrize("name", ALERTS)
def test_a_fixture_fires_its_rule_once_and_no_other(name: str) -> None:
    """Learning and calendar as the fixtures' settings say; what is found names its records, as a record."""
    records = fixture(name)
    [found] = judged(records, after(records), learn="7d", **SETTINGS)
    assert found.rule == name
    assert set(found.records) <= {f"{record['chain']}:{record['seq']}" for record in records}
    head = {"v": 1, "chain": "0" * 32, "seq": 0, "prev": "0" * 64, "time": written(found.time), "mono": 1}
    assert json.loads(encode({**head, **found.as_record()}))["rule"] == name


@pytest.mark.parametrize("name", ALERTS)
def test_the_fixtures_are_what_the_scenes_write(name: str) -> None:
    """`python -m tests.unit.detection_fixtures` writes them anew."""
    assert (FOLDER / f"{name}.jsonl").read_bytes() == SCENES[name]().lines()
    assert json.loads((FOLDER / "settings.json").read_text()) == SETTINGS


@pytest.mark.parametrize("seed", range(scaled(10, "weeks of normal traffic")))
def test_a_week_of_normal_traffic_fires_nothing(seed: int) -> None:
    """After a week of learning: restarts, kills, deployments, refusals, faults, a new secret, a rotation."""
    records = Company(seed, pace=30 if NIGHTLY else 480).records()
    assert judged(records, MONDAY + timedelta(days=15), learn="7d", **SETTINGS) == []


@settings(max_examples=scaled(100, "interleavings of chains"), deadline=None)
@given(st.data())
def test_however_chains_arrive_a_burst_fires_once(data: st.DataObject) -> None:
    """Three processes of one identity, read one after another or in turns; each chain keeps its order."""
    scenes = [Scene(MONDAY, chain) for chain in (1, 2, 3)]
    for number, name in enumerate(SECRETS[:21]):
        scene = data.draw(st.sampled_from(scenes))
        scene.at(MONDAY + timedelta(seconds=17 * number)).reads("a11ce", name)
    waiting = [list(scene.records) for scene in scenes]
    arrived = []
    while any(waiting):
        arrived.append(data.draw(st.sampled_from([chain for chain in waiting if chain])).pop(0))
    assert rules_of(judged(arrived)).count("distinct-secret-burst") == 1


def test_the_same_history_gives_the_same_detections() -> None:
    """With the same ids, also if it is judged in one process or in two."""
    records = [*fixture("denied-burst")]
    once = judged(records, after(records), learn="7d", **SETTINGS)
    again = judged(records, after(records), learn="7d", **SETTINGS)
    assert once == again
    assert once[0].facts["id"] == again[0].facts["id"]


class TestBursts:
    """Counting within a span of time."""

    def test_nine_refusals_are_not_ten(self) -> None:
        """The threshold is of one identity."""
        scene = Scene()
        for number in range(18):
            scene.wait(seconds=10).reads(
                ("a11ce", "b0b")[number % 2], "db/ledger", outcome="PermissionDeniedError"
            )
        assert judged(scene.records) == []

    def test_refusals_spread_over_more_than_the_span_are_no_burst(self) -> None:
        """Ten in five minutes and a half."""
        scene = Scene()
        for _ in range(10):
            scene.wait(seconds=36).reads("a11ce", "db/ledger", outcome="PermissionDeniedError")
        assert judged(scene.records) == []

    def test_a_burst_that_goes_on_is_told_again_after_the_span(self) -> None:
        """Not with every further refusal, and not only once for ever."""
        scene = Scene()
        for _ in range(60):
            scene.wait(seconds=20).reads("a11ce", "db/ledger", outcome="PermissionDeniedError")
        found = judged(scene.records)
        assert rules_of(found) == ["denied-burst"] * 4
        assert all(b.time - a.time >= 300 * SECOND for a, b in pairwise(found))

    def test_one_secret_read_a_hundred_times_is_no_burst(self) -> None:
        """Different names count."""
        scene = Scene()
        for _ in range(100):
            scene.wait(seconds=1).reads("a11ce", "db/ledger")
        assert "distinct-secret-burst" not in rules_of(judged(scene.records))

    def test_one_request_for_many_counts_each_name(self) -> None:
        """The journal has a record for each name of a `get_many`, all of one correlation id."""
        scene = Scene()
        for phase in ("intent", "outcome"):
            for name in SECRETS[:20]:
                done = {"outcome": "ok", "version": "v1"} if phase == "outcome" else {}
                scene.add(
                    "event", phase=phase, op="get_many", name=name, cid="c1", actor={"uid": "a11ce"}, **done
                )
        assert "distinct-secret-burst" in rules_of(judged(scene.records))

    def test_a_peak_that_was_learned_is_normal_and_half_as_much_again_is_not(self) -> None:
        """A program that reads 22 secrets at its start may do that; at 33 it is told."""

        def starts(scene: Scene, count: int) -> None:
            for name in SECRETS[:20] + [f"more/{number}" for number in range(count - 20)]:
                scene.wait(seconds=1).reads("batch", name)

        scene = Scene()
        starts(scene, 22)
        starts(scene.wait(days=8), 30)
        starts(scene.wait(days=1), 33)
        found = [one for one in judged(scene.records, learn="7d") if one.rule == "distinct-secret-burst"]
        assert [one.facts["count"] for one in found] == [33]


class TestUnansweredIntents:
    """A process that is killed between intent and outcome has perhaps taken the value along."""

    def test_a_read_without_an_outcome_counts_as_a_read(self) -> None:
        """After a minute, with the outcome `unknown`."""
        scene = Scene()
        scene.reads("eve", "db/ledger", outcome="")
        late = since_epoch(scene.now) + PATIENCE + 60 * SECOND
        judge = engine()
        assert judged(scene.records, using=judge) == []
        [found] = judge.advance(late)
        assert (found.rule, found.facts["outcome"]) == ("first-seen-principal", "unknown")

    def test_an_outcome_that_arrives_in_time_is_the_only_one(self) -> None:
        """The intent is forgotten."""
        scene = Scene()
        scene.reads("eve", "db/ledger", outcome="SecretNotFoundError")
        assert judged(scene.records, scene.now + timedelta(hours=1)) == []


class TestFirstSeen:
    """Who reads what for the first time."""

    def test_a_secret_in_its_first_day_is_new_to_everybody(self) -> None:
        """Whoever reads it then is meant to; on the second day it is told."""
        scene = Scene()
        scene.puts("ops", "db/new", "v1")
        scene.wait(hours=20).reads("web", "db/new")
        scene.wait(hours=20).reads("eve", "db/new")
        [found] = judged(scene.records)
        assert (found.rule, found.facts["actor.uid"]) == ("first-seen-principal", "eve")

    def test_a_write_to_a_secret_that_is_known_does_not_make_it_new(self) -> None:
        """Or whoever may write could read unnoticed."""
        scene = Scene()
        scene.reads("web", "db/ledger")
        scene.wait(days=8).puts("eve", "db/ledger", "v2")
        scene.wait(minutes=5).reads("eve", "db/ledger", "v2")
        assert rules_of(judged(scene.records, learn="7d")) == ["first-seen-principal"]

    def test_what_was_not_read_for_the_remembered_time_is_first_again(self) -> None:
        """`history`, 90 days by default."""
        scene = Scene()
        scene.reads("web", "db/ledger")
        scene.wait(days=89).reads("web", "db/ledger")
        scene.wait(days=91).reads("web", "db/ledger")
        assert rules_of(judged(scene.records, learn="7d")) == ["first-seen-principal"]

    def test_a_refused_read_teaches_nothing(self) -> None:
        """Who was refused has not read."""
        scene = Scene()
        scene.reads("eve", "db/ledger", outcome="PermissionDeniedError")
        scene.wait(days=8).reads("eve", "db/ledger")
        assert rules_of(judged(scene.records, learn="7d")) == ["first-seen-principal"]

    def test_the_same_name_in_another_store_is_another_secret(self) -> None:
        """Reads are known by store."""
        scene = Scene()
        scene.reads("web", "db/ledger")
        scene.wait(days=8).reads("web", "db/ledger", store="staging")
        assert rules_of(judged(scene.records, learn="7d")) == ["first-seen-principal"]


class TestOffHours:
    """The calendar, and whom it is for."""

    @pytest.mark.parametrize("moment", ["2026-03-21T12:00", "2026-03-17T05:30", "2026-04-03T10:00"])
    def test_a_read_at_a_weekend_at_night_or_on_a_holiday_is_told(self, moment: str) -> None:
        """In the calendar's zone."""
        scene = Scene()
        scene.reads("a11ce", "db/ledger")
        scene.at(datetime.fromisoformat(moment).replace(tzinfo=UTC)).reads("a11ce", "db/ledger")
        assert rules_of(judged(scene.records, learn="7d", calendar=OFFICE)) == ["off-hours"]

    def test_without_a_calendar_there_are_no_off_hours(self) -> None:
        """Nobody said when people work."""
        scene = Scene(datetime(2026, 3, 1, 3, tzinfo=UTC))
        scene.reads("a11ce", "db/ledger")
        assert "off-hours" not in rules_of(judged(scene.records))

    def test_who_worked_at_night_while_the_engine_learned_may_go_on(self) -> None:
        """A service does not sleep; the person beside it does."""
        scene = Scene(datetime(2026, 3, 2, 2, tzinfo=UTC))
        scene.reads("web", "db/ledger")
        scene.at(MONDAY).reads("a11ce", "db/ledger")
        scene.at(datetime(2026, 3, 18, 2, tzinfo=UTC)).reads("web", "db/ledger")
        scene.reads("a11ce", "db/ledger")
        [found] = judged(scene.records, learn="7d", calendar=OFFICE)
        assert found.facts["actor.uid"] == "a11ce"


class TestVersions:
    """What is known of versions: which is current, since when, and which is revoked."""

    def _superseded(self) -> Scene:
        scene = Scene()
        scene.puts("ops", "db/ledger", "v1")
        scene.wait(hours=30).reads("web", "db/ledger")
        scene.rotates("rotator", "db/ledger", "v2")
        return scene

    def test_an_old_version_within_its_grace_is_nothing(self) -> None:
        """Two hours are more than a cache keeps an old value."""
        scene = self._superseded()
        scene.wait(minutes=119).warm("web", ("db/ledger", "v1", 60))
        scene.does("web", "get", "db/ledger", stage="previous", _version="v1")
        assert "previous-after-grace" not in rules_of(judged(scene.records))

    def test_the_stage_previous_after_the_grace_is_told_whatever_its_version(self) -> None:
        """Also one that the journal never saw."""
        scene = self._superseded()
        scene.wait(minutes=130).does("web", "get", "db/ledger", stage="previous", _version="v0")
        assert "previous-after-grace" in rules_of(judged(scene.records))

    def test_a_rotation_may_look_at_the_previous_value(self) -> None:
        """It has to, to revoke it."""
        scene = self._superseded()
        rotation = "0c9f6c43-7a3a-4b8e-9a7e-3f1f6a5f0001"
        scene.wait(minutes=130).does(
            "rotator", "get", "db/ledger", stage="previous", rotation_id=rotation, _version="v1"
        )
        assert "previous-after-grace" not in rules_of(judged(scene.records))

    def test_a_change_made_elsewhere_is_learned_from_the_answer(self) -> None:
        """The console wrote v3; from then on v2 is superseded."""
        scene = self._superseded()
        scene.wait(hours=1).reads("web", "db/ledger", "v3")
        scene.wait(hours=3).warm("web", ("db/ledger", "v2", 9))
        [found] = [one for one in judged(scene.records) if one.rule == "previous-after-grace"]
        assert found.facts["superseded_seconds"] == 3 * 3600

    def test_a_stale_answer_teaches_nothing(self) -> None:
        """An outage, in which a cache answers with an old value, makes no new one superseded."""
        scene = self._superseded()
        scene.wait(hours=1).reads("web", "db/ledger", "v0", _degraded=True)
        scene.wait(hours=3).warm("web", ("db/ledger", "v2", 9))
        assert "previous-after-grace" not in rules_of(judged(scene.records))

    def test_a_rollback_makes_a_new_version_that_is_nobodys_previous(self) -> None:
        """The previous value comes back as a new version."""
        scene = self._superseded()
        scene.does("ops", "rollback", "db/ledger", version="v2", _version="v3")
        scene.wait(hours=3).warm("web", ("db/ledger", "v3", 9))
        assert "previous-after-grace" not in rules_of(judged(scene.records))

    def test_a_revocation_without_a_version_is_of_the_current_one(self) -> None:
        """`revoke NAME --compromised`."""
        scene = self._superseded()
        scene.wait(minutes=5).does("a11ce", "revoke", "db/ledger")
        scene.wait(minutes=5).warm("web", ("db/ledger", "v2", 1))
        [found] = [one for one in judged(scene.records) if one.rule == "use-after-revoke"]
        assert (found.facts["version"], found.severity) == ("v2", "critical")

    def test_a_read_before_the_revocation_is_none_after_it(self) -> None:
        """Also if its record arrives later."""
        scene, other = self._superseded(), Scene(chain=2)
        other.at(scene.now + timedelta(minutes=1)).warm("web", ("db/ledger", "v1", 1))
        scene.wait(minutes=5).does("a11ce", "revoke", "db/ledger", version="v1")
        assert "use-after-revoke" not in rules_of(judged([*scene.records, *other.records]))

    def test_use_after_revoke_is_told_each_hour_while_it_lasts(self) -> None:
        """Quiet for an hour, not for ever."""
        scene = self._superseded()
        scene.does("a11ce", "revoke", "db/ledger", version="v1")
        for _ in range(15):
            scene.wait(minutes=10).warm("web", ("db/ledger", "v1", 1))
        assert rules_of(judged(scene.records)).count("use-after-revoke") == 3

    def test_a_secret_that_was_never_rotated_is_not_overdue(self) -> None:
        """Whether it should be, an operator's own rule says."""
        scene = Scene()
        scene.puts("ops", "db/ledger", "v1")
        assert judged(scene.records, scene.now + timedelta(days=400)) == []

    def test_overdue_is_told_weekly_until_it_is_rotated_or_gone(self) -> None:
        """A reminder, not an alarm a day."""
        for ends in ("pending.promote", "delete"):
            scene = self._superseded()
            judge = engine()
            judged(scene.records, using=judge)
            days = [
                rules_of(judge.advance(since_epoch(scene.now + timedelta(days=day)))) for day in range(1, 106)
            ]
            assert [day for day, found in enumerate(days, 1) if found] == [90, 97, 104]
            scene.wait(days=106).does("rotator", ends, "db/ledger", rotation_id="r", _version="v3")
            judged(scene.records[-2:], using=judge)
            assert judge.advance(since_epoch(scene.now + timedelta(days=30))) == []


class TestGaps:
    """What the journal does not tell."""

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            ("gap", {"since": stamp(MONDAY), "until": stamp(MONDAY), "count": 3}),
            ("skipped", {"sink": "siem", "from": "a:1", "to": "a:9", "count": 9}),
        ],
    )
    def test_a_record_of_a_gap_is_told(self, kind: str, fields: dict[str, Any]) -> None:
        """Whether operations went unrecorded or a sink gave records up."""
        scene = Scene()
        scene.add(kind, **fields)
        [found] = judged(scene.records)
        assert (found.rule, found.facts["count"]) == ("audit-gap", fields["count"])

    def test_records_that_are_missing_are_told(self) -> None:
        """The caller saw that sequence numbers are not there."""
        [found] = engine().missing("0" * 32, 17, 4, since_epoch(MONDAY))
        assert (found.rule, found.records, found.facts["count"]) == ("audit-gap", (f"{'0' * 32}:17",), 4)


class TestSuppressions:
    """A record in the journal, by which others see what was kept quiet, by whom and until when."""

    def _suppressed(self, **facts: str) -> Scene:
        scene = Scene()
        until = stamp(scene.now + timedelta(hours=2))
        scene.add("suppression", rule="break-glass", until=until, reason="drill", facts=facts)
        return scene

    def test_it_holds_until_its_end_and_is_counted(self) -> None:
        """Then everything is told again."""
        scene = self._suppressed()
        scene.wait(hours=1).reads("a11ce", "break-glass/root", outcome="PermissionDeniedError")
        scene.wait(hours=2).reads("a11ce", "break-glass/root", outcome="PermissionDeniedError")
        judge = engine()
        assert len(judged(scene.records, using=judge)) == 1
        assert judge.suppressed == {"break-glass": 1}

    def test_it_may_be_of_one_identity(self) -> None:
        """Another is told."""
        scene = self._suppressed(**{"actor.uid": "a11ce"})
        for actor in ("a11ce", "eve"):
            scene.wait(minutes=1).reads(actor, "break-glass/root", outcome="PermissionDeniedError")
        [found] = judged(scene.records)
        assert found.facts["actor.uid"] == "eve"

    def test_none_lasts_longer_than_ninety_days(self) -> None:
        """Whoever wrote the record by hand."""
        scene = Scene()
        until = stamp(scene.now + timedelta(days=4000))
        scene.add("suppression", rule="break-glass", until=until, reason="for ever")
        scene.wait(days=91).reads("eve", "break-glass/root", outcome="PermissionDeniedError")
        assert rules_of(judged(scene.records)) == ["break-glass"]

    def test_it_does_not_reach_back(self) -> None:
        """What had happened before it is told, also if it is judged after it."""
        late = Scene(MONDAY - timedelta(minutes=5), chain=2)
        late.reads("eve", "break-glass/root", outcome="PermissionDeniedError")
        assert rules_of(judged([*self._suppressed().records, *late.records])) == ["break-glass"]

    def test_what_it_kept_quiet_does_not_keep_the_next_quiet(self) -> None:
        """The quiet after a detection begins with one that was told."""
        scene = self._suppressed()
        scene.wait(minutes=119).reads("eve", "break-glass/root", outcome="PermissionDeniedError")
        scene.wait(minutes=3).reads("eve", "break-glass/root", outcome="PermissionDeniedError")
        assert len(judged(scene.records)) == 1


def test_what_rules_say_of_a_name_holds_nothing_of_the_actors_sealed_part() -> None:
    """Facts name the uid alone; who is behind it stays sealed, and shreddable."""
    scene = Scene()
    scene.reads("a11ce", "db/ledger")
    [found] = judged(scene.records)
    assert "c2VhbGVk" not in json.dumps(found.as_record())


class TestPromotes:
    """What a rotation's end says."""

    def test_a_repeated_promote_makes_no_old_version_current(self) -> None:
        """It answers with what it did once; something else may be current by now."""
        scene = Scene()
        for version in ("v2", "v3", "v2"):
            scene.wait(hours=1).rotates("rotator", "db/ledger", version)
        scene.wait(hours=3).warm("web", ("db/ledger", "v3", 1))
        assert "previous-after-grace" not in rules_of(judged(scene.records))

    def test_new_keys_make_a_secret_no_younger(self) -> None:
        """`reencrypt` writes the same value."""
        scene = Scene()
        scene.rotates("rotator", "db/ledger", "v2")
        scene.wait(days=60).does("ops", "reencrypt", "db/ledger", _version="v3")
        assert rules_of(judged(scene.records, scene.now + timedelta(days=31))) == ["rotation-overdue"]

    def test_a_refresh_that_never_ended_read_no_old_version(self) -> None:
        """Its intent names the version that was rejected."""
        scene = Scene()
        scene.rotates("rotator", "db/ledger", "v2")
        scene.wait(hours=1).rotates("rotator", "db/ledger", "v3")
        scene.wait(hours=3).does("web", "refresh", "db/ledger", outcome="", version="v2")
        assert "previous-after-grace" not in rules_of(judged(scene.records, scene.now + timedelta(minutes=5)))


def test_a_clock_that_is_set_back_teaches_nothing() -> None:
    """Learning ends by the time that the journal has reached, not by what a record says of itself."""
    scene, back = Scene(), Scene(MONDAY + timedelta(days=1), chain=2)
    scene.does("web", "list", "")
    scene.wait(days=8).does("web", "list", "")
    back.reads("eve", "db/ledger")
    assert rules_of(judged([*scene.records, *back.records], learn="7d")) == ["first-seen-principal"]


JSON: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            None,
            True,
            0,
            -1,
            10**30,
            1.5,
            "",
            "get",
            "ok",
            "current",
            "intent",
            "\ud800",
            "\0\n\u202e",
            "x" * 9999,
        ),
        *([], [1], [["a", "b", 1]], [["a", 1, 2]], [["a", "b", 10**30]], [[[], {}, None]]),
        *({}, {"uid": "u"}, {"uid": []}, {"uid": {"uid": "u"}}, {"name": "break-glass/x", "sealed": 1}),
    ]
)
KEYS = (
    "kind",
    "phase",
    "op",
    "name",
    "cid",
    "store",
    "version",
    "stage",
    "outcome",
    "actor",
    "reads",
    "count",
)
TIMES = ["0001-01-01T00:00:00.000000000Z", "9999-12-31T23:59:59.999999999Z", "2026-03-02T09:00:00.000000000Z"]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "time": st.sampled_from(TIMES),
                "kind": st.sampled_from(["event", "reads", "gap", "suppression"]) | JSON,
            },
            optional={key: JSON for key in KEYS if key != "kind"}
            | {"rule": JSON, "until": JSON, "facts": JSON},
        ),
        max_size=5,
    )
)
@settings(max_examples=scaled(1000, "records of noise", share=20), deadline=None)
def test_no_record_makes_the_engine_stumble(records: list[dict[str, Any]]) -> None:
    """The journal is read unverified; whatever stands in it, what is found can be recorded."""
    judge = engine(calendar=OFFICE)
    for seq, record in enumerate(records):
        for found in judge.take(f"{'0' * 32}:{seq}", record):
            head = {"v": 1, "chain": "0" * 32, "seq": 0, "prev": "0" * 64, "time": stamp(MONDAY), "mono": 1}
            encode({**head, **found.as_record()})


@given(st.text(max_size=40) | st.sampled_from(["a\nb", "a\r\n|=\\b", "\u202e", "\0", "x" * 10_000]))
@settings(max_examples=scaled(200, "hostile names in detections"), deadline=None)
def test_no_name_can_mix_up_two_secrets(name: str) -> None:
    """Whatever a name holds, what is known of it is known of it alone."""
    scene = Scene()
    scene.reads("web", name)
    scene.wait(days=8).reads("web", name)
    scene.reads("web", f"{name}\nweb")
    found = judged(merged(scene), learn="7d")
    assert [one.facts.get("name") for one in found] == [f"{name}\nweb"]
