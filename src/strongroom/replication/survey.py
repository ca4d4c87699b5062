"""Survey: which names differ, by lists alone where both providers list the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from strongroom.errors import IntegrityError
from strongroom.names import Name

from .plan import Action, Step
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.backend import Backend


@final
class Survey:
    """What is equal by its records, and what has to be looked at.

    A listing that lags shows what was: then a name is looked at in vain, or next time.

    Attributes:
        same: the steps of names that are equal.
        unsure: all other names.
    """

    def __init__(self, source: Backend, replica: Backend):
        self._source, self._replica = source, replica
        self.same: dict[Name, Step] = {}
        self.unsure: list[Name] = []

    def of(self, names: Iterable[Name]) -> Survey:
        """Names that are to be looked at in any case."""
        self.unsure = sorted(set(names), key=str)
        return self

    def listed(self, prefix: str, wanted: Callable[[str], bool]) -> Survey:
        """All names of either side that are wanted."""
        here, there = _records(self._source, prefix, wanted), _records(self._replica, prefix, wanted)
        for name in sorted({**here, **there}, key=str):
            step = self._equal(name, here, there) if name in here and name in there else None
            if step:
                self.same[name] = step
            else:
                self.unsure.append(name)
        return self

    def _equal(
        self, name: Name, here: Mapping[Name, str | None], there: Mapping[Name, str | None]
    ) -> Step | None:
        text = here[name]
        if not text or there[name] != text:
            return None
        try:
            record = Record.parse(text)
        except IntegrityError:
            return None
        return Step(str(name), Action.SAME, record=record, held=record)


def _records(backend: Backend, prefix: str, wanted: Callable[[str], bool]) -> dict[Name, str | None]:
    """With the provider's list calls where it lists records, with one request a name where it does not."""
    infos = backend.list_info(prefix, detail=True)
    return {info.key: info.record for info in infos if isinstance(info.key, Name) and wanted(str(info.key))}
