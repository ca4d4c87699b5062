"""SecretsSource with the real pydantic-settings: what it fills, what stops the start, what is never shown."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, AliasPath, BaseModel, Field, SecretBytes, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from strongroom import Ref, SecretValue
from strongroom.errors import (
    BackendNotInstalledError,
    IntegrityError,
    InvalidRequestError,
    PartialFailureError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.integrations.pydantic_settings import SecretsSource, _secret_name
from strongroom.memory import MemoryBackend
from strongroom.names import suggest_name
from strongroom.store import SecretStore
from strongroom.testing import FaultyBackend, override
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in

T = TypeVar("T", bound=BaseSettings)
WORDS = ["a", "db", "api", "key", "s3", "2", "password"]


@pytest.fixture
def backend() -> FaultyBackend:
    return FaultyBackend(MemoryBackend())


@pytest.fixture
def store(backend: FaultyBackend) -> SecretStore:
    return SecretStore(backend, cache=None)


class Base(BaseSettings):
    """Settings from what is given, then the environment, then the store."""

    source: ClassVar[dict[str, Any]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretsSource(settings_cls, **cls.source)


def start(settings: type[T]) -> T:
    """What an application does first."""
    return settings()


@pytest.fixture(autouse=True)
def source(store: SecretStore) -> None:
    """Each test begins with the plain source."""
    Base.source = {"store": store}


class Pool(BaseModel):
    """A model in a model."""

    auth_key: SecretStr


class Exchange(BaseModel):
    """A nested model."""

    api_key: SecretStr
    seed: SecretBytes = SecretBytes(b"")
    pool: Pool
    retries: int = 3


class Settings(Base):
    """Names by the rule, by alias, and outright."""

    db_password: SecretStr
    token: SecretStr | None = None
    binance_api_key: SecretStr = Field(validation_alias="EXCHANGE_API_SECRET")
    signer: SecretStr = Field(validation_alias=AliasChoices("NEW_SIGNER", "OLD_SIGNER"))
    other: Annotated[SecretStr, Ref("any/name", pointer="/key")]
    optional: Annotated[SecretStr, Ref("any/optional")] | None = None
    exchange: Exchange
    debug: bool = False


def fill(store: SecretStore) -> None:
    for name in (
        "db/password",
        "exchange/api-secret",
        "old/signer",
        "exchange/api-key",
        "exchange/pool/auth-key",
    ):
        store.put(name, f"{CANARY} {name}")
    store.put("any/name", {"key": f"{CANARY} any/name"})
    store.put("exchange/seed", b"\xff" + CANARY.encode())


def test_every_field_is_filled_by_one_batch(store: SecretStore, backend: FaultyBackend) -> None:
    """By its name, its alias, the first alias that exists, its own reference, and in nested models."""
    fill(store)
    before = backend.calls.copy()
    settings = start(Settings)
    assert backend.calls - before == {"get_many": 1}
    filled = {
        "db/password": settings.db_password,
        "exchange/api-secret": settings.binance_api_key,
        "old/signer": settings.signer,
        "any/name": settings.other,
        "exchange/api-key": settings.exchange.api_key,
        "exchange/pool/auth-key": settings.exchange.pool.auth_key,
    }
    assert all(value.get_secret_value() == f"{CANARY} {name}" for name, value in filled.items())
    assert settings.exchange.seed.get_secret_value() == b"\xff" + CANARY.encode()
    assert (settings.token, settings.optional, settings.debug, settings.exchange.retries) == (
        None,
        None,
        False,
        3,
    )
    assert_no_canary(repr(settings), str(settings))


class WithDefault(Base):
    """Starts with a default password where nothing else is known."""

    db_password: SecretStr = SecretStr("changeme-default")


def test_only_a_missing_secret_leaves_the_default(store: SecretStore) -> None:
    """Or the field to the next source."""
    assert start(WithDefault).db_password.get_secret_value() == "changeme-default"
    store.put("db/password", CANARY)
    assert start(WithDefault).db_password.get_secret_value() == CANARY


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
def test_anything_else_stops_the_start(
    backend: FaultyBackend, fault: Callable[[FaultyBackend], None], kind: type[SecretStoreError]
) -> None:
    """Denied, unavailable and damaged are never a default."""
    fault(backend)
    with pytest.raises(PartialFailureError, match=r"WithDefault: db_password \(db/password\): ") as caught:
        start(WithDefault)
    assert type(caught.value.errors["db_password"]) is kind


def test_what_an_earlier_source_has_is_not_asked_for(
    store: SecretStore, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given outright, in the environment, in a nested model, under an alias."""
    fill(store)
    backend.deny()
    assert WithDefault(db_password=SecretStr("given")).db_password.get_secret_value() == "given"
    monkeypatch.setenv("DB_PASSWORD", "environment")
    assert start(WithDefault).db_password.get_secret_value() == "environment"


