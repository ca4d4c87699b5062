"""The ephemerals in real Terraforms: their values reach what may have them, and no file of a run."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import strongroom
from strongroom.config import Config, key
from strongroom.envelope.cipher import encrypt
from strongroom.registry import create_key
from terraform.tests.nightly import on_each_by_night
from terraform.tests.workspace import Workspace
from tests.canary import CANARY, CANARY_BYTES

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
  recheck = "5m"
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
    command = "for v in db new license; do eval printf %s '\\"$'$v'\\"' | sha256sum > $v.sum; done"
    environment = {
      db      = ephemeral.strongroom_secret.db.value
      new     = ephemeral.strongroom_random.new.value
      license = ephemeral.strongroom_decrypt.license.value
    }
  }
}
"""


def _prepared(folder: Path, config: Config) -> None:
    create_key(config.keys["release"].url, None, "aes-256")
    with closing(key("release", config=config)) as kek:
        message = encrypt(CANARY_BYTES + b"-license", keys=[kek], context={"purpose": "license"})
    (folder / "license.enc").write_bytes(message)


def _digest(path: Path) -> str:
    return path.read_text().split()[0]


def test_values_reach_a_provisioner_and_no_file(workspace: Workspace) -> None:
    """A secret that is not there at plan is read in the apply: `after` is not known before."""
    folder = workspace.folder
    for name in ("vault", "keys"):
        (folder / name).mkdir(mode=0o700)
    config = Config.load(workspace.write(TOML.format(folder=folder), "strongroom.toml"))
    _prepared(folder, config)
    workspace.write(MAIN)
    workspace.plan()
    with strongroom.open("prod", config=config) as store:
        store.put("db/password", CANARY)
    workspace.apply_saved()
    wanted = {"db": CANARY_BYTES, "license": CANARY_BYTES + b"-license"}
    assert {name: _digest(folder / f"{name}.sum") for name in wanted} == {
        name: hashlib.sha256(value).hexdigest() for name, value in wanted.items()
    }
    assert _digest(folder / "new.sum") != hashlib.sha256(b"").hexdigest()
