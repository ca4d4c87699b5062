"""What is wrong with policies before anything is rotated by them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from strongroom.backend import ANY_CAS
from strongroom.cachepolicy import CachePolicy
from strongroom.errors import InvalidRequestError
from strongroom.guarded import SKEW
from strongroom.stages import supports_pending

from .policy import secret_of
from .schedule import shortest_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .policy import Policy

SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Readers:
    """How long somebody may go on using the value before: together, the least grace.

    Attributes:
        cache: the longest that a reader's cache serves a value, stale time included.
        lag: how far a replica may be behind.
        skew: how far two clocks may be apart.
    """

    cache: timedelta = timedelta(seconds=CachePolicy.fresh + CachePolicy.stale)
    lag: timedelta = timedelta()
    skew: timedelta = timedelta(seconds=SKEW)

    @property
    def bound(self) -> timedelta:
        """The least grace."""
        return self.cache + self.lag + self.skew

    def __str__(self) -> str:
        parts = {"cache": self.cache, "replica lag": self.lag, "clock skew": self.skew}
        return " + ".join(f"{name} {length}" for name, length in parts.items() if length)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        secret: as the ledger calls it.
        text: what is wrong, in a line.
        hint: what to do about it.
        severity: an ``error`` refuses the policy.
    """

    secret: str
    text: str
    hint: str
    severity: Literal["error", "warning"] = "error"


def problems(policies: Iterable[Policy], readers: Callable[[Policy], Readers]) -> list[Problem]:
    """Everything that is wrong with these policies; what is wrong with a schedule alone, it says itself.

    Args:
        policies: all of them: what they share matters.
        readers: who reads a policy's secret, and through what.
    """
    policies = list(policies)
    found = [problem for policy in policies for problem in _problems(policy, readers(policy))]
    return [*found, *_herds(policies)]


def refuse(policies: Iterable[Policy], readers: Callable[[Policy], Readers]) -> list[Problem]:
    """The warnings, if there are no errors.

    Raises:
        InvalidRequestError: policies that would break their readers, or cannot be carried out.
    """
    found = problems(policies, readers)
    errors = [problem for problem in found if problem.severity == "error"]
    if not errors:
        return found
    more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    raise InvalidRequestError(
        "; ".join(f"{problem.secret}: {problem.text}" for problem in errors[:SHOWN]) + more,
        operation="rotation",
        hint=errors[0].hint,
    )


def _problems(policy: Policy, readers: Readers) -> Iterator[Problem]:
    yield from _store(policy)
    if policy.rotator.slots != "single":  # of one slot nothing is left to be graceful with
        yield from _grace(policy, readers)


def _store(policy: Policy) -> Iterator[Problem]:
    able = policy.store.capabilities
    if not able & ANY_CAS:
        text = "its store has no compare-and-set, so two workers could both promote"
        yield Problem(secret_of(policy), text, "name a [coordinator] in strongroom.toml, or another store")
    elif not supports_pending(able):
        text = "its store cannot hold a pending value"
        yield Problem(secret_of(policy), text, "rotate in a store with versions")


def _grace(policy: Policy, readers: Readers) -> Iterator[Problem]:
    if policy.grace < readers.bound:
        text = f"grace {policy.grace} is shorter than {readers}: a reader would use what is revoked"
        yield Problem(secret_of(policy), text, f"grace of {readers.bound} or more, or a shorter cache")
    if policy.schedule and policy.grace >= (shortest := shortest_interval(policy.schedule)):
        text = f"grace {policy.grace} lasts until the next rotation, {shortest} later"
        yield Problem(secret_of(policy), text, "a schedule less often, or a shorter cache and grace")


def _herds(policies: Sequence[Policy]) -> Iterator[Problem]:
    """Secrets of one schedule that nothing spreads: all of them meet their target in one minute."""
    alone = [one for one in policies if one.schedule and one.schedule.jitter and not one.schedule.window]
    shared = Counter(one.schedule for one in alone)
    for policy in alone:
        if (count := shared.pop(policy.schedule, 0)) > 1:
            text = f"{count} secrets are due at one moment: jitter needs a window to spread them in"
            yield Problem(secret_of(policy), text, 'window = "2h" in its schedule', "warning")
