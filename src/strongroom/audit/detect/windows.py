"""Correlations: what has to come together within a span of time, kept by rule and group.

An event may arrive after one that is younger: a record that nobody waits for is written up to a second late,
and a clock may be set back. So a window is a set of times, not a running count, and an event that is late is
asked for every window it could complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, final

from .events import Event, key_of

if TYPE_CHECKING:
    from .sigma import Correlation, Rule
    from .state import State

_LIMIT: Final = 1000
Entry = tuple[int, str, str]
"""Time, record and what it counts as."""


class Found(NamedTuple):
    """What came together: how many, and the records, oldest first."""

    number: int
    entries: list[Entry]


@final
class Windows:
    """The open windows of all correlations.

    Args:
        state: what is remembered; the spaces ``window …`` are ours.
    """

    def __init__(self, state: State):
        self._state = state

    def add(self, rule: Rule, ingredient: str, event: Event) -> Found | None:
        """Take in an event that an ingredient of the correlation matched; what it completes, if anything."""
        correlation = rule.correlation
        assert correlation
        space, key = _place(rule, event)
        entries: list[Entry] = [
            (time, record, what) for time, record, what in self._state.get(space, key) or []
        ]
        mine = (event.time, event.record, _counted(correlation, ingredient, event))
        if correlation.kind == "temporal_ordered" and not _may_begin(correlation, ingredient, entries):
            return None
        if mine not in entries:
            entries.append(mine)
        kept = _kept(correlation, sorted(entries))
        self._state.put(space, key, kept)
        return _complete(correlation, kept, mine)

    def clear(self, rule: Rule, event: Event) -> None:
        """Begin anew: what was told does not count towards the next."""
        correlation = rule.correlation
        assert correlation
        if correlation.kind in ("event_count", "value_count"):
            self._state.drop(*_place(rule, event))

    def expire(self, rule: Rule, now: int) -> None:
        """Forget windows of a rule that nothing can complete any more."""
        correlation = rule.correlation
        assert correlation
        for key, entries in self._state.items(_space(rule)):
            if entries[-1][0] < now - 2 * correlation.span:
                self._state.drop(_space(rule), key)


def _space(rule: Rule) -> str:
    return f"window {rule.name}"


def _place(rule: Rule, event: Event) -> tuple[str, str]:
    return _space(rule), key_of(*map(event.text, rule.key))


def _counted(correlation: Correlation, ingredient: str, event: Event) -> str:
    if correlation.kind == "event_count":
        return ""
    return event.text(correlation.field) if correlation.kind == "value_count" else ingredient


def _may_begin(correlation: Correlation, ingredient: str, entries: list[Entry]) -> bool:
    """A later step is kept only once an earlier one was seen: every read would be remembered for months."""
    return bool(entries) or ingredient == correlation.rules[0]


def _kept(correlation: Correlation, entries: list[Entry]) -> list[Entry]:
    """Twice the span, for what comes late; of equal values, and of equal steps, the first and the last."""
    recent = [entry for entry in entries if entry[0] >= entries[-1][0] - 2 * correlation.span]
    if correlation.kind == "event_count":
        return recent[-max(_LIMIT, correlation.at_least) :]
    first = {entry[2]: entry for entry in reversed(recent)}
    last = {entry[2]: entry for entry in recent}
    return sorted({*first.values(), *last.values()})[-max(_LIMIT, 2 * correlation.at_least) :]


def _complete(correlation: Correlation, entries: list[Entry], mine: Entry) -> Found | None:
    best: Found | None = None
    ends = sorted({entry[0] for entry in entries if mine[0] <= entry[0] <= mine[0] + correlation.span})
    for end in ends:
        within = [entry for entry in entries if end - correlation.span <= entry[0] <= end]
        count = _count(correlation, within)
        if count >= correlation.at_least and (best is None or count > best.number):
            best = Found(count, within)
    return best


def _count(correlation: Correlation, within: list[Entry]) -> int:
    if correlation.kind == "event_count":
        return len(within)
    different = {entry[2] for entry in within}
    if correlation.kind == "value_count":
        return len(different)
    if correlation.kind == "temporal":
        return int(different >= set(correlation.rules))
    return int(_in_order(correlation.rules, within))


def _in_order(steps: tuple[str, ...], within: list[Entry]) -> bool:
    position = 0
    for _, _, what in within:
        position += position < len(steps) and what == steps[position]
    return position == len(steps)
