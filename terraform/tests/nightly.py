"""Which Terraforms a test runs on: by night each of the machine, by day one: a run takes two seconds."""

from __future__ import annotations

import pytest

from terraform.tests.tools import TERRAFORMS, any_terraform
from tests.scale import NIGHTLY


def _param(program: object) -> object:
    missing = getattr(program, "missing", "")
    marks = [pytest.mark.skip(reason=missing)] if missing else []
    return pytest.param(program, id=getattr(program, "name", ""), marks=marks)


on_each_by_night = pytest.mark.parametrize(
    "terraform", [_param(one) for one in (TERRAFORMS if NIGHTLY else (any_terraform(),))], indirect=True
)
"""Marks a test that uses `workspace` or `terraform`."""
