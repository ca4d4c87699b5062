"""What a run of the fleet is given: how many there are, how they are set, and what happens to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from strongroom.cache import CachePolicy


@dataclass(frozen=True)
class Rotation:
    """Another version becomes current.

    Attributes:
        at: when, in seconds from the start.
        secret: which, by its number.
    """

    at: float
    secret: int


@dataclass(frozen=True)
class Push:
    """Each instance is sent a notice of each change.

    Attributes:
        delay: seconds until half of the notices have arrived; how long one takes is spread exponentially.
        lost: the share that never arrives.
    """

    delay: float = 2.0
    lost: float = 0.0


@dataclass(frozen=True)
class Trouble:
    """The provider's first region is down, or lets little through.

    Attributes:
        since: from when on, in seconds from the start.
        until: when it is over.
        share: of its limits that is left; 0: it does not answer at all.
    """

    since: float
    until: float
    share: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A fleet and what happens to it.

    Attributes:
        seconds: how long it is watched.
        instances: processes of the application.
        secrets: that each of them reads, the same ones.
        sample: how many of the processes are simulated; each stands for as many as there are for each.
        reads: reads of each secret in each process, a second.
        provider: by its URL's scheme.
        policy: each store's cache.
        start: ``warm``: it has been running; ``batches`` or ``singly``: all begin, and read what they need.
        patient: a start in which a secret is missing goes on with the others, and asks again for what it
            lacks; otherwise the process ends, and its orchestrator starts it anew with nothing.
        within: seconds within which all begin.
        rotations: changes.
        push: how instances hear of them; None: by polling alone.
        watch: whether each instance watches all secrets (``on_change``).
        trouble: of the first region.
        regions: 1, or 2 for a failover to a second one with limits of its own.
        records: whether the second region is a replica of Strongroom's, whose records say how new it is.
        limits: the share of the provider's limits that this fleet has.
        steady: whether it goes on like this, so that a month of it can be priced.
        breaker: whether a store of one region is a failover too, which leaves it alone where it fails.
    """

    seconds: float
    instances: int = 100_000
    secrets: int = 200
    sample: int = 50
    reads: float = 1.0
    provider: str = "aws-sm"
    policy: CachePolicy = field(default_factory=CachePolicy)
    start: str = "warm"
    patient: bool = True
    within: float = 0.0
    rotations: Sequence[Rotation] = ()
    push: Push | None = None
    watch: bool = False
    trouble: Trouble | None = None
    regions: int = 1
    records: bool = True
    limits: float = 1.0
    steady: bool = False
    breaker: bool = False

    @property
    def weight(self) -> float:
        """How many instances each simulated one stands for."""
        return self.instances / self.sample
