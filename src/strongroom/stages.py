"""Pending values, rollback and what ends a version, written once over ``Backend``.

A pending value must not be what a native reader of the provider gets. Some providers label versions and
hold it themselves (NATIVE_PENDING). On the others the newest version *is* the secret, so the value waits
in a companion key::

                 put                    promote                          next rotation
    companion:   held(rotation, base)   -> done(rotation, version)       -> held(...)
    secret:      base                   -> new version, if base is still current

The order of the writes is model-checked (``tests/models``): the secret first, under compare-and-set on the
base; then ``done``, under the companion's own version; then the held version is destroyed. A companion
lives as long as its secret, so that nobody can mistake a finished rotation for one never begun.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar, final

from .backend import ABSENT, ANY_CAS, Backend, Capability, Secret, SecretVersion, Stage
from .companion import (
    Found,
    Frame,
    Stray,
    check_rotation_id,
    claim,
    find,
    half_done,
    is_done,
    require_claim,
    stray,
)
from .errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from .names import Companion, Name
from .value import SecretValue, take

T = TypeVar("T")
FRAME_BYTES = 1024
"""What a companion's frame may add to a value: a backend that needs companions keeps so much free."""


class _Run(Protocol):
    """How the store runs an operation: audited, once."""

    def __call__(self, operation: str, call: Callable[[], T]) -> T: ...


def supports_pending(capabilities: Capability) -> bool:
    """Whether pending values can be held, natively or in a companion."""
    companion = Capability.VERSIONS | Capability.PUT
    return Capability.NATIVE_PENDING in capabilities or (
        companion in capabilities and bool(capabilities & ANY_CAS)
    )


def _directly(operation: str, call: Callable[[], T]) -> T:  # noqa: ARG001
    return call()