class Nested(Base):
    """Half of it stands in the environment."""

    model_config = SettingsConfigDict(env_nested_delimiter="__")
    exchange: Exchange


def test_a_nested_model_is_filled_from_both(store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of it stands, the store gives the rest."""
    fill(store)
    monkeypatch.setenv("EXCHANGE__API_KEY", "environment")
    exchange = start(Nested).exchange
    assert exchange.api_key.get_secret_value() == "environment"
    assert exchange.pool.auth_key.get_secret_value() == f"{CANARY} exchange/pool/auth-key"


def test_a_prefix_stands_before_the_names(store: SecretStore) -> None:
    """And a field that is skipped is not asked for."""
    store.put("billing/db/password", CANARY)
    Base.source = {"store": store, "prefix": "billing"}
    assert start(WithDefault).db_password.get_secret_value() == CANARY
    Base.source = {"store": store, "prefix": "billing", "skip": ["db_password"]}
    assert start(WithDefault).db_password.get_secret_value() == "changeme-default"


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("_".join), st.booleans())
def test_a_fields_name_is_what_import_makes_of_its_variable(field: str, upper: bool) -> None:
    """`strongroom import` of a .env and these settings mean one secret; the rule can be read backwards."""
    name = _secret_name(field.upper() if upper else field, (), "")
    assert name == suggest_name(field.upper())
    assert name.replace("/", "_").replace("-", "_") == field
    assert _secret_name(field, ("model_name",), "app") == f"app/model-name/{field.replace('_', '-')}"


def test_a_store_is_opened_by_its_alias_for_the_moment(store: SecretStore) -> None:
    """Tests put their own in its place."""
    store.put("db/password", CANARY)
    Base.source = {"store": "prod"}
    with override(prod=store):
        assert start(WithDefault).db_password.get_secret_value() == CANARY


class Plain(Base):
    """A password that every print shows."""

    db_password: str = "changeme-default"


class Revealed(Base):
    """Asks for plain values, and hides them where pydantic would show them."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)
    db_password: Annotated[str, Ref("db/password", reveal=True)] = Field(repr=False)
    hosts: Annotated[list[str], Ref("db/hosts", reveal=True)] = Field(repr=False)
    port: Annotated[int, Ref("db/port", reveal=True)] = Field(repr=False, default=1)
    salt: Annotated[bytes, Ref("db/salt", reveal=True)] = Field(repr=False)


def test_a_secret_for_a_plain_field_is_refused_unless_asked_for(store: SecretStore) -> None:
    """It is neither shown nor silently replaced by a default; the error says what to write."""
    assert start(Plain).db_password == "changeme-default"
    store.put("db/password", CANARY)
    with pytest.raises(PartialFailureError, match="declare it SecretStr") as caught:
        start(Plain)
    assert_no_canary_in(caught.value)
    store.put("db/hosts", f'["{CANARY}"]')
    store.put("db/port", "5432")
    store.put("db/salt", b"\xff")
    settings = start(Revealed)
    assert (settings.db_password, settings.hosts, settings.port) == (CANARY, [CANARY], 5432)
    assert settings.salt == b"\xff"
    assert_no_canary(repr(settings))


def test_a_revealed_value_does_not_stand_in_the_error_of_another(store: SecretStore) -> None:
    """Nor in the frames of its traceback."""
    store.put("db/password", CANARY)
    store.put("db/hosts", f"not JSON {CANARY}")
    with pytest.raises(PartialFailureError) as caught:
        start(Revealed)
    assert list(caught.value.errors) == ["hosts"]
    assert_no_canary_in(caught.value)


class Limited(Base):
    """Refuses what is stored."""

    db_password: SecretStr = Field(max_length=3)
    token: SecretStr


class LimitedPlain(Base):
    """Refuses a plain value."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)
    port: Annotated[int, Ref("db/password", reveal=True)] = Field(repr=False)


@pytest.mark.parametrize("cls", [Limited, LimitedPlain])
def test_what_pydantic_refuses_it_does_not_show(store: SecretStore, cls: type[Base]) -> None:
    """Neither the field that is too long, nor the others beside one that is missing."""
    store.put("db/password", CANARY)
    with pytest.raises(ValidationError) as caught:
        start(cls)
    assert_no_canary(str(caught.value), repr(caught.value))


class Values(Base):
    """Strongroom's own type."""

    model_config = SettingsConfigDict(arbitrary_types_allowed=True)
    db_password: SecretValue
    part: Annotated[SecretValue, Ref("any/name", pointer="/key")]


def test_a_secret_value_stays_one(store: SecretStore) -> None:
    """Whole, or a part of JSON."""
    fill(store)
    values = start(Values)
    assert values.db_password.matches(f"{CANARY} db/password")
    assert values.part.matches(f"{CANARY} any/name")
    assert_no_canary(repr(values))


class Misfits(Base):
    """Nothing fits."""

    db_password: SecretStr
    illegal__name: SecretStr = SecretStr("default")
    part: Annotated[SecretStr, Ref("any/json", pointer="/number")]


def test_every_problem_is_told_at_once(store: SecretStore) -> None:
    """Not text, no legal name, no string."""
    store.put("db/password", b"\xff" + CANARY.encode())
    store.put("any/json", {"number": 1})
    with pytest.raises(PartialFailureError) as caught:
        start(Misfits)
    assert list(caught.value.errors) == ["db_password", "illegal__name", "part"]
    assert {type(error) for error in caught.value.errors.values()} == {InvalidRequestError}
    assert_no_canary_in(caught.value)


class Db(BaseModel):
    """Its password means the same secret as another field's."""

    password: SecretStr


class Ambiguous(Base):
    """Two fields of one name."""

    db: Db
    db_password: SecretStr


class Shown(Base):
    """Plain and shown."""

    db_password: Annotated[str, Ref("db/password", reveal=True)]


class ByPath(Base):
    """An alias that is no name."""

    db_password: SecretStr = Field(validation_alias=AliasPath("db", 0))


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Ambiguous, "db.password and db_password both mean db/password"),
        (Shown, r"Field\(repr=False\); .*hide_input_in_errors=True"),
        (ByPath, "a path"),
    ],
)
def test_wrong_declarations_are_refused_before_anything_is_read(
    backend: FaultyBackend, cls: type[Base], said: str
) -> None:
    """Two fields that mean one secret, plain fields that show it, aliases that name none."""
    with pytest.raises(InvalidRequestError, match=said):
        start(cls)
    assert not backend.calls


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error of ours, with the line that installs it."""
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    monkeypatch.delitem(sys.modules, SecretsSource.__module__)
    with pytest.raises(BackendNotInstalledError, match=r"pip install 'strongroom\[pydantic\]'") as caught:
        runpy.run_module(SecretsSource.__module__)
    assert caught.value.__context__ is None
