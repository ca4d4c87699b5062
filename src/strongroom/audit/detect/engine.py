"""Runs the rules over records: the same records in the same order always give the same detections."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from .context import Context
from .events import Event, events_of, key_of
from .settings import DetectSettings
from .spans import DAY, SECOND, parse_time, written
from .suppressing import LONGEST
from .windows import Found, Windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .sigma import Rule
    from .state import State

PATIENCE: Final = 60 * SECOND
"""An intent without an outcome for so long counts as an operation whose end is unknown.

The value may have left: a process that is killed after its intent must not be invisible to every rule.
"""
_HEADROOM: Final = 1.5
"""What a learned peak is multiplied by before it is surpassed."""
_SAMPLE: Final = 10
_RECORDS: Final = 50
_SHOWN: Final = (
    *("op", "name", "store", "version", "stage", "outcome", "actor.uid", "actor.how"),
    *("superseded_seconds", "off_hours", "age_days", "sink", "reason", "count", "lost", "chain"),
)


@final
@dataclass(frozen=True, slots=True)
class Detection:
    """What a rule found.

    Attributes:
        rule: its name.
        severity: its level.
        title: its title.
        time: nanoseconds since 1970, of the event that completed it.
        records: ids of the records it is about, oldest first, at most 50.
        facts: what they have in common, in the words of records; ``id`` is the same whenever and wherever the
            same records are judged, so that a receiver can tell a repetition.
    """

    rule: str
    severity: str
    title: str
    time: int
    records: tuple[str, ...]
    facts: Mapping[str, str | int | bool]

    def as_record(self) -> dict[str, Any]:
        """The fields of its record in the journal."""
        told = {"rule": self.rule, "severity": self.severity, "title": self.title, "at": written(self.time)}
        return {"kind": "detection", **told, "records": list(self.records), "facts": dict(self.facts)}


@final
class Engine:
    """Takes records in and tells what the rules find.

    Args:
        rules: from `load_rules`.
        state: what is remembered between runs; the caller commits it.
        settings: how to judge.
    """

    def __init__(self, rules: Sequence[Rule], state: State, settings: DetectSettings | None = None):
        self._plain = [rule for rule in rules if rule.matches]
        self._correlations = [rule for rule in rules if rule.correlation]
        self._state, self._settings = state, settings or DetectSettings()
        self._context, self._windows = Context(state, self._settings), Windows(state)
        self._longest = max((rule.quiet for rule in rules), default=0)
        self.suppressed: Counter[str] = Counter()

    def take(
        self, record_id: str, record: Mapping[str, Any], not_after: int | None = None
    ) -> list[Detection]:
        """Judge one record.

        Args:
            record_id: ``chain:seq``.
            record: as the journal holds it.
            not_after: nanoseconds since 1970; a record from a clock that runs ahead counts as of this time,
                or it would make everything overdue at once.
        """
        found: list[Detection] = []
        now: int = not_after if not_after is not None else self._state.get("meta", "now") or 0
        for event in events_of(record_id, record, now):
            event.time = event.time if not_after is None else min(event.time, not_after)
            found += self.advance(event.time)
            found += self._taken(event)
        return found

    def missing(self, chain: str, first: int, count: int | None, time: int) -> list[Detection]:
        """Judge that records of a chain are not there, from sequence number `first` on.

        Args:
            count: how many; None if nobody knows.
        """
        fields = {"kind": "missing", "chain": chain, "count": count}
        return self._judge(Event(time, f"{chain}:{first}", fields))

    def learn_until(self, time: int) -> None:
        """Take everything before `time` for normal."""
        self._state.put("meta", "learn", max(time, self._state.get("meta", "learn") or 0))

    def advance(self, now: int) -> list[Detection]:
        """Judge that nothing else has happened until `now`."""
        before = self._state.get("meta", "now")
        if before is None:
            self.learn_until(now + self._settings.learn)
        if before is not None and now <= before:
            return []
        self._state.put("meta", "now", now)
        found: list[Detection] = []
        if before is not None and now // PATIENCE > before // PATIENCE:
            found += self._unanswered(now)
        if before is not None and now // DAY > before // DAY:
            self._forget(now)
            found += [detection for event in self._context.ages(now) for detection in self._judge(event)]
        return found

    def _forget(self, now: int) -> None:
        self._context.forget(now)
        for rule in self._correlations:
            self._windows.expire(rule, now)
        for key, told in self._state.items("quiet"):
            if now - told > self._longest:
                self._state.drop("quiet", key)

    def _taken(self, event: Event) -> list[Detection]:
        if event.text("kind") == "suppression":
            self._suppress(event)
        if event.text("kind") != "event":
            return self._judge(event)
        if "cached" not in event.fields:
            key = key_of(event.text("cid"), event.text("name"))
            if event.text("phase") == "intent":
                self._state.put("open", key, [event.time, event.record, event.fields])
                return []
            self._state.drop("open", key)
        return self._operation(event)

    def _unanswered(self, now: int) -> list[Detection]:
        found = []
        for key, (time, record, fields) in sorted(self._state.items("open"), key=lambda item: item[1][:2]):
            if time + PATIENCE <= now:
                self._state.drop("open", key)
                found += self._operation(_unknown(Event(time, record, fields)))
        return found

    def _operation(self, event: Event) -> list[Detection]:
        self._context.enrich(event, self._is_learning(event.time))
        return self._judge(event)

    def _is_learning(self, time: int) -> bool:
        """Not by the record's time alone: a clock that is set back would teach what it likes."""
        until: int = self._state.get("meta", "learn") or 0
        return max(time, self._state.get("meta", "now") or 0) < until

    def _judge(self, event: Event) -> list[Detection]:
        matched = [rule for rule in self._plain if rule.matches and rule.matches(event.fields)]
        names = {rule.name for rule in matched}
        found = [self._single(rule, event) for rule in matched if rule.alerts]
        for rule in self._correlations:
            assert rule.correlation
            found += [self._joint(rule, name, event) for name in rule.correlation.rules if name in names]
        return [detection for detection in found if detection]

    def _single(self, rule: Rule, event: Event) -> Detection | None:
        if rule.learn and not self._unusual(rule, event):
            return None
        facts = {
            field: event.fields[field] for field in _SHOWN if event.fields.get(field) not in (None, False)
        }
        if event.text("kind") != "missing":  # elsewhere the record's id tells it
            facts.pop("chain", None)
        return self._told(rule, event, [event.record], facts)

    def _joint(self, rule: Rule, ingredient: str, event: Event) -> Detection | None:
        found = self._windows.add(rule, ingredient, event)
        if found is None or (rule.learn and not self._unusual(rule, event, found.number)):
            return None
        detection = self._told(
            rule, event, [record for _, record, _ in found.entries], _common(rule, event, found)
        )
        if detection:
            self._windows.clear(rule, event)
        return detection

    def _unusual(self, rule: Rule, event: Event, count: int = 1) -> bool:
        """Whether it is more than was learned; while learning it is learned."""
        key = _key(rule, event)
        learned: int = self._state.get("habit", key) or 0
        if self._is_learning(event.time):
            self._state.put("habit", key, max(count, learned))
            return False
        return not learned or (rule.learn == "peak" and count >= math.ceil(learned * _HEADROOM))

    def _told(self, rule: Rule, event: Event, records: list[str], facts: dict[str, Any]) -> Detection | None:
        ids = tuple(dict.fromkeys(records))[-_RECORDS:]
        # A reminder of the same record is told again: it is of another day.
        material = "\n".join([_key(rule, event), *ids, event.text("name"), event.text("age_days")])
        facts["id"] = hashlib.sha256(material.encode("utf-8", "replace")).hexdigest()[:32]
        detection = Detection(rule.name, rule.level, rule.title, event.time, ids, facts)
        if self._is_suppressed(detection, event):
            self.suppressed[rule.name] += 1
            return None
        return None if self._is_quiet(rule, event) else detection

    def _is_quiet(self, rule: Rule, event: Event) -> bool:
        """Whether the same was told a short while ago; else the while begins."""
        if not rule.quiet:
            return False
        key = _key(rule, event)
        told: int | None = self._state.get("quiet", key)
        if told is not None and abs(event.time - told) < rule.quiet:
            return True
        self._state.put("quiet", key, event.time)
        return False

    def _suppress(self, event: Event) -> None:
        """From its own time on, and no longer than any may last, whoever wrote the record."""
        facts = {
            key.removeprefix("facts."): value
            for key, value in event.fields.items()
            if key.startswith("facts.")
        }
        until = parse_time(event.text("until"))
        if until is not None:
            until = min(until, event.time + LONGEST)
            self._state.put("suppression", event.record, [event.text("rule"), event.time, until, facts])

    def _is_suppressed(self, detection: Detection, event: Event) -> bool:
        for key, (rule, begins, until, facts) in self._state.items("suppression"):
            if until < (self._state.get("meta", "now") or 0) - DAY:
                self._state.drop("suppression", key)
            alike = all(event.text(field) == str(value) for field, value in facts.items())
            if rule == detection.rule and begins <= detection.time < until and alike:
                return True
        return False


def _unknown(intent: Event) -> Event:
    fields = {**intent.fields, "phase": "outcome", "outcome": "unknown"}
    if intent.text("op") == "refresh":
        fields["version"] = None  # the intent's is the one that was rejected
    return Event(intent.time, intent.record, fields)


def _key(rule: Rule, event: Event) -> str:
    return key_of(rule.name, *map(event.text, rule.key))


def _common(rule: Rule, event: Event, found: Found) -> dict[str, Any]:
    correlation = rule.correlation
    assert correlation
    facts: dict[str, Any] = {
        field: event.fields[field] for field in correlation.group_by if event.fields.get(field) is not None
    }
    facts |= {"count": found.number} if not correlation.kind.startswith("temporal") else {}
    facts |= {"first": written(found.entries[0][0]), "last": written(found.entries[-1][0])}
    if correlation.kind == "value_count":
        facts["sample"] = ", ".join(_sample(what for _, _, what in found.entries))
    return facts


def _sample(values: Iterator[str]) -> list[str]:
    return sorted(dict.fromkeys(values))[:_SAMPLE]
