"""What is known of many secrets, without a request for each: a plan of hundreds costs a few listings."""

from __future__ import annotations

import os.path
import threading
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final, final

from strongroom.errors import SecretNotFoundError, SecretStoreError

if TYPE_CHECKING:
    from strongroom.backend import SecretInfo
    from strongroom.clock import Clock
    from strongroom.store import SecretStore

ALONE: Final = 3
"""So many are asked for by name, before a listing is worth its pages."""
MOST: Final = 2000
"""Entries taken of one listing: a store has more secrets than Terraform knows of."""
_TELLING: Final = 25  # entries without a version: this provider's listings tell none
_SECONDS: Final = 30.0  # a plan's reads; lists lag behind by more than that anyway


@final
class Described:
    """One store's descriptions, for the reads of one plan; safe across threads.

    Terraform asks for ten at a time and does not say how many will come. From the fourth on, the folder that
    those asked for have in common is listed, and whoever asks meanwhile waits for it. Lists are eventually
    consistent: what they do not tell, or tell otherwise than is expected, is asked for by name.

    Args:
        store: describes and lists.
        clock: how old a listing may be.
    """

    def __init__(self, store: SecretStore, clock: Clock):
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._asked: list[str] = []
        self._folder: str | None = None
        self._listed: dict[str, SecretInfo] = {}
        self._taken = 0.0
        self._telling = True

    def of(self, name: str, expected: Callable[[SecretInfo], bool]) -> SecretInfo | None:
        """What is known of a secret; None if there is none.

        Args:
            name: the secret's name.
            expected: whether a listing's answer says nothing new; otherwise the secret itself is asked.

        Raises:
            SecretStoreError: as ``SecretStore.describe``.
        """
        listed = self._from_listing(name)
        if listed is not None and expected(listed):
            return listed
        try:
            return self._store.describe(name)
        except SecretNotFoundError:
            return None

    def changed(self, name: str) -> None:
        """Written here: what was listed of it is over."""
        with self._lock:
            self._listed.pop(name, None)

    def _from_listing(self, name: str) -> SecretInfo | None:
        with self._lock:
            if not self._covers(name):
                self._asked.append(name)
                if self._telling and len(self._asked) > ALONE:
                    self._list()
            return self._listed.get(name)

    def _covers(self, name: str) -> bool:
        if self._clock.monotonic() - self._taken > _SECONDS:
            self._folder, self._listed = None, {}
        return self._folder is not None and name.startswith(self._folder)

    def _list(self) -> None:
        within = self._asked if self._folder is None else [self._folder, *self._asked]
        self._folder = os.path.commonprefix(within).rpartition("/")[0]  # noqa: RUF071  (cut at a folder here)
        self._folder += "/" if self._folder else ""
        self._asked.clear()
        self._taken = self._clock.monotonic()
        try:
            self._take(self._folder)
        except SecretStoreError:  # a right to describe need not be one to list
            self._telling = False

    def _take(self, folder: str) -> None:
        silent = 0
        for count, info in enumerate(islice(self._store.list_info(folder), MOST), 1):
            silent += info.newest is None
            if count == silent == _TELLING or count == MOST:
                self._telling = False
                return
            self._listed[str(info.key)] = info
