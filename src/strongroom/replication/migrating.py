"""Migration: replication that ends. All of a secret's versions, its stages and tags, into another store.

Everything is planned first, and what the target cannot hold is known before anything is written. A name's
versions are written oldest first, each under compare-and-set on the one before, and read back by id; so a
reader of the target sees the source's history pass, and applications move only after the last name is done.
A run that was cut short is repeated: what the target has already is found by comparing, and is not written
again. Pending values never leave their store.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from strongroom.backend import ABSENT, ANY_CAS, Absent, Capability
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnsupportedOperationError,
)

from .budget import is_away
from .history import carried, in_order, same
from .inventory import Inventory, Loss, Place, Target

if TYPE_CHECKING:
    from strongroom.backend import Secret
    from strongroom.value import SecretValue

Existing = Literal["refuse", "keep", "replace"]
Progress = Callable[[Sequence[str], str], Iterable[str]]


class Move(enum.Enum):
    """What a migration does to one name.

    CREATE: the target has none. CONTINUE: the target has the beginning of its history. REPLACE: the current
    value goes over another's, whose history stays. SAME: nothing is left to do. KEEP: what the target has
    stays, as was asked. LEAVE: the target cannot hold it.
    """

    CREATE = "create"
    CONTINUE = "continue"
    REPLACE = "replace"
    SAME = "same"
    KEEP = "keep"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Step:
    """One name of the plan.

    Attributes:
        name: in both stores.
        move: what happens.
        versions: the source's ids to carry, oldest first; None stands for "the current one".
        base: the target's version that must still be current, or ABSENT.
        tags: to be set.
        losses: what does not come along.
    """

    name: str
    move: Move
    versions: tuple[str | None, ...] = ()
    base: str | Absent | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether this step changes the target."""
        return bool(self.versions or self.tags)


@dataclass(slots=True)
class Outcome:
    """What a migration did.

    Attributes:
        versions: the target's new version ids by name, oldest first.
        tagged: the names whose tags were set.
        errors: by name, for those that are not done.
        losses: found while writing: versions that the target has let go again.
    """

    versions: dict[str, list[str]] = field(default_factory=dict)
    tagged: list[str] = field(default_factory=list)
    errors: dict[str, SecretStoreError] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)


