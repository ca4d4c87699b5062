"""The embedded store: bare, and encrypted under its own key as `strongroom.open` gives it out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.backend import Backend
from tests.canary import plaintext
from tests.conformance.support import Suite
from tests.unit.local_support import encrypted, local


class TestLocal(Suite):
    """Bare: it keeps whatever it is given."""

    many = 300

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        backend = local(plaintext(tmp_path, "the bare backend, which stores what it is given"))
        yield backend
        backend.close()


class TestLocalEncrypted(Suite):
    """Under its own key."""

    many = 300

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        backend = local(tmp_path)
        yield encrypted(backend)
        backend.close()
