"""A store over a real journal on a disk that can fail, and what the journal says afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from strongroom.audit.gaps import Gaps
from strongroom.audit.hook import JournalHook, Policy, Recording
from strongroom.audit.identity import Identity
from strongroom.audit.journal import Journal
from strongroom.audit.reading import Reader
from strongroom.audit.record import parse
from strongroom.audit.subjects import Subjects
from strongroom.backend import Backend
from strongroom.cachepolicy import CachePolicy
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.unit.audit_disk import FailingFiles

CACHE: Final = CachePolicy(fresh=60, stale=600)


class Trails:
    """A journal, its subjects, and stores that record in it.

    Attributes:
        path: the journal's folder.
        disk: what it is written through.
        clock: everybody's.
        journal: the writer.
        subjects: who the actors are.
        hooks: one for each store made here, in order.
    """

    def __init__(self, path: Path):
        self.path, self.disk, self.clock = path, FailingFiles(), FakeClock()
        self.journal = Journal.open(path, clock=self.clock, files=self.disk)
        self.subjects = Subjects(path)
        self.hooks: list[JournalHook] = []
        self._gaps = Gaps(self.journal.append, self.clock)

    def hook(
        self,
        *,
        strict: bool = False,
        policy: Mapping[str, str] | None = None,
        principal: Callable[[], str | None] = lambda: None,
    ) -> JournalHook:
        """A hook of the journal."""
        recording = Recording(self.journal, self.subjects.seal, self._gaps, self.clock)
        identity = Identity(principal, self.clock, self.path / "no-token")
        made = JournalHook(recording, identity, Policy("refuse", policy), strict=strict, alias="prod")
        self.hooks.append(made)
        return made

    def store(
        self,
        backend: Backend,
        *,
        cache: CachePolicy | None = CACHE,
        strict: bool = False,
        policy: Mapping[str, str] | None = None,
    ) -> SecretStore:
        """A store whose only hook is the journal's."""
        hook = self.hook(strict=strict, policy=policy, principal=backend.principal)
        return SecretStore(backend, hooks=[hook], cache=cache, alias="prod", clock=self.clock)

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What the journal's files hold, chain by chain."""
        self.journal.flush()
        every = [parse(line.data) for line in Reader(self.path).lines()]
        return [record for record in every if kind in (None, record["kind"])]

    def told(self) -> list[tuple[str, str, str | None]]:
        """Operation, name and outcome of each event, None for an intent."""
        return [(one["op"], one["name"], one.get("outcome")) for one in self.records("event")]

    def counted(self) -> dict[str, int]:
        """How often each name was read warm, by the records."""
        total: dict[str, int] = {}
        for record in self.records("reads"):
            for name, _version, count in record["reads"]:
                total[name] = total.get(name, 0) + count
        return total

    def actors(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """The principals of records, opened."""
        opened = [self.subjects.open(record["actor"]) for record in records]
        return [actor.principal if actor else "(shredded)" for actor in opened]
