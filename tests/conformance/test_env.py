"""The process's environment, read-only."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Capability
from strongroom.registry import open_backend
from strongroom.testing.conformance_base import Plant
from tests.conformance.support import Suite


class TestEnv(Suite):
    """``env://PREFIX``."""

    undeclared = ~Capability.LIST

    @pytest.fixture
    def backend(self) -> Backend:
        return open_backend("env://STRONGROOM_CONFORMANCE")

    @pytest.fixture
    def plant(self, monkeypatch: pytest.MonkeyPatch) -> Plant:
        def plant(name: str, text: str) -> None:
            words = {"/": "__", ".": "_DOT_", "-": "_DASH_"}
            variable = "".join(words.get(char, char.upper()) for char in name)
            monkeypatch.setenv(f"STRONGROOM_CONFORMANCE__{variable}", text)

        return plant
