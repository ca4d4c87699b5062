"""Operations on a secret and its companion, which live and die together: each repeat finishes the pair."""

from __future__ import annotations

import contextlib

from .backend import Backend, Capability
from .companion import half_done
from .errors import SecretNotFoundError
from .names import Companion, Name
from .stages import supports_pending


def delete(backend: Backend, name: Name) -> None:
    """Bin the secret, then its companion; a repeat finishes the pair."""
    _both(backend.delete, *_pair(backend, name))


def restore(backend: Backend, name: Name) -> None:
    """Bring the secret back, then its companion."""
    _both(backend.restore, *_pair(backend, name))


def purge(backend: Backend, name: Name) -> None:
    """Purge the companion first: a purged secret must leave no pending value behind."""
    _both(backend.purge, *reversed(_pair(backend, name)))


def _pair(backend: Backend, name: Name) -> tuple[Name | Companion, ...]:
    native = Capability.NATIVE_PENDING in backend.capabilities
    return (name,) if native or not supports_pending(backend.capabilities) else (name, Companion(name))


def _both(act: object, *keys: Name | Companion) -> None:
    """Not found only if neither existed: a repeat after a crash finds one of them gone already."""
    missing: SecretNotFoundError | None = None
    acted = False
    for key in keys:
        try:
            with half_done() if acted else contextlib.nullcontext():
                act(key)  # type: ignore[operator]
            acted = True
        except SecretNotFoundError as exc:
            missing = exc if isinstance(key, Name) else missing or exc
    if missing and not acted:
        raise missing
