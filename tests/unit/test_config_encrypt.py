"""strongroom.toml on encryption: keyrings, old keys, transitions, data-key caches; the stores that open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.backend import Backend, Settings, Stage
from strongroom.config import Config, KeyringEntry
from strongroom.config import keyring as open_keyring
from strongroom.envelope.keyring import Keyring
from strongroom.errors import IntegrityError, InvalidRequestError, UnavailableError
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.reencrypting import encryption
from strongroom.memory import MemoryBackend
from strongroom.names import Name, Reserved
from strongroom.reencryption import reencrypt_store
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_local.keyset import KeysetFile
from tests.canary import CANARY
from tests.unit.test_config import refused, write


@contextmanager
def keyring(target: str, **options: Any) -> Iterator[Keyring]:
    """A keyring, closed at the end."""
    ring = open_keyring(target, **options)
    yield ring
    ring.close()


def made(path: Path, *targets: str) -> None:
    for target in targets:
        with keyring(target, config=path, create=True):
            pass


STORE = '[store.prod]\nurl = "memory://x"\n'
KEY = '[key.k]\nurl = "local-key:///k"\n'
KEYS = KEY + '[key.l]\nurl = "local-key:///l"\n'
RING = '[keyring.main]\nroots = ["k"]\n'


def encrypt(text: str) -> str:
    return f"{STORE}encrypt = {{ {text} }}\n{KEYS}{RING}file = '/r'\n"


BAD: dict[str, tuple[str, int, str, str]] = {
    "unknown key of encrypt": (encrypt('kyes = ["k"]'), 3, "store.prod.encrypt.kyes", "did you mean 'keys'"),
    "keyring unknown": (
        encrypt('keyring = "mian", domain = "d"'),
        *(3, "store.prod.encrypt.keyring", "did you mean 'main'"),
    ),
    "keyring that is a key": (
        encrypt('keyring = "k", domain = "d"'),
        *(3, "store.prod.encrypt.keyring", "no keyring is called 'k'"),
    ),
    "keyring without domain": (encrypt('keyring = "main"'), 3, "store.prod.encrypt", "and a domain"),
    "keyring twice": (
        encrypt('keyring = "main", keys = ["main"], domain = "d"'),
        *(3, "store.prod.encrypt.keys", "the keyring again"),
    ),
    "key twice": (
        encrypt('keys = ["k", "k"], domain = "d"'),
        *(3, "store.prod.encrypt.keys", "names a key twice"),
    ),
    "old key unknown": (
        encrypt('keys = ["k"], old_keys = ["mani"], domain = "d"'),
        *(3, "store.prod.encrypt.old_keys", "did you mean 'main'"),
    ),
    "old keys empty": (
        encrypt('keys = ["k"], old_keys = [], domain = "d"'),
        *(3, "store.prod.encrypt.old_keys", "names nothing"),
    ),
    "allow_plaintext text": (
        encrypt('keys = ["k"], domain = "d", allow_plaintext = "yes"'),
        *(3, "store.prod.encrypt.allow_plaintext", "true or false"),
    ),
    "data_key_cache too long": (
        encrypt('keys = ["k"], domain = "d", data_key_cache = "301s"'),
        *(3, "store.prod.encrypt.data_key_cache", "at most 5m"),
    ),
    "data_key_cache nothing": (
        encrypt('keys = ["k"], domain = "d", data_key_cache = "0s"'),
        *(3, "store.prod.encrypt.data_key_cache", "more than nothing"),
    ),
    "data_key_cache number": (
        encrypt('keys = ["k"], domain = "d", data_key_cache = 5'),
        *(3, "store.prod.encrypt.data_key_cache", '"30s"'),
    ),
    "keyring without roots": (f'{KEY}[keyring.main]\nfile = "/r"\n', 3, "keyring.main", "needs roots"),
    "keyring with unknown root": (
        f'{KEY}[keyring.main]\nroots = ["kk"]\nfile = "/r"\n',
        *(4, "keyring.main.roots", "did you mean 'k'"),
    ),
    "keyring under itself": (
        f'{KEY}[keyring.main]\nroots = ["main"]\nfile = "/r"\n',
        *(4, "keyring.main.roots", "no key is called 'main'"),
    ),
    "keyring nowhere": (f"{KEY}{RING}", 3, "keyring.main", "either store or file"),
    "keyring in two places": (
        f'{KEY}{RING}file = "/r"\nstore = "prod"\n{STORE}',
        *(3, "keyring.main", "either store or file"),
    ),
    "keyring in the working folder": (f'{KEY}{RING}file = "r"\n', 5, "keyring.main.file", "absolute path"),
    "keyring in no store": (
        f'{KEY}{RING}store = "prdo"\n{STORE}',
        *(5, "keyring.main.store", "did you mean 'prod'"),
    ),
    "keyring in a failover": (
        f'{KEY}{RING}store = "all"\n{STORE}[store.all]\nfailover = ["prod"]\n',
        *(5, "keyring.main.store", "is a failover"),
    ),
    "keyring called as a key": (
        f'{KEY}[keyring.k]\nroots = ["k"]\nfile = "/r"\n',
        *(3, "keyring.k", "a key has this name"),
    ),
    "unknown key of a keyring": (f'{KEY}{RING}fiel = "/r"\n', 5, "keyring.main.fiel", "did you mean 'file'"),
    "keyring forgeable text": (
        f'{KEY}{RING}file = "/r"\nforgeable = 1\n',
        *(6, "keyring.main.forgeable", "true or false"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_an_error_names_file_line_key_and_what_to_write(tmp_path: Path, case: str) -> None:
    """One look, one correction."""
    text, line, key, piece = BAD[case]
    said = str(refused(tmp_path / "c.toml", text))
    assert said.startswith(f"{tmp_path / 'c.toml'}:{line}: {key}")
    assert piece in said


def test_a_good_file_says_what_it_says(tmp_path: Path) -> None:
    """The keyring comes first, since it makes data keys without a request."""
    said = 'keyring = "main", keys = ["l"], old_keys = ["k"], domain = "d", allow_plaintext = true'
    config = Config.load(write(tmp_path / "c.toml", encrypt(f'{said}, data_key_cache = "5m"')))
    entry = config.entry("prod")
    assert (entry.keys, entry.old_keys, entry.domain) == (("main", "l"), ("k",), "d")
    assert (entry.allow_plaintext, entry.data_key_cache, entry.forgeable) == (True, 300, False)
    assert config.keyring("main") == KeyringEntry("main", ("k",), file="/r")
    with pytest.raises(InvalidRequestError, match="did you mean 'main'"):
        config.keyring("mian")
    with pytest.raises(InvalidRequestError, match="'main' is a keyring"):
        config.key("main")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with two keysets."""
    for name in "ab":
        KeysetFile(tmp_path / f"{name}.json").create()
    yield tmp_path
    MemoryBackend._shared.pop("prod", None)
    MemoryBackend._shared.pop("other", None)


