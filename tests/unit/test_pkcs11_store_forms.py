"""Names, marks and identifiers of secrets on a token: injective, reversible, never climbing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.guarded import Stamp
from strongroom.names import Companion, Key, Name, NameMode, StoreURL
from strongroom_pkcs11._mark import Mark, foreign_version, is_older_label, number_of, object_id, older_label
from strongroom_pkcs11._places import Places
from strongroom_pkcs11.objects import LARGEST, TokenStore
from tests.canary import CANARY, holds_canary
from tests.integration.pkcs11_support import DB, text
from tests.scale import scaled
from tests.servers.softhsm import MODULE, TestToken
from tests.unit.portable_names import KEYS, PREFIXES, letters

MANY = settings(max_examples=scaled(10_000, "names on a token", 40), deadline=None)
FEW = settings(max_examples=scaled(10_000, "labels and marks on a token", 50), deadline=None)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
TOKEN = TestToken(MODULE, "t", "1234")


@MANY
@given(PREFIXES, KEYS)
def test_every_key_is_found_again(prefix: str, key: Key) -> None:
    """By its label; an older version's label is nobody's."""
    places = Places(prefix, "portable")
    label = places.of(key)
    assert places.key(label) == key
    older = older_label(label, f"7.{'a' * 32}")
    assert is_older_label(older)
    assert places.key(older) is None


@MANY
@given(PREFIXES, KEYS, PREFIXES, KEYS)
def test_no_two_keys_meet(prefix: str, key: Key, other_prefix: str, other: Key) -> None:
    """On one token only the same place has the same label, and the same identifier for its versions."""
    label, other_label = Places(prefix, "portable").of(key), Places(other_prefix, "portable").of(other)
    assert (label == other_label) is (object_id(label) == object_id(other_label))
    if prefix == other_prefix:
        assert (label == other_label) is (key == other)
    assert label != other_label or type(key) is type(other)


@MANY
@given(PREFIXES.filter(bool), letters("ab0-/.;_", 40))
def test_nothing_outside_the_prefix_is_shown(prefix: str, label: str) -> None:
    """Whatever other programs call their objects."""
    key = Places(prefix, "portable").key(label)
    assert key is None or Places(prefix, "portable").of(key) == label
    if key is not None and not label.startswith("_strongroom/"):
        assert label.startswith(f"{prefix}/")


@pytest.mark.parametrize("mode", ["portable", "native"])
@pytest.mark.parametrize(
    "label", ["", "a//b", "../a", "a/../b", "a/", "/a", "a\n", "_strongroom", "a%2fb", "."]
)
def test_labels_that_are_no_names_are_hidden(label: str, mode: NameMode) -> None:
    """No listing yields a name that could not be asked for."""
    assert Places("", mode).key(label) is None


def test_a_native_name_is_not_taken_for_an_older_version() -> None:
    """The one form of a label that a native name may not have."""
    places = Places("", "native")
    assert places.of(Name("Größe; 1.a")) == "Größe; 1.a"
    assert places.key("Größe; 1.a") == Name("Größe; 1.a")
    with pytest.raises(InvalidRequestError):
        places.of(Name(f"a;1.{'0' * 32}"))


STAMPS = st.builds(
    Stamp, st.none() | st.from_regex(r"[1-9]\.[0-9a-f]{32}|foreign-[0-9a-f]{32}", fullmatch=True),
    st.integers(0, 10**18), st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
)  # fmt: skip
MARKS = st.builds(
    Mark, st.text(min_size=1), st.integers(1, 10**17), STAMPS, st.sampled_from(["text", "binary"]),
    st.datetimes(timezones=st.just(UTC)), st.none() | st.text(min_size=1),
    st.lists(st.text(min_size=1), max_size=3).map(tuple), st.text(),
)  # fmt: skip


@FEW
@given(MARKS)
def test_a_mark_is_read_as_it_was_written(mark: Mark) -> None:
    """For its own path only; its version's id tells its number."""
    assert Mark.parse(mark.pack()) == mark
    assert Mark.parse(mark.pack(), mark.path) == mark
    assert Mark.parse(mark.pack(), f"{mark.path}x") is None
    assert number_of(mark.version) == mark.number


