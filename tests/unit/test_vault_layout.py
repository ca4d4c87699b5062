"""The map a value lies in, and what the metadata tells."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.backend import Stage
from strongroom.errors import IntegrityError
from strongroom.value import SecretValue
from strongroom_vault import layout
from strongroom_vault.metadata import Metadata, moment, version_id, version_number
from tests.canary import CANARY, assert_no_canary_in

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.one_of(TEXT, st.binary()), st.none() | st.text("abc.0-_", max_size=9))
def test_every_value_survives_the_map_and_json(value: str | bytes, record: str | None) -> None:
    """Bytes and kind, record and write id."""
    put = json.loads(json.dumps(layout.encode(SecretValue(value), record, "w1"), ensure_ascii=False))
    stored = layout.decode(put)
    assert (stored.value, stored.value.kind) == (SecretValue(value), SecretValue(value).kind)
    assert (stored.record, stored.write_id) == (record, "w1")


def _go_json(text: str) -> str:
    """As Go's encoding/json writes a string: ASCII control characters, < > & and U+2028/9 as six bytes."""
    short = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    six = {*map(chr, range(0x20)), *"<>&\u2028\u2029"}
    return "".join(short.get(char) or (f"\\u{ord(char):04x}" if char in six else char) for char in text)


@given(st.one_of(TEXT, st.text('\x00\t\n\r<&>"\\\u2028\u2029aé'), st.binary()))
def test_size_is_what_the_storage_entry_takes(value: str | bytes) -> None:
    """As the engine's JSON writes it, or in base64."""
    stored = layout.encode(SecretValue(value), None, "w")["value"]
    assert layout.size(SecretValue(value)) == len(_go_json(stored).encode())


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"value": "x"},
        {"value": "x", "strongroom": "y"},
        {"value": "x", "strongroom": {}},
        {"value": "x", "strongroom": {"kind": "other"}},
        {"value": {"a": 1}, "strongroom": {"kind": "text"}},
        {"strongroom": {"kind": "text"}},
        {"user": "ann", "list": [1, None, True], "é": "\u2028"},
    ],
)
def test_a_map_that_is_not_ours_is_json_text(data: dict[str, Any]) -> None:
    """Whatever it holds."""
    stored = layout.decode(data)
    assert stored.value.reveal_json() == data
    assert (stored.value.kind, stored.record, stored.write_id) == ("text", None, None)


def test_a_broken_binary_value_shows_nothing() -> None:
    """Its frames neither."""
    with pytest.raises(IntegrityError) as caught:
        layout.decode({"value": f"{CANARY}!", "strongroom": {"kind": "binary"}})
    assert_no_canary_in(caught.value)


def test_a_mark_may_lack_or_spoil_its_facts() -> None:
    """Somebody else may have written it; only strings count."""
    stored = layout.decode({"value": "x", "strongroom": {"kind": "text", "record": 3, "write": None}})
    assert (stored.value, stored.record, stored.write_id) == (SecretValue("x"), None, None)


def _metadata(*versions: tuple[str, bool] | str) -> Metadata:
    """Versions from words: alive, deleted, destroyed, later (to be deleted)."""
    facts = {}
    for number, state in enumerate(versions, 1):
        deletion = {"deleted": NOW - timedelta(hours=1), "later": NOW + timedelta(hours=1)}.get(str(state))
        facts[str(number)] = {
            "created_time": f"2026-01-01T00:00:{number:02}.123456789Z",
            "deletion_time": deletion.isoformat().replace("+00:00", "Z") if deletion else "",
            "destroyed": state == "destroyed",
        }
    found = Metadata.of({"created_time": "2026-01-01T00:00:00Z", "versions": facts}, NOW)
    assert found
    return found


@pytest.mark.parametrize(
    ("versions", "current", "previous", "in_bin"),
    [
        ((), None, None, False),
        (("alive",), 1, None, False),
        (("alive", "alive"), 2, 1, False),
        (("destroyed", "alive"), 2, None, False),
        (("alive", "destroyed", "alive"), 3, None, False),
        (("alive", "destroyed"), None, 1, False),
        (("destroyed",), None, None, False),
        (("deleted", "deleted"), None, None, True),
        (("alive", "deleted"), None, 1, True),
        (("deleted", "destroyed"), None, None, True),
        (("deleted", "alive"), 2, None, False),
        (("later",), 1, None, False),
    ],
)
def test_what_the_versions_states_mean(
    versions: tuple[str, ...], current: int | None, previous: int | None, in_bin: bool
) -> None:
    """Current is the newest if it can be read, previous the one right before it."""
    found = _metadata(*versions)
    numbers = [version and version.number for version in (found.current, found.previous)]
    assert (numbers, found.in_bin) == ([current, previous], in_bin)


def test_a_version_deleted_this_second_is_deleted() -> None:
    """The server's Date header is cut to whole seconds."""
    facts = {"created_time": "2026-01-01T00:00:00Z", "deletion_time": "2026-01-02T00:00:00.9Z"}
    found = Metadata.of({"created_time": "2026-01-01T00:00:00Z", "versions": {"1": facts}}, NOW)
    assert found
    assert found.in_bin


@pytest.mark.parametrize(
    "data", [{}, {"versions": {}}, {"versions": 3, "created_time": ""}, {"created_time": ""}]
)
def test_what_is_no_metadata_is_told_from_a_secret_without_versions(data: dict[str, Any]) -> None:
    """Or a gateway's page would read as "nothing there", and a put would create."""
    assert Metadata.of(data, NOW) is None


def test_versions_are_ordered_by_number_not_by_text() -> None:
    """10 comes after 9."""
    found = _metadata(*["alive"] * 12)
    assert [version.number for version in found.versions] == list(range(1, 13))
    assert found.public(found.versions[-1]).stages == {Stage.CURRENT}
    assert found.public(found.versions[-2]).stages == {Stage.PREVIOUS}
    assert found.public(found.versions[0]).stages == set()


def test_an_id_is_found_only_in_its_own_life() -> None:
    """Number and time together."""
    found = _metadata("alive")
    assert found.find(found.versions[0].id) is found.versions[0]
    assert found.find("1.2020-01-01T00:00:00Z") is None
    assert found.find("1") is None


@pytest.mark.parametrize(
    "text", ["1", "0.2026-01-01T00:00:00Z", "01.2026-01-01T00:00:00Z", "1.x", "1.2026-01-01/../x"]
)
def test_what_is_not_an_id_has_no_number(text: str) -> None:
    """It is never sent."""
    assert version_number(text) is None


def test_an_id_tells_its_number() -> None:
    """To the nanosecond, with or without fractions."""
    for created in ("2026-11-22T23:47:44.512399727Z", "2026-11-22T23:47:44Z"):
        assert version_number(version_id(17, created)) == 17


def test_times_are_utc_cut_to_microseconds() -> None:
    """As Python keeps them; what is no time is None."""
    assert moment("2026-01-01T00:00:00.123456789Z") == datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)
    assert moment("2026-01-01T02:00:00+02:00") == datetime(2026, 1, 1, tzinfo=UTC)
    assert [moment(text) for text in ("", None, 3, "yesterday")] == [None] * 4
