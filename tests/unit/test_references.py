"""References: what is one, what it means, and what a document is with its references resolved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strongroom
from strongroom.errors import InvalidRequestError, PartialFailureError, SecretNotFoundError, SecretStoreError
from strongroom.memory import MemoryBackend
from strongroom.references import Document, Reference, Resolver, is_reference
from strongroom.store import SecretStore
from strongroom.testing import override
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.scale import NIGHTLY, scaled

PASSWORD = "strongroom://prod/db/password"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PASSWORD, Reference("prod", "db/password")),
        ("strongroom://prod-eu.2/a?version=7", Reference("prod-eu.2", "a", "7")),
        ("strongroom://prod/db/login#/a/b~1c", Reference("prod", "db/login", None, "/a/b~1c")),
        ("strongroom://prod/db/login?version=7#/a?b", Reference("prod", "db/login", "7", "/a?b")),
        ("strongroom://prod/a#", Reference("prod", "a")),
        ("strongroom://prod/Native%20Name%3F", Reference("prod", "Native Name?")),
        ("strongroom://prod/a?version=3.2026-01-01T00:00+0", Reference("prod", "a", "3.2026-01-01T00:00+0")),
        ("strongroom://prod/a?version=x%26y", Reference("prod", "a", "x&y")),
        ("strongroom://prod/a#/caf%C3%A9/%25", Reference("prod", "a", None, "/café/%")),
        ("strongroom://prod/a%2541", Reference("prod", "a%41")),
    ],
)  # fmt: skip
def test_references_are_read(text: str, expected: Reference) -> None:
    """Alias, name, version and pointer; all but the alias are percent-decoded, once."""
    assert is_reference(text)
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "strongroom://",
        "strongroom://prod",
        "strongroom:///db/password",
        "strongroom://prod/",
        "strongroom://Prod/a",
        "strongroom://pr%6Fd/a",
        "strongroom://user@prod/a",
        "strongroom://vault:8200/a",
        "strongroom://prod/a?",
        "strongroom://prod/a?stage=pending",
        "strongroom://prod/a?stage=current",
        "strongroom://prod/a?version=",
        "strongroom://prod/a?version=1&stage=current",
        "strongroom://prod/a?version=1&version=2",
        "strongroom://prod/a#password",
        "strongroom://prod/a%2Fb",
        "strongroom://prod/a%",
        "strongroom://prod/a%4",
        "strongroom://prod/a%zz",
        "strongroom://prod/a#/%ff",
        "strongroom://prod/a\n",
        f"strongroom://prod/{'a' * 5000}",
        "strongroom://prod/\ud800",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """It was meant as one: it is an error with a hint, and never a text that stays as it is."""
    with pytest.raises(InvalidRequestError) as refused:
        Reference.parse(text)
    assert refused.value.hint


@pytest.mark.parametrize(
    "text", ["", "db/password", " strongroom://prod/a", "x=strongroom://prod/a", 7, None]
)
def test_only_a_whole_text_is_a_reference(text: object) -> None:
    """Not one that stands somewhere inside."""
    assert not is_reference(text)


_PLAIN = st.text(st.characters(categories=["L", "N", "P", "Zs", "S"]), min_size=1, max_size=20)


@settings(max_examples=500 if NIGHTLY else 50, deadline=None)
@given(name=_PLAIN, version=st.none() | _PLAIN, keys=st.lists(_PLAIN, max_size=3))
def test_what_is_encoded_comes_back(name: str, version: str | None, keys: list[str]) -> None:
    """Whatever a native name, a version or a key of JSON holds can be written in a reference."""
    from urllib.parse import quote

    pointer = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)
    query = f"?version={quote(version, safe='')}" if version else ""
    text = f"strongroom://prod/{quote(name, safe='/')}{query}#{quote(pointer, safe='')}"
    assert Reference.parse(text) == Reference("prod", name, version, pointer)


@settings(max_examples=500 if NIGHTLY else 50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """With one error, whatever comes."""
    with contextlib.suppress(InvalidRequestError):
        assert Reference.parse(f"strongroom://{text}").alias


@pytest.fixture
def prod() -> Iterator[SecretStore]:
    """A store with a password, a login, and a secret that reads like a reference."""
    with SecretStore(MemoryBackend(), alias="prod") as store:
        store.put("db/password", CANARY)
        store.put("db/login", {"user": "app", "password": CANARY, "ports": [1, 2]})
        store.put("evil", PASSWORD)
        store.put("raw", b"\xff" + CANARY.encode())
        yield store


def _resolve(document: Any, prod: SecretStore, **more: Any) -> Any:
    return strongroom.resolve(document, allow=["prod"], stores={"prod": prod}, **more)


def test_a_document_comes_back_with_its_secrets(prod: SecretStore) -> None:
    """Deep in dicts, lists and tuples; everything else as it was; the document itself is not touched."""
    document = {
        "db": {"password": PASSWORD, "port": 5432, "hosts": ["a", f"{PASSWORD}"]},
        "user": ("strongroom://prod/db/login#/user", None),
        PASSWORD: "a key is no reference",
        "url": f"postgres://app:{PASSWORD}@db",
        "ports": "strongroom://prod/db/login#/ports",
    }
    before = repr(document)
    resolved = _resolve(document, prod)
    assert resolved["db"]["password"].matches(CANARY)
    assert resolved["db"]["hosts"] == ["a", SecretValue(CANARY)]
    assert resolved["user"] == (SecretValue("app"), None)
    assert resolved["ports"].matches("[1, 2]")
    assert (resolved["db"]["port"], resolved["url"]) == (5432, document["url"])
    assert resolved[PASSWORD] == "a key is no reference"
    assert repr(document) == before
    assert_no_canary(repr(resolved), str(resolved))


def test_plain_text_comes_on_request_alone(prod: SecretStore) -> None:
    """Text as str, binary as bytes; one text alone is a document too."""
    assert _resolve(PASSWORD, prod).matches(CANARY)
    assert _resolve([PASSWORD, "strongroom://prod/raw"], prod, reveal=True) == [
        CANARY,
        b"\xff" + CANARY.encode(),
    ]


def test_what_a_secret_holds_is_never_resolved(prod: SecretStore) -> None:
    """Whoever may write `evil` does not thereby read `db/password`."""
    assert _resolve({"a": "strongroom://prod/evil"}, prod)["a"].matches(PASSWORD)


def test_who_may_be_named_must_be_said(prod: SecretStore) -> None:
    """`allow` has no default; a text, whose letters would be aliases, is refused."""
    with pytest.raises(TypeError):
        strongroom.resolve({}, stores={"prod": prod})  # type: ignore[call-arg]
    with pytest.raises(InvalidRequestError, match="list of aliases"):
        strongroom.resolve({}, allow="prod")


def test_a_store_that_is_not_allowed_is_never_opened(tmp_path: Path) -> None:
    """Not even to find out whether there is such a store."""
    opened: list[str] = []

    def open_store(alias: str) -> SecretStore:
        opened.append(alias)
        raise SecretNotFoundError("no")

    with Resolver(open_store, ["prod"]) as resolver, pytest.raises(PartialFailureError) as failed:
        resolver.read({"a": "strongroom://other/x", "b": PASSWORD})
    assert opened == ["prod"]
    assert "not allowed" in str(failed.value.errors["a"])


def test_all_failures_are_told_at_once(prod: SecretStore) -> None:
    """Each by the place it stands at; what worked is there too, and no value shows."""
    document = {
        "good": PASSWORD,
        "a/b": ["strongroom://prod/missing"],
        "illegal": "strongroom://prod/NOT LEGAL",
        "malformed": "strongroom://prod",
        "version": "strongroom://prod/db/password?version=999",
        "pointer": "strongroom://prod/db/login#/nothing",
        "no-json": f"{PASSWORD}#/x",
        "denied": "strongroom://other/db/password",
    }
    with pytest.raises(PartialFailureError) as failed:
        _resolve(document, prod)
    kinds = {place: type(error) for place, error in failed.value.errors.items()}
    assert kinds.pop("/a~1b/0") is SecretNotFoundError
    assert kinds.pop("/version") is SecretNotFoundError
    assert kinds == dict.fromkeys(
        ("/illegal", "/malformed", "/pointer", "/no-json", "/denied"), InvalidRequestError
    )
    assert failed.value.results["/good"].matches(CANARY)
    assert "7 of 8" in str(failed.value)
    assert_no_canary_in(failed.value)


def test_a_store_that_does_not_open_fails_its_references(tmp_path: Path, prod: SecretStore) -> None:
    """And those of other stores are told as well."""
    (tmp_path / "strongroom.toml").write_text('[store.prod]\nurl = "memory://"\n')
    with pytest.raises(PartialFailureError) as failed:
        strongroom.resolve(
            [PASSWORD, "strongroom://other/a"],
            allow=["prod", "other"],
            stores={"prod": prod},
            config=tmp_path / "strongroom.toml",
        )
    assert list(failed.value.errors) == ["/1"]
    assert "no store is called" in failed.value.errors["/1"].message


def test_stores_are_opened_by_alias_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each, from strongroom.toml."""
    name = f"resolve-{id(tmp_path)}"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strongroom.toml").write_text(f'[store.prod]\nurl = "memory://{name}"\n')
    with strongroom.open("prod") as store:
        store.put("db/password", CANARY)
        assert strongroom.resolve([PASSWORD] * 3, allow=["prod"])[2].matches(CANARY)


