"""The page on certificates holds on a real OpenBao: commands, policy, snippets, and what a peer then sees."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography import x509

from strongroom.cli.main import cli
from strongroom.errors import PermissionDeniedError
from strongroom.integrations.tls_context import server_context
from strongroom.store import SecretStore
from strongroom.testing import override
from strongroom.testing.clock import FakeClock
from strongroom.toml.file import read_text
from tests.canary import not_ours
from tests.integration.pki_support import Engine, certificate_of, userpass
from tests.integration.test_database_recipes import Load
from tests.integration.vault_support import policy_token, token_auth
from tests.pages import ROOT, marked
from tests.scale import scaled
from tests.servers.openbao import OpenBao, binary
from tests.unit.test_tls_context import certificate_shown

PAGE = ROOT / "docs" / "certificates.md"
NAME, WORKER = "web/api.example.net", "web/worker.example.net"
DAY = 86_400.0
LINES = 10


def _block(mark: str) -> str:
    [block] = marked(mark, PAGE)
    return block.text


@pytest.fixture(scope="session")  # its mount has the page's name
def engine(openbao_server: OpenBao) -> Engine:
    """Made by the page's own commands."""
    folder = str(Path(binary()).parent)
    env = {"BAO_ADDR": openbao_server.address, "BAO_TOKEN": openbao_server.token, "HOME": "/nonexistent"}
    env["PATH"] = f"{folder}:{os.environ['PATH']}"
    commands = "set -e\n" + _block("shell certificates")
    subprocess.run(["bash", "-c", commands], env=env, check=True, capture_output=True)
    with not_ours():
        made: Any = openbao_server.client().read("edge-pki/cert/ca")
    return Engine(openbao_server, "edge-pki", made["data"]["certificate"])


@pytest.fixture
def token(engine: Engine) -> str:
    """A login under the page's policy alone."""
    return policy_token(engine.server, _block("policy certificates"))


@contextmanager
def opened(engine: Engine, token: str, clock: FakeClock) -> Iterator[SecretStore]:
    """The page's store, with its options, on a clock to turn."""
    options = read_text(PAGE, _block("toml certificates"), "").stores["prod"].settings.options
    assert options["ttl"] == DAY
    with (
        engine.store(clock, auth=token_auth(token), options=options) as store,
        override(prod=store),
    ):
        yield store


def _snippet(mark: str, places: dict[str, str]) -> dict[str, Any]:
    """The names after a snippet has run, with places that exist here."""
    text = _block(mark)
    assert len([line for line in text.splitlines() if line.strip()]) <= LINES
    for example, real in places.items():
        assert example in text
        text = text.replace(example, real)
    names: dict[str, Any] = {"__name__": "example"}
    exec(text, names)
    return names


def _root(engine: Engine, folder: Path) -> Path:
    path = folder / "edge-root.pem"
    path.write_text(engine.root)
    return path


@contextmanager
def serving(server: Any) -> Iterator[tuple[str, int]]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _serial(address: tuple[str, int], root: Path) -> int:
    """What a new connection is shown, after it was verified."""
    context = ssl.create_default_context(cafile=str(root))
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="api.example.net") as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown).serial_number


def test_a_server_shows_each_new_certificate_without_a_restart(
    engine: Engine, token: str, tmp_path: Path
) -> None:
    """Connections that stand go on; nobody reads the store but the thread that looks ahead."""
    clock, root = FakeClock(), _root(engine, tmp_path)
    with opened(engine, token, clock) as store:
        server = _snippet("python certificates server", {"8443": "0"})["server"]
        with serving(server) as address:
            first = _serial(address, root)
            standing = socket.create_connection(address)
            context = ssl.create_default_context(cafile=str(root))
            with context.wrap_socket(standing, server_hostname="www.example.net") as tls:
                clock.advance(DAY * 0.67)
                while _serial(address, root) == first:
                    pass
                tls.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
                assert tls.recv(12) == b"HTTP/1.0 200"
            assert _serial(address, root) == certificate_of(store.get(NAME)).serial_number


