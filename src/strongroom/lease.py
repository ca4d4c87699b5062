"""What a coordinator gives: the right to write, where a provider has no compare-and-set of its own.

A lease alone is not enough: its holder may be suspended past its end, and wake. So each lease carries a
**fence**, a number that only grows, and what is recorded of a resource is written only under the newest one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one resource, until it runs out.

    Attributes:
        resource: the provider's canonical name, as ``Backend.locate`` gives it.
        fence: higher than that of every lease of this resource before.
        expires: seconds since the epoch, by the coordinator's clock.
        holder: tells this lease from any other.
    """

    resource: str
    fence: int
    expires: float
    holder: str


class Coordinator(ABC):
    """Gives leases, and keeps one recorded text per resource under the fence. Safe across threads.

    Every method raises UnavailableError while the coordinator does not answer: then nothing may be written.
    """

    @abstractmethod
    def acquire(self, resource: str, seconds: float) -> Lease | None:
        """Take the lease of a resource for so long, or None while another holds it."""

    @abstractmethod
    def seconds_left(self, lease: Lease) -> float:
        """How long a lease still lasts, by the coordinator's clock; negative once it ran out."""

    @abstractmethod
    def release(self, lease: Lease) -> None:
        """Give a lease back before it runs out; one that ran out or was overtaken is not an error."""

    @abstractmethod
    def recorded(self, resource: str) -> str | None:
        """What was last recorded of a resource."""

    @abstractmethod
    def record(self, lease: Lease, text: str) -> None:
        """Record a text, unless a higher fence was given meanwhile.

        Raises:
            SecretConflictError: the lease was overtaken; its holder must stop.
        """

    def after_fork(self) -> None:
        """In a forked child: drop connections without closing them, the parent still uses them."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""
