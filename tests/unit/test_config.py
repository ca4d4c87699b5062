"""strongroom.toml: every error with file, line, key and the nearest right name; no credential in the file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import strongroom
from strongroom.backend import Capability, Settings
from strongroom.config import Config, reach
from strongroom.coordinator import SQLiteCoordinator, StoreCoordinator
from strongroom.errors import InvalidRequestError, SecretStoreError, UnsupportedOperationError
from strongroom.keys import KeyWrapper, WrappedKey
from strongroom.layers.breaker import BreakerPolicy
from strongroom.memory import ALL, MemoryBackend
from strongroom.toml import takes
from strongroom.toml.kinds import Secret
from strongroom.value import SecretValue
from strongroom_local.keyset import KeysetFile
from tests.canary import CANARY, assert_no_canary_in, plaintext

GOOD = """\
default = "prod"

[store.eu]
url = "memory://eu"
timeout = "2s"
attempts = 2

[store.us]
url = "memory://us"

[store.prod]
failover = ["eu", "us"]
hedge = "50ms"
breaker = { failures = 3, pause = "10s" }
cache = { fresh = "1m", stale = "90s" }

[key.main]
url = "local-key:///etc/strongroom/keyset.json"
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, and nothing in the environment."""
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def write(path: Path, text: str = GOOD) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def refused(path: Path, text: str) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        Config.load(write(path, text))
    return caught.value


def test_a_good_file_says_what_it_says(tmp_path: Path) -> None:
    """The table as a person reads it."""
    config = Config.load(write(tmp_path / "c.toml"))
    prod, eu = config.entry(None), config.entry("eu")
    assert (prod.alias, prod.failover) == ("prod", ("eu", "us"))
    assert prod.cache
    assert (prod.cache.fresh, prod.cache.stale) == (60, 90)
    assert (prod.hedge, prod.breaker) == (0.05, BreakerPolicy(3, 10))
    assert (eu.url, eu.settings.timeout, eu.settings.attempts) == ("memory://eu", 2, 2)
    assert config.keys["main"].url.startswith("local-key:")


def test_credentials_given_for_a_failover_are_refused(tmp_path: Path) -> None:
    """They would be ignored: nobody can tell whose they are."""
    with pytest.raises(InvalidRequestError, match="prod is a failover") as caught:
        strongroom.open("prod", config=write(tmp_path / "c.toml"), auth={"token": SecretValue(CANARY)})
    assert_no_canary_in(caught.value)


# What is wrong -> the text, the line, the key as the error spells it, and a piece of problem or hint.
STORE = '[store.prod]\nurl = "memory://x"\n'
VAULT = '[store.prod]\nurl = "vault://vault.example.net/secret"\n'
BAD: dict[str, tuple[str, int, str, str]] = {
    "no toml": ('default = "a"\n[store\n', 2, "", "not valid TOML"),
    "not closed": ('default = "a"\nx = """\n', 3, "", "not valid TOML"),
    "key twice": (STORE + 'url = "memory://y"\n', 3, "", "not valid TOML"),
    "too deep": (f"x = {'[' * 5000}", 1, "", "not valid TOML"),
    "a key of two lines": ('"a\\nb" = 1\n', 1, "a?b", "there is no such key"),
    "unknown table": ("[stroe.prod]\n", 1, "stroe", "did you mean 'store'"),
    "unknown key": (STORE + 'tiemout = "5s"\n', 3, "store.prod.tiemout", "did you mean 'timeout'"),
    "unknown default": ('default = "prdo"\n' + STORE, 1, "default", "did you mean 'prod'"),
    "default no text": ('default = ["prod"]\n' + STORE, 1, "default", "must be a string"),
    "store no table": ('store = "prod"\n', 1, "store", "must be a table"),
    "alias no table": ('[store]\nprod = "memory://"\n', 2, "store.prod", "must be a table"),
    "alias not lower case": ('[store.Prod]\nurl = "memory://"\n', 1, "store.Prod", "lower-case"),
    "neither url nor failover": ("[store.prod]\n", 1, "store.prod", "either url or failover"),
    "both url and failover": (STORE + 'failover = ["a"]\n', 1, "store.prod", "either url or failover"),
    "url no text": ("[store.prod]\nurl = 7\n", 2, "store.prod.url", "must be a string"),
    "url empty": ('[store.prod]\nurl = ""\n', 2, "store.prod.url", "must be a string"),
    "url no url": ('[store.prod]\nurl = "prod"\n', 2, "store.prod.url", "SCHEME://PLACE"),
    "url with a credential": ('[store.prod]\nurl = "vault://u:p@h/s"\n', 2, "store.prod.url", "credential"),
    "unknown scheme": ('[store.prod]\nurl = "vautl://h/s"\n', 2, "store.prod.url", "did you mean 'vault'"),
    "unknown key scheme": ('[key.k]\nurl = "local-kye:///k"\n', 2, "key.k.url", "did you mean 'local-key'"),
    "key without url": ("[key.k]\n", 1, "key.k", "needs a url"),
    "unknown key of a key": (
        '[key.k]\nurl = "local-key:///k"\nulr = 1\n',
        3,
        "key.k.ulr",
        "did you mean 'url'",
    ),
    "names": (STORE + 'names = "any"\n', 3, "store.prod.names", "'portable' or 'native'"),
    "attempts zero": (STORE + "attempts = 0\n", 3, "store.prod.attempts", "from 1 to 10"),
    "attempts true": (STORE + "attempts = true\n", 3, "store.prod.attempts", "from 1 to 10"),
    "attempts text": (STORE + 'attempts = "3"\n', 3, "store.prod.attempts", "from 1 to 10"),
    "timeout bare": (STORE + "timeout = 5\n", 3, "store.prod.timeout", '"30s"'),
    "timeout words": (STORE + 'timeout = "5 minutes"\n', 3, "store.prod.timeout", '"30s"'),
    "timeout negative": (STORE + 'timeout = "-5s"\n', 3, "store.prod.timeout", '"30s"'),
    "timeout zero": (STORE + 'timeout = "0s"\n', 3, "store.prod.timeout", "more than nothing"),
    "timeout digits": (STORE + 'timeout = "\u0665s"\n', 3, "store.prod.timeout", '"30s"'),
    "ca no text": (STORE + "ca = true\n", 3, "store.prod.ca", "must be a string"),
    "options no table": (STORE + "options = 1\n", 3, "store.prod.options", "must be a table"),
    "auth no table": (STORE + 'auth = "token"\n', 3, "store.prod.auth", "must be a table"),
    "auth no text": (VAULT + "auth = { role = 7 }\n", 3, "store.prod.auth.role", "must be a string"),
    "auth of another scheme": (
        VAULT + 'auth = { profile = "p" }\n',
        *(3, "store.prod.auth.profile", "there is no such key"),
    ),
    "auth misspelled": (
        VAULT + 'auth = { rolle = "p" }\n',
        *(3, "store.prod.auth.rolle", "did you mean 'role'"),
    ),
    "auth of a scheme without": (
        STORE + 'auth = { token = "env://T" }\n',
        *(3, "store.prod.auth.token", "it takes none"),
    ),
    "option misspelled": (
        VAULT + 'options = { namespaec = "t" }\n',
        *(3, "store.prod.options.namespaec", "did you mean 'namespace'"),
    ),
    "option out of bounds": (
        '[store.prod]\nurl = "aws-sm://eu-west-1/p"\noptions = { recovery_window_days = 3 }\n',
        *(3, "store.prod.options.recovery_window_days", "from 7 to 30"),
    ),
    "cache true": (STORE + "cache = true\n", 3, "store.prod.cache", "must be a table"),
    "cache key": (STORE + 'cache = { fersh = "1s" }\n', 3, "store.prod.cache.fersh", "did you mean 'fresh'"),
    "cache bound": (STORE + "cache = { fresh = 60 }\n", 3, "store.prod.cache.fresh", '"30s"'),
    "encrypt no table": (STORE + 'encrypt = "main"\n', 3, "store.prod.encrypt", "must be a table"),
    "encrypt without keys": (
        STORE + 'encrypt = { domain = "d" }\n',
        3,
        "store.prod.encrypt",
        "keys or a keyring, and a domain",
    ),
    "encrypt key unknown": (
        STORE + '[store.prod.encrypt]\ndomain = "d"\nkeys = ["mian"]\n[key.main]\nurl = "local-key:///k"\n',
        *(5, "store.prod.encrypt.keys", "did you mean 'main'"),
    ),
    "encrypt keys text": (
        STORE + 'encrypt = { keys = "main", domain = "d" }\n',
        *(3, "store.prod.encrypt.keys", "list of strings"),
    ),
    "encrypt keys nested": (
        STORE + 'encrypt = { keys = [["main"]], domain = "d" }\n',
        *(3, "store.prod.encrypt.keys", "list of strings"),
    ),
    "forgeable text": (
        STORE
        + 'encrypt = { keys = ["m"], domain = "d", forgeable = "yes" }\n[key.m]\nurl = "local-key:///k"\n',
        *(3, "store.prod.encrypt.forgeable", "true or false"),
    ),
    "failover text": ('[store.prod]\nfailover = "eu"\n', 2, "store.prod.failover", "list of strings"),
    "failover number": ("[store.prod]\nfailover = 1\n", 2, "store.prod.failover", "list of strings"),
    "failover empty": ("[store.prod]\nfailover = []\n", 2, "store.prod.failover", "names nothing"),
    "failover unknown": (
        '[store.prod-eu]\nurl = "memory://"\n[store.prod]\nfailover = ["prod-ue"]\n',
        *(4, "store.prod.failover", "did you mean 'prod-eu'"),
    ),
    "failover of failover": (
        STORE + '[store.a]\nfailover = ["prod"]\n[store.b]\nfailover = ["a"]\n',
        *(6, "store.b.failover", "itself a failover"),
    ),
    "failover of itself": ('[store.a]\nfailover = ["a"]\n', 2, "store.a.failover", "itself a failover"),
    "failover twice": (STORE + '[store.a]\nfailover = ["prod", "prod"]\n', 4, "store.a.failover", "twice"),
    "failover with more": (
        STORE + '[store.a]\nfailover = ["prod"]\ntimeout = "5s"\n',
        *(5, "store.a.timeout", "its members have the rest"),
    ),
    "hedge alone": (STORE + 'hedge = "50ms"\n', 3, "store.prod.hedge", "with failover only"),
    "hedge nothing": (
        STORE + '[store.a]\nfailover = ["prod"]\nhedge = "0s"\n',
        *(5, "store.a.hedge", "more than nothing"),
    ),
    "breaker alone": (STORE + "breaker = { failures = 3 }\n", 3, "store.prod.breaker", "with failover only"),
    "breaker key": (
        STORE + '[store.a]\nfailover = ["prod"]\nbreaker = { failure = 3 }\n',
        *(5, "store.a.breaker.failure", "did you mean 'failures'"),
    ),
    "breaker failures": (
        STORE + '[store.a]\nfailover = ["prod"]\nbreaker = { failures = 0 }\n',
        *(5, "store.a.breaker.failures", "from 1 to 1000"),
    ),
    "breaker pause": (
        STORE + '[store.a]\nfailover = ["prod"]\nbreaker = { pause = "0s" }\n',
        *(5, "store.a.breaker.pause", "more than nothing"),
    ),
    "coordinator no table": ('coordinator = "sqlite:///l.db"\n', 1, "coordinator", "must be a table"),
    "coordinator without url": ('[coordinator]\nulr = "sqlite:///l.db"\n', 2, "coordinator.ulr", "'url'"),
    "coordinator elsewhere": (
        '[coordinator]\nurl = "redis://h/0"\n',
        *(2, "coordinator.url", "sqlite:///path"),
    ),
    "coordinator no url": ('[coordinator]\nurl = "leases.db"\n', 2, "coordinator.url", "SCHEME://PLACE"),
    "coordinator here": ('[coordinator]\nurl = "sqlite:leases.db"\n', 2, "coordinator.url", "sqlite:///path"),
    "coordinator of a host": (
        '[coordinator]\nurl = "sqlite://tmp/leases.db"\n',
        *(2, "coordinator.url", "sqlite:///path"),
    ),
    "coordinator nowhere": ('[coordinator]\nurl = "sqlite://"\n', 2, "coordinator.url", "sqlite:///path"),
    "coordinator with options": (
        '[coordinator]\nurl = "sqlite:///l.db?mode=ro"\n',
        *(2, "coordinator.url", "sqlite:///path"),
    ),
    "coordinator unknown": (
        STORE + '[coordinator]\nurl = "strongroom://prdo"\n',
        *(4, "coordinator.url", "did you mean 'prod'"),
    ),
    "coordinator with a path": (
        STORE + '[coordinator]\nurl = "strongroom://prod/leases"\n',
        *(4, "coordinator.url", "strongroom://ALIAS"),
    ),
    "coordinator of many": (
        STORE + '[store.all]\nfailover = ["prod"]\n[coordinator]\nurl = "strongroom://all"\n',
        *(6, "coordinator.url", "one place"),
    ),
    "module of a key": (
        '[key.k]\nurl = "pkcs11:token=t"\nmodule = ["a"]\n',
        *(3, "key.k.module", "must be a string"),
    ),
    "module empty": ('[key.k]\nurl = "pkcs11:token=t"\nmodule = ""\n', 3, "key.k.module", "must be a string"),
    "pin in the file": ('[key.k]\nurl = "pkcs11:token=t"\npin = "1234"\n', 3, "key.k.pin", "env://VAR"),
    "pin no text": ('[key.k]\nurl = "pkcs11:token=t"\npin = 1234\n', 3, "key.k.pin", "must be a string"),
    "pin of a store": (STORE + 'pin = "1234"\n', 3, "store.prod.pin", "env://VAR"),
    "timeout of a key": ('[key.k]\nurl = "local-key:///k"\ntimeout = 5\n', 3, "key.k.timeout", '"30s"'),
    "endpoint of a key": (
        '[key.k]\nurl = "local-key:///k"\nendpoint = "http://kms.example"\n',
        *(3, "key.k.endpoint", "https://HOST:PORT"),
    ),
    "auth of a key": (
        '[key.k]\nurl = "vault-transit://v.example.net/transit/k"\nauth = { token = "t" }\n',
        *(3, "key.k.auth.token", "env://VAR"),
    ),
    "cache of a key": ('[key.k]\nurl = "local-key:///k"\ncache = false\n', 3, "key.k.cache", "no such key"),
    "the second of two": (
        STORE + 'timeout = "5s"\n[store.b]\nurl = "memory://"\n# timeout = "1s"\ntimeout = 5\n',
        *(7, "store.b.timeout", '"30s"'),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_an_error_names_file_line_key_and_what_to_write(tmp_path: Path, case: str) -> None:
    """One look, one correction."""
    text, line, key, piece = BAD[case]
    said = str(refused(tmp_path / "c.toml", text))
    assert said.startswith(f"{tmp_path / 'c.toml'}:{line}: {key}")
    assert piece in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "endpoint",
    [
        *("http://vault.example.net:8200", "http://localhost:8200", "http://127.0.0.1.evil.example"),
        *("http://127.0.0.1@evil.example", "https://user:pw@vault.example.net", "ftp://127.0.0.1"),
        *("https://", "https://evil.example\\\\@vault", "//vault.example.net", "vault.example.net"),
        "https://vault.example.net/?x=1",
    ],
)
def test_an_endpoint_is_https_or_literal_loopback(tmp_path: Path, endpoint: str) -> None:
    """Plain HTTP shows the token to the network; a userinfo is a credential."""
    error = refused(tmp_path / "c.toml", f'{STORE}endpoint = "{endpoint}"\n')
    assert "store.prod.endpoint" in str(error)


