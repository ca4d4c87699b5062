"""The module for Vault on a real OpenBao: what it makes is what the library then works with."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import pytest

import strongroom
from strongroom import PermissionDeniedError, SecretNotFoundError
from strongroom.store import SecretStore
from terraform.tests.tools import Terraform
from terraform.tests.vault_acting import acting
from terraform.tests.workspace import Workspace
from tests.canary import CANARY, not_ours
from tests.servers.openbao import OpenBao

ROTATION = "0c6f1d0a-2f3c-4b57-9d3c-0f2c7b1f7a10"
MODULE = Path(__file__).resolve().parents[1] / "modules" / "vault-secret-store"
VALUES = {"db/password": f"{CANARY} db", "api/key": f"{CANARY} key"}
_ROOT = """
variable "values" {
  type      = map(string)
  ephemeral = true
  default   = {}
}
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def acting_vault(openbao_server: OpenBao) -> Iterator[str]:
    """A provider for Vault that acts on the server, for TF_REATTACH_PROVIDERS."""
    with acting(openbao_server.address, openbao_server.token) as provider:
        yield provider


@dataclass
class Made:
    """One use of the module: its folder, the server, and the variables that it was made with."""

    workspace: Workspace
    server: OpenBao
    variables: dict[str, Any]

    def write(self, **variables: Any) -> None:
        """The configuration, with these variables changed."""
        self.variables |= variables
        # An absolute source would be a package of its own, which has no modules beside it.
        source = os.path.relpath(MODULE, self.workspace.folder)
        call = {"source": source, "values": "${var.values}", **self.variables}
        outputs = ("strongroom_toml", "store_url", "approle_path")
        root = {
            "module": {"it": call},
            "output": {name: {"value": f"${{module.it.{name}}}"} for name in outputs},
        }
        self.workspace.write(_ROOT)
        self.workspace.write(json.dumps(root), "call.tf.json")

    def give(self, values: dict[str, str]) -> None:
        """The values of the next runs."""
        self.workspace.env["TF_VAR_values"] = json.dumps(values)

    def output(self, name: str) -> str:
        """One output."""
        return str(self.workspace.state()["outputs"][name]["value"])

    def open(self, role: str, monkeypatch: pytest.MonkeyPatch) -> SecretStore:
        """The store by the module's own fragment, logged in by AppRole as one of its roles."""
        path = f"auth/{self.output('approle_path')}/role/{role}"
        with not_ours():
            client: Any = self.server.client()
            monkeypatch.setenv("VAULT_ROLE_ID", client.read(f"{path}/role-id")["data"]["role_id"])
            secret_id = client.write_data(f"{path}/secret-id")["data"]["secret_id"]
            monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
        config = self.workspace.write(self.output("strongroom_toml"), "strongroom.toml")
        config.chmod(0o600)
        return strongroom.open(self.variables["name"], config=config)


@contextmanager
def _made(terraform: Terraform, provider: str, server: OpenBao) -> Iterator[Made]:
    """The module applied once: one secret that rotates, one that does not, and three roles."""
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        workspace = Workspace(Path(folder), Terraform(terraform.program), trace=False)
        workspace.env["TF_REATTACH_PROVIDERS"] = provider
        unique = f"{os.getpid()}-{next(_numbers)}"
        made = Made(workspace, server, {"name": f"tf{unique}", "address": server.address})
        made.give(VALUES)
        made.write(
            mount={"path": f"kv-{unique}"},
            approle={"path": f"approle-{unique}"},
            secrets={"db/password": {"rotate": True, "tags": {"owner": "ledger"}}, "api/key": {}},
            value_versions={"db/password": 1, "api/key": 1},
            readers=["app"],
            rotators=["worker"],
            administrators=["person"],
        )
        workspace.init()
        workspace.apply()
        yield made
        workspace.destroy()
        assert f"kv-{unique}/" not in server.client().sys.list_mounted_secrets_engines()["data"]
        workspace.assert_no_canary()


@pytest.fixture
def made(one_terraform: Terraform, acting_vault: str, openbao_server: OpenBao) -> Iterator[Made]:
    """A store of a test's own."""
    with _made(one_terraform, acting_vault, openbao_server) as made:
        yield made


@pytest.fixture(scope="module")
def untouched(one_terraform: Terraform, acting_vault: str, openbao_server: OpenBao) -> Iterator[Made]:
    """A store that no test changes."""
    with _made(one_terraform, acting_vault, openbao_server) as made:
        yield made


