"""The suite's modules are rewritten so that a failing assertion shows what it compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("strongroom.testing")
