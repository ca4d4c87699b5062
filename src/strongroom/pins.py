"""Read your own writes where the provider's labels lag behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .backend import Backend, Clock, Secret, SecretVersion, Stage
from .errors import SecretNotFoundError, UnavailableError

if TYPE_CHECKING:
    from datetime import datetime

    from .names import Name

_LABEL_PIN_SECONDS = 10.0


class Pins:
    """Remembers what this process wrote where the provider's labels lag behind a write.

    Where the newest version is always current, the pin is a floor by creation time; elsewhere it holds
    at most 10 s. A pinned version that is not found drops its pin.
    """

    def __init__(self, backend: Backend, clock: Clock):
        self._backend = backend
        self._clock = clock
        self._pins: dict[Name, tuple[SecretVersion, float]] = {}

    def set(self, name: Name, version: SecretVersion) -> None:
        """Hold on to a version this process just wrote."""
        held = self._pins.get(name)
        if self._backend.eventual and not (held and _older(version.created_at, held[0].created_at)):
            self._pins[name] = (version, self._clock.monotonic() + _LABEL_PIN_SECONDS)

    def holds(self, name: Name) -> bool:
        """Whether something is pinned."""
        return name in self._pins

    def drop(self, name: Name) -> None:
        """Let go: the secret was deleted, purged or revoked."""
        self._pins.pop(name, None)

    def read(self, name: Name) -> Secret:
        """The current version, but never one older than what this process wrote."""
        pin = self._pins.get(name)
        if pin is None:
            return self._backend.get(name, Stage.CURRENT)
        version, until = pin
        if self._backend.newest_is_current:
            return self._not_before(name, version)
        return self._pinned(name, version) if self._clock.monotonic() < until else self._unpinned(name)

    def _not_before(self, name: Name, version: SecretVersion) -> Secret:
        secret = self._backend.get(name, Stage.CURRENT)
        # Another failover member's clock and labels say nothing of what was written to the first.
        if secret.degraded or not _older(secret.created_at, version.created_at):
            return secret
        return self._pinned(name, version)

    def _pinned(self, name: Name, version: SecretVersion) -> Secret:
        error: UnavailableError
        try:
            return replace(self._backend.get(name, version.id), stage=Stage.CURRENT)
        except SecretNotFoundError:
            return self._unpinned(name)
        except UnavailableError as exc:
            error = exc
        other = self._backend.get(name, Stage.CURRENT)
        if other.degraded:
            return other
        raise error

    def _unpinned(self, name: Name) -> Secret:
        self.drop(name)
        return self._backend.get(name, Stage.CURRENT)

    def clear(self) -> None:
        """Forget every pin."""
        self._pins.clear()


def _older(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other
