"""The manifests for Kubernetes: valid, restricted, and each container's command run as it stands there."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

import strongroom
from strongroom.cli.main import cli
from strongroom.integrations.rotation_work import RotationWork
from strongroom.testing.clock import FakeClock
from tests.canary import plaintext

FOLDER = Path(__file__).parents[2] / "docs" / "kubernetes"
FILES = ["cronjob.yaml", "sidecar.yaml", "worker.yaml"]
ROTATION = """
[rotation.sessions]
names = ["web/session-key"]
rotator = "random"
schedule = { every = "cron(0 0 * * ? *)" }
grace = "2h"
[ledger]
"""


def _documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / file).read_text()))


def _of(file: str, kind: str) -> dict[str, Any]:
    [found] = [one for one in _documents(file) if one["kind"] == kind]
    return found


def _pod(file: str) -> dict[str, Any]:
    [owner] = [one for one in _documents(file) if one["kind"] in ("CronJob", "Deployment")]
    spec = owner["spec"].get("jobTemplate", owner)["spec"] if owner["kind"] == "CronJob" else owner["spec"]
    pod: dict[str, Any] = spec["template"]["spec"]
    return pod


def _containers(file: str) -> list[dict[str, Any]]:
    pod = _pod(file)
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_manifest_is_looked_at() -> None:
    """A new one has its tests."""
    assert sorted(path.name for path in FOLDER.iterdir()) == FILES


@pytest.mark.parametrize("file", FILES)
def test_it_is_valid(file: str) -> None:
    """By the schemas of Kubernetes, with no key that it would drop."""
    for document in _documents(file):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("file", FILES)
def test_it_fits_the_restricted_standard_and_more(file: str) -> None:
    """Pod Security Standards, restricted; besides a read-only root and no token for the API server."""
    pod = _pod(file)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()
    for volume in pod["volumes"]:
        assert volume.keys() <= {"name", "configMap", "emptyDir", "projected"}
        assert volume.get("emptyDir", {}).get("medium", "Memory") == "Memory"
    for container in _containers(file):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert re.search(r":\d", container["image"]), "a tag that says a version"


@pytest.mark.parametrize("file", FILES)
def test_its_configuration_is_right(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `check --offline` reads it; and each file that it or a container names is mounted."""
    data = _of(file, "ConfigMap")["data"]
    config = tmp_path / "strongroom.toml"
    config.write_text(data["strongroom.toml"])
    done = CliRunner().invoke(cli, ["check", "--offline", str(config)])
    assert done.exit_code == 0, done.output
    ours = _containers(file)[0]
    mounted = {one["mountPath"] for one in ours["volumeMounts"]}
    named = re.findall(r"file://(/[\w./-]+)/", data["strongroom.toml"])
    assert {*named} <= mounted
    env = {one["name"]: one["value"] for one in ours["env"]}
    assert env == {"STRONGROOM_CONFIG": "/etc/strongroom/strongroom.toml", "HOME": "/tmp"}


