"""Airflow's connections, variables and configuration from a store (Airflow 2.10 and 3).

::

    [secrets]
    backend = strongroom.integrations.airflow_secrets.StrongroomBackend
    backend_kwargs = {"store": "prod"}

The connection ``warehouse`` is the secret ``airflow/connections/warehouse``. Airflow pins what it stands on:
install Strongroom in Airflow's own environment.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    SecretNotFoundError,
    SecretStoreError,
)

try:
    from airflow.secrets import BaseSecretsBackend
except ImportError:
    try:  # a worker that has the Task SDK alone
        from airflow.sdk.bases.secrets_backend import BaseSecretsBackend
    except ImportError:
        BaseSecretsBackend = None
if BaseSecretsBackend is None:
    raise BackendNotInstalledError(
        "apache-airflow is not installed", hint="install strongroom in Airflow's own environment"
    )
try:
    from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied as _Authoritative
except ImportError:  # before Airflow 3.3 nothing keeps Airflow from asking the next backend
    _Authoritative = PermissionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

_log: Final = logging.getLogger(__name__)
_FIELDS: Final = ("conn_type", "login", "password", "host", "port", "schema", "extra", "description")
_ALSO_CALLED: Final[Mapping[str, str]] = {
    "user": "login",
    "username": "login",
    "engine": "conn_type",
    "database": "schema",
    "dbname": "schema",
}
"""What the secret of a database calls its fields where a rotation or a provider's console has made it."""


class SecretUnanswered(_Authoritative):  # type: ignore[misc]
    """The store neither gave a value nor said that there is none: Airflow must not ask anybody else."""


class _Stores:
    """The stores of this process: Airflow makes a backend anew for many a lookup, the cache outlives it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[tuple[str | None, str | None], SecretStore] = {}

    def opened(self, store: str | None, config: str | None) -> SecretStore:
        with self._lock:
            if (store, config) not in self._opened:
                from strongroom.config import open as open_store

                self._opened[store, config] = open_store(store, config=config)
            return self._opened[store, config]

    def close(self) -> None:
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()

    def after_fork(self) -> None:
        """A store sees to itself; a lock that another thread of the parent held would stay so for ever."""
        self._lock = threading.Lock()


_stores: Final = _Stores()
atexit.register(_stores.close)
os.register_at_fork(after_in_child=_stores.after_fork)


class StrongroomBackend(BaseSecretsBackend):  # type: ignore[misc]
    """What ``[secrets] backend`` names; ``backend_kwargs`` are its arguments, and never hold a credential.

    A secret that is not there is asked of the next backend. Any other answer ends the lookup with its reason,
    where Airflow lets a backend say so (3.3 and later); it is logged in any case, in one line.

    Args:
        store: an alias of strongroom.toml, or a URL; without one, the default store.
        config: the file; without one, ``STRONGROOM_CONFIG`` names it.
        prefix: what the names begin with: ``PREFIX/connections/ID``, ``PREFIX/variables/KEY``,
            ``PREFIX/config/KEY``, and of a team ``PREFIX/teams/TEAM/connections/ID``.
        connections, variables, configs: whether these are looked up here.
    """

    def __init__(
        self,
        *,
        store: str | None = None,
        config: str | None = None,
        prefix: str = "airflow",
        connections: bool = True,
        variables: bool = True,
        configs: bool = True,
    ):
        super().__init__()
        self._place, self._prefix = (store, config), prefix.strip("/")
        self._kinds = {"connections": connections, "variables": variables, "config": configs}

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """A connection as Airflow reads one: a URI, or JSON with the fields named as Airflow names them.

        Raises:
            SecretUnanswered: the store did not say whether there is one, or it is none.
        """
        value = self._found("connections", conn_id, team_name)
        return None if value is None else _text(value, conn_id, _connection)

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:
        """A variable's text. Raises as `get_conn_value`."""
        value = self._found("variables", key, team_name)
        return None if value is None else _text(value, key, _as_it_is)

    def get_config(self, key: str) -> str | None:
        """What an option of ``airflow.cfg`` whose name ends in ``_secret`` names. Raises as above."""
        value = self._found("config", key, None)
        return None if value is None else _text(value, key, _as_it_is)

    def _found(self, kind: str, key: str, team: str | None) -> SecretValue | None:
        """A team's own first. No key leads out of its folder: the store refuses ``..`` and empty parts."""
        if not self._kinds[kind]:
            return None
        names = [f"{self._prefix}/{kind}/{key}"]
        if team:
            names.insert(0, f"{self._prefix}/teams/{team}/{kind}/{key}")
        for name in names:
            if (value := self._read(name)) is not None:
                return value
        return None

    def _read(self, name: str) -> SecretValue | None:
        try:
            store = _stores.opened(*self._place)
            return store.get(name).value if _is_legal(store, name) else None
        except SecretNotFoundError:
            return None
        except SecretStoreError as error:
            problem = error
        raise _unanswered(name, problem)


def _is_legal(store: SecretStore, name: str) -> bool:
    """Whether a secret can be called so: if none can, another backend may still know of it."""
    try:
        store.is_warm(name)
    except InvalidRequestError as error:
        _log.debug("no secret is called so: %s", error)
        return False
    return True


def _unanswered(name: str, error: SecretStoreError) -> SecretUnanswered:
    told = f"strongroom: {type(error).__name__} of {name}: {error}"
    _log.error("%s", told)
    return SecretUnanswered(told)


def _text(value: SecretValue, key: str, form: Any) -> str:
    """The text, or what is wrong with it: never a part of it."""
    try:
        found: str = form(value)
        return found
    except InvalidRequestError as error:
        problem = error
    raise _unanswered(key, problem)


def _as_it_is(value: SecretValue) -> str:
    return value.reveal_text()


def _connection(value: SecretValue) -> str:
    if not value.reveal_text().lstrip().startswith("{"):
        return value.reveal_text()
    given = value.reveal_json()
    fields = {_ALSO_CALLED[name]: part for name, part in given.items() if name in _ALSO_CALLED} | given
    return json.dumps({name: fields[name] for name in _FIELDS if name in fields})
