"""The real servers and the hostile doubles do what the other tests rely on."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import hvac.exceptions
import psutil
import psycopg
import pymysql
import pytest

from tests.canary import CANARY, not_ours
from tests.servers.https import Request, Response, serving

if TYPE_CHECKING:
    from tests.servers.https import Authority, Server
    from tests.servers.mariadb import MariaDB
    from tests.servers.moto import Moto
    from tests.servers.openbao import OpenBao
    from tests.servers.postgres import Postgres

HOLD = """
import sys, time
from tests.servers.process import free_port, listens, running
port = free_port()
argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
with running("http.server (to be killed)", argv, lambda: listens(port)):
    print("up", flush=True)
    time.sleep(60)
"""


def _fetch(server: Server, ca_file: Path | None = None, body: bytes | None = None) -> bytes:
    context = ssl.create_default_context(cafile=ca_file or server.ca_file)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    request = urllib.request.Request(f"{server.url}/v1/x", body, {"X-Vault-Token": CANARY})
    with opener.open(request, timeout=10) as answer:
        return bytes(answer.read())


def test_a_server_dies_with_the_process_that_started_it() -> None:
    """kill -9 of the tests leaves no server behind."""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", HOLD], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"up\n"
        [child] = psutil.Process(parent.pid).children()
        parent.kill()
    child.wait(timeout=10)


def test_openbao_dev_gives_fresh_mounts(openbao_server: OpenBao) -> None:
    """Each mount is new and usable at once; the `bao` program reads what hvac wrote."""
    first, second = openbao_server.mount_kv(2), openbao_server.mount_kv(2)
    kv = openbao_server.client().secrets.kv.v2
    kv.create_or_update_secret("a", {"value": CANARY}, mount_point=first)
    assert openbao_server.cli("kv", "get", "-field=value", f"-mount={first}", "a").strip() == CANARY
    assert kv.list_secrets("", mount_point=first)["data"]["keys"] == ["a"]
    with pytest.raises(Exception, match=second):
        kv.list_secrets("", mount_point=second)


def test_postgres_asks_for_a_password_by_scram(postgres_server: Postgres) -> None:
    """A role logs in with its own password, and with no other; a changed one counts at once."""
    role = postgres_server.new_role("first")
    with psycopg.connect(postgres_server.where, user=role, password="first") as connection:
        assert postgres_server.sessions(role) == 1
        postgres_server.set_password(role, "second")
        assert connection.execute("SELECT current_user").fetchone() == (role,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.where, user=role, password="first")


def test_mariadb_knows_each_account_by_its_own_password(mariadb_server: MariaDB) -> None:
    """It speaks TLS under the tests' authority, and a changed password counts at once."""
    user = mariadb_server.new_user("first")
    mariadb_server.connect(user, "first").close()
    assert mariadb_server.run("SELECT @@have_ssl") == [("YES",)]
    mariadb_server.run(f"SET PASSWORD FOR {user}@'%%' = PASSWORD('second')")
    mariadb_server.connect(user, "second").close()
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        mariadb_server.connect(user, "first")


def test_openbao_kv1_has_no_versions(openbao_server: OpenBao, kv1_mount: str) -> None:
    """The version 1 mount answers in version 1's form."""
    kv = openbao_server.client().secrets.kv.v1
    kv.create_or_update_secret("a", {"value": CANARY}, mount_point=kv1_mount)
    assert kv.read_secret("a", mount_point=kv1_mount)["data"] == {"value": CANARY}


def test_openbao_over_tls_can_be_sealed_and_unsealed(openbao_tls_server: OpenBao) -> None:
    """Sealed it answers 503, unsealed it works again, and only the test's authority vouches for it."""
    openbao_tls_server.seal()
    with pytest.raises(hvac.exceptions.VaultDown):
        openbao_tls_server.mount_kv(2)
    openbao_tls_server.unseal()
    assert openbao_tls_server.mount_kv(2)


def test_moto_starts_empty(moto_server: Moto) -> None:
    """What one test left is gone before the next."""
    with not_ours():
        client = moto_server.client("secretsmanager")
        client.create_secret(Name="a", SecretString=CANARY)
        assert len(client.list_secrets()["SecretList"]) == 1
        moto_server.reset()
        assert client.list_secrets()["SecretList"] == []


def test_an_honest_server_records_what_it_was_sent(authority: Authority) -> None:
    """Path, headers and body arrive whole, so `assert_never_saw` can fail."""
    with serving(lambda request: Response(body=request.body), authority) as server:
        assert _fetch(server, body=b"body") == b"body"
    assert [request.path for request in server.requests] == ["/v1/x"]
    with pytest.raises(AssertionError, match="a secret reached"):
        server.assert_never_saw(CANARY)


def test_plain_http_is_served_without_an_authority() -> None:
    """For loopback endpoints, which may be plain."""

    def respond(request: Request) -> Response:
        return Response(404, request.path.encode())

    with serving(respond) as server, pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{server.url}/x")
    caught.value.close()


def test_a_client_that_follows_is_caught(redirecting_server: Server, redirect_target: Server) -> None:
    """urllib follows a GET with all its headers; the second server saw the token."""
    _fetch(redirecting_server)
    with pytest.raises(AssertionError, match="a secret reached"):
        redirect_target.assert_never_saw(CANARY)


def test_the_tls_1_1_server_speaks_to_those_who_insist(tls_1_1_server: Server) -> None:
    """A default client sends nothing; one that allows TLS 1.1 gets through, so it was the version."""
    with pytest.raises(urllib.error.URLError, match="SSL"):
        _fetch(tls_1_1_server)
    assert tls_1_1_server.requests == []
    old = ssl.create_default_context(cafile=tls_1_1_server.ca_file)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    address = ("127.0.0.1", int(tls_1_1_server.url.rpartition(":")[2]))
    with socket.create_connection(address) as raw, old.wrap_socket(raw, server_hostname=address[0]) as tls:
        assert tls.version() == "TLSv1.1"


def test_the_foreign_ca_server_is_right_but_for_its_ca(foreign_ca_server: Server) -> None:
    """A client that verifies sends nothing."""
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        _fetch(foreign_ca_server)
    assert foreign_ca_server.requests == []
