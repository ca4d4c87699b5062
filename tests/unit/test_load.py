"""strongroom.load: a dataclass from stores; every problem at once, and no default for a denied secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

import strongroom
from strongroom import Ref, SecretValue
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PartialFailureError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing import FaultyBackend, override
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in


@pytest.fixture
def backend() -> FaultyBackend:
    return FaultyBackend(MemoryBackend())


@pytest.fixture
def store(backend: FaultyBackend) -> SecretStore:
    """A store with a password, a login in JSON, and bytes."""
    store = SecretStore(backend, cache=None)
    store.put("db/password", f"{CANARY} password")
    store.put(
        "db/login", {"user": CANARY, "password": f"{CANARY} login", "port": 5432, "ratio": 1, "on": True}
    )
    store.put("tls/key", b"\xff" + CANARY.encode())
    return store


@dataclass(frozen=True)
class Database:
    """A group of secrets."""

    password: Annotated[SecretValue, Ref("db/password")]
    user: Annotated[str, Ref("db/login", pointer="/user", reveal=True)] = field(repr=False)


@dataclass(frozen=True)
class Login:
    """What a JSON object fills."""

    user: str = field(repr=False)
    password: SecretValue
    host: str = field(default="localhost", repr=False)


@dataclass(frozen=True)
class App:
    """An application's configuration."""

    database: Database
    login: Annotated[Login, Ref("db/login", reveal=True)]
    key: Annotated[bytes, Ref("tls/key", reveal=True)] = field(repr=False)
    port: Annotated[int, Ref("db/login", pointer="/port", reveal=True)] = field(repr=False)
    part: Annotated[SecretValue, Ref("db/login", pointer="/password")]
    sentry: Annotated[SecretValue | None, Ref("sentry/dsn")]
    debug: bool = False


def test_a_dataclass_is_filled_by_one_batch(store: SecretStore, backend: FaultyBackend) -> None:
    """Groups, JSON and plain values included, and a secret that several fields take is read once."""
    before = backend.calls.copy()
    app = strongroom.load(App, store=store)
    assert backend.calls - before == {"get_many": 1}
    assert app.database.password.matches(f"{CANARY} password")
    assert (app.database.user, app.login.user, app.login.host) == (CANARY, CANARY, "localhost")
    assert app.login.password.matches(f"{CANARY} login")
    assert app.part == app.login.password
    assert app.key == b"\xff" + CANARY.encode()
    assert (app.port, app.sentry, app.debug) == (5432, None, False)


def test_repr_shows_no_value(store: SecretStore) -> None:
    """Of no field, at any depth."""
    assert_no_canary(repr(strongroom.load(App, store=store)))


@dataclass(frozen=True)
class WithDefaults:
    """Fields that may be missing."""

    plain: Annotated[str, Ref("db/backup", reveal=True)] = field(default="a default", repr=False)
    made: Annotated[SecretValue, Ref("db/backup")] = field(default_factory=lambda: SecretValue("made"))
    optional: Annotated[SecretValue, Ref("db/backup")] | None = None
    bare: Annotated[SecretValue | None, Ref("db/backup")] = field(kw_only=True)


def test_a_secret_that_does_not_exist_leaves_its_default(store: SecretStore) -> None:
    """Or None, where the field may be None."""
    loaded = strongroom.load(WithDefaults, store=store)
    assert loaded.plain == "a default"
    assert loaded.made.matches("made")
    assert loaded.optional is None
    assert loaded.bare is None


def broken() -> IntegrityError:
    return IntegrityError("does not verify")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda faults: faults.deny(), PermissionDeniedError),
        (lambda faults: faults.unreachable(), UnavailableError),
        (lambda faults: faults.fault("*", broken), IntegrityError),
    ],
)
def test_no_default_stands_for_a_secret_that_may_exist(
    store: SecretStore,
    backend: FaultyBackend,
    fault: Callable[[FaultyBackend], None],
    kind: type[SecretStoreError],
) -> None:
    """Denied, unavailable and damaged are told for every field."""
    fault(backend)
    with pytest.raises(PartialFailureError) as caught:
        strongroom.load(WithDefaults, store=store)
    assert {path: type(error) for path, error in caught.value.errors.items()} == dict.fromkeys(
        ["plain", "made", "optional", "bare"], kind
    )
    assert caught.value.retryable is (kind is UnavailableError)


