"""Stamps are read as they were written, and the order of versions follows from them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from strongroom.stamp import Head, Stamp, back, chain, standing_for, true_tip
from tests.scale import scaled

ids = st.uuids().map(lambda found: found.hex)
stamps = st.builds(Stamp, st.none() | st.text(min_size=1), st.integers(0, 10**19 - 1), ids, st.booleans())


@given(stamps)
def test_what_was_packed_is_parsed(stamp: Stamp) -> None:
    """Whatever the provider's ids look like; and its length is bounded."""
    packed = stamp.pack()
    assert Stamp.parse(packed) == stamp
    assert len(packed) - len(stamp.before or "") <= 54


@given(st.text() | st.from_regex(r"\d{1,3}[ab]?\.[0-9a-f]{30,33}\..*", fullmatch=True))
def test_anything_else_is_somebody_elses(text: str) -> None:
    """No text makes it stumble, and what it takes says the same again."""
    stamp = Stamp.parse(text)
    assert stamp is None or Stamp.parse(stamp.pack()) == stamp


def test_lookalikes_are_no_stamps() -> None:
    """Other digits, a longer number, a shorter id, nothing."""
    write_id = "0" * 32
    for text in (
        None,
        "",
        f"\u0661.{write_id}.",
        f"{'9' * 20}.{write_id}.",
        f"1.{write_id[1:]}.",
        f"-1.{write_id}.",
    ):
        assert Stamp.parse(text) is None


def test_no_two_writes_have_one_id() -> None:
    """Else a lost answer would be found where it is not."""
    assert len({Stamp.new("1").write_id for _ in range(scaled(1000))}) == scaled(1000)


@st.composite
def tangles(draw: st.DrawFn) -> list[Head]:
    """Heads as no honest history has them: any predecessor, themselves and each other included."""
    count = draw(st.integers(0, 8))
    before = st.none() | st.integers(0, count).map(str)
    stamp = st.none() | st.builds(Stamp, before, st.integers(0, 4), ids, st.booleans())
    return [Head(str(number), draw(stamp)) for number in range(count, 0, -1)]


def ids_of(heads: Sequence[Head]) -> list[str]:
    return [head.version for head in heads]


@given(tangles(), st.data())
def test_a_line_ends_and_holds_nothing_twice(heads: list[Head], data: st.DataObject) -> None:
    """Tags are anybody's to write: a circle of predecessors hangs nobody."""
    tip = data.draw(st.none() | st.sampled_from(heads)) if heads else None
    line = back(heads, tip)
    assert len(set(ids_of(line))) == len(line)
    assert line[:1] == ([tip] if tip else heads[:1])
    assert set(ids_of(chain(heads, tip))) <= set(ids_of(line))


@given(tangles(), st.data())
def test_the_tip_is_one_of_the_versions(heads: list[Head], data: st.DataObject) -> None:
    """Whatever was recorded; with no record it is the newest."""
    recorded = data.draw(st.none() | st.sampled_from(["gone", *ids_of(heads)]))
    tip = true_tip(heads, recorded)
    assert tip is None or tip in heads
    if recorded is None:
        assert tip == (heads[0] if heads else None)
    if recorded in ids_of(heads):
        assert tip is not None


@given(tangles())
def test_a_version_stands_for_those_it_was_written_again_for(heads: list[Head]) -> None:
    """All but the last of its ids are copies."""
    line = back(heads)
    known = standing_for(line)
    assert known == set(ids_of(line[: len(known)]))
    assert all(head.again for head in line[: len(known) - 1])
    assert not line or line[0].version in known


def written(*facts: tuple[str, str | None, int] | str) -> list[Head]:
    """Versions in the order they arrived, "id, predecessor, fence" or a foreign id; newest first."""
    heads = []
    for fact in facts:
        if isinstance(fact, str):
            heads.append(Head(fact))
        else:
            version, before, fence = fact
            heads.append(Head(version, Stamp.new(before, fence, again=version.endswith("'"))))
    return heads[::-1]


@given(st.lists(st.booleans(), max_size=12))
def test_an_honest_history_is_its_own_line(foreign: list[bool]) -> None:
    """Whoever wrote each version: behind one without a stamp the provider's order goes on."""
    facts = [
        str(number) if alien else (str(number), str(number - 1) if number > 1 else None, number)
        for number, alien in enumerate(foreign, 1)
    ]
    heads = written(*facts)
    assert chain(heads) == back(heads) == heads
    assert true_tip(heads, "1") == (heads[0] if heads else None)


def test_a_late_version_is_not_on_the_line() -> None:
    """A paused holder wrote upon what had been overwritten meanwhile."""
    heads = written(("1", None, 1), ("2", "1", 3), ("late", "1", 2))
    tip = true_tip(heads, "2")
    assert tip == heads[1]
    assert ids_of(chain(heads, tip)) == ["2", "1"]


def test_of_two_after_the_recorded_one_the_higher_fence_counts() -> None:
    """Not the newer one: a holder that woke wrote last."""
    heads = written(("1", None, 1), ("2", "1", 3), ("3", "1", 2))
    assert true_tip(heads, "1") == heads[1]
    assert true_tip(heads[:1] + heads[2:], "1") == heads[0]


def test_what_follows_the_tip_counts_too() -> None:
    """A holder that recorded nothing of its write died; its successor wrote upon it and died as well."""
    heads = written(("1", None, 1), ("2", "1", 2), ("3", "2", 3), ("late", "1", 1))
    assert true_tip(heads, "1") == heads[1]


def test_a_foreign_version_counts_whatever_is_around_it() -> None:
    """It knows nothing of fences; a late one after it is still late."""
    heads = written(("1", None, 1), ("2", "1", 3), "foreign", ("late", "1", 2))
    assert true_tip(heads, "2") == heads[1]
    older = written("foreign", ("1", "foreign", 1), ("late", "foreign", 1))
    assert true_tip(older, "1") == older[1]


def test_what_was_written_again_stands_once_under_its_newest_id() -> None:
    """Its older id still names it, as the base of a rotation that began before."""
    heads = written(("1", None, 1), ("2", "1", 3), ("late", "1", 2), ("2'", "2", 4), ("2''", "2'", 5))
    assert ids_of(chain(heads)) == ["2''", "1"]
    assert standing_for(back(heads)) == {"2''", "2'", "2"}
    assert true_tip(heads, "2") == heads[0]


def test_a_recorded_version_that_is_gone_leaves_only_foreign_ones() -> None:
    """Purged past the coordinator: what is there under a fence follows nothing known."""
    assert true_tip(written(("7", "6", 2)), "5") is None
    assert true_tip(written("7"), "5") == Head("7")
