"""When a secret is due: pure functions of its schedule, its last success and the time.

A *tick* is an instant that the schedule names. A secret's own instant is the tick plus its jitter, which
every process computes alike. Ticks that passed while nothing ran are served by one rotation, the latest's.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .cron import DAY, Cron, invalid, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FORWARD_JUMP: Final = timedelta(hours=1)
"""A clock that leaps farther ahead of the time that has passed is not believed: nothing is begun by it."""

JITTER_SHARE: Final = 0.75
"""Jitter takes this part of a window; the rest is for whoever looks seldom, and for a target that is slow."""

_UNITS: Final = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": DAY}
_RATE: Final = re.compile(r"rate\(([1-9][0-9]{0,5}) (minute|hour|day)s?\)")
_CRON: Final = re.compile(r"cron\((.*)\)")
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often, and when.

    Attributes:
        every: ``rate(30 days)``: so long after the last success, to the second, whatever clocks are changed;
            minutes, hours or days. Or AWS's six-field ``cron(0 3 ? * SUN *)``: a calendar.
        timezone: the IANA zone whose clock a `cron` reads.
        window: how long after a tick a rotation may begin. A `cron` whose window has closed waits for the
            next one. A `rate` has no time of day: its window only spreads jitter, and late is due at once.
            None: no end.
        max_age: a rotation that would wait for a window beyond this age begins outside it.
        jitter: spread secrets over three quarters of the window; without a window there is nothing to spread.
        spread: seconds of jitter at most; computed.

    Raises:
        InvalidRequestError: an expression that is not understood or names no date that exists, a zone that is
            unknown, a window that reaches the next tick, a maximum age that the schedule itself exceeds.
        BackendNotInstalledError: `cron` needs cronsim.
    """

    every: str
    timezone: str = "UTC"
    window: timedelta | None = None
    max_age: timedelta | None = None
    jitter: bool = True
    spread: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        for name in ("window", "max_age"):
            length = getattr(self, name)
            if length is not None and length < _SECOND:
                raise invalid(f"{name} is at least a second")
        _rule(self.every, self.timezone)
        if self.window or self.max_age:
            self._check_lengths(*_intervals(self.every, self.timezone))
        if self.window and self.jitter:
            object.__setattr__(self, "spread", int(self.window.total_seconds() * JITTER_SHARE))

    def _check_lengths(self, shortest: timedelta, longest: timedelta) -> None:
        if self.window and self.window > shortest:
            raise invalid(
                f"the window {self.window} reaches the next tick of {self.every}", f"at most {shortest}"
            )
        oldest = longest + (self.window or timedelta())
        if self.max_age and self.max_age < oldest:
            raise invalid(f"{self.every} lets a secret become {oldest} old: max_age {self.max_age} is less")


@dataclass(frozen=True, slots=True)
class Due:
    """A secret is to be rotated now.

    Attributes:
        tick: the schedule's instant that it serves.
        at: since when it is due: the tick and its jitter, or when it would become too old.
        reason: ``max-age``: outside its window, since waiting would exceed the maximum age.
    """

    tick: datetime
    at: datetime
    reason: Literal["schedule", "max-age"] = "schedule"


def due(schedule: Schedule, secret_id: str, last_success: datetime | None, now: datetime) -> Due | None:
    """Whether a secret is to be rotated now.

    Never before its instant; never twice for one tick, whichever way the clock is set; and all ticks that
    were missed count as one.

    Args:
        secret_id: by which the ledger knows it; jitter depends on it.
        last_success: when a rotation was promoted last. None: never, so the latest tick is open.
        now: in the same clock as `last_success`.
    """
    beside = _beside(schedule.every, schedule.timezone, now)
    if isinstance(beside, timedelta):
        return _rate_due(schedule, beside, secret_id, last_success, now)
    return _cron_due(schedule, beside, secret_id, last_success, now)


def next_after(schedule: Schedule, secret_id: str, instant: datetime) -> datetime:
    """A secret's first instant, with jitter, whose tick is later than `instant`.

    Of a `rate` it is one interval later, so ask with the last success, never with "now" again and again: see
    `planned`.
    """
    return _instant(schedule, secret_id, _tick_after(schedule, instant))


def planned(schedule: Schedule, secret_id: str, last_success: datetime | None, now: datetime) -> datetime:
    """When a secret is due next: what a ledger is to remember.

    In the past if it is overdue already. One that was never rotated waits for its first tick after now.
    """
    if last_success is None:
        return next_after(schedule, secret_id, now)
    beside = _beside(schedule.every, schedule.timezone, now)
    if isinstance(beside, timedelta):
        return _instant(schedule, secret_id, last_success + beside)
    if beside.tick <= last_success:  # as with most of a fleet: nothing else needs to be looked at
        return _instant(schedule, secret_id, beside.following)
    found = _cron_due(schedule, beside, secret_id, last_success, now)
    return found.at if found else _chance(schedule, beside, secret_id, last_success, now)


