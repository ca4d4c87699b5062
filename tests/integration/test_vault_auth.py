"""Each way to log in, against the real OpenBao.

Kubernetes needs an API server that reviews tokens; a double that speaks TokenReview stands for it here. The
other methods need nothing beside OpenBao.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from strongroom.backend import Stage
from strongroom.errors import InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.value import SecretValue
from strongroom_vault.kv import VaultKV
from tests.canary import CANARY, assert_no_canary_in, not_ours
from tests.integration.vault_support import (
    DB,
    CuttingProxy,
    TurnedClock,
    cutting_proxy,
    open_store,
    policy_token,
    text,
    token_auth,
)
from tests.servers import https
from tests.servers.openbao import OpenBao

Auth = dict[str, str | SecretValue]
SUBJECT = "system:serviceaccount:shop:app"
ALL = 'path "kv2-*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }'


@pytest.fixture
def mount(openbao_server: OpenBao) -> str:
    return openbao_server.mount_kv(2)


@pytest.fixture(scope="module")
def policy(openbao_server: OpenBao) -> str:
    with not_ours():
        openbao_server.client().sys.create_or_update_policy("kv-all", ALL)
    return "kv-all"


def _enable(server: OpenBao, method: str) -> tuple[Any, str]:
    """A plain client, and a fresh mount of an auth method."""
    path = f"{method}-{os.urandom(4).hex()}"
    client = server.client()
    client.sys.enable_auth_method(method, path=path)
    return client, path


def approle(server: OpenBao, policy: str, **facts: Any) -> Auth:
    """A role, and an id and secret id for it."""
    with not_ours():
        client, path = _enable(server, "approle")
        client.auth.approle.create_or_update_approle(
            "app", token_policies=[policy], mount_point=path, **facts
        )
        role = client.auth.approle.read_role_id("app", mount_point=path)["data"]["role_id"]
        secret = client.auth.approle.generate_secret_id("app", mount_point=path)["data"]["secret_id"]
    return {"method": "approle", "role_id": role, "secret_id": SecretValue(secret), "mount": path}


def userpass(server: OpenBao, policy: str) -> Auth:
    """A user whose password is the canary."""
    with not_ours():
        client, path = _enable(server, "userpass")
        client.auth.userpass.create_or_update_user("ann", CANARY, policies=[policy], mount_point=path)
    return {"method": "userpass", "username": "ann", "password": SecretValue(CANARY), "mount": path}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_jwt(key: ec.EllipticCurvePrivateKey) -> str:
    """A token of a Kubernetes service account for the audience `strongroom`, signed ES256."""
    account = {"namespace": "shop", "serviceaccount": {"name": "app", "uid": "u1"}}
    now = int(time.time())
    times = {"exp": now + 600, "iat": now, "nbf": now}
    claims = {"aud": ["strongroom"], "sub": SUBJECT, "kubernetes.io": account, **times}
    head = _b64(json.dumps({"alg": "ES256", "typ": "JWT"}).encode())
    content = f"{head}.{_b64(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(content.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{content}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def jwt(server: OpenBao, policy: str) -> Auth:
    """A role that trusts a local public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with not_ours():
        client, path = _enable(server, "jwt")
        client.auth.jwt.configure(jwt_validation_pubkeys=[pem.decode()], path=path)
        client.auth.jwt.create_role(
            "app", role_type="jwt", bound_audiences=["strongroom"], user_claim="sub",
            allowed_redirect_uris=[], token_policies=[policy], path=path,
        )  # fmt: skip
    return {"method": "jwt", "role": "app", "jwt": SecretValue(signed_jwt(key)), "mount": path}