@pytest.mark.parametrize(
    "endpoint", ["https://v.example.net:8200", "http://127.0.0.1:8200", "http://[::1]:82"]
)
def test_a_configured_endpoint_may_be_any_https_host(tmp_path: Path, endpoint: str) -> None:
    """What a URL may not say, the file may."""
    config = Config.load(write(tmp_path / "c.toml", f'{STORE}endpoint = "{endpoint}"\n'))
    assert config.entry("prod").settings.endpoint == endpoint


CREDENTIALS = [
    (scheme, name)
    for tables in (takes.STORES, takes.KEYS)
    for scheme, table in tables.items()
    for name, kind in table.auth.items()
    if isinstance(kind, Secret)
]


LITERALS = [CANARY, f"env:{CANARY}", f"file://{CANARY}", f"https://{CANARY}", "env://", "strongroom://"]


@pytest.mark.parametrize(("scheme", "name"), CREDENTIALS)
def test_a_credential_never_stands_in_the_file_and_the_error_does_not_repeat_it(
    tmp_path: Path, scheme: str, name: str
) -> None:
    """Files are committed, copied and shown ▲. What is not known to be plain may be a credential."""
    path = plaintext(tmp_path / "c.toml", "the bad configuration under test")
    group = "store" if scheme in takes.STORES else "key"
    for literal in LITERALS:
        text = f'[{group}.prod]\nurl = "{scheme}://x/y"\nauth = {{ {name} = "{literal}" }}\n'
        error = refused(path, text)
        assert f"{group}.prod.auth.{name}: must not stand in the file" in str(error)
        assert "env://VAR" in str(error)
        assert_no_canary_in(error)


