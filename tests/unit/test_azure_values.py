"""How values and tags stand in Key Vault: text as it is, bytes as base64 under a content type of ours."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom import stages
from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.value import SecretValue
from strongroom_azure import _values
from strongroom_azure._entry import MOST_TAGS, OURS, Kept, checked_tags
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import scaled

MANY = settings(max_examples=scaled(10_000, "values through Key Vault's form", 40))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)


@MANY
@given(TEXTS.map(SecretValue) | st.binary(max_size=40).map(SecretValue), st.none() | TEXTS)
def test_what_is_stored_is_what_is_read(value: SecretValue, before: str | None) -> None:
    """Bytes and kind, whatever content type the version before had."""
    content = _values.content_type(value, before)
    read = _values.decode(_values.encode(value), content)
    assert (read, read.kind) == (value, value.kind)


@MANY
@given(TEXTS)
def test_text_stands_as_it_is(text: str) -> None:
    """Every other reader gets what was written."""
    assert _values.encode(SecretValue(text)) == text


@MANY
@given(TEXTS.map(SecretValue) | st.binary(max_size=400).map(SecretValue))
def test_the_size_is_that_of_what_is_stored(value: SecretValue) -> None:
    """Bytes of UTF-8, after base64."""
    assert _values.size(value) == len(_values.encode(value).encode())


@pytest.mark.parametrize("content", [None, "", "password", "application/json", "application/octet-stream"])
def test_every_foreign_content_type_is_text(content: str | None) -> None:
    """Also where it speaks of bytes: how somebody else wrote them is not ours to guess."""
    text = base64.b64encode(CANARY.encode()).decode()
    read = _values.decode(text, content)
    assert read.kind == "text"
    assert read.matches(text)


def test_our_content_type_on_anything_else_is_damage() -> None:
    """And nothing of the value is in the error."""
    with pytest.raises(IntegrityError) as caught:
        _values.decode(f"not base64: {CANARY}", _values.BINARY)
    assert_no_canary_in(caught.value)


def test_text_keeps_a_users_content_type_and_drops_ours() -> None:
    """After bytes text is text again."""
    text, binary = SecretValue("x"), SecretValue(b"x")
    assert _values.content_type(text, "password") == "password"
    assert _values.content_type(text, _values.BINARY) is None
    assert _values.content_type(text, _values.BINARY.upper()) is None
    assert _values.content_type(binary, "password") == _values.BINARY


@pytest.mark.parametrize("data", [b"\xff" * 18_174, b"x" * 1, b""])
def test_a_value_at_the_limit_leaves_room_for_its_companion(data: bytes) -> None:
    """Text or bytes: a frame of the largest size and the value fit together."""
    for value in (SecretValue(data), SecretValue("x" * _values.LARGEST_ROTATABLE)):
        framed = SecretValue(b"f" * stages.FRAME_BYTES + value.reveal(), value.kind)
        assert _values.size(value) <= _values.LARGEST_ROTATABLE
        assert _values.size(framed) <= _values.LARGEST


def tags(count: int) -> dict[str, str]:
    return {f"t{number}": "x" for number in range(count)}


def test_there_is_room_for_thirteen_tags() -> None:
    """Two of Key Vault's fifteen are ours; the error says how many more fit."""
    assert len(checked_tags(tags(13), {})) == 13
    with pytest.raises(InvalidRequestError, match="15") as caught:
        checked_tags({"one": "more", "two": "more"}, tags(12))
    assert caught.value.hint == "1 more fit"


def test_a_full_secret_may_lose_tags() -> None:
    """Somebody else set fifteen; changing and removing them is allowed."""
    changed = checked_tags({"t0": None, "t1": "y"}, tags(15))
    assert len(changed) == 14


def test_a_full_secret_is_not_written_over() -> None:
    """Ours would not fit, and dropping a user's tag in silence is worse."""
    with pytest.raises(InvalidRequestError) as caught:
        Kept(tags(15)).with_ours("stamp", "record")
    assert caught.value.hint == "remove 2"
    assert len(Kept(tags(14)).with_ours("stamp", None)) == MOST_TAGS


@pytest.mark.parametrize("bad", [
    {"": "x"}, {"n" * 257: "x"}, {"n": "x" * 257}, {"strongroom": "x"}, {"Strongroom-Record": "x"},
])  # fmt: skip
def test_a_tag_that_does_not_fit_is_refused(bad: dict[str, str]) -> None:
    """Empty and too long ones, and those that could pass for ours."""
    with pytest.raises(InvalidRequestError):
        checked_tags(bad, {})


def test_what_a_version_carries_on_is_whole() -> None:
    """The user's tags stay beside ours."""
    kept = Kept({"team": "core"}, "password", None, EXPIRES)
    assert kept.with_ours("s", "r") == {"team": "core", OURS[0]: "s", OURS[1]: "r"}
