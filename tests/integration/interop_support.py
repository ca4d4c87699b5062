"""AWS's SDKs for Python and JavaScript as readers and writers of our messages, under the same KEKs."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aws_encryption_sdk
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders, models
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_encryption_sdk.identifiers import AlgorithmSuite

from strongroom.backend import Settings
from strongroom.keys import KeyWrapper
from strongroom.registry import open_key
from strongroom.value import SecretValue
from tests.servers.boto import session
from tests.servers.moto import Moto
from tests.servers.node import Node, NodeError
from tests.unit.envelope_support import local_key

REGIONS = ("eu-west-1", "us-west-2")
SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
SIGNED_SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384


@dataclass(frozen=True)
class Raw:
    """An AES key in memory."""

    name: str
    key: bytes
    namespace: str = "strongroom-local"


@dataclass(frozen=True)
class Kms:
    """A key of AWS KMS, in the region that its ARN says."""

    arn: str
    endpoint: str

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]


Kek = Raw | Kms


class RefusedError(Exception):
    """The SDK did not open the message."""


class Peer(Protocol):
    """An SDK."""

    def encrypt(
        self, value: bytes, keks: Sequence[Kek], context: Mapping[str, str], frame: int, *, signed: bool
    ) -> bytes: ...

    def decrypt(self, message: bytes, keks: Sequence[Kek]) -> tuple[bytes, dict[str, str]]: ...


class Ours:
    """Our keys for KEKs. One client for each key of KMS, since boto takes its time to make one."""

    def __init__(self) -> None:
        self._kms: dict[Kms, KeyWrapper] = {}

    def key(self, kek: Kek) -> KeyWrapper:
        if isinstance(kek, Raw):
            return local_key(kek.key, kek.name)
        if kek not in self._kms:
            auth: dict[str, str | SecretValue] = {
                "access_key_id": "test",
                "secret_access_key": SecretValue("test"),
            }
            url = f"aws-kms://{kek.region}/{kek.arn}?endpoint={kek.endpoint}"
            self._kms[kek] = open_key(url, Settings(auth=auth))
        return self._kms[kek]

    def keys(self, keks: Sequence[Kek]) -> list[KeyWrapper]:
        return [self.key(kek) for kek in keks]

    def close(self) -> None:
        for key in self._kms.values():
            key.close()


class PythonSDK:
    """aws-encryption-sdk with the keyrings of the Material Providers Library."""

    def __init__(self) -> None:
        self._client = aws_encryption_sdk.EncryptionSDKClient()
        self._providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
        self._keyring = functools.cache(self._new_keyring)
        self._kms = functools.cache(_kms_client)

    def encrypt(
        self, value: bytes, keks: Sequence[Kek], context: Mapping[str, str], frame: int, *, signed: bool
    ) -> bytes:
        message, _ = self._client.encrypt(
            source=value,
            keyring=self.keyring(keks),
            encryption_context=dict(context),
            frame_length=frame,
            algorithm=SIGNED_SUITE if signed else SUITE,
        )
        return bytes(message)

    def decrypt(self, message: bytes, keks: Sequence[Kek]) -> tuple[bytes, dict[str, str]]:
        try:
            value, header = self._client.decrypt(source=message, keyring=self.keyring(keks))
        except Exception as error:  # it lets through whatever its parsers raise
            problem = f"{type(error).__name__}: {error}"
        else:
            return value, dict(header.encryption_context)
        raise RefusedError(problem)

    def keyring(self, keks: Sequence[Kek]) -> Any:
        first, *others = map(self._keyring, keks)
        if not others:
            return first
        return self._providers.create_multi_keyring(
            models.CreateMultiKeyringInput(generator=first, child_keyrings=others)
        )

    def _new_keyring(self, kek: Kek) -> Any:
        if isinstance(kek, Raw):
            return self._providers.create_raw_aes_keyring(
                models.CreateRawAesKeyringInput(
                    key_namespace=kek.namespace,
                    key_name=kek.name,
                    wrapping_key=kek.key,
                    wrapping_alg=models.AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
                )
            )
        return self._providers.create_aws_kms_mrk_keyring(  # a strict keyring for keys of one region
            models.CreateAwsKmsMrkKeyringInput(
                kms_key_id=kek.arn, kms_client=self._kms(kek.region, kek.endpoint)
            )
        )


def _kms_client(region: str, endpoint: str) -> Any:
    return session(region).client("kms", endpoint_url=endpoint)


class JavaScriptSDK:
    """@aws-crypto/client-node."""

    def __init__(self, node: Node):
        self._node = node

    def encrypt(
        self,
        value: bytes,
        keks: Sequence[Kek],
        context: Mapping[str, str],
        frame: int,
        *,
        signed: bool = False,
        suite: str = "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY",
    ) -> bytes:
        more = {
            "context": dict(context),
            "suite": suite + "_ECDSA_P384" * signed,
            "frameLength": frame,
        }
        return self._node.ask({**_request("encrypt", value, keks), **more})[0]

    def decrypt(self, message: bytes, keks: Sequence[Kek], **options: object) -> tuple[bytes, dict[str, str]]:
        try:
            return self._node.ask(_request("decrypt", message, keks, **options))
        except NodeError as error:
            problem = str(error)
        raise RefusedError(problem)


def _request(action: str, data: bytes, keks: Sequence[Kek], **options: object) -> dict[str, Any]:
    return {"do": action, "data": _base64(data), "keys": [_described(kek) | options for kek in keks]}


def _described(kek: Kek) -> dict[str, object]:
    if isinstance(kek, Raw):
        return {"name": kek.name, "namespace": kek.namespace, "key": _base64(kek.key)}
    return {"arn": kek.arn, "region": kek.region, "endpoint": kek.endpoint}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Keks:
    """Five raw keys, five keys of KMS, the third of them in two regions."""

    raw: tuple[Raw, ...]
    kms: tuple[Kms, ...]
    replica: Kms

    def of(self, kind: str, count: int) -> tuple[Kek, ...]:
        """`count` KEKs that are ``raw``, ``kms``, or ``mixed`` of both."""
        mixed = tuple[Kek, ...](kek for pair in zip(self.kms, self.raw, strict=True) for kek in pair)
        kinds: dict[str, tuple[Kek, ...]] = {"raw": self.raw, "kms": self.kms, "mixed": mixed}
        return kinds[kind][:count]


def make_keks(moto: Moto) -> Keks:
    """New ones, on a mended server."""
    client = moto.client("kms", REGIONS[0])
    made = [client.create_key(MultiRegion=n == 2)["KeyMetadata"]["Arn"] for n in range(5)]
    key_id = made[2].rpartition("/")[2]  # moto replicates by id alone
    replica = client.replicate_key(KeyId=key_id, ReplicaRegion=REGIONS[1])["ReplicaKeyMetadata"]["Arn"]
    return Keks(
        tuple(Raw(f"local-{n}", os.urandom(32)) for n in range(5)),
        tuple(Kms(arn, moto.url) for arn in made),
        Kms(replica, moto.url),
    )


def opened(peer: Peer, message: bytes, keks: Sequence[Kek]) -> bytes | None:
    """What the SDK reads; None if it refuses."""
    with contextlib.suppress(RefusedError):
        return peer.decrypt(message, keks)[0]
    return None
