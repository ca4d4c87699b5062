"""The suite that ``plugin.run`` hands to pytest."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend
from strongroom.testing.conformance import BackendConformance


class TestStore(BackendConformance):
    """The store that ``--store-url`` names."""

    @pytest.fixture
    def backend(self, store_backend: Backend) -> Backend:
        return store_backend
