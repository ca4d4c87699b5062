"""NativeReplicator: a replica that the provider itself makes, configured and verified as our own are.

::

    lists of the source and of each place  ->  the same version in all of them: nothing to do, nothing read
                                           ->  all others: each place is asked, configured, and waited for

The provider copies versions whole, under their ids, pending ones among them. Which of two is newer is not in
question: a copy takes no writes. What is replicated is what the source holds: where its values are encrypted,
one of the keys has to be within the replica's reach when the source's region is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from strongroom.backend import Capability
from strongroom.clock import Clock
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Name
from strongroom.native import Copy, CopyState
from strongroom.patterns import matcher, prefix_of
from strongroom.retry import pause

from .detaching import Detaching, native_of
from .events import CREATE, UPDATE, Events
from .fencing import Fencing
from .order import DIGEST_KEY, Order
from .plan import Action, Plan, Report, Status, Step
from .record import Record
from .running import Run
from .sheet import read_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from strongroom.audit.event import AuditHook
    from strongroom.backend import SecretInfo
    from strongroom.native import NativeReplication

    from .member import Member

    Progress = Callable[[int, int], object]

PATIENCE: Final = 60.0
"""Seconds that one sync waits for the provider to copy what it was asked to; the next sync waits on."""
_PROBE: Final = Name("a")
_UNKNOWN: Final[Mapping[str, Copy]] = {}


@final
class NativeReplicator:
    """One source and the places to which its provider copies it. Safe for threads and processes.

    Args:
        source: whose provider replicates.
        replica: the store at one of the places, from which it is read; or the source's own store where the
            provider has one address for all of them (Google).
        places: the provider's key encryption key by region or location, empty for the provider's own;
            without any, the replica's own region.
        names: patterns of the names to be replicated.
        hooks: as of a store.
        clock: injected in tests.
        parallel: how many names are asked about at once.
        max_lag: as of `strongroom.replication.replicator.Replicator`.

    Raises:
        UnsupportedOperationError: the provider has no replication of its own.
        InvalidRequestError: the replica is no place of it, or names the secrets otherwise than the source.
    """

    def __init__(  # noqa: PLR0913  (facts of one replication, all but two by keyword)
        self,
        source: Member,
        replica: Member,
        *,
        places: Mapping[str, str] | None = None,
        names: Sequence[str] = ("**",),
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
        parallel: int = 4,
        max_lag: timedelta | None = None,
    ):
        self.source, self.replica, self.max_lag = source, replica, max_lag
        self._native = native_of(source)
        self._places = dict(places or {_place(self._native, replica): ""})
        self._clock, self._parallel = clock or Clock(), parallel
        self._patterns, self._wanted, self._hooks = tuple(names), matcher(names), tuple(hooks)
        self._events = Events(hooks, replica, self._clock)
        apart = native_of(replica).place  # else both are one store, with one sheet
        self._fencing = Fencing(source, replica, hooks=hooks, clock=self._clock) if apart else None
        self._synced: datetime | None = None

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        """What `sync` would do. Writes nothing.

        Args:
            names: only these, names or patterns; None for all that the patterns mean.

        Raises:
            PermissionDeniedError: the source is none any more.
            SecretStoreError: a list cannot be read, or a place does not answer.
        """
        epoch = self._epoch()
        exact = names is not None and not any(set(name) & set("*?") for name in names)
        same: dict[Name, Step] = {}
        if names is not None and exact:
            unsure = {Name.parse(name, self.source.names): _UNKNOWN for name in names if self._wanted(name)}
        else:
            same, unsure = self._compared(names or self._patterns)
        looked = Run(self._parallel, lambda name: self._looked(name, unsure[name])).all(unsure)
        steps = {**same, **{name: step for name, step in looked.items() if step}}
        return Plan(tuple(steps[name] for name in sorted(steps, key=str)), epoch)

    def _compared(self, patterns: Sequence[str]) -> tuple[dict[Name, Step], dict[Name, Mapping[str, Copy]]]:
        """By lists alone: the steps of names that agree everywhere, and what is listed of all others."""
        surveyed = self._native.survey(self._places)
        same: dict[Name, Step] = {}
        unsure: dict[Name, Mapping[str, Copy]] = {}
        for name, info in self._infos(patterns):
            copies = {place: surveyed[place][name] for place in surveyed if name in surveyed[place]}
            if self._agrees(info, copies):
                record = _parsed(info.record)
                same[name] = Step(str(name), Action.SAME, record=record, held=record)
            else:
                unsure[name] = copies
        return same, unsure

    def _infos(self, patterns: Sequence[str]) -> Iterator[tuple[Name, SecretInfo]]:
        wanted = self._chosen(patterns)
        for info in self.source.backend.list_info(prefix_of(patterns), detail=True):
            if isinstance(info.key, Name) and wanted(str(info.key)):
                yield info.key, info

    def _chosen(self, patterns: Sequence[str]) -> Callable[[str], bool]:
        also = matcher(patterns)
        return lambda name: self._wanted(name) and also(name)

    def _epoch(self) -> int:
        sheet = self._fencing.check() if self._fencing else read_sheet(self.source.backend)[0]
        return sheet.epoch if sheet else 0

    def _begin(self) -> None:
        """Sheets and digest key, as for a replica of our own: who takes over goes on with both."""
        order = Order(self.source.backend, self.source.domain, clock=self._clock, alias=self.source.alias)
        if self._fencing and self._fencing.align() is None:
            order.begin()
            self._fencing.align()

    def _agrees(self, info: SecretInfo, copies: Mapping[str, Copy]) -> bool:
        """Whether the lists show no difference; where they lag, they show what was in step before."""
        newest = info.newest.id if info.newest else ""
        return all(
            place in copies
            and copies[place].state is CopyState.IN_SYNC
            and copies[place].version in ("", newest)
            and not self._native.is_another(key, copies[place].key)
            for place, key in self._places.items()
        )

    def _looked(self, name: Name, listed: Mapping[str, Copy]) -> Step | None:
        """Each place's own word; None for a name that the list still had, and that is gone."""
        try:
            copies = dict(self._native.copies(name, verify=True))
            info = self.source.backend.describe(name)
        except SecretNotFoundError:
            return None
        except SecretStoreError as exc:
            error = exc
        else:
            aliens = {p: copy for p, copy in listed.items() if copy.state is CopyState.ALIEN}
            return self._step(name, info, aliens | copies)
        raise self._named(error, name)

    def _step(self, name: Name, info: SecretInfo, copies: Mapping[str, Copy]) -> Step:
        record = _parsed(info.record)
        action, reason = self._judged(copies)
        held = record if action is Action.SAME else None
        since = self._since(name) if action.writes else None
        return Step(str(name), action, reason, record, held, since)

    def _judged(self, copies: Mapping[str, Copy]) -> tuple[Action, str]:
        """The gravest of what the places say: what a person must decide comes before what a sync does."""
        found = {p: copies.get(p) or Copy(p, CopyState.MISSING) for p in self._places}
        by_state = {copy.state: copy for copy in reversed(found.values())}
        if copy := by_state.get(CopyState.ALIEN):
            return Action.FOREIGN, f"a secret of that name, which is no copy, stands in {copy.place}"
        if copy := by_state.get(CopyState.MISSING):
            if self._native.fixed:
                return Action.REFUSED, f"it was made not to be kept in {copy.place}, which cannot be changed"
            return Action.CREATE, f"not in {copy.place} yet"
        if copy := by_state.get(CopyState.FAILED):
            return Action.UPDATE, f"the replication to {copy.place} failed: {copy.reason}"
        if copy := by_state.get(CopyState.COPYING):
            return Action.UPDATE, f"the provider still copies it to {copy.place}"
        for place, key in self._places.items():
            if self._native.is_another(key, found[place].key):
                return Action.UPDATE, f"another key in {place}"
        return Action.SAME, ""

    def _since(self, key: Name) -> datetime | None:
        """When the version was made that a place may miss."""
        if Capability.VERSIONS not in self.source.backend.capabilities:
            return None
        versions = self.source.backend.versions(key)
        return versions[0].created_at if versions else None

    def apply(self, plan: Plan, progress: Progress | None = None) -> Report:
        """Configure what is due, then wait until each place tells of the source's version.

        Args:
            progress: called after each name with how many of them are done, and how many there are.

        Raises:
            PermissionDeniedError: the source is none any more.
            SecretStoreError: as `plan`; of a single name it stands in the report.
        """
        began = self._clock.monotonic()
        self._begin()
        planned = {Name(step.name): step for step in plan.due}
        asking = Run(self._parallel, lambda name: self._configured(planned[name]))
        asked = asking.each(planned)
        until = self._clock.monotonic() + PATIENCE
        waiting = Run(self._parallel, lambda name: self._settled(planned[name], until), progress)
        done = waiting.each(Name(step.name) for step in asked)
        left = (*plan.waiting, *asking.left, *waiting.left)
        failed = {**asking.failed, **waiting.failed, **self._shared_digest_key()}
        return Report(tuple(done), failed, left, self._clock.monotonic() - began)

    def _shared_digest_key(self) -> dict[str, SecretStoreError]:
        """Who takes over goes on with the domain's digest key; the source's own sheet stays where it is."""
        try:
            self._native.ensure(DIGEST_KEY, self._places)
        except (SecretNotFoundError, UnsupportedOperationError):
            return {}
        except SecretStoreError as error:
            return {str(DIGEST_KEY): error.with_traceback(None)}
        return {}

    def _configured(self, step: Step) -> Step:
        name = Name(step.name)
        operation = CREATE if step.action is Action.CREATE else UPDATE
        try:
            self._events.run(operation, step.name, lambda: self._native.ensure(name, self._places))
        except SecretStoreError as exc:
            error = exc
        else:
            return step
        raise self._named(error, name)

    def _settled(self, step: Step, until: float) -> Step:
        """Asked once at least, and again as long as there is time."""
        name, attempt = Name(step.name), 1
        while True:
            found = self._looked(name, {})
            if found is None or found.action is Action.SAME:
                return step
            if not found.action.writes or self._clock.monotonic() >= until:
                raise self._named(UnavailableError(found.reason, performed=True), name)
            self._clock.sleep(pause(attempt))
            attempt += 1

    def _named(self, error: SecretStoreError, name: Name) -> SecretStoreError:
        error.name = error.name or str(name)
        error.backend = error.backend or self.source.backend.origin
        return error.with_traceback(None)

    def sync(self, names: Sequence[str] | None = None, progress: Progress | None = None) -> Report:
        """Plan and apply; what is as it should be is neither read nor written.

        Raises:
            SecretStoreError: as `plan`; of a single name it stands in the report.
        """
        report = self.apply(self.plan(names), progress)
        if names is None and not report.failed:
            self._synced = self._clock.now()
        return report

    def status(self) -> Status:
        """How the places stand. Writes nothing.

        Raises:
            SecretStoreError: as `plan`.
        """
        plan = self.plan()
        counts = plan.counts
        return Status(
            self.replica.alias,
            self.source.alias,
            plan.epoch,
            names=len(plan.steps),
            in_sync=counts[Action.SAME],
            missing=counts[Action.CREATE] + counts[Action.REFUSED],
            lag_versions=sum(step.behind for step in plan.steps),
            lag=plan.lag(self._clock.now()),
            drift=sum(step.drifted for step in plan.steps),
            foreign=counts[Action.FOREIGN],
            last_sync=self._synced,
        )

    def adopt(self, names: Sequence[str]) -> Report:
        """Refused: the provider would destroy what stands there, with all its versions."""
        problem = f"{self.source.alias}'s provider overwrites nothing that it did not copy"
        hint = "delete what stands there by yourself, then sync"
        failed = {name: UnsupportedOperationError(problem, name=name, hint=hint) for name in names}
        return Report(failed=dict(failed))

    def detach(self, progress: Progress | None = None) -> Report:
        """As `Detaching.run`, for the copies at the replica's own place."""
        detaching = Detaching(
            self.replica,
            names=self._patterns,
            hooks=self._hooks,
            clock=self._clock,
            parallel=self._parallel,
        )
        return detaching.run(progress)

    def after_fork(self) -> None:
        """In a forked child: what the parent could not record, the parent hands in."""
        self._events.after_fork()

    def close(self) -> None:
        """Nothing is kept between two calls; the members' backends are their owner's to close."""


def _place(source: NativeReplication, replica: Member) -> str:
    """The replica's own region, checked to be one to which the source's provider can copy."""
    native = native_of(replica)
    if not native.place:
        raise InvalidRequestError(
            f"{replica.alias} has no single place", hint="say in regions to which locations it is copied"
        )
    if native.resource(_PROBE) != source.resource(_PROBE):
        raise InvalidRequestError(
            f"{replica.alias} names its secrets otherwise than its source",
            hint="the provider copies a secret under its name: give both the same prefix",
        )
    return native.place


def _parsed(text: str | None) -> Record | None:
    try:
        return Record.parse(text) if text else None
    except IntegrityError:
        return None
