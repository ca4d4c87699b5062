"""How names, values and the making of a version lie in a parameter: read back whole, none pretends."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom import stages
from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.guarded import Stamp, chain
from strongroom.names import NAME_UNITS, Companion, Key, Name
from strongroom.value import SecretValue
from strongroom_aws import _parameter_text as text
from strongroom_aws import parameter_store
from strongroom_aws._parameter_history import heads, in_order, is_older, made_at, number_of
from strongroom_aws._parameter_mark import LENGTH, Mark, describe, read
from strongroom_aws._parameter_names import LEVELS, Names
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import scaled
from tests.unit.portable_names import PREFIXES, keys, texts

MANY = settings(max_examples=scaled(10_000, "names in Parameter Store", 40))
FEW = settings(max_examples=scaled(10_000, "listings of parameters", 50))
VALUES = settings(max_examples=scaled(10_000, "values through a parameter's form", 40))

# No parameter may begin with "aws" or "ssm": names that do are written with a mark.
STARTS = st.sampled_from(["", "", "aws", "aws/", "ssm-", "a/aws/"])
TEXTS_OF_NAMES = st.builds(str.__add__, STARTS, texts(NAME_UNITS - 8))
NAMES, KEYS = TEXTS_OF_NAMES.map(Name), keys(TEXTS_OF_NAMES)


def _names(prefix: str) -> Names:
    return Names("eu-west-1", prefix, "portable")


@pytest.mark.timeout(900)
class TestNames:
    @MANY
    @given(PREFIXES, KEYS)
    @example("", Name("/".join("abcdefghijklmnopqrstuvwxyz")))
    @example("p/q", Companion(Name("aws/x")))
    def test_every_name_is_a_legal_parameters_and_is_read_back(self, prefix: str, key: Key) -> None:
        """At most fifteen levels, none of them climbing, never aws or ssm first; and back to the same key."""
        name = _names(prefix).of(key)
        assert re.fullmatch(r"(?:/[a-z0-9._-]+)+", name)
        assert name.count("/") <= LEVELS
        assert not name.startswith(("/aws", "/ssm"))
        assert not {".", ".."} & set(name.split("/"))
        assert _names(prefix).key(name) == key

    @MANY
    @given(PREFIXES, KEYS, KEYS)
    def test_no_two_keys_meet(self, prefix: str, one: Key, other: Key) -> None:
        """Names, companions and reserved keys are different parameters."""
        assert (_names(prefix).of(one) == _names(prefix).of(other)) == (one == other)

    @MANY
    @given(PREFIXES.filter(bool), KEYS)
    def test_nothing_climbs_out_of_the_prefix(self, prefix: str, key: Key) -> None:
        """A secret lies below the prefix; what is reserved lies beside it, where a grant does not reach."""
        below = _names(prefix).of(key).startswith(f"/{prefix}/")
        assert below == isinstance(key, Name)

    @FEW
    @given(PREFIXES, NAMES, st.data())
    def test_a_listing_asks_for_no_less_than_it_should(
        self, prefix: str, name: Name, data: st.DataObject
    ) -> None:
        """Whatever a name begins with, its parameter and its companion's begin with what AWS is asked for."""
        start = name.text[: data.draw(st.integers(0, len(name.text)))]
        beginnings = _names(prefix).beginnings(start)
        for key in (name, Companion(name)):
            assert not beginnings or _names(prefix).of(key).startswith(beginnings)

    @FEW
    @given(PREFIXES, st.from_regex(r"/?[a-z_./-]{1,30}", fullmatch=True))
    def test_a_foreign_name_is_shown_only_if_it_is_what_we_would_write(self, prefix: str, name: str) -> None:
        """Otherwise reading what was listed would ask for another parameter."""
        key = _names(prefix).key(name)
        assert key is None or _names(prefix).of(key).removeprefix("/") == name.removeprefix("/")

    @pytest.mark.parametrize("name", [
        "aws/x", "SSM-x", "a b", "a:1", "ä", "/".join("abcdefghijklmnop"), "x" * 970,
    ])  # fmt: skip
    def test_a_native_name_that_aws_refuses_is_refused_first(self, name: str) -> None:
        """A colon would be a selector; the ARN counts towards the length."""
        with pytest.raises(InvalidRequestError):
            Names("eu-west-1", "", "native").of(Name.parse(name, "native"))

    @pytest.mark.parametrize("name", ["Db/Password", "x" * 965, "/".join("abcdefghijklmno"), "a__b", "_x"])
    def test_a_native_name_stands_for_itself(self, name: str) -> None:
        """No folding and no mark, which a native name could hold as well."""
        names = Names("eu-west-1", "", "native")
        assert names.of(Name(name)) == f"/{name}"
        assert names.key(f"/{name}") == Name(name)

    @pytest.mark.parametrize("prefix", ["aws", "ssm-prod", "AWS/x"])
    @pytest.mark.parametrize("mode", ["portable", "native"])
    def test_a_prefix_that_no_parameter_may_have_is_refused(self, prefix: str, mode: Any) -> None:
        """Already when the store is opened."""
        with pytest.raises(InvalidRequestError):
            Names("eu-west-1", prefix, mode)

    @pytest.mark.parametrize(("region", "partition"), [
        ("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"),
    ])  # fmt: skip
    def test_the_canonical_place_is_an_arn(self, region: str, partition: str) -> None:
        """With the account where it is known."""
        arn = Names(region, "prod", "portable", "123456789012").arn(Name("db/password"))
        assert arn == f"arn:{partition}:ssm:{region}:123456789012:parameter/prod/db/password"


