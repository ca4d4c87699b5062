"""A database engine of the real OpenBao on the real PostgreSQL, and a store on it whose clock tests move."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Any

import hvac.exceptions

from strongroom.backend import Settings
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.integration.vault_support import CuttingProxy
from tests.servers.openbao import OpenBao
from tests.servers.postgres import Postgres

Auth = dict[str, str | SecretValue]
HOUR = 3600.0
CREATE = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
FULL = """
path "{mount}/creds/*" {{ capabilities = ["read"] }}
path "sys/leases/*" {{ capabilities = ["update"] }}
"""
_numbers = itertools.count(1)


class Engine:
    """A mount of its own, whose role `app` makes users for an hour, and a login with `FULL` rights on it."""

    def __init__(self, bao: OpenBao, server: Postgres):
        self.bao, self.mount = bao, f"leased-{next(_numbers)}"
        self.root: Any = bao.client()
        password = f"manager-{self.mount}"
        user = server.new_role(password)
        with server.admin() as admin:
            admin.execute(f'ALTER ROLE "{user}" CREATEROLE'.encode())
        place = f"127.0.0.1:{server.port}/postgres?sslmode=disable"
        with not_ours():
            self.root.sys.enable_secrets_engine("database", self.mount)
            self.root.secrets.database.configure(
                "db", "postgresql-database-plugin", allowed_roles=["*"], mount_point=self.mount,
                connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@{place}",
                username=user, password=password,
            )  # fmt: skip
            self.root.sys.enable_auth_method("userpass", path=self.mount)
            self.root.sys.create_or_update_policy(self.mount, FULL.format(mount=self.mount))
        self.role()
        self.user()

    def role(self, seconds: float = HOUR, most: float = 24 * HOUR, name: str = "app") -> None:
        """Say how long what the role makes lives, and to what it can be renewed."""
        with not_ours():
            self.root.secrets.database.create_role(
                name, "db", [CREATE], mount_point=self.mount, revocation_statements=['DROP ROLE "{{name}}"'],
                default_ttl=int(seconds), max_ttl=int(most),
            )  # fmt: skip

    def user(self, **facts: Any) -> None:
        """Say how the login's tokens live; by default as long as the server allows."""
        facts = {"token_type": "default", "token_ttl": 0, **facts}
        with not_ours():
            self.root.auth.userpass.create_or_update_user(
                "app", "login-password", mount_point=self.mount, token_policies=[self.mount], **facts
            )

    @property
    def auth(self) -> Auth:
        """The login."""
        secret = SecretValue("login-password")
        return {"method": "userpass", "username": "app", "password": secret, "mount": self.mount}

    def bare_token(self, policy: str) -> str:
        """A token that may do this and nothing else: `default` allows much of sys/leases."""
        with not_ours():
            self.root.sys.create_or_update_policy(f"{self.mount}-bare", policy)
            token = self.root.auth.token.create(policies=[f"{self.mount}-bare"], no_default_policy=True)
        return str(token["auth"]["client_token"])

    def leases(self, role: str = "app") -> set[str]:
        """The versions of the leases that are good."""
        with not_ours():
            try:
                keys = self.root.sys.list_leases(f"{self.mount}/creds/{role}")["data"]["keys"]
            except hvac.exceptions.InvalidPath:
                return set()
            return {key for key in keys if self._is_good(f"{self.mount}/creds/{role}/{key}")}

    def _is_good(self, lease: str) -> bool:
        with contextlib.suppress(hvac.exceptions.InvalidRequest):
            return int(self.root.sys.read_lease(lease)["data"]["ttl"]) > 0
        return False

    def until(self, versions: set[str]) -> None:
        """Wait until just these are good: the server revokes behind the answer."""
        deadline = time.monotonic() + 20
        while self.leases() != versions:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def revoke_logins(self) -> None:
        """As an operator."""
        with not_ours():
            self.root.sys.revoke_prefix(f"auth/{self.mount}/login")

    def revoke_leases(self) -> None:
        """As an operator."""
        with not_ours():
            self.root.sys.revoke_prefix(f"{self.mount}/creds")


class Scene:
    """A store on the engine, behind the proxy."""

    def __init__(self, engine: Engine, proxy: CuttingProxy, auth: Auth | None = None, **options: Any):
        self.engine, self.proxy, self.clock = engine, proxy, FakeClock()
        url = f"vault-leased:///{engine.mount}?endpoint={proxy.address}"
        given = Settings(auth=auth or engine.auth, clock=self.clock, attempts=1, options=options)
        self.backend = open_backend(url, given)
        self.store = SecretStore(self.backend)

    def version(self, name: str = "app") -> str:
        """The version that is served now."""
        return self.store.get(name).version

    def asked(self, work: Callable[[], object]) -> list[str]:
        """The paths that the server is asked for meanwhile."""
        self.proxy.seen.clear()
        work()
        return [path.removeprefix("/v1/") for _, path in self.proxy.seen]

    def go_down(self) -> None:
        """No request reaches the server."""
        self.proxy.cut = lambda method, path: "request"

    def come_back(self) -> None:
        """All do."""
        self.proxy.cut = lambda method, path: ""
