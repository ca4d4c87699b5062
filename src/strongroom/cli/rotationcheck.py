"""What ``check`` learns of rotation: does the ledger answer, can the policies be, and does anything wait?"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import SecretStoreError

from .failure import one_line
from .output import day

if TYPE_CHECKING:
    from strongroom.rotation.planning import Outlook
    from strongroom.toml.file import Config


@dataclass(slots=True)
class RotationFinding:
    """What `check` learned of rotation.

    Attributes:
        ledger: its URL.
        secrets: how many are rotated.
        open: how many rotations are.
        waiting: secrets that are overdue or wait for a person, each with why.
        errors: what is wrong with a policy, with what to do.
        warnings: what is not well, and no reason to refuse it.
        problem: what keeps it from working at all; empty if nothing does.
    """

    ledger: str
    secrets: int = 0
    open: int = 0
    waiting: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem or self.errors or self.waiting)

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        return {**asdict(self), "needs_action": self.needs_action}

    def print(self) -> None:
        """For people."""
        state = self.problem or f"ok; secrets: {self.secrets}, open rotations: {self.open}"
        click.echo(one_line(f"rotation, ledger {self.ledger}: {state}"))
        for line in (*self.waiting, *self.errors):
            click.echo(one_line(f"rotation: {line}"))
        for line in self.warnings:
            click.echo(one_line(f"rotation: warning: {line}"))


def unexamined(config: Config, problem: str = "") -> RotationFinding:
    """What the configuration alone tells."""
    return RotationFinding(config.ledger.url if config.ledger else "none", problem=problem)


def examine(config: Config) -> RotationFinding:
    """What is known of rotation; no target is asked, nothing is changed."""
    found = unexamined(config)
    try:
        _look(found, config)
    except SecretStoreError as error:
        found.problem = one_line(str(error))
    return found


def _look(found: RotationFinding, config: Config) -> None:
    from strongroom.rotation.planning import outlook
    from strongroom.rotation.validation import problems
    from strongroom.rotationchecks import readers
    from strongroom.rotations import rotations

    with rotations(config) as opened:
        found.secrets = len(opened.policies)
        for one in outlook(opened.policies, opened.ledger):
            found.open += one.open is not None
            if why := _why(one):
                found.waiting.append(f"{one.secret}: {why}")
        for problem in problems(opened.policies, partial(readers, config)):
            lines = found.errors if problem.severity == "error" else found.warnings
            lines.append(f"{problem.secret}: {problem.text} ({problem.hint})")


def _why(one: Outlook) -> str:
    if one.open is not None and one.open.state.value in ("orphaned", "waiting"):
        return f"rotation {one.open.id} is {one.open.state.value}, and needs a person"
    return f"overdue since {day(one.since)}" if one.since else ""
