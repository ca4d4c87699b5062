"""Replicator: keeps what one store holds of a source's secrets as the source has it.

::

    list both sides  ->  equal records: nothing to do, and nothing read where a listing tells them
                     ->  all others: look at both sides, judge, write the payload, read it back, promote

It keeps nothing of its own: what a sync has done stands at the replica, so that one that was interrupted is
gone on with by whoever runs the next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, final

from strongroom.backend import ANY_CAS, Capability
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretStoreError, UnsupportedOperationError
from strongroom.names import Name
from strongroom.patterns import matcher, prefix_of

from .applying import Applier
from .budget import Budget, Paced
from .divergence import DivergenceReport
from .events import Events
from .fencing import Fencing
from .order import Order
from .plan import Action, Plan, Report, Status, Step
from .returning import Returning
from .running import Run
from .survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta

    from strongroom.audit.event import AuditHook
    from strongroom.layers.revocable import Checker

    from .member import Member
    from .sheet import Sheet

    Progress = Callable[[int, int], object]


@final
class Replicator:
    """One source, one replica. Safe for threads; several processes may run it, and one of them suffices.

    Args:
        source: the only store of the two whose secrets applications write.
        replica: what is written here.
        names: patterns of the names that the replica is to hold, see `strongroom.patterns.matcher`.
        hooks: as of a store; told of each change, and able to refuse it.
        clock: injected in tests.
        parallel: how many names are brought up at once, within the provider's budget.
        max_lag: how far behind the replica may be; for who judges a `Status`.
        checker: knows which versions are revoked: they are not replicated. Its owner closes it.

    Raises:
        UnsupportedOperationError: the replica cannot be written in order, or one of the two cannot be listed.
        InvalidRequestError: the two are one store, or of two domains.
    """

    def __init__(  # noqa: PLR0913  (facts of one replication, all but two by keyword)
        self,
        source: Member,
        replica: Member,
        *,
        names: Sequence[str] = ("**",),
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
        parallel: int = 4,
        max_lag: timedelta | None = None,
        checker: Checker | None = None,
    ):
        _check(source, replica)
        self.source, self.replica, self.max_lag = source, replica, max_lag
        self._clock, self._parallel, self._checker = clock or Clock(), parallel, checker
        self._patterns, self._wanted = tuple(names), matcher(names)
        self._fencing = Fencing(source, replica, hooks=hooks, clock=self._clock)
        self._events = Events(hooks, replica, self._clock)
        self._from, self._to = self._order(source), self._order(replica)
        self._keeper = Returning(self._from, self._to, source, hooks)
        self._since: dict[str, datetime] = {}
        self._synced: datetime | None = None

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        """What `sync` would do. Writes nothing.

        Args:
            names: only these, names or patterns; None for all that the replica is to hold.

        Raises:
            PermissionDeniedError: the source is none any more.
            UnavailableError: one of the two does not answer.
            SecretStoreError: a list of names, or what the two say of their domain, cannot be read.
        """
        sheet = self._fencing.check()
        applier = self._applier(sheet)
        run = Run(self._parallel, lambda name: _looked(applier, name))
        found = self._survey(names)
        steps = {**found.same, **run.all(found.unsure)}
        ordered = tuple(steps[name] for name in sorted(steps, key=str))
        return Plan(self._remembered(ordered, whole=names is None), sheet.epoch if sheet else 0)

    def apply(self, plan: Plan, progress: Progress | None = None) -> Report:
        """Carry a plan out. Each name is looked at again first: what has changed since is not overwritten.

        Args:
            progress: called after each step with how many of them are done, and how many there are.

        Raises:
            SecretStoreError: as `plan`; of a single name it stands in the report.
        """
        applier = self._begun()
        planned = {Name(step.name): step for step in plan.due}
        run = Run(self._parallel, lambda name: applier.bring(name, planned[name]), progress)
        return self._reported(run, list(planned), plan.waiting, self._clock.monotonic(), whole=False)

    def sync(self, names: Sequence[str] | None = None, progress: Progress | None = None) -> Report:
        """Bring the replica up. What was interrupted is gone on with; what is as it should be costs no write.

        Raises:
            SecretStoreError: as `plan`; of a single name it stands in the report.
        """
        began = self._clock.monotonic()
        applier = self._begun()
        run = Run(self._parallel, applier.bring, progress)
        return self._reported(run, self._survey(names).unsure, (), began, whole=names is None)

    def status(self) -> Status:
        """How the replica stands. Writes nothing.

        Raises:
            SecretStoreError: as `plan`.
        """
        plan = self.plan()
        counts = plan.counts
        return Status(
            self.replica.alias,
            self.source.alias,
            plan.epoch,
            names=sum(step.here for step in plan.steps),
            in_sync=sum(step.here for step in plan.steps if step.action is Action.SAME),
            missing=sum(step.missing for step in plan.steps),
            lag_versions=sum(step.behind for step in plan.steps),
            lag=plan.lag(self._clock.now()),
            drift=sum(step.drifted for step in plan.steps),
            quarantined=counts[Action.QUARANTINE],
            diverged=len(DivergenceReport(self.source.backend).names()),
            foreign=counts[Action.FOREIGN],
            last_sync=self._synced,
        )

    def adopt(self, names: Sequence[str]) -> Report:
        """Have the source's values written over what the replica holds: a person has decided so.

        Args:
            names: each by itself, no patterns.
        """
        began, applier = self._clock.monotonic(), self._begun()
        run = Run(self._parallel, applier.adopt)
        return self._reported(
            run, [Name.parse(name, self.source.names) for name in names], (), began, whole=False
        )

    def after_fork(self) -> None:
        """In a forked child: what the parent could not record, the parent hands in."""
        self._events.after_fork()

    def close(self) -> None:
        """Nothing is kept between two calls; the members' backends are their owner's to close."""

    def _order(self, member: Member) -> Order:
        backend = member.backend.writer
        paced = Paced(backend, Budget(backend.write_budget, self._clock))
        return Order(paced, member.domain, clock=self._clock, alias=member.alias)

    def _begun(self) -> Applier:
        """Sheets aligned, and the digest key at both: who takes over must be able to go on with it."""
        sheet = self._fencing.align()
        if sheet is None or not sheet.fenced:  # fenced, it gives its last writes to who takes over
            sheet = self._from.begin()
            self._fencing.align()
        key = self._from.digest_key()
        if key is not None and (self._to.digest_key() or self._to.copy_digest_key(key)) != key:
            raise InvalidRequestError(
                f"{self.replica.alias} has another digest key than {self.source.alias}",
                hint="it was a replica of another source: use another store, or purge what it holds",
            )
        return self._applier(sheet)

    def _applier(self, sheet: Sheet | None) -> Applier:
        epoch = sheet.epoch if sheet and not sheet.fenced else 0
        return Applier(
            self._from,
            self._to,
            self._events,
            epoch=epoch,
            until=sheet.epoch - sheet.fenced if sheet else 0,
            keeper=self._keeper,
            checker=self._checker,
        )

    def _survey(self, names: Sequence[str] | None) -> Survey:
        chosen = names if names is not None else self._patterns
        listed = names is None or any(set(name) & set("*?") for name in names)
        survey = Survey(self._from.backend, self._to.backend)
        if not listed:
            return survey.of([Name.parse(name, self.source.names) for name in chosen if self._wanted(name)])
        also = matcher(chosen)
        return survey.listed(prefix_of(chosen), lambda name: self._wanted(name) and also(name))

    def _reported(
        self, run: Run[Step], names: Iterable[Name], waiting: tuple[Step, ...], began: float, *, whole: bool
    ) -> Report:
        steps = run.each(names)
        done = tuple(step for step in steps if step.action.writes)
        left = tuple(step for step in steps if not step.action.writes and step.action is not Action.SAME)
        report = Report(done, run.failed, (*waiting, *left, *run.left), self._clock.monotonic() - began)
        if whole and not run.failed and not run.left:
            self._synced = self._clock.now()
        return report

    def _remembered(self, steps: tuple[Step, ...], *, whole: bool) -> tuple[Step, ...]:
        """A write that is missed twice is older than the version that is current by now."""
        now, told = self._clock.now(), []
        for step in steps:
            if step.action.writes:
                since = min(self._since.get(step.name, now), step.since or now)
                self._since[step.name] = since
                told.append(replace(step, since=since))
            else:
                self._since.pop(step.name, None)
                told.append(replace(step, since=None))
        if whole:
            known = {step.name for step in steps}
            self._since = {name: since for name, since in self._since.items() if name in known}
        return tuple(told)


def _looked(applier: Applier, name: Name) -> Step:
    """What cannot be compared is told of as a step; that a store is away is no fact about a name."""
    try:
        return applier.look(name)
    except SecretStoreError as error:
        if error.retryable:
            raise
        return Step(str(name), Action.REFUSED, error.message)


def _check(source: Member, replica: Member) -> None:
    if source.alias == replica.alias or source.backend is replica.backend:
        raise InvalidRequestError(f"{replica.alias} cannot be its own replica")
    if source.domain != replica.domain:
        problem = f"{source.alias} is of domain {source.domain}, {replica.alias} of {replica.domain}"
        raise InvalidRequestError(problem, hint="give both one domain: their values are bound to it")
    if source.names != replica.names:
        problem = f"{source.alias} has {source.names} names, {replica.alias} {replica.names} ones"
        raise InvalidRequestError(problem, hint="give both stores the same `names`")
    for member in (source, replica):
        if Capability.LIST not in member.backend.capabilities:
            raise UnsupportedOperationError(f"{member.alias} cannot list its names")
        if not member.backend.capabilities & ANY_CAS:
            raise UnsupportedOperationError(
                f"{member.alias} has no conditional writes", hint="configure a coordinator"
            )
