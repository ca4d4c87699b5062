"""The replication record: one spelling, one order, and a digest that only the key's holder can make."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.replication.record import Record, Verdict, digest_of
from strongroom.value import SecretValue
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary_in
from tests.scale import scaled
from tests.unit.vector_support import FOLDER

VECTORS: dict[str, Any] = json.loads((FOLDER / "replication-records.json").read_text())
KEY = SecretValue(bytes(range(32)))
HEX = "0123456789abcdef"
LAST = 2**63 - 1

_some = settings(max_examples=scaled(1_000, "examples of each property of records", share=20))
numbers = st.integers(1, LAST)
digits = st.text(HEX, min_size=32, max_size=32)
records = st.builds(Record, numbers, numbers, digits, digits)
close = st.builds(Record, st.integers(1, 2), st.integers(1, 2), digits, st.sampled_from(["0" * 32, "1" * 32]))
mutations = st.one_of(
    st.tuples(st.just("insert"), st.integers(0, 120), st.characters()),
    st.tuples(st.just("replace"), st.integers(0, 120), st.characters()),
    st.tuples(st.just("drop"), st.integers(0, 120), st.just("")),
)


@_some
@given(records)
def test_every_record_reads_back_as_it_was_written(record: Record) -> None:
    """The text is the record, and it fits where every provider has room."""
    assert Record.parse(record.text) == record
    assert re.fullmatch("[a-z0-9._-]{1,200}", record.text)


@_some
@given(records, mutations)
def test_one_changed_character_is_another_record_or_none(
    record: Record, mutation: tuple[str, int, str]
) -> None:
    """There is one spelling: what parses is written back exactly as it was read."""
    what, at, character = mutation
    text, at = record.text, at % len(record.text)
    changed = text[:at] + character + text[at + (what != "insert") :]
    try:
        assert Record.parse(changed).text == changed
    except IntegrityError:
        assert changed != text


@_some
@given(st.text() | st.text("v1.0af-", max_size=120))
def test_any_other_text_is_refused_as_damaged(text: str) -> None:
    """Nothing but the typed error comes of foreign labels and tags."""
    with pytest.raises(IntegrityError):
        Record.parse(text)


@_some
@given(close, close, close)
def test_the_order_is_total_on_epoch_and_sequence(one: Record, two: Record, three: Record) -> None:
    """Of two records exactly one verdict holds each way, they mirror each other, and newer is transitive."""
    mirror = {Verdict.APPLY: Verdict.OLDER, Verdict.OLDER: Verdict.APPLY}
    verdict = one.verdict(two)
    assert two.verdict(one) is mirror.get(verdict, verdict)
    assert (verdict is Verdict.APPLY) == ((one.epoch, one.seq) > (two.epoch, two.seq))
    if verdict is two.verdict(three) is Verdict.APPLY:
        assert one.verdict(three) is Verdict.APPLY


@_some
@given(close, close)
def test_one_place_holds_one_value(one: Record, two: Record) -> None:
    """Equal and the same writes nothing, whoever wrote it; equal and different is quarantined."""
    same_place, same_value = one.order == two.order, one.digest == two.digest
    assert (one.verdict(two) is Verdict.QUARANTINE) == (same_place and not same_value)
    assert (one.verdict(two) is Verdict.SAME) == (same_place and same_value)


def test_the_first_record_is_applied() -> None:
    """Where there is none, every record is greater."""
    assert Record(1, 1, "0" * 32, "0" * 32).verdict(None) is Verdict.APPLY


def test_an_epoch_outweighs_every_sequence() -> None:
    """A takeover's first write is newer than whatever the old source still writes."""
    old, new = Record(1, LAST, "0" * 32, "0" * 32), Record(2, 1, "0" * 32, "0" * 32)
    assert new.verdict(old) is Verdict.APPLY


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["comment"])
def test_accepted_vector(vector: dict[str, Any]) -> None:
    """Each says which parts stand in it, and of which value its digest is."""
    record = Record.parse(vector["record"])
    value = vector["value"] if vector["value"] is None else bytes.fromhex(vector["value"])
    said = None if value is None else SecretValue(value, vector["kind"])
    key = SecretValue(bytes.fromhex(VECTORS["key"]))
    assert (record.epoch, record.seq, record.write_id) == (
        vector["epoch"], vector["seq"], vector["write_id"],
    )  # fmt: skip
    assert record.digest == digest_of(key, vector["name"], said, record.epoch, record.seq)
    assert record.digest == independent(vector)


