"""The real Redis from Debian, with ACL users, on a loopback port of its own; it keeps nothing on disk."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.servers.process import free_port, running, wait_for_interrupt

_numbers = itertools.count(1)


@dataclass
class Redis:
    """A running server; users are the tests' own.

    Passwords are told by their SHA-256, so that none of them stands in the server's log or slow log.
    """

    port: int
    password: str = field(repr=False)

    def admin(self) -> redis.Redis:
        """A client of the administrator, as another program's."""
        return redis.Redis(port=self.port, password=self.password, decode_responses=True)

    def new_user(self, password: str) -> str:
        """Make a user who may do everything, and return its name."""
        user = f"app-{os.getpid()}-{next(_numbers)}"
        self._set(user, "on", "allkeys", "allchannels", "+@all", f"#{_digest(password)}")
        return user

    def set_password(self, user: str, password: str) -> None:
        """Change a user's password: the old one ends at once, for new connections."""
        self._set(user, "resetpass", f"#{_digest(password)}")

    def remove_user(self, user: str) -> None:
        """Remove a user; the server ends the user's connections."""
        with self.admin() as admin:
            admin.execute_command("ACL", "DELUSER", user)

    def disconnect(self, user: str) -> None:
        """End the connections of a user, as a failover or a restart does."""
        with self.admin() as admin:
            admin.execute_command("CLIENT", "KILL", "USER", user)

    def wait_for_sessions(self, user: str, count: int) -> None:
        """Until so many connections are logged in as the user; between two looks the server itself waits."""
        with self.admin() as admin:
            while sum(client["user"] == user for client in admin.client_list()) < count:
                admin.blpop(["nothing"], timeout=0.05)

    def refusals(self) -> int:
        """How many logins the server has refused so far."""
        with self.admin() as admin:
            return sum(int(entry["count"]) for entry in admin.acl_log() if entry["reason"] == "auth")

    def _set(self, user: str, *rules: str) -> None:
        with self.admin() as admin:
            admin.execute_command("ACL", "SETUSER", user, *rules)


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


@contextmanager
def server() -> Iterator[Redis]:
    """A fresh server on a free port."""
    running_server = Redis(free_port(), secrets.token_hex(16))
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        configuration = Path(folder, "redis.conf")
        configuration.touch(mode=0o600)
        lines = [
            *(f"bind 127.0.0.1\nport {running_server.port}\ndir {folder}\nsave ''\nappendonly no").split(
                "\n"
            ),
            f"user default on #{_digest(running_server.password)} ~* &* +@all",
        ]
        configuration.write_text("\n".join(lines).replace("''", '""') + "\n")
        with running("Redis", ["redis-server", str(configuration)], lambda: _answers(running_server)):
            yield running_server


def _answers(running_server: Redis) -> bool:
    try:
        with redis.Redis(port=running_server.port, password=running_server.password) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


if __name__ == "__main__":
    with server() as started:
        wait_for_interrupt([f"redis-cli -p {started.port} -a {started.password}"])
