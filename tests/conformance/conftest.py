"""What a backend does not declare is no case of its suite, and second ways run whole by night."""

from __future__ import annotations

from zlib import crc32

import pytest

from tests.scale import NIGHTLY
from tests.session import note


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """It is not a skip either: a skip names what is missing here."""
    from strongroom.testing.conformance import deselect_undeclared

    deselect_undeclared(config, items)
    _some_of_second_ways(config, items)


def _some_of_second_ways(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a class with ``second_way`` every twentieth case runs by day, always the same ones."""
    second = [item for item in items if getattr(getattr(item, "cls", None), "second_way", False)]
    left = {item for item in second if not NIGHTLY and crc32(item.name.encode()) % 20}
    if left:
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]
    if second:
        run = str(len(second) - len(left))
        note("counts", name="conformance by second ways", nightly=str(len(second)), run=run)
