"""How to reach a provider, and what it takes. Backend authors import it from ``strongroom.backend``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .clock import Clock
from .names import NameMode
from .value import SecretValue

if TYPE_CHECKING:
    from .lease import Coordinator


@dataclass(frozen=True)
class Settings:
    """How to reach a provider: what a URL must not say.

    Attributes:
        names: ``portable`` (default) or ``native``, never both: the two cannot be injective together.
        endpoint: overrides the provider's own host; plain HTTP on loopback only.
        ca: path of a PEM file with the certificate authorities to trust instead of the system's.
        timeout: seconds for one attempt.
        attempts: how often a read, or a write that carries an idempotency token, is tried.
        auth: credentials, each secret a SecretValue; empty means the SDK's own chain.
        options: the backend's own settings from strongroom.toml.
        clock: injected in tests.
        coordinator: guards conditional writes where the provider has none; its owner closes it.
    """

    names: NameMode = "portable"
    endpoint: str | None = None
    ca: str | None = None
    timeout: float = 5.0
    attempts: int = 3
    auth: Mapping[str, str | SecretValue] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    coordinator: Coordinator | None = None


@dataclass(frozen=True, slots=True)
class WriteBudget:
    """How many writes a provider takes, so that a replication never spends what applications need.

    Attributes:
        writes: so many.
        seconds: in so long.
        each: ``store``: all secrets of the store together; ``secret``: each by itself.
    """

    writes: int
    seconds: float
    each: Literal["store", "secret"] = "store"
