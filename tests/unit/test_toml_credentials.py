"""Credentials that stand in another store: read when they are needed, and never in a circle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Settings
from strongroom.config import Config, reach
from strongroom.errors import InvalidRequestError, SecretNotFoundError, UnavailableError
from strongroom.keys import KeyWrapper
from strongroom.memory import MemoryBackend
from strongroom.toml.credentials import Auth
from strongroom.value import SecretValue
from strongroom_local.keyset import KeysetFile
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.cli_support import library, new_store_url
from tests.unit.test_config import refused, write

VAULT = '[store.prod]\nurl = "vault://vault.example.net/secret"\nauth = {{ token = "{}" }}\n'


@pytest.fixture
def safe() -> str:
    """A store that keeps credentials."""
    url = new_store_url()
    with library(url) as store:
        store.put("vault/token", CANARY)
        store.put("vault/login", {"token": CANARY})
    return f'[store.safe]\nurl = "{url}"\n'


def token_of(path: Path, text: str) -> Any:
    config = Config.load(write(path / "c.toml", text))
    return reach(config.entry("prod"), config).auth["token"]


@pytest.mark.parametrize("reference", ["vault/token", "vault/login#/token"])
def test_a_credential_may_stand_in_another_store(tmp_path: Path, safe: str, reference: str) -> None:
    """As a secret of its own, or as a part of one."""
    found = token_of(tmp_path, safe + VAULT.format(f"strongroom://safe/{reference}"))
    assert found == SecretValue(CANARY)


def test_one_version_of_it_may_be_named(tmp_path: Path, safe: str) -> None:
    """As in every reference."""
    config = Config.load(write(tmp_path / "c.toml", safe))
    with strongroom.open("safe", config=config) as store:
        first = store.get("vault/token").version
        store.put("vault/token", "changed")
    text = safe + VAULT.format(f"strongroom://safe/vault/token?version={first}")
    assert token_of(tmp_path, text) == SecretValue(CANARY)


def test_it_is_read_through_the_encryption_of_that_store(tmp_path: Path) -> None:
    """And what was opened for it is closed."""
    KeysetFile(tmp_path / "keyset.json").create()
    url = new_store_url()
    text = (
        f'[key.k]\nurl = "local-key://{tmp_path}/keyset.json"\n'
        f'[store.safe]\nurl = "{url}"\nencrypt = {{ keys = ["k"], domain = "safe" }}\n'
    ) + VAULT.format("strongroom://safe/vault/token")
    with strongroom.open("safe", config=write(tmp_path / "c.toml", text)) as store:
        store.put("vault/token", CANARY)
    assert token_of(tmp_path, text) == SecretValue(CANARY)


def test_a_store_that_keeps_credentials_opens_only_when_they_are_needed(
    tmp_path: Path, safe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the file asks nobody, and neither does opening another store."""
    opened: list[str] = []
    original = MemoryBackend.from_url

    def from_url(url: Any, settings: Settings) -> MemoryBackend:
        opened.append(url.text)
        return original(url, settings)

    monkeypatch.setattr(MemoryBackend, "from_url", from_url)
    text = f'{safe}[store.other]\nurl = "memory://other"\n' + VAULT.format("strongroom://safe/vault/token")
    config = Config.load(write(tmp_path / "c.toml", text))
    strongroom.open("other", config=config).close()
    assert opened == ["memory://other"]
    strongroom.open("prod", config=config).close()
    assert opened[1:] == [config.stores["safe"].url]