@pytest.mark.parametrize("name", ["tokne", "api_key"])
def test_a_credential_under_a_key_that_is_none_is_not_repeated_either(tmp_path: Path, name: str) -> None:
    """Its nearest name is."""
    path = plaintext(tmp_path / "c.toml", "the bad configuration under test")
    error = refused(path, f'{VAULT}auth = {{ {name} = "{CANARY}" }}\n')
    assert f"store.prod.auth.{name}: there is no such key" in str(error)
    assert_no_canary_in(error)


def test_another_mistake_does_not_show_a_credential_either(tmp_path: Path) -> None:
    """Whatever the line that fails: the frames of the reader hold the whole file."""
    path = plaintext(tmp_path / "c.toml", "the bad configuration under test")
    for mistake in ("tiemout = 1\n", "x = [\n", "attempts = 99\n"):
        assert_no_canary_in(refused(path, f"{STORE}{mistake}auth = {{ token = '{CANARY}' }}\n"))


def auth_of(path: Path, line: str) -> Any:
    config = Config.load(write(path, f"{VAULT}auth = {{ {line} }}\n"))
    return reach(config.entry("prod"), config).auth


def test_credentials_come_from_the_environment_and_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SecretValues; one newline at a file's end is the editor's, not the password's."""
    monkeypatch.setenv("TOKEN", CANARY)
    file = plaintext(tmp_path / "secret", "a credential as an orchestrator mounts it")
    file.write_text(f"{CANARY} \n")
    auth = auth_of(tmp_path / "c.toml", f'token = "env://TOKEN", secret_id = "file://{file}", role = "r"')
    assert auth["token"] == SecretValue(CANARY)
    assert auth["secret_id"] == SecretValue(f"{CANARY} ")
    assert auth["role"] == "r"
    assert CANARY not in repr(Config.load(tmp_path / "c.toml"))


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_missing_or_empty_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """An empty token would be sent, and refused, as somebody's."""
    monkeypatch.delenv("TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN", value)
    with pytest.raises(InvalidRequestError) as caught:
        auth_of(tmp_path / "c.toml", 'token = "env://TOKEN"')
    assert "c.toml:3: store.prod.auth.token: the environment has no TOKEN" in str(caught.value)


