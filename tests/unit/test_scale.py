"""What is left out by day is said by the run, and by night nothing is left out."""

from __future__ import annotations

import pytest

from tests import scale


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The notes that were left; the run's own counts stay as they are."""
    notes: list[dict[str, object]] = []
    monkeypatch.setattr(scale, "note", lambda kind, **facts: notes.append(facts))
    return notes


@pytest.fixture(params=[False, True], ids=["day", "night"])
def night(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(scale, "NIGHTLY", request.param)
    return bool(request.param)


def test_a_count_is_a_share_by_day_and_never_none(night: bool, told: list[dict[str, object]]) -> None:
    """One in ten if nothing else is said."""
    assert scale.scaled(500, "races") == (500 if night else 50)
    assert scale.scaled(500, "races", share=25) == (500 if night else 20)
    assert scale.scaled(3, "races") == (3 if night else 1)
    assert told[0] == {"name": "races", "nightly": "500", "run": "500" if night else "50"}


def test_cases_that_are_left_out_are_counted(night: bool, told: list[dict[str, object]]) -> None:
    """Their order stays, as xdist's workers need it."""
    assert scale.by_day("ways", ["c", "a", "b"], "bc".__contains__) == (
        ["c", "a", "b"] if night else ["c", "b"]
    )
    assert told == [{"name": "ways", "nightly": "3", "run": "3" if night else "2"}]


def test_places_that_are_skipped_are_told(night: bool, told: list[dict[str, object]]) -> None:
    """How many there are is known only at the end."""
    assert scale.stride(3, "kills") == (1 if night else 3)
    assert told == [{"name": "kills", "nightly": "each", "run": "each" if night else "one in 3"}]
