"""A real OpenBao in front of the embedded store, as strongroom.toml has them; then the server is killed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

import strongroom
from strongroom.backend import Backend
from strongroom.errors import UnavailableError
from strongroom.layers.encrypted import Encrypted
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.replication.record import Record
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.integration.vault_support import open_store
from tests.servers.openbao import OpenBao, dev_server

NAME, LATE = Name("db/password"), Name("db/other")
TOML = """
[store.bao]
url = "vault:///secret/prod"
endpoint = "{address}"
auth = {{ method = "token", token = "env://BAO_TOKEN" }}
timeout = "2s"
attempts = 1
[store.here]
url = "local://{folder}/secrets.db"
[store.prod]
failover = ["bao", "here"]
hedge = "2s"
breaker = {{ failures = 2, pause = "30s" }}
cache = false
"""


def replicated(backend: Backend, name: Name, seq: int) -> None:
    """The version of this number stands in it, as replication leaves it."""
    record = Record(1, seq, "0" * 32, f"{seq:032x}").text
    backend.put(name, SecretValue(f"{CANARY}-{seq}"), None, record)


def opened(folder: Path, bao: OpenBao) -> strongroom.SecretStore:
    """The failover, over members into which replication has brought one secret in time and one late."""
    local = open_backend(f"local://{folder}/secrets.db?create=keyset")
    key = local.own_key()
    assert key
    there, here = open_store(bao, "secret"), Encrypted(local, [key], local.domain)
    for backend, name, seq in ((there, NAME, 1), (here, NAME, 1), (there, LATE, 2), (here, LATE, 1)):
        replicated(backend, name, seq)
    there.close()
    here.close()
    config = folder / "strongroom.toml"
    config.write_text(TOML.format(address=bao.address, folder=folder))
    return strongroom.open("prod", config=config)


def test_a_killed_server_is_replaced_by_an_unlike_member_but_never_by_an_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records order a server's versions and a file's; what lags is refused, and writes go nowhere else."""
    with ExitStack() as server:
        bao = server.enter_context(dev_server())
        monkeypatch.setenv("BAO_TOKEN", bao.token)
        store = opened(tmp_path, bao)
        before = store.get_many([NAME.text, LATE.text])
        assert {secret.version[:4] for secret in before.values()} == {"bao:"}
    with store:
        secret = store.get(NAME.text)
        assert (secret.version[:5], secret.degraded, secret.behind) == ("here:", False, False)
        assert secret.value.matches(f"{CANARY}-1")
        for _ in range(3):
            with pytest.raises(UnavailableError, match="here has an older version"):
                store.get(LATE.text)
        with pytest.raises(UnavailableError, match="bao did not answer lately"):
            store.get(NAME.text, version=before[NAME.text].version)
        with pytest.raises(UnavailableError) as caught:
            store.put(NAME.text, CANARY)
        assert caught.value.performed is False
        assert store.get(NAME.text).version == secret.version
