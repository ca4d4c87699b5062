"""Suppressions: what need not be told for a while, as a record that says so."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from strongroom.audit.record import stamp
from strongroom.errors import InvalidRequestError

from .spans import DAY, SECOND

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

LONGEST: Final = 90 * DAY
"""A suppression without an end would be a rule that nobody knows is off."""


def suppression(
    rule: str,
    known: Collection[str],
    *,
    now: datetime,
    span: int,
    reason: str,
    facts: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The fields of the record that suppresses a rule.

    Args:
        rule: its name.
        known: the names there are.
        now: when it begins.
        span: nanoseconds until it ends, at most 90 days.
        reason: why, for whoever reads the journal.
        facts: only where the event has these fields, such as ``name`` or ``actor.uid``.

    Raises:
        InvalidRequestError: no such rule, no reason, or too long.
    """
    if rule not in known:
        raise InvalidRequestError(f"no rule is called {rule!r}", hint=f"one of {', '.join(sorted(known))}")
    if not reason.strip():
        raise InvalidRequestError("a suppression needs a reason")
    if not 0 < span <= LONGEST:
        raise InvalidRequestError(
            "a suppression lasts at most 90 days", hint="suppress it again when it ends"
        )
    until = stamp(now + timedelta(microseconds=span // (SECOND // 10**6)))
    return {"kind": "suppression", "rule": rule, "until": until, "reason": reason, "facts": dict(facts or {})}
