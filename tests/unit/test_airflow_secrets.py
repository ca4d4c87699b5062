"""Airflow's secrets backend over a stand-in for Airflow, which pins what no environment beside it can have.

`tests/integration/test_airflow_secrets.py` has the same in Airflow itself, by night.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import BackendNotInstalledError, PermissionDeniedError, UnavailableError
from strongroom.memory import MemoryBackend
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.unit.cli_support import library, new_store_url

MODULE = "strongroom.integrations.airflow_secrets"


class _Denied(PermissionError):  # noqa: N818  (as Airflow does)
    """What Airflow 3.3 calls an answer that it must not go on after."""


def _modules(monkeypatch: pytest.MonkeyPatch, *, exceptions: bool) -> None:
    secrets, sdk = types.ModuleType("airflow.secrets"), types.ModuleType("airflow.sdk.exceptions")
    secrets.BaseSecretsBackend = type("BaseSecretsBackend", (), {})  # type: ignore[attr-defined]
    sdk.AirflowSecretsBackendAccessDenied = _Denied  # type: ignore[attr-defined]
    known = {"airflow": types.ModuleType("airflow"), "airflow.secrets": secrets, "airflow.sdk": sdk}
    for name, module in known.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "airflow.sdk.exceptions", sdk if exceptions else None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Our module, over a stand-in for Airflow 3.3."""
    _modules(monkeypatch, exceptions=True)
    found = importlib.import_module(MODULE)
    yield found
    found._stores.close()
    sys.modules.pop(MODULE, None)


@pytest.fixture
def url() -> Iterator[str]:
    """A store with what Airflow asks for."""
    url = new_store_url()
    with library(url) as store:
        store.put("airflow/connections/uri", f"postgresql://app:{CANARY}@db/app")
        store.put(
            "airflow/connections/rotated", {"username": "app", "password": CANARY, "dbname": "a", "x": 1}
        )
        store.put("airflow/connections/both", {"username": "not", "login": "app", "conn_type": "http"})
        store.put("airflow/variables/key", CANARY)
        store.put("airflow/config/fernet", CANARY)
        store.put("airflow/teams/red/connections/uri", "http://red")
        yield url


def test_what_airflow_asks_for_is_found(module: Any, url: str) -> None:
    """A connection as a URI, or as the JSON that a rotation writes; a variable; an option's value."""
    backend = module.StrongroomBackend(store=url)
    assert backend.get_conn_value("uri") == f"postgresql://app:{CANARY}@db/app"
    rotated = json.loads(backend.get_conn_value("rotated"))
    assert rotated == {"login": "app", "password": CANARY, "schema": "a"}
    assert json.loads(backend.get_conn_value("both")) == {"login": "app", "conn_type": "http"}
    assert backend.get_variable("key") == CANARY
    assert backend.get_config("fernet") == CANARY


def test_a_team_has_its_own_and_reaches_no_others(module: Any, url: str) -> None:
    """Its own comes first, what all share next; no connection of another name leads into a team's."""
    backend = module.StrongroomBackend(store=url)
    assert backend.get_conn_value("uri", team_name="red") == "http://red"
    assert backend.get_variable("key", team_name="red") == CANARY
    for key in ("../teams/red/connections/uri", "teams/red/connections/uri", "/../uri", "red/uri"):
        assert backend.get_conn_value(key) is None
        assert backend.get_conn_value(key, team_name="blue") is None


@pytest.mark.parametrize("key", ["nothing", "Not_Portable", "a b", "", "ü", "x" * 300])
def test_what_nobody_has_is_asked_of_the_next(module: Any, url: str, key: str) -> None:
    """Also what no secret can be called: Airflow's own database may have it."""
    backend = module.StrongroomBackend(store=url)
    assert backend.get_conn_value(key) is None
    assert backend.get_variable(key) is None
    assert backend.get_config(key) is None


def test_what_is_not_looked_up_here_is_asked_of_the_next(module: Any, url: str) -> None:
    """Without a call of the store, which need not even open."""
    backend = module.StrongroomBackend(store="nothing", connections=False, variables=False, configs=False)
    assert (backend.get_conn_value("uri"), backend.get_variable("key"), backend.get_config("fernet")) == (
        None, None, None,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [PermissionDeniedError, UnavailableError])
def test_no_answer_is_never_nothing(
    module: Any, url: str, kind: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow's own backends return None for a decryption that failed, and the task is told: not defined."""

    def fail(*_: object) -> None:
        raise kind("the provider said so")

    monkeypatch.setattr(MemoryBackend, "get", fail)
    with pytest.raises(_Denied) as caught:
        module.StrongroomBackend(store=url).get_conn_value("uri")
    line = f"strongroom: {kind.__name__} of airflow/connections/uri: "
    assert str(caught.value).startswith(line)
    assert caught.value.__context__ is None
    assert [one.levelno for one in caplog.records if line in one.getMessage()] == [logging.ERROR]


def test_a_store_that_cannot_be_opened_is_no_answer(module: Any, tmp_path: Path) -> None:
    """A configuration that is wrong must not look like a connection that is missing."""
    with pytest.raises(_Denied, match="no store is called 'prd'"):
        module.StrongroomBackend(store="prd", config=None).get_variable("key")


def test_what_is_no_connection_is_told_without_a_part_of_it(module: Any, url: str) -> None:
    """Bytes, and JSON that does not parse."""
    with library(url) as store:
        store.put("airflow/connections/bytes", b"\xff" + CANARY.encode())
        store.put("airflow/connections/json", '{"password": "' + CANARY)
    backend = module.StrongroomBackend(store=url)
    for key in ("bytes", "json"):
        with pytest.raises(_Denied) as caught:
            backend.get_conn_value(key)
        assert_no_canary(str(caught.value))
        assert_no_canary_in(caught.value)


def test_backends_made_anew_share_one_store(module: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow makes one for many a lookup: the provider is asked once all the same."""
    calls: list[object] = []
    get = MemoryBackend.get

    def counted(self: MemoryBackend, *args: Any) -> Any:
        calls.append(args)
        return get(self, *args)

    monkeypatch.setattr(MemoryBackend, "get", counted)
    for _ in range(20):
        assert module.StrongroomBackend(store=url).get_variable("key") == CANARY
    assert len(calls) == 1


def test_before_airflow_3_3_an_error_is_logged_and_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow goes on to the next backend then, and the log says why."""
    _modules(monkeypatch, exceptions=False)
    module = importlib.import_module(MODULE)
    with pytest.raises(PermissionError):
        module.StrongroomBackend(store="prd").get_variable("key")
    assert "no store is called 'prd'" in caplog.text
    sys.modules.pop(MODULE, None)


def test_without_airflow_it_is_said_where_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own environment."""
    monkeypatch.setitem(sys.modules, "airflow", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(BackendNotInstalledError) as caught:
        importlib.import_module(MODULE)
    assert caught.value.hint == "install strongroom in Airflow's own environment"
    assert caught.value.__context__ is None
