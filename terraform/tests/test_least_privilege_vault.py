"""Vault: OpenBao itself enforces each role's policy; for our code nothing is missing, and nothing unused."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import PermissionDeniedError, SecretStoreError
from tests.canary import not_ours
from tests.integration.vault_support import policy_token
from tests.scale import by_day
from tests.servers.openbao import OpenBao, dev_server

from . import roles
from .rendering import MODULES, rendered
from .scene import ACTS, REPLICA, STORE, Scene
from .vault_calls import Recorder, Rule, rules, written

MODULE = "vault-secret-store/modules/policies"
TRANSIT = "least"
SHAPES: dict[str, dict[str, Any]] = {
    "alone": {},
    "patterns": {"patterns": True, "ledger": "elsewhere"},
    "replicated": {"replicated": True, "ledger": "elsewhere"},
    "encrypted": {"transit": {"key": "wrap", "path": TRANSIT}, "ledger": "elsewhere"},
}


def staged(server: OpenBao, mount: str, folder: Path, shape: str) -> Scene:
    """Two prefixes of one mount; the token stands in the environment."""
    auth = 'auth = { method = "token", token = "env://LEAST" }\n'
    sealed = shape == "encrypted"
    encrypt = 'encrypt = { keys = ["wrap"], domain = "prod" }\n' if sealed else ""
    key = f'[key.wrap]\nurl = "vault-transit:///{TRANSIT}/wrap?endpoint={server.address}"\n{auth}'
    return Scene(
        folder,
        {
            prefix: f'url = "vault:///{mount}/{prefix}?endpoint={server.address}"\n{auth}{encrypt}'
            for prefix in (STORE, REPLICA)
        },
        tables=key if sealed else "",
        ledger="" if shape == "alone" else f"sqlite://{folder}/ledger.db",
        patterns=shape == "patterns",
        replicated=shape == "replicated",
    )


# The rest are the same rules again, with and without a key.
WRITES = ("create", "update")  # which of the two it was to be only shows in the whole run
RUNS = by_day(
    "roles under Vault's policies",
    itertools.product(SHAPES, ACTS),
    lambda run: (
        run[0] == "alone"
        or run in (("patterns", "rotator"), ("encrypted", "reader"), ("encrypted", "rotator"))
        or (run[0] == "replicated" and run[1] != "reader")
    ),
)


@pytest.fixture(scope="module")
def openbao() -> Iterator[OpenBao]:
    """Where policies are enforced; with a transit key."""
    with dev_server() as server, not_ours():
        client = server.client()
        client.sys.enable_secrets_engine("transit", path=TRANSIT)
        client.secrets.transit.create_key("wrap", mount_point=TRANSIT)
        yield server


@pytest.fixture
def mount(openbao: OpenBao) -> str:
    """A fresh one."""
    return openbao.mount_kv(2)


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, str]]:
    """By shape and role, for the mount ``MOUNT``, as Terraform renders them."""
    shapes = {shape: {"name": STORE, "mount": "MOUNT", **given} for shape, given in SHAPES.items()}
    return rendered(tmp_path_factory.mktemp("policies"), MODULE, shapes)


@dataclass
class Run:
    """One role's work, under a token with its policy alone."""

    policy: str
    recorder: Recorder
    mount: str
    role: str