def test_a_credentials_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    (tmp_path / "binary").write_bytes(b"\xff")
    for name, why in (("gone", "No such file"), ("here", "directory"), ("binary", "not UTF-8")):
        with pytest.raises(InvalidRequestError) as caught:
            auth_of(tmp_path / "c.toml", f'token = "file://{tmp_path / name}"')
        assert "c.toml:3: store.prod.auth.token" in str(caught.value)
        assert why in str(caught.value)


def test_a_credential_is_asked_for_when_its_store_opens_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may name what only some machines have, and a changed credential is found changed."""
    monkeypatch.delenv("TOKEN", raising=False)
    other = '[store.other]\nurl = "memory://"\n'
    config = Config.load(write(tmp_path / "c.toml", f'{other}{VAULT}auth = {{ token = "env://TOKEN" }}\n'))
    strongroom.open("other", config=config).close()
    with pytest.raises(InvalidRequestError, match="TOKEN"):
        strongroom.open("prod", config=config)
    monkeypatch.setenv("TOKEN", CANARY)
    assert reach(config.entry("prod"), config).auth == {"token": SecretValue(CANARY)}


def test_the_file_given_comes_before_the_variable_and_that_before_the_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--config`, `STRONGROOM_CONFIG`, `./strongroom.toml`."""
    given, named = write(elsewhere / "given.toml"), write(elsewhere / "named.toml")
    write(elsewhere / "here" / "strongroom.toml")
    monkeypatch.setenv("STRONGROOM_CONFIG", str(named))
    assert Config.load(given).path == given
    assert Config.load().path == named
    monkeypatch.delenv("STRONGROOM_CONFIG")
    assert Config.load().path == Path("strongroom.toml")