@final
class Pending:
    """One rotation's pending value of one secret. Made by ``SecretStore.pending``.

    Every method may be repeated: after a crash or a lost answer the same call finishes what was begun.

    Attributes:
        rotation_id: the UUID in canonical form.
    """

    __slots__ = ("_backend", "_name", "_native", "_own_version", "_run", "rotation_id")

    def __init__(self, backend: Backend, name: Name, rotation_id: str, run: _Run = _directly):
        self._backend = backend.writer
        self._own_version = backend.own_version
        self._name = name
        self._run = run
        self.rotation_id = check_rotation_id(rotation_id)
        self._native = Capability.NATIVE_PENDING in self._backend.capabilities

    def read(self, wanted: str | Stage = Stage.CURRENT) -> Secret:
        """A version that is or was current, asked of the store that takes the writes, past every cache.

        Raises:
            SecretNotFoundError: as ``SecretStore.get``.
        """
        return self._run("get", lambda: self._read(wanted))

    def claim(self, epoch: int, check: Callable[[], None]) -> None:
        """Keep every claim with a lower epoch from holding a value, before one is made at a target.

        Where the provider holds pending values itself, there is nothing to claim but what `check` says.

        Args:
            epoch: of the ledger's record; higher in each process that takes the rotation over.
            check: raises if the rotation is not the caller's any more. It is asked after the companion was
                read: a worker of a rotation that is long over then cannot take it.

        Raises:
            SecretConflictError: a value is held, this rotation is done, or a higher epoch has claimed it.
        """

        def act() -> None:
            if self._native:
                return check()
            return claim(self._backend, self._name, self.rotation_id, epoch, check)

        self._run("pending.claim", act)

    def put(
        self,
        value: str | bytes | Mapping[str, Any] | SecretValue,
        *,
        base_version: str,
        epoch: int | None = None,
    ) -> SecretVersion:
        """Hold ``value``, to follow ``base_version``. The same rotation id and value is one write.

        Args:
            value: as `SecretStore.put` takes it.
            base_version: the version that is current.
            epoch: of the claim that must stand still; None for a value that nobody claimed.

        Raises:
            SecretNotFoundError: there is no current version to follow.
            SecretConflictError: another rotation or value is held, this rotation is done, the claim is
                another's, or ``base_version`` is not current.
            InvalidRequestError: not a value, or over the limit.
        """
        taken, value = take(value), b""
        if isinstance(taken, InvalidRequestError):
            taken.name, taken.operation = str(self._name), "pending.put"
            raise taken
        check_size(self._backend, self._name, taken, "pending.put")
        return self._run("pending.put", lambda: self._put(taken, base_version, epoch))

    def get(self) -> Secret:
        """The value held under this rotation id.

        Raises:
            SecretNotFoundError: nothing is held under it.
        """
        return self._run("pending.get", self._get)

    def promote(self) -> SecretVersion:
        """Make the pending value current if its base still is; a repeat returns the same version.

        Raises:
            SecretConflictError: superseded, since another version became current.
            SecretNotFoundError: nothing is held under this rotation id.
            UnavailableError: with ``performed=None`` if an answer was lost; call again.
        """
        return self._run("pending.promote", self._promote)

    def fence(self, *, base_version: str) -> None:
        """Have a promote fail that is still on its way: current's value is written anew over its base.

        Whether it was promoted before, ``promote`` tells afterwards: with a conflict it never will be.
        """
        base = self._own_version(base_version)
        self._run("pending.fence", lambda: self._fence(base))

    def stray(self) -> Stray | None:
        """A pending value that stands in this rotation's way: of another id, or of another tool.

        Raises:
            PermissionDeniedError, UnavailableError: as the store says; a value that does not open is told of.
        """
        return self._run("pending.stray", lambda: stray(self._backend, self._name, self.rotation_id))

    def clean(self) -> bool:
        """Drop what `stray` tells of, whatever it is; whether there was something. Never current's value."""
        return self._run("pending.clean", self._clean)

    def discard(self) -> None:
        """Drop the pending value; nothing held is not an error.

        In a companion: if its base is still current, current's value is written once more.

        Raises:
            SecretConflictError: it was promoted.
        """
        self._run("pending.discard", self._discard)

    def _read(self, wanted: str | Stage) -> Secret:
        version = wanted if isinstance(wanted, Stage) else self._own_version(wanted)
        return replace(self._backend.get(self._name, version), name=str(self._name))

    def _put(self, value: SecretValue, base_version: str, epoch: int | None) -> SecretVersion:
        base = self._own_version(base_version)
        if self._native:
            return self._backend.put_pending(self._name, self.rotation_id, value, base)
        found = find(self._backend, self._name)
        if found and (again := self._held_already(found, value)):
            return again
        require_claim(found, self.rotation_id, epoch)
        if self._backend.get(self._name, Stage.CURRENT).version != base:
            raise SecretConflictError("base_version is not the current version")
        return self._hold(Frame(self.rotation_id, True, base, epoch=epoch).with_value(value), found, value)

    def _clean(self) -> bool:
        found = stray(self._backend, self._name, self.rotation_id)
        if found is None:
            return False
        if found.rotation_id is not None:
            Pending(self._backend, self._name, found.rotation_id)._discard()  # noqa: SLF001
        elif self._native:
            self._backend.retire(self._name, found.version)
        else:
            self._backend.retire(Companion(self._name), found.version)
        return True

    def _get(self) -> Secret:
        if self._native:
            return self._backend.get_pending(self._name, self.rotation_id)
        held = self._held()
        return replace(held.secret, name=str(self._name), value=held.value, stage=Stage.PENDING)

    def _promote(self) -> SecretVersion:
        if self._native:
            return self._backend.promote_pending(self._name, self.rotation_id)
        found = find(self._backend, self._name)
        if found and found.frame.done_as(self.rotation_id):
            self._retire(found.frame.was)
            return SecretVersion(found.frame.version or "")
        held = self._held(found)
        version = self._promoted(held) or self._make_current(held)
        with half_done():
            self._finish(held, version.id)
        return version

    def _discard(self) -> None:
        if self._native:
            return self._backend.discard_pending(self._name, self.rotation_id)
        found = find(self._backend, self._name)
        if not found or found.frame.rotation_id != self.rotation_id:
            return None
        frame = found.frame
        if frame.held:
            self._fence(frame.base or "")
        with half_done():
            if frame.version or (frame.held and self._promoted(found)):
                raise SecretConflictError("it was promoted already", hint="use rollback")
            return self._finish(found, None) if frame.held or frame.claimed else self._retire(frame.was)

    def _fence(self, version: str) -> None:
        """A paused or late promote lands while the base is current, whatever the companion says by then."""
        try:
            base = self._backend.get(self._name, version)
            self._backend.put(self._name, base.value, base.version, base.record)
        except (SecretConflictError, SecretNotFoundError) as error:  # somebody else moved the base: as good
            if error.retryable:  # or is at it just now
                raise

    def _held(self, found: Found | None = None) -> Found:
        found = found or find(self._backend, self._name)
        if not found or not found.frame.held or found.frame.rotation_id != self.rotation_id:
            raise SecretNotFoundError("nothing is pending under this rotation id")
        return found

    def _held_already(self, found: Found, value: SecretValue) -> SecretVersion | None:
        if found.frame.rotation_id != self.rotation_id:
            if found.frame.held:
                hint = f"rotation {found.frame.rotation_id} holds it"
                raise SecretConflictError("another pending value is held", hint=hint)
            return None
        if found.frame.claimed:
            return None
        if not found.frame.held:
            raise is_done()
        if found.value != value:
            raise SecretConflictError("another value is pending under this rotation id")
        return SecretVersion(found.version, stages=frozenset({Stage.PENDING}))

    def _hold(self, framed: SecretValue, found: Found | None, value: SecretValue) -> SecretVersion:
        """Eight may race to hold: the companion's compare-and-set lets one in; the others look who it was."""
        error: SecretStoreError
        try:
            version = self._backend.put(Companion(self._name), framed, found.version if found else ABSENT)
            return SecretVersion(version.id, version.created_at, frozenset({Stage.PENDING}))
        except (SecretConflictError, UnavailableError) as exc:
            error = exc
        with half_done():
            now = find(self._backend, self._name)
        if now and (again := self._held_already(now, value)):
            return again
        raise error

    def _make_current(self, held: Found) -> SecretVersion:
        error: SecretStoreError
        try:
            return self._backend.put(self._name, held.value, held.frame.base)
        except (SecretConflictError, UnavailableError) as exc:
            error = exc
        # Our own lost write, or a second worker's, may be what made the base stale: look before judging.
        with half_done():
            if version := self._promoted(held):
                return version
        if isinstance(error, SecretConflictError) and not error.retryable:  # else somebody is at it just now
            raise SecretConflictError("superseded: another version became current", hint="rotate anew")
        raise error

    def _promoted(self, held: Found) -> SecretVersion | None:
        """The version right after the base, if it holds the pending value: superseded since or not."""
        try:
            after = self._backend.versions_after(self._name, held.frame.base or "")
            value = self._backend.get(self._name, after[0].id).value if after else None
        except SecretNotFoundError:
            return None  # pruned or destroyed since: what cannot be shown to be ours is not promoted
        return after[0] if value == held.value else None

    def _finish(self, held: Found, version: str | None) -> None:
        frame = Frame(self.rotation_id, False, version=version, was=held.version)
        changed = False
        try:
            self._backend.put(Companion(self._name), frame.with_value(_NOTHING), held.version)
        except SecretConflictError:  # it says nothing of the secret, which is promoted
            changed = True
        if changed and not self._finished(version):
            raise UnavailableError("the companion changed meanwhile")
        self._retire(held.version)

    def _retire(self, held: str | None) -> None:
        """Whoever wrote ``done`` may have stopped before this, so each repeat does it again."""
        if held:
            self._backend.retire(Companion(self._name), held)

    def _finished(self, version: str | None) -> bool:
        """Whoever finds its own id done has nothing left to do; so has one whose successor already began."""
        now = find(self._backend, self._name)
        mine = now is not None and now.frame.rotation_id == self.rotation_id
        return not mine or (now is not None and not now.frame.held and now.frame.version == version)


