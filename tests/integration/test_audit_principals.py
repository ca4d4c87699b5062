"""Who the providers take us for: AWS STS by its own client, a token of OpenBao by its own lookup."""

from __future__ import annotations

import pytest

from strongroom.errors import PermissionDeniedError, UnavailableError
from strongroom.registry import open_backend
from tests.canary import assert_no_canary
from tests.integration.vault_support import open_kv1, open_store, policy_token, token_auth
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao


@pytest.mark.parametrize("scheme", ["aws-sm", "aws-ssm"])
def test_aws_names_the_callers_arn_and_is_asked_once(moto_server: Moto, scheme: str) -> None:
    """GetCallerIdentity, at the store's own endpoint on loopback; later answers are remembered."""
    backend = open_backend(f"{scheme}://eu-west-1/prod?endpoint={moto_server.url}")
    found = backend.principal()
    assert found
    assert found.startswith("arn:aws:sts::")
    backend.inner._identity._client._sdk = None  # type: ignore[attr-defined]
    assert backend.principal() == found
    assert backend.inner._identity._client._sdk is None  # type: ignore[attr-defined]
    backend.close()


def test_an_sts_that_does_not_answer_is_unavailable() -> None:
    """One attempt, within two seconds: a read waits for it."""
    backend = open_backend("aws-sm://eu-west-1/prod?endpoint=http://127.0.0.1:9")
    with pytest.raises(UnavailableError):
        backend.principal()
    backend.close()


@pytest.mark.parametrize("mount", ["kv2_mount", "kv1_mount"])
def test_openbao_names_the_token(openbao_server: OpenBao, request: pytest.FixtureRequest, mount: str) -> None:
    """Its display name, never the token; asked once."""
    where: str = request.getfixturevalue(mount)
    token = policy_token(openbao_server, 'path "nowhere" { capabilities = ["read"] }')
    opens = open_store if mount == "kv2_mount" else open_kv1
    store = opens(openbao_server, where, auth=token_auth(token))
    found = store.principal()
    assert found
    assert found.startswith("vault:token")
    assert token not in found
    store._client.close()
    assert store.principal() == found
    assert_no_canary(found)


def test_a_token_that_is_none_is_denied(openbao_server: OpenBao, kv2_mount: str) -> None:
    """The audit goes on with the next way to know who acts."""
    store = open_store(openbao_server, kv2_mount, auth=token_auth("s.nobody"))
    with pytest.raises(PermissionDeniedError):
        store.principal()