def test_a_parent_folders_file_is_never_read(elsewhere: Path) -> None:
    """In a shared folder it could be somebody else's, and name his store ▲."""
    write(elsewhere / "strongroom.toml")
    assert Config.load() == Config()
    with pytest.raises(InvalidRequestError, match="strongroom init"):
        Config.load().entry("prod")


def test_a_file_that_was_named_must_be_there(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Falling back to another one would open another store."""
    write(elsewhere / "here" / "strongroom.toml")
    with pytest.raises(InvalidRequestError, match=r"gone\.toml: No such file"):
        Config.load(elsewhere / "gone.toml")
    monkeypatch.setenv("STRONGROOM_CONFIG", str(elsewhere / "gone.toml"))
    with pytest.raises(InvalidRequestError, match=r"gone\.toml: No such file"):
        strongroom.open("prod")


@pytest.mark.parametrize(
    ("mode", "good"), [(0o600, True), (0o644, True), (0o664, True), (0o602, False), (0o666, False)]
)
def test_a_file_that_anybody_may_write_is_refused(tmp_path: Path, mode: int, good: bool) -> None:
    """It decides where secrets go ▲."""
    path = write(tmp_path / "c.toml")
    path.chmod(mode)
    if good:
        assert Config.load(path).path == path
    else:
        with pytest.raises(InvalidRequestError, match="anybody may write it"):
            Config.load(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Said as such, and without its bytes."""
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequestError, match="not UTF-8"):
        Config.load(path)


