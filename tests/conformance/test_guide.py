"""The guide for backend authors, and the guard that keeps cases from being lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom import testing
from strongroom.memory import MemoryBackend
from strongroom.testing.conformance import AREAS, BackendConformance, cases, lost_cases
from strongroom.testing.guide import TARGET, guide

ROOT = Path(__file__).parents[2]


def test_the_guide_is_what_the_suite_says() -> None:
    """`python -m strongroom.testing.guide` was run after the last change."""
    assert (ROOT / TARGET).read_text() == guide()


def test_every_case_states_its_contract() -> None:
    """Each case and each area has a docstring, and no two areas have a case of the same name."""
    assert [name for name, case in cases().items() if not case.__doc__] == []
    assert len(cases()) == sum(name.startswith("test_") for area in AREAS for name in vars(area))
    assert set(AREAS) <= set(BackendConformance.__mro__)


def test_a_lost_case_is_found() -> None:
    """Overridden, removed, skipped: all are found; an xfail with a reason is not."""

    class Honest(BackendConformance):
        @pytest.mark.xfail(reason="the provider keeps 3 versions")
        def test_equal_values_are_two_versions(self) -> None:  # type: ignore[override]
            pass

    class Overriding(BackendConformance):
        def test_equal_values_are_two_versions(self) -> None:  # type: ignore[override]
            pass

    class Removing(BackendConformance):
        test_equal_values_are_two_versions = None  # type: ignore[assignment]

    class Excusing(BackendConformance):
        @pytest.mark.xfail
        def test_equal_values_are_two_versions(self) -> None:  # type: ignore[override]
            pass

    @pytest.mark.skip(reason="slow")
    class Skipping(BackendConformance):
        pass

    assert lost_cases(Honest) == []
    for suite in (Overriding, Removing, Excusing):
        assert lost_cases(suite) == ["test_equal_values_are_two_versions"]
    assert len(lost_cases(Skipping)) == len(cases())


def test_the_guard_itself_cannot_be_overridden() -> None:
    """Who would lose a case would begin there."""
    with pytest.raises(TypeError):
        type("Cheating", (BackendConformance,), {"test_no_case_is_lost": lambda self: None})


def test_a_wrong_backend_fails(pytester: pytest.Pytester) -> None:
    """The suite finds a backend whose compare-and-set does not compare."""
    pytester.makepyfile(
        """
        import pytest
        from strongroom.memory import MemoryBackend
        from strongroom.testing import BackendConformance

        class Careless(MemoryBackend):
            def put(self, key, value, if_version, record=None):
                return super().put(key, value, None, record)

        class TestCareless(BackendConformance):
            @pytest.fixture
            def backend(self):
                return Careless()
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-k", "ConditionalPut or put_over")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED *test_a_put_over_an_old_version_is_a_conflict*"])


def test_the_kit_hands_out_its_public_names() -> None:
    """`from strongroom.testing import …` works for each, and imports no pytest before it is needed."""
    assert all(hasattr(testing, name) for name in testing.__all__)
    assert not hasattr(testing, "no_such_name")
    check = "import sys, strongroom.testing as t; t.FakeClock; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize(("url", "status"), [("memory://suite", 0), ("no-such-scheme://x", 1)])
def test_the_suite_runs_on_a_url(url: str, status: int) -> None:
    """`strongroom backend test URL` runs every case on any store."""
    code = f"import sys; from strongroom.testing.plugin import run; sys.exit(run({url!r}))"
    env = {**os.environ, "PYTEST_ADDOPTS": ""}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == status, run.stdout[-2000:]
    assert MemoryBackend().origin in run.stdout or "passed" in run.stdout or status