@pytest.fixture(params=RUNS, ids=" ".join)
def run(
    request: pytest.FixtureRequest,
    policies: Mapping[str, Mapping[str, str]],
    openbao: OpenBao,
    mount: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Each role at its work in each shape of the module."""
    shape, role = request.param
    policy = policies[shape][f"{role}_policy"].replace("MOUNT", mount)
    recorder = Recorder()
    recorder.install(monkeypatch)
    monkeypatch.setenv("LEAST", openbao.token)
    scene = staged(openbao, mount, tmp_path, shape)
    if shape == "replicated" and role == "rotator":
        scene.command("replica", "sync")
    there = policy.replace(f"/{STORE}/", f"/{REPLICA}/").replace(f'/{STORE}"', f'/{REPLICA}"')
    both = policy + there if shape == "replicated" and role == "administrator" else policy
    recorder.token = policy_token(openbao, both)
    monkeypatch.setenv("LEAST", recorder.token)
    ACTS[role](scene)
    return Run(policy, recorder, mount, role)


def test_nothing_is_missing_and_nothing_is_unused(run: Run) -> None:
    """A listing looks for pending values too, and does without where it may not see them: a reader's."""
    assert run.recorder.asked
    refused = {(asked.capability, asked.path) for asked in run.recorder.asked if asked.refused}
    theirs = {("list", f"{run.mount}/metadata/_strongroom/pending/{STORE}/")}
    assert refused == (theirs if run.role == "reader" else set())
    assert list(run.recorder.unused(run.policy, REPLICA, STORE)) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("role", by_day("Vault's policies short of one grant", ACTS, "reader".__eq__))
def test_each_capability_that_is_taken_out_is_missed(
    role: str,
    policies: Mapping[str, Mapping[str, str]],
    openbao: OpenBao,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenBao's word for it: without any one of them it refuses more than it did."""
    whole = rules(policies["alone"][f"{role}_policy"])
    for number, (at, lost) in enumerate((rule, each) for rule in whole for each in rule.capabilities):
        mount, folder, recorder = openbao.mount_kv(2), tmp_path / str(number), Recorder()
        folder.mkdir()
        left = [
            Rule(one.path, tuple(each for each in one.capabilities if (one, each) != (at, lost)))
            for one in whole
        ]
        monkeypatch.setenv("LEAST", openbao.token)
        scene = staged(openbao, mount, folder, "alone")
        recorder.token = policy_token(openbao, "".join(map(written, left)).replace("MOUNT", mount))
        monkeypatch.setenv("LEAST", recorder.token)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SecretStoreError, AssertionError):
            recorder.install(patch)
            ACTS[role](scene)
        there = Rule(at.path.replace("MOUNT", mount), ())
        refused = [asked for asked in recorder.asked if asked.refused and there.covers(asked.path)]
        assert any(asked.capability in (lost, *WRITES) for asked in refused), (at.path, lost)


def test_every_rule_is_below_the_stores_names(policies: Mapping[str, Mapping[str, str]]) -> None:
    """Or names the store's key; nothing reaches the mount, another prefix, or all of Strongroom's own."""
    for shape in policies.values():
        for rule in (rule for policy in shape.values() for rule in rules(policy)):
            assert re.fullmatch(rf"MOUNT/\w+/(_strongroom/[a-z+-]+/)?{STORE}/\*", rule.path) or re.fullmatch(
                rf"{TRANSIT}/(keys|encrypt|decrypt)/wrap", rule.path
            )


def test_a_reader_writes_nothing_and_sees_nothing_that_waits(
    policies: Mapping[str, Mapping[str, str]],
    openbao: OpenBao,
    mount: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server says no."""
    monkeypatch.setenv("LEAST", openbao.token)
    scene = staged(openbao, mount, tmp_path, "alone")
    policy = policies["alone"]["reader_policy"].replace("MOUNT", mount)
    monkeypatch.setenv("LEAST", policy_token(openbao, policy))
    with scene.store() as store:
        refused: list[Callable[[], object]] = [
            lambda: store.put(roles.DB, "x"),
            lambda: store.set_tags(roles.DB, {"a": "b"}),
            lambda: store.pending(roles.DB, "0c6f1d0a-2f3c-4b57-9d3c-0f2c7b1f7a10").get(),
            lambda: store.delete(roles.DB),
            lambda: store.purge(roles.DB),
        ]
        for call in refused:
            with pytest.raises(PermissionDeniedError):
                call()


@pytest.mark.parametrize(
    ("block", "role"), [("reader", "reader"), ("writer", "rotator"), ("administrator",) * 2]
)
def test_the_guide_shows_what_the_module_renders(
    block: str, role: str, policies: Mapping[str, Mapping[str, str]]
) -> None:
    """One truth: who writes policies by hand has the same."""
    guide = (MODULES.parents[1] / "docs" / "guide.md").read_text()
    shown = guide.split(f"<!-- test: policy {block} -->\n```hcl\n")[1].partition("```")[0]
    ours = policies["alone"][f"{role}_policy"].replace("MOUNT/", "secret/")
    assert {(rule.path, *sorted(rule.capabilities)) for rule in rules(shown)} == {
        (rule.path, *sorted(rule.capabilities)) for rule in rules(ours)
    }


def test_a_rule_covers_what_openbao_lets_through() -> None:
    """The star at the end is any rest; a plus is one segment."""
    assert Rule("m/data/prod/*", ()).covers("m/data/prod/a/b")
    assert not Rule("m/data/prod/*", ()).covers("m/data/prod-evil/a")
    assert Rule("m/+/prod", ()).covers("m/metadata/prod")
    assert not Rule("m/+/prod", ()).covers("m/metadata/x/prod")
    assert rules('path "a/*" { capabilities = ["read", "list"] }\n') == [Rule("a/*", ("read", "list"))]
    with pytest.raises(ValueError, match="no rule"):
        rules('path "a" { capabilities = ["read"] denied_parameters = {} }')
