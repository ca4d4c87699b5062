"""What is simulated: fleets as they run, changes, lost regions, starts. Each is one row of docs/scale.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from strongroom.cache import CachePolicy

from .fleet_plan import Plan, Push, Rotation, Trouble

HOUR: Final = 3600.0
DEFAULTS: Final = CachePolicy()
SLOW: Final = CachePolicy(fresh=2 * HOUR, stale=HOUR)
"""What polling alone takes at 100,000 instances with 200 secrets each."""
PUSHED: Final = CachePolicy(fresh=24 * HOUR, stale=HOUR, spread=30.0)
"""What push allows: notices tell of changes, and polling only mends what they miss."""
TWO: Final = (Rotation(120.0, 3), Rotation(900.0, 77))
"""One of a hundred secrets an hour."""
ALL: Final = tuple(Rotation(600.0, number) for number in range(200))
_LOST: Final = Trouble(since=600.0, until=2400.0)
_LONG: Final = Trouble(since=300.0, until=5700.0)


def scenarios() -> dict[str, Plan]:
    """All plans by their titles."""
    return dict((*_steady(), *_changes(), *_troubles(), *_starts(), *_others()))


def _steady() -> Iterator[tuple[str, Plan]]:
    yield "defaults, 10,000 instances", Plan(1800, instances=10_000, sample=50, rotations=TWO, steady=True)
    yield "defaults, 15,000 instances", Plan(1200, instances=15_000, sample=20, rotations=TWO, steady=True)
    yield "defaults, 100,000 instances", Plan(1200, sample=10, rotations=TWO, steady=True)
    yield "fresh 2 h", Plan(3 * HOUR, policy=SLOW, rotations=TWO, steady=True)
    yield "fresh 24 h", Plan(26 * HOUR, sample=25, policy=PUSHED, rotations=TWO, steady=True)
    yield (
        "fresh 24 h, push",
        Plan(HOUR, sample=100, policy=PUSHED, rotations=TWO, push=Push(), steady=True),
    )
    yield (
        "fresh 24 h, push, 1 notice in 100 lost",
        Plan(26 * HOUR, sample=100, secrets=20, policy=PUSHED, rotations=TWO[:1], push=Push(lost=0.01)),
    )
    watching = {"watch": True, "rotations": TWO[:1]}
    yield "watching, 250 instances", Plan(900, instances=250, sample=50, policy=SLOW, **watching)  # type: ignore[arg-type]
    yield "watching, 100,000 instances", Plan(900, sample=10, policy=SLOW, **watching)  # type: ignore[arg-type]


def _changes() -> Iterator[tuple[str, Plan]]:
    one = (Rotation(600.0, 3),)
    for title, spread in (("1 s", 1.0), ("30 s", 30.0)):
        policy = CachePolicy(PUSHED.fresh, PUSHED.stale, spread=spread)
        plan = Plan(1800, sample=200, secrets=20, policy=policy, rotations=one, push=Push())
        yield f"one change, push over {title}", plan
    yield "all change, fresh 2 h", Plan(2.5 * HOUR, policy=SLOW, rotations=ALL)
    for title, spread in (("1 s", 1.0), ("an hour", HOUR), ("two hours", 2 * HOUR)):
        policy = CachePolicy(PUSHED.fresh, PUSHED.stale, spread=spread)
        plan = Plan(3 * HOUR, sample=20, policy=policy, rotations=ALL, push=Push())
        yield f"all change, push over {title}", plan


def _troubles() -> Iterator[tuple[str, Plan]]:
    lost = {"sample": 25, "policy": SLOW, "trouble": _LOST}
    yield "region lost for 30 min", Plan(1.5 * HOUR, **lost)  # type: ignore[arg-type]
    yield "region lost for 30 min, failover", Plan(1.5 * HOUR, regions=2, **lost)  # type: ignore[arg-type]
    yield (
        "region lost for 30 min, failover without records",
        Plan(1.5 * HOUR, regions=2, records=False, **lost),  # type: ignore[arg-type]
    )
    ten = {"instances": 10_000, "sample": 3, "trouble": _LONG}
    yield "region lost for 90 min, defaults, 10,000 instances", Plan(6600, **ten)  # type: ignore[arg-type]
    yield (
        "region lost for 90 min, defaults, 10,000 instances, failover",
        Plan(6600, regions=2, **ten),  # type: ignore[arg-type]
    )
    squeezed = {"sample": 25, "policy": SLOW, "trouble": Trouble(since=600.0, until=2400.0, share=0.1)}
    yield "a tenth of the limits for 30 min", Plan(1.5 * HOUR, **squeezed)  # type: ignore[arg-type]
    yield (
        "a tenth of the limits for 30 min, breaker",
        Plan(1.5 * HOUR, breaker=True, **squeezed),  # type: ignore[arg-type]
    )


def _starts() -> Iterator[tuple[str, Plan]]:
    for title, within in (("a minute", 60.0), ("an hour", HOUR)):
        plan = Plan(1.5 * HOUR, sample=25, policy=SLOW, start="batches", within=within, patient=False)
        yield f"start within {title}, giving up", plan
    for title, within in (("a minute", 60.0), ("half an hour", HOUR / 2), ("an hour", HOUR)):
        plan = Plan(1.5 * HOUR, sample=25, policy=SLOW, start="batches", within=within)
        yield f"start within {title}, patient", plan


def _others() -> Iterator[tuple[str, Plan]]:
    """Where other providers end: with far fewer instances."""
    thousand = {"instances": 1_000, "rotations": TWO}
    for scheme in ("gcp-sm", "azure-kv"):
        yield (
            f"{scheme}, defaults, 1,000 instances",
            Plan(1200, provider=scheme, sample=12, **thousand),  # type: ignore[arg-type]
        )
        yield (
            f"{scheme}, fresh 2 h, push, 1,000 instances",
            Plan(HOUR, provider=scheme, policy=SLOW, push=Push(), steady=True, **thousand),  # type: ignore[arg-type]
        )
    start = {"start": "singly", "within": 60.0, "instances": 1_000, "sample": 5}
    yield (
        "gcp-sm, start within a minute, patient, 1,000 instances",
        Plan(HOUR, provider="gcp-sm", policy=SLOW, **start),  # type: ignore[arg-type]
    )


PLOTTED: Final = (
    "fresh 2 h",
    "fresh 24 h, push",
    "one change, push over 1 s",
    "all change, fresh 2 h",
    "all change, push over an hour",
    "start within a minute, giving up",
    "start within a minute, patient",
    "start within half an hour, patient",
    "start within an hour, patient",
    "region lost for 30 min",
    "region lost for 30 min, failover",
    "region lost for 30 min, failover without records",
)
"""Those whose curves are kept."""
