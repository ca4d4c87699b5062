"""What every test gets: the canary guard, the summary of the run, and the real servers on demand."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.scale import NIGHTLY

# Before any test module imports it: a failing assertion of the suite shows what it compared.
pytest.register_assert_rewrite("strongroom.testing")

pytest_plugins = ["pytester", "tests.guard", "tests.servers.fixtures"]

# No deadline: the machine is shared, and times are the bench's business.
settings.register_profile("strongroom", deadline=None, max_examples=1000 if NIGHTLY else 50)
settings.load_profile("strongroom")
