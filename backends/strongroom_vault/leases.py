"""One name's lease, and what is known of it: the state of `leased.Leases`."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.backend import Secret
    from strongroom.errors import SecretStoreError
    from strongroom.names import Name
    from strongroom.value import SecretValue


@dataclass(frozen=True, slots=True)
class Issued:
    """What an engine made.

    Attributes:
        version: the last part of the lease's id, or a certificate's serial.
        seconds: how long it lives, from now.
        lease_id: by which Vault renews and revokes it; empty for what does not end with the login.
    """

    value: SecretValue
    version: str
    seconds: float
    lease_id: str = field(default="", repr=False)
    renewable: bool = False
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """What is served, and on the monotonic clock when to renew it and when it ends."""

    issued: Issued
    secret: Secret
    token: SecretValue  # the login it was made with, and ends with
    renew_at: float
    ends_at: float


class Slot:
    """One name's lease.

    Attributes:
        lock: held by who makes or renews the lease; reentrant, for a signal's handler may read meanwhile.
        pause: until then nobody asks Vault again.
        tries: how often Vault was asked; who waited for the lock sees whether another asked meanwhile.
        failure: what came of the last try, if it was an error.
        reissued_at: when a refused lease that was alive was last replaced.
        former: replaced leases and when to revoke them.
    """

    def __init__(self, name: Name):
        self.name = name
        self.lock = threading.RLock()
        self.lease: Lease | None = None
        self.pause = self.reissued_at = -math.inf
        self.tries = 0
        self.failure: SecretStoreError | None = None
        self.former: list[tuple[Lease, float]] = []

    def held(self) -> list[Lease]:
        """All that was made and not yet revoked; the one in use first."""
        former = [lease for lease, _ in tuple(self.former)]
        return former if self.lease is None else [self.lease, *former]