TEXTS = st.text(max_size=60) | st.sampled_from(
    ["strongroom:", "strongroom:text:", "strongroom:binary:", "{{"]
)
TEXTS |= st.lists(st.sampled_from(["strongroom:", "text:", "binary:", "{{", "}}", "e30=", "ä"])).map("".join)
ANY = TEXTS.map(SecretValue) | st.binary(max_size=60).map(SecretValue)


@pytest.mark.timeout(900)
class TestValues:
    @VALUES
    @given(ANY)
    def test_a_value_is_read_back_from_what_a_parameter_can_hold(self, value: SecretValue) -> None:
        """Never empty, never with a nested parameter; the size is what is sent, in UTF-8."""
        stored = text.encode(value)
        assert stored
        assert "{{" not in stored
        assert text.size(value) == len(stored.encode())
        back = text.decode(SecretValue(stored))
        assert (back, back.kind) == (value, value.kind)

    @VALUES
    @given(ANY, ANY)
    def test_no_value_pretends_to_be_another(self, one: SecretValue, other: SecretValue) -> None:
        """Two values of one stored text are one value of one kind."""
        same = (one.kind, one.reveal()) == (other.kind, other.reveal())
        assert (text.encode(one) == text.encode(other)) == same

    def test_a_text_that_can_stand_is_what_everybody_reads(self) -> None:
        """JSON with closing braces too, which every nested document has."""
        for plain in ("pässword", '{"a":{"b":1}}', "base64:e30=", " x ", "Strongroom:text:"):
            assert text.encode(SecretValue(plain)) == plain

    @pytest.mark.parametrize("damaged", [
        "strongroom:binary:{}", "strongroom:binary:e30", "strongroom:text:/w==", "strongroom:text:é",
    ])  # fmt: skip
    def test_a_damaged_form_is_told_and_not_shown(self, damaged: str) -> None:
        """It may be a value that another tool cut."""
        with pytest.raises(IntegrityError) as caught:
            text.decode(SecretValue(damaged + CANARY))
        assert_no_canary_in(caught.value)

    def test_as_much_is_kept_free_as_a_companions_frame_takes(self) -> None:
        """A backend may not import what says so."""
        assert parameter_store._FRAME == stages.FRAME_BYTES


STAMPS = st.builds(
    Stamp,
    st.none() | st.from_regex(r"[1-9][0-9]{0,5}\.[1-9][0-9]{12}", fullmatch=True),
    st.integers(0, 2**60),
    st.uuids().map(lambda found: found.hex),
)
MARKS = st.builds(Mark, STAMPS, st.none() | st.from_regex(r"[a-z0-9._-]{1,200}", fullmatch=True))