def check_size(backend: Backend, name: Name, value: SecretValue, operation: str) -> None:
    """Refuse a value over the backend's limit, before any request is sent.

    Raises:
        InvalidRequestError: naming the limit. A value is never split or cut.
    """
    limit = backend.limit(name)
    if limit is not None and (size := backend.size(value)) > limit:
        problem = f"the value takes {size} bytes, over the limit of {limit}"
        hint = "keep the large part elsewhere, and its key or place here"
        raise InvalidRequestError(problem, operation=operation, name=str(name), hint=hint)


def rollback(backend: Backend, name: Name, if_version: str) -> SecretVersion:
    """Write the previous value as a NEW version, if ``if_version`` is current.

    Moving stages back instead loses against late and retried moves; without ``if_version`` two
    operators toggle.

    Raises:
        SecretConflictError: ``if_version`` is not current.
        SecretNotFoundError: there is no previous value, or it was revoked.
    """
    writer, bad = backend.writer, backend.own_version(if_version)
    if writer.get(name, Stage.CURRENT).version != bad:
        raise SecretConflictError("if_version is not the current version")
    previous = None
    with contextlib.suppress(SecretNotFoundError):
        previous = writer.get(name, Stage.PREVIOUS)
    if previous is None:
        raise SecretNotFoundError("there is no previous value to roll back to")
    # Without the previous version's record, by which what is newest would be older than what it replaces.
    return writer.put(name, previous.value, bad)


def retire(backend: Backend, name: Name, version: str) -> None:
    """Destroy one version's value, if the provider can; a repeat is not an error.

    Raises:
        SecretConflictError: it is the current version.
    """
    writer, victim = backend.writer, backend.own_version(version)
    if writer.get(name, Stage.CURRENT).version == victim:
        raise SecretConflictError("the version is current", hint="rotate the secret first")
    writer.retire(name, victim)


_NOTHING = SecretValue("")