def config(place: Path, text: str) -> Path:
    keys = "".join(f'[key.{name}]\nurl = "local-key://{place}/{name}.json"\n' for name in "ab")
    return write(place / "c.toml", keys + text)


IN_PROD = '[keyring.main]\nroots = ["a", "b"]\nstore = "prod"\n'
PROD = '[store.prod]\nurl = "memory://prod"\nencrypt = { keyring = "main", domain = "d" }\n'


def test_a_keyring_may_be_kept_in_the_very_store_it_encrypts(place: Path) -> None:
    """Below the encryption: it is a message under its roots, and nobody lists it."""
    path = config(place, IN_PROD + PROD)
    made(path, "main")
    with strongroom.open("prod", config=path) as store:
        store.put("db/password", CANARY)
        assert store.get("db/password").value.matches(CANARY)
        assert list(store.list_names()) == ["db/password"]
    below = open_backend("memory://prod")
    kept = below.get(Reserved("keyring", Name("main")), Stage.CURRENT).value.reveal()
    assert kept.startswith(b"\x02\x04\x78")
    again = strongroom.config.key("main", config=path)
    again.close()


def test_a_store_opens_without_its_keyring_and_says_so_when_it_is_needed(place: Path) -> None:
    """A region that is down keeps no failover from opening; a missing keyring is no missing secret ▲."""
    path = config(place, IN_PROD + PROD)
    with strongroom.open("prod", config=path) as store:
        with pytest.raises(UnavailableError, match="key create") as caught:
            store.put("db/password", CANARY)
        assert not caught.value.retryable
        made(path, "main")
        store.put("db/password", CANARY)
        assert store.get("db/password").value.matches(CANARY)


