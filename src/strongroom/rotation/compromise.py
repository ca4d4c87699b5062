"""A value has leaked: replace it, have its target refuse it, and cut off whoever still holds it.

::

    fence     the rotation that runs is taken from its worker
    replace   it goes on here, or a new one begins, until a verified value is current
    list      the leaked version is signed into the revocation list, for replicas and backups
    target    it is revoked without its grace, and the target is asked whether it refuses it
    store     its version is destroyed, so that neither a version id nor a rollback brings it back
    cache     every store of this process that reads it forgets it

Where nothing can replace it, the target comes first, and then the secret is marked unavailable: a reader is
told that there is none, and never gets the old one silently. Each step is tried whatever became of the one
before it; a repeat with the same version does what is left.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, final

from strongroom.audit.actor import current as current_actor
from strongroom.audit.actor import traceparent
from strongroom.audit.event import AuditEvent, Auditor
from strongroom.backend import ANY_CAS, Capability
from strongroom.clock import Clock
from strongroom.errors import (
    InvalidRequestError,
    PartialFailureError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.forgetting import forget
from strongroom.value import SecretValue

from .fields import fields
from .ledger import PROMOTED
from .replacing import PATIENCE, Replacing, reached
from .revocations import Revocation, check_reason
from .rotator import Rotation
from .timeline import Bound, Cut, Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.backend import Secret
    from strongroom.cachepolicy import CachePolicy
    from strongroom.store import SecretStore

    from .engine import Engine
    from .ledger import Entry
    from .policy import Policy
    from .revocations import Revocations

T = TypeVar("T")
_PAUSE: Final = 2.0
_CUT_OFF: Final = frozenset(["target", "unavailable", "store"])
_MARK: Final = "strongroom-revoked"


@final
class Compromise:
    """Cuts leaked values of one store off.

    Args:
        store: has the secret.
        engine: rotates it; None where no secret of the store is rotated.
        revocations: the signed list; None where there is none.
        caches: by alias of each store that reads it, how long that may serve what it has read.
        bound: gives the record by which replicas know a version of a name, where that is not its own.
        hooks: those of the store: they hear of ``revoke`` once, besides what the steps tell them.
        patience: how long each step is tried.
        clock: injected in tests.
    """

    def __init__(  # noqa: PLR0913  (what a revocation reaches, all but the store by keyword)
        self,
        store: SecretStore,
        *,
        engine: Engine | None = None,
        revocations: Revocations | None = None,
        caches: Mapping[str, CachePolicy | None] | None = None,
        bound: Callable[[str, str], str | None] | None = None,
        hooks: Sequence[AuditHook] = (),
        patience: timedelta = PATIENCE,
        clock: Clock | None = None,
    ):
        self.store, self.revocations, self.caches = store, revocations, dict(caches or {})
        self.clock, self.patience, self._bound = clock or Clock(), patience, bound
        self._engine, self._auditor = engine, Auditor(hooks)

    def revoke(self, name: str, *, reason: str, version: str | None = None) -> Cut:
        """Cut a version off, now; neither schedule nor grace of its rotation count.

        Args:
            name: the secret.
            reason: one line that the list and alarms show; no part of the value.
            version: what leaked; without it the current one.

        Returns:
            what was done, and the bound of what could not be reached; see its `complete`. A version that
            cannot be read any more is signed into the list alone, which is never complete.

        Raises:
            SecretNotFoundError: there is no such secret, or no such version and no list.
            InvalidRequestError: the reason is none.
            PermissionDeniedError, UnavailableError: the store cannot be read, or the audit refuses; nothing
                was done.
        """
        check_reason(reason)
        leaked, is_current = self._leaked(name, version)
        cut = Cut(name, leaked.version if leaked else version or "")
        event = AuditEvent(
            "revoke",
            name,
            "intent",
            self.clock.now(),
            store=self.store.alias,
            backend=self.store.origin,
            version=cut.version,
            actor=current_actor(),
            trace=traceparent(),
        )
        course = _Course(self, self._replacing(name), cut, leaked, reason)
        self._auditor.intent(event)
        try:
            self._auditor.run(event, lambda: _judged(course.run(is_current=is_current)), self.clock)
        except PartialFailureError:  # for the hooks; the caller reads it in the timeline
            return cut
        return cut

    def record(self, name: str, version: str, own: str | None) -> str | None:
        """By which record replicas know a version that bears `own`."""
        if self._bound is not None:
            with suppress(SecretStoreError):  # the version's own id and record are signed all the same
                return self._bound(name, version) or own
        return own

    def policy(self, name: str) -> Policy | None:
        """How the secret is rotated; None if nothing renews it."""
        secret = f"{self.store.alias or self.store.origin}:{name}"
        try:
            return self._engine.policy(secret) if self._engine else None
        except InvalidRequestError:
            return None

    def _leaked(self, name: str, version: str | None) -> tuple[Secret | None, bool]:
        forget(name)
        if version is None:
            return self.store.get(name), True
        current = leaked = None
        with suppress(SecretNotFoundError):
            current = self.store.get(name)
        try:
            leaked = self.store.get(name, version=version)
        except SecretNotFoundError:
            if self.revocations is None:
                raise
        return leaked, current is not None and current.version == version

    def _replacing(self, name: str) -> Replacing | None:
        policy = self.policy(name)
        if policy is None or self._engine is None:
            return None
        return Replacing(self._engine, policy, self.clock, self.patience)


def _judged(cut: Cut) -> Cut:
    """An error while the target or the store still takes the value: then the outcome is not ``ok``."""
    failed = {moment.step for moment in cut.failures} & _CUT_OFF
    if failed:
        problem = f"not cut off: {', '.join(sorted(failed))}"
        raise PartialFailureError(problem, results={}, errors={}, performed=None)
    return cut


@final
class _Course:
    """One revocation under way."""

    def __init__(
        self, means: Compromise, replacing: Replacing | None, cut: Cut, leaked: Secret | None, reason: str
    ):
        self._means, self._replacing, self._cut = means, replacing, cut
        self._secret, self._reason, self._name = leaked, reason, cut.name
        self._store, self._clock = means.store, means.clock

    @property
    def _leaked(self) -> Secret:
        assert self._secret
        return self._secret

    def run(self, *, is_current: bool) -> Cut:
        if self._secret is None:
            return self._listed_alone()
        entry = self._fenced()
        # A worker may have promoted what replaces it, and died before it said so.
        is_replaced = entry is not None and entry.base == self._leaked.version
        ending = entry if entry and is_replaced and reached(entry) in PROMOTED else None
        if self._replacing and ending is None and (is_current or is_replaced):
            ending = self._replace(self._replacing, entry)
        self._cut.replacement = self._replacement()
        # Before what destroys the version: a repeat after a crash could not read it, and would list nothing.
        self._attempt("list", self._publish)
        if self._replacing and ending and ending.state.open:
            self._attempt("target", partial(self._ended, self._replacing, ending))
        self._ask_target()
        if self._cut.replacement is None:
            self._attempt("unavailable", self._mark_unavailable)
        else:
            self._attempt("store", self._destroy)
        forget(self._name)
        self._note("cache", "done", "every store of this process has forgotten it")
        self._bound_readers()
        return self._cut

    def _listed_alone(self) -> Cut:
        self._attempt("list", self._publish)
        self._note("target", "failed", "the version cannot be read, and nothing shows whether it works there")
        self._bound_readers()
        return self._cut

    def _fenced(self) -> Entry | None:
        if self._replacing is None:
            self._note("replace", "skipped", "nothing renews this secret")
            return None
        return self._attempt("fence", self._fence)

    def _fence(self) -> tuple[str, Entry | None]:
        assert self._replacing
        entry = self._replacing.fence()
        if entry is None:
            return "no rotation was open", None
        return f"rotation {entry.id}, {entry.state.value}, is taken from its worker", entry

    def _replace(self, replacing: Replacing, entry: Entry | None) -> Entry | None:
        """The rotation that replaced it, whose grace is to be ended."""
        if entry and reached(entry) in PROMOTED:  # its value is what leaked, and its grace would wait
            self._attempt("target", partial(self._ended, replacing, entry))
            entry = None
        done = self._attempt("replace", partial(self._renewed, replacing, entry))
        if done is None:
            self._attempt("fence", partial(self._halted, replacing))
        return done

    def _renewed(self, replacing: Replacing, entry: Entry | None) -> tuple[str, Entry | None]:
        try:
            done = replacing.renew(entry)
        except UnavailableError:
            if self._current() is None:
                raise
            return "another value is current already", None
        return f"version {done.version} is current, tested by rotation {done.id}", done

    def _halted(self, replacing: Replacing) -> tuple[str, None]:
        replacing.halt()
        return "no worker goes on with what could not be finished", None

    def _ended(self, replacing: Replacing, entry: Entry) -> tuple[str, None]:
        done = replacing.end(entry)
        return f"rotation {done.id} has revoked what it replaced, without grace", None

    def _ask_target(self) -> None:
        policy = self._means.policy(self._name)
        if policy is None:
            self._cut.bounds.append(Bound("the target", None, "no rotator reaches it: end it there by hand"))
        else:
            self._attempt("target", partial(self._refused, policy))

    def _refused(self, policy: Policy) -> tuple[str, None]:
        """Revoke it there, which is done already if its rotation came to its end; then ask."""
        rotator, leaked, current = policy.rotator, self._leaked.value, self._current()
        value = current.value if current else None
        r = Rotation(str(uuid.uuid4()), self._name, current=value, previous=leaked, pending=value)
        _guarded(lambda: rotator.revoke_secret(r, leaked))
        if rotator.slots == "human":
            self._cut.bounds.append(Bound("the target", None, "only a person can end it there"))
        if not rotator.probes:
            return "the target cannot be asked whether it refuses it", None
        self._cut.refused = self._probed(lambda: _guarded(lambda: rotator.refuses(r, leaked)))
        if not self._cut.refused:
            raise UnavailableError("the target still accepts it", hint="end it there by hand, then repeat")
        return "the target refuses it", None

    def _probed(self, refuses: Callable[[], bool]) -> bool:
        """Targets take a while: an access key works on for some seconds after it was deleted."""
        end = self._clock.monotonic() + self._means.patience.total_seconds()
        while not refuses():
            if self._clock.monotonic() >= end:
                return False
            self._clock.sleep(_PAUSE)
        return True

    def _current(self) -> Secret | None:
        """What is current, asked of the store itself, unless that is the leaked one."""
        forget(self._name)
        try:
            found = self._store.get(self._name)
        except SecretNotFoundError:
            return None
        leaked = found.version == self._leaked.version or found.value == self._leaked.value
        return None if leaked or fields(found.value).keys() == {_MARK, "at"} else found

    def _replacement(self) -> str | None:
        found = self._attempt("replace", lambda: ("", self._current()))
        return found.version if found else None

    def _mark_unavailable(self) -> tuple[str, None]:
        """A mark becomes current, so that a restore brings that back; then readers are told there is none."""
        mark = {_MARK: self._leaked.version, "at": self._clock.now().isoformat()}
        try:
            guard = self._leaked.version if self._store.capabilities & ANY_CAS else None
            self._store.put(self._name, SecretValue(json.dumps(mark)), if_version=guard)
        except SecretConflictError:
            if self._current() is not None:
                return "somebody put another value meanwhile", None
        self._destroy()
        self._cut.unavailable = True
        if Capability.DELETE not in self._store.capabilities:
            return "a mark stands in its place: put a new value", None
        self._store.delete(self._name)
        return "readers are told that there is no such secret: restore it, which brings back a mark", None

    def _destroy(self) -> tuple[str, None]:
        policy = self._means.policy(self._name)
        if policy and policy.rotator.slots == "version":
            why = "verifiers must stop believing it; what it encrypted must be encrypted anew, and changed"
            self._cut.bounds.append(Bound("who has the key, on what was made under it", None, why))
            return "its version stays: it names the key that what was signed or encrypted needs", None
        if any(moment.step == "target" for moment in self._cut.failures):
            return "its version stays, since a repeat needs it to end it at the target", None
        self._store.retire(self._name, version=self._leaked.version)
        try:
            self._store.get(self._name, version=self._leaked.version)
        except SecretNotFoundError:
            return f"version {self._leaked.version} is destroyed", None
        return f"the provider keeps version {self._leaked.version} for who asks for it by its id", None

    def _publish(self) -> tuple[str, None]:
        revocations, own = self._means.revocations, self._secret.record if self._secret else None
        if revocations is None:
            return "", None
        record = self._means.record(self._name, self._cut.version, own)
        at = self._clock.now().replace(microsecond=0)
        signed = revocations.publish(Revocation(self._name, self._cut.version, at, self._reason, record))
        why = f"they refuse it from list {signed.sequence} on, and everything once their list is too old"
        self._cut.bounds.append(Bound("replicas and backups", signed.expires, why))
        return f"signed into list {signed.sequence} of {signed.domain}", None

    def _bound_readers(self) -> None:
        """Others drop it when they look: at the next poll, or past `fresh`; at the latest past `stale`."""
        now = self._clock.now()
        for alias, policy in self._means.caches.items():
            bounds = policy.bounds(self._name) if policy else None
            longest = timedelta(seconds=bounds.fresh + bounds.stale if bounds else 0)
            why = "they ask each time"
            if policy and bounds:
                why = (
                    f"they look every {policy.poll:.0f} s if they watch it, after {bounds.fresh:.0f} s if not"
                )
                why += f"; {bounds.stale:.0f} s more only while the store does not answer"
            self._cut.bounds.append(Bound(f"readers of {alias}", now + longest, why))

    def _attempt(self, step: str, call: Callable[[], tuple[str, T]]) -> T | None:
        """One step; whatever becomes of it, the others are tried too."""
        try:
            said, result = call()
        except SecretStoreError as error:
            self._note(step, "failed", f"{error.message}{f' ({error.hint})' if error.hint else ''}")
            return None
        if said:
            self._note(step, "done", said)
        return result

    def _note(self, step: str, outcome: str, what: str) -> None:
        self._cut.timeline.append(Moment(self._clock.now(), step, outcome, what))


def _guarded(call: Callable[[], T]) -> T:
    """A hook is a stranger's code: of what it raises only the class is told."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  (whatever a rotator raises)
        problem = UnavailableError(f"the rotator failed ({type(error).__name__})")
    raise problem
