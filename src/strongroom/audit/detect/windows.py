"""Correlations: what has to come together within a span of time, kept by rule and group.

An event may arrive after one that is younger: a record that nobody waits for is written up to a second late,
and a clock may be set back. So a window is a set of times, not a running count, and an event that is late is
asked for every window it could complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, final

if TYPE_CHECKING:
    from .events import Event
    from .sigma import Correlation, Rule
    from .state import State

_SPACE: Final = "window"
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
        state: what is remembered; the space ``window`` is ours.
    """

    def __init__(self, state: State):
        self._state = state

    def add(self, rule: Rule, ingredient: str, event: Event) -> Found | None:
        """Take in an event that an ingredient of the correlation matched; what it completes, if anything."""
        correlation = rule.correlation
        assert correlation
        key = "\n".join([rule.name, *map(event.text, correlation.group_by)])
        entries: list[Entry] = [
            (time, record, what) for time, record, what in self._state.get(_SPACE, key) or []
        ]
        mine = (event.time, event.record, _counted(correlation, ingredient, event))
        if correlation.kind == "temporal_ordered" and not _may_begin(correlation, ingredient, entries):
            return None
        if mine not in entries:
            entries.append(mine)
        kept = _kept(correlation, sorted(entries))
        self._state.put(_SPACE, key, kept)
        return _complete(correlation, kept, mine)

    def clear(self, rule: Rule, event: Event) -> None:
        """Begin anew: what was told does not count towards the next."""
        correlation = rule.correlation
        assert correlation
        if correlation.kind in ("event_count", "value_count"):
            self._state.drop(_SPACE, "\n".join([rule.name, *map(event.text, correlation.group_by)]))

    def expire(self, rule: Rule, now: int) -> None:
        """Forget windows of a rule that nothing can complete any more."""
        correlation = rule.correlation
        assert correlation
        for key, entries in list(self._state.items(_SPACE)):
            if key.partition("\n")[0] == rule.name and entries[-1][0] < now - 2 * correlation.span:
                self._state.drop(_SPACE, key)


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
    for end, *_ in entries:
        if not mine[0] <= end <= mine[0] + correlation.span:
            continue
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