def test_any_mapping_is_looked_through(prod: SecretStore) -> None:
    """As parsers and frameworks have their own; a text left in one would be used as the password."""
    document = MappingProxyType({"a": MappingProxyType({"b": PASSWORD})})
    assert _resolve(document, prod)["a"]["b"].matches(CANARY)


def test_a_test_puts_its_own_store_in_the_place_of_an_alias(prod: SecretStore) -> None:
    """Without a strongroom.toml."""
    with override(prod=prod):
        assert strongroom.resolve(PASSWORD, allow=["prod"]).matches(CANARY)


class Batches(MemoryBackend):
    """Counts the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def get_many(self, keys: Any) -> Any:
        """As of `Backend`."""
        self.batches.append(len(keys))
        return super().get_many(keys)


def test_the_values_of_a_store_come_in_one_request() -> None:
    """However often a name is referred to."""
    backend = Batches()
    with SecretStore(backend) as store:
        document: dict[str, str] = {}
        for number in range(20):
            store.put(f"secret-{number}", {"a": CANARY, "b": "x"}, if_version=strongroom.ABSENT)
            document |= {f"{number}{key}": f"strongroom://prod/secret-{number}#/{key}" for key in "ab"}
        _resolve(document, store)
    assert backend.batches == [20]


def test_a_document_that_holds_itself_is_refused() -> None:
    """As is one nested deeper than 100 levels, or one of millions of parts that is written in a few lines."""
    itself: list[Any] = []
    itself.append(itself)
    deep: Any = PASSWORD
    for _ in range(101):
        deep = [deep]
    laughs: Any = "ha"
    for _ in range(6):
        laughs = [laughs] * 10
    for document in (itself, deep, laughs):
        with pytest.raises(InvalidRequestError, match="holds itself"):
            Document(document)
    assert Document(deep[0]).references == {"/0" * 100: PASSWORD}


_keys = st.text(max_size=3) | st.integers()
_documents = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just(PASSWORD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=500 if NIGHTLY else 50, deadline=None)
@given(_documents)
def test_nothing_but_references_changes(document: Any) -> None:
    """The document, filled with its own references, is itself."""
    found = Document(document)
    assert found.filled(found.references) == document
    assert repr(document).count(PASSWORD) == len(found.references)


def test_the_number_of_references_is_bounded_by_the_document_alone(prod: SecretStore) -> None:
    """Thousands of references to one name are one read."""
    resolved = _resolve([PASSWORD] * scaled(50_000), prod)
    assert all(value.matches(CANARY) for value in resolved)


def test_errors_are_errors_of_ours() -> None:
    """Which the command line tells in one line each."""
    assert issubclass(PartialFailureError, SecretStoreError)
