"""What a store keeps of one secret's rotations: one record, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError
from strongroom.value import SecretValue

from .ledger import Entry, State

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT: Final = 16
"""So many closed rotations of a secret are remembered at most, as far as the store's limit allows."""
_TIMES: Final = frozenset(["due", "started", "updated", "lease_until", "tick", "promoted", "quiet_until"])
_STATES: Final = frozenset(["state", "proved"])
_NAMES: Final = tuple(field.name for field in fields(Entry))


@dataclass
class Page:
    """One secret's records.

    Attributes:
        secret: whose.
        next_due, last_success: as of the ledger.
        revision: one more with each write: a store whose labels lag may answer with an older page.
        entries: by rotation id.
    """

    secret: str
    next_due: datetime | None = None
    last_success: datetime | None = None
    revision: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)

    def write(self, entry: Entry) -> Entry:
        """Put a record in the place of the one of this id."""
        before = self.entries.get(entry.id)
        if entry.promoted and not (before and before.promoted):
            self.last_success = entry.promoted
        self.entries[entry.id] = entry
        return entry

    @property
    def busy(self) -> bool:
        """Whether a rotation is open."""
        return any(entry.state.open for entry in self.entries.values())

    def pack(self, limit: int | None) -> SecretValue:
        """As the store keeps it; the oldest closed ones go that have no room."""
        kept = self._newest()
        while limit and kept and len(_text(self, kept)) > limit and not kept[-1].state.open:  # JSON is ASCII
            kept.pop()
        self.entries = {entry.id: entry for entry in kept}
        return SecretValue(_text(self, kept))

    def _newest(self) -> list[Entry]:
        """The open one first."""
        found = sorted(self.entries.values(), key=lambda entry: entry.updated, reverse=True)
        opened = [entry for entry in found if entry.state.open]
        return opened + [entry for entry in found if not entry.state.open][:KEPT]

    @classmethod
    def parse(cls, value: SecretValue, secret: str) -> Page:
        """What `pack` gave.

        Raises:
            IntegrityError: it is another secret's, or none.
        """
        try:
            found = json.loads(value.reveal())
            entries = [_entry(facts) for facts in found["rotations"]]
            page = cls(
                found["secret"],
                _time(found["next_due"]),
                _time(found["last_success"]),
                int(found["revision"]),
                {entry.id: entry for entry in entries},
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            page = cls("")
        if page.secret != secret or any(entry.secret != secret for entry in page.entries.values()):
            raise IntegrityError(f"the ledger's record of {secret} is damaged", hint="purge it in its store")
        return page


def _text(page: Page, entries: list[Entry]) -> str:
    facts: dict[str, Any] = {
        "secret": page.secret,
        "next_due": page.next_due,
        "last_success": page.last_success,
    }
    facts |= {"revision": page.revision}
    rows = [dict(_facts(entry)) for entry in entries]
    return json.dumps(facts | {"rotations": rows}, default=_plain, separators=(",", ":"))


def _facts(entry: Entry) -> Iterator[tuple[str, Any]]:
    for name in _NAMES:
        value = getattr(entry, name)
        if value is not None and value != "":
            yield name, value


def _plain(value: datetime | State) -> str:
    return value.value if isinstance(value, State) else value.isoformat()


def _entry(facts: dict[str, Any]) -> Entry:
    known = {name: value for name, value in facts.items() if name in _NAMES}
    return Entry(**{name: _attribute(name, value) for name, value in known.items()})


def _attribute(name: str, value: Any) -> Any:
    if name in _TIMES:
        return _time(value)
    return State(value) if name in _STATES else value


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