def test_two_members_share_a_keyring_and_fail_over(place: Path) -> None:
    """It is opened once, wherever it is kept; each member may have other keys beside it."""
    other = '[store.other]\nurl = "memory://other"\nencrypt = { keys = ["b", "main"], domain = "d" }\n'
    both = '[store.both]\nfailover = ["prod", "other"]\n'
    path = config(place, IN_PROD + PROD + other + both)
    made(path, "main")
    for alias in ("prod", "other"):
        with strongroom.open(alias, config=path) as store:
            store.put("db/password", CANARY)
    with strongroom.open("both", config=path) as store:
        assert store.get("db/password").value.matches(CANARY)
        assert store.put("db/other", CANARY).id.startswith("prod:")
        with pytest.raises(InvalidRequestError, match="members one by one"):
            store.reencrypt("db/password")


def test_credentials_given_to_open_reach_the_store_that_keeps_the_keyring(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened once for both, and with them."""
    seen: list[dict[str, object]] = []
    path = config(place, IN_PROD + PROD)

    def opens(url: str, settings: Settings) -> Backend:
        seen.append(dict(settings.auth))
        return open_backend(url, settings)

    monkeypatch.setattr("strongroom.config.open_backend", opens)
    strongroom.open("prod", config=path, auth={"token": SecretValue(CANARY)}).close()
    assert seen == [{"token": SecretValue(CANARY)}]


def test_a_rotated_keyring_makes_every_message_due_and_a_rewrapped_one_none(place: Path) -> None:
    """Exactly the version that wraps now is what they are to be under."""
    path = config(place, IN_PROD + PROD)
    with keyring("main", config=path, create=True) as ring, strongroom.open("prod", config=path) as store:
        store.put("db/password", CANARY)
        ring.rewrap()
        assert reencrypt_store(store).already == 1
        ring.rotate()
    with strongroom.open("prod", config=path) as store:
        assert reencrypt_store(store).done == ["db/password"]
        assert reencrypt_store(store).already == 1


def test_from_one_keyring_to_another(place: Path) -> None:
    """Until they are open each may have made any keyring's message; then each its own ▲."""
    rings = '[keyring.{}]\nroots = ["a"]\nstore = "prod"\n'
    store_of = '[store.prod]\nurl = "memory://prod"\nencrypt = {{ {}, domain = "d" }}\n'
    both = rings.format("main") + rings.format("next")
    path = config(place, both + store_of.format('keyring = "main"'))
    made(path, "main", "next")
    with strongroom.open("prod", config=path) as store:
        store.put("db/password", CANARY)
    path = config(place, both + store_of.format('keyring = "next", old_keys = ["main"]'))
    with strongroom.open("prod", config=path) as store:
        assert reencrypt_store(store, dry_run=True).due == ["db/password"]
        assert reencrypt_store(store).done == ["db/password"]
    path = config(place, both + store_of.format('keyring = "next"'))
    with strongroom.open("prod", config=path) as store:
        assert store.get("db/password").value.matches(CANARY)
        store.put("db/old", CANARY)
    path = config(place, both + store_of.format('keyring = "main"'))
    with (
        strongroom.open("prod", config=path) as store,
        pytest.raises(IntegrityError, match="not made under keyring main"),
    ):
        store.get("db/old")


def test_a_keyring_takes_the_room_that_it_says(place: Path) -> None:
    """Said before it is open, so that a store's limit needs no request."""
    path = config(place, IN_PROD + PROD)
    with strongroom.open("prod", config=path) as store:
        lazy = layer(store).keys[0]
        room = lazy.room()
        with keyring("main", config=path, create=True) as ring:
            wrapped = lazy.wrap(bytes(32), {"a": "b"})
            size = sum(2 + len(field) for field in (wrapped.provider_id.encode(), *wrapped[1:]))
            assert size <= ring.room() <= 512
            assert size <= lazy.room() == room
            assert (lazy.key_id, lazy.is_primary(wrapped), lazy.remote) == (ring.key_id, True, False)


def test_a_closed_store_closes_its_keyring_and_a_fork_keeps_it(place: Path) -> None:
    """Opened or not; whoever still holds it is told."""
    path = config(place, IN_PROD + PROD)
    made(path, "main")
    for uses in (True, False):
        store = strongroom.open("prod", config=path)
        lazy = layer(store).keys[0]
        if uses:
            store.put("db/password", CANARY)
        store._after_fork()
        if uses:
            assert store.get("db/password").value.matches(CANARY)
        store.close()
        store.close()
        with pytest.raises(InvalidRequestError, match="keyring main is closed"):
            lazy.wrap(bytes(32), {})


def layer(store: SecretStore) -> Encrypted:
    return encryption(store._backend)


def test_old_keys_open_and_encrypt_nothing(place: Path) -> None:
    """What is written anew is under the new key alone."""
    text = '[store.prod]\nurl = "memory://prod"\nencrypt = {{ {}, domain = "d" }}\n'
    with strongroom.open("prod", config=config(place, text.format('keys = ["a"]'))) as store:
        store.put("db/password", CANARY)
    path = config(place, text.format('keys = ["b"], old_keys = ["a"]'))
    with strongroom.open("prod", config=path) as store:
        assert store.get("db/password").value.matches(CANARY)
        store.put("db/other", CANARY)
    with strongroom.open("prod", config=config(place, text.format('keys = ["b"]'))) as store:
        assert store.get("db/other").value.matches(CANARY)
        with pytest.raises(IntegrityError, match="none of the configured keys"):
            store.get("db/password")


def test_the_clock_and_the_bound_of_a_data_key_cache_are_the_configured_ones(place: Path) -> None:
    """The store's own clock, so that tests need not wait; without the key there is no cache."""
    text = '[store.prod]\nurl = "memory://prod"\nencrypt = {{ keys = ["a"], domain = "d"{} }}\n'
    clock = FakeClock()
    path = config(place, text.format(', data_key_cache = "2m"'))
    with strongroom.open("prod", config=path, clock=clock) as store:
        cache = layer(store)._data_keys
        assert cache is not None
        assert (cache._max_age, cache._clock) == (120, clock.monotonic)
    with strongroom.open("prod", config=config(place, text.format(""))) as store:
        assert layer(store)._data_keys is None


def test_an_asymmetric_root_is_refused_when_the_store_opens(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a keyring under one is itself asymmetric: the store must say forgeable too ▲."""
    path = config(place, IN_PROD + PROD)
    loaded = Config.load(path)
    for key in ("a", "b"):
        opened = strongroom.config.key(key, config=loaded)
        monkeypatch.setattr(type(opened), "symmetric", False)
    with pytest.raises(InvalidRequestError, match=r"root \S+ is asymmetric"):
        strongroom.open("prod", config=loaded)
    ring = replace(loaded.keyrings["main"], forgeable=True)
    forgeable = replace(loaded, keyrings={"main": ring})
    with pytest.raises(InvalidRequestError, match="key main is asymmetric"):
        strongroom.open("prod", config=forgeable)
    entry = replace(loaded.stores["prod"], forgeable=True)
    with strongroom.open("prod", config=replace(forgeable, stores={"prod": entry})) as store:
        assert not layer(store).keys[0].symmetric
