"""Waits for a change of what references name, and reads them again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, final

from strongroom.errors import SecretStoreError
from strongroom.references import Reference

from .failure import one_line

if TYPE_CHECKING:
    from strongroom.references import Resolver
    from strongroom.value import SecretValue

RETRY: Final = 30.0
"""Seconds until what could not be read is asked for again, if no change is told before."""

Values = Mapping[str, "SecretValue"]


@final
class Follower:
    """Calls `changed` whenever the values that references stand for are others than before.

    What cannot be read is told, and changes nothing: whoever has the old values keeps them.

    Args:
        resolver: makes what reads the references; it is closed here.
        references: by the place they stand at.
        known: the values that are in use.
        changed: called in the thread of this follower; while it fails it is called again.
        say: tells a person.
        retry: seconds, as `RETRY`.
    """

    def __init__(
        self,
        resolver: Callable[[], Resolver],
        references: Mapping[str, str | Reference],
        known: Values,
        changed: Callable[[Values], object],
        say: Callable[[str], object],
        retry: float = RETRY,
    ):
        self._resolver, self._references, self._known = resolver, references, known
        self._changed, self._say, self._retry = changed, say, retry
        self._heard, self._stopped = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self.run, name="strongroom-follow", daemon=True).start()

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()
        self._heard.set()

    def run(self) -> None:
        """Follow until `stop`."""
        while not self._stopped.is_set():
            try:
                with self._resolver() as resolver:
                    self._subscribe(resolver)
                    self._follow(resolver)
            except SecretStoreError as error:
                self._tell(error)
                self._heard.clear()
                self._heard.wait(0 if self._stopped.is_set() else self._retry)

    def _subscribe(self, resolver: Resolver) -> None:
        given = self._references.values()
        parsed = {one if isinstance(one, Reference) else Reference.parse(one) for one in given}
        for alias, name in {(one.alias, one.name) for one in parsed if one.version is None}:
            resolver.store(alias).on_change(name, lambda *_: self._heard.set())

    def _follow(self, resolver: Resolver) -> None:
        """Read once at the beginning: what changed before the subscription is a change too."""
        while not self._stopped.is_set():
            self._heard.clear()
            self._heard.wait(None if self._read(resolver) else self._retry)

    def _read(self, resolver: Resolver) -> bool:
        try:
            values = resolver.read(self._references)
        except SecretStoreError as error:
            self._tell(error)
            return False
        if values != self._known:
            self._changed(values)
            self._known = values
        return True

    def _tell(self, error: SecretStoreError) -> None:
        self._say(f"{one_line(str(error))}; what is in use stays in use")
