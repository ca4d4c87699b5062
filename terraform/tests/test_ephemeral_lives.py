"""The ephemerals in real Terraforms: their values reach what may have them, and no file of a run."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import strongroom
from strongroom.config import Config, key
from strongroom.envelope.cipher import encrypt
from strongroom.registry import create_key
from terraform.tests.nightly import on_each_by_night
from terraform.tests.workspace import PLAN, TRACE, Workspace
from tests.canary import CANARY, CANARY_BYTES
from tests.scale import NIGHTLY

pytestmark = on_each_by_night

TOML = """
default = "prod"
[store.prod]
url = "local://{folder}/vault/s.db?create=keyset"
options = {{ keyset = "{folder}/keys/prod.json" }}
[key.release]
url = "local-key://{folder}/keys/release.json"
"""
MAIN = """
terraform {
  required_providers {
    strongroom = { source = "strongroom/strongroom" }
  }
}
provider "strongroom" {
  config = "strongroom.toml"
}
resource "terraform_data" "first" {}

ephemeral "strongroom_secret" "db" {
  name    = "db/password"
  after   = terraform_data.first.id
  recheck = "1s"
}
ephemeral "strongroom_random" "new" {
  length = 40
}
ephemeral "strongroom_decrypt" "license" {
  message = filebase64("license.enc")
  keys    = ["release"]
  context = { purpose = "license" }
}
# A provisioner may have what is ephemeral; it leaves the digests here.
resource "terraform_data" "digests" {
  provisioner "local-exec" {
    command = <<-EOT
      for v in db new license; do eval printf %s '"$'$v'"' | sha256sum > $v.sum; done
      touch begun
      until test -e go; do sleep 0.1; done
    EOT
    environment = {
      db      = ephemeral.strongroom_secret.db.value
      new     = ephemeral.strongroom_random.new.value
      license = ephemeral.strongroom_decrypt.license.value
    }
  }
}
"""


def _store(workspace: Workspace) -> Config:
    """A store in the workspace's own folder, empty."""
    for name in ("vault", "keys"):
        (workspace.folder / name).mkdir(mode=0o700)
    return Config.load(workspace.write(TOML.format(folder=workspace.folder), "strongroom.toml"))


@contextmanager
def _applying(workspace: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """An apply of the saved plan that has come to its provisioner, which waits for the file `go`."""
    env = {"TF_LOG": "trace", "TF_LOG_PATH": str(workspace.folder / TRACE), **workspace.env}
    argv = ("apply", "-input=false", "-no-color", PLAN)
    (workspace.folder / TRACE).unlink()
    with workspace.terraform.started(workspace.folder, *argv, env=env) as process:
        try:
            _wait_for((workspace.folder / "begun").exists, process)
            yield process
        finally:
            process.kill()


def _wait_for(fact: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it is so; at most a minute, and no longer than the process lives."""
    until = time.monotonic() + 60
    while not fact():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def _prepared(folder: Path, config: Config) -> None:
    create_key(config.keys["release"].url, None, "aes-256")
    with closing(key("release", config=config)) as kek:
        message = encrypt(CANARY_BYTES + b"-license", keys=[kek], context={"purpose": "license"})
    (folder / "license.enc").write_bytes(message)


def _digest(path: Path) -> str:
    return path.read_text().split()[0]


@pytest.mark.parametrize("changes", [1, 2] if NIGHTLY else [1])
def test_values_reach_a_provisioner_and_no_file(workspace: Workspace, changes: int) -> None:
    """Opened once what `after` names is there, looked at again while it is needed, told of when it is closed.

    One change of the secret in the middle leaves what was read in its grace, a second one leaves it nowhere.
    """
    folder, config = workspace.folder, _store(workspace)
    _prepared(folder, config)
    workspace.write(MAIN)
    workspace.plan()  # reads no secret: there is none yet
    with strongroom.open("prod", config=config) as store:
        store.put("db/password", CANARY)
        with _applying(workspace) as process:
            for number in range(changes):
                store.put("db/password", f"{CANARY}-{number}")
            _wait_for(lambda: "RenewEphemeralResource" in (folder / TRACE).read_text(), process)
            (folder / "go").touch()
            said = b"".join(process.communicate(timeout=60)).decode()
    workspace.said.append(said)
    _check_digests(folder)
    assert re.search(r"(?s)Opening\.\.\..*Renewing\.\.\..*Closing\.\.\.", said)
    told = [(0, "Warning: db/password has another current version"), (1, "Error: version")][changes - 1]
    assert (process.returncode, told[1] in said, "no longer in use" in said) == (told[0], True, changes == 2)


def _check_digests(folder: Path) -> None:
    wanted = {"db": CANARY_BYTES, "license": CANARY_BYTES + b"-license"}
    assert {name: _digest(folder / f"{name}.sum") for name in wanted} == {
        name: hashlib.sha256(value).hexdigest() for name, value in wanted.items()
    }
    assert _digest(folder / "new.sum") != hashlib.sha256(b"").hexdigest()