def test_a_store_made_by_terraform_is_read_by_its_own_fragment(
    untouched: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader gets the values and tags that Terraform wrote, as texts, and writes nothing."""
    with untouched.open("app", monkeypatch) as store:
        assert store.get("db/password").value.matches(f"{CANARY} db")
        assert store.get("api/key").value.kind == "text"
        assert store.describe("db/password").tags == {"owner": "ledger"}
        assert set(store.list_names()) == {"db/password", "api/key"}
        with pytest.raises(PermissionDeniedError):
            store.put("api/key", CANARY)


def test_no_apply_undoes_a_rotation(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one the plan is empty, and another number for the first value brings it not back."""
    with made.open("worker", monkeypatch) as store:
        pending = store.pending("db/password", ROTATION)
        pending.put(f"{CANARY} rotated", base_version=store.get("db/password").version)
        pending.promote()
    assert made.workspace.plan_is_empty()
    made.write(value_versions={"db/password": 2, "api/key": 2})
    made.give({"db/password": f"{CANARY} db", "api/key": f"{CANARY} key 2"})
    made.workspace.apply()
    with made.open("app", monkeypatch) as store:
        assert store.get("db/password").value.matches(f"{CANARY} rotated")
        assert store.get("api/key").value.matches(f"{CANARY} key 2")


def test_a_value_that_was_forgotten_is_refused(untouched: Made) -> None:
    """Vault would take an empty one, over what is there."""
    untouched.give({"db/password": f"{CANARY} db"})
    refused = untouched.workspace.plan(check=False)
    untouched.give(VALUES)
    assert refused.code == 1
    assert "A name in value_versions has no value." in refused.text


def test_tags_that_change_write_no_value(untouched: Made) -> None:
    """The provider would write value and tags in one: the plan stays empty."""
    untouched.write(tags={"team": "payments"})
    empty = untouched.workspace.plan_is_empty()
    untouched.write(tags={})
    assert empty


def test_what_is_taken_out_of_the_configuration_can_be_had_back(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Terraform puts it into the bin, and destroys nothing."""
    made.write(value_versions={"db/password": 1})
    made.workspace.apply()
    with made.open("person", monkeypatch) as store:
        with pytest.raises(SecretNotFoundError):
            store.get("api/key")
        store.restore("api/key")
        assert store.get("api/key").value.matches(VALUES["api/key"])


def test_an_encrypted_store_is_written_and_read_under_its_transit_key(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The administrator's policy wraps and the reader's unwraps, by the fragment's key; the mount holds a
    message and no text, and the key cannot be exported.
    """
    name, mount = made.variables["name"], made.variables["mount"]["path"]
    transit = {"path": f"transit-{name}"}
    made.write(transit=transit, encrypt=True, value_versions={}, secrets={"later": {}})
    made.workspace.apply()
    with made.open("person", monkeypatch) as store:
        store.put("later", f"{CANARY} sealed")
    with made.open("app", monkeypatch) as store:
        assert store.get("later").value.matches(f"{CANARY} sealed")
    client: Any = made.server.client()
    assert CANARY not in json.dumps(client.read(f"{mount}/data/{name}/later")["data"])
    with pytest.raises(hvac.exceptions.VaultError):
        client.read(f"{transit['path']}/export/encryption-key/{name}")


def test_a_jwt_of_the_bound_subject_logs_in_and_no_other(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fragment's auth is the caller's to choose; the role is bound to audience and subject."""
    key, public = _keypair()
    path = f"jwt-{made.variables['name']}"
    made.write(
        jwt={"path": path, "public_keys": [public], "issuer": "https://issuer.example.net"},
        jwt_roles={"ci": {"grants": ["reader"], "audiences": ["strongroom"], "subject": "repo:acme/app"}},
        auth={"method": "jwt", "mount": path, "role": "ci", "jwt": "env://CI_TOKEN"},
    )
    made.workspace.apply()
    config = made.workspace.write(made.output("strongroom_toml"), "strongroom.toml")
    config.chmod(0o600)
    for subject, allowed in (("repo:acme/app", True), ("repo:acme/other", False)):
        with not_ours():
            monkeypatch.setenv("CI_TOKEN", _token(key, subject))
        with strongroom.open(made.variables["name"], config=config) as store:
            if allowed:
                assert store.get("api/key").value.matches(f"{CANARY} key")
                continue
            with pytest.raises(PermissionDeniedError):
                store.get("api/key")


def _keypair() -> tuple[Any, str]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _token(key: Any, subject: str) -> str:
    """A JSON web token (RFC 7519) signed with ES256."""
    import base64

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {
        "iss": "https://issuer.example.net",
        "aud": "strongroom",
        "sub": subject,
        "nbf": int(time.time()) - 60,
        "exp": int(time.time()) + 300,
    }
    signed = ".".join(part(json.dumps(each).encode()) for each in ({"alg": "ES256"}, claims))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def test_openbao_takes_audit_devices_from_its_own_configuration_alone(openbao_server: OpenBao) -> None:
    """What the page says of `audit`: the API refuses one."""
    with pytest.raises(hvac.exceptions.InvalidRequest, match="config-based audit device management"):
        openbao_server.client().sys.enable_audit_device("file", options={"file_path": "/dev/null"})
