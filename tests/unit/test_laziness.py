"""What is loaded when: nothing before it is needed, and only the SDK of the store that is opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SDKS = frozenset(
    {
        "boto3",
        "botocore",
        "urllib3",
        "hvac",
        "requests",
        "httpx",
        "keyring",
        "cryptography",
        "google",
        "azure",
    }
    | {"pkcs11", "sqlite3", "click", "rich", "yaml", "dotenv", "pytest"}
)
BEFORE = "import sys; _before = set(sys.modules)\n"
"""What a `.pth` file of an installed package loads at every start, such as a namespace, is not ours."""
DUMP = (
    "; import json; print('\\n' + json.dumps(sorted({n.split('.')[0] for n in set(sys.modules) - _before})))"
)


def loaded(code: str) -> set[str]:
    """Which of SDKS an interpreter of its own has loaded after `code`."""
    run = subprocess.run(
        [sys.executable, "-c", BEFORE + code + DUMP], capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stdout.splitlines()[-1])) & SDKS


def test_importing_strongroom_loads_no_sdk_and_no_cryptography() -> None:
    """Every program that might need a secret imports it, most never ask."""
    assert loaded("import strongroom") == set()


@pytest.mark.parametrize(
    "name", ["open", "SecretStore", "AsyncSecretStore", "SecretValue", "Capability", "AuditEvent", "Pending"]
)
def test_no_public_name_loads_one_either(name: str) -> None:
    """Type annotations and tests use them without a store."""
    assert loaded(f"import strongroom; strongroom.{name}") == set()


def test_a_memory_store_loads_none() -> None:
    """The whole way: open, write, read, close."""
    code = "import strongroom; s = strongroom.open('memory://'); s.put('a', 'b'); s.get('a'); s.close()"
    assert loaded(code) == set()


def test_a_local_store_loads_sqlite_and_cryptography_alone(tmp_path: Path) -> None:
    """No cloud's SDK, and no OS keyring unless the database names it."""
    code = f"""
import strongroom
from strongroom.config import Config, StoreEntry
from strongroom.backend import Settings
entry = StoreEntry("x", "local://{tmp_path}/db/secrets.db?create=keyset",
                   Settings(options={{"keyset": "{tmp_path}/keys/keyset.json"}}))
import os; os.makedirs("{tmp_path}/db", mode=0o700); os.makedirs("{tmp_path}/keys", mode=0o700)
with strongroom.open("x", config=Config(stores={{"x": entry}})) as store:
    store.put("a", "b"); store.get("a")
pass""".strip()
    assert loaded(code) == {"sqlite3", "cryptography"}


def test_a_vault_store_loads_its_own_sdk_alone() -> None:
    """No boto3, though urllib3 and requests are hvac's too."""
    found = loaded("import strongroom; strongroom.open('vault:///secret?endpoint=http://127.0.0.1:1')")
    assert "hvac" in found
    assert not found & {"boto3", "botocore", "google", "azure", "keyring", "sqlite3", "click", "rich"}


def test_an_aws_store_loads_its_own_sdk_alone() -> None:
    """No hvac, no requests."""
    found = loaded("import strongroom; strongroom.open('aws-sm://eu-west-1/p?endpoint=http://127.0.0.1:1')")
    assert "botocore" in found
    assert not found & {"hvac", "requests", "httpx", "google", "azure", "keyring", "sqlite3", "click", "rich"}


@pytest.mark.parametrize("arguments", [["--help"], ["get", "--help"], ["--version"]])
def test_help_loads_no_rich_and_no_sdk(arguments: list[str]) -> None:
    """Completion and help are asked for many times a minute."""
    code = f"""
from strongroom.cli.main import main
sys = __import__("sys"); sys.argv = ["strongroom", *{arguments!r}]
try: main()
except SystemExit: pass
pass""".strip()
    assert loaded(code) == {"click"}
