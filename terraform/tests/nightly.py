"""Which Terraforms a test runs on: by night each of the machine, by day one: a run takes two seconds."""

from __future__ import annotations

import pytest

from terraform.tests.conftest import each
from terraform.tests.tools import TERRAFORMS, any_terraform
from tests.scale import NIGHTLY

on_each_by_night = pytest.mark.parametrize(
    "terraform", each(TERRAFORMS if NIGHTLY else (any_terraform(),)), indirect=True
)
"""Marks tests that use `workspace` or `terraform`."""
