"""The annotations that Strongroom keeps on a secret: written, read back, garbled, never in others' way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.value import SecretValue
from strongroom_gcp._book import CHAIN, INTENT, KINDS, LATE, PREFIX, RECORD, Book, Chain, Intent, Trace
from strongroom_gcp._layout import EMPTY, decode, encode

TRACE = Trace("0123456789abcdef", "ab" * 16)
HEX = st.text("0123456789abcdef", min_size=16, max_size=16)
TRACES = st.builds(Trace, HEX, HEX.map(lambda text: text * 2))
NUMBERS = st.integers(1, 10**12)
RECORDS = st.from_regex(r"[a-z0-9._-]{1,200}", fullmatch=True)
INTENTS = st.builds(
    Intent, TRACES, NUMBERS, st.integers(0, 10**14), st.sampled_from(["", "b", "t", "n"]), st.none() | RECORDS
)
CHAINS = st.lists(st.integers(1, 300), max_size=60, unique=True).map(
    lambda numbers: _chain(sorted(numbers)),
)


def _chain(numbers: list[int]) -> Chain:
    chain = Chain()
    for number in numbers:
        chain = chain.plus(number)
    return chain


BOOKS = st.builds(
    Book,
    CHAINS,
    st.none() | INTENTS,
    st.lists(TRACES, max_size=16).map(tuple),
    st.dictionaries(NUMBERS, st.sampled_from(["b", "t", "n"]), max_size=20),
    st.dictionaries(NUMBERS, RECORDS, max_size=2),
)


@given(BOOKS)
def test_what_is_written_is_read_back(book: Book) -> None:
    """Whole, whatever it holds."""
    assert Book.of(book.over({})) == book


@given(st.dictionaries(st.sampled_from([CHAIN, INTENT, LATE, KINDS, RECORD]), st.text(max_size=60)))
def test_what_somebody_garbled_counts_as_absent(annotations: dict[str, str]) -> None:
    """No text in an annotation makes reading fail."""
    Book.of(annotations)


@pytest.mark.parametrize("text", ["0", "3-1", "1-3.2", "1.1", "x", "1-", "-1", "1..2", " 1"])
def test_a_chain_that_does_not_rise_is_none(text: str) -> None:
    """Numbers ascend; nothing else was written by us."""
    assert Chain.parse(text) == Chain()


@given(BOOKS, st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=20)))
def test_everybody_elses_annotations_stay(book: Book, others: dict[str, str]) -> None:
    """Ours replace ours alone."""
    others = {key: text for key, text in others.items() if not key.startswith(PREFIX)}
    written = book.over({**others, CHAIN: "7"})
    assert {key: text for key, text in written.items() if not key.startswith(PREFIX)} == others


@given(st.lists(st.integers(1, 200), unique=True, min_size=1, max_size=60))
def test_a_chain_is_the_numbers_it_was_made_of(numbers: list[int]) -> None:
    """In, before and after agree with a plain sorted list."""
    numbers.sort()
    chain = _chain(numbers)
    assert list(chain) == numbers
    assert chain.last == numbers[-1]
    for number in range(1, 202):
        assert (number in chain) == (number in numbers)


def test_a_book_stays_small() -> None:
    """What was longest ago is dropped: the annotations of a secret hold 16 KiB, users' tags among them."""
    book = Book()
    for number in range(1, 4000, 2):
        trace = Trace(f"{number:016x}", f"{number:032x}")
        book = book.keeping(trace).recording(number, "b", "r" * 200)
    written = book.over({})
    assert sum(len(key) + len(text) for key, text in written.items()) < 5 * 1024
    assert Book.of(written).chain.last == 3999
    assert Book.of(written).late[-1] == Trace(f"{3999:016x}", f"{3999:032x}")


def test_the_mark_of_what_is_being_written_is_known() -> None:
    """A reader that comes between the add and the record sees the right kind."""
    book = Book(Chain(((1, 3),)), Intent(TRACE, 4, 0, "b"), kinds={2: "t"})
    assert [book.mark(number) for number in (2, 3, 4, 5)] == ["t", "", "b", ""]


@given(st.binary(max_size=100), st.sampled_from(["text", "binary"]))
def test_every_value_is_read_as_it_was_written(data: bytes, kind: str) -> None:
    """With its kind, which the payload alone does not always tell; and the payload is the value itself."""
    try:
        value = SecretValue(data, kind)  # type: ignore[arg-type]
    except InvalidRequestError:
        return
    payload, mark = encode(value)
    read = decode(payload, mark)
    assert (read, read.kind) == (value, value.kind)
    assert payload.matches(data or EMPTY)


@pytest.mark.parametrize("text", ["\n", "", "\n\n", "a"])
def test_the_escape_for_nothing_cannot_be_pretended(text: str) -> None:
    """A value that looks like it is marked as what it is."""
    for value in (SecretValue(text), SecretValue(text.encode())):
        payload, mark = encode(value)
        assert (decode(payload, mark), decode(payload, mark).kind) == (value, value.kind)


def test_usual_values_need_no_mark() -> None:
    """Text is text and noise is noise without a word in the annotations."""
    assert encode(SecretValue("pässword"))[1] == ""
    assert encode(SecretValue(b"\xff\x00"))[1] == ""
    assert encode(SecretValue(""))[1] == ""
