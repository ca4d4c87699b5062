"""The sheet: which store is the source of a domain, and since which takeover. Each member keeps its own.

A store with a sheet that names another source, or that is fenced, takes no writes of applications.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from strongroom.backend import ABSENT, Stage
from strongroom.errors import IntegrityError, PermissionDeniedError, SecretNotFoundError
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from strongroom.backend import Backend

NO_TAKEOVER: Final = "0" * 32
"""The takeover id of epoch 1, which nobody took over."""

SHEET_KEY: Final = Reserved("replication-sheet", Name("sheet"))
_FORMAT: Final = "replication-sheet/1"
_TAKEOVER: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A member's word on who writes its domain.

    Attributes:
        domain: the logical id that the source shares with its replicas.
        epoch: raised by each takeover; 1 before the first.
        takeover: the id of the takeover that began the epoch: two of one epoch are two takeovers at once.
        source: the alias of the store that takes the writes.
        fenced: this store was the source, and must not write again though nobody told its writers.
        line: epochs and takeover ids before this one, the oldest first, as the store has been through them.
        apart: epochs in which this store wrote on another line: what it has of them no other store has.
    """

    domain: str
    epoch: int
    takeover: str
    source: str
    fenced: bool = False
    line: tuple[tuple[int, str], ...] = ()
    apart: tuple[int, ...] = ()

    def require(self, alias: str) -> None:
        """Return if the store of this alias takes writes by this sheet; no alias, and only a fence stops.

        Raises:
            PermissionDeniedError: another store is the source.
        """
        if self.fenced and alias == self.source:
            raise PermissionDeniedError(
                f"two stores were made the source in epoch {self.epoch}, and neither takes writes",
                hint="decide for one of them: strongroom replica takeover",
            )
        if self.fenced or (alias and alias != self.source):
            raise PermissionDeniedError(
                f"{self.source} is the source since epoch {self.epoch}",
                hint=f"write to {self.source}, or take over: strongroom replica takeover",
            )

    @property
    def text(self) -> str:
        """As it is kept: one line of JSON."""
        return json.dumps({"strongroom": _FORMAT, **asdict(self)})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a sheet; IntegrityError if it is none of this version."""
        try:
            return cls._read(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        raise IntegrityError("the replication sheet is damaged, or of a later Strongroom")

    @classmethod
    def _read(cls, facts: Any) -> Self:
        if facts.pop("strongroom") != _FORMAT:
            raise ValueError
        facts["line"] = tuple((int(epoch), str(takeover)) for epoch, takeover in facts.get("line", ()))
        facts["apart"] = tuple(map(int, facts.get("apart", ())))
        sheet = cls(**facts)
        texts = all(isinstance(fact, str) for fact in (sheet.domain, sheet.source))
        if not texts or type(sheet.epoch) is not int or sheet.epoch < 1 or type(sheet.fenced) is not bool:
            raise TypeError
        if not _TAKEOVER.fullmatch(sheet.takeover):
            raise ValueError
        return sheet


def read_sheet(backend: Backend) -> tuple[Sheet | None, str | None]:
    """A member's sheet and its version, to be written over by; None and None where there is none.

    Raises:
        IntegrityError: it is damaged.
        SecretStoreError: as the backend says.
    """
    try:
        found = backend.get(SHEET_KEY, Stage.CURRENT)
    except SecretNotFoundError:
        return None, None
    return Sheet.parse(found.value.reveal_text()), found.version


def write_sheet(backend: Backend, sheet: Sheet, if_version: str | None) -> str:
    """Write a member's sheet over the version that was read; its new version.

    Raises:
        SecretConflictError: another wrote it first; read it again.
        UnavailableError: with ``performed=None`` if the answer was lost; read it again.
    """
    return backend.put(SHEET_KEY, SecretValue(sheet.text), if_version or ABSENT).id
