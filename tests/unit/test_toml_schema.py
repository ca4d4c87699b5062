"""The published JSON Schema of strongroom.toml: the reader's declaration, and the reader's judgement."""

from __future__ import annotations

import copy
import functools
import json
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.cachepolicy import CachePolicy
from strongroom.errors import InvalidRequestError
from strongroom.layers.breaker import BreakerPolicy
from strongroom.toml.file import Config, read_text
from strongroom.toml.schema import schema
from strongroom.toml.tables import CACHE
from tests.pages import ROOT, blocks
from tests.scale import scaled
from tests.unit import test_config, test_config_encrypt
from tests.unit.cli_support import Cli

PUBLISHED = ROOT / "docs" / "strongroom.schema.json"
BAD = {**test_config.BAD, **{f"{case} ": bad for case, bad in test_config_encrypt.BAD.items()}}
# What a schema cannot know: other entries, another library's judgement, what is installed.
RELATIONS = {
    *("unknown default", "unknown scheme", "encrypt key unknown", "failover unknown", "failover of failover"),
    *("failover of itself", "coordinator unknown", "coordinator of many", "url with a credential"),
    *("timeout zero", "hedge nothing", "breaker pause", "endpoint of a key", "coordinator here"),
    *("coordinator of a host", "coordinator nowhere", "coordinator with options", "coordinator with a path"),
    *(
        "keyring unknown ",
        "keyring that is a key ",
        "keyring twice ",
        "old key unknown ",
        "keyring called as a key ",
    ),
    *(
        "data_key_cache too long ",
        "data_key_cache nothing ",
        "keyring with unknown root ",
        "keyring under itself ",
    ),
    *("keyring in no store ", "keyring in a failover "),
}
FULL = """\
default = "prod"
[store.prod-eu]
url = "aws-sm://eu-west-1/prod"
encrypt = { keyring = "main", keys = ["hsm"], old_keys = ["kms"], domain = "prod", allow_plaintext = true }
timeout = "3s"
attempts = 2
auth = { profile = "prod" }
options = { recovery_window_days = 7 }
[store.dr]
url = "vault://vault.example.net/secret/prod"
endpoint = "https://vault.example.net:8200"
ca = "/etc/ca.pem"
names = "native"
auth = { method = "approle", role_id = "env://ROLE", secret_id = "strongroom://prod-eu/vault/id#/secret" }
options = { kv = 2, namespace = "team" }
[store.prod]
failover = ["prod-eu", "dr"]
hedge = "50ms"
breaker = { failures = 3, pause = "10s" }
cache = { fresh = "1m", stale = "0s", absent = "1s", size = 5, names = { "db/**" = { fresh = "1s" } } }
[store.token]
url = "pkcs11:token=prod"
module = "/usr/lib/hsm.so"
pin = "file:///run/secrets/pin"
cache = false
[store.other]
url = "acme-vault://x"
auth = { role = "r", key_of_theirs = "env://X" }
options = { anything = [1, { a = 2 }] }
[key]
kms = { url = "aws-kms://eu-west-1/alias/x", options = { grant_tokens = ["a"] } }
hsm = { url = "pkcs11:token=prod;object=kek", module = "/usr/lib/hsm.so", pin = "env://PIN" }
[keyring.main]
roots = ["kms", "hsm"]
store = "prod-eu"
[coordinator]
url = "sqlite:///var/lib/leases.db"
[profile.laptop]
default = "prod-eu"
store = { prod-eu = { url = "local:///srv/secrets.db" } }
"""


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def by_schema(document: Any) -> bool:
    return bool(validator().is_valid(document))


def by_reader(text: str) -> bool:
    try:
        read_text(Path("c.toml"), text, "")
    except InvalidRequestError:
        return False
    return True


@pytest.fixture(autouse=True)
def _acme(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme that another package registered."""
    monkeypatch.setattr("strongroom.toml.reach.is_scheme", lambda scheme: scheme != "vautl")


def test_the_published_file_is_what_is_generated() -> None:
    """`strongroom config schema > docs/strongroom.schema.json`."""
    assert json.loads(PUBLISHED.read_text()) == schema()
    assert Cli()("config", "schema").out == PUBLISHED.read_text()


def test_the_schema_is_one() -> None:
    """Of the dialect that it names."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$schema"].endswith("2020-12/schema")


def test_the_defaults_told_are_the_defaults_used(tmp_path: Path) -> None:
    """An empty table means what its class does."""
    empty = CACHE.absent_values()
    policy = CachePolicy()
    assert {name: getattr(policy, name) for name in empty} == {**empty, "names": ()}
    text = FULL.replace('{ failures = 3, pause = "10s" }', "{}")
    entry = read_text(tmp_path / "c.toml", text, "").stores["prod"]
    assert entry.breaker == BreakerPolicy()