def test_a_key_takes_its_credential_from_a_store(
    tmp_path: Path, safe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does a store that is encrypted under it."""
    seen: list[Any] = []

    def opens(_url: str, settings: Settings) -> KeyWrapper:
        seen.append(dict(settings.auth))
        raise UnavailableError("enough")

    monkeypatch.setattr("strongroom.config.open_key", opens)
    text = (
        f'{safe}[key.k]\nurl = "vault-transit://v.example.net/transit/k"\n'
        'auth = { token = "strongroom://safe/vault/token" }\n'
        '[store.prod]\nurl = "memory://"\nencrypt = { keys = ["k"], domain = "d" }\n'
    )
    config = write(tmp_path / "c.toml", text)
    for opening in (
        lambda: strongroom.key("k", config=config),
        lambda: strongroom.open("prod", config=config),
    ):
        with pytest.raises(UnavailableError):
            opening()
    assert seen == [{"token": SecretValue(CANARY)}] * 2


class Log(AuditHook):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def before(self, event: AuditEvent) -> None:
        self.seen.append(f"{event.operation} {event.store} {event.name}")


def test_the_hooks_of_a_store_see_that_its_credential_is_read(tmp_path: Path, safe: str) -> None:
    """It is a secret that is read, whoever wanted it ▲."""
    log = Log()
    path = write(tmp_path / "c.toml", safe + VAULT.format("strongroom://safe/vault/token"))
    strongroom.open("prod", config=path, hooks=[log]).close()
    assert log.seen == ["get safe vault/token"]


def test_one_that_is_not_there_names_the_line(tmp_path: Path, safe: str) -> None:
    """With the store's own error: a credential that is missing, not a secret of the application."""
    with pytest.raises(SecretNotFoundError) as caught:
        token_of(tmp_path, safe + VAULT.format("strongroom://safe/vault/gone"))
    assert "c.toml:5: store.prod.auth.token: strongroom://safe/vault/gone" in str(caught.value)
    with pytest.raises(InvalidRequestError) as pointless:
        token_of(tmp_path, safe + VAULT.format("strongroom://safe/vault/token#/a"))
    assert "c.toml:5: store.prod.auth.token" in str(pointless.value)
    assert_no_canary_in(pointless.value)


def test_without_a_configuration_around_it_there_is_nobody_to_ask(tmp_path: Path, safe: str) -> None:
    """Going on with the ambient credentials would be somebody else's login ▲."""
    config = Config.load(write(tmp_path / "c.toml", safe + VAULT.format("strongroom://safe/vault/token")))
    auth = config.entry("prod").settings.auth
    assert isinstance(auth, Auth)
    assert ([*auth], len(auth), "token" in auth) == (["token"], 1, True)
    with pytest.raises(
        InvalidRequestError, match=r"c\.toml:5: store\.prod\.auth\.token: stands in another store"
    ):
        auth["token"]


BOTH = (
    '[store.a]\nurl = "vault://a.example.net/s"\nauth = {{ token = "strongroom://{}/x" }}\n'
    '[store.b]\nurl = "vault://b.example.net/s"\nauth = {{ token = "strongroom://{}/x" }}\n'
)
RING = (
    '[key.k]\nurl = "vault-transit://h/t/k"\nauth.token = "strongroom://a/x"\n[keyring.main]\nroots = ["k"]\n'
)
UNDER = 'url = "vault://b.example.net/s"\nencrypt = { keyring = "main", domain = "d" }\n'
CIRCLES: dict[str, tuple[str, int, str, str]] = {
    "itself": (
        VAULT.format("strongroom://prod/x"),
        3,
        "store.prod.auth.token",
        "store prod needs store prod",
    ),
    "each other": (BOTH.format("b", "a"), 6, "store.b.auth.token", "store a needs store b needs store a"),
    "its own key": (
        '[store.a]\nurl = "memory://"\nencrypt = { keys = ["k"], domain = "d" }\n' + RING + 'file = "/r"\n',
        *(6, "key.k.auth.token", "store a needs key k needs store a"),
    ),
    "an old key": (
        '[store.a]\nurl = "memory://"\nencrypt = { keys = ["l"], old_keys = ["k"], domain = "d" }\n'
        + RING
        + 'file = "/r"\n[key.l]\nurl = "local-key:///l"\n',
        *(6, "key.k.auth.token", "store a needs key k needs store a"),
    ),
    "its keyring's root": (
        f"[store.a]\n{UNDER}{RING}file = '/r'\n",
        6,
        "key.k.auth.token",
        "keyring main needs",
    ),
    "its keyring's place": (
        f"{RING}store = 'c'\n[store.a]\n{UNDER}[store.c]\nurl = 'vault://c/s'\nauth.token = 'strongroom://a/x'\n",
        *(3, "key.k.auth.token", "needs"),
    ),
    "through a failover": (
        BOTH.format("both", "safe")
        + '[store.safe]\nurl = "memory://"\n[store.both]\nfailover = ["b", "a"]\n',
        *(3, "store.a.auth.token", "store both needs store a"),
    ),
    "in a profile": (
        BOTH.format("b", "safe")
        + '[store.safe]\nurl = "memory://"\n[profile.p.store.safe]\nurl = "vault://h/s"\n'
        + 'auth.token = "strongroom://a/x"\n',
        *(11, "profile.p.store.safe.auth.token", "store b needs store safe"),
    ),
}
OTHER: dict[str, tuple[str, int, str, str]] = {
    "no such store": (VAULT.format("strongroom://prdo/x"), 3, "store.prod.auth.token", "did you mean 'prod'"),
    "no name": (VAULT.format("strongroom://prod"), 3, "store.prod.auth.token", "strongroom://ALIAS/NAME"),
    "a stage": (VAULT.format("strongroom://prod/x?stage=pending"), 3, "store.prod.auth.token", "no stage"),
    "a store of another profile": (
        VAULT.format("strongroom://safe/x") + '[profile.p.store.safe]\nurl = "memory://"\n',
        *(3, "store.prod.auth.token", "no store is called 'safe'"),
    ),
}


@pytest.mark.parametrize("case", [*CIRCLES, *OTHER])
def test_a_reference_that_cannot_be_is_found_when_the_file_is_read(tmp_path: Path, case: str) -> None:
    """With the credential's line; a circle tells the whole way."""
    text, line, key, piece = {**CIRCLES, **OTHER}[case]
    said = str(refused(tmp_path / "c.toml", text))
    assert said.startswith(f"{tmp_path / 'c.toml'}:{line}: {key}: ")
    assert piece in said
    assert ("would need itself" in said) == (case in CIRCLES)


def test_a_keyring_may_stand_in_the_store_whose_credentials_it_does_not_guard(tmp_path: Path) -> None:
    """Below its own encryption; only what opens the place matters."""
    text = (
        '[key.k]\nurl = "local-key:///k"\n[keyring.main]\nroots = ["k"]\nstore = "b"\n'
        f'[store.b]\n{UNDER}auth.token = "strongroom://safe/x"\n[store.safe]\nurl = "memory://"\n'
    )
    assert Config.load(write(tmp_path / "c.toml", text)).stores["b"].keys == ("main",)
