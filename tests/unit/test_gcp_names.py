"""Names of Secret Manager: injective, reversible, and nothing climbs out of a project or prefix."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError
from strongroom.names import Key, Name, StoreURL, flat_key
from strongroom_gcp.secret_manager import SecretManager
from tests.scale import scaled
from tests.unit.portable_names import KEYS

PREFIXES = ["", "app", "prod/eu-1"]
STORES = {prefix: SecretManager(StoreURL.parse(f"gcp-sm://acme/{prefix}"), Settings()) for prefix in PREFIXES}


def secret_id(key: Key, prefix: str) -> str:
    return STORES[prefix]._resource(key).removeprefix("projects/acme/secrets/")


@settings(max_examples=scaled(10_000, "names of gcp-sm", 40), deadline=None)
@given(KEYS, KEYS, st.sampled_from(PREFIXES), st.sampled_from(PREFIXES))
def test_names_are_injective_and_reversible(one: Key, other: Key, here: str, there: str) -> None:
    """Two keys never meet, companions and reserved ones included, and each is told from its secret's id."""
    first, second = secret_id(one, here), secret_id(other, there)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", first)
    assert flat_key(first, here, "_") == one
    if here == there:
        assert (first == second) == (one == other)
    elif type(one) is not type(other):
        assert first != second


@pytest.mark.parametrize(
    "hostile",
    ["a/../b", "../other", "projects/evil/secrets/x", "a%2fb", "a/versions/1", "x" * 256, "a b", "ä", "a\n"],
)
@pytest.mark.parametrize("mode", ["portable", "native"])
def test_nothing_climbs_out_of_the_project(hostile: str, mode: str) -> None:
    """Whatever a name holds, at most one segment of letters, digits, - and _ follows ``secrets/``."""
    store = SecretManager(StoreURL.parse("gcp-sm://acme"), Settings(names=mode))  # type: ignore[arg-type]
    try:
        found = store._resource(Name(hostile))
    except InvalidRequestError:
        return
    assert re.fullmatch(r"projects/acme/secrets/[A-Za-z0-9_-]{1,255}", found)


def test_native_names_stand_as_they_are() -> None:
    """As the console shows them; five underscores are Strongroom's own."""
    store = SecretManager(StoreURL.parse("gcp-sm://acme"), Settings(names="native"))
    assert store._resource(Name("DB_PASSWORD-2")) == "projects/acme/secrets/DB_PASSWORD-2"
    with pytest.raises(InvalidRequestError):
        store._resource(Name("pending_____DB_PASSWORD"))


@pytest.mark.parametrize("url", [
    "gcp-sm://", "gcp-sm:///app", "gcp-sm://a/../b", "gcp-sm://acme/App", "gcp-sm://acme/a?region=x",
    "gcp-sm://acme/a?location=evil.com", "gcp-sm://acme/a?location=europe-west6/x", "gcp-sm://ACME",
    "gcp-sm://acme/a?endpoint=http://10.0.0.1:1", "gcp-sm://acme/a?endpoint=https://evil.example",
    "gcp-sm://acme/a?endpoint=http://localhost:1",
])  # fmt: skip
def test_a_url_that_names_something_else_is_refused(url: str) -> None:
    """Before anything is opened; a location becomes part of a host name."""
    with pytest.raises(InvalidRequestError):
        SecretManager.from_url(StoreURL.parse(url), Settings())


def test_native_names_take_no_prefix() -> None:
    """Google's names hold no slash, so a prefix could not be told from the name."""
    with pytest.raises(InvalidRequestError):
        SecretManager(StoreURL.parse("gcp-sm://acme/app"), Settings(names="native"))


def test_a_lease_names_the_resource_in_full() -> None:
    """Whatever service another lease is about."""
    assert STORES["app"].locate(Name("db/password")) == (
        "//secretmanager.googleapis.com/projects/acme/secrets/app__db__password"
    )
