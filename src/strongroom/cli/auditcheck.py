"""What ``check`` learns of the audit: does its trail take records, is it signed, do its sinks keep up?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import SecretStoreError

from .failure import one_line

if TYPE_CHECKING:
    from strongroom.toml.audit_entries import AuditEntry
    from strongroom.toml.file import Config

NONE = "audit: no journal is configured; only the program's own hooks run"


@dataclass(slots=True)
class SinkFinding:
    """One sink: its name, the bytes of the journal that it does not have yet, and when it last took some."""

    sink: str
    behind: int = 0
    skipped: int = 0
    last: str | None = None


@dataclass(slots=True)
class AnchorFinding:
    """One anchor: its name, how many records it covers, how many it lacks, what is wrong."""

    name: str
    size: int = 0
    behind: int = 0
    error: str | None = None


@dataclass(slots=True)
class AuditFinding:
    """What `check` learned of the audit.

    Attributes:
        trail: the journal's folder, or the sink that is the gate.
        signed: how many records the newest checkpoint covers; None if there is none.
        signed_at: when that was made.
        exported: whether checkpoints go anywhere out of this machine's reach.
        anchors: how far each has come.
        sinks: how far each has come.
        problem: what keeps it from recording, with what to do; empty if nothing does.
    """

    trail: str
    signed: int | None = None
    signed_at: str | None = None
    exported: bool = False
    anchors: list[AnchorFinding] = field(default_factory=list)
    sinks: list[SinkFinding] = field(default_factory=list)
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem) or any(anchor.error for anchor in self.anchors)

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)

    def print(self) -> None:
        """For people."""
        click.echo(one_line(f"audit {self.trail}: {self.problem or self._state()}"))
        for anchor in self.anchors:
            error = f": {anchor.error}" if anchor.error else ""
            covers = f"covers {anchor.size} records, {anchor.behind} less than signed"
            click.echo(one_line(f"audit anchor {anchor.name}: {covers}{error}"))
        for sink in self.sinks:
            skipped = f", {sink.skipped} records were given up" if sink.skipped else ""
            last = f"last took records {sink.last}" if sink.last else "took nothing yet"
            click.echo(one_line(f"audit sink {sink.sink}: {last}, {sink.behind} bytes behind{skipped}"))

    def _state(self) -> str:
        if self.signed is None:
            return "ok; no checkpoint is signed yet, so nothing in it can be proved"
        exported = "" if self.exported else "; UNANCHORED: checkpoints stay on this machine"
        return f"ok; {self.signed} records are signed, last {self.signed_at}{exported}"


def unexamined(entry: AuditEntry, problem: str = "") -> AuditFinding:
    """What the configuration alone tells."""
    exported = bool(entry.checkpoint and entry.checkpoint.exports)
    return AuditFinding(entry.path or f"sink {entry.gate}", exported=exported, problem=problem)


def examine(config: Config, entry: AuditEntry) -> AuditFinding:
    """What is known of the audit after a record was written to it, which says that somebody checked."""
    from strongroom.config import audit

    found = unexamined(entry)
    try:
        lease = audit(config, entry)
        try:
            lease.record("audit.check", "", lambda: None)
            if lease.failed:  # where that is allowed, it goes on unrecorded
                raise lease.failed
            if entry.path:
                _look(found, entry, Path(entry.path))
        finally:
            lease.close()
    except SecretStoreError as error:
        found.problem = one_line(str(error))
    return found


def _look(found: AuditFinding, entry: AuditEntry, journal: Path) -> None:
    from strongroom.audit.checkpoint import trouble
    from strongroom.audit.exporting import exporters
    from strongroom.audit.head import newest
    from strongroom.audit.shipping import progress
    from strongroom.auditing import exports_of
    from strongroom.clock import Clock

    if entry.checkpoint:
        found.problem = one_line(trouble(journal) or "")
        exports = exports_of(entry.checkpoint, Clock())
        found.anchors = [
            AnchorFinding(**exporter.status()) for exporter in exporters(journal, exports, Clock())
        ]

    if last := newest(journal):
        found.signed, found.signed_at = last.size, last.time
    found.sinks = [
        SinkFinding(name, state.behind, state.skipped, state.last)
        for name, state in progress(journal).items()
    ]
