"""Google: what our code asks for under each role is what its custom roles grant: no less and no more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import NotFound

from strongroom.errors import PermissionDeniedError
from tests.canary import not_ours
from tests.scale import by_day
from tests.servers.google import Google

from . import roles
from .google_calls import NUMBER, Asked, Grant, Recorder
from .rendering import rendered
from .scene import ACTS, STORE, Scene

MODULE = "gcp-secret-store/modules/policies"
LOCATION = "europe-west6"
SHAPES: dict[str, dict[str, Any]] = {
    "alone": {},
    "patterns": {"patterns": True, "ledger": "elsewhere"},
    "regional": {"location": LOCATION, "ledger": "elsewhere"},
}
PROJECT = "least"
RUNS = by_day(
    "roles under Google's grants",
    itertools.product(SHAPES, ACTS),
    lambda run: run[0] == "alone" or run in (("patterns", "rotator"), ("regional", "reader")),
)
Grants = Mapping[str, list[Grant]]


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    """The double, which knows every permission and grants it."""
    with Google() as server:
        yield server


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Grants]:
    """By shape and role, as Terraform renders them."""
    shapes = {shape: {"name": STORE, "project_number": NUMBER, **given} for shape, given in SHAPES.items()}
    outputs = rendered(tmp_path_factory.mktemp("grants"), MODULE, shapes)
    return {shape: by_role(found["grants"]) for shape, found in outputs.items()}


def by_role(grants: Mapping[str, Any]) -> Grants:
    return {role: [Grant.of(grant) for grant in grants.values() if grant["role"] == role] for role in ACTS}


def staged(server: Google, folder: Path, shape: str) -> Scene:
    """An empty project; values are put as Terraform does, without our book."""
    server.reset()
    client: Any = server.secret_client()
    regional = shape == "regional"
    parent = f"projects/{PROJECT}" + (f"/locations/{LOCATION}" if regional else "")

    def make(name: str, text: str) -> None:
        full = f"{STORE}/{name}".replace("/", "__")
        with not_ours():
            try:
                client.get_secret(name=f"{parent}/secrets/{full}")
            except NotFound:
                kind: dict[str, Any] = {} if regional else {"replication": {"automatic": {}}}
                client.create_secret(parent=parent, secret_id=full, secret=kind)
            client.add_secret_version(parent=f"{parent}/secrets/{full}", payload={"data": text.encode()})

    ledger = "" if shape == "alone" else f"sqlite://{folder}/ledger.db"
    where = f"?location={LOCATION}&" if regional else "?"
    url = f'url = "gcp-sm://{PROJECT}/{STORE}{where}endpoint={server.url}"'
    return Scene(folder, {STORE: url}, ledger=ledger, patterns=shape == "patterns", make=make)


@dataclass
class Run:
    """One role's work in one shape of the module, and what it was done under."""

    grants: list[Grant]
    recorder: Recorder


@pytest.fixture(scope="module", params=RUNS, ids=" ".join)
def run(
    request: pytest.FixtureRequest,
    granted: Mapping[str, Grants],
    google: Google,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Each role at its work, which its grants are asked about call by call."""
    shape, role = request.param
    recorder, grants = Recorder(), granted[shape][role]
    with pytest.MonkeyPatch.context() as patch:
        recorder.install(patch)
        scene = staged(google, tmp_path_factory.mktemp("scene"), shape)
        with recorder.under(grants):
            ACTS[role](scene)
    return Run(grants, recorder)


def test_nothing_is_missing(run: Run) -> None:
    """Every call was allowed: also those that our code would go on without."""
    assert run.recorder.asked
    assert set(run.recorder.refused) == set()


def test_nothing_is_unused(run: Run) -> None:
    """Each permission was needed on each kind of names that it is granted on."""
    assert run.recorder.unused(run.grants) == []


def test_what_is_not_the_stores_is_refused(run: Run) -> None:
    """Neither another store's names, nor another kind's of Strongroom's own, nor another project's."""
    for asked in {asked for asked in run.recorder.asked if "/secrets/" in asked.resource}:
        for name in ("other__db", "prodevil__db", "prod", "keyring_____prod__x", "pending_____other__db"):
            other = Asked(asked.permission, f"projects/{NUMBER}/secrets/{name}")
            assert not any(grant.covers(other) for grant in run.grants), other
        elsewhere = Asked(asked.permission, asked.resource.replace(NUMBER, "210987654321"))
        assert not any(grant.covers(elsewhere) for grant in run.grants)


def test_on_the_whole_project_names_are_made_and_listed_and_no_more(granted: Mapping[str, Grants]) -> None:
    """IAM asks the project about these two, whatever a condition says of names."""
    for grants in (grants for by_role in granted.values() for grants in by_role.values()):
        everywhere = {each for grant in grants if not grant.prefixes for each in grant.permissions}
        assert everywhere <= {"secretmanager.secrets.create", "secretmanager.secrets.list"}


def test_a_reader_writes_nothing_and_sees_nothing_that_waits(
    granted: Mapping[str, Grants], google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is denied is told as such."""
    recorder = Recorder()
    recorder.install(monkeypatch)
    scene = staged(google, tmp_path, "alone")
    with recorder.under(granted["alone"]["reader"]), scene.store() as store:
        refused: list[Callable[[], object]] = [
            lambda: store.put(roles.DB, "x"),
            lambda: store.set_tags(roles.DB, {"a": "b"}),
            lambda: store.pending(roles.DB, "0c6f1d0a-2f3c-4b57-9d3c-0f2c7b1f7a10").get(),
            lambda: store.purge(roles.DB),
        ]
        for call in refused:
            with pytest.raises(PermissionDeniedError):
                call()


def test_a_condition_that_is_not_judged_is_refused() -> None:
    """A grant that it misread would be proved for nothing."""
    with pytest.raises(ValueError, match="not judged"):
        Grant.of({"permissions": [], "condition": 'resource.name.endsWith("x")'})
