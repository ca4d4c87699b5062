"""The conformance suite: a backend is right when it passes. Public, for everybody's backends.

::

    import pytest
    from strongroom.testing import BackendConformance

    class TestConsul(BackendConformance):
        @pytest.fixture
        def backend(self):
            with consul() as url:
                yield registry.open_backend(url)

That is all. The cases run through ``SecretStore`` without its cache; a case is skipped only if the
backend does not declare what it is about. A case that a provider cannot pass is overridden with
``@pytest.mark.xfail(reason=…)``; any other way to lose a case fails the suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from strongroom.backend import Backend, Capability

from .conformance_base import Harness, lacks
from .conformance_errors import Audit, Errors, Gate
from .conformance_listing import Batch, Listing, Tags, Versions
from .conformance_pending import PendingValues
from .conformance_reading import Basics, Names, Sizes
from .conformance_records import Records
from .conformance_safety import Concurrency, Lifecycle, Redaction
from .conformance_writing import ConditionalPut, Deletion, Rollback

AREAS: tuple[type[Harness], ...] = (
    Errors, Gate, Names, Basics, Sizes, Versions, ConditionalPut, Rollback, PendingValues, Deletion, Listing,
    Batch, Tags, Records, Redaction, Audit, Concurrency, Lifecycle,
)  # fmt: skip
"""Every area, in the order in which the guide tells them."""


class BackendConformance(
    Errors, Gate, Names, Basics, Sizes, Versions, ConditionalPut, Rollback, PendingValues, Deletion, Listing,
    Batch, Tags, Records, Redaction, Audit, Concurrency, Lifecycle,
):  # fmt: skip
    """All areas. Subclass it as ``Test…`` and give the ``backend`` fixture."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "test_no_case_is_lost" in vars(cls):
            raise TypeError("test_no_case_is_lost guards the suite and cannot be overridden")

    def test_no_case_is_lost(self, backend: Backend) -> None:
        """A standard case may be overridden only as xfail with a reason, and never skipped or removed."""
        assert lost_cases(type(self)) == []
        assert not self.undeclared & backend.capabilities, "what is declared is tested"


def deselect_undeclared(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Do not collect the cases of what a test class says its backend does not declare."""
    dropped = {item for item in items if lacks(item, ~getattr(_suite(item), "undeclared", Capability(0)))}
    if dropped:
        config.hook.pytest_deselected(items=list(dropped))
        items[:] = [item for item in items if item not in dropped]


def _suite(item: pytest.Item) -> type | None:
    return getattr(item, "cls", None)


def cases(areas: Sequence[type] = AREAS) -> dict[str, Any]:
    """Every standard case by name."""
    return {name: test for area in areas for name, test in vars(area).items() if name.startswith("test_")}


def lost_cases(suite: type, areas: Sequence[type] = AREAS) -> list[str]:
    """The standard cases that ``suite`` overrides, removes or skips without an xfail that says why."""
    skipped = _skips(getattr(suite, "pytestmark", []))
    standard = cases(areas).items()
    return [name for name, test in standard if skipped or _lost(getattr(suite, name, None), test)]


def _lost(found: Any, standard: Any) -> bool:
    marks = getattr(found, "pytestmark", [])
    excused = any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
    return (found is not standard and not excused) or _skips(marks)


def _skips(marks: Any) -> bool:
    return any(mark.name in ("skip", "skipif") for mark in (marks if isinstance(marks, list) else [marks]))