def documents() -> Iterator[Any]:
    pages = [ROOT / "docs" / f"{page}.md" for page in ("configuration", "guide", "providers", "envelope")]
    yield from (block.text for page in pages for block in blocks(page) if block.test == "toml")
    yield from (FULL, test_config.GOOD)


@pytest.mark.parametrize("text", [*documents()], ids=lambda text: f"{len(text)} characters")
def test_what_is_right_is_right_by_the_schema_too(text: str) -> None:
    """The pages' own examples, and one of everything."""
    assert by_reader(text)
    assert by_schema(tomllib.loads(text))


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_wrong_by_the_schema_too(case: str) -> None:
    """But for what only the reader can know."""
    text = BAD[case][0]
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    assert not by_reader(text)
    assert by_schema(document) == (case in RELATIONS)


def test_every_relation_is_a_case() -> None:
    """An exception that nobody needs is none."""
    assert BAD.keys() >= RELATIONS


VALUES: list[Any] = [
    *("", "x", "prod", "prod-eu", "main", "kms", "5m", "0s", "env://X", "file:///x", "strongroom://prod/x"),
    *(
        "memory://",
        "vault://h/s",
        "aws-kms://r/k",
        "local-key:///k",
        "sqlite:///l",
        "native",
        "/x",
        "https://h",
    ),
    *(0, 1, -1, 3.5, True, False, [], ["prod"], ["kms", "kms"], [1], {}, {"url": "memory://"}, {"a": "b"}),
]
# What stands there in a file that means well; by it a document often stays right.
LIKELY: dict[str, list[Any]] = {
    "url": ["memory://", "vault://h/s", "acme://x", "aws-sm://eu-west-1/x", "aws-kms://r/k", "sqlite:///l"],
    "timeout": ["1s", "999999999d", "0s"],
    "attempts": [1, 10, 11],
    "ca": ["/x", "x"],
    "endpoint": ["https://h:1", "http://127.0.0.1:1", "http://h"],
    "names": ["native", "portable", {"a/**": {"stale": "1s"}}, {"a": {}}, {"*": {}}],
    "auth": [{}, {"profile": "x"}, {"token": "env://X"}, {"token": "x"}, {"role": "r", "jwt": "file:///x"}],
    "options": [{}, {"kv": 1}, {"kv": "2"}, {"kv": True}, {"recovery_window_days": 30}, {"tier": "x"}],
    "pin": ["env://X", "1234"],
    "module": ["/x"],
    "cache": [False, True, {}, {"fresh": "0s"}, {"size": 1}, {"poll": "0s"}],
    "encrypt": [{"keys": ["kms"], "domain": "d"}, {"keyring": "main", "domain": "d"}, {"domain": "d"}],
    "failover": [["dr"], ["prod-eu", "dr"]],
    "hedge": ["1ms", "0s"],
    "breaker": [{}, {"failures": 1}],
    "domain": ["d"],
    "forgeable": [True, False],
    "data_key_cache": ["5m", "6m"],
    "default": ["prod-eu", "dr"],
    "fresh": ["0s", "1h"],
    "roots": [["kms"], ["hsm", "kms"]],
    "file": ["/x", "x"],
}


def changed(document: Any, chance: random.Random) -> Any:
    """The document with one table changed: a key more, a key less, or another value."""
    result = copy.deepcopy(document)
    table = chance.choice([*_tables(result)])
    name = chance.choice([*table, *table, *table, *LIKELY])
    if name in table and chance.random() < 0.2:
        del table[name]
    else:
        values = LIKELY[name] if name in LIKELY and chance.random() < 0.8 else VALUES
        table[name] = copy.deepcopy(chance.choice(values))
    return result


def _tables(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from _tables(inner)


def toml(node: Any) -> str:
    """One value, in line."""
    if isinstance(node, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in node.items()) + " }"
    if isinstance(node, list):
        return f"[{', '.join(map(toml, node))}]"
    return json.dumps(node)


SMALL: Any = {"store": {"dr": {"url": "memory://"}}, "key": {"kms": {"url": "aws-kms://r/k"}}}
STARTS = [tomllib.loads(FULL), tomllib.loads(test_config.GOOD), SMALL, SMALL]


@settings(max_examples=scaled(3000, "documents that reader and schema judge alike"))
@given(st.integers(0, 2**32))
def test_what_the_reader_takes_the_schema_takes(seed: int) -> None:
    """An editor never marks what works; so what it marks does not work."""
    chance = random.Random(seed)
    document = chance.choice(STARTS)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        document = changed(document, chance)
    text = "".join(f"{json.dumps(name)} = {toml(inner)}\n" for name, inner in document.items())
    if by_reader(text):
        assert by_schema(tomllib.loads(text)), text


def test_a_config_is_read_from_its_text_alone() -> None:
    """What the tests above rest on."""
    assert isinstance(read_text(Path("c.toml"), FULL, "laptop"), Config)
