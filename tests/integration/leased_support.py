"""A database engine of OpenBao on PostgreSQL, set up word for word as docs/leases.md says."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg import sql

from strongroom.backend import Settings
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.pages import ROOT, marked
from tests.servers.openbao import OpenBao, binary
from tests.servers.postgres import Postgres

PAGE = ROOT / "docs" / "leases.md"
ROLE = "app"
_numbers = itertools.count(1)


def on_page(mark: str) -> str:
    """The page's one block with this mark."""
    [block] = marked(mark, PAGE)
    return block.text


@dataclass
class Scene:
    """A database of its own, the engine on it, and an AppRole login under the page's policy.

    PostgreSQL's roles are the whole server's, and here they have the page's names: one scene at a time.
    """

    bao: OpenBao
    server: Postgres

    def __post_init__(self) -> None:
        number = next(_numbers)
        self.mount, self.login = f"database-{number}", f"approle-{number}"
        self.database = f"shop_{os.getpid()}_{number}"
        self.root: Any = self.bao.client()

    def set_up(self, folder: Path) -> None:
        """Run the page's statements and commands."""
        with self.server.admin() as admin:
            admin.execute(f'CREATE DATABASE "{self.database}"'.encode())
        with self.server.admin(self.database) as admin:
            admin.execute(self.here(on_page("sql leased once")).encode())
        for file, mark in (("create.sql", "sql leased create"), ("revoke.sql", "sql leased revoke")):
            (folder / file).write_text(self.here(on_page(mark)))
        self._bao(self.here(on_page("shell leased")), folder)
        others = f'path "{self.mount}/creds/+" {{ capabilities = ["read"] }}'
        with not_ours():
            self.root.sys.create_or_update_policy(self.login, self.here(on_page("policy leased")) + others)
            self.root.sys.enable_auth_method("approle", path=self.login)
            self.root.auth.approle.create_or_update_approle(
                ROLE, token_policies=[self.login], token_no_default_policy=True, mount_point=self.login
            )

    def here(self, text: str) -> str:
        """A text of the page with the names it has here."""
        text = text.replace("secrets enable database", f"secrets enable -path={self.mount} database")
        text = text.replace("db.example.net/shop", f"127.0.0.1:{self.server.port}/{self.database}")
        return text.replace('"database/', f'"{self.mount}/').replace(
            "write database/", f"write {self.mount}/"
        )

    def _bao(self, commands: str, folder: Path) -> None:
        path = f"{Path(binary()).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "BAO_ADDR": self.bao.address, "BAO_TOKEN": self.bao.token, "PATH": path}
        done = subprocess.run(
            ["bash", "-ec", commands],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def auth(self) -> dict[str, str | SecretValue]:
        """The application's login."""
        with not_ours():
            api = self.root.auth.approle
            role = api.read_role_id(ROLE, mount_point=self.login)["data"]["role_id"]
            secret = api.generate_secret_id(ROLE, mount_point=self.login)["data"]["secret_id"]
        return {"method": "approle", "role_id": role, "secret_id": SecretValue(secret), "mount": self.login}

    def store(self, address: str = "", **settings: Any) -> SecretStore:
        """The application's store; `address` where it finds OpenBao elsewhere."""
        url = f"vault-leased:///{self.mount}?endpoint={address or self.bao.address}"
        return SecretStore(open_backend(url, Settings(auth=self.auth(), **settings)))

    def tear_down(self) -> None:
        """End what was made; the users' names are free again."""
        with not_ours():
            self.revoke_logins()
            self.root.sys.revoke_prefix(f"{self.mount}/creds/{ROLE}")
            self.root.sys.disable_secrets_engine(self.mount)
            self.root.sys.disable_auth_method(self.login)
        with self.server.admin() as admin:
            admin.execute(f'DROP DATABASE "{self.database}" WITH (FORCE)'.encode())
            for user in (*self.users(), "vault", ROLE):
                admin.execute(f'DROP ROLE "{user}"'.encode())

    def revoke_logins(self) -> None:
        """An operator revokes every token of the application, and so all its leases."""
        with not_ours():
            self.root.sys.revoke_prefix(f"auth/{self.login}/login")

    def revoke_leases(self) -> None:
        """An operator revokes every lease, and leaves the logins."""
        with not_ours():
            self.root.sys.revoke_prefix(f"{self.mount}/creds/{ROLE}")

    def connect(self, login: dict[str, str], autocommit: bool = False) -> psycopg.Connection[Any]:
        """A connection of another program's."""
        user, password = login["user"], login["password"]
        return psycopg.connect(self.where, user=user, password=password, autocommit=autocommit)

    def fresh_login(self, role: str = ROLE) -> dict[str, str]:
        """A user of another process's, by a login of its own under the same mount."""
        auth = self.auth()
        with not_ours():
            secret_id = cast("SecretValue", auth["secret_id"]).reveal_text()
            client = self.bao.client("none")
            client.auth.approle.login(auth["role_id"], secret_id, mount_point=self.login)
            answer = client.secrets.database.generate_credentials(role, mount_point=self.mount)
        login = {"user": answer["data"]["username"], "password": answer["data"]["password"]}
        return {**login, "lease": answer["lease_id"]}

    def usual_role(self) -> str:
        """A role of the engine with the statements that everybody writes; its name."""
        return self._role("usual", [on_page("sql leased create").partition("\n")[0]], default_ttl="1h")

    def brief_role(self) -> str:
        """A role with the page's statements whose leases live two seconds, four with renewals; its name."""
        statements = [on_page("sql leased create")], [on_page("sql leased revoke")]
        return self._role("brief", *statements, default_ttl="2s", max_ttl="4s")

    def _role(self, name: str, creation: list[str], revocation: list[str] | None = None, **lives: str) -> str:
        with not_ours():
            config = f"/v1/{self.mount}/config/shop"
            self.root.adapter.post(config, json={"allowed_roles": [ROLE, "usual", "brief"]})
            self.root.secrets.database.create_role(
                name, "shop", creation, revocation_statements=revocation, mount_point=self.mount, **lives
            )
        return name

    def renew(self, login: dict[str, str], hours: int) -> None:
        """Have the lease of `fresh_login` live so long from now."""
        with not_ours():
            self.root.sys.renew_lease(login["lease"], increment=hours * 3600)

    def give_and_revoke(self) -> None:
        """Somebody else's lease begins and ends, which cleans up."""
        self.fresh_login()
        self.revoke_leases()

    def until_refused(self, login: dict[str, str]) -> None:
        """Wait until the database refuses it: a revocation of a login ends its leases a moment later."""
        _until(lambda: not self._logs_in(login))

    def until_gone(self, user: str) -> None:
        """Wait until the database has no session of this user."""
        _until(lambda: not self.server.sessions(user))

    def end_sessions(self) -> None:
        """End every session of a leased user."""
        asked = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE 'v-%'"
        with self.server.admin() as admin:
            admin.execute(asked)

    def _logs_in(self, login: dict[str, str]) -> bool:
        try:
            self.connect(login).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def where(self) -> str:
        """What a client must know beside user and password."""
        return f"host=127.0.0.1 port={self.server.port} dbname={self.database}"

    def users(self) -> dict[str, bool]:
        """The leased users there are, and whether each may still log in."""
        asked = (
            "SELECT r.rolname, r.rolvaliduntil > now() FROM pg_roles r JOIN pg_auth_members m"
            " ON m.member = r.oid JOIN pg_roles o ON m.roleid = o.oid"
            " WHERE o.rolname = %s AND r.rolname LIKE 'v-%%'"
        )
        with self.server.admin() as admin:
            return dict(admin.execute(asked, [ROLE]).fetchall())

    def hours_left(self, user: str) -> float:
        """For how long it may still log in."""
        asked = (
            "SELECT extract(epoch FROM rolvaliduntil - now())::float8 / 3600 FROM pg_roles WHERE rolname = %s"
        )
        with self.server.admin() as admin:
            row = admin.execute(asked, [user]).fetchone()
        assert row
        return float(row[0])

    def age(self, user: str, minutes: int) -> None:
        """Have a user's end lie so far back."""
        with self.server.admin() as admin:
            past = admin.execute("SELECT now() - make_interval(mins => %s)", [minutes]).fetchone()
            assert past
            until = sql.SQL("ALTER ROLE {} VALID UNTIL {}")
            admin.execute(until.format(sql.Identifier(user), sql.Literal(str(past[0]))))


def _until(done: Callable[[], bool]) -> None:
    for _ in range(1000):
        if done():
            return
        time.sleep(0.01)  # OpenBao and PostgreSQL do it behind our back
    raise AssertionError("it did not come to that")
