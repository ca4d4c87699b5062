"""The record of the journal: one form, ASCII, and nothing a name can do about it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.audit import record as codec
from strongroom.audit.event import AuditEvent
from strongroom.audit.record import (
    FIELDS,
    GENESIS,
    HEAD,
    KINDS,
    TEXT_LIMIT,
    encode,
    encode_next,
    leaf_hash,
    of_event,
    parse,
    stamp,
)
from strongroom.errors import IntegrityError, InvalidRequestError
from tests.canary import CANARY, assert_no_canary
from tests.scale import scaled

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, UTC)
HEADING: dict[str, Any] = {
    "v": 1,
    "chain": "0123456789abcdef" * 2,
    "seq": 7,
    "prev": GENESIS,
    "time": stamp(NOW),
    "mono": 12345,
}
SAMPLES: dict[str, dict[str, Any]] = {
    "chain": {"library": "strongroom 1.0", "host": "web-1", "pid": 4711},
    "adopt": {"library": "strongroom 1.0", "host": "web-1", "pid": 4711},
    "event": {"phase": "outcome", "op": "get", "name": "db/password", "outcome": "ok", "performed": False},
    "reads": {"store": "prod", "since": stamp(NOW), "reads": [["db/password", "7", 12]]},
    "recovery": {"lost": 0},
    "gap": {"since": stamp(NOW), "until": stamp(NOW), "count": 3, "ops": {"get": 3}, "reason": "disk full"},
    "segment": {"next": "00000002.jsonl"},
    "detection": {
        "rule": "denied",
        "title": "Denied",
        "records": ["a:1"],
        "facts": {"count": 20, "on": True},
    },
    "suppression": {"rule": "denied", "until": stamp(NOW), "reason": "drill"},
    "skipped": {"sink": "siem", "from": "a:1", "to": "a:9", "count": 9},
}
TEXTS = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["a\nb", "a\r\nb", '","seq":9,"x":"', "\0", "\x7f", "\x1b[2J", "\u2028", "\u202e", "\ud800", "😀", "=|\\"]
)


def whole(kind: str, **fields: Any) -> dict[str, Any]:
    return {**HEADING, "kind": kind, **SAMPLES[kind], **fields}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_comes_back_as_it_went(kind: str) -> None:
    """And its keys stand in their order, whatever order they came in."""
    fields = whole(kind)
    line = encode(dict(reversed(fields.items())))
    assert parse(line) == fields
    assert [key for key in (*HEAD, *FIELDS[kind]) if key in fields] == list(parse(line))


@given(name=TEXTS, version=TEXTS, location=TEXTS)
@settings(max_examples=scaled(2000, "records of hostile names", 50), deadline=None, database=None)
def test_no_text_can_forge_a_line(name: str, version: str, location: str) -> None:
    """One line, printable ASCII, and what it means is what was said, up to what no UTF-8 can say."""
    line = encode(whole("event", name=name, version=version, location=location))
    assert all(0x20 <= byte < 0x7F for byte in line)
    record = parse(line)
    assert record["seq"] == 7
    for key, text in {"name": name, "version": version, "location": location}.items():
        assert record.get(key, "") == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


@given(name=TEXTS, reads=st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 2**63 - 1)), min_size=1, max_size=3))
@settings(max_examples=scaled(2000, "records by both encoders", 50), deadline=None, database=None)
def test_the_bytes_are_the_same_without_orjson(name: str, reads: list[tuple[str, str, int]]) -> None:
    """A verifier on a machine with the standard library alone must find the same form."""
    records = [whole("event", name=name), whole("reads", reads=[list(read) for read in reads])]
    lines = [encode(record) for record in records]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_compact", lambda: codec._standard)
        patch.setattr(codec, "_loads", lambda: json.loads)
        assert [encode(record) for record in records] == lines
        assert [parse(line) for line in lines]
    assert [encode(parse(line)) for line in lines] == lines


@given(
    name=TEXTS, time=st.sampled_from([stamp(NOW), "", "2026", "\n" * 30]), performed=st.none() | st.booleans()
)
@settings(max_examples=scaled(2000, "records encoded the quick way", 50), deadline=None, database=None)
def test_the_quick_way_gives_the_same_bytes(name: str, time: str, performed: bool | None) -> None:
    """Or the same refusal, whatever came before it."""
    rest = {"kind": "event", "phase": "intent", "op": "get", "name": name, "performed": performed}

    def quickly() -> bytes:
        return encode_next(HEADING["chain"], 7, GENESIS, 12345, {"time": time, **rest})

    encode(whole("event"))  # its shape is known now
    if time == stamp(NOW):
        assert quickly() == encode({**HEADING, **rest})
        assert quickly() == encode({**HEADING, **rest})
    elif performed and name:
        with contextlib.suppress(InvalidRequestError):
            assert b"\n" not in quickly()
    else:
        with pytest.raises(InvalidRequestError):
            quickly()


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
@settings(max_examples=scaled(5000, "lines that are no records", 50), deadline=None, database=None)
def test_what_is_not_a_record_is_one_error(line: bytes) -> None:
    """Never another, whatever stands there."""
    with pytest.raises(IntegrityError):
        parse(line)


@pytest.mark.parametrize(
    "line",
    [
        encode(whole("event")) + b"\n",
        b" " + encode(whole("event")),
        encode(whole("event")).replace(b":", b": ", 1),
        encode(whole("event")).replace(b'"op"', b'"op":"put","op"'),
        encode(whole("event")).replace(b'"op":"get",', b'"op":"get","value":"x",'),
        encode(whole("event")).replace(b'"seq":7', b'"seq":7.0'),
        encode(whole("event")).replace(b'"seq":7', b'"seq":true'),
        encode(whole("event")).replace(b'"seq":7', b'"seq":-7'),
        encode(whole("event")).replace(b'"seq":7', b'"seq":' + b"9" * 40),
        encode(whole("event")).replace(b'"seq":7', b'"seq":' + b"9" * 5000),
        encode(whole("event")).replace(b'"seq":7,', b""),
        encode(whole("event")).replace(b'"v":1', b'"v":2'),
        encode(whole("event")).replace(b"db/", b"\\u0064b/"),
        encode(whole("event")).replace(b"db/password", b"\\ud800"),
        encode(whole("event")).replace(b"outcome", b"between"),
        encode(whole("event")).replace(b"0123456789abcdef", b"0123456789ABCDEF"),
        encode(whole("event")).replace(b"2026-11", b"2026/11"),
        encode(whole("reads")).replace(b",12]", b",12,13]"),
        b"[" * 100_000,
        b"null",
        b"",
        b'{"kind":["event"]}',
    ],
    ids=lambda line: line[-24:].hex()[:12] + str(len(line)),
)
def test_there_is_one_form_only(line: bytes) -> None:
    """Another spelling of the same record would have another hash: it is refused."""
    with pytest.raises(IntegrityError):
        parse(line)


def test_a_refusal_tells_nothing_of_the_line() -> None:
    """Nor does that of fields: somebody may have put there what must not be."""
    line = encode(whole("event")).replace(b'"op":"get"', f'"{CANARY}":"{CANARY}"'.encode())
    with pytest.raises(IntegrityError) as refused:
        parse(line)
    with pytest.raises(InvalidRequestError) as unknown:
        encode(whole("event", **{CANARY: CANARY}))
    assert_no_canary(str(refused.value), str(unknown.value))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "value"},
        {"kind": "event", "phase": "outcome"},
        {"kind": "event", "phase": "outcome", "op": "get", "value": "x"},
        {"kind": "event", "phase": "sometime", "op": "get"},
        {"kind": "detection", "rule": "denied", "facts": {"ratio": 0.5}},
        {"kind": "detection", "rule": "denied", "facts": {"list": [1]}},
        {"kind": "reads", "since": stamp(NOW), "reads": [["a", "1"]]},
        {"kind": "gap", "since": "yesterday", "until": stamp(NOW), "count": 1},
    ],
)
def test_only_what_is_on_the_list_gets_in(fields: dict[str, Any]) -> None:
    """Redaction by structure: there is no field that could hold a value."""
    with pytest.raises(InvalidRequestError):
        encode({**HEADING, **fields})


@pytest.mark.parametrize(
    "wrong", [{"version": 7}, {"outcome": b"ok"}, {"phase": "sometime"}, {"store": ["a"]}]
)
def test_a_wrong_type_is_refused_also_where_all_keys_are_known(wrong: dict[str, Any]) -> None:
    """A writer must not write what a verifier takes for an alteration."""
    right = {"kind": "event", "phase": "outcome", "op": "get", "version": "7", "outcome": "ok", "store": "a"}

    def place(fields: dict[str, Any]) -> bytes:
        return encode_next(HEADING["chain"], 7, GENESIS, 1, {"time": stamp(NOW), **fields})

    for _ in range(2):
        assert parse(place(right))
    with pytest.raises(InvalidRequestError):
        place({**right, **wrong})


@pytest.mark.parametrize("size", [TEXT_LIMIT, TEXT_LIMIT + 1, 10_000])
@pytest.mark.parametrize("character", ["x", "ß", "😀"])
def test_long_texts_are_clipped_and_say_so(size: int, character: str) -> None:
    """The first 2,048 characters, and how many there were more; clipping twice is clipping once."""
    line = encode(whole("event", name=character * size))
    name = parse(line)["name"]
    more = size - TEXT_LIMIT
    assert name == character * TEXT_LIMIT + (f"…(+{more})" if more else "")
    assert len(line) < 2**18


def test_what_is_empty_is_left_out_and_false_is_not() -> None:
    """`performed` False says that nothing happened, which is not the same as not knowing."""
    fields = whole("event", version=None, stage="", actor={}, degraded=False, performed=False)
    record = parse(encode(fields))
    assert record["performed"] is False
    assert not {"version", "stage", "actor", "degraded"} & record.keys()


def test_the_leaf_is_that_of_rfc_6962() -> None:
    """A zero byte before the line tells a leaf from a node."""
    line = encode(whole("event"))
    assert leaf_hash(line) == hashlib.sha256(b"\0" + line).digest()


def test_an_event_becomes_a_record_without_what_it_does_not_say() -> None:
    """And with the actor's sealed object in place of the actor."""
    event = AuditEvent("get", "db/password", "outcome", NOW, "c1", store="prod", outcome="ok", version="7")
    fields = of_event(event, actor={"uid": "u", "how": "os", "sealed": "AAAA"})
    assert parse(encode({**HEADING, **fields})) == {
        **HEADING,
        "kind": "event",
        "phase": "outcome",
        "op": "get",
        "name": "db/password",
        "cid": "c1",
        "store": "prod",
        "version": "7",
        "outcome": "ok",
        "actor": {"uid": "u", "how": "os", "sealed": "AAAA"},
    }


@pytest.mark.parametrize("hours", [0, 2, -11])
def test_times_are_told_in_utc_with_nine_digits(hours: int) -> None:
    """Whatever zone a clock thinks in."""
    assert stamp(NOW.astimezone(timezone(timedelta(hours=hours)))) == "2026-11-23T12:00:00.123456000Z"
    assert stamp(NOW.replace(microsecond=0)) == "2026-11-23T12:00:00.000000000Z"
