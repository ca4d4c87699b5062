"""Vault: OpenBao itself enforces each role's policy; for our code nothing is missing, and nothing unused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from strongroom.cli.main import cli
from strongroom.config import Config
from strongroom.config import open as open_store
from strongroom.errors import PermissionDeniedError
from strongroom.rotations import engine
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY, not_ours
from tests.integration.vault_support import policy_token
from tests.rotation_target import Target, credential
from tests.servers.openbao import OpenBao, dev_server

from . import roles
from .rendering import rendered
from .vault_calls import Recorder, Rule, rules

MODULE = "vault-secret-store/modules/policies"
PREFIX, OTHER, TRANSIT = "prod", "dr", "least"
ROTATED = ("svc/one", "svc/two")
SHAPES: dict[str, dict[str, Any]] = {
    "alone": {},
    "patterns": {"patterns": True, "ledger": "elsewhere"},
    "replicated": {"replicated": True, "ledger": "elsewhere"},
    "encrypted": {"transit": {"key": "wrap", "path": TRANSIT}, "ledger": "elsewhere"},
}


@dataclass
class Scene:
    """One mount with a store in it, and the files of those who use it; a second store is its replica."""

    server: OpenBao
    mount: str
    folder: Path
    shape: str

    def __post_init__(self) -> None:
        self.target = Target(self.folder / "target.db")
        self.configure(replicated=False)
        with self.store() as store:
            for slot, name in enumerate(ROTATED):
                first = credential(f"app-{slot}")
                self.target.issue(f"app-{slot}", first)
                store.put(name, first)
            roles.seed(store)
        self.configure(replicated=self.shape == "replicated")

    @property
    def file(self) -> Path:
        """strongroom.toml."""
        return self.folder / "strongroom.toml"

    def configure(self, *, replicated: bool = True, source: str = PREFIX) -> None:
        """Write strongroom.toml; the token stands in the environment."""
        replica = OTHER if source == PREFIX else PREFIX
        key = f"vault-transit:///{TRANSIT}/wrap?endpoint={self.server.address}"
        auth = 'auth = { method = "token", token = "env://LEAST" }\n'
        encrypt = 'encrypt = { keys = ["wrap"], domain = "prod" }\n' if self.shape == "encrypted" else ""
        stores = "".join(
            f'[store.{prefix}]\nurl = "vault:///{self.mount}/{prefix}?endpoint={self.server.address}"\n'
            f"cache = false\n{auth}{encrypt}"
            for prefix in (PREFIX, OTHER)
        )
        names = '["svc/**"]' if self.shape == "patterns" else '["svc/one", "svc/two"]'
        ledger = f"strongroom://{source}" if self.shape == "alone" else f"sqlite://{self.folder}/ledger.db"
        rotation = (
            f'[ledger]\nurl = "{ledger}"\n[rotation.db]\nnames = {names}\nstore = "{source}"\ngrace = "2h"\n'
            f'rotator = "tests.function_support:TwoAt"\noptions = {{ target = "{self.target.path}" }}\n'
        )
        copies = (
            f'[coordinator]\nurl = "sqlite://{self.folder}/coordinator.db"\n'
            f'[replica.{replica}]\nsource = "{source}"\ndomain = "prod"\n'
        )
        wrap = f'[key.wrap]\nurl = "{key}"\n{auth}' if encrypt else ""
        self.file.write_text(f"{stores}{wrap}{rotation}{copies if replicated else ''}")

    def store(self) -> SecretStore:
        """As an application opens it."""
        return open_store(PREFIX, config=Config.load(self.file))

    def command(self, *args: str) -> None:
        """The program, which does what it was asked to do."""
        done = CliRunner().invoke(cli, [*args, "--config", str(self.file)])
        assert done.exit_code in (0, 10), done.output


def reads(scene: Scene) -> None:
    """Everything that reads."""
    with scene.store() as store:
        roles.read(store)


def rotates(scene: Scene) -> None:
    """Both secrets, to the end of their grace."""
    clock = FakeClock()
    with engine(Config.load(scene.file), clock=clock) as found:
        for name in ROTATED:
            rotation = found.start(f"{PREFIX}:{name}")
            found.advance(rotation.id)
        clock.advance(3 * 3600)
        found.tick(10)


def administrates(scene: Scene) -> None:
    """Every write; and that a replica comes about, follows and takes over."""
    with scene.store() as store:
        roles.administrate(store)
    if scene.shape == "replicated":
        for verb in ("plan", "sync", "status"):
            scene.command("replica", verb)
        with scene.store() as store:
            store.put(roles.API, f"{CANARY} not copied")
        scene.command("replica", "takeover", OTHER, "--lost", "--yes")
        scene.configure(source=OTHER)
        scene.command("replica", "sync")
        scene.command("replica", "divergence", roles.API, "--discard", "--yes")


ACTS: dict[str, Callable[[Scene], None]] = {
    "reader": reads,
    "rotator": rotates,
    "administrator": administrates,
}


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
    return {
        shape: rendered(tmp_path_factory.mktemp(shape), MODULE, name=PREFIX, mount="MOUNT", **given)
        for shape, given in SHAPES.items()
    }


@dataclass
class Run:
    """One role's work, under a token with its policy alone."""

    policy: str
    recorder: Recorder
    mount: str
    role: str


@pytest.fixture(params=[(shape, role) for shape in SHAPES for role in ACTS], ids=" ".join)
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
    scene = Scene(openbao, mount, tmp_path, shape)
    if shape == "replicated" and role == "rotator":
        scene.command("replica", "sync")
    there = policy.replace(f"/{PREFIX}/", f"/{OTHER}/").replace(f'/{PREFIX}"', f'/{OTHER}"')
    both = policy + there if shape == "replicated" and role == "administrator" else policy
    recorder.token = policy_token(openbao, both)
    monkeypatch.setenv("LEAST", recorder.token)
    ACTS[role](scene)
    return Run(policy, recorder, mount, role)


def test_nothing_is_missing_and_nothing_is_unused(run: Run) -> None:
    """A listing looks for pending values too, and does without where it may not see them: a reader's."""
    assert run.recorder.asked
    refused = {(asked.capability, asked.path) for asked in run.recorder.asked if asked.refused}
    theirs = {("list", f"{run.mount}/metadata/_strongroom/pending/{PREFIX}")}
    assert refused == (theirs if run.role == "reader" else set())
    assert list(run.recorder.unused(run.policy, OTHER, PREFIX)) == []


def test_a_reader_writes_nothing_and_sees_nothing_that_waits(
    policies: Mapping[str, Mapping[str, str]],
    openbao: OpenBao,
    mount: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server says no."""
    monkeypatch.setenv("LEAST", openbao.token)
    scene = Scene(openbao, mount, tmp_path, "alone")
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


def test_a_rule_covers_what_openbao_lets_through() -> None:
    """The star at the end is any rest; a plus is one segment."""
    assert Rule("m/data/prod/*", ()).covers("m/data/prod/a/b")
    assert not Rule("m/data/prod/*", ()).covers("m/data/prod-evil/a")
    assert Rule("m/+/prod", ()).covers("m/metadata/prod")
    assert not Rule("m/+/prod", ()).covers("m/metadata/x/prod")
    assert rules('path "a/*" { capabilities = ["read", "list"] }\n') == [Rule("a/*", ("read", "list"))]
    with pytest.raises(ValueError, match="no rule"):
        rules('path "a" { capabilities = ["read"] denied_parameters = {} }')
