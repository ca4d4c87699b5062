"""Carrying: a replicator as strongroom.toml configures it: what the file says goes with each sync."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, final

from .errors import SecretStoreError
from .replication.plan import Action, Plan, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .replication.plan import Status, Step
    from .replication.replicating import Replicating
    from .rotation.revocation_places import RevocationPlace
    from .rotation.revocations import Revocations

    Progress = Callable[[int, int], object]


@final
class Carrying:
    """Brings the revocation list along, and takes names over that somebody else made, where the file says so.

    Args:
        inner: replicates the secrets.
        bring: has the list stand at the replica too; called before anything is written there.
        adopt: what somebody else wrote at the replica under one of the names is overwritten without asking.
            Of two values at one place in the order a person decides all the same.
    """

    def __init__(self, inner: Replicating, *, bring: Callable[[], None], adopt: bool):
        self.source, self.replica, self.max_lag = inner.source, inner.replica, inner.max_lag
        self._inner, self._bring, self._adopt = inner, bring, adopt

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        """As the replicator's; names that are taken over are shown as written."""
        plan = self._inner.plan(names)
        if not self._adopt:
            return plan
        return replace(plan, steps=tuple(map(_taken_over, plan.steps)))

    def apply(self, plan: Plan, progress: Progress | None = None) -> Report:
        """As the replicator's."""
        self._bring()
        return self._adopted(self._inner.apply(plan, progress))

    def sync(self, names: Sequence[str] | None = None, progress: Progress | None = None) -> Report:
        """As the replicator's."""
        self._bring()
        return self._adopted(self._inner.sync(names, progress))

    def status(self) -> Status:
        """As the replicator's."""
        return self._inner.status()

    def adopt(self, names: Sequence[str]) -> Report:
        """As the replicator's."""
        return self._inner.adopt(names)

    def after_fork(self) -> None:
        """As the replicator's."""
        self._inner.after_fork()

    def close(self) -> None:
        """As the replicator's."""
        self._inner.close()

    def _adopted(self, report: Report) -> Report:
        by_kind = defaultdict[bool, list["Step"]](list)
        for step in report.skipped:
            by_kind[step.action is Action.FOREIGN and step.here].append(step)
        if not (self._adopt and by_kind[True]):
            return report
        more = self._inner.adopt([step.name for step in by_kind[True]])
        return Report(
            tuple(sorted((*report.done, *more.done), key=lambda step: step.name)),
            {**report.failed, **more.failed},
            (*by_kind[False], *more.skipped),
            report.seconds + more.seconds,
        )


def _taken_over(step: Step) -> Step:
    if step.action is not Action.FOREIGN or not step.here:
        return step
    return replace(step, action=Action.UPDATE, reason=f"taken over: {step.reason}")


def bring_list(
    revocations: Revocations, place: RevocationPlace, *, others: Callable[[], Sequence[RevocationPlace]]
) -> None:
    """Have a replica's readers find the list of revocations there too, signed anew in time where we sign it.

    Nothing is raised: the secrets travel all the same. What does not come there is missed when the copy is
    too old, by those who need it and by ``strongroom check``.

    Args:
        revocations: the list.
        place: at the replica.
        others: gives that place of every replica, where names are marked revocable: the first list is signed
            where none of them has one either. Else whoever removes the list would take all revocations back.
    """
    with suppress(SecretStoreError):
        revocations.share(place)
        if revocations.signs and (revocations.keep() or _begun(revocations, others)):
            revocations.share(place)


def _begun(revocations: Revocations, others: Callable[[], Sequence[RevocationPlace]]) -> bool:
    if revocations.newest() is not None:
        return False
    places = others()
    if not places or any(place.read() for place in places):
        return False
    revocations.renew()
    return True