def test_an_alias_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """And without a default, a store must be named."""
    config = Config.load(write(tmp_path / "c.toml"))
    with pytest.raises(InvalidRequestError, match="did you mean 'prod'"):
        config.entry("prodd")
    with pytest.raises(InvalidRequestError, match="no store was named"):
        Config(stores=dict(list(config.stores.items())[:2])).entry(None)


def test_a_url_needs_no_file() -> None:
    """Eight lines of code in the README work anywhere."""
    with strongroom.open("memory://") as store:
        store.put("db/password", "v")
        assert store.get("db/password").value.matches("v")


def test_failover_opens_each_member_by_its_own_table(tmp_path: Path) -> None:
    """Writes reach the first, and versions say so."""
    with strongroom.open(config=write(tmp_path / "c.toml")) as store:
        assert store.put("db/password", "v").id.startswith("eu:")
        assert (store.alias, store.origin) == ("prod", "failover:eu,us")


def test_an_encrypt_table_puts_its_key_over_the_store(tmp_path: Path) -> None:
    """What lies below holds a message; the store opens it."""
    KeysetFile(tmp_path / "keyset.json").create()
    key = f'[key.main]\nurl = "local-key://{tmp_path}/keyset.json"\n'
    url = f"memory://{tmp_path.name}"
    table = f'[store.prod]\nurl = "{url}"\nencrypt = {{ keys = ["main"], domain = "prod" }}\n'
    with strongroom.open("prod", config=write(tmp_path / "c.toml", key + table)) as store:
        store.put("db/password", CANARY)
        assert store.get("db/password").value.matches(CANARY)
    with strongroom.open(url) as below:
        assert below.get("db/password").value.reveal()[:1] == b"\x02"


class Watched(MemoryBackend):
    """Knows how many are open."""

    open_now = 0

    def __init__(self) -> None:
        super().__init__(Capability.PUT)
        Watched.open_now += 1

    def close(self) -> None:
        Watched.open_now -= 1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """memory:// opens a backend that is counted; `memory://broken` does not open."""

    def from_url(url: Any, settings: Any) -> MemoryBackend:
        if url.host == "broken":
            raise InvalidRequestError("broken")
        return Watched()

    monkeypatch.setattr(Watched, "open_now", 0)
    monkeypatch.setattr(MemoryBackend, "from_url", from_url)