@pytest.mark.parametrize("method", [approle, userpass, jwt])
def test_a_login_reads_and_writes(
    openbao_server: OpenBao, policy: str, mount: str, method: Callable[[OpenBao, str], Auth]
) -> None:
    """And its token is revoked when the store is closed."""
    store = open_store(openbao_server, mount, auth=method(openbao_server, policy))
    store.put(DB, text(), None)
    assert store.get(DB, Stage.CURRENT).value == text()
    token = store._client._auth.token()
    store.close()
    store.close()
    with not_ours():
        assert not openbao_server.client(token.reveal_text()).is_authenticated()


def test_a_jwt_file_is_read_at_each_login(
    openbao_server: OpenBao, policy: str, mount: str, tmp_path: Path
) -> None:
    """A mounted service account token changes in place."""
    auth = jwt(openbao_server, policy)
    token = auth.pop("jwt")
    assert isinstance(token, SecretValue)
    file = tmp_path / "token"
    store = open_store(openbao_server, mount, auth={**auth, "jwt_file": str(file)})
    with pytest.raises(InvalidRequestError, match="web token"):
        store.put(DB, text(), None)
    file.write_text("not.a.token")
    with pytest.raises(PermissionDeniedError, match="refused"):
        store.put(DB, text(), None)
    file.write_text(token.reveal_text() + "\n")
    store.put(DB, text(), None)


def test_kubernetes_logs_in_with_the_service_accounts_token(
    openbao_server: OpenBao, policy: str, mount: str, tmp_path: Path, authority: https.Authority
) -> None:
    """OpenBao asks the cluster's TokenReview whether it is good; the double says yes to this one."""
    token = signed_jwt(ec.generate_private_key(ec.SECP256R1()))
    user = {"username": SUBJECT, "uid": "u1"}

    def review(request: https.Request) -> https.Response:
        good = json.loads(request.body)["spec"]["token"] == token
        status = {"authenticated": good, "user": user, "audiences": ["strongroom"]}
        return https.Response(201, json.dumps({"kind": "TokenReview", "status": status}).encode())

    with https.serving(review, authority) as cluster:
        path = _kubernetes(openbao_server, policy, cluster)
        file = tmp_path / "token"
        file.write_text(token)
        auth: Auth = {"method": "kubernetes", "role": "app", "jwt_file": str(file), "mount": path}
        store = open_store(openbao_server, mount, auth=auth)
        store.put(DB, text(), None)
        assert store.get(DB, Stage.CURRENT).value == text()


def _kubernetes(server: OpenBao, policy: str, cluster: https.Server) -> str:
    assert cluster.ca_file
    with not_ours():
        client, path = _enable(server, "kubernetes")
        client.auth.kubernetes.configure(
            kubernetes_host=cluster.url, kubernetes_ca_cert=cluster.ca_file.read_text(),
            disable_local_ca_jwt=True, mount_point=path,
        )  # fmt: skip
        client.auth.kubernetes.create_role(
            "app", bound_service_account_names=["app"], bound_service_account_namespaces=["shop"],
            policies=[policy], audience="strongroom", mount_point=path,
        )  # fmt: skip
    return path


@pytest.fixture
def tls_mount(openbao_tls_server: OpenBao) -> str:
    return openbao_tls_server.mount_kv(2)


def test_a_tls_certificate_logs_in(
    openbao_tls_server: OpenBao, tls_mount: str, authority: https.Authority
) -> None:
    """The certificate that the connection showed is the identity."""
    issued = authority.issue("app.example.net")
    with not_ours():
        client, path = _enable(openbao_tls_server, "cert")
        client.sys.create_or_update_policy("kv-all", ALL)
        client.auth.cert.create_ca_certificate_role(
            "app", certificate=authority.ca_file.read_text(), token_policies=["kv-all"], mount_point=path
        )
    auth: Auth = {"method": "cert", "cert": str(issued.certificate), "key": str(issued.key), "mount": path}
    store = open_store(openbao_tls_server, tls_mount, auth={**auth, "role": "app"})
    store.put(DB, text(), None)
    assert store.get(DB, Stage.CURRENT).value == text()
    with pytest.raises(PermissionDeniedError):
        open_store(openbao_tls_server, tls_mount, auth={**auth, "role": "other"}).get(DB, Stage.CURRENT)


