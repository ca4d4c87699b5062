"""Another engine, made by others, runs our rule files over the same events: pySigma's SQLite backend."""

from __future__ import annotations

import functools
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.collection import SigmaCollection

from strongroom.audit import detect
from strongroom.audit.detect.engine import Engine
from strongroom.audit.detect.settings import DetectSettings
from strongroom.audit.detect.sigma import Rule
from strongroom.audit.detect.state import State
from tests.unit.detection_fixtures import SCENES, SETTINGS
from tests.unit.detection_support import RULES, judged

SHIPPED = Path(detect.__path__[0]).parent / "rules"
PLAIN = {rule.name: rule for rule in RULES if rule.alerts and rule.matches}
JOINT = [rule.name for rule in RULES if rule.correlation]


@functools.cache
def query(name: str) -> str:
    """What pySigma makes of a rule file."""
    [text] = sqliteBackend().convert(SigmaCollection.load_ruleset([SHIPPED / f"{name}.yml"]))
    return str(text)


@functools.cache
def events(name: str) -> list[dict[str, Any]]:
    """The fields that the rules are asked about, in a fixture; all at once, as none is an alert."""
    seen: list[dict[str, Any]] = []

    def look(fields: Any) -> bool:
        seen.append(dict(fields))
        return False

    watcher = Rule("", "", "", "low", True, look, None, (), 0, "")
    scene = SCENES[name]()
    judged(scene.records, using=Engine([watcher], State(), DetectSettings.parse(SETTINGS)))
    return seen


def table(name: str) -> sqlite3.Connection:
    """A fixture's events as a table, with a column for each field that any rule asks for."""
    found = events(name)
    columns = sorted(
        {"first_seen", "superseded_seconds", "off_hours", "rotation_id", "rotated", "age_days"}.union(*found)
    )
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE TABLE logs (position, timestamp, {', '.join(f'`{column}`' for column in columns)})")
    marks = ", ".join("?" * (len(columns) + 2))
    rows = [(at, event.get("time"), *map(event.get, columns)) for at, event in enumerate(found)]
    db.executemany(f"INSERT INTO logs VALUES ({marks})", rows)
    return db


@pytest.mark.parametrize("fixture", sorted(SCENES))
def test_plain_rules_match_the_same_events(fixture: str) -> None:
    """Event by event, in every fixture."""
    db, found = table(fixture), events(fixture)
    for name, rule in PLAIN.items():
        assert rule.matches
        theirs = [row[0] for row in db.execute(query(name))]
        assert theirs == [at for at, event in enumerate(found) if rule.matches(event)], name
    db.close()


@pytest.mark.parametrize("fixture", sorted(SCENES))
def test_correlations_come_together_where_theirs_do(fixture: str) -> None:
    """First at the same moment and in the same group; what is told again differs, and is our own."""
    db, scene = table(fixture), SCENES[fixture]()
    ours = judged(scene.records)
    for name in JOINT:
        cursor = db.execute(query(name))
        names = [column[0] for column in cursor.description]
        theirs = [dict(zip(names, row, strict=True)) for row in cursor]
        mine = [one for one in ours if one.rule == name]
        assert bool(theirs) is bool(mine), name
        if mine:
            assert mine[0].time // 10**6 == round(theirs[0]["occurrence_time"] * 1000)
            group = json.loads(theirs[0]["group_keys"])
            assert group == {key: mine[0].facts[key] for key in group}
    db.close()
