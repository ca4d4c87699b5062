"""What came of a run, of the whole fleet: requests, money, staleness, failures; to three digits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from .fleet_providers import MONTH, PUSH

if TYPE_CHECKING:
    from .fleet_network import Service
    from .fleet_runs import Run

WINDOW: Final = 10
"""Seconds over which a peak is counted: a sample's single seconds are too coarse."""
QUANTILES: Final = tuple(number / 40 for number in range(41))
"""Those of a curve."""
Times = float | None


def results(run: Run) -> dict[str, Any]:
    """What came of it."""
    plan, heard = run.plan, run.heard
    told: dict[str, Any] = {
        title: _requests(run, service, request) for title, service, request in _asked(run)
    }
    told = {
        "requests": told,
        "stale reads": _share(run, heard.stale),
        "failed reads": _share(run, heard.failing),
    }
    if plan.steady:
        told["dollars a month"] = rounded(dollars(run))
    if heard.rotated:
        told["staleness"] = staleness(run)
    if plan.start != "warm":
        told["starts"] = _starts(run)
    return told


def series(run: Run) -> dict[str, Any]:
    """What a plot shows: requests a second by minute, and the quantiles of staleness and of starts."""
    told: dict[str, Any] = {}
    for title, service, request in _asked(run):
        minutes: Counter[int] = Counter()
        for second, count in service.asked(request).items():
            minutes[second // 60] += count
        told[title] = [
            rounded(minutes[minute] * run.plan.weight / 60) for minute in range(int(run.plan.seconds // 60))
        ]
    if run.heard.rotated:
        wanted = len(run.heard.rotated) * run.plan.sample
        told["staleness"] = [_quantile(_news(run), wanted, share) for share in QUANTILES]
    if run.plan.start != "warm":
        told["starts"] = [_quantile(sorted(run.heard.starts), run.plan.sample, share) for share in QUANTILES]
    return told


def _asked(run: Run) -> list[tuple[str, Service, str]]:
    """Each kind of request in each region, by its title."""
    several = len(run.services) > 1
    return [
        (f"{request}, region {region}" if several else request, service, request)
        for region, service in zip("ab", run.services, strict=False)
        for request in sorted({*service.let_through, *service.refused, *service.lost})
    ]


def _requests(run: Run, service: Service, request: str) -> dict[str, float | None]:
    """Requests a second: what was asked for, and what the limit let through."""
    asked = service.asked(request)
    limit = service.provider.limits.get(request)
    return {
        "limit": rounded(limit.rate) if limit else None,
        "asked, mean": rounded(asked.total() * run.plan.weight / run.plan.seconds),
        "asked, peak": rounded(_peak(run, asked)),
        "let through, mean": rounded(
            service.let_through[request].total() * run.plan.weight / run.plan.seconds
        ),
    }


def _peak(run: Run, seconds: Mapping[int, int]) -> float:
    windows: Counter[int] = Counter()
    for second, count in seconds.items():
        windows[second // WINDOW] += count
    return max(windows.values(), default=0) * run.plan.weight / WINDOW


def dollars(run: Run) -> float:
    """Of a month that goes on like this: what was answered, what is kept, and what notices take."""
    plan, provider = run.plan, run.services[0].provider
    months = plan.seconds / MONTH
    answered = sum(count.total() for one in run.services for count in one.let_through.values())
    total = answered * plan.weight / months * provider.dollars
    total += provider.keeping * plan.secrets * plan.regions
    if plan.push:
        push = PUSH[plan.provider]
        changes = len(plan.rotations) / months
        total += push.idle * plan.instances + changes * (push.event + push.delivery * plan.instances)
    return total


def _share(run: Run, seconds: Mapping[int, float]) -> float:
    return rounded(sum(seconds.values()) / (run.plan.seconds * run.plan.secrets * run.plan.sample))


def staleness(run: Run) -> dict[str, Times]:
    """Seconds from a change until an instance served it; None: not while it was watched."""
    wanted, news = len(run.heard.rotated) * run.plan.sample, _news(run)
    return {
        title: _quantile(news, wanted, share) for title, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    }


def _news(run: Run) -> list[float]:
    return sorted(second for each in run.heard.news.values() for second in each)


def _starts(run: Run) -> dict[str, Times]:
    """Seconds until instances had all their secrets, and how many attempts at it failed."""
    wanted, seconds = run.plan.sample, sorted(run.heard.starts)
    return {
        "p50": _quantile(seconds, wanted, 0.5),
        "p99": _quantile(seconds, wanted, 0.99),
        "ready": rounded(len(seconds) / wanted),
        "failed attempts": rounded(run.heard.restarts * run.plan.weight),
    }


def _quantile(seconds: Sequence[float], wanted: int, share: float) -> Times:
    at = min(wanted - 1, int(share * wanted))
    return rounded(seconds[at]) if at < len(seconds) else None


def rounded(number: float) -> float:
    """Three digits, which is more than a sample can tell."""
    if not number:
        return 0.0
    digits = 2 - math.floor(math.log10(abs(number)))
    return round(number, digits) if digits > 0 else float(round(number / 10**-digits) * 10**-digits)
