"""A folder of files, read-only, as Kubernetes mounts secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.backend import Backend, Capability
from strongroom.registry import open_backend
from strongroom.testing.conformance_base import Plant
from tests.canary import plaintext
from tests.conformance.support import Suite


class TestFile(Suite):
    """``file:///folder``."""

    undeclared = ~Capability.LIST

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return open_backend(f"file://{tmp_path}")

    @pytest.fixture
    def plant(self, tmp_path: Path) -> Plant:
        def plant(name: str, text: str) -> None:
            path = plaintext(tmp_path, "a folder of secrets in clear is what a file store reads") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        return plant