@pytest.mark.parametrize("application", [
    "", "another program", "strongroom/1 ", "strongroom/1 {}", "strongroom/1 []", "strongroom/1 null",
    'strongroom/1 {"path": 1, "number": 1, "stamp": "0.%s.", "kind": "text", "created": "2026-01-01"}',
    'strongroom/1 {"path": "a", "number": 0.5, "stamp": "0.%s.", "kind": "text", "created": "2026-01-01"}',
    'strongroom/1 {"path": "a", "number": 1, "stamp": "", "kind": "text", "created": "2026-01-01"}',
    'strongroom/1 {"path": "a", "number": 1, "stamp": "0.%s.", "kind": "json", "created": "2026-01-01"}',
    'strongroom/1 {"path": "a", "number": 1, "stamp": "0.%s.", "kind": "text", "created": "now"}',
    'strongroom/1 {"path": "a", "number": 1, "stamp": "0.%s.", "kind": [], "created": "2026-01-01"}',
    "strongroom/1 " + "[" * 100_000, "strongroom/2 {}",
])  # fmt: skip
def test_what_is_no_mark_is_another_programs(application: str) -> None:
    """Whatever stands there, reading it fails nowhere."""
    assert Mark.parse(application.replace("%s", "0" * 32)) is None


def test_the_order_is_by_number_then_fence_then_time() -> None:
    """A late holder's version stands behind that of the holder who overtook it, though it was made later."""

    def mark(number: int, fence: int, later: int) -> Mark:
        return Mark("a", number, Stamp.new(None, fence), "text", NOW + timedelta(seconds=later))

    won, late, following = mark(2, 5, 0), mark(2, 4, 9), mark(3, 0, -9)
    assert sorted([following, won, late], key=lambda mark: mark.order) == [late, won, following]


def test_the_object_identifier_is_der() -> None:
    """Tag, length, and 2.25.UUID with each arc in base 128: other programs can read it."""
    tag, length, *body = object_id("prod/db/password")
    assert (tag, length) == (6, len(body))
    arcs, arc = [], 0
    for byte in body:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    assert arcs[0] == 2 * 40 + 25
    assert len(arcs) == 2
    assert 0 < arcs[1] < 1 << 128
    assert body[1] != 0x80, "no leading zero"


def test_a_foreign_versions_id_tells_nothing_of_the_value() -> None:
    """It changes with the value, and is keyed by this process."""
    assert foreign_version(text(1)) == foreign_version(text(1)) != foreign_version(text(2))
    assert not holds_canary(foreign_version(text()))


def test_a_digest_of_what_was_written_over_is_salted() -> None:
    """Each version has a salt of its own."""
    marks = [Mark("a", 1, Stamp.new(None), "text", NOW, over=(f"{CANARY}",), salt=salt) for salt in "ab"]
    assert not any(mark.written_over(text()) for mark in marks)


def test_all_processes_name_a_resource_alike() -> None:
    """However the URL narrows the token, or divides the path into prefix and name."""
    assert Path(MODULE).is_file(), "softhsm2 is not installed"
    urls = ["pkcs11:token=t;object=app", "pkcs11:token=t;serial=1;object=app", "pkcs11:object=app;token=t"]
    stores = [TokenStore.from_url(StoreURL.parse(url), TOKEN.settings()) for url in urls]
    assert {store.locate(DB) for store in stores} == {"pkcs11:token=t;object=app%2Fdb%2Fpassword"}
    whole = TokenStore.from_url(StoreURL.parse("pkcs11:token=t"), TOKEN.settings())
    assert whole.locate(Name("app/db/password")) == stores[0].locate(DB)
    assert stores[0].origin == "pkcs11:token=t;object=app"


def test_a_value_at_the_limit_can_be_rotated() -> None:
    """A companion may be as much larger as its frame."""
    store = TokenStore.from_url(StoreURL.parse("pkcs11:token=t"), TOKEN.settings())
    assert store.limit(DB) == LARGEST == 1 << 20
    assert store.limit(Companion(DB)) == LARGEST + 1024