@pytest.mark.parametrize("method", [approle, userpass, jwt])
def test_a_refused_login_is_permission_denied_and_tells_no_credential(
    openbao_server: OpenBao, policy: str, mount: str, method: Callable[[OpenBao, str], Auth]
) -> None:
    """OpenBao answers 400 to bad credentials; that is not an invalid request of the caller's."""
    auth = method(openbao_server, policy)
    wrong = {name: SecretValue(CANARY + "wrong") for name in ("secret_id", "password", "jwt") if name in auth}
    store = open_store(openbao_server, mount, auth={**auth, **wrong})
    for call in (lambda: store.get(DB, Stage.CURRENT), lambda: store.put(DB, text(), None)):
        with pytest.raises(PermissionDeniedError, match="login by") as caught:
            call()
        assert caught.value.performed is False
        assert_no_canary_in(caught.value)


def test_a_wrong_token_is_permission_denied(openbao_server: OpenBao, mount: str) -> None:
    """Never "not found"; and the hint tells it from a policy that forbids."""
    store = open_store(openbao_server, mount, auth=token_auth(f"s.{CANARY}"))
    for call in (
        lambda: store.get(DB, Stage.CURRENT),
        lambda: store.put(DB, text(), None),
        lambda: list(store.list_info("")),
    ):
        with pytest.raises(PermissionDeniedError, match="does not accept the token") as caught:
            call()
        assert_no_canary_in(caught.value)


def test_a_token_that_http_cannot_carry_is_an_invalid_request(openbao_server: OpenBao, mount: str) -> None:
    """http.client's own error would quote it."""
    for bad in (f"{CANARY}\n", f"{CANARY}ключ"):
        with pytest.raises(InvalidRequestError) as caught:
            open_store(openbao_server, mount, auth=token_auth(bad)).get(DB, Stage.CURRENT)
        assert_no_canary_in(caught.value)


