"""An application that needs a hundred secrets of AWS starts with five reads, however it asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import make_dataclass
from typing import Annotated, Any

import pytest
from pydantic import SecretStr, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

import strongroom
from strongroom import Ref, SecretValue
from strongroom.errors import PartialFailureError, PermissionDeniedError
from strongroom.integrations.pydantic_settings import SecretsSource
from strongroom.store import SecretStore
from tests.canary import CANARY
from tests.unit.aws_support import backend
from tests.unit.strict_aws_support import REGION, Aws

COUNT = 100
NAMES = [f"app/secret-{number}" for number in range(COUNT)]


@pytest.fixture
def aws() -> Iterator[Aws]:
    """An account with a hundred secrets, made without a call."""
    aws = Aws()
    for name in NAMES:
        made = {"Name": f"prod/{name}", "SecretString": f"{CANARY} {name}", "ClientRequestToken": "1" * 32}
        aws.manager.call(REGION, "CreateSecret", made)
    with aws.server:
        yield aws


@pytest.fixture
def store(aws: Aws) -> Iterator[SecretStore]:
    with SecretStore(backend(aws), alias="prod") as store:
        yield store


def as_dataclass(store: SecretStore) -> dict[str, str]:
    """``load`` of a dataclass with a field for each."""
    fields = [(f"field_{at}", Annotated[SecretValue, Ref(name)]) for at, name in enumerate(NAMES)]
    loaded: Any = strongroom.load(make_dataclass("App", fields), store=store)
    return {name: getattr(loaded, f"field_{at}").reveal_text() for at, name in enumerate(NAMES)}


def as_settings(store: SecretStore) -> dict[str, str]:
    """pydantic-settings with a field for each."""

    class Base(BaseSettings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *others: Any, **more: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (SecretsSource(settings_cls, store),)

    fields: dict[str, Any] = {f"app_secret_{at}": (SecretStr, ...) for at in range(COUNT)}
    settings = create_model("Settings", __base__=Base, **fields)()
    return {name: getattr(settings, f"app_secret_{at}").get_secret_value() for at, name in enumerate(NAMES)}


def as_references(store: SecretStore) -> dict[str, str]:
    """``resolve`` of a configuration with a reference for each."""
    document = {name: f"strongroom://prod/{name}" for name in NAMES}
    found = strongroom.resolve(document, allow=["prod"], stores={"prod": store})
    return {name: value.reveal_text() for name, value in found.items()}


def as_prefetched(store: SecretStore) -> dict[str, str]:
    """``prefetch``, and then a read of each."""
    store.prefetch(NAMES)
    return {name: store.get(name).value.reveal_text() for name in NAMES}


@pytest.mark.parametrize("start", [as_dataclass, as_settings, as_references, as_prefetched])
def test_a_start_makes_five_reads(
    aws: Aws, store: SecretStore, start: Callable[[SecretStore], dict[str, str]]
) -> None:
    """BatchGetSecretValue takes twenty names; nothing else is asked for, and what was read is cached."""
    assert start(store) == {name: f"{CANARY} {name}" for name in NAMES}
    assert aws.server.calls == {"BatchGetSecretValue": 5}
    assert store.get(NAMES[-1]).value.matches(f"{CANARY} {NAMES[-1]}")
    assert aws.server.calls == {"BatchGetSecretValue": 5}


@pytest.mark.parametrize("start", [as_dataclass, as_settings])
def test_a_start_names_every_secret_that_is_denied(
    aws: Aws, store: SecretStore, start: Callable[[SecretStore], dict[str, str]]
) -> None:
    """In one go, and none of those that were read."""
    for name in NAMES[::25]:
        aws.manager.deny("GetSecretValue", f"prod/{name}")
    with pytest.raises(PartialFailureError) as caught:
        start(store)
    assert [type(error) for error in caught.value.errors.values()] == [PermissionDeniedError] * 4
    assert all(f"({name})" in str(caught.value) for name in NAMES[::25])
