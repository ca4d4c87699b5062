"""What ``check`` learns of one store: access, capabilities, ages, what a transition still needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from strongroom.backend import Capability, Clock
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, SecretStoreError

from .failure import one_line

if TYPE_CHECKING:
    from strongroom.store import SecretStore
    from strongroom.toml.file import Config

_NOBODYS = "strongroom/check"
"""Read where no name is known: that it is not found shows that reading is allowed, and reveals nothing."""
_SHARE_FOR_AGES = 0.8
"""Of the time for one store; a transition is looked at in the rest."""


@dataclass(slots=True)
class Finding:
    """What `check` learned of one store.

    Attributes:
        store: its alias, or the URL that was given.
        origin: where it says it is.
        capabilities: names of its flags.
        may_list: whether names can be listed; None where the store cannot, or it is not known.
        may_read: whether a value can be read; None where it is not known.
        names: how many secrets there are; None where they are not listed.
        dated: of how many the newest version's date was told, within the time.
        oldest: when the secret that was longest not written was written.
        newest: when the last one was written.
        old: names of secrets older than was asked for.
        transition: what is configured so that values of other keys, or of none, are still read.
        left: names of the secrets that still need it; see `strongroom.reencryption.StoreReport.left`.
        problem: what keeps it from working, with what to do; empty if nothing does.
    """

    store: str
    origin: str = ""
    capabilities: tuple[str, ...] = ()
    may_list: bool | None = None
    may_read: bool | None = None
    names: int | None = None
    dated: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    old: list[str] = field(default_factory=list)
    transition: tuple[str, ...] = ()
    left: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem or self.old or self.left)


class StoreCheck:
    """Looks at one store.

    Args:
        config: what names it.
        target: its alias, a URL, or None for the default.
        max_age: days after which a secret is old; None for never.
        seconds: how long this may take.
    """

    def __init__(self, config: Config, target: str, max_age: int | None, seconds: float):
        self._config, self._target, self._max_age, self._seconds = config, target, max_age, seconds
        self._finding = Finding(target)
        self._clock = Clock()

    def run(self) -> Finding:
        """Try the store; whatever is wrong stands in the finding."""
        from strongroom.config import open as open_store

        found = self._finding
        try:
            with open_store(self._target, config=self._config) as store:
                found.origin, found.capabilities = store.origin, store.capabilities.names
                names = self._listed(store)
                self._read(store, names)
                self._date(store, names)
                self._look_at_transition(store)
        except SecretStoreError as error:
            found.problem = one_line(str(error))
        return found

    def late(self) -> Finding:
        """What is known so far of a store that does not answer."""
        return replace(self._finding, problem=no_answer(self._seconds))

    def _listed(self, store: SecretStore) -> Sequence[str]:
        if Capability.LIST not in store.capabilities:
            return ()
        try:
            names = list(store.list_names())
        except PermissionDeniedError:  # who only reads need not be allowed to list
            self._finding.may_list = False
            return ()
        self._finding.may_list, self._finding.names = True, len(names)
        return names

    def _read(self, store: SecretStore, names: Sequence[str]) -> None:
        """Nothing but reading proves that reading is allowed, and that the value decrypts."""
        try:
            store.get(names[0] if names else _NOBODYS)
        except PermissionDeniedError:
            self._finding.may_read = False
            raise
        except SecretNotFoundError:
            pass
        self._finding.may_read = True

    def _date(self, store: SecretStore, names: Sequence[str]) -> None:
        if Capability.DESCRIBE not in store.capabilities:
            return
        until = time.monotonic() + self._seconds * _SHARE_FOR_AGES
        try:
            for name in names:
                if time.monotonic() > until:
                    break
                self._date_one(store, name)
        except PermissionDeniedError:
            if self._max_age:
                raise
        if self._max_age and self._finding.dated < len(names):
            told = f"only {self._finding.dated} of {len(names)} secrets told their age in time"
            self._finding.problem = f"{told}: give it longer with --timeout"

    def _date_one(self, store: SecretStore, name: str) -> None:
        found, newest = self._finding, None
        with suppress(SecretNotFoundError):  # deleted since it was listed
            newest = store.describe(name).newest
        found.dated += 1
        if newest and (written := newest.created_at):
            found.oldest = min(written, found.oldest or written)
            found.newest = max(written, found.newest or written)
            if self._max_age and (self._clock.now() - written).days >= self._max_age:
                found.old.append(name)

    def _look_at_transition(self, store: SecretStore) -> None:
        from strongroom.reencryption import reencrypt_store

        entry, found = self._config.entry(self._target), self._finding
        ways = {"allow_plaintext": entry.allow_plaintext, "old_keys": bool(entry.old_keys)}
        found.transition = tuple(way for way, configured in ways.items() if configured)
        if found.transition and found.may_list:
            found.left = reencrypt_store(store, dry_run=True).left


def no_answer(seconds: float) -> str:
    """What is said of a thing that did not answer in time."""
    return f"no answer within {seconds:g} s (is it reachable from here? --timeout waits longer)"
