"""What is to be rotated, by whom, how often, and how patiently."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from strongroom.store import SecretStore

    from .rotator import Rotator
    from .schedule import Schedule

ATTEMPTS: Final = 12
"""How often a step is tried before automation stops and a person is asked: with the waits between, 2 h."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How one secret is rotated.

    Attributes:
        name: the secret.
        store: where it is; the engine reads and writes it as an application would, through audit and cache.
        rotator: reaches the target.
        schedule: when it is due; None rotates on request alone.
        grace: how long the previous value goes on working after the new one is current. At least the bound of
            every reader's cache, plus replica lag, plus clock skew; 0 for a single slot.
        deadline: how long a person may take, of a human rotation.
        attempts: after so many failures of one step the rotation is ORPHANED.
        replaces: how many values the target may reject by its policy until that is a failure for good.
        puts_count: a put by hand counts as a rotation, as on AWS: the schedule goes on from it.
        label: what the configuration calls this rotation.
        options: how its rotator was configured, if only by a digest: see `fingerprint`.
    """

    name: str
    store: SecretStore
    rotator: Rotator
    schedule: Schedule | None = None
    grace: timedelta = timedelta(hours=2)
    deadline: timedelta = timedelta(days=7)
    attempts: int = ATTEMPTS
    replaces: int = 3
    puts_count: bool = False
    label: str = ""
    options: str = ""

    @property
    def fingerprint(self) -> str:
        """Differs once the policy does: what failed under another one is tried again without waiting."""
        kind = type(self.rotator)
        facts = (kind.__module__, kind.__qualname__, self.options, self.grace, self.attempts, self.replaces)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def secret_of(policy: Policy) -> str:
    """What the ledger calls the secret of a policy: ``STORE:NAME``."""
    return f"{policy.store.alias or policy.store.origin}:{policy.name}"