def test_without_credentials_nothing_is_sent(
    openbao_server: OpenBao, mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VAULT_TOKEN is another server's unless VAULT_ADDR has this store's origin."""
    monkeypatch.setenv("VAULT_TOKEN", openbao_server.token)
    with cutting_proxy(openbao_server.address) as proxy:
        for elsewhere in ("", openbao_server.address, "https://vault.example.net:8200"):
            monkeypatch.setenv("VAULT_ADDR", elsewhere)
            store = open_store(openbao_server, mount, address=proxy.address, auth={})
            with pytest.raises(PermissionDeniedError, match="no credentials"):
                store.put(DB, text(), None)
        assert proxy.seen == []
    monkeypatch.setenv("VAULT_ADDR", openbao_server.address + "/")
    open_store(openbao_server, mount, auth={}).put(DB, text(), None)


def test_a_login_is_shared_by_all_threads(openbao_server: OpenBao, policy: str, mount: str) -> None:
    """Eight threads, one login."""
    with cutting_proxy(openbao_server.address) as proxy:
        auth = approle(openbao_server, policy)
        store = open_store(openbao_server, mount, address=proxy.address, auth=auth)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.put(DB, text(str(n)), None), range(8)))
        assert _count(proxy, "/login") == 1


def _count(proxy: CuttingProxy, part: str) -> int:
    return sum(part in path for _, path in proxy.seen)


def test_a_login_is_renewed_at_two_thirds_of_its_life(
    openbao_server: OpenBao, policy: str, mount: str
) -> None:
    """On the injected clock: nothing before, one renewal after; and a new login past the end."""
    clock = TurnedClock()
    with cutting_proxy(openbao_server.address) as proxy:
        auth = approle(openbao_server, policy, token_ttl="60s", token_max_ttl="600s")
        store = open_store(openbao_server, mount, address=proxy.address, auth=auth, clock=clock)
        store.put(DB, text(), None)
        clock.seconds += 39
        store.get(DB, Stage.CURRENT)
        assert (_count(proxy, "/login"), _count(proxy, "renew-self")) == (1, 0)
        clock.seconds += 2
        store.get(DB, Stage.CURRENT)
        assert (_count(proxy, "/login"), _count(proxy, "renew-self")) == (1, 1)
        clock.seconds += 39
        store.get(DB, Stage.CURRENT)
        assert (_count(proxy, "/login"), _count(proxy, "renew-self")) == (1, 1)


def test_near_its_maximum_life_a_login_is_made_anew(openbao_server: OpenBao, policy: str, mount: str) -> None:
    """The server grants ever less as the maximum comes near; then only a new login helps."""
    clock = TurnedClock()
    with cutting_proxy(openbao_server.address) as proxy:
        auth = approle(openbao_server, policy, token_ttl="60s", token_max_ttl="60s")
        store = open_store(openbao_server, mount, address=proxy.address, auth=auth, clock=clock)
        store.put(DB, text(), None)
        store._client._auth._lease = _shortened(store)
        clock.seconds += 41
        store.get(DB, Stage.CURRENT)
        assert (_count(proxy, "renew-self"), _count(proxy, "/login")) == (1, 2)


def _shortened(store: VaultKV) -> Any:
    """The lease as if granted for longer: what the server can still give is then less than half of it."""
    import dataclasses

    assert store._client._auth._lease
    return dataclasses.replace(store._client._auth._lease, full=600.0)


def test_a_login_that_is_revoked_is_made_anew_each_time(
    openbao_server: OpenBao, policy: str, mount: str
) -> None:
    """After a 403 the token looks itself up and is found dead; one login follows, and the request again.

    The new token looks itself up too: so its death is known for what it is, however soon it comes.
    """
    with cutting_proxy(openbao_server.address) as proxy:
        auth = approle(openbao_server, policy)
        store = open_store(openbao_server, mount, address=proxy.address, auth=auth)
        first = store.put(DB, text("1"), None)
        for _ in range(3):
            token = store._client._auth.token()
            with not_ours():
                openbao_server.client().auth.token.revoke(token.reveal_text())
            proxy.seen.clear()
            start = threading.Barrier(4)

            def read(_: int, start: threading.Barrier = start) -> str:
                start.wait()
                return store.get(DB, Stage.CURRENT).version

            with ThreadPoolExecutor(4) as pool:
                assert set(pool.map(read, range(4))) == {first.id}
            assert _count(proxy, "/login") == 1
            assert _count(proxy, "lookup-self") == 2
        store.put(DB, text("2"), first.id)


def test_a_real_denial_costs_no_login(openbao_server: OpenBao, mount: str) -> None:
    """The token is alive, so the policy it is; also when it may not even look itself up, once at most."""
    with not_ours():
        openbao_server.client().sys.create_or_update_policy(
            "nothing", 'path "nowhere" { capabilities = ["read"] }'
        )
    for facts, logins in (({}, 1), ({"token_no_default_policy": True}, 2)):
        with cutting_proxy(openbao_server.address) as proxy:
            auth = approle(openbao_server, "nothing", **facts)
            store = open_store(openbao_server, mount, address=proxy.address, auth=auth)
            for _ in range(5):
                with pytest.raises(PermissionDeniedError) as caught:
                    store.get(DB, Stage.CURRENT)
                assert f'path "{mount}/data/prod/*"' in str(caught.value.hint)
            assert _count(proxy, "/login") == logins


def test_a_given_token_is_renewed_too(openbao_server: OpenBao, mount: str) -> None:
    """It is nobody's to revoke but its owner's."""
    clock = TurnedClock()
    token = policy_token(openbao_server, ALL, ttl="60s")
    with cutting_proxy(openbao_server.address) as proxy:
        store = open_store(openbao_server, mount, address=proxy.address, auth=token_auth(token), clock=clock)
        store.put(DB, text(), None)
        clock.seconds += 41
        store.get(DB, Stage.CURRENT)
        assert _count(proxy, "renew-self") == 1
        store.close()
        assert _count(proxy, "revoke-self") == 0
    with not_ours():
        assert openbao_server.client(token).is_authenticated()


def test_a_token_outlives_a_server_that_cannot_renew_it_now(
    openbao_server: OpenBao, policy: str, mount: str
) -> None:
    """Two thirds leave a third for the server to come back in."""
    clock = TurnedClock()
    with cutting_proxy(openbao_server.address) as proxy:
        auth = approle(openbao_server, policy, token_ttl="60s")
        store = open_store(openbao_server, mount, address=proxy.address, auth=auth, clock=clock)
        store.put(DB, text(), None)
        clock.seconds += 41
        proxy.cut = lambda method, path: "request" if "renew-self" in path else ""
        assert store.get(DB, Stage.CURRENT).value == text()
        assert _count(proxy, "renew-self") == 1
        store.get(DB, Stage.CURRENT)
        assert _count(proxy, "renew-self") == 1


def test_a_forked_child_logs_in_for_itself(openbao_server: OpenBao, policy: str, mount: str) -> None:
    """And what it closes is not its parent's: the parent's token still works."""
    with cutting_proxy(openbao_server.address) as proxy:
        auth = approle(openbao_server, policy)
        store = open_store(openbao_server, mount, address=proxy.address, auth=auth)
        store.put(DB, text(), None)
        parents = store._client._auth.token()
        session = store._client._transport._adapter.session
        store.after_fork()
        assert store._client._transport._adapter.session is not session
        store.close()
        assert _count(proxy, "revoke-self") == 0
        store.get(DB, Stage.CURRENT)
        assert _count(proxy, "/login") == 2
    with not_ours():
        assert openbao_server.client(parents.reveal_text()).is_authenticated()


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Every record of every logger, at DEBUG."""
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign, assignment]
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)


