"""The page on records says of each store what its class says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strongroom.backend import Capability, WriteBudget
from strongroom.registry import backend_class, schemes

PAGE = Path(__file__).parents[2] / "docs" / "replication-records.md"
WRITABLE = [scheme for scheme in schemes() if Capability.PUT in backend_class(scheme).capabilities]


def row(scheme: str) -> list[str]:
    """The cells of a store's row in the page's first table."""
    found = re.search(rf"^\| `{scheme}` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert found, f"{scheme} has no row"
    return [cell.strip() for cell in found[1].split("|")]


def told(budget: WriteBudget | None) -> str:
    """A budget as the page tells it."""
    if budget is None:
        return "no limit"
    span = f"{budget.seconds / 3600:g} h" if budget.seconds >= 3600 else f"{budget.seconds:g} s"
    return f"{budget.writes} in {span}" + (", each secret" if budget.each == "secret" else "")


@pytest.mark.parametrize("scheme", WRITABLE)
def test_the_page_says_what_a_store_lists_and_takes(scheme: str) -> None:
    """Every store that can be a replica has a row; a listing tells the record or does not."""
    *_, listed, writes = row(scheme)
    found = backend_class(scheme)
    assert listed.partition(",")[0] == ("yes" if found.lists_records else "no")
    assert writes == told(found.write_budget)
