"""The page beside a secret and a store's sheet: what they keep comes back, and what is neither is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import IntegrityError, PermissionDeniedError, SecretConflictError
from strongroom.memory import MemoryBackend
from strongroom.names import NAME_UNITS, Name, flat_name
from strongroom.replication.page import (
    BEFORE_ALL,
    KEPT,
    Page,
    Quarantine,
    page_key,
    read_page,
    write_page,
)
from strongroom.replication.record import Record
from strongroom.replication.sheet import NO_TAKEOVER, SHEET_KEY, Sheet, read_sheet, write_sheet
from tests.scale import scaled

LAST = 2**63 - 1
NAME = Name("db/password")
_some = settings(max_examples=scaled(1_000, "examples of each property of pages", share=20))
numbers, digits = st.integers(1, LAST), st.text("0123456789abcdef", min_size=32, max_size=32)
records = st.builds(Record, numbers, numbers, digits, digits)
maybe = st.none() | records
pages = st.builds(
    Page,
    st.tuples(numbers, numbers) | st.just(BEFORE_ALL),
    st.dictionaries(st.text(min_size=1), records, max_size=KEPT),
    maybe,
    st.none() | st.builds(Quarantine, st.text(min_size=1), maybe, maybe),
    maybe,
)


def record(seq: int, epoch: int = 1) -> Record:
    return Record(epoch, seq, "0" * 32, "f" * 32)


@_some
@given(pages)
def test_a_page_comes_back_as_it_was(page: Page) -> None:
    """Whatever stands on it, in one line."""
    assert Page.parse(page.text) == page
    assert "\n" not in page.text


@_some
@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_what_is_no_page_is_an_integrity_error(text: str) -> None:
    """Another tool's JSON among it; nothing else is raised."""
    for kind in (Page, Sheet):
        with pytest.raises(IntegrityError):
            kind.parse(text)


@pytest.mark.parametrize(
    "change",
    [
        {"strongroom": "replication/2"},
        {"floor": [1]},
        {"floor": ["1", "2"]},
        {"floor": 7},
        {"bindings": [["v", "v1.0.1"]]},
        {"bindings": {"v": None}},
        {"tombstone": "v1"},
        {"quarantine": {"reason": "x"}},
    ],
)
def test_a_damaged_page_is_an_integrity_error(change: dict[str, object]) -> None:
    """A page that was read half would give out a place for the second time."""
    with pytest.raises(IntegrityError, match="replication page"):
        Page.parse(json.dumps({**json.loads(Page((1, 1)).text), **change}))


def test_a_page_is_small_however_much_stands_on_it() -> None:
    """Below the 4 KB that the smallest store takes, before encryption."""
    held = Record(LAST, LAST, "f" * 32, "f" * 32)
    page = Page(held.order, {}, held, Quarantine("r" * 200, held, held), held)
    for number in range(2 * KEPT):
        page = page.with_binding(f"{number:040}", held)
    assert len(page.text.encode()) < 3_000
    assert len(page.bindings) == KEPT


def test_a_page_s_key_fits_every_store() -> None:
    """Azure's 127 characters with the longest portable name and the longest prefix."""
    for name in ("a" * NAME_UNITS, "a/" * 26 + "a" * 2, "a_" * 15 + "a"):
        key = page_key(Name.parse(name))
        assert len(flat_name(key, "p" * 24)) <= 127
    assert len(flat_name(SHEET_KEY, "p" * 24)) <= 127


def test_a_binding_counts_until_something_is_ordered_after_it() -> None:
    """Only what was bound last may be current."""
    page = Page().with_binding("one", record(1))
    assert page.bound("one") == record(1)
    later = page.with_binding("two", record(2))
    assert (later.bound("one"), later.bound("two")) == (None, record(2))
    assert later.with_tombstone(record(3)).bound("two") is None


def test_a_lower_tombstone_changes_nothing() -> None:
    """Whoever writes it late has deleted what was written over since."""
    page = Page().with_tombstone(record(5))
    assert page.with_tombstone(record(4)) == page
    assert page.floor == (1, 5)
    assert page.with_tombstone(record(6)).tombstone == record(6)


def test_pages_are_written_over_what_was_read() -> None:
    """Of two who read the same page one writes it; names do not meet."""
    store = MemoryBackend()
    assert read_page(store, NAME) == (Page(), None)
    first = write_page(store, NAME, Page((1, 1)), None)
    for stale in (None, "another"):
        with pytest.raises(SecretConflictError):
            write_page(store, NAME, Page((1, 2)), stale)
    write_page(store, NAME, Page((1, 3)), first)
    assert read_page(store, NAME)[0] == Page((1, 3))
    assert read_page(store, Name("db/other")) == (Page(), None)
    assert list(store.list_info("")) == []


def test_sheets_are_written_over_what_was_read() -> None:
    """As pages are; they come back as they were."""
    store = MemoryBackend()
    assert read_sheet(store) == (None, None)
    sheet = Sheet("prod", 1, NO_TAKEOVER, "prod-eu")
    version = write_sheet(store, sheet, None)
    assert read_sheet(store) == (sheet, version)
    with pytest.raises(SecretConflictError):
        write_sheet(store, sheet, None)
    fenced = Sheet("prod", 2, "a" * 32, "prod-us", fenced=True)
    write_sheet(store, fenced, version)
    assert read_sheet(store)[0] == fenced


@pytest.mark.parametrize(
    "change",
    [{"epoch": 0}, {"epoch": "1"}, {"takeover": "z" * 32}, {"fenced": 1}, {"source": 7}, {"else": 1}],
)
def test_a_damaged_sheet_is_an_integrity_error(change: dict[str, object]) -> None:
    """Whoever writes must not be found out by a guess."""
    text = json.loads(Sheet("prod", 1, NO_TAKEOVER, "prod-eu").text)
    with pytest.raises(IntegrityError, match="replication sheet"):
        Sheet.parse(json.dumps({**text, **change}))


def test_a_sheet_says_who_writes_and_what_to_do() -> None:
    """The source of the sheet passes; another store, or a fenced one, is told who is."""
    sheet = Sheet("prod", 2, "a" * 32, "prod-us")
    sheet.require("prod-us")
    sheet.require("")
    fenced = Sheet("prod", 2, "a" * 32, "prod-us", fenced=True)
    for refused, alias in ((sheet, "prod-eu"), (fenced, "prod-eu"), (fenced, "")):
        with pytest.raises(PermissionDeniedError, match="prod-us is the source since epoch 2") as caught:
            refused.require(alias)
        assert "strongroom replica takeover" in (caught.value.hint or "")
