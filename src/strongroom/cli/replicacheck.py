"""What ``check`` learns of a replica: how far is it behind, and does it know what was revoked?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import SecretStoreError

from .failure import one_line
from .output import day

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.toml.file import Config
    from strongroom.toml.replicas import ReplicaEntry


@dataclass(slots=True)
class ReplicaFinding:
    """What `check` learned of one replica.

    Attributes:
        replica: its alias.
        source: its source's.
        state: in a word; empty where nothing is known.
        in_sync: of how many names it has what the source has.
        names: how many names it should have.
        behind: how many writes it is known to miss.
        waiting: what a person has to decide, line by line.
        expires: until when its own copy of the list of revocations is believed; None where it has none.
        list_problem: why its readers are refused what is marked revocable.
        problem: what keeps it from being compared, with what to do; empty if nothing does.
        well: nothing of its secrets waits for anybody.
    """

    replica: str
    source: str
    state: str = ""
    in_sync: int = 0
    names: int = 0
    behind: int = 0
    waiting: list[str] = field(default_factory=list)
    expires: datetime | None = None
    list_problem: str = ""
    problem: str = ""
    well: bool = False

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem or self.list_problem) or not self.well

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        return {
            "replica": self.replica,
            "source": self.source,
            "state": self.state or None,
            "in_sync": self.in_sync,
            "names": self.names,
            "behind": self.behind,
            "waiting": self.waiting,
            "revocations_believed_until": self.expires,
            "problem": self.problem or self.list_problem,
            "needs_action": self.needs_action,
        }

    def print(self) -> None:
        """For people."""
        late = f", {self.behind} writes behind" if self.behind else ""
        said = self.problem or f"{self.state}; {self.in_sync} of {self.names} names as there{late}"
        click.echo(one_line(f"replica {self.replica} of {self.source}: {said}"))
        for line in self.waiting:
            click.echo(one_line(f"replica {line}"))
        if self.list_problem:
            click.echo(one_line(f"replica {self.replica}: {self.list_problem}"))
        elif self.expires:
            until = f"its copy of the list of revocations is believed until {day(self.expires)}"
            click.echo(one_line(f"replica {self.replica}: {until}"))


def unexamined(entry: ReplicaEntry, problem: str = "") -> ReplicaFinding:
    """What the configuration alone tells."""
    return ReplicaFinding(entry.alias, entry.source, problem=problem)


def examine(config: Config, entry: ReplicaEntry) -> ReplicaFinding:
    """How one replica stands; nothing is written."""
    found = unexamined(entry)
    alone = replace(config, replicas={entry.alias: entry})  # another one that is down must not hide this one
    try:
        _compare(found, alone)
    except SecretStoreError as error:
        found.problem = one_line(str(error))
    try:
        _look_for_list(found, alone, entry)
    except SecretStoreError as error:
        found.list_problem = one_line(f"its copy of the list of revocations: {error}")
    return found


def _compare(found: ReplicaFinding, config: Config) -> None:
    from strongroom.replicas import replicas

    from .replica_showing import Judged, findings

    with replicas(config) as opened:
        one = opened[found.replica]
        judged = Judged(one.status(), one.max_lag)
    found.state, found.well = judged.state, judged.well
    found.in_sync, found.names = judged.status.in_sync, judged.status.names
    found.behind, found.waiting = judged.status.lag_versions, list(findings(judged.status))


def _look_for_list(found: ReplicaFinding, config: Config, entry: ReplicaEntry) -> None:
    from strongroom.clock import Clock
    from strongroom.replicas import carried

    listed = carried(config, entry.alias)
    found.expires = listed.expires if listed else None
    if not entry.revocable:
        return
    why = "what is marked revocable is refused there: run strongroom replica sync"
    if listed is None:
        found.list_problem = f"it has no copy of the list of revocations; {why}"
    elif listed.expires <= Clock().now():
        found.list_problem = f"its copy of the list of revocations expired at {day(listed.expires)}; {why}"