@dataclass(frozen=True)
class Troubled:
    """Every field of it fails in its own way."""

    missing: Annotated[SecretValue, Ref("no/such")]
    illegal: Annotated[SecretValue | None, Ref("NOT_LEGAL")]
    binary: Annotated[str, Ref("tls/key", reveal=True)] = field(repr=False)
    no_json: Annotated[int, Ref("db/password", reveal=True)] = field(repr=False)
    no_int: Annotated[int, Ref("db/login", pointer="/user", reveal=True)] = field(repr=False)
    no_bool: Annotated[int, Ref("db/login", pointer="/on", reveal=True)] = field(repr=False)
    no_text: Annotated[SecretValue, Ref("db/login", pointer="/port")]
    nowhere: Annotated[SecretValue | None, Ref("db/login", pointer="/none")]
    elsewhere: Annotated[SecretValue | None, Ref("db/password", store="nowhere")]


def test_every_problem_is_told_at_once(store: SecretStore) -> None:
    """By field and secret, in one line, without a value; also what is no legal name, store or type."""
    with pytest.raises(PartialFailureError) as caught:
        strongroom.load(Troubled, store=store)
    errors = caught.value.errors
    assert list(errors) == list(Troubled.__dataclass_fields__)
    assert {path for path, error in errors.items() if isinstance(error, SecretNotFoundError)} == {"missing"}
    assert "\n" not in str(caught.value)
    for part in ("missing (no/such): ", "illegal (NOT_LEGAL): ", "elsewhere (nowhere/db/password): "):
        assert part in str(caught.value)
    assert_no_canary_in(caught.value)


@dataclass
class Strict:
    """A class that refuses, and quotes what it refuses."""

    user: Annotated[str, Ref("db/login", pointer="/user", reveal=True)] = field(repr=False)

    def __post_init__(self) -> None:
        raise ValueError(f"not {self.user}")


@dataclass
class Outer:
    """Holds one that is filled by a JSON object, and refuses it too."""

    inner: Annotated[Refusing, Ref("db/login", reveal=True)]


@dataclass
class Refusing:
    """A class for JSON that refuses."""

    user: str = field(repr=False)

    def __post_init__(self) -> None:
        raise ValueError(f"not {self.user}")


@pytest.mark.parametrize("cls", [Strict, Outer])
def test_what_a_class_says_of_its_values_is_not_repeated(store: SecretStore, cls: type) -> None:
    """Its error may quote them: only the error's type is told."""
    with pytest.raises(PartialFailureError, match=r"refused what was read \(ValueError\)") as caught:
        strongroom.load(cls, store=store)
    assert_no_canary_in(caught.value)


@dataclass
class Misdeclared:
    """One mistake for each field."""

    plain: Annotated[str, Ref("a/b")]
    shown: Annotated[str, Ref("a/b", reveal=True)]
    unknown: Annotated[list[str], Ref("a/b", reveal=True)]
    twice: Annotated[SecretValue, Ref("a/b"), Ref("c/d")]
    neither: SecretValue
    json_bytes: Annotated[bytes, Ref("a/b", pointer="/c", reveal=True)]
    group: Database | None
    members: Annotated[Database, Ref("a/b", reveal=True)]
    either: Annotated[SecretValue | str, Ref("a/b")]


def test_wrong_declarations_are_all_told_before_anything_is_read(
    store: SecretStore, backend: FaultyBackend
) -> None:
    """A plain type that shows itself, a type nothing fills, a field that nothing fills."""
    before = backend.calls.copy()
    with pytest.raises(InvalidRequestError) as caught:
        strongroom.load(Misdeclared, store=store)
    for path in Misdeclared.__dataclass_fields__:
        assert f" {path} " in str(caught.value) or f" {path}." in str(caught.value)
    assert backend.calls == before


