"""What ``check`` learns of the revocation list: is it believed, and for how long still?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from strongroom.errors import SecretStoreError

from .failure import one_line
from .output import day

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.toml.file import Config


@dataclass(slots=True)
class RevocationsFinding:
    """What `check` learned of the list.

    Attributes:
        domain: whose list it is.
        sequence: of the list; 0 if none was ever signed.
        revoked: how many versions it names.
        expires: until when it is believed.
        problem: what keeps it from being believed, with what to do; empty if nothing does.
    """

    domain: str
    sequence: int = 0
    revoked: int = 0
    expires: datetime | None = None
    problem: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.problem)

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        return {**asdict(self), "needs_action": self.needs_action}

    def print(self) -> None:
        """For people."""
        known = f"{self.revoked} versions, believed until {day(self.expires)}" if self.expires else "none yet"
        click.echo(one_line(f"revocations of {self.domain}: {self.problem or f'ok; {known}'}"))


def unexamined(config: Config, problem: str = "") -> RevocationsFinding:
    """What the configuration alone tells."""
    return RevocationsFinding(config.revocations.domain if config.revocations else "", problem=problem)


def examine(config: Config) -> RevocationsFinding:
    """What is known of the list; nothing is signed."""
    from strongroom.revoking import revocations

    found = unexamined(config)
    try:
        with revocations(config) as opened:
            listed = opened.read() if opened else None
    except SecretStoreError as error:
        found.problem = one_line(str(error))
        return found
    if listed:
        found.sequence, found.revoked = listed.sequence, len(listed.revocations)
        found.expires = listed.expires
    return found
