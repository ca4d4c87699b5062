"""Takeover: a replica becomes the source of its domain, under an epoch that no store has had before.

The coordinator decides: who records the next epoch under its lease has it, and there is one record. Then the
old source is fenced where it answers, what it had acknowledged is brought over, and last the replica's own
sheet says that it takes the writes. Stopped at any step, a repeat by the same member goes on with the very
same takeover; until its end neither store takes writes::

    coordinator: epoch, source, id  ->  old source fenced  ->  its last writes brought over  ->  own sheet

A coordinator that was lost with the region, or restored from a backup, may give one epoch twice. The ids then
differ, and when the two stores meet, both are fenced (see `fencing`).
"""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Self, final

from strongroom.clock import Clock
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)

from .events import FENCE, TAKEOVER, Events
from .fencing import behind, read, written
from .sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.lease import Coordinator, Lease

    from .member import Member
    from .plan import Report

LEASE_SECONDS: Final = 60.0
"""How long one takeover keeps another of its domain from beginning; one that died ends by itself."""

_ATTEMPTS: Final = 8
_FORMAT: Final = "replication-takeover/1"


@dataclass(frozen=True, slots=True)
class Claim:
    """What the coordinator has recorded of a domain.

    Attributes:
        epoch: the highest that was given.
        source: the alias of the store that has it.
        takeover: its id.
    """

    epoch: int
    source: str
    takeover: str

    @property
    def text(self) -> str:
        """As it is recorded: one line of JSON."""
        return json.dumps({"strongroom": _FORMAT, **asdict(self)})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a record; IntegrityError if it is none of this version."""
        try:
            facts = json.loads(text)
            if facts["strongroom"] == _FORMAT and _sound(facts):
                return cls(facts["epoch"], facts["source"], facts["takeover"])
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise IntegrityError("what the coordinator has recorded of the replication is damaged")


def _sound(facts: Mapping[str, object]) -> bool:
    texts = all(isinstance(facts[fact], str) for fact in ("source", "takeover"))
    return texts and isinstance(facts["epoch"], int) and facts["epoch"] > 0


def resource(domain: str) -> str:
    """What a coordinator knows the replication of a domain by."""
    return f"replication/{domain}"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a takeover would do, to be shown before it is confirmed.

    Attributes:
        member: the alias of the store that would become the source.
        source: the alias of the present one, as far as is known.
        epoch: the present epoch.
        becomes: the epoch that the takeover begins.
        resumes: this takeover was begun before, and goes on.
        done: this store is the source already.
        unreachable: why the others were not asked, by alias.
    """

    member: str
    source: str
    epoch: int
    becomes: int
    resumes: bool = False
    done: bool = False
    unreachable: Mapping[str, SecretStoreError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a takeover has done.

    Attributes:
        sheet: the new source's.
        before: the alias of the source before.
        fenced: the aliases of the stores that were fenced now.
        unreachable: those that were not, by alias: they are fenced on their return.
        again: nothing was left to do.
    """

    sheet: Sheet
    before: str
    fenced: tuple[str, ...] = ()
    unreachable: Mapping[str, SecretStoreError] = field(default_factory=dict)
    again: bool = False


@final
class Takeover:
    """Makes a replica the source.

    Args:
        member: the replica.
        coordinator: gives the epoch; it stays its owner's to close.
        others: the old source and the other replicas, as far as they are configured.
        away: why further ones could not even be opened, by alias.
        detach: where the provider copies to the member: makes the copies secrets of their own.
        hooks: as of a store; one that refuses the intent keeps the takeover from beginning.
        clock: injected in tests.
    """

    def __init__(
        self,
        member: Member,
        coordinator: Coordinator,
        *,
        others: Sequence[Member] = (),
        away: Mapping[str, SecretStoreError] | None = None,
        detach: Callable[[], Report] | None = None,
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
    ):
        self._member, self._coordinator, self._others = member, coordinator, tuple(others)
        self._away = dict(away or {})
        self._detach, self._hooks, self._clock = detach, tuple(hooks), clock or Clock()

    def look(self) -> Outlook:
        """What `run` would do. Writes nothing.

        Raises:
            InvalidRequestError: the member was never replicated to.
            UnavailableError: the member or the coordinator does not answer.
        """
        return self._outlook(self._claim())

    def run(self, drain: Callable[[], Report] | None = None) -> Taken:
        """Take over. A repeat goes on where it stopped, and changes nothing once it is done.

        Args:
            drain: syncs the old source to the member; called before anything is decided, and once more when
                the old source is fenced. None: the old source is lost. What it had acknowledged and not
                replicated is kept in the divergence report when it returns.

        Raises:
            PermissionDeniedError: a hook refused.
            SecretConflictError: another takeover is under way or came first, or the old source has what
                could not be brought over.
            UnavailableError: a store or the coordinator does not answer; repeat it.
        """
        outlook = self.look()
        if drain and not outlook.resumes and not outlook.done:
            _complete(drain())
        events = Events(self._hooks, self._member, self._clock)
        return events.run(TAKEOVER, self._member.domain, lambda: self._run(drain))

    def _run(self, drain: Callable[[], Report] | None) -> Taken:
        with self._lease() as lease:
            claim = self._claim()
            outlook, mine = self._outlook(claim), self._own()
            if outlook.done:
                fenced, unreachable = self._fenced(mine, must="")
                self._detach_all()  # a copy that the provider's lists did not show then
                return Taken(mine, outlook.source, fenced, unreachable, again=True)
            claim = self._claimed(lease, outlook, claim)
            fenced, unreachable = self._fenced(_sheet(claim, mine), must=mine.source if drain else "")
            if drain:
                _complete(drain())
            self._detach_all()
            return Taken(self._begun(claim), outlook.source, fenced, unreachable)

    def _detach_all(self) -> None:
        if self._detach:
            _complete(self._detach(), "detached", "repeat it: it goes on where it stopped")

    @contextmanager
    def _lease(self) -> Iterator[Lease]:
        lease = self._coordinator.acquire(resource(self._member.domain), LEASE_SECONDS)
        if lease is None:
            raise SecretConflictError(
                "another takeover of this domain is under way",
                retryable=True,
                hint=f"or one has died, and lets go within {LEASE_SECONDS:.0f} seconds; see replica status",
            )
        try:
            yield lease
        finally:
            self._coordinator.release(lease)

    def _claim(self) -> Claim | None:
        text = self._coordinator.recorded(resource(self._member.domain))
        return Claim.parse(text) if text else None

    def _own(self) -> Sheet:
        sheet = read(self._member).sheet
        if sheet is None:
            raise InvalidRequestError(
                f"{self._member.alias} is no replica yet: it was never replicated to",
                hint="strongroom replica sync brings it up, while there is a source",
            )
        return sheet

    def _outlook(self, claim: Claim | None) -> Outlook:
        mine, alias = self._own(), self._member.alias
        sheets, unreachable = self._asked()
        newest = max((mine, *sheets), key=lambda sheet: sheet.epoch)
        epoch = max(newest.epoch, claim.epoch if claim else 0)
        source = claim.source if claim and claim.epoch >= newest.epoch else newest.source
        known = claim and claim.source == alias and claim.epoch == epoch
        resumes = bool(claim and known and mine.epoch < epoch)
        done = mine.source == alias and not mine.fenced and mine.epoch == epoch and (known or not claim)
        return Outlook(
            alias,
            mine.source if resumes else source,
            epoch,
            epoch if resumes or done else epoch + 1,
            resumes,
            bool(done),
            unreachable,
        )

    def _asked(self) -> tuple[list[Sheet], dict[str, SecretStoreError]]:
        """The sheets of the others. One that does not answer, or is refused us, keeps no takeover back."""
        sheets, unreachable = [], dict(self._away)
        for other in self._others:
            try:
                sheet = read(other).sheet
            except SecretStoreError as error:
                unreachable[other.alias] = error.with_traceback(None)
                continue
            if sheet:
                sheets.append(sheet)
        return sheets, unreachable

    def _claimed(self, lease: Lease, outlook: Outlook, before: Claim | None) -> Claim:
        if outlook.resumes and before:
            return before
        claim = Claim(outlook.becomes, self._member.alias, uuid.uuid4().hex)
        self._coordinator.record(lease, claim.text)
        return claim

    def _fenced(self, newer: Sheet, *, must: str) -> tuple[tuple[str, ...], dict[str, SecretStoreError]]:
        fenced, unreachable = [], dict(self._away)
        for other in self._others:
            try:
                if self._fence(other, newer):
                    fenced.append(other.alias)
            except SecretStoreError as error:
                if other.alias == must:
                    raise
                unreachable[other.alias] = error.with_traceback(None)
        return tuple(fenced), unreachable

    def _fence(self, other: Member, newer: Sheet) -> bool:
        """Whether it was a source of an older epoch, and is fenced now."""
        for _ in range(_ATTEMPTS):
            held = read(other)
            if held.sheet is None or held.sheet.source != other.alias or held.sheet.epoch >= newer.epoch:
                return False
            write = partial(written, other, behind(newer, held.sheet, other.alias), held.version)
            if Events(self._hooks, other, self._clock).run(FENCE, newer.domain, write):
                return True
        raise UnavailableError(f"others write the replication sheet of {other.alias} each time")

    def _begun(self, claim: Claim) -> Sheet:
        """From here on the member takes writes, unless a later takeover has overtaken this one."""
        for _ in range(_ATTEMPTS):
            held = read(self._member)
            if held.sheet is None or _overtaken(claim, held.sheet):
                break
            sheet = _sheet(claim, held.sheet)
            if held.sheet == sheet or written(self._member, sheet, held.version):
                return self._confirmed(claim, sheet)
        raise SecretConflictError("the replication sheet changed meanwhile", hint="look at replica status")

    def _confirmed(self, claim: Claim, sheet: Sheet) -> Sheet:
        """Who was suspended past the end of its lease finds a later claim, and takes itself back at once."""
        newest = self._claim()
        if newest == claim:
            return sheet
        held = read(self._member)
        if newest and held.sheet == sheet:
            stopped = replace(sheet, source=newest.source, epoch=newest.epoch, takeover=newest.takeover)
            written(self._member, behind(stopped, sheet, self._member.alias), held.version)
        raise SecretConflictError(
            "another takeover came first", hint=f"{newest.source if newest else 'nobody'} is the source"
        )


def _sheet(claim: Claim, held: Sheet) -> Sheet:
    """The sheet by which a member that had another one is the source."""
    if held.epoch == claim.epoch:
        return replace(held, source=claim.source, takeover=claim.takeover, fenced=False)
    line = (*held.line, (held.epoch, held.takeover))
    return Sheet(held.domain, claim.epoch, claim.takeover, claim.source, line=line, apart=held.apart)


def _overtaken(claim: Claim, held: Sheet) -> bool:
    same = held.takeover == claim.takeover
    return held.epoch > claim.epoch or (held.epoch == claim.epoch and not same)


def _complete(
    report: Report,
    done: str = "brought over",
    hint: str = "see to them by strongroom replica plan; or say that the source is lost: they are kept then",
) -> None:
    if report.complete:
        return
    names = [*report.failed, *(step.name for step in report.skipped)]
    told = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    raise SecretConflictError(
        f"of the old source's names {len(names)} could not be {done}: {told}", hint=hint
    )
