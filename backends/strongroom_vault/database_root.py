"""Rotates the password with which Vault's database engine manages a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.rotation.generating import login
from strongroom.rotation.rotators.postgresql import PostgreSQLRotator

from .rotating import Operator, segment
from .transport import json_body

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotation, Source
    from strongroom.value import SecretValue

    from .transport import Answer


class DatabaseRootRotator(PostgreSQLRotator):
    """Changes the password with which Vault's database engine manages a PostgreSQL server, and tells Vault.

    The user changes its own password; then Vault is told, and proves by a login that it is right. Vault's own
    ``rotate-root`` makes a password that nobody but its storage has: a Vault that is restored from an older
    backup is locked out, as is whoever has to help. Here the store has it, and telling Vault again is all
    that there is to do. A connection is rotated by one of the two, never by both.

    Between the change and the end of the hook Vault opens no new connection; those it has open go on.

    The policy of the rotator's own identity: "read" and "update" on ``MOUNT/config/CONNECTION``.

    Args:
        address: of Vault, ``https://HOST:PORT``.
        connection: of the engine; its ``connection_url`` says ``{{username}}`` and ``{{password}}``.
        user: with whom Vault logs in; a connection of another user is refused.
        mount: of the engine.
        credential, auth, namespace: see `strongroom_vault.rotating.Operator`.
        vault_ca: path of a PEM file with the authorities to trust for Vault instead of the system's.
        host, port, database, ca, aliases, length, symbols, probe, checked: as of `PostgreSQLRotator`.

    Raises:
        InvalidRequestError: the options cannot work.
    """

    def __init__(  # noqa: PLR0913  (options by keyword)
        self,
        *,
        address: str,
        connection: str,
        host: str,
        user: str,
        mount: str = "database",
        credential: Source | None = None,
        auth: Mapping[str, str] | None = None,
        namespace: str = "",
        vault_ca: str | None = None,
        port: int = 5432,
        database: str = "postgres",
        ca: str | None = None,
        aliases: Sequence[str] = (),
        length: int = 32,
        symbols: bool = False,
        probe: str | None = None,
        checked: bool = False,
    ):
        super().__init__(
            host=host, user=user, port=port, database=database, ca=ca, aliases=aliases, length=length,
            symbols=symbols, probe=probe, checked=checked,
        )  # fmt: skip
        self._operator = Operator(
            address, mount, credential=credential, auth=auth, namespace=namespace, ca=vault_ca
        )
        self._config, self._user = f"config/{segment(connection, 'connection')}", user

    def create_secret(self, r: Rotation) -> SecretValue:
        """The current value with another password, if Vault can be told of it."""
        with self._operator.client(r) as vault:
            _check(self._operator.read(vault, self._config), self._user)
        return super().create_secret(r)

    def set_secret(self, r: Rotation, pending: SecretValue) -> None:
        """Change it at the database, where that was not done yet, and tell Vault, again if need be."""
        super().set_secret(r, pending)
        self.principal(pending)
        password = login(pending).password.reveal_text()
        told = json_body({"username": self._user, "password": password, "verify_connection": True})
        password = ""
        problem = ""
        with self._operator.client(r) as vault:
            r.check()
            try:
                # What is not named stays as it is: roles, statements, the address.
                self._operator.write(vault, self._config, told)
            except InvalidRequestError:
                problem = "Vault cannot log in with the password that the database accepts"
        if problem:
            raise UnavailableError(problem, hint="can Vault reach it? bao read MOUNT/config/CONNECTION")


def _check(config: Answer | None, user: str) -> None:
    """Before anything is changed: Vault would go on with the old password, or with another user."""
    if config is None:
        raise SecretNotFoundError("no such connection of Vault's database engine", hint="check `connection`")
    details = config.data.get("connection_details") or {}
    if "{{password}}" not in str(details.get("connection_url")):
        hint = "write {{username}} and {{password}} in it"
        raise UnsupportedOperationError("the connection_url holds the password itself", hint=hint)
    if details.get("username") != user:
        raise IntegrityError("Vault logs in to the database as another user", hint="check `user`")