@dataclass
class Circular:
    """Holds itself."""

    password: Annotated[SecretValue, Ref("a/b")]
    inner: Circular = field(default_factory=lambda: Circular(SecretValue("")))


@dataclass
class Unresolved:
    """Names a type that does not exist."""

    password: Annotated[Nowhere, Ref("a/b")]  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Circular, "holds itself"),
        (Unresolved, "Nowhere is not known"),
        (dict, "is a dataclass"),
        (Database(SecretValue("x"), "y"), "the class itself"),
    ],
)
def test_what_cannot_be_loaded_is_refused(cls: Any, said: str) -> None:
    """A class that holds itself, or whose types are unknown, and what is no dataclass at all."""
    with pytest.raises(InvalidRequestError, match=said):
        strongroom.load(cls)


@dataclass(repr=False)
class WithoutRepr:
    """Shows nothing, so its plain fields need not say so."""

    user: Annotated[str, Ref("db/login", pointer="/user", reveal=True)]
    ratio: Annotated[float, Ref("db/login", pointer="/ratio", reveal=True)]
    on: Annotated[bool, Ref("db/login", pointer="/on", reveal=True)]
    length: int = field(init=False, default=7)


def test_a_class_without_repr_may_hold_plain_fields(store: SecretStore) -> None:
    """Also float, which takes a JSON integer, and bool; fields that are not given are left alone."""
    loaded = strongroom.load(WithoutRepr, store=store)
    assert (loaded.user, loaded.ratio, loaded.on, loaded.length) == (CANARY, 1.0, True, 7)
    assert isinstance(loaded.ratio, float)


@dataclass
class NeedsMore:
    """Its constructor takes what no store gives."""

    password: Annotated[SecretValue, Ref("db/password")]
    more: InitVar[int]


def test_a_constructor_that_needs_more_is_told(store: SecretStore) -> None:
    """As a problem of the class."""
    with pytest.raises(PartialFailureError, match="NeedsMore: the class refused"):
        strongroom.load(NeedsMore, store=store)


@dataclass
class FromTwo:
    """From the store that is loaded from, and from another."""

    here: Annotated[SecretValue, Ref("db/password")]
    there: Annotated[SecretValue, Ref("db/password", store="other")]


def test_several_stores_are_read_once_each(store: SecretStore, backend: FaultyBackend) -> None:
    """A reference may name another store than the one that is loaded from; both stay as open as they were."""
    behind = FaultyBackend(MemoryBackend())
    with SecretStore(behind) as other, override(other=other, prod=store):
        other.put("db/password", f"{CANARY} other")
        loaded = strongroom.load(FromTwo, store="prod")
        assert loaded.here.matches(f"{CANARY} password")
        assert loaded.there.matches(f"{CANARY} other")
        reads = [calls["get"] + calls["get_many"] for calls in (backend.calls, behind.calls)]
        assert reads == [1, 1]
        assert store.get("db/password").version
        assert other.get("db/password").version


def test_the_default_store_is_opened_for_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store, the configuration says which."""
    with strongroom.open("memory://load-test") as kept:
        kept.put("db/password", CANARY)
        kept.put("db/login", {"user": CANARY})
        file = tmp_path / "strongroom.toml"
        file.write_text('default = "laptop"\n[store]\nlaptop = { url = "memory://load-test" }\n')
        assert strongroom.load(Database, config=file).password.matches(CANARY)
        kept.purge("db/password")
        kept.purge("db/login")


def test_a_member_of_a_json_object_may_be_null_or_missing(store: SecretStore) -> None:
    """Null where the field may be None; missing where it has a default; otherwise the member is named."""

    store.put("db/login", {"user": CANARY, "password": None})
    with pytest.raises(PartialFailureError, match="'/password'"):
        strongroom.load(App, store=store)
    store.put("db/login", {"password": CANARY})
    with pytest.raises(PartialFailureError, match="nothing at '/user'") as caught:
        strongroom.load(App, store=store)
    assert_no_canary_in(caught.value)
