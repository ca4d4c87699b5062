"""What one event alone does not say, and a rule wants to know: seen before, superseded, off-hours, how old.

It is added to the event as fields, so that rules stay plain Sigma:

- ``first_seen``: this identity has not read this secret in the remembered time;
- ``superseded_seconds``: since when another version is current than the one that was read;
- ``off_hours``: the calendar does not call it working time (absent without a calendar);
- a record of kind ``age`` for every secret once a day: ``age_days`` since its last change, and ``rotated``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, final

from .events import READS, WRITES, Event, key_of
from .spans import DAY, SECOND, moment_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import DetectSettings
    from .state import State

_GIVEN: Final = frozenset({"ok", "unknown"})
_REMEMBERED_VERSIONS: Final = 50
_SETTLING: Final = 600 * SECOND
"""After a write a reader may still be told the version before it: labels are eventually consistent."""


@final
class Context:
    """Adds to events what is known from those before them, and remembers them.

    Args:
        state: what is remembered; the spaces ``pair`` and ``book`` are ours.
        settings: calendar and spans.
    """

    def __init__(self, state: State, settings: DetectSettings):
        self._state, self._settings = state, settings

    def enrich(self, event: Event, learning: bool) -> None:
        """Add what is known to an operation's outcome, then remember it."""
        if event.text("op") in ("revoke", "rotation.revoke") and not event.text("version"):
            event.fields["version"] = (self._book(event) or {}).get("current")
        if event.text("outcome") not in _GIVEN:
            return
        if event.text("op") in READS:
            self._read(event, learning)
        elif event.text("outcome") == "ok":
            self._changed(event)

    def forget(self, now: int) -> None:
        """Drop what was not read for so long that the next read is a first one."""
        for key, last in self._state.items("pair"):
            if now - last > self._settings.history:
                self._state.drop("pair", key)

    def ages(self, now: int) -> Iterator[Event]:
        """How old each secret's current version is."""
        for secret, book in list(self._state.items("book")):
            store, name = json.loads(secret)
            fields = {"kind": "age", "store": store, "name": name, "rotated": book["rotated"]}
            yield Event(now, book["record"], {**fields, "age_days": (now - book["since"]) // DAY})

    def _read(self, event: Event, learning: bool) -> None:
        book = self._book(event)
        superseded = _superseded(event, book)
        if superseded is not None:
            event.fields["superseded_seconds"] = superseded // SECOND
        if self._settings.calendar:
            event.fields["off_hours"] = not self._settings.calendar.is_working_time(moment_of(event.time))
        self._pair(event, book, learning)
        if event.text("stage") == "current" and event.text("version") and not event.fields.get("degraded"):
            self._told(event, book)

    def _pair(self, event: Event, book: dict[str, Any] | None, learning: bool) -> None:
        """A secret in its first days is new to everybody: whoever reads it then is meant to."""
        if not event.text("actor.uid"):
            return
        key = key_of(event.text("store"), event.text("name"), event.text("actor.uid"))
        last = self._state.get("pair", key)
        fresh = last is None or event.time - last > self._settings.history
        settling = book is not None and 0 <= event.time - (book["made"] or 0) < self._settings.settle
        event.fields["first_seen"] = fresh and not learning and not settling
        if last is None or event.time - last > DAY:  # a write to the state costs more than a look
            self._state.put("pair", key, event.time)

    def _told(self, event: Event, book: dict[str, Any] | None) -> None:
        """The answer tells of a change made elsewhere, unless it may be behind one that we know."""
        version = event.text("version")
        if book is None:
            first = {"current": version, "since": event.time, "made": None, "old": {}, "rotated": False}
            self._keep(event, first)
        elif version in (book["current"], *book["old"]) or event.time - book["since"] <= _SETTLING:
            return
        else:
            self._replace(event, book)

    def _changed(self, event: Event) -> None:
        if event.text("op") in WRITES and event.text("version"):
            self._written(event)
        elif event.text("op") in ("delete", "purge"):
            self._state.drop("book", _secret(event))

    def _written(self, event: Event) -> None:
        book = self._book(event)
        if book is None:
            book = {"current": None, "since": event.time, "made": event.time, "old": {}, "rotated": False}
        book["rotated"] = book["rotated"] or bool(event.text("rotation_id"))
        if event.text("op") == "reencrypt":
            self._moved(event, book)
        elif event.text("version") in (book["current"], *book["old"]):
            self._keep(event, book)  # a repeated promote answers with what it did once
        elif event.time >= book["since"]:
            self._replace(event, book)

    def _moved(self, event: Event, book: dict[str, Any]) -> None:
        """The same value under other keys: its age stays."""
        since = book["since"]
        self._replace(event, book)
        self._keep(event, {**book, "since": since})

    def _replace(self, event: Event, book: dict[str, Any]) -> None:
        old = {version: time for version, time in book["old"].items() if version != event.text("version")}
        if book["current"]:
            old[book["current"]] = event.time
        newest = dict(sorted(old.items(), key=lambda item: item[1])[-_REMEMBERED_VERSIONS:])
        book.update(current=event.text("version"), since=event.time, old=newest)
        self._keep(event, book)

    def _keep(self, event: Event, book: dict[str, Any]) -> None:
        self._state.put("book", _secret(event), {**book, "record": event.record})

    def _book(self, event: Event) -> dict[str, Any] | None:
        book: dict[str, Any] | None = self._state.get("book", _secret(event))
        return book


def _secret(event: Event) -> str:
    return key_of(event.text("store"), event.text("name"))


def _superseded(event: Event, book: dict[str, Any] | None) -> int | None:
    """Nanoseconds since the version that was read is not current any more."""
    if book is None:
        return None
    at = book["old"].get(event.text("version"))
    if at is None and event.text("stage") == "previous":
        at = book["since"]
    return None if at is None else max(0, event.time - at)
