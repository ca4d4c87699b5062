"""64 threads in one store, and 8 children forked while no call is in flight, on every backend.

Each backend has a process of its own, so that a deadlock is a failure of its test and not of the run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom import registry
from tests.canary import CANARY, plaintext
from tests.integration import forking
from tests.integration.pki_support import new_engine
from tests.integration.vault_leased_support import Engine
from tests.scale import scaled

Table = Callable[[pytest.FixtureRequest, Path, dict[str, str]], str]
"""Makes the place, adds to the environment what it needs, and returns the lines below ``[store.it]``."""


def _memory(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    return 'url = "memory://"'


def _local(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    (home / "db").mkdir(mode=0o700)
    options = f'options = {{ keyset = "{home}/keyset.json" }}'
    return f'url = "local://{home}/db/secrets.db?create=keyset"\n{options}'


def _env(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    environment["FORKING__SHARED"] = forking.value(forking.SHARED)
    return 'url = "env://FORKING"'


def _file(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    folder = plaintext(home / "files", "a folder of secrets in clear is what a file store reads")
    folder.mkdir()
    (folder / forking.SHARED).write_text(forking.value(forking.SHARED))
    return f'url = "file://{folder}"'


def _aws_sm(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    return f'url = "aws-sm://eu-west-1/forking?endpoint={request.getfixturevalue("moto_server").url}"'


def _aws_ssm(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    return f'url = "aws-ssm://eu-west-1/forking?endpoint={request.getfixturevalue("moto_server").url}"'


def _vault(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    server = request.getfixturevalue("openbao_server")
    environment["VAULT_TEST_TOKEN"] = server.token
    url = f"vault:///{request.getfixturevalue('kv2_mount')}/forking?endpoint={server.address}"
    return f'url = "{url}"\nauth = {{ method = "token", token = "env://VAULT_TEST_TOKEN" }}'


def _vault_leased(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    server = request.getfixturevalue("openbao_server")
    engine = Engine(server, request.getfixturevalue("postgres_server"))
    engine.role(name=forking.SHARED)
    environment["VAULT_TEST_TOKEN"] = server.token
    url = f"vault-leased:///{engine.mount}?endpoint={server.address}"
    return f'url = "{url}"\nauth = {{ method = "token", token = "env://VAULT_TEST_TOKEN" }}'


def _vault_pki(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    server = request.getfixturevalue("openbao_server")
    environment["VAULT_TEST_TOKEN"] = server.token
    url = f"vault-pki:///{new_engine(server).mount}?endpoint={server.address}"
    return f'url = "{url}"\nauth = {{ method = "token", token = "env://VAULT_TEST_TOKEN" }}'


def _gcp_sm(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    return f'url = "gcp-sm://forking/app?endpoint={request.getfixturevalue("google_process").url}"'


def _azure_kv(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    vault = request.getfixturevalue("azure_server")
    return f'url = "azure-kv://example/forking?endpoint={vault.url}"\nca = "{vault.ca_file}"'


def _pkcs11(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> str:
    token = request.getfixturevalue("softhsm_token")
    environment |= {"PIN": token.pin, "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"]}
    url = token.url(token.unique("forking"))
    return f'url = "{url}"\nmodule = "{token.module}"\npin = "env://PIN"'


PLACES: dict[str, Table] = {
    "memory": _memory,
    "local": _local,
    "env": _env,
    "file": _file,
    "aws-sm": _aws_sm,
    "aws-ssm": _aws_ssm,
    "vault": _vault,
    "vault-leased": _vault_leased,
    "vault-pki": _vault_pki,
    "gcp-sm": _gcp_sm,
    "azure-kv": _azure_kv,
    "pkcs11": _pkcs11,
}
GUARDED = {"aws-ssm", "azure-kv", "pkcs11"}
"""These are used with a coordinator: its connections have to survive threads and forks too."""


def test_every_backend_is_here() -> None:
    """One that joins later is tested too."""
    assert set(registry._BUILT_IN) == set(PLACES)


@pytest.mark.timeout(2 * forking.PATIENCE)
@pytest.mark.parametrize("scheme", PLACES)
def test_threads_and_children_share_a_store(
    scheme: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """No deadlock, no wrong answer, and after close no thread and no descriptor more than before."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    table = PLACES[scheme](request, tmp_path, environment)
    guard = f'[coordinator]\nurl = "sqlite://{tmp_path}/leases.db"\n' if scheme in GUARDED else ""
    configuration = tmp_path / "strongroom.toml"
    configuration.write_text(f'{guard}[store.it]\n{table}\ncache = false\ntimeout = "30s"\nattempts = 10\n')
    configuration.chmod(0o600)
    argv = [sys.executable, "-m", "tests.integration.forking", str(configuration)]
    rounds = str(scaled(10, "rounds of 64 threads and 8 children in one store"))
    ran = subprocess.run(
        [*argv, rounds],
        capture_output=True,
        text=True,
        env=environment,
        timeout=forking.PATIENCE + 30,
        check=False,
    )
    assert CANARY not in ran.stdout + ran.stderr
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert found["wrong"] == []
    assert all(after <= before for before, after in found["left"].values()), found["left"]