class _Node:
    """Runs a manifest's container here: its mounts are folders, its configuration names a local store."""

    def __init__(self, file: str, folder: Path):
        self.container = _containers(file)[0]
        self._data = _of(file, "ConfigMap")["data"]
        self._mounts: dict[str, Path] = {}
        for mount in self.container["volumeMounts"]:
            self._mounts[mount["mountPath"]] = folder / mount["name"]
            (folder / mount["name"]).mkdir(mode=0o700)
        self.config = self.place("/etc/strongroom") / "strongroom.toml"
        (folder / "data").mkdir(mode=0o700)
        store = ["--database", str(folder / "data" / "secrets.db"), "--keyset", str(folder / "keyset")]
        made = CliRunner().invoke(cli, ["--config", str(self.config), "init", "--yes", *store])
        assert made.exit_code == 0, made.output
        self.config.write_text(self.config.read_text() + 'cache = { fresh = "1s", poll = "50ms" }\n')
        if "[ledger]" in self._data["strongroom.toml"]:
            ledger = f'url = "sqlite:///{folder}/ledger.db"\n'
            self.config.write_text(self.config.read_text() + ROTATION + ledger)
        for name in self._data.keys() - {"strongroom.toml"}:
            (self.place("/etc/strongroom") / name).write_text(self._data[name])

    def place(self, path: str) -> Path:
        """Where a path of the container is."""
        return Path(self.here(path))

    def here(self, text: str) -> str:
        """A text with the container's folders replaced."""
        mounted = "|".join(map(re.escape, self._mounts))
        text = re.sub(rf"(?<!\w)({mounted})(?=/|$)", lambda found: str(self._mounts[found[1]]), text)
        return text.replace("0.0.0.0:9464", "127.0.0.1:0")

    def command(self) -> list[str]:
        """The program that is installed here, with the manifest's arguments."""
        [program] = self.container["command"]
        return [str(Path(sys.executable).with_name(program)), *map(self.here, self.container["args"])]

    def environment(self) -> dict[str, str]:
        """The manifest's, and nothing else but where programs are."""
        given = {one["name"]: self.here(one["value"]) for one in self.container["env"]}
        return {"PATH": os.environ["PATH"], **given}

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """The container; it must end by itself after a SIGTERM, with 0."""
        with subprocess.Popen(
            self.command(), env=self.environment(), cwd="/", stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()

    def put(self, name: str, value: str) -> None:
        """Write a secret, as somebody else."""
        with strongroom.open(config=self.config) as store:
            store.put(name, value)


def test_a_job_does_what_is_due_and_ends(tmp_path: Path) -> None:
    """The container of the CronJob."""
    node = _Node("cronjob.yaml", tmp_path)
    node.put("web/session-key", "old")
    a_month_ago = FakeClock(datetime.now(UTC) - timedelta(days=30))
    RotationWork(node.config, clock=a_month_ago).start("local:web/session-key", str(uuid.uuid4()))
    done = subprocess.run(
        node.command(), env=node.environment(), cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("begun 0, carried on 1, failed 0\n"), "its grace was over long ago"
    assert done.stdout.startswith("local:web/session-key: done ")


def test_a_worker_answers_its_probes_and_ends_when_it_is_told(tmp_path: Path) -> None:
    """The container of the Deployment: what kubelet asks is answered at the port that it names."""
    node = _Node("worker.yaml", tmp_path)
    node.put("web/session-key", "old")
    [port] = node.container["ports"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert node.container[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert f"0.0.0.0:{port['containerPort']}" in node.container["args"]
    with node.running() as process:
        assert process.stderr
        line = process.stderr.readline()
        while "listening at" not in line:
            line = process.stderr.readline()
        [url] = re.findall(r"http://[\d.:]+/healthz", line)
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.status == 200


def test_a_sidecar_writes_the_file_and_follows(tmp_path: Path) -> None:
    """The startup probe succeeds once the file is there; a change replaces it; it ends when it is told."""
    node = _Node("sidecar.yaml", tmp_path)
    node.put("db/password", "p@ss/word")
    out = plaintext(node.place("/run/app/app.env"), "render writes values where it is told to")
    probe = [*map(node.here, node.container["startupProbe"]["exec"]["command"])]
    with node.running() as process:
        while subprocess.run(probe, check=False).returncode:
            assert process.poll() is None
        assert stat.S_IMODE(out.stat().st_mode) == 0o400
        assert out.read_text() == "PGHOST=db.example.net\nPGUSER=app\nPGPASSWORD=p@ss/word\n"
        node.put("db/password", "another")
        assert process.stderr
        while "a secret has changed: wrote" not in process.stderr.readline():
            assert process.poll() is None
        assert "PGPASSWORD=another\n" in out.read_text()
    assert out.exists(), "who still reads it must not lose it"


def test_a_sidecar_stays_and_the_application_reads_what_it_writes() -> None:
    """A native sidecar; both run as one user, who alone may read the file, in memory, read-only for one."""
    sidecar, app = _containers("sidecar.yaml")
    assert sidecar["restartPolicy"] == "Always"
    users = {one["securityContext"].get("runAsUser") for one in (sidecar, app)}
    assert users == {None}, "the pod's"
    shared = {one["name"]: one for one in app["volumeMounts"]}
    assert shared["files"]["readOnly"] is True
    assert not any("subPath" in one for one in (*sidecar["volumeMounts"], *app["volumeMounts"]))
    out = sidecar["args"][sidecar["args"].index("--out") + 1]
    assert out.startswith(shared["files"]["mountPath"] + "/")
    assert out in app["command"][-1]
