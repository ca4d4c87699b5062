"""The pages for those who come from another tool: both sides run on the same secrets, in the page's order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from strongroom.errors import PermissionDeniedError
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing import FakeClock, FaultyBackend
from tests.canary import not_ours, plaintext
from tests.pages import ROOT, Block, blocks, marked
from tests.servers.boto import REGION
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao

MIGRATING = ROOT / "docs" / "migrating"


def run(page: str, before: str, after: str, places: Mapping[str, str]) -> None:
    """Run the blocks of a page with these two marks, in its order; each goes on with the names before it.

    Args:
        page: its name in the folder.
        before: the mark of what is another tool's.
        after: the mark of what is ours, or of both.
        places: what the examples say, and what stands for it here.
    """
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks(MIGRATING / page):
        if block.test == before:
            with not_ours():
                _execute(block, places, names)
        elif block.test == after:
            _execute(block, places, names)


def _execute(block: Block, places: Mapping[str, str], names: dict[str, Any]) -> None:
    text = block.text
    for example, real in places.items():
        text = text.replace(example, real)
    exec(compile("\n" * (block.line - 1) + text, str(block.page), "exec", dont_inherit=True), names)


@pytest.fixture
def aws(moto_server: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    """AWS with the pages' secrets, where the SDK's own clients find it."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    client = moto_server.client("secretsmanager")
    values = {
        "prod/db/login": json.dumps({"username": "app", "password": "DEMO"}),
        "prod/exchange/api-key": "DEMO-key",
        "prod/app": json.dumps({"db_password": "DEMO"}),
    }
    for name, value in values.items():
        client.create_secret(Name=name, SecretString=value)
    return moto_server


def _url(moto: Moto) -> dict[str, str]:
    return {f"aws-sm://{REGION}/prod": f"aws-sm://{REGION}/prod?endpoint={moto.url}"}


def test_from_awss_cache(aws: Moto) -> None:
    """The same answers; what Strongroom wrote, AWS's library reads."""
    run("from-aws-secretsmanager-caching.md", "python before aws", "python aws", _url(aws))


def test_awss_cache_goes_on_with_what_it_may_not_read_any_more(aws: Moto) -> None:
    """As the page says: a denial leaves the cached value where it is, and ours drops it."""
    from aws_secretsmanager_caching import SecretCache, SecretCacheConfig
    from botocore.exceptions import ClientError

    name, client = "prod/exchange/api-key", aws.client("secretsmanager")

    def deny(model: Any, **_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, model.name)

    with not_ours():
        cache = SecretCache(SecretCacheConfig(secret_refresh_interval=0), client=client)
        assert cache.get_secret_string(name) == "DEMO-key"
        client.meta.events.register("before-call", deny)
        assert [cache.get_secret_string(name) for _ in range(3)] == ["DEMO-key"] * 3

    clock, provider = FakeClock(), FaultyBackend(MemoryBackend())
    with SecretStore(provider, clock=clock) as store:
        store.put("exchange/api-key", "DEMO-key")
        store.get("exchange/api-key")
        provider.deny()
        clock.advance(301)
        for _ in range(2):
            with pytest.raises(PermissionDeniedError):
                store.get("exchange/api-key")


def test_from_hvac(openbao_server: OpenBao, kv2_mount: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real OpenBao: the map of others is read, and what ours is looks like to them."""
    monkeypatch.setenv("VAULT_ADDR", openbao_server.address)
    monkeypatch.setenv("VAULT_TOKEN", openbao_server.token)
    fields = {"username": "app", "password": "DEMO"}
    openbao_server.client().secrets.kv.v2.create_or_update_secret(
        path="prod/db/login", secret=fields, mount_point=kv2_mount
    )
    places = {
        "vault://vault.example.net:8200/secret/prod": (
            f"vault:///{kv2_mount}/prod?endpoint={openbao_server.address}"
        ),
        "https://vault.example.net:8200": openbao_server.address,
        'mount_point="secret"': f'mount_point="{kv2_mount}"',
    }
    run("from-hvac.md", "python before vault", "python vault", places)


def test_from_pydantics_own_sources(aws: Moto, tmp_path: Path) -> None:
    """The same fields, from the same secret and the same file."""
    (plaintext(tmp_path, "what an orchestrator mounts") / "api_key").write_text("DEMO-key")
    run(
        "from-pydantic-settings.md",
        "python before settings",
        "python settings",
        {**_url(aws), "/run/secrets": str(tmp_path)},
    )


def test_from_external_secrets(aws: Moto, tmp_path: Path) -> None:
    """What the operator and the kubelet do with the page's manifests, then both steps of the program."""
    client = aws.client("secretsmanager")
    client.create_secret(Name="prod/db/password", SecretString="DEMO")
    client.put_secret_value(SecretId="prod/db/login", SecretString=json.dumps({"password": "DEMO-login"}))
    page = MIGRATING / "from-external-secrets.md"
    [[external]], [[pod]] = (
        [list(yaml.safe_load_all(block.text)) for block in marked(mark, page)]
        for mark in ("yaml external secrets", "yaml pod")
    )
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    _mount(pod, _copied(external, client), plaintext(tmp_path, "what the kubelet mounts"))
    run(
        "from-external-secrets.md",
        "python before operator",
        "python operator",
        {**_url(aws), "/run/secrets": str(tmp_path)},
    )


def _copied(external: Any, client: Any) -> dict[str, str]:
    """What the operator writes into the Secret: each entry's value, or the property of it."""
    copied = {}
    for entry in external["spec"]["data"]:
        reference = entry["remoteRef"]
        value: str = client.get_secret_value(SecretId=reference["key"])["SecretString"]
        copied[entry["secretKey"]] = (
            json.loads(value)[reference["property"]] if "property" in reference else value
        )
    return copied


def _mount(pod: Any, data: Mapping[str, str], folder: Path) -> None:
    """The files that the container finds: the volume's items."""
    [volume] = pod["spec"]["volumes"]
    for item in volume["secret"]["items"]:
        file = folder / item["path"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(data[item["key"]])
