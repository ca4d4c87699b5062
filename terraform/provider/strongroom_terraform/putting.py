"""A value is written once, however often its apply is killed, and never over what another has written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

from strongroom.backend import ABSENT, Absent
from strongroom.errors import SecretConflictError, SecretNotFoundError, SecretStoreError

from .problems import ProblemError, from_store, problem
from .reference import identity
from .unfinished import Note, Unfinished

if TYPE_CHECKING:
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

VERSION: Final = "value_wo_version"


@final
@dataclass(frozen=True)
class Put:
    """One value for one secret, as one ``value_wo_version`` asks for it.

    Attributes:
        store: where it goes.
        name: the secret's name.
        value: what is written.
        given: the attribute that it stands in.
        wanted: the version of the configuration that asks for it.
        notes: of killed applies.
    """

    store: SecretStore
    name: str
    value: SecretValue
    given: str
    wanted: str
    notes: Unfinished

    def first(self) -> str:
        """Make the secret; the version's id.

        Raises:
            ProblemError: it exists already, at ``name``, or the store's error.
        """
        note = self.notes.of(self._secret)
        if note and note.base is None and (current := self._current()):
            if self.is_ours(note, current):
                return current
            if current == note.written:  # made by a killed apply, and by now another value is wanted
                return self._put(current)
        return self._put(ABSENT)

    def next(self, base: str) -> str:
        """Write over exactly that version; the new one's id.

        Raises:
            ProblemError: another one is current, at ``value_wo_version``, or the store's error.
        """
        return self._put(base)

    def is_ours(self, note: Note, current: str) -> bool:
        """Whether a killed apply has written just this, and it is current.

        Where it was killed in the write itself, the value tells: it is read, and compared in constant time.
        """
        if note.wanted != self.wanted:
            return False
        if note.written is not None:
            return note.written == current
        try:
            found = self.store.get(self.name)
        except SecretStoreError:  # whoever may not read it cannot say whose it is
            return False
        return found.version == current and found.value == self.value

    @property
    def _secret(self) -> str:
        return identity(self.store.alias, self.name)

    def _current(self) -> str | None:
        try:
            newest = self.store.describe(self.name).newest
        except SecretNotFoundError:
            return None
        return newest.id if newest else None

    def _put(self, base: str | Absent) -> str:
        note = Note(self._secret, self.wanted, base if isinstance(base, str) else None)
        self.notes.keep(note)
        made = self._outcome(base)
        if isinstance(made, SecretStoreError):
            if made.performed is False:
                self.notes.forget(self._secret)
            raise self._refusal(made, base)
        self.notes.keep(replace(note, written=made))
        return made

    def _outcome(self, base: str | Absent) -> str | SecretStoreError:
        """Never raises: the error would come with this frame's caller, who has the value."""
        try:
            return self.store.put(self.name, self.value, if_version=base).id
        except SecretStoreError as error:
            return error.with_traceback(None)

    def _refusal(self, error: SecretStoreError, base: str | Absent) -> ProblemError:
        if not isinstance(error, SecretConflictError):
            return from_store(error, self.given)
        if isinstance(base, str):
            return problem(
                f"{self._secret} has another current version than {base}, which the plan saw",
                VERSION,
                detail="nothing was written; plan again",
            )
        return self._exists()

    def _exists(self) -> ProblemError:
        at = f"{self.name} --store {self.store.alias}"
        if self._current_or_denied():
            return problem(
                f"{self._secret} exists already",
                "name",
                detail=f"take it over, which writes nothing: terraform import ADDRESS '{self._secret}'",
            )
        return problem(
            f"{self._secret} is in the bin",
            "name",
            detail=f"strongroom restore {at} brings it back, to be imported; strongroom purge {at} ends it",
        )

    def _current_or_denied(self) -> bool:
        try:
            return self._current() is not None
        except SecretStoreError:
            return True
