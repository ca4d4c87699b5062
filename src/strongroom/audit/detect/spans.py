"""Times and spans of the engine: nanoseconds since 1970, as integers, so that nothing is rounded."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from strongroom.errors import InvalidRequestError

SECOND: Final = 10**9
DAY: Final = 86_400 * SECOND

_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhdwMy])")
# A month is 30 days and a year 365, as pySigma counts them.
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000, "y": 31_536_000}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR: Final = 9000  # some way from the end of the calendar, where a time zone would leave it
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z")


def parse_span(text: object, where: str) -> int:
    """Nanoseconds of a Sigma timespan, such as ``6m``: a number and one of ``s m h d w M y``.

    Raises:
        InvalidRequestError: it is none.
    """
    found = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise InvalidRequestError(
            f"{where}: {text!r} is no span of time", hint="a number and one of s m h d w M y"
        )
    return int(found[1]) * _UNITS[found[2]] * SECOND


def parse_time(text: str) -> int | None:
    """Nanoseconds since 1970 of a record's time; None if it is no such time, or one that no clock shows."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    try:
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        return None
    if not _EPOCH.year <= moment.year < _LAST_YEAR:
        return None
    return since_epoch(moment) + int(found[2])


def since_epoch(moment: datetime) -> int:
    """Nanoseconds since 1970."""
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * SECOND + passed.microseconds * 1000


def moment_of(time: int) -> datetime:
    """The date and time, in UTC, to the second."""
    return datetime.fromtimestamp(time // SECOND, UTC)


def written(time: int) -> str:
    """As records write it: RFC 3339, UTC, nine digits."""
    return f"{moment_of(time).isoformat()[:19]}.{time % SECOND:09d}Z"  # strftime writes year 1 as "1"
