"""One read of a current version: what the members answered, and which of it is handed out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, final

from strongroom.errors import SecretStoreError, UnavailableError

from .sightings import readable

if TYPE_CHECKING:
    from collections.abc import Collection

    from strongroom.backend import Secret
    from strongroom.names import Name
    from strongroom.replication.record import Record

    from .sightings import Judgement, Sightings


class _Answer(NamedTuple):
    alias: str
    secret: Secret
    record: Record | None
    judgement: Judgement


@final
class Reading:
    """Takes the members' answers and judges them by what this process had seen when the read began.

    Args:
        key: what is read.
        source: alias of the member whose word on the order counts.
        sights: what this process has seen.

    Attributes:
        settled: whether nobody else need be asked, or waited for.
        began: what had been seen.
    """

    def __init__(self, key: Name, source: str, sights: Sightings):
        self._key, self._source, self._sights = key, source, sights
        self.began = sights.of(key)
        self.settled = False
        self._good: _Answer | None = None
        self._behind: _Answer | None = None
        self._refused: list[str] = []
        self._errors: dict[str, SecretStoreError] = {}

    def hear(self, alias: str, outcome: Secret | SecretStoreError, awaited: Collection[str] = ()) -> bool:
        """Take a member's outcome; whether the next one should be asked.

        `awaited`: members that stand before this one and have not answered. Its denial or missing secret does
        not speak for them; it stands if none of them answers.
        """
        if not isinstance(outcome, SecretStoreError):
            return self._judge(alias, outcome)
        self._errors[alias] = outcome
        answered = any(not isinstance(error, UnavailableError) for error in self._errors.values())
        self.settled = self.settled or (answered and not awaited)
        return not answered

    def result(self) -> Secret:
        """What is handed out.

        Raises:
            UnavailableError: nobody answered, or only with less than this process has seen.
            SecretStoreError: a member's own.
        """
        answer = self._good or self._behind
        if answer is None:
            raise self._error()
        alias, secret, record, judgement = answer
        self._sights.gave(self._key, record, first=alias == self._source)
        return replace(
            secret,
            version=f"{alias}:{secret.version}",
            degraded=secret.degraded or judgement.degraded,
            behind=max(secret.behind, judgement.behind),
        )

    def _judge(self, alias: str, secret: Secret) -> bool:
        record = readable(secret.record)
        judgement = self.began.judge(record, first=alias == self._source)
        answer = _Answer(alias, secret, record, judgement)
        if not judgement.served:
            self._refused.append(alias)
        elif not judgement.behind:
            self._good, self.settled = answer, True
        elif self._behind is None or _order(self._behind) < _order(answer):
            self._behind = answer
        return not self.settled

    def _error(self) -> SecretStoreError:
        answers = [error for error in self._errors.values() if not isinstance(error, UnavailableError)]
        if answers:
            return answers[0]
        if not self._refused:
            return self._errors[min(self._errors, key=lambda alias: alias != self._source)]
        return UnavailableError(
            f"{', '.join(self._refused)} has an older version than this process has seen, or contradicts it",
            hint="it is read again when a member with the newer version answers",
        )


def _order(answer: _Answer) -> tuple[int, int]:
    return answer.record.order if answer.record else (0, 0)