def independent(vector: dict[str, Any]) -> str:
    """The digest as the README of the vectors has it, by other code."""
    kind = vector["kind"].encode()
    place, name = f"{vector['epoch']}.{vector['seq']}".encode(), vector["name"].encode()
    parts = [b"strongroom record v1", place, name, kind, bytes.fromhex(vector["value"] or "")]
    said = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(bytes.fromhex(VECTORS["key"]), said, hashlib.sha256)[:16].hex()


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["comment"])
def test_refused_vector(vector: dict[str, str]) -> None:
    """A second spelling, a number past the end, and other versions are no records."""
    with pytest.raises(IntegrityError):
        Record.parse(vector["record"])


@pytest.mark.parametrize("number", [0, -1, 2**63, 1.0, True, "1"], ids=repr)
def test_a_record_is_made_of_whole_numbers_in_range(number: Any) -> None:
    """What could not be read back is not written."""
    for epoch, seq in ((number, 1), (1, number)):
        with pytest.raises(InvalidRequestError):
            Record(epoch, seq, "0" * 32, "0" * 32)
        with pytest.raises(InvalidRequestError):
            digest_of(KEY, "db/password", None, epoch, seq)


@pytest.mark.parametrize("part", ["", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 32 + "\n"], ids=repr)
def test_a_record_is_made_of_hexadecimal_digits(part: str) -> None:
    """The same for ids and digests."""
    for write_id, digest in ((part, "0" * 32), ("0" * 32, part)):
        with pytest.raises(InvalidRequestError):
            Record(1, 1, write_id, digest)


def test_a_digest_tells_values_names_kinds_and_places_apart() -> None:
    """So a value that came back, or that two secrets share, does not show in the tags ▲."""
    text, binary = SecretValue(CANARY), SecretValue(CANARY_BYTES)
    others = [
        digest_of(KEY, "db/password", text, 1, 1),
        digest_of(KEY, "db/password", binary, 1, 1),
        digest_of(KEY, "db/password", None, 1, 1),
        digest_of(KEY, "db/password", SecretValue(""), 1, 1),
        digest_of(KEY, "db/passwords", text, 1, 1),
        digest_of(KEY, "db/password", text, 1, 2),
        digest_of(KEY, "db/password", text, 2, 1),
        digest_of(KEY, "db/password", text, 1, 11),
        digest_of(KEY, "db/password", text, 11, 1),
        digest_of(SecretValue(bytes(32)), "db/password", text, 1, 1),
    ]
    assert len(set(others)) == len(others)
    assert others[0] == digest_of(KEY, "db/password", SecretValue(CANARY), 1, 1)


def test_a_digest_is_no_plain_hash_of_the_value() -> None:
    """Whoever lists tags must not be able to try passwords against them ▲."""
    digest = digest_of(KEY, "db/password", SecretValue(CANARY), 1, 1)
    hashes = [hashlib.sha256(said).hexdigest() for said in (CANARY_BYTES, b"db/password" + CANARY_BYTES)]
    assert not any(digest in made for made in hashes)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_digest_key_has_32_bytes(length: int) -> None:
    """A short one would be found by trying, and nobody would see it."""
    with pytest.raises(InvalidRequestError) as caught:
        digest_of(SecretValue((CANARY_BYTES * 2)[:length]), "db/password", SecretValue(CANARY), 1, 1)
    assert_no_canary_in(caught.value)