class Migration:
    """One source's secrets into one target.

    Args:
        source: read only.
        target: must have PUT.
        existing: what becomes of names that hold something else in the target.
        progress: wraps what is worked through, with a verb.
        parallel: names at a time while planning.

    Raises:
        UnsupportedOperationError: the target cannot be written.
    """

    def __init__(
        self,
        source: Place,
        target: Target,
        *,
        existing: Existing = "refuse",
        progress: Progress = lambda items, _verb: items,
        parallel: int = 4,
    ):
        if Capability.PUT not in target.place.capabilities:
            raise UnsupportedOperationError("the target cannot be written", operation="copy")
        self._source, self._target, self._limits, self._existing = source, target.place, target, existing
        self._progress, self._parallel = progress, parallel
        self._historic = Capability.VERSIONS in source.capabilities & target.place.capabilities

    def plan(self, names: Sequence[str]) -> list[Step]:
        """What must be done for each name, judged by what both stores hold now.

        Raises:
            SecretNotFoundError: names are not in the source.
            SecretConflictError: names hold something else in the target, and are to be refused.
            SecretStoreError: a secret cannot be read.
        """
        with ThreadPoolExecutor(self._parallel, "strongroom-copy") as pool:
            # With the caller's context variables, where the audit finds who it is that reads.
            judged = pool.map(
                lambda name, at: at.run(self._judged, name), names, [copy_context() for _ in names]
            )
            try:
                steps = [next(judged) for _ in self._progress(names, "comparing")]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        missing = [name for name, step in zip(names, steps, strict=True) if step is None]
        if missing:
            raise SecretNotFoundError(f"not in the source: {some(missing)}; nothing was written")
        found = [step for step in steps if step]
        self._refuse_collisions(found)
        return found

    def apply(self, steps: Sequence[Step]) -> Outcome:
        """Do what the plan says; names that fail are told in the outcome, the others are done.

        A target that does not answer ends it: the rest would wait for the same outage, each for itself.
        """
        outcome = Outcome()
        todo = {step.name: step for step in steps if step.writes}
        for name in self._progress(list(todo), "copying"):
            try:
                self._carry(todo[name], outcome)
            except SecretStoreError as error:
                outcome.errors[name] = error.with_traceback(None)
            if is_away(outcome.errors.get(name)):
                break
        return outcome

    def _judged(self, name: str) -> Step | None:
        found = Inventory(self._source, name, historic=self._historic, check=self._limits.check)
        if not found.exists:
            return None
        if found.unfit:
            return Step(name, Move.LEAVE, losses=tuple(found.losses))
        there, base = self._held(name)
        done = carried(there, found.values)
        move, ids = self._move(found, there, done)
        if move is Move.KEEP:
            return Step(name, move)
        tags = self._tags(name, found, exists=bool(there))
        return Step(name, move, tuple(ids), base, tags, tuple(found.losses))

    def _move(
        self, found: Inventory, there: Sequence[SecretValue], done: int | None
    ) -> tuple[Move, Sequence[str | None]]:
        if done is None:
            return (Move.KEEP, ()) if self._existing == "keep" else (Move.REPLACE, found.ids[-1:])
        left = found.ids[done:]
        return (Move.SAME if not left else Move.CONTINUE if there else Move.CREATE), left

    def _held(self, name: str) -> tuple[list[SecretValue], str | Absent | None]:
        """The target's values, oldest first, and what the first write compares with."""
        can = self._target.capabilities
        try:
            if not self._historic:
                secret = self._target.get(name)
                return [secret.value], secret.version if can & ANY_CAS else None
            versions = in_order(self._target.versions(name))
            values = [self._target.get(name, version=version.id).value for version in versions]
        except SecretNotFoundError:
            versions, values = [], []
        if not versions:
            return [], ABSENT if Capability.CREATE_ONLY in can else None
        return values, versions[-1].id if can & ANY_CAS else None

    def _tags(self, name: str, found: Inventory, *, exists: bool) -> dict[str, str]:
        """The tags that are missing in the target; what it cannot hold is a loss."""
        wanted = found.tags
        if not wanted:
            return {}
        can = self._target.capabilities
        if Capability.TAGS not in can:
            found.lose("tags", f"the target has none; {len(wanted)} stay behind")
            return {}
        there = self._target.describe(name).tags if exists and Capability.DESCRIBE in can else {}
        try:
            self._limits.check(name, found.values[-1], {**there, **wanted})
        except InvalidRequestError as error:
            found.lose("tags", f"{error.message}; {len(wanted)} stay behind")
            return {}
        return {key: text for key, text in wanted.items() if there.get(key) != text}

    def _refuse_collisions(self, steps: Sequence[Step]) -> None:
        taken = [step.name for step in steps if step.move is Move.REPLACE]
        if taken and self._existing == "refuse":
            raise SecretConflictError(
                f"{len(taken)} names hold other values already: {some(taken)}; nothing was written",
                hint="--if-absent keeps them, --replace writes new versions",
            )

    def _carry(self, step: Step, outcome: Outcome) -> None:
        base, guarded = step.base, bool(self._target.capabilities & ANY_CAS)
        for version in step.versions:
            self._limits.take(step.name)
            made = self._put(step.name, version, base)
            outcome.versions.setdefault(step.name, []).append(made)
            base = made if guarded else None
        if step.tags:
            self._target.set_tags(step.name, dict(step.tags))
            outcome.tagged.append(step.name)
        self._count_kept(step, outcome)

    def _put(self, name: str, version: str | None, base: str | Absent | None) -> str:
        value = self._source.get(name, version=version).value
        made = self._target.put(name, value, if_version=base).id
        read = self._read_back(name, made)
        if not same(read.value, value):
            raise IntegrityError(
                "the target does not give back what was written", operation="copy", name=name, performed=True
            )
        return made

    def _read_back(self, name: str, made: str) -> Secret:
        if self._historic:
            return self._target.get(name, version=made)
        return self._target.refresh(name, rejected=made)  # `get` could be answered by the store's own cache

    def _count_kept(self, step: Step, outcome: Outcome) -> None:
        """A store forgets old versions by a rule of its own, which only shows afterwards."""
        written = outcome.versions.get(step.name, [])
        if len(written) < 2:
            return
        kept = {version.id for version in self._target.versions(step.name)}
        if gone := [made for made in written if made not in kept]:
            why = f"the target keeps only {len(kept)} versions; {len(gone)} that were written are gone again"
            outcome.losses.append(Loss(step.name, "history", why))


def some(names: Sequence[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
