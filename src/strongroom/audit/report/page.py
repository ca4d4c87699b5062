"""The report as one file: no script, style, picture or font comes from elsewhere, and none may."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from .charts import timeline, week
from .figures import Figures
from .html import Html, element
from .sections import card, detections, failures, proof, ranking
from .words import DASH, many, minute, number, share

if TYPE_CHECKING:
    from strongroom.audit.verify_report import Report

_ICONS: Final = {
    "ok": "M20 6 9 17l-5-5",
    "unanchored": "M12 9v4m0 4h.01M10.3 4 2 18a2 2 0 0 0 1.7 3h16.6a2 2 0 0 0 1.7-3L13.7 4a2 2 0 0 0-3.4 0Z",
    "broken": "M18 6 6 18M6 6l12 12",
}


def page(figures: Figures, report: Report, *, made: datetime, asked: str = "") -> str:
    """The whole page, as HTML.

    Args:
        figures: the counts of the part that was asked for.
        report: the verification of the whole journal.
        made: when the page was made.
        asked: which part that is, in words.
    """
    style, script = _file("report.css"), _file("report.js")
    title = f"Audit report · {report.origin or 'journal'}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Html(style)),
    )
    body = element(
        "body", _header(figures, report, made, asked), element("main", *_cards(figures, report)),
        _footer(report), element("script", Html(script)),
    )  # fmt: skip
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Only this very style and script; nothing is loaded, sent or framed."""
    parts = (
        "default-src 'none'",
        f"style-src 'sha256-{_digest(style)}'",
        f"script-src 'sha256-{_digest(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(parts)


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _header(figures: Figures, report: Report, made: datetime, asked: str) -> Html:
    period = f"{minute(figures.first)} {DASH} {minute(figures.last)} UTC" if figures.first else "no records"
    lines = (
        element("p", "Strongroom audit report", class_="brand"),
        element("h1", element("bdi", report.origin or "Journal")),
        element("p", period, class_="period"),
        element("p", asked, class_="period") if asked else None,
        element("p", f"Made {made:%Y-%m-%d %H:%M} UTC", class_="period"),
    )
    return element("header", *lines, _verdict(report), _tiles(figures, report))


def _verdict(report: Report) -> Html:
    headline, words = {
        "ok": (
            "Proved",
            f"{many(report.anchored, 'record')} are as they were when they were anchored elsewhere.",
        ),
        "unanchored": ("Unanchored", _lack(report)),
        "broken": ("Broken", str(report.first or "")),
    }[report.status]
    icon = element("svg", element("path", d=_ICONS[report.status]), viewBox="0 0 24 24", aria_hidden="true")
    told = element("div", element("strong", headline), element("span", words))
    return element("div", icon, told, class_=f"verdict {report.status}", role="status")


def _lack(report: Report) -> str:
    if not report.keyed:
        return "No key was given, so no signature was checked: all of this could have been written anew."
    return "Nothing that was kept elsewhere was given: the end could have been cut off, or all written anew."


def _tiles(figures: Figures, report: Report) -> Html:
    tiles = (
        ("accesses", number(figures.kinds.total()), "#time", ""),
        ("secrets", number(len(figures.secrets)), "#secrets", ""),
        ("actors", number(len(figures.actors)), "#actors", ""),
        ("failures", number(figures.kinds["failure"]), "#failures", "bad"),
        ("detections", number(figures.severities.total()), "#detections", "bad"),
        ("anchored", share(report.anchored, report.records), "#proof", ""),
    )
    return element(
        "nav",
        *(
            element("a", element("b", value), element("span", name), href=href,
                    class_=f"tile {kind}" if kind and value != "0" else "tile")
            for name, value, href, kind in tiles
        ),
        class_="tiles", aria_label="Figures",
    )  # fmt: skip


def _cards(figures: Figures, report: Report) -> tuple[Html, ...]:
    unrecorded = sum(gap["count"] for gap in figures.gaps)
    gap = f"{many(unrecorded, 'operation')} went on unrecorded and cannot be shown." if unrecorded else ""
    return (
        card("time", "Access over time", timeline(figures.timeline), note=gap),
        card("detections", "Detections", detections(figures)),
        card("failures", "Failures", failures(figures)),
        card("secrets", "By secret", ranking("secrets", "a secret", "Actor", figures.secrets)),
        card("actors", "By actor", ranking("actors", "an actor", "Secret", figures.actors)),
        card("week", "By weekday and hour", week(figures.week)),
        card("proof", "Coverage of the proof", proof(report, figures), note="Of the whole journal."),
    )


def _footer(report: Report) -> Html:
    key = "--key KEY --anchor FILE" if report.status == "unanchored" else "with its key and anchors"
    words = (
        "This page proves nothing by itself. Check the journal offline with ",
        element("code", "strongroom audit verify"),
        f" ({key}). It holds no value of a secret.",
    )
    return element("footer", element("p", *words))
