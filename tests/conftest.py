"""What every test gets: the canary guard, the summary of the run, and the real servers on demand."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.scale import NIGHTLY

# Before any test module imports it: a failing assertion of the suite shows what it compared.
pytest.register_assert_rewrite("strongroom.testing")

pytest_plugins = ["pytester", "tests.guard", "tests.servers.fixtures"]

# No deadline: the machine is shared, and times are the bench's business.
settings.register_profile("strongroom", deadline=None, max_examples=1000 if NIGHTLY else 50)
settings.load_profile("strongroom")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected lives until the end: the garbage collector need not search it, now or later.

    Twenty thousand items and their modules cost every full collection near a second: at each `gc.collect` of
    a test, at each one that comes by itself, and again in each forked child.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()
