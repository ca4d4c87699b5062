"""Names on providers that have no slash: each key has one, and each that is ours is one key's."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.names import Companion, Key, Name, NameMode, Reserved, flat_key, flat_name
from tests.scale import scaled
from tests.unit.portable_names import KEYS, PREFIXES, texts

MANY = settings(max_examples=scaled(10_000, "names without slashes", 40))
FEW = settings(max_examples=scaled(10_000, "names that are not ours", share=50))
# What each provider takes, and how long: Azure Key Vault and Google Secret Manager, by their own documents.
ALPHABETS = {"-": r"[0-9a-zA-Z-]{1,127}", "_": r"[a-zA-Z0-9_-]{1,255}"}
MARKS = st.sampled_from(sorted(ALPHABETS))
MODES: st.SearchStrategy[NameMode] = st.sampled_from(["portable", "native"])
NATIVE = {"-": "aZ09-", "_": "aZ09-_"}


def of(name: Name) -> st.SearchStrategy[Key]:
    """The keys that a name can stand in."""
    return st.sampled_from([name, Companion(name), Reserved("lease", name), Reserved("digest-key", name)])


@st.composite
def natives(draw: st.DrawFn, mark: str) -> Key:
    """Keys of names as such a provider has them."""
    text = draw(st.text(NATIVE[mark], min_size=1, max_size=12))
    assume(mark * 5 not in text)
    return draw(of(Name.parse(text, "native")))


@MANY
@given(KEYS, KEYS, PREFIXES, PREFIXES, MARKS)
def test_a_portable_name_is_taken_read_back_and_no_other_keys(
    one: Key, other: Key, here: str, there: str, mark: str
) -> None:
    """Also of two stores in one project or vault, in any case of letters: only the same place is the same."""
    text = flat_name(one, here, mark)
    assert re.fullmatch(ALPHABETS[mark], text)
    assert flat_key(text, here, mark) == one
    same = text.lower() == flat_name(other, there, mark).lower()
    if here == there:
        assert same == (one == other)
    if type(one) is not type(other):
        assert not same


@FEW
@given(st.data(), MARKS)
def test_a_native_name_stands_as_it_is_is_read_back_and_no_other_keys(data: st.DataObject, mark: str) -> None:
    """Also one that begins or ends with the mark; companions and reserved keys included."""
    key, other = data.draw(natives(mark)), data.draw(natives(mark))
    text = flat_name(key, "", mark, "native")
    assert flat_key(text, "", mark, "native") == key
    assert (text == flat_name(other, "", mark, "native")) == (key == other)
    assert not isinstance(key, Name) or text == key.text


TEXTS = st.one_of(
    st.text("ab0-_", max_size=24),
    st.builds(
        lambda parts, run: run.join(parts),
        st.lists(
            st.sampled_from(["_strongroom", "----strongroom", "pending", "lease", "db", "app", "", "x"])
        ),
        st.sampled_from([mark * width for mark in "-_" for width in range(1, 7)]),
    ),
)


@FEW
@given(TEXTS, PREFIXES, MARKS, MODES)
def test_whatever_else_is_there_is_no_key_or_stands_for_itself(
    text: str, prefix: str, mark: str, mode: NameMode
) -> None:
    """Of any text at most one reading: else a listing would show a key that leads to another secret ▲."""
    prefix = prefix if mode == "portable" else ""
    key = flat_key(text, prefix, mark, mode)
    assert key is None or flat_name(key, prefix, mark, mode) == text


@given(TEXTS, texts(20), MARKS)
def test_nothing_outside_the_prefix_is_shown(text: str, prefix: str, mark: str) -> None:
    """What is read as a key of this store begins with its prefix, behind the kind of a reserved one."""
    key = flat_key(text, prefix, mark)
    root = flat_name(Name(prefix), "", mark) + 2 * mark
    assert key is None or text.rpartition(5 * mark)[2].startswith(root)


@pytest.mark.parametrize("mark", sorted(ALPHABETS))
def test_the_longest_name_with_the_longest_prefix_fits(mark: str) -> None:
    """80 units and 24, of each of the characters that take most, and the longest kind that there is."""
    for sign, width in {"-": 1, "/": 2, ".": 3, "_": 4}.items():

        def full(units: int, step: str = f"{sign}b", width: int = width + 1) -> str:
            text = "b" + step * ((units - 1) // width)
            return text + "b" * ((units - 1) % width)

        name, prefix = Name.parse(full(80)), full(24)
        with pytest.raises(InvalidRequestError):
            Name.parse(full(81))
        for key in (name, Companion(name), Reserved("digest-key", name)):
            text = flat_name(key, prefix, mark)
            assert re.fullmatch(ALPHABETS[mark], text), len(text)
            assert flat_key(text, prefix, mark) == key


@pytest.mark.parametrize("mark", sorted(ALPHABETS))
def test_a_native_name_that_reads_as_ours_is_refused(mark: str) -> None:
    """Whoever may create secrets could otherwise write a companion."""
    for text in (f"pending{mark * 5}x", mark * 5, f"a{mark * 7}"):
        with pytest.raises(InvalidRequestError, match="marks Strongroom's own"):
            flat_name(Name.parse(text, "native"), "", mark, "native")


def test_the_runs_are_those_that_were_published() -> None:
    """A change would hide every secret there is: written out once, from DESIGN section 4."""
    name = Name("prod.eu/db-1_a")
    assert flat_name(name, "app", "-") == "app--prod---eu--db-1----a"
    assert flat_name(name, "app", "_") == "app__prod___eu__db-1_a"
    assert flat_name(Companion(name), "app", "_") == "pending_____app__prod___eu__db-1_a"
    assert flat_name(Reserved("lease", Name("x")), "", "-") == "lease-----x"
