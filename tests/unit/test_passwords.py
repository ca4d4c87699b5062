"""Generated passwords keep their policy, and the entropy a policy states is the true one."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from strongroom import passwords
from strongroom.errors import InvalidRequestError
from strongroom.passwords import CLASSES, MIN_BITS, Policy, generate

LENGTHS = st.integers(1, 80)
SETS = st.lists(st.sampled_from(list(CLASSES)), min_size=1, max_size=4, unique=True).map(tuple)
EXCLUDED = st.text(st.sampled_from("0O1lI5S!#"), max_size=9)


def _policy(length: int, classes: tuple[str, ...], exclude: str) -> Policy | None:
    try:
        return Policy(length, classes, exclude)
    except InvalidRequestError:
        return None


@given(LENGTHS, SETS, EXCLUDED)
def test_a_generated_password_keeps_its_policy(length: int, classes: tuple[str, ...], exclude: str) -> None:
    """The length is exact, each class is there, nothing else and nothing excluded is."""
    policy = _policy(length, classes, exclude)
    assume(policy is not None)
    assert policy is not None
    password = generate(policy)
    assert len(password) == length
    assert all(set(password) & set(CLASSES[name]) for name in classes)
    assert set(password) <= set("".join(CLASSES[name] for name in classes)) - set(exclude)
    assert policy.allows(password)


@pytest.mark.parametrize("length", range(2, 6))
def test_entropy_counts_exactly_the_passwords_that_are_allowed(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On alphabets small enough to count: log2 of the number of words that hold every class."""
    monkeypatch.setattr(passwords, "MIN_BITS", 0.0)
    monkeypatch.setitem(CLASSES, "lower", "abc")
    monkeypatch.setitem(CLASSES, "digits", "12")
    policy = Policy(length, ("lower", "digits"))
    allowed = sum(policy.allows("".join(word)) for word in itertools.product("abc12", repeat=length))
    assert policy.entropy_bits == pytest.approx(math.log2(allowed))


def test_every_allowed_password_is_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi-square over all words of a tiny policy; a generator that places a missing class fails it.

    90 words, 89 degrees of freedom: a fair generator exceeds 184 less than once in a million runs.
    """
    monkeypatch.setattr(passwords, "MIN_BITS", 0.0)
    monkeypatch.setitem(CLASSES, "lower", "abc")
    monkeypatch.setitem(CLASSES, "digits", "12")
    policy = Policy(3, ("lower", "digits"))
    words = round(2**policy.entropy_bits)
    rounds = words * 200
    seen = Counter(generate(policy) for _ in range(rounds))
    assert len(seen) == words
    assert sum((count - 200) ** 2 / 200 for count in seen.values()) < 2.05 * words


def test_the_default_policy_is_strong() -> None:
    """32 letters and digits hold more than 128 bits, and two are never the same."""
    assert Policy().entropy_bits > 128
    assert generate() != generate()


@pytest.mark.parametrize(
    "policy",
    [
        {"length": 0},
        {"length": 2},
        {"length": 1025},
        {"classes": ()},
        {"classes": ("emoji",)},
        {"classes": ("lower", "lower")},
        {"classes": ("digits",), "exclude": "0123456789"},
        {"length": 10, "classes": ("digits",)},
    ],
    ids=str,
)
def test_a_policy_that_cannot_work_is_refused(policy: dict[str, object]) -> None:
    """Also one that would make passwords that can be guessed."""
    with pytest.raises(InvalidRequestError):
        Policy(**policy)  # type: ignore[arg-type]


@given(LENGTHS, SETS, EXCLUDED)
def test_no_policy_is_weaker_than_the_least(length: int, classes: tuple[str, ...], exclude: str) -> None:
    """Whatever is accepted has at least the stated bits, and says how many."""
    policy = _policy(length, classes, exclude)
    if policy is not None:
        assert policy.entropy_bits >= MIN_BITS
        assert f"{policy.entropy_bits:.0f} bits" in str(policy)
