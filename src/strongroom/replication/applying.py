"""Applying: brings one name at a replica to what the source has, and proves that it is there.

Every write is compare-and-set on what was read: who comes late changes nothing, and looks again. What is as
it should be is not written.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, final

from strongroom import pairs
from strongroom.backend import ABSENT, Capability
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.stages import check_size, supports_pending

from . import events
from .holding import read_holding, verifies
from .judging import judged
from .order import LOOKS_BACK
from .page import Quarantine, read_page, write_page
from .payload import NewerWaitsError, Payload
from .plan import Action

if TYPE_CHECKING:
    from strongroom.backend import Backend
    from strongroom.layers.revocable import Checker
    from strongroom.names import Name
    from strongroom.value import SecretValue

    from .events import Events
    from .holding import Holding
    from .order import Order
    from .page import Page
    from .plan import Step
    from .record import Record
    from .standing import Standing

ATTEMPTS: Final = 5
"""How often a name is looked at again, where somebody else has written meanwhile."""

_TELLS: Final = {
    Action.CREATE: events.CREATE,
    Action.UPDATE: events.UPDATE,
    Action.DELETE: events.DELETE,
    Action.RESTORE: events.RESTORE,
}
_VALUES: Final = frozenset({Action.CREATE, Action.UPDATE, Action.RESTORE})
_STOPPED: Final = frozenset({Action.AHEAD, Action.QUARANTINE})
_OVER: Final = _STOPPED | {Action.UPDATE, Action.DELETE, Action.RESTORE}


class Keeper(Protocol):
    """Keeps acknowledged writes of an epoch that is over, before anything is written over them."""

    def keep(self, standing: Standing, held: Holding) -> None:
        """Keep what the replica holds, if the source never had it; a repeat is one."""


@final
class Applier:
    """Brings names from a source to a replica, one at a time. Threads share it.

    Args:
        source: the source's order.
        replica: the replica's order; its writes are paced already.
        events: what is told of each write.
        epoch: the source's; what the replica holds of an older one may be a write that the source never had.
        until: the highest epoch that may occur, where that is another: a fenced source gives its last writes.
        keeper: keeps such writes.
        checker: knows which versions are revoked: they are not carried any further.
    """

    def __init__(
        self,
        source: Order,
        replica: Order,
        events: Events,
        *,
        epoch: int = 0,
        until: int = 0,
        keeper: Keeper | None = None,
        checker: Checker | None = None,
    ):
        self._source, self._replica, self._events = source, replica, events
        self._epoch, self._keeper, self._checker = epoch, keeper, checker
        self._until = until or epoch

    def look(self, name: Name) -> Step:
        """What is to be done about a name. Writes nothing."""
        held = self._held(name)
        standing = self._source.standing(name)
        step = self._checked(standing, judged(standing, held))
        if self._keeper and self._is_over(held) and step.action in _STOPPED and not held.page.quarantine:
            action = _over(standing, held)
            return replace(step, action=action, reason="the divergence report keeps what is here, first")
        if self._went_back(step, standing, held):
            return replace(step, action=Action.UPDATE, reason="the source went back to an older version")
        return step

    def bring(self, name: Name, planned: Step | None = None, *, adopt: bool = False) -> Step:
        """Do what is due about a name, and return it; one that waits for a person is returned undone.

        Args:
            name: the secret.
            planned: what a person has agreed to; None: whatever is due.
            adopt: a person has decided that the source's value goes over whatever the replica holds.

        Raises:
            SecretConflictError: it is not what was planned any more, or others write it all the time.
            IntegrityError: what was written does not come back as it was.
            SecretStoreError: as source and replica say.
        """
        error = SecretConflictError("others write it all the time", name=str(name), retryable=True)
        for _ in range(ATTEMPTS):
            try:
                return self._bring(name, planned, adopt)
            except _Changed:
                raise SecretConflictError(
                    "it has changed since it was planned", name=str(name), hint="plan again", retryable=True
                ) from None
            except NewerWaitsError as exc:
                error = exc
                self._outrank(name, exc.record)
            except SecretConflictError as exc:
                error = exc
        raise error

    def _outrank(self, name: Name, waiting: Record) -> None:
        """Have what the source has stand above what an epoch that is over left half-way: who was writing it
        may never come back, and what it waits with would stop all that comes after."""
        standing = self._source.standing(name)
        if waiting.epoch < self._epoch and standing.version:
            with contextlib.suppress(SecretConflictError):  # somebody was faster: look again
                self._source.bind(name, standing.version, floor=waiting)

    def adopt(self, name: Name) -> Step:
        """Have the source's value written over whatever the replica holds under a name.

        Raises:
            SecretNotFoundError: the source has no such secret.
            SecretStoreError: as `bring`.
        """
        standing, held = self._source.standing(name), self._held(name)
        if standing.secret is None or standing.version is None:
            raise SecretNotFoundError("the source has no such secret to put in its place", name=str(name))
        known = held.record
        if (
            known
            and standing.record != known
            and (not standing.record or standing.record.order <= known.order)
        ):
            self._source.bind(name, standing.version, floor=known)
        self._mark(self._source.backend, name, None)
        self._mark(self._replica.backend, name, None)
        return self._events.run(events.ADOPT, str(name), lambda: self.bring(name, adopt=True))

    def _held(self, name: Name) -> Holding:
        return read_holding(self._replica.backend, name, self._replica.digest_key())

    def _bring(self, name: Name, planned: Step | None, adopt: bool) -> Step:
        held = self._held(name)  # first: what the source has by then is at least as new
        standing = self._source.standing(name)
        self._require_epoch(standing, held)
        standing = self._ordered(standing, held)
        step = self._checked(standing, judged(standing, held, adopt=adopt))
        if self._is_over(held) and step.action in _OVER:
            step, standing = self._kept(step, standing, held)
        elif self._went_back(step, standing, held) and standing.version:
            record = self._source.bind(name, standing.version, floor=held.record)
            standing = replace(standing, record=record)
            step = judged(standing, held, adopt=adopt)
        if step.action is Action.QUARANTINE:
            self._quarantine(name, step)
        if not step.action.writes:
            return step
        if planned and not (planned.action is step.action or {planned.action, step.action} <= _VALUES):
            raise _Changed
        self._events.run(_TELLS[step.action], str(name), lambda: self._write(step, standing, held))
        return step

    def _require_epoch(self, standing: Standing, held: Holding) -> None:
        """Stop where a takeover came since the sheets were aligned: what comes back from the new source may
        stand above what its applications have written since, and would go over it."""
        known = (standing.record, held.record)
        if self._until and any(record and record.epoch > self._until for record in known):
            raise SecretConflictError(
                "another store has taken over meanwhile", hint="strongroom replica status", retryable=True
            )

    def _is_over(self, held: Holding) -> bool:
        """Whether the replica stands in an epoch before the source's: it may have been the source then."""
        return held.record is not None and held.record.epoch < self._epoch

    def _kept(self, step: Step, standing: Standing, held: Holding) -> tuple[Step, Standing]:
        """What an epoch that is over left here gives way, once it is kept where the source never had it."""
        if self._keeper is None:
            return step, standing
        self._keeper.keep(standing, held)
        if step.action.writes or held.page.quarantine:
            return step, standing
        if standing.version is None:
            record = self._source.bury(held.name, floor=held.record, gone=True)
        else:
            record = self._source.bind(held.name, standing.version, floor=held.record)
        standing = replace(standing, record=record)
        return self._checked(standing, judged(standing, held)), standing

    def _went_back(self, step: Step, standing: Standing, held: Holding) -> bool:
        """Whether the source has what the replica has, but made an older version current: a label was moved.
        A write on that older one has the place of what the replica has.

        One that does not have it has lost what was acknowledged, out of a backup say: then a person decides.
        """
        if step.action not in _STOPPED or held.own is None or held.own != held.record:
            return False
        source = self._source.backend
        if standing.version is None or Capability.VERSIONS not in source.capabilities:
            return False
        older = [found.id for found in source.versions(held.name) if found.id != standing.version]
        return any(_bears(source, held.name, version, held.own) for version in older[:LOOKS_BACK])

    def _checked(self, standing: Standing, step: Step) -> Step:
        """What does not fit, or is revoked, is not carried on.

        A list of revocations may be old for that: readers ask it anew.
        """
        if step.action not in _VALUES or standing.version is None:
            return step
        if standing.secret and (problem := self._unfit(standing.name, standing.secret.value)):
            return replace(step, action=Action.REFUSED, reason=problem)
        if self._checker is None:
            return step
        text = standing.record.text if standing.record else None
        try:
            self._checker.check(step.name, standing.version, text, strict=False)
        except SecretNotFoundError:
            return replace(step, action=Action.REFUSED, reason="the source's version is revoked")
        return step

    def _unfit(self, name: Name, value: SecretValue) -> str:
        """Why the replica's provider never holds a value, known without a request."""
        try:
            check_size(self._replica.backend, name, value, "replicate")
            self._replica.backend.check(name, value, {})
        except InvalidRequestError as error:
            return error.message
        return ""

    def _ordered(self, standing: Standing, held: Holding) -> Standing:
        """Have the source say where its version, or its deletion, stands, if it was not asked before."""
        if standing.record is not None or held.page.quarantine:
            return standing
        if standing.secret is not None and standing.version is not None:
            record = self._source.bind(standing.name, standing.version, floor=held.record)
        elif standing.deleted and held.own:
            record = self._source.bury(standing.name, floor=held.record, gone=True)
        else:
            return standing
        return replace(standing, record=record)

    def _write(self, step: Step, standing: Standing, held: Holding) -> None:
        record, secret = standing.record, standing.secret
        if record is None:
            raise SecretConflictError("the source has not ordered its version", retryable=True)
        if secret is None:
            self._delete(held, record)
        else:
            self._carry(step, secret.value, held, record)

    def _carry(self, step: Step, value: SecretValue, held: Holding, record: Record) -> None:
        put = self._put_over_bin if step.action is Action.RESTORE else self._put
        self._prove(held.name, put(held, value, record), record)

    def _put_over_bin(self, held: Holding, value: SecretValue, record: Record) -> str:
        with contextlib.suppress(SecretConflictError):
            return self._put(held, value, record)
        self._empty_bin(held.name)
        return self._put(held, value, record)

    def _put(self, held: Holding, value: SecretValue, record: Record) -> str:
        replica, key = self._replica.backend, self._replica.digest_key()
        if held.version is None:
            absent = ABSENT if Capability.CREATE_ONLY in replica.capabilities else None
            return replica.put(held.name, value, absent, record.text).id
        if held.secret is None or key is None or not supports_pending(replica.capabilities):
            return replica.put(held.name, value, held.version, record.text).id
        return Payload(replica, key, held.name, record, held.version).deliver(value).id

    def _prove(self, name: Name, version: str, record: Record) -> None:
        try:
            found = self._replica.backend.get(name, version)
        except SecretNotFoundError:
            found = None
        if found is None:
            raise UnavailableError("the replica does not show what was written", performed=None)
        if found.record != record.text:
            raise IntegrityError("the replica has the value without its record", performed=True)
        if not verifies(self._replica.digest_key(), name, found.value, record):
            raise IntegrityError("the replica has another value than it was given", performed=True)

    def _empty_bin(self, name: Name) -> None:
        """What was deleted is destroyed, not restored: restored, it would be read until it is replaced.

        Not before a write has met it there: another process may have written the name meanwhile.
        """
        replica = self._replica.backend
        if self._held(name).version is not None:
            return
        empty = pairs.purge if Capability.PURGE in replica.capabilities else pairs.restore
        with contextlib.suppress(SecretNotFoundError):
            empty(replica, name)

    def _delete(self, held: Holding, record: Record) -> None:
        """Its record first: what is on its way meanwhile is late from then on."""
        replica = self._replica.backend
        if not replica.capabilities & (Capability.DELETE | Capability.PURGE):
            raise UnsupportedOperationError("the replica cannot delete", name=str(held.name))
        if held.page.tombstone != record:
            write_page(replica, held.name, held.page.with_tombstone(record), held.page_version)
        remove = pairs.delete if Capability.DELETE in replica.capabilities else pairs.purge
        with contextlib.suppress(SecretNotFoundError):
            remove(replica, held.name)

    def _quarantine(self, name: Name, step: Step) -> None:
        mark = Quarantine(step.reason, step.record, step.held)
        if self._mark(self._replica.backend, name, mark):
            self._mark(self._source.backend, name, mark)
            self._events.tell(events.QUARANTINE, str(name))

    def _mark(self, backend: Backend, name: Name, mark: Quarantine | None) -> bool:
        """Set or clear a page's mark; whether it was not so already. One that is set stays as it was set."""
        for _ in range(ATTEMPTS):
            page, at = read_page(backend, name)
            if (page.quarantine is None) is (mark is None):
                return False
            with contextlib.suppress(SecretConflictError):
                write_page(backend, name, _marked(page, mark), at)
                return True
        raise UnavailableError("the replication page is written by too many at once", name=str(name))


def _over(standing: Standing, held: Holding) -> Action:
    if standing.deleted:
        return Action.DELETE
    return Action.UPDATE if held.version else Action.RESTORE


def _bears(backend: Backend, name: Name, version: str, record: Record) -> bool:
    with contextlib.suppress(SecretNotFoundError, IntegrityError):
        return backend.get(name, version).record == record.text
    return False


def _marked(page: Page, mark: Quarantine | None) -> Page:
    return replace(page, quarantine=mark)


class _Changed(Exception):  # noqa: N818
    """What is due is not what was planned."""
