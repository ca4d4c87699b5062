"""Cold reads: `store.get` without a cache and without audit, beside the provider's own client on its own.

The same server, in another process, and the same value; both keep their connections. One call of each in
every round, in turn first, so that whatever the machine does between hits both alike.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from strongroom.backend import Settings
from strongroom.names import Name, flat_name
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.bench.harness import Bar, Row, paired

BAR = Bar(ratio=1.10)
ROUNDS = 600
NAME = "db/password"
VALUE = "correct horse battery staple"
_REGION = "eu-west-1"


class Peer(NamedTuple):
    """A provider, told as a store's URL, and its own client reading the same secret.

    `secrets` is how many secrets there are, and `versions` how many versions of each.
    """

    title: str
    url: str
    settings: Settings
    read: Callable[[], object]
    name: str
    secrets: int = 1
    versions: int = 1


def rows() -> Iterator[Row]:
    """One row for each backend that has an SDK."""
    for provider in (_secrets_manager, _parameter_store, _vault, _secret_manager, _key_vault, _token):
        with provider() as peer:
            yield _row(peer)


def _row(peer: Peer) -> Row:
    with SecretStore(open_backend(peer.url, peer.settings), cache=None) as store:
        for name in (NAME, *(f"other/{number}" for number in range(1, peer.secrets))):
            for _ in range(peer.versions):
                store.put(name, VALUE)

        def ours() -> str:
            return store.get(NAME).value.reveal_text()

        assert ours() == peer.read() == VALUE, f"{peer.name} does not read what we wrote"
        times = paired(ours, peer.read, ROUNDS)
    return BAR.row(f"cold read, {peer.title}", *times, peer.name)


def _boto(service: str, url: str) -> Any:
    import boto3

    session: Any = boto3.Session("test", "test", region_name=_REGION)
    return session.client(service, endpoint_url=url)


@contextmanager
def _secrets_manager() -> Iterator[Peer]:
    with _printing("strongroom.testing.aws", url=r"in memory: (\S+)") as server:
        client = _boto("secretsmanager", server["url"])

        def read() -> str:
            return str(client.get_secret_value(SecretId=f"bench/{NAME}")["SecretString"])

        url = f"aws-sm://{_REGION}/bench?endpoint={server['url']}"
        yield Peer("aws-sm", url, Settings(), read, "boto3")


@contextmanager
def _parameter_store() -> Iterator[Peer]:
    from tests.servers import moto_mended

    with moto_mended.server() as server:
        client = _boto("ssm", server.url)

        def read() -> str:
            answer = client.get_parameter(Name=f"/bench/{NAME}", WithDecryption=True)
            return str(answer["Parameter"]["Value"])

        yield Peer("aws-ssm", f"aws-ssm://{_REGION}/bench?endpoint={server.url}", Settings(), read, "boto3")


@contextmanager
def _vault() -> Iterator[Peer]:
    from tests.servers import openbao

    with openbao.dev_server() as server:
        engine = server.client().secrets.kv.v2

        def read() -> str:
            answer = engine.read_secret_version(
                f"bench/{NAME}", mount_point="secret", raise_on_deleted_version=True
            )
            return str(answer["data"]["data"]["value"])

        url = f"vault:///secret/bench?endpoint={server.address}"
        settings = Settings(auth={"method": "token", "token": SecretValue(server.token)})
        yield Peer("vault", url, settings, read, "hvac")


@contextmanager
def _secret_manager() -> Iterator[Peer]:
    import grpc
    from google.cloud import secretmanager_v1 as api
    from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
        SecretManagerServiceGrpcTransport as Transport,
    )

    from tests.servers import google

    with google.process() as server:
        channel = grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)])
        client = api.SecretManagerServiceClient(transport=Transport(channel=channel))
        full = f"projects/bench/secrets/bench__{NAME.replace('/', '__')}/versions/latest"

        def read() -> str:
            return client.access_secret_version(name=full).payload.data.decode()

        url = f"gcp-sm://bench/bench?endpoint={server.url}"
        yield Peer("gcp-sm", url, Settings(), read, "google-cloud-secret-manager")
        channel.close()


@contextmanager
def _key_vault() -> Iterator[Peer]:
    from azure.keyvault.secrets import SecretClient

    from tests.servers.azure import Anybody

    with _printing("tests.servers.azure", url=r"endpoint=(\S+)\"", ca=r"^ca = \"(.+)\"") as server:
        ca = server["ca"]
        client = SecretClient(server["url"], Anybody(), verify_challenge_resource=False, connection_verify=ca)
        flat = flat_name(Name(NAME), "bench", "-")

        def read() -> object:
            return client.get_secret(flat).value

        url = f"azure-kv://example/bench?endpoint={server['url']}"
        yield Peer("azure-kv", url, Settings(ca=ca), read, "azure-keyvault-secrets")
        client.close()


@contextmanager
def _token() -> Iterator[Peer]:
    """SoftHSM answers a call in microseconds, and searches longer the more objects there are: measured on a
    token that has been in use for a while. With a single secret it would be Python that is measured.
    """
    import pkcs11
    from pkcs11 import Attribute, ObjectClass

    from tests.servers import softhsm

    wanted = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.LABEL: f"bench/{NAME}"}
    with softhsm.tokens("bench") as [token]:
        sessions: list[Any] = []  # opened after ours: the first to log in is the store

        def read() -> str:
            if not sessions:
                sessions.append(pkcs11.lib(token.module).get_token(token_label=token.label).open())
            [found] = list(sessions[0].get_objects(wanted))
            return bytes(found[Attribute.VALUE]).decode()

        yield Peer("pkcs11, 100 objects", token.url("bench"), token.settings(), read, "python-pkcs11", 20, 5)


@contextmanager
def _printing(module: str, **facts: str) -> Iterator[dict[str, str]]:
    """A double in its own process, and what it prints of itself: where it is, whom to trust."""
    argv = [sys.executable, "-u", "-m", module]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=quiet, text=True) as process:
        assert process.stdout is not None
        found: dict[str, str] = {}
        while len(found) < len(facts) and (line := process.stdout.readline()):
            found |= {name: match[1] for name, form in facts.items() if (match := re.search(form, line))}
        try:
            yield found
        finally:
            process.terminate()
