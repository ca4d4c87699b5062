"""docs/scale.md: its tables and its plots, of what was simulated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .fleet_plan import Plan
from .fleet_providers import PROVIDERS, PUSH, READ_ON, Provider
from .fleet_scenarios import scenarios

PAGE: Final = Path(__file__).parents[2] / "docs" / "scale.md"
RENEWED: Final = 0.85
"""The share of `fresh` after which a value is read again, on average."""
_READ: Final = """\
The limits of reads and of Event Grid were read in copies of these pages on {}. Prices, in US dollars, and the
other limits are as others tell them: look them up before money depends on them."""
Outcomes = Mapping[str, Any]
_TABLE: Final = re.compile(r"(<!-- table: (?P<name>[a-z]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def tables(outcomes: Outcomes) -> dict[str, str]:
    """Each table of the page by its name, in Markdown."""
    return {
        "limits": _limits(),
        "sizes": _sizes(),
        "steady": _of(outcomes, "steady", ("stale", "news", "dollars")),
        "changes": _of(outcomes, "changes", ("news",)),
        "troubles": _of(outcomes, "troubles", ("stale", "failed")),
        "starts": _of(outcomes, "starts", ("starts",)),
        "others": _of(outcomes, "others", ("stale", "news")),
    }


def filled(page: str, outcomes: Outcomes) -> str:
    """The page's text with its tables as they are to be."""
    found = tables(outcomes)
    return _TABLE.sub(lambda match: f"{match[1]}\n{found[match['name']]}\n", page)


def write(outcomes: Outcomes) -> None:
    """Write the page's tables and its plots."""
    from .fleet_plots import plots

    PAGE.write_text(filled(PAGE.read_text(), outcomes))
    plots(outcomes, PAGE.parent / "images")


def _group(title: str, plan: Plan) -> str:
    if plan.provider != "aws-sm":
        return "others"
    if plan.start != "warm":
        return "starts"
    if plan.trouble:
        return "troubles"
    return "changes" if "change" in title else "steady"


_COLUMNS: Final[dict[str, tuple[str, Callable[[Outcomes], str]]]] = {
    "stale": ("stale reads", lambda told: _percent(told["stale reads"])),
    "failed": ("failed reads", lambda told: _percent(told["failed reads"])),
    "news": (
        "change served after: half, 99 %, all",
        lambda told: (
            ", ".join(_time(each) for each in told["staleness"].values()) if "staleness" in told else ""
        ),
    ),
    "dollars": (
        "$ a month",
        lambda told: f"{told['dollars a month']:,.0f}" if "dollars a month" in told else "",
    ),
    "starts": (
        "all secrets after: half, 99 %",
        lambda told: f"{_time(told['starts']['p50'])}, {_time(told['starts']['p99'])}",
    ),
}


def _of(outcomes: Outcomes, group: str, columns: tuple[str, ...]) -> str:
    """One row for each request of each scenario; what is of the scenario as a whole stands in its first."""
    lines = [
        ["fleet", "request", "limit /s", "asked /s: mean, peak", *(_COLUMNS[name][0] for name in columns)]
    ]
    for title, plan in scenarios().items():
        if _group(title, plan) != group:
            continue
        whole = [_COLUMNS[name][1](outcomes[title]) for name in columns]
        for request, told in outcomes[title]["requests"].items():
            asked = f"{told['asked, mean']:,.0f}, {told['asked, peak']:,.0f}"
            lines.append([title, _short(request), f"{told['limit']:,.0f}", asked, *whole])
            title, whole = "", [""] * len(columns)  # noqa: PLW2901  (told once)
    return _markdown(lines)


def _limits() -> str:
    lines = [
        ["provider", "request", "limit", "a request costs", "one topic reaches", "an idle process costs"]
    ]
    for scheme, provider in PROVIDERS.items():
        push = PUSH[scheme]
        facts = [
            f"${provider.dollars * 10_000:.2f} for 10,000",
            f"{push.most:,}",
            f"${push.idle:.3f} a month",
        ]
        title = f"[{provider.title}]({provider.prices})"
        for request, limit in provider.limits.items():
            rate = f"[{limit.calls:,} in {limit.seconds:g} s]({limit.source})"
            lines.append([title, request, rate, *facts])
            title, facts = "", [""] * len(facts)
    return _markdown(lines) + f"\n{_READ.format(READ_ON)}\n"


def _sizes() -> str:
    """What half of each provider's limits takes: how long values stay fresh, and how long a start takes."""
    lines = [["instances x secrets", *(f"`{scheme}`: fresh, start" for scheme in PROVIDERS)]]
    for instances, secrets in ((100, 20), (1_000, 20), (1_000, 200), (10_000, 200), (100_000, 200)):
        cells = [_size(instances * secrets, provider) for provider in PROVIDERS.values()]
        lines.append([f"{instances:,} x {secrets}", *cells])
    return _markdown(lines)


def _size(reads: int, provider: Provider) -> str:
    fresh = reads / (provider.limits[provider.read].rate / 2) / RENEWED
    first = [request for request in (provider.read, provider.facts) if request]
    start = max(reads / (provider.limits[request].rate / 2) for request in first)
    return f"{_time(max(300.0, fresh))}, {_time(start)}"


def _markdown(lines: list[list[str]]) -> str:
    head, *rest = lines
    rows = [head, ["---"] * len(head), *rest]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _short(request: str) -> str:
    return request.replace("SecretValue", "").replace("AccessSecretVersion", "Access")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share else "none"


def _time(seconds: float | None) -> str:
    """As people read it; None: later than was watched."""
    if seconds is None:
        return "later"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.0f} days"