def test_no_logger_tells_a_token_a_password_or_a_value(
    openbao_server: OpenBao,
    policy: str,
    mount: str,
    records: list[logging.LogRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """urllib3 does log at DEBUG, so the search is not in vain; a store open elsewhere would hush it."""
    for name in ("urllib3", "urllib3.connectionpool", "requests", "hvac"):
        caplog.set_level(logging.DEBUG, name)
    store = open_store(openbao_server, mount, auth=userpass(openbao_server, policy))
    records.clear()
    store.put(DB, text(), None)
    store.get(DB, Stage.CURRENT)
    token = store._client._auth.token().reveal_text()
    store.close()
    said = "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in records)
    assert "/v1/" in said
    assert CANARY not in said
    assert token not in said


def test_no_repr_tells_a_token(openbao_server: OpenBao, mount: str) -> None:
    """Of no object on the way to it."""
    store = open_store(openbao_server, mount)
    store.put(DB, text(), None)
    client = store._client
    shown = [repr(thing) for thing in (store, client, client._auth, client._auth._lease, client._transport)]
    assert not any(CANARY in text for text in shown)
    assert CANARY not in repr(vars(client._auth))


def test_a_sealed_server_is_unavailable(openbao_tls_server: OpenBao, tls_mount: str) -> None:
    """With the hint to unseal it; nothing was performed; and it works again once unsealed."""
    store = open_store(openbao_tls_server, tls_mount, clock=TurnedClock())
    store.put(DB, text(), None)
    openbao_tls_server.seal()
    for call in (
        lambda: store.get(DB, Stage.CURRENT),
        lambda: store.put(DB, text(), None),
        lambda: store.delete(DB),
    ):
        with pytest.raises(UnavailableError, match="sealed") as caught:
            call()
        assert "unseal" in str(caught.value.hint)
        assert caught.value.performed is False
    openbao_tls_server.unseal()
    assert store.get(DB, Stage.CURRENT).value == text()
