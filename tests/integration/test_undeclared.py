"""What a backend does not declare is refused before anything is sent; the servers count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from strongroom.backend import Settings
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import SecretNotFoundError, UnsupportedOperationError
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.conformance_errors import OPERATIONS, _possible
from strongroom.value import SecretValue
from strongroom_pkcs11.sessions import Token
from tests.canary import CANARY
from tests.servers.azure import Vault
from tests.servers.google import Google
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao
from tests.servers.relay import Relay
from tests.servers.softhsm import TestToken

Count = Callable[[], int]
Place = tuple[str, Settings, Count]
NAME = "db/password"


class Undeclared:
    """Gives a class for each provider the same tests; its `place` says where to open and what counts."""

    @pytest.fixture(params=[False, True], ids=["alone", "coordinated"])
    def store(self, place: Place, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SecretStore]:
        """Without its cache; with and without a coordinator."""
        url, settings, _ = place
        with ExitStack() as ends:
            if request.param:
                coordinator = SQLiteCoordinator(tmp_path / "leases.db")
                ends.callback(coordinator.close)
                settings = Settings(
                    ca=settings.ca, auth=settings.auth, options=settings.options, coordinator=coordinator
                )
            yield ends.enter_context(SecretStore(open_backend(url, settings), cache=None))

    def test_it_is_refused_and_nothing_is_sent(self, store: SecretStore, place: Place) -> None:
        """Every operation that the instance does not declare, from a fresh store; and a read is counted."""
        count = place[2]
        before = count()
        for operation, (_, call) in OPERATIONS.items():
            if not _possible(operation, store.capabilities):
                with pytest.raises(UnsupportedOperationError) as caught:
                    call(store, NAME, CANARY, "1")
                assert caught.value.performed is False
        assert count() == before
        with pytest.raises(SecretNotFoundError):
            store.get(NAME)
        assert count() > before


class TestSecretsManager(Undeclared):
    """Through a relay, which counts connections: a fresh store has none."""

    @pytest.fixture
    def place(self, moto_server: Moto) -> Iterator[Place]:
        with Relay(urlsplit(moto_server.url).port or 0) as relay:
            url = f"aws-sm://eu-west-1/undeclared?endpoint=http://127.0.0.1:{relay.port}"
            yield url, Settings(), lambda: relay.connections


class TestParameterStore(Undeclared):
    """Through a relay; DELETE, and alone conditions and pending values too."""

    @pytest.fixture
    def place(self, moto_server: Moto) -> Iterator[Place]:
        with Relay(urlsplit(moto_server.url).port or 0) as relay:
            url = f"aws-ssm://eu-west-1/undeclared?endpoint=http://127.0.0.1:{relay.port}"
            yield url, Settings(), lambda: relay.connections


class TestVaultKV1(Undeclared):
    """Through a relay; KV version 1 has no versions and no compare-and-set."""

    @pytest.fixture
    def place(self, openbao_server: OpenBao, kv1_mount: str) -> Iterator[Place]:
        with Relay(urlsplit(openbao_server.address).port or 0) as relay:
            url = f"vault:///{kv1_mount}/app?endpoint=http://127.0.0.1:{relay.port}&kv=1"
            token = SecretValue(openbao_server.token)
            yield url, Settings(auth={"method": "token", "token": token}), lambda: relay.connections


class TestSecretManager(Undeclared):
    """The double counts calls; Google has no bin."""

    @pytest.fixture
    def place(self, google_server: Google) -> Place:
        url = f"gcp-sm://undeclared/app?endpoint={google_server.url}"
        return url, Settings(), google_server.calls.total


class TestKeyVault(Undeclared):
    """The double counts requests, those for a token too."""

    @pytest.fixture
    def place(self, azure_server: Vault) -> Place:
        url = f"azure-kv://example/undeclared?endpoint={azure_server.url}"
        return url, Settings(ca=str(azure_server.ca_file)), lambda: len(azure_server.requests)


class TestPkcs11(Undeclared):
    """Sessions are counted, since whatever is done on a token is done in one."""

    @pytest.fixture
    def place(self, softhsm_token: TestToken, monkeypatch: pytest.MonkeyPatch) -> Place:
        asked: list[None] = []
        session = Token.session

        def counted(self: Token):  # type: ignore[no-untyped-def]
            asked.append(None)
            return session(self)

        monkeypatch.setattr(Token, "session", counted)
        url = softhsm_token.url(softhsm_token.unique("undeclared"))
        return url, softhsm_token.settings(), lambda: len(asked)
