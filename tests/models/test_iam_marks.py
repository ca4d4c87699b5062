"""Marks on an IAM user tell whose a key is; each rule left out is seen to matter."""

from __future__ import annotations

import pytest

from tests.models import iam_marks as m
from tests.models.checker import check
from tests.models.spaces import explored, nightly

HOLDS = {
    "workers that pause and die": (m.Marks, nightly(3, 2)),
    "workers that are overtaken between asking and doing": (m.Unasked, nightly(3, 2)),
}
BROKEN = {
    "one tag for all attempts": (m.OneMark, 2, m.RESUMES),
    "no marks": (m.NoMarks, 2, m.RESUMES),
    "every epoch is reclaimed": (m.EveryEpoch, 2, m.KEPT),
    "the latest mark counts": (m.LatestMark, 3, m.KEPT),
    "marks are read before the keys": (m.MarksFirst, 3, m.KEPT),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", HOLDS)
def test_marks_hold(case: str) -> None:
    """Whoever pauses wherever, the held value's key stays, and one more worker comes to the end."""
    kind, workers = HOLDS[case]
    report = explored(check(kind(case, workers)))
    assert report.violation is None, report


@pytest.mark.parametrize("case", BROKEN)
def test_the_checker_catches_marks_with_a_rule_left_out(case: str) -> None:
    """The obvious form breaks exactly the rule that the right form was made for."""
    kind, workers, rule = BROKEN[case]
    model = kind(case, workers)
    model.invariants = {rule: model.invariants[rule]}
    report = explored(check(model))
    assert report.violation is not None, report
