"""Into the bin, out of it, and gone: operations that Key Vault goes on with after it has answered.

A name is reserved while it is on its way. What was asked for is waited for on the store's clock, so that the
next call finds it done, but not longer than a read may take with all its attempts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from strongroom.errors import (
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.retry import attempts

from ._client import outcome
from ._errors import code_of

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.guarded import Guard
    from strongroom.names import Key

    from ._client import Client

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class Bin:
    """The soft-deleted secrets of one vault."""

    def __init__(self, client: Client, guard: Guard, settings: Settings, name: Callable[[Key], str]):
        self._client, self._guard, self._settings, self._name = client, guard, settings, name

    def holds(self, key: Key) -> bool:
        """Whether a secret of this name is in the bin."""
        name = self._name(key)
        try:
            self._client.read("get", lambda sdk: sdk.get_deleted_secret(name).name)
        except SecretNotFoundError:
            return False
        return True

    def delete(self, key: Key) -> None:
        """Put a secret into the bin; see ``Backend.delete``."""
        error = None
        try:
            self._deleted(key)
        except SecretConflictError as exc:
            error = exc
        if error is not None:
            moving = code_of(error) == "ObjectIsBeingDeleted"
            raise SecretNotFoundError("the secret is in the bin already") if moving else error
        self._wait(lambda: self.holds(key))

    def restore(self, key: Key) -> None:
        """Take a secret out of the bin; see ``Backend.restore``."""
        if not self._recovered(key):
            raise SecretNotFoundError("not in the bin")
        if not self._wait(lambda: self._is_live(key)):
            raise UnavailableError(
                "Key Vault is still restoring the secret", performed=None, hint="it takes some seconds"
            )

    def _recovered(self, key: Key) -> bool:
        name = self._name(key)
        try:
            self._changed(
                key, lambda: self._ask("recover", "begin_recover_deleted_secret", name), self._is_live
            )
        except SecretNotFoundError:
            return False
        return True

    def purge(self, key: Key) -> None:
        """Remove a secret for ever, from the bin or through it; see ``Backend.purge``."""
        was_live = self._delete_if_live(key)
        if was_live and not self._wait(lambda: self.holds(key)):
            raise UnavailableError(
                "the secret is on its way into the bin", performed=None, hint="purge it again in some seconds"
            )
        try:
            self._purged(key)
        except SecretNotFoundError:
            if not was_live:
                raise
        self._wait(lambda: not self.holds(key))

    def _delete_if_live(self, key: Key) -> bool:
        try:
            self._deleted(key)
        except SecretNotFoundError:
            return False
        return True

    def _deleted(self, key: Key) -> None:
        name = self._name(key)
        self._changed(key, lambda: self._ask("delete", "begin_delete_secret", name), self.holds)

    def _purged(self, key: Key) -> None:
        name = self._name(key)
        self._changed(
            key,
            lambda: self._ask("purge", "purge_deleted_secret", name),
            lambda key: not self.holds(key),
            forget=True,
        )

    def _ask(self, action: str, method: str, name: str) -> None:
        self._client.once(action, lambda sdk: getattr(sdk, method)(name) and None)

    def _changed(
        self,
        key: Key,
        ask: Callable[[], None],
        done: Callable[[Key], bool],
        *,
        forget: bool = False,
    ) -> None:
        """Ask under the lease, again only if nothing was performed; a lost answer is looked up."""

        def change() -> None:
            with self._guard.holding(key, forget=forget):
                self._looked_up(key, ask, done)

        attempts(self._settings, lambda: outcome(change), again=False)

    def _looked_up(self, key: Key, ask: Callable[[], None], done: Callable[[Key], bool]) -> None:
        try:
            ask()
        except UnavailableError as exc:
            lost = exc
        else:
            return
        seen = False
        with contextlib.suppress(SecretStoreError):  # who cannot look still does not know
            seen = lost.performed is None and done(key)
        if not seen:
            raise lost

    def _is_live(self, key: Key) -> bool:
        name = self._name(key)
        try:
            self._client.read("get", lambda sdk: sdk.get_secret(name).name)
        except SecretNotFoundError as error:
            return code_of(error) == "SecretDisabled"
        return True

    def _wait(self, done: Callable[[], bool]) -> bool:
        """Whether it is done in time; whoever may not look cannot wait for it."""
        clock = self._settings.clock
        until = clock.monotonic() + self._settings.timeout * self._settings.attempts
        pause = _FIRST_WAIT
        try:
            while not done():
                if clock.monotonic() + pause > until:
                    return False
                clock.sleep(pause)
                pause = min(_LONGEST_WAIT, 2 * pause)
        except PermissionDeniedError:
            pass
        return True
