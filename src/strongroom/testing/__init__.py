"""Test kit for backends and applications; names are loaded on first use, since some of them need pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import FakeClock
    from .conformance import BackendConformance
    from .conformance_async import AsyncConformance
    from .conformance_keys import KeyWrapperConformance, SignerConformance
    from .faults import FaultyBackend
    from .overriding import override

_HOMES = {
    "AsyncConformance": "conformance_async",
    "BackendConformance": "conformance",
    "FakeClock": "clock",
    "FaultyBackend": "faults",
    "KeyWrapperConformance": "conformance_keys",
    "SignerConformance": "conformance_keys",
    "override": "overriding",
}

__all__ = [
    "AsyncConformance",
    "BackendConformance",
    "FakeClock",
    "FaultyBackend",
    "KeyWrapperConformance",
    "SignerConformance",
    "override",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'strongroom.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"strongroom.testing.{_HOMES[name]}"), name)
