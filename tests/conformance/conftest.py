"""What a backend does not declare is no case of its suite."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """It is not a skip either: a skip names what is missing here."""
    from strongroom.testing.conformance import deselect_undeclared

    deselect_undeclared(config, items)