@pytest.mark.usefixtures("watched")
def test_a_store_that_may_not_open_leaves_nothing_open(tmp_path: Path) -> None:
    """A required capability that is missing, a member or a key that fails: connections are given back."""
    with pytest.raises(UnsupportedOperationError):
        strongroom.open("memory://x", require=Capability.CAS)
    members = '[store.a]\nurl = "memory://a"\n[store.b]\nurl = "memory://broken"\n'
    path = write(tmp_path / "c.toml", members + '[store.prod]\nfailover = ["a", "b"]\n')
    with pytest.raises(SecretStoreError, match="broken"):
        strongroom.open("prod", config=path)
    key = f'[key.k]\nurl = "local-key://{tmp_path}/gone.json"\n'
    write(path, f'{key}[store.prod]\nurl = "memory://a"\nencrypt = {{ keys = ["k"], domain = "d" }}\n')
    with pytest.raises(SecretStoreError):
        strongroom.open("prod", config=path)
    assert Watched.open_now == 0


def test_a_key_says_how_it_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a store does; module and pin stand for what a token needs."""
    monkeypatch.setenv("PIN", CANARY)
    text = """\
[key.hsm]
url = "pkcs11:token=main;object=kek"
module = "/usr/lib/softhsm/libsofthsm2.so"
pin = "env://PIN"
options = { mechanism = "aes-gcm" }

[key.kms]
url = "aws-kms://eu-west-1/alias/strongroom"
endpoint = "https://kms.example.net"
ca = "/etc/ca.pem"
timeout = "2s"
attempts = 2
auth = { profile = "keys" }
"""
    config = Config.load(write(tmp_path / "c.toml", text))
    hsm, kms = config.key("hsm").settings, config.key("kms").settings
    assert hsm.options == {"mechanism": "aes-gcm", "module": "/usr/lib/softhsm/libsofthsm2.so"}
    assert dict(hsm.auth) == {"pin": SecretValue(CANARY)}
    assert (kms.endpoint, kms.ca, kms.timeout, kms.attempts) == (
        "https://kms.example.net",
        "/etc/ca.pem",
        2,
        2,
    )
    assert dict(kms.auth) == {"profile": "keys"}
    assert CANARY not in repr(config)


LOADED = """
import sys
from strongroom.toml.file import Config
assert Config.load({path!r}).stores
late = ["difflib", "json", "strongroom.references", "strongroom.store", "jsonschema"]
late += [f"strongroom.toml.{{name}}" for name in ("lines", "circles", "schema", "markdown")]
print([name for name in sys.modules if name in late or name.startswith(("strongroom_", "boto"))])
"""


def test_a_good_file_is_read_without_what_only_errors_need(tmp_path: Path) -> None:
    """Each start of the command line reads it: no backend is loaded, nothing is looked for."""
    path = write(tmp_path / "c.toml", f'{GOOD}[store.v]\nurl = "vault://h/s"\nauth.token = "env://X"\n')
    code = LOADED.format(path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_key_is_named_by_alias_or_url(tmp_path: Path) -> None:
    """As a store is; a typo has a hint."""
    config = Config.load(write(tmp_path / "c.toml"))
    assert config.key("main").url == "local-key:///etc/strongroom/keyset.json"
    assert config.key("local-key:///other.json").url == "local-key:///other.json"
    with pytest.raises(InvalidRequestError, match="did you mean 'main'"):
        config.key("mian")


class Held(MemoryBackend):
    """Keeps what it was opened with, and tells when it ends."""

    opened: ClassVar[list[Settings]] = []
    told: ClassVar[list[str]] = []

    def close(self) -> None:
        Held.told.append(f"close {self.origin}")

    def after_fork(self) -> None:
        Held.told.append(f"fork {self.origin}")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> type[Held]:
    """memory:// opens one that is watched, and aws-kms:// a key of this process."""

    def from_url(url: Any, settings: Settings) -> MemoryBackend:
        Held.opened.append(settings)
        if url.host == "broken":
            raise InvalidRequestError("broken")
        return Held(ALL if url.host != "weak" else Capability.PUT, origin=url.host)

    def open_key(url: str, settings: Settings) -> Any:
        if "broken" in url:
            raise InvalidRequestError("broken")
        return Ended(url)

    monkeypatch.setattr(Held, "opened", [])
    monkeypatch.setattr(Held, "told", [])
    monkeypatch.setattr(MemoryBackend, "from_url", from_url)
    for name in ("open_key", "open_signer"):
        monkeypatch.setattr(f"strongroom.config.{name}", open_key)
    return Held


