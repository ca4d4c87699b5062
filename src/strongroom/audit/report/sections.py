"""The parts of the report below its head: secrets, actors, failures, detections, and the proof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .charts import NAMES, share_bar, told
from .figures import KINDS, Figures, Tally
from .html import Html, element
from .words import FAILURES, many, number, share, when

if TYPE_CHECKING:
    from strongroom.audit.verify_report import Report

MOST: Final = 200
"""How many secrets, and how many actors, are told; those with the most accesses."""

_MOST_OTHERS: Final = 12
_NOBODY: Final = "not told"
SEVERITIES: Final = ("critical", "high", "medium", "low", "informational")


def card(id_: str, title: str, *children: Html | None, note: str = "") -> Html:
    """A section with its heading."""
    head = element("h2", title), element("p", note, class_="note") if note else None
    return element("section", *head, *children, id=id_, class_="card")


def ranking(id_: str, what: str, other: str, tallies: Mapping[str, Tally]) -> Html:
    """Secrets or actors, most used first; each opens to show who, or what, and how."""
    ranked = sorted(tallies.items(), key=lambda item: (-item[1].total, item[0]))
    most = max((tally.total for _, tally in ranked[:MOST]), default=0)
    rows = [_row(name, tally, most, other) for name, tally in ranked[:MOST]]
    rest = len(ranked) - len(rows)
    more = element("p", f"and {many(rest, 'more', 'more')}, used less", class_="note") if rest > 0 else None
    none = element("p", "No match.", class_="note none", hidden=True)
    everything = element("button", f"Show all {number(len(rows))}", type="button", class_="all", hidden=True)
    shown = element("div", *rows, class_="rows")
    return Html(_tools(id_, what) + shown + none + everything + (more or ""))


def chevron() -> Html:
    """The mark of what can be opened."""
    drawing = element("path", d="m9 6 6 6-6 6")
    return element("svg", drawing, viewBox="0 0 24 24", class_="chevron", aria_hidden="true")


def _tools(id_: str, what: str) -> Html:
    options = (("total", "most used"), ("failure", "most failures"), ("last", "latest"), ("name", "name"))
    choices = (element("option", label, value=value) for value, label in options)
    return element(
        "div",
        element("input", type="search", placeholder=f"Find {what}", aria_label=f"Find {what}", data_of=id_),
        element("select", *choices, aria_label="Sort by", data_of=id_),
        class_="tools",
    )


def _row(name: str, tally: Tally, most: int, other: str) -> Html:
    failures = tally.kinds["failure"]
    summary = element(
        "summary",
        chevron(),
        element("bdi", name or _NOBODY, class_="name"),
        element("span", many(failures, "failure"), class_="bad") if failures else None,
        element("span", number(tally.total), class_="count"),
        share_bar([(kind, tally.kinds[kind]) for kind in KINDS], most),
    )
    last = f"Last {when(tally.last)} UTC"
    facts = element("p", f"{told(tally.kinds)} · {last}", class_="note")
    columns = element(
        "div", _counts("Operation", tally.operations), _counts(other, tally.others), class_="columns"
    )
    return element(
        "details", summary, element("div", facts, columns, class_="inner"), class_="item",
        data_name=name, data_total=tally.total, data_failure=failures, data_last=tally.last,
    )  # fmt: skip


def _counts(title: str, counts: Mapping[str, int]) -> Html | None:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [_pair(key, number(count)) for key, count in ranked[:_MOST_OTHERS]]
    rest = sum(count for _, count in ranked[_MOST_OTHERS:])
    if rest:
        rows.append(_pair(f"{many(len(ranked) - _MOST_OTHERS, 'other')}", number(rest)))
    return element("dl", element("dt", title, class_="title"), rows) if rows else None


def _pair(key: str, value: str) -> Html:
    return element("div", element("dt", element("bdi", key)), element("dd", value))


def failures(figures: Figures) -> Html:
    """By class, and the last ones."""
    total = figures.outcomes.total()
    if not total:
        return element("p", "Nothing failed.", class_="fine")
    ranked = figures.outcomes.most_common()
    bars = [
        element(
            "div", element("span", FAILURES.get(outcome, outcome)), share_bar([("failure", count)], total),
            element("b", number(count)), class_="measure",
        )
        for outcome, count in ranked
    ]  # fmt: skip
    rows = [_failure(record, figures) for record in reversed(figures.failures)]
    title = f"The last {len(rows)}" if total > len(rows) else "All of them"
    table = element(
        "details", element("summary", chevron(), title), element("div", rows, class_="log"), class_="item"
    )
    return Html("".join(bars) + table)


def _failure(record: Mapping[str, Any], figures: Figures) -> Html:
    outcome = record.get("outcome", "")
    return element(
        "div",
        element("time", when(record["time"])),
        element("span", FAILURES.get(outcome, outcome), class_="bad"),
        element("bdi", f"{record['op']} {record.get('name', '')}", class_="name"),
        element("bdi", figures.who(record) or _NOBODY, class_="who"),
        element("code", _id(record)),
        class_="entry",
    )


def _id(record: Mapping[str, Any]) -> str:
    return f"{record['chain'][:8]}:{record['seq']}"


def detections(figures: Figures) -> Html:
    """The last of them, newest first; each opens to show its facts."""
    found = [_detection(record) for record in reversed(figures.detections)]
    muted = [_suppression(record, figures) for record in reversed(figures.suppressions)]
    none = None if found else element("p", "Nothing was detected.", class_="fine")
    rest = figures.severities.total() - len(found)
    more = element("p", f"and {number(rest)} before", class_="note") if rest > 0 else None
    return Html("".join(map(str, filter(None, [none, *found, more, *muted]))))


def _detection(record: Mapping[str, Any]) -> Html:
    severity = record.get("severity", "")
    level = severity if severity in SEVERITIES else "medium"
    facts = [_pair(str(key), str(value)) for key, value in record.get("facts", {}).items()]
    records: list[str] = record.get("records", [])
    shown = ", ".join(f"{id_.partition(':')[0][:8]}:{id_.partition(':')[2]}" for id_ in records[:20])
    summary = element(
        "summary",
        chevron(),
        element("span", severity or "no severity", class_=f"pill {level}"),
        element("bdi", record.get("title") or record["rule"], class_="name"),
        element("time", when(record.get("at") or record["time"])),
    )
    rule = _pair("Rule", record["rule"])
    seen = _pair("Records", shown + (" …" if len(records) > 20 else "")) if shown else None
    inner = element("div", element("dl", rule, facts, seen), class_="inner")
    return element("details", summary, inner, class_="item")


def _suppression(record: Mapping[str, Any], figures: Figures) -> Html:
    until = f" until {when(record['until'])} UTC" if record.get("until") else ""
    who = figures.who(record)
    line = (
        f"{record['rule']} was muted{until}{f' by {who}' if who else ''}: {record.get('reason', 'no reason')}"
    )
    return element("p", line, class_="note muted")


def proof(report: Report, figures: Figures) -> Html:
    """How much of the whole journal is anchored, and what was found."""
    anchored, signed = report.anchored, max(report.signed - report.anchored, 0)
    rest = max(report.records - anchored - signed, 0)
    whole = report.records
    parts = (
        ("anchored", anchored, "anchored: kept elsewhere, cannot have changed unnoticed"),
        ("signed", signed, "signed by the journal's own key"),
        ("unsigned", rest, "newer than any checkpoint"),
    )
    bar = share_bar([(kind, count) for kind, count, _ in parts], whole)
    keys = (
        element(
            "div", element("i", class_=f"dot {kind}"), element("b", share(count, whole)),
            element("span", f"{number(count)} {words}"), class_="key",
        )
        for kind, count, words in parts
    )  # fmt: skip
    return Html(bar + element("div", *keys, class_="keys") + _findings(report) + _facts(report, figures))


def _findings(report: Report) -> Html:
    lines = [element("li", element("bdi", str(finding))) for finding in report.findings]
    if report.more:
        lines.append(element("li", f"and {number(report.more)} more"))
    return element("ol", lines, class_="findings") if lines else Html("")


def _facts(report: Report, figures: Figures) -> Html:
    facts: Iterable[tuple[str, str]] = (
        ("Records in the journal", number(report.records)),
        ("Written by", many(report.chains, "chain")),
        ("Own checkpoints that hold", number(report.checkpoints)),
        ("Checkpoints kept elsewhere that hold", number(report.anchors)),
        ("Times operations went on unrecorded", number(report.gaps)),
        ("Times a writer was cut off", number(report.recoveries)),
        ("Records that a sink gave up", number(figures.skipped)),
        ("Operations whose outcome is not there", number(len(figures.open))),
    )
    notes = [element("p", note, class_="note") for note in report.notes]
    return Html(element("dl", *(_pair(*fact) for fact in facts), class_="facts") + "".join(notes))


__all__ = ["NAMES", "card", "detections", "failures", "proof", "ranking"]
