"""The policies of an engine, found by name or by secret, and their schedules."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, final

from strongroom.errors import InvalidRequestError

from .policy import secret_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from .ledger import Ledger
    from .policy import Policy

_TOGETHER: Final = 10_000
"""Secrets whose schedules are asked for in one question: a process of one pass asks for all it has."""


@final
class Policies:
    """Policies by secret.

    Raises:
        InvalidRequestError: two are of one secret.
    """

    def __init__(self, policies: Iterable[Policy]):
        self._by_secret: dict[str, Policy] = {}
        self._by_name: dict[str, list[Policy]] = {}
        for policy in policies:
            secret = secret_of(policy)
            if secret in self._by_secret:
                raise InvalidRequestError(f"two rotations of {secret}", hint="one policy for each secret")
            self._by_secret[secret] = policy
            self._by_name.setdefault(policy.name, []).append(policy)
        self._unplanned = [secret for secret, policy in self._by_secret.items() if policy.schedule]

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._by_secret.values())

    def find(self, secret: str) -> Policy | None:
        """The policy of ``STORE:NAME``."""
        return self._by_secret.get(secret)

    def of(self, secret: str) -> Policy:
        """The same; InvalidRequestError if there is none."""
        policy = self.find(secret)
        if policy is None:
            raise InvalidRequestError(
                f"no policy rotates {secret}", hint="it stands in no [rotation] table here"
            )
        return policy

    def named(self, name: str) -> Policy:
        """The policy of a name, or of ``STORE:NAME``; InvalidRequestError if that is not one."""
        found = self._by_name.get(name, [])
        if len(found) == 1:
            return found[0]
        if found:
            known = ", ".join(secret_of(policy) for policy in found)
            raise InvalidRequestError(f"several stores have {name}", hint=f"one of {known}")
        return self.of(name)

    def after(self, policy: Policy, now: datetime) -> datetime | None:
        """When the schedule wants the rotation after one that begins now; None where there is no schedule."""
        if policy.schedule is None:
            return None
        from .schedule import next_after

        return next_after(policy.schedule, secret_of(policy), now)

    def plan(self, ledger: Ledger) -> None:
        """Have the ledger know when each secret is due, as its schedule says now: once in a process."""
        while part := self._take():  # all of them: a process of one pass would plan the same few each time
            try:
                self._plan(ledger, part)
            except BaseException:
                self._unplanned.extend(part)
                raise

    def _take(self) -> list[str]:
        part: list[str] = []
        with suppress(IndexError):  # another thread took the last one
            while len(part) < _TOGETHER:
                part.append(self._unplanned.pop())
        return part

    def _plan(self, ledger: Ledger, secrets: list[str]) -> None:
        from .schedule import replanned

        now, new = ledger.now(), {}
        for secret, known in ledger.known(secrets).items():
            policy = self._by_secret[secret]
            assert policy.schedule
            wanted = replanned(policy.schedule, secret, known.last_success, known.next_due, now)
            if known.next_due is None:
                new[secret] = wanted
            elif known.next_due != wanted:
                ledger.plan(secret, wanted, expected=known.next_due)
        ledger.plan_new(new)
