"""The drawings of the report: SVG and grids that fit any width, with what they show in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from .figures import CHANGE, FAILURE, KINDS, READ
from .html import Html, element
from .words import DASH, DAYS, day, instant, length, many, number, span

if TYPE_CHECKING:
    from collections import Counter

    from .figures import Timeline

NAMES: Final = {READ: "reads", CHANGE: "changes", FAILURE: "failures"}
_ONE: Final = {READ: "read", CHANGE: "change", FAILURE: "failure"}
_SHADES: Final = 6
_MARKS: Final = 5
_TOPS: Final = (2, 4, 6, 8, 10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100)


def told(kinds: Mapping[str, int]) -> str:
    """``12 reads, 1 failure``."""
    parts = [many(kinds[kind], _ONE[kind]) for kind in KINDS if kinds.get(kind)]
    return ", ".join(parts) or "nothing"


def timeline(line: Timeline) -> Html:
    """Accesses by time, one bar a step; a bar that is pointed at, tapped or reached by arrow keys is told."""
    buckets = line.buckets()
    top = _nice(max((counts.total() for _, counts in buckets), default=1))
    width = 1000 / max(len(buckets), 12)
    left = (1000 - width * len(buckets)) / 2
    bars = [_bar(left + n * width, width, span(at, line.step), c, top) for n, (at, c) in enumerate(buckets)]
    drawing = element(
        "svg", bars, viewBox="0 0 1000 300", preserveAspectRatio="none", class_="bars", aria_hidden="true"
    )
    scale = element("div", *(element("span", number(n)) for n in (top, top // 2, 0)), class_="scale")
    rules = (element("i", class_=f"rule r{n}") for n in range(3))
    marks = _marks([at for at, _ in buckets], line.step)
    plot = element("div", *rules, drawing, marks, class_="plot")
    label = f"Accesses by time, each bar {length(line.step)}. Arrow keys tell the bars one by one."
    chart = element("div", scale, plot, class_="chart", tabindex="0", role="group", aria_label=label)
    hint = f"Each bar is {length(line.step)}, UTC. Point at one."
    readout = element("output", hint, class_="readout", aria_live="polite")
    return Html(legend() + chart + readout)


def legend() -> Html:
    """What the colours mean; each is a switch."""
    switches = (
        element("button", element("i", class_=f"dot {kind}"), NAMES[kind], type="button", data_kind=kind,
                aria_pressed="true")
        for kind in KINDS
    )  # fmt: skip
    return element("div", *switches, class_="legend")


def _nice(most: int) -> int:
    """An even number at or above the most, of which the half is told too."""
    power: int = 10 ** max(len(str(most)) - 2, 0)
    return next(step * power for step in _TOPS if step * power >= most)


def _bar(x: float, width: float, at: str, counts: Counter[str], top: int) -> Html:
    parts, y = [], 300.0
    for kind in KINDS:
        height = 300 * counts[kind] / top
        if height:
            height = max(height, 2.0)  # one failure among thousands is seen
            y -= height
            parts.append(_rect(x + 0.12 * width, y, 0.76 * width, height, kind))
    whole = _rect(x, 0, width, 300, "hit")
    return element("g", whole, parts, data_told=f"{at}: {told(counts)}")


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Html:
    return element(
        "rect", x=f"{x:.2f}", y=f"{y:.2f}", width=f"{width:.2f}", height=f"{height:.2f}", class_=kind
    )


def _marks(starts: Sequence[int], step: int) -> Html:
    if not starts:
        return element("div", class_="marks")
    chosen = sorted({round(n * (len(starts) - 1) / (_MARKS - 1)) for n in range(_MARKS)})
    long = starts[-1] + step - starts[0] > 2 * 86400
    shown = [day(instant(starts[n])) if long else f"{instant(starts[n]):%H:%M}" for n in chosen]
    return element("div", *(element("span", mark) for mark in shown), class_="marks")


def week(counts: Counter[tuple[int, int]]) -> Html:
    """Accesses by weekday and hour: what happens at night stands out."""
    most = max(counts.values(), default=0)
    rows = []
    for weekday, name in enumerate(DAYS):
        cells = (_cell(name, hour, counts[weekday, hour], most) for hour in range(24))
        rows.append(element("div", element("span", name, class_="day"), *cells, class_="row"))
    hours = (element("span", f"{hour:02}") for hour in range(0, 24, 6))
    label = "Accesses by weekday and hour, UTC"
    grid = element("div", rows, class_="week", role="img", aria_label=label)
    readout = element("output", "Hours are UTC. Point at one.", class_="readout", aria_live="polite")
    return Html(grid + element("div", *hours, class_="hours") + readout)


def _cell(name: str, hour: int, count: int, most: int) -> Html:
    shade = 0 if not count else 1 + round((_SHADES - 1) * (count / most) ** 0.5)
    at = f"{name}, {hour:02}:00{DASH}{(hour + 1) % 24:02}:00"
    return element("i", class_=f"cell s{shade}", data_told=f"{at}: {many(count, 'access', 'accesses')}")


def share_bar(parts: Sequence[tuple[str, int]], whole: int) -> Html:
    """Parts of a whole side by side, by their class."""
    done, bars = 0.0, []
    for kind, count in parts:
        width = 100 * count / whole if whole else 0.0
        if width:
            bars.append(
                element("rect", x=f"{done:.3f}%", y="0", width=f"{width:.3f}%", height="100%", class_=kind)
            )
        done += width
    return element("svg", bars, class_="share", aria_hidden="true")
