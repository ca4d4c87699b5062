"""Names in a vault: letters, digits and dashes, no case, at most 127; none climbs out of the prefix."""

from __future__ import annotations

import functools
import re

import pytest
from hypothesis import given, settings

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError
from strongroom.names import (
    Key,
    Name,
    NameMode,
    Reserved,
    StoreURL,
    flat_name,
)
from strongroom_azure.key_vault import KeyVault
from tests.scale import scaled
from tests.unit.portable_names import KEYS, PREFIXES, letters

MANY = settings(max_examples=scaled(10_000, "names in Key Vault", 40))
ALLOWED = re.compile(r"[0-9a-zA-Z-]{1,127}")  # the service's own rule


@functools.lru_cache(1000)
def vault(prefix: str = "", names: NameMode = "portable") -> KeyVault:
    return KeyVault.from_url(StoreURL.parse(f"azure-kv://example/{prefix}"), Settings(names=names))


@MANY
@given(PREFIXES, KEYS)
def test_every_key_fits_and_is_found_again(prefix: str, key: Key) -> None:
    """The service takes it in its own form, whatever it is made of, and a listing shows the same key."""
    store = vault(prefix)
    flat = store._name(key)
    assert ALLOWED.fullmatch(flat)
    shown = None if isinstance(key, Reserved) else key
    assert store._key(flat) == shown
    assert store._key(flat.upper()) == shown  # names know no case


@MANY
@given(PREFIXES, KEYS, PREFIXES, KEYS)
def test_no_two_keys_meet(prefix: str, key: Key, other_prefix: str, other: Key) -> None:
    """In any two stores of a vault: only the same place has the same name, in whatever case."""
    same = vault(prefix)._name(key).lower() == vault(other_prefix)._name(other).lower()
    whole = [f"{p}/{k}" if p else str(k) for p, k in ((prefix, str(key)), (other_prefix, str(other)))]
    assert not same or type(key) is type(other)
    if isinstance(key, Name) and isinstance(other, Name):
        assert same is (whole[0] == whole[1])


@MANY
@given(PREFIXES.filter(bool), letters("ab0-", 40))
def test_nothing_outside_the_prefix_is_shown(prefix: str, flat: str) -> None:
    """Whatever else a vault holds."""
    key = vault(prefix)._key(flat)
    root = flat_name(Name(prefix), "", "-") + "--"
    assert key is None or flat.startswith(root) or "-----" in flat


@pytest.mark.parametrize("name", ["MyKey", "my-key", "a--b", "A" * 127])
def test_native_names_stand_as_they_are(name: str) -> None:
    """Key Vault's own."""
    assert vault(names="native")._name(Name.parse(name, "native")) == name


@pytest.mark.parametrize("name", ["a/b", "a_b", "a.b", "ä", "A" * 128, "a-----b"])
def test_a_native_name_that_key_vault_has_not_is_refused(name: str) -> None:
    """Before anything is sent; five dashes mark our own keys."""
    with pytest.raises(InvalidRequestError):
        vault(names="native")._name(Name.parse(name, "native"))


def test_native_names_have_no_prefix() -> None:
    """There is no way to write one that a listing could tell from a name."""
    with pytest.raises(InvalidRequestError):
        vault("prod", names="native")


def test_a_place_is_one_whatever_its_case() -> None:
    """Leases are taken on it."""
    store = vault(names="native")
    places = {store.locate(Name.parse(name, "native")) for name in ("MyKey", "mykey")}
    assert places == {"https://example.vault.azure.net/secrets/mykey"}