def test_no_handshake_fails_while_certificates_are_replaced(engine: Engine, token: str) -> None:
    """Each is whole: a key never stands beside another's certificate."""
    clock, seen = FakeClock(), set[int]()
    trusting = ssl.create_default_context(cadata=engine.root)
    with opened(engine, token, clock) as store:
        server = server_context(store, NAME)

        def handshake() -> None:
            seen.add(certificate_shown(server, trusting, "api.example.net").serial_number)

        with Load(handshake, threads=3) as load:
            for number in range(1, 1 + scaled(100, "certificates replaced under handshakes")):
                clock.advance(DAY * 0.67)
                while len(seen) <= number:
                    load.wait(1)
    assert len(seen) > number


def test_a_client_is_made_anew_with_each_certificate(engine: Engine, token: str, tmp_path: Path) -> None:
    """The server lets in only who shows one of this authority's, and says which it saw."""
    clock, root = FakeClock(), _root(engine, tmp_path)

    def strict() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(root)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Telling)
    with opened(engine, token, clock) as store:
        tls = server_context(store, NAME, strict)
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        with serving(server) as address:
            names = _snippet("python certificates client", {"edge-root.pem": str(root)})
            first = _seen(names["client"], address)
            assert first == certificate_of(store.get(WORKER)).serial_number
            old = names["client"]
            clock.advance(DAY * 0.67)
            while names["client"] is old:
                pass
            assert _seen(names["client"], address) == certificate_of(store.get(WORKER)).serial_number != first
            for each in (old, names["client"]):
                each.close()


class _Telling(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        connection: Any = self.connection
        body = connection.getpeercert()["serialNumber"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _seen(client: httpx.Client, address: tuple[str, int]) -> int:
    url = f"https://127.0.0.1:{address[1]}/"
    return int(client.get(url, extensions={"sni_hostname": "api.example.net"}).text, 16)


def test_a_file_for_other_programs_is_a_pair(
    engine: Engine, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line, from the page's template and configuration."""
    text = _block("toml certificates").replace(
        "vault-pki://vault.example.net:8200/edge-pki",
        f"vault-pki:///edge-pki?endpoint={engine.server.address}",
    )
    login = 'auth = { method = "token", token = "env://EDGE_TOKEN" }'
    config = [login if line.startswith("auth") else line for line in text.splitlines()]
    (tmp_path / "strongroom.toml").write_text('default = "prod"\n' + "\n".join(config))
    (tmp_path / "edge.pem.j2").write_text(_block("template certificates"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_TOKEN", token)
    done = CliRunner().invoke(cli, ["render", "edge.pem.j2", "--format", "none", "--out", "edge.pem"])
    assert done.exit_code == 0, done.output
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain("edge.pem")
    assert Path("edge.pem").read_text().count("BEGIN CERTIFICATE") == 2


def test_the_policy_signs_and_does_no_more(engine: Engine, token: str) -> None:
    """It gives no right to revoke: the store says nothing of that, and the certificate lives on."""
    with opened(engine, token, FakeClock()) as store:
        version = store.get(NAME).version
        with pytest.raises(PermissionDeniedError):
            store.get("other/api.example.net")
    assert not engine.revoked(version)


def test_under_leases_the_end_of_the_login_is_the_certificates(engine: Engine) -> None:
    """With no right but to sign: closing revokes the login, and Vault what it made."""
    role = {"allowed_domains": "example.net", "allow_subdomains": True, "generate_lease": True}
    engine.write("roles/leased", **role, key_type="ec", key_bits=256)
    with engine.store(FakeClock(), auth=userpass(engine)) as store:
        version = store.get("leased/api.example.net").version
        assert not engine.revoked(version)
    assert engine.soon_revoked(version)
