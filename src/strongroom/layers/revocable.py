"""Revocable: a store that does not serve what was revoked elsewhere, although nobody could tell it so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

from strongroom.errors import SecretStoreError
from strongroom.names import Name

from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.backend import Backend, Secret, Stage
    from strongroom.names import Key


class Checker(Protocol):
    """Knows which versions are revoked, as of some moment."""

    def check(self, name: str, version: str, record: str | None = None, *, strict: bool = True) -> None:
        """Return if a version may be used.

        Args:
            name: the secret's.
            version: its id in the store that has it.
            record: its replication record, by which its copies are known.
            strict: refuse also while nobody can tell what was revoked last.

        Raises:
            SecretNotFoundError: it is revoked.
            UnavailableError: there is no list of revocations that is young enough, and ``strict``.
            IntegrityError: the list is not to be believed, and ``strict``; or the record is none.
        """

    def after_fork(self) -> None:
        """In a forked child: drop what is the parent's."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


@final
class Revocable(Layer):
    """Asks after each read whether that version was revoked: a replica behind a partition cannot know itself.

    A version that was revoked is not found. A name that is marked revocable is refused as unavailable while
    there is no list young enough; every other is served, by the newest list that was believed.

    Args:
        inner: the replica.
        checker: knows what was revoked; its owner closes it.
        revocable: whether a name is marked so.
    """

    def __init__(self, inner: Backend, checker: Checker, revocable: Callable[[str], bool]):
        super().__init__(inner)
        self._checker, self._revocable = checker, revocable

    @property
    def writer(self) -> Backend:
        return self

    def get(self, key: Key, version: str | Stage) -> Secret:
        return self._passed(key, self.inner.get(key, version))

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return {key: self._outcome(key, found) for key, found in self.inner.get_many(keys).items()}

    def _passed(self, key: Key, secret: Secret) -> Secret:
        if isinstance(key, Name):
            name = str(key)
            self._checker.check(name, secret.version, secret.record, strict=self._revocable(name))
        return secret

    def _outcome(self, key: Key, found: Secret | SecretStoreError) -> Secret | SecretStoreError:
        try:
            return found if isinstance(found, SecretStoreError) else self._passed(key, found)
        except SecretStoreError as error:
            return error.with_traceback(None)