class TestMarks:
    @given(st.text(max_size=300), MARKS)
    def test_the_users_description_and_the_mark_are_both_read_back(self, users: str, mark: Mark) -> None:
        """Whatever the user wrote, a mark of ours included."""
        assert read(describe(users, mark)) == (users, mark)
        nested = describe(users, mark)
        assert read(describe(nested, mark)) == (nested, mark)

    def test_a_description_is_never_cut(self) -> None:
        """It is the user's; the hint says by how much it is too long."""
        mark = Mark(Stamp.new("7.1800000000000", 3))
        room = LENGTH - len(describe("", mark)) - 1
        assert len(describe("x" * room, mark)) == LENGTH
        with pytest.raises(InvalidRequestError, match=f"shorten it to {room} characters"):
            describe("x" * (room + 1), mark)

    @pytest.mark.parametrize("record", ["", "a b", "a]", "x" * 201])
    def test_a_record_that_would_not_be_read_back_is_refused(self, record: str) -> None:
        """It would be taken for something else."""
        with pytest.raises(InvalidRequestError):
            describe("", Mark(Stamp.new(None), record))

    @pytest.mark.parametrize(
        "foreign", ["", "plain", "[strongroom]", "[strongroom 1.2.3]", "x[strongroom 0..]"]
    )
    def test_what_is_no_mark_is_the_users_text(self, foreign: str) -> None:
        """Even if it looks a little like one."""
        assert read(foreign) == (foreign, None)


def _entry(number: int, description: str = "", made: datetime | None = None) -> dict[str, Any]:
    date = made or datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return {"Version": number, "LastModifiedDate": date, "Description": description}


class TestHistory:
    def test_a_mark_counts_on_the_version_it_was_written_with(self) -> None:
        """The console saves the description it found: its version is not ours, and has no record of ours."""
        ours = describe("users", Mark(Stamp.new(None, 1), "v1.1.1.w.d"))
        newest, copy, first = in_order([_entry(3), _entry(1, ours), _entry(2, ours)])
        assert (first.record, copy.record, newest.record) == ("v1.1.1.w.d", None, None)
        assert (first.text, copy.text) == ("users", "users")
        assert [head.stamp is not None for head in heads([newest, copy, first])] == [False, False, True]

    def test_the_order_is_that_of_the_numbers(self) -> None:
        """However AWS lists them."""
        assert [version.number for version in in_order([_entry(2), _entry(11), _entry(3)])] == [11, 3, 2]

    def test_without_a_fence_every_version_is_in_the_line(self) -> None:
        """Two unconditional writers saw one predecessor; both were told that they wrote."""
        first = _entry(1)
        seen = in_order([first])[0].id
        both = [
            _entry(2, describe("", Mark(Stamp.new(seen)))),
            _entry(3, describe("", Mark(Stamp.new(seen)))),
        ]
        assert [number_of(head.version) for head in chain(heads(in_order([first, *both])))] == [3, 2, 1]

    def test_under_a_fence_a_late_version_is_not_in_the_line(self) -> None:
        """The holder of the next lease wrote past it."""
        first = _entry(1)
        seen = in_order([first])[0].id
        late = _entry(2, describe("", Mark(Stamp.new(seen, 1))))
        after = _entry(3, describe("", Mark(Stamp.new(seen, 2))))
        assert [number_of(head.version) for head in chain(heads(in_order([first, late, after])))] == [3, 1]

    def test_an_id_tells_number_and_date(self) -> None:
        """The same number in another life of the name is another version."""
        one, other = (in_order([_entry(1, made=datetime(2026, 1, day, tzinfo=UTC))])[0] for day in (1, 2))
        assert one.id != other.id
        assert number_of(one.id) == number_of(other.id) == 1
        assert made_at(one.id) == one.modified
        assert not is_older(one.id, other.id)

    @pytest.mark.parametrize(
        "bad", ["", "1", "0.1", "-1.1", "1.", "1.x", "x", "1.1 ", "1.1\n", "\u0661.\u0661", "9" * 40]
    )
    def test_what_was_never_given_is_no_id(self, bad: str) -> None:
        """It cannot be sent: a colon and a word would be a label."""
        assert number_of(bad) is None
