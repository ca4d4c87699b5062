"""Real servers as fixtures (a pytest plugin): each started once per process, when a test first asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.servers import azure, https, moto, moto_kms, moto_mended, node, nss, openbao, softhsm

if TYPE_CHECKING:
    from tests.servers import google, mariadb, postgres, redis


@pytest.fixture(scope="session")
def authority() -> Iterator[https.Authority]:
    """The certificate authority that honest clients trust."""
    authority = https.Authority()
    yield authority
    authority.close()


@pytest.fixture(scope="session")
def openbao_server() -> Iterator[openbao.OpenBao]:
    """OpenBao's dev server."""
    with openbao.dev_server() as server:
        yield server


@pytest.fixture(scope="session")
def _openbao_tls(authority: https.Authority) -> Iterator[openbao.OpenBao]:
    with openbao.tls_server(authority) as server:
        yield server


@pytest.fixture
def openbao_tls_server(_openbao_tls: openbao.OpenBao) -> Iterator[openbao.OpenBao]:
    """OpenBao over TLS, unsealed; a test may seal it, the next one finds it open again."""
    yield _openbao_tls
    _openbao_tls.unseal()


@pytest.fixture(scope="class")
def kv2_mount(openbao_server: openbao.OpenBao) -> str:
    """A fresh KV version 2 mount of the dev server, one per test class (or test function outside a class)."""
    return openbao_server.mount_kv(2)


@pytest.fixture(scope="class")
def kv1_mount(openbao_server: openbao.OpenBao) -> str:
    """A fresh KV version 1 mount of the dev server, one per test class (or test function outside a class)."""
    return openbao_server.mount_kv(1)


@pytest.fixture(scope="session")
def _moto() -> Iterator[moto.Moto]:
    with moto.server() as server:
        yield server


@pytest.fixture
def moto_server(_moto: moto.Moto) -> moto.Moto:
    """An empty AWS."""
    _moto.reset()
    return _moto


@pytest.fixture(scope="session")
def mended_moto() -> Iterator[moto.Moto]:
    """moto without the lies that no program can live with; it is not emptied: use names of your own."""
    with moto_mended.server() as server:
        yield server


@pytest.fixture(scope="session")
def _kms() -> Iterator[moto.Moto]:
    with moto_kms.server() as server:
        yield server


@pytest.fixture(scope="module")
def kms(_kms: moto.Moto) -> moto.Moto:
    """AWS KMS, mended, and empty when a module begins."""
    _kms.reset()
    return _kms


@pytest.fixture
def tls_1_1_server(authority: https.Authority) -> Iterator[https.Server]:
    """An HTTPS server that speaks at most TLS 1.1."""
    with https.at_most_tls_1_1(authority) as server:
        yield server


@pytest.fixture
def foreign_ca_server(authority: https.Authority) -> Iterator[https.Server]:
    """An HTTPS server whose certificate comes from an authority nobody was told to trust."""
    with https.under_foreign_ca(authority) as server:
        yield server


@pytest.fixture
def redirect_target(authority: https.Authority) -> Iterator[https.Server]:
    """Where `redirecting_server` sends everybody; nothing may arrive here."""
    with https.serving(lambda _: https.Response(), authority) as server:
        yield server


@pytest.fixture
def redirecting_server(authority: https.Authority, redirect_target: https.Server) -> Iterator[https.Server]:
    """An HTTPS server that redirects every request to `redirect_target`, on another port."""
    with https.redirecting(authority, redirect_target.url) as server:
        yield server


@pytest.fixture(scope="session")
def _azure(authority: https.Authority) -> Iterator[azure.Vault]:
    with azure.server(authority) as vault:
        yield vault


@pytest.fixture
def azure_server(_azure: azure.Vault) -> azure.Vault:
    """An empty Azure Key Vault that behaves."""
    _azure.reset()
    return _azure


@pytest.fixture(scope="class")
def _google() -> Iterator[google.Google]:
    from tests.servers.google import Google  # grpc is slow to import, and only these tests need it

    with Google() as server:
        yield server


@pytest.fixture
def google_server(_google: google.Google) -> google.Google:
    """An empty Google Secret Manager and Cloud KMS, without faults.

    It stops with its test class: grpc does not let a process fork while it serves. A test that forks takes
    `google_process`.
    """
    _google.reset()
    return _google


@pytest.fixture(scope="session")
def google_process() -> Iterator[google.Process]:
    """A Google double in a process of its own, shared by all tests of this one: use a project of your own."""
    from tests.servers.google import process

    with process() as server:
        yield server


@pytest.fixture(scope="session")
def google_denying() -> Iterator[google.Process]:
    """A Google double in a process of its own that denies everything."""
    from tests.servers.google import process

    with process(denying=True) as server:
        yield server


@pytest.fixture(scope="session")
def softhsm_tokens() -> Iterator[list[softhsm.TestToken]]:
    """SoftHSM tokens in a private folder; labels on them are the tests' own (`unique`)."""
    with softhsm.tokens(*softhsm.LABELS) as tokens:
        yield tokens


@pytest.fixture(scope="session")
def softhsm_token(softhsm_tokens: list[softhsm.TestToken]) -> softhsm.TestToken:
    """A SoftHSM token."""
    return softhsm_tokens[0]


@pytest.fixture(scope="session")
def softhsm_store(softhsm_tokens: list[softhsm.TestToken]) -> softhsm.TestToken:
    """A SoftHSM token for secrets: a search looks at every object, so it has no others."""
    return next(token for token in softhsm_tokens if token.label == "store")


@pytest.fixture(scope="session")
def nss_token() -> Iterator[softhsm.TestToken]:
    """A token of NSS softokn, which is another program than SoftHSM in every way."""
    with nss.token() as token:
        yield token


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """PostgreSQL; a test makes roles of its own (`new_role`)."""
    from tests.servers.postgres import server  # psycopg is slow to import, and only these tests need it

    with server() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.Redis]:
    """Redis; a test makes users of its own (`new_user`)."""
    from tests.servers.redis import server  # only these tests need redis-py

    with server() as running:
        yield running


@pytest.fixture(scope="session")
def mariadb_server(authority: https.Authority) -> Iterator[mariadb.MariaDB]:
    """MariaDB; a test makes accounts of its own (`new_user`)."""
    from tests.servers.mariadb import server  # only these tests need PyMySQL

    with server(authority) as running:
        yield running


@pytest.fixture(scope="session")
def node_sdk() -> Iterator[node.Node]:
    """AWS's Encryption SDK for JavaScript."""
    with node.node() as server:
        yield server