class Ended(KeyWrapper):
    """A key that tells when it ends."""

    provider_id = "acme"

    def __init__(self, url: str):
        self.key_id = url

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        raise AssertionError

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        raise AssertionError

    def close(self) -> None:
        Held.told.append(f"close {self.key_id}")

    def after_fork(self) -> None:
        Held.told.append(f"fork {self.key_id}")


KEYED = """\
[coordinator]
url = "{coordinator}"
[store.lease]
url = "memory://lease"
[store.weak]
url = "memory://weak"
[store.prod]
url = "memory://{store}"
encrypt = {{ keys = ["a", "b"], domain = "prod" }}
[key.a]
url = "aws-kms://eu-west-1/alias/a"
[key.b]
url = "aws-kms://eu-west-1/alias/{key}"
"""


def keyed(path: Path, coordinator: str = "strongroom://lease", store: str = "x", key: str = "b") -> Path:
    return write(path / "c.toml", KEYED.format(coordinator=coordinator, store=store, key=key))


def test_a_store_gets_the_coordinator_and_ends_it_and_its_keys(held: type[Held], tmp_path: Path) -> None:
    """First the store itself, then what it stood on; each once, however often it is closed."""
    store = strongroom.open("prod", config=keyed(tmp_path))
    assert [type(settings.coordinator) for settings in held.opened] == [type(None), StoreCoordinator]
    store._after_fork()
    keys = [f"aws-kms://eu-west-1/alias/{name}" for name in "ab"]
    assert set(held.told) == {f"fork {name}" for name in ("lease", "x", *keys)}
    held.told.clear()
    store.close()
    store.close()
    assert held.told == [f"close {name}" for name in ("x", *keys[::-1], "lease")]


def test_every_store_meets_at_the_same_file(held: type[Held], tmp_path: Path) -> None:
    """sqlite:///: made when it is first needed, and not before."""
    leases = tmp_path / "leases.db"
    with strongroom.open("prod", config=keyed(tmp_path, f"sqlite://{leases}")):
        coordinator = held.opened[-1].coordinator
        assert isinstance(coordinator, SQLiteCoordinator)
        assert not leases.exists()
        assert coordinator.acquire("x", 1)
    assert leases.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"store": "broken"}, "broken"),
        ({"key": "broken"}, "broken"),
        ({"coordinator": "strongroom://weak"}, "weak"),
    ],
)
def test_a_store_that_does_not_open_ends_what_was_opened_for_it(
    held: type[Held], tmp_path: Path, change: dict[str, str], why: str
) -> None:
    """Coordinator, keys and stores, whichever of them fails."""
    with pytest.raises(InvalidRequestError, match=why):
        strongroom.open("prod", config=keyed(tmp_path, **change))
    ended = {line for line in held.told if line.startswith("close")}
    expected = {"close weak"} if why == "weak" else {"close lease"}
    if change.get("key"):
        expected |= {"close aws-kms://eu-west-1/alias/a", "close x"}
    assert ended == expected


def test_without_a_coordinator_a_store_has_none(held: type[Held], tmp_path: Path) -> None:
    """And what needs one is refused by the store."""
    with strongroom.open("eu", config=write(tmp_path / "c.toml")):
        assert held.opened[-1].coordinator is None


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("opens", [strongroom.key, strongroom.signer])
def test_a_key_and_a_signer_open_by_alias_and_by_url(opens: Callable[..., Any], tmp_path: Path) -> None:
    """With the settings of their table; whoever opened them closes them."""
    config = keyed(tmp_path)
    assert opens("a", config=config).key_id == "aws-kms://eu-west-1/alias/a"
    assert opens("aws-kms://eu-west-1/alias/c", config=config).key_id == "aws-kms://eu-west-1/alias/c"
    with pytest.raises(InvalidRequestError, match="no key is called"):
        opens("prod", config=config)
