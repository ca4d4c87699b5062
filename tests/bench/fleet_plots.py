"""The plots of docs/scale.md, as small SVG files that are the same each time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .fleet_providers import AWS
from .fleet_results import QUANTILES

Outcomes = Mapping[str, Any]
_SIZE: Final = (7.0, 3.4)
_LIMIT: Final = AWS.limits["GetSecretValue"].rate


def plots(outcomes: Outcomes, folder: Path) -> None:
    """Write all of them."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "scale", "svg.fonttype": "none", "font.size": 9.0, "axes.grid": True}
    folder.mkdir(exist_ok=True)
    for name, draw in (("staleness", _staleness), ("starts", _starts), ("region-lost", _lost)):
        _drawn(folder / f"scale-{name}.svg", draw, outcomes)


def digest(outcomes: Outcomes) -> str:
    """Of what the plots show: each bears it, so that a test sees when one is of before."""
    curves = {title: outcome["series"] for title, outcome in outcomes.items() if "series" in outcome}
    return hashlib.sha256(json.dumps(curves).encode()).hexdigest()[:16]


def _drawn(path: Path, draw: Any, outcomes: Outcomes) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    draw(axes, outcomes)
    axes.legend(fontsize=8)
    facts = {"Date": None, "Creator": "tests.bench.fleet", "Description": f"data {digest(outcomes)}"}
    figure.savefig(path, format="svg", metadata=facts)
    plt.close(figure)


def _staleness(axes: Any, outcomes: Outcomes) -> None:
    """Which share of a fleet serves a change, over the time since."""
    curves = {
        "polling, fresh 2 h": "fresh 2 h",
        "push over 1 s": "one change, push over 1 s",
        "push over 30 s": "fresh 24 h, push",
        "all 200 at once, push over an hour": "all change, push over an hour",
    }
    _quantiles(axes, outcomes, curves, "staleness")
    axes.set(xscale="log", xlabel="seconds since the change", ylabel="% of instances that serve it")


def _starts(axes: Any, outcomes: Outcomes) -> None:
    """Which share of instances has all its secrets, over the time since it began."""
    curves = {
        "within a minute, giving up (never)": "start within a minute, giving up",
        "within a minute, patient": "start within a minute, patient",
        "within half an hour, patient": "start within half an hour, patient",
        "within an hour, patient": "start within an hour, patient",
    }
    _quantiles(axes, outcomes, curves, "starts")
    axes.set(xlabel="seconds since its own start", ylabel="% of instances with all secrets", xlim=(0, 2000))


def _quantiles(axes: Any, outcomes: Outcomes, curves: Mapping[str, str], of: str) -> None:
    for label, title in curves.items():
        seconds = outcomes[title]["series"][of]
        known = [(second, 100 * share) for second, share in zip(seconds, QUANTILES, strict=True) if second]
        axes.plot([second for second, _ in known], [share for _, share in known], label=label)


def _lost(axes: Any, outcomes: Outcomes) -> None:
    """What is asked of the regions while the first is lost, from minute 10 to minute 40."""
    curves = {
        "one region": ("region lost for 30 min", "GetSecretValue"),
        "failover to a replica: the second region": (
            "region lost for 30 min, failover",
            "GetSecretValue, region b",
        ),
        "failover without records: the second region": (
            "region lost for 30 min, failover without records",
            "GetSecretValue, region b",
        ),
    }
    for label, (title, request) in curves.items():
        rates = outcomes[title]["series"][request]
        axes.plot(range(len(rates)), [max(rate, 100) for rate in rates], label=label)
    axes.axhline(_LIMIT, color="black", linestyle=":", label="limit of a region")
    axes.set(yscale="log", xlabel="minute", ylabel="requests a second")
