"""What an operator says about detections: the table ``[audit.detect]``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import InvalidRequestError

from .calendars import Calendar
from .spans import DAY, SECOND, parse_span

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPANS: Final = {"learn": 7 * DAY, "settle": DAY, "history": 90 * DAY, "lateness": 5 * SECOND}


@final
@dataclass(frozen=True, slots=True)
class DetectSettings:
    """How the engine judges.

    Attributes:
        learn: nanoseconds after a journal's first record in which what happens is taken for normal.
        settle: nanoseconds after a secret was made in which whoever reads it is known to.
        history: nanoseconds for which it is remembered who read what.
        lateness: nanoseconds to wait for records that other processes write at the same time.
        calendar: working time; without one nothing is off-hours.
        rules: a folder with Sigma rules of the operator's own.
    """

    learn: int = _SPANS["learn"]
    settle: int = _SPANS["settle"]
    history: int = _SPANS["history"]
    lateness: int = _SPANS["lateness"]
    calendar: Calendar | None = None
    rules: Path | None = None

    @staticmethod
    def parse(given: Mapping[str, Any], where: str = "audit.detect") -> DetectSettings:
        """From the keys of the table that are there.

        Args:
            given: ``learn``, ``settle``, ``history`` and ``lateness`` in seconds or as Sigma's spans
                (``7d``), ``calendar`` as `Calendar.parse` says, ``rules`` a path.
            where: what errors call it.

        Raises:
            InvalidRequestError: a key or a value is not one of these.
        """
        unknown = sorted(given.keys() - {*_SPANS, "calendar", "rules"})
        if unknown:
            raise InvalidRequestError(f"{where}: there is no setting {unknown[0]!r}")
        spans = {key: _span(given[key], f"{where}.{key}") for key in _SPANS if key in given}
        calendar = Calendar.parse(given["calendar"], f"{where}.calendar") if "calendar" in given else None
        rules = Path(str(given["rules"])) if "rules" in given else None
        return DetectSettings(**spans, calendar=calendar, rules=rules)


def _span(given: object, where: str) -> int:
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return int(given * SECOND)
    return parse_span(given, where)
