"""The suite's modules are rewritten so that a failing assertion shows what it compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("strongroom.testing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a backend does not declare is not a skip: it is no case of that backend."""
    from strongroom.testing.conformance import deselect_undeclared

    deselect_undeclared(config, items)
