"""Azure: what our code asks for under each role is what its role definition grants: no less and no more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import PermissionDeniedError
from tests.scale import by_day
from tests.servers import azure
from tests.servers.azure import Vault
from tests.servers.https import Authority

from . import roles
from .azure_calls import Recorder, action
from .rendering import rendered
from .scene import ACTS, STORE, Scene

MODULE = "azure-secret-store/modules/policies"
SHAPES: dict[str, dict[str, Any]] = {
    "alone": {},
    "encrypted": {"encrypted": True},
}
RUNS = by_day(
    "roles under Azure's actions",
    itertools.product(SHAPES, ACTS),
    lambda run: run[0] == "alone" or run[1] != "administrator",
)
Granted = Mapping[str, list[str]]


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    """The double."""
    with closing(Authority()) as authority, azure.server(authority) as served:
        yield served


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Granted]:
    """By shape and role, as Terraform renders them."""
    outputs = rendered(tmp_path_factory.mktemp("actions"), MODULE, SHAPES)
    return {shape: {role: found[f"{role}_policy"] for role in ACTS} for shape, found in outputs.items()}


def staged(vault: Vault, folder: Path, shape: str) -> Scene:
    """An empty vault; a coordinator, without which Key Vault compares nothing."""
    vault.reset()
    there = f'?endpoint={vault.url}"\nca = "{vault.ca_file}"\n'
    encrypt = 'encrypt = { keys = ["wrap"], domain = "prod", forgeable = true }\n'
    sealed = shape == "encrypted"
    if sealed:
        with vault.key_client() as keys:
            keys.create_rsa_key("wrap")
    return Scene(
        folder,
        {STORE: f'url = "azure-kv://example/{STORE}{there}{encrypt if sealed else ""}'},
        tables=f'[key.wrap]\nurl = "azure-key://example/wrap{there}' if sealed else "",
        ledger=f"sqlite://{folder}/ledger.db",
        coordinated=True,
    )


@dataclass
class Run:
    """One role's work in one shape of the module, and what it was done under."""

    actions: list[str]
    recorder: Recorder


@pytest.fixture(scope="module", params=RUNS, ids=" ".join)
def run(
    request: pytest.FixtureRequest,
    granted: Mapping[str, Granted],
    vault: Vault,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Each role at its work, which its actions are asked about call by call."""
    shape, role = request.param
    recorder, actions = Recorder(), granted[shape][role]
    with pytest.MonkeyPatch.context() as patch:
        recorder.install(patch)
        scene = staged(vault, tmp_path_factory.mktemp("scene"), shape)
        with recorder.under(actions):
            ACTS[role](scene)
    return Run(actions, recorder)


def test_nothing_is_missing(run: Run) -> None:
    """Every call was allowed: also those that our code would go on without."""
    assert run.recorder.asked
    assert run.recorder.refused == set()


def test_nothing_is_unused(run: Run) -> None:
    """Each action was needed, and none stands twice."""
    assert sorted(run.recorder.asked) == sorted(run.actions)


def test_a_reader_writes_nothing(
    granted: Mapping[str, Granted], vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is denied is told as such."""
    recorder = Recorder()
    recorder.install(monkeypatch)
    scene = staged(vault, tmp_path, "alone")
    with recorder.under(granted["alone"]["reader"]), scene.store() as store:
        refused: list[Callable[[], object]] = [
            lambda: store.put(roles.DB, "x"),
            lambda: store.set_tags(roles.DB, {"a": "b"}),
            lambda: store.delete(roles.DB),
            lambda: store.purge(roles.DB),
        ]
        for call in refused:
            with pytest.raises(PermissionDeniedError):
                call()


def test_an_operation_that_is_not_known_is_an_error() -> None:
    """It would be let through unproved."""
    assert action("GET", "/secrets/app--db/").endswith("getSecret/action")
    with pytest.raises(LookupError):
        action("POST", "/secrets/app--db/backup")
