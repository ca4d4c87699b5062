"""``key list --check`` on every provider: which key wraps, which signs, and which does neither."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from strongroom.cli.main import cli
from tests.canary import CANARY
from tests.conformance.azure_keys import add_key
from tests.conformance.azure_keys import url as azure_url
from tests.integration import transit_support
from tests.servers.azure import Vault
from tests.servers.boto import REGION
from tests.servers.google import Process
from tests.servers.https import Authority
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao
from tests.unit.google_support import made_key

Tables = Mapping[str, Mapping[str, Any]]


def _checked(folder: Path, tables: Tables) -> dict[str, dict[str, Any]]:
    lines = [
        line
        for alias, facts in tables.items()
        for line in (f"[key.{alias}]", *(f"{name} = {value}" for name, value in facts.items()))
    ]
    (folder / "strongroom.toml").write_text("\n".join(lines))
    done = CliRunner().invoke(
        cli, ["key", "list", "--check", "--json", "--config", str(folder / "strongroom.toml")]
    )
    assert done.exit_code == 10, done.stderr
    assert CANARY not in done.stdout
    return {found["key"]: found for found in json.loads(done.stdout)["keys"]}


def _assert_told(found: Mapping[str, Mapping[str, Any]], algorithm: str) -> None:
    assert (found["kek"]["use"], found["kek"]["problem"]) == ("wraps", "")
    assert (found["audit"]["use"], found["audit"]["problem"]) == ("signs", "")
    assert found["audit"]["algorithm"] == algorithm
    assert not found["gone"]["checked"]
    assert found["gone"]["problem"]


def test_aws(kms: Moto, tmp_path: Path) -> None:
    """KMS: a key for encryption, an ECC key, and an alias of nothing."""
    client = kms.client("kms")
    ecc = {"KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_SECG_P256K1"}
    keys = [client.create_key(**facts)["KeyMetadata"]["KeyId"] for facts in ({}, ecc)]
    tables = {
        alias: {"url": json.dumps(f"aws-kms://{REGION}/{name}?endpoint={kms.url}")}
        for alias, name in zip(("kek", "audit", "gone"), (*keys, "alias/gone"), strict=True)
    }
    _assert_told(_checked(tmp_path, tables), "ES256K")


def test_google(google_process: Process, tmp_path: Path) -> None:
    """Cloud KMS: a signing key is one version of a key."""
    kek = made_key(google_process.address).partition("/cryptoKeyVersions/")[0]
    names = {
        "kek": kek,
        "audit": made_key(google_process.address, "EC_SIGN_P256_SHA256"),
        "gone": f"{kek}-gone",
    }
    tables = {
        alias: {"url": json.dumps(f"gcp-kms://{name}?endpoint={google_process.url}")}
        for alias, name in names.items()
    }
    _assert_told(_checked(tmp_path, tables), "ES256")


def test_azure(azure_server: Vault, authority: Authority, tmp_path: Path) -> None:
    """Key Vault: an RSA key and a curve."""
    add_key(azure_server, "kek", "RSA")
    add_key(azure_server, "audit", "P-384")
    tables = {
        alias: {
            "url": json.dumps(azure_url(azure_server.url, alias)),
            "ca": json.dumps(str(authority.ca_file)),
        }
        for alias in ("kek", "audit", "gone")
    }
    found = _checked(tmp_path, tables)
    _assert_told(found, "ES384")
    assert found["kek"]["symmetric"] is False


def test_transit(openbao_server: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transit: by the type of the key."""
    monkeypatch.setenv("TEST_TOKEN", openbao_server.token)
    keys = [transit_support.made(openbao_server, type=kind) for kind in ("aes256-gcm96", "ed25519")]
    gone = transit_support.Key(openbao_server, "no-such-key")
    tables = {
        alias: {"url": json.dumps(key.url()), "auth": '{ method = "token", token = "env://TEST_TOKEN" }'}
        for alias, key in zip(("kek", "audit", "gone"), (*keys, gone), strict=True)
    }
    _assert_told(_checked(tmp_path, tables), "Ed25519")


def test_two_programs_rotate_a_keyring_in_vault(
    openbao_server: OpenBao, kv2_mount: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its roots are a transit key and a keyset: both rotations stay, and either root opens it alone."""
    monkeypatch.setenv("TEST_TOKEN", openbao_server.token)
    auth = 'auth = { method = "token", token = "env://TEST_TOKEN" }'
    transit = transit_support.made(openbao_server, type="aes256-gcm96").url()
    file = tmp_path / "strongroom.toml"
    text = f"""
[store.vault]
url = "vault:///{kv2_mount}/app?endpoint={openbao_server.address}"
{auth}
[key.transit]
url = "{transit}"
{auth}
[key.recovery]
url = "local-key://{tmp_path}/recovery.json"
[keyring.main]
roots = ["transit", "recovery"]
store = "vault"
"""
    file.write_text(text)
    for made in ("recovery", "main"):
        assert _key(file, "create", made).exit_code == 0
    argv = [
        str(Path(sys.executable).parent / "strongroom"),
        "key",
        "rotate",
        "main",
        "--json",
        "--config",
        str(file),
    ]
    programs = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(2)]
    rotated = [json.loads(program.communicate(timeout=60)[0])["version"] for program in programs]
    [found] = json.loads(_key(file, "list", "--check", "--json").stdout)["keyrings"]
    assert (found["versions"], found["roots"], found["problems"]) == (3, ["transit", "recovery"], [])
    assert found["primary"] in rotated
    file.write_text(text.replace('roots = ["transit", "recovery"]', 'roots = ["recovery"]'))
    assert _key(file, "rewrap", "main", "--drop-roots", "--yes").exit_code == 0
    assert _key(file, "rotate", "main").exit_code == 0


def _key(config: Path, *args: str) -> Any:
    done = CliRunner().invoke(cli, ["key", *args, "--config", str(config)])
    assert CANARY not in done.output
    return done