def replanned(
    schedule: Schedule, secret_id: str, last_success: datetime | None, known: datetime | None, now: datetime
) -> datetime:
    """What a ledger that remembers `known` is to remember instead, now that it meets this schedule.

    The same each time it is asked, so that a process for each pass does not put a rotation off for ever; what
    has come stays, for a pass to serve it or to tell that it was missed. What is not due by what the ledger
    remembers and would be by this schedule has got another schedule: no old tick of that one fires, but its
    next, unless the secret is too old already.
    """
    wanted = planned(schedule, secret_id, last_success, now)
    if known is None or known <= now:
        return known or wanted
    if last_success is None:  # another draw of the jitter is no reason to be earlier
        latest = _tick_after(schedule, now) + (schedule.window or timedelta())
        return known if known <= latest and _is_own(schedule, secret_id, known) else wanted
    too_old = schedule.max_age is not None and last_success + schedule.max_age <= now
    return wanted if wanted > now or too_old else min(known, next_after(schedule, secret_id, now))


def ticks(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """The schedule's instants, without jitter; those of a `rate` are counted from `after`."""
    tick = _tick_after(schedule, after)
    while tick <= until:
        yield tick
        tick = _tick_after(schedule, tick)


def skipped(schedule: Schedule, last_success: datetime, now: datetime) -> int:
    """How many ticks passed since the last success that one rotation now serves besides its own."""
    rule = _rule(schedule.every, schedule.timezone)
    if isinstance(rule, timedelta):
        passed = (now - last_success) // rule
    else:
        passed = sum(1 for _ in rule.between(last_success, now))
    return max(0, passed - 1)


def shortest_interval(schedule: Schedule) -> timedelta:
    """The least time from one tick to the next, clock changes included."""
    return _intervals(schedule.every, schedule.timezone)[0]


def jitter(schedule: Schedule, secret_id: str, tick: datetime) -> timedelta:
    """How long after a tick a secret is due: whole seconds, the same in every process.

    HMAC-SHA256 of the tick under the secret's id, as a share of the window.
    """
    return _instant(schedule, secret_id, tick) - tick


def _instant(schedule: Schedule, secret_id: str, tick: datetime) -> datetime:
    if not schedule.spread:
        return tick
    drawn = hmac.digest(secret_id.encode(), _mark(tick), "sha256")
    return tick + timedelta(0, int.from_bytes(drawn[:8]) * schedule.spread >> 64)


@lru_cache(maxsize=4096)
def _mark(tick: datetime) -> bytes:
    return b"%d" % int(tick.timestamp())


def _is_own(schedule: Schedule, secret_id: str, instant: datetime) -> bool:
    beside = _beside(schedule.every, schedule.timezone, instant)
    return isinstance(beside, timedelta) or _instant(schedule, secret_id, beside.tick) == instant


def _tick_after(schedule: Schedule, instant: datetime) -> datetime:
    rule = _rule(schedule.every, schedule.timezone)
    return instant + rule if isinstance(rule, timedelta) else rule.after(instant)


def _rate_due(
    schedule: Schedule, interval: timedelta, secret_id: str, last: datetime | None, now: datetime
) -> Due | None:
    if last is None:
        return Due(now, now)
    first = last + interval
    at = _instant(schedule, secret_id, first)
    return Due(first, at) if at <= now else None


def _cron_due(
    schedule: Schedule, beside: _Ticks, secret_id: str, last: datetime | None, now: datetime
) -> Due | None:
    tick = beside.tick
    if last is not None and tick <= last:
        return None
    if schedule.window is None or now < tick + schedule.window:
        at = _instant(schedule, secret_id, tick)
        if at <= now:
            return Due(tick, at)
    limit = last + schedule.max_age if last and schedule.max_age else None
    if last and limit and _chance(schedule, beside, secret_id, last, now) > limit:
        return Due(tick, min(now, limit), "max-age")
    return None


def _chance(schedule: Schedule, beside: _Ticks, secret_id: str, last: datetime, now: datetime) -> datetime:
    """A secret's next instant that is not past: in the window that is open, or in the next."""
    if schedule.window and last < beside.tick and now < beside.tick + schedule.window:
        at = _instant(schedule, secret_id, beside.tick)
        if at > now:
            return at
    return _instant(schedule, secret_id, beside.following)


class _Ticks(NamedTuple):
    """The last tick until a moment, and the first after it."""

    tick: datetime
    following: datetime


@lru_cache(maxsize=16_384)
def _beside(every: str, timezone: str, now: datetime) -> timedelta | _Ticks:
    """The ticks of a `cron` beside now, which all its secrets share; the interval of a `rate`."""
    rule = _rule(every, timezone)
    return rule if isinstance(rule, timedelta) else _Ticks(rule.until(now), rule.after(now))


@lru_cache(maxsize=65_536)
def _rule(every: str, timezone: str) -> timedelta | Cron:
    if found := _RATE.fullmatch(every):
        return int(found[1]) * _UNITS[found[2]]
    if found := _CRON.fullmatch(every):
        return Cron(found[1], timezone)
    raise invalid(f"{every!r} is no schedule", "rate(30 days), or cron(0 3 ? * SUN *)")


@lru_cache(maxsize=65_536)
def _intervals(every: str, timezone: str) -> tuple[timedelta, timedelta]:
    """The shortest and the longest interval from a tick to the next."""
    rule = _rule(every, timezone)
    if isinstance(rule, timedelta):
        return rule, rule
    gaps = rule.gaps()
    return min(gaps), max(gaps)
