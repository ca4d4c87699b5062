"""Key Vault lists versions in no order and dates them to the second; their stamps tell the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.guarded import Stamp, chain
from strongroom_azure._entry import STAMP, Entry
from strongroom_azure._order import newest_first
from tests.scale import scaled

MANY = settings(max_examples=scaled(10_000, "lists of versions", 50))
START = datetime(2026, 1, 1, tzinfo=UTC)


def entry(version: str, before: str | None, second: int, *, ours: bool = True) -> Entry:
    tags = {STAMP: Stamp.new(before, 1).pack()} if ours else {}
    return Entry("n", version, tags, None, True, START + timedelta(seconds=second), None, None)


def ids(entries: Sequence[Entry]) -> list[str]:
    return [one.version for one in entries]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Entry], list[Entry]]:
    """Versions of ours, each upon the one before, some in one second; and the same as a list has them."""
    names = draw(st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), unique=True, max_size=12))
    second, written = 0, list[Entry]()
    for name in names:
        second += draw(st.integers(0, 1))
        written.append(entry(name, written[-1].version if written else None, second))
    return written, draw(st.permutations(written))


@MANY
@given(histories())
def test_our_own_versions_are_told_in_the_order_in_which_they_were_written(
    history: tuple[list[Entry], list[Entry]],
) -> None:
    """However the list shuffles them, and however many fall into one second."""
    written, listed = history
    head = written[-1] if written else None
    for known in (head, None):
        assert ids(newest_first(listed, known)) == ids(written[::-1])


@MANY
@given(histories(), st.integers(0, 3))
def test_no_version_is_lost_or_told_twice(history: tuple[list[Entry], list[Entry]], head: int) -> None:
    """Also where some name a predecessor that is not there, or each other."""
    written, listed = history
    links = {"loop1": "loop2", "loop2": "loop1", "self": "self", "gone": "none"}
    odd = [entry(version, before, 1) for version, before in links.items()]
    told = ids(newest_first([*listed, *odd], odd[head]))
    assert sorted(told) == sorted(ids([*written, *odd]))
    assert told[0] == odd[head].version


def test_a_foreign_version_stands_where_its_date_says() -> None:
    """Upon v1, before v3, which names it."""
    v1, foreign, v3 = entry("v1", None, 0), entry("f", None, 5, ours=False), entry("v3", "f", 9)
    assert ids(newest_first([v3, v1, foreign], v3)) == ["v3", "f", "v1"]


def test_within_a_second_a_version_of_ours_counts_as_the_older_one() -> None:
    """Unless something else tells."""
    v1, v2, foreign = entry("v1", None, 0), entry("v2", "v1", 0), entry("a", None, 0, ours=False)
    assert ids(newest_first([foreign, v2, v1], None)) == ["a", "v2", "v1"]
    v3 = entry("v3", "a", 0)
    line = chain([one.head for one in newest_first([v3, foreign, v2, v1], v3)])
    assert [head.version for head in line] == ["v3", "a", "v2", "v1"]


def test_the_one_that_key_vault_calls_newest_stands_first() -> None:
    """Whatever its date and stamp say: that is what every other reader gets."""
    v1, v2, late = entry("v1", None, 0), entry("v2", "v1", 9), entry("late", "v1", 3)
    assert ids(newest_first([v1, v2, late], late))[0] == "late"


def test_a_head_that_the_list_does_not_show_yet_is_not_missed() -> None:
    """Lists may lag."""
    v1, v2 = entry("v1", None, 0), entry("v2", "v1", 9)
    assert ids(newest_first([v1], v2)) == ["v2", "v1"]


def test_a_stamp_that_another_program_copied_is_not_taken_for_ours() -> None:
    """Its version counts as the foreign one that it is, in whichever order they are listed."""
    v1, v2 = entry("v1", None, 0), entry("v2", "v1", 0)
    copy = replace(v2, version="a", created=v2.created)
    for listed in ([v1, v2, copy], [copy, v2, v1]):
        told = newest_first(listed, copy)
        assert ids(told) == ["a", "v2", "v1"]
        assert [one.head.stamp is None for one in told] == [True, False, False]
