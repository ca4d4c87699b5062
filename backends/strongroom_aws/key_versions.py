"""Rotates a signing key of KMS: another key, since KMS rotates the material of symmetric keys alone."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import StoreURL
from strongroom.rotation.fields import identifier
from strongroom.rotation.rotator import Rotator

from ._client import Client
from ._errors import code_of
from ._kms import SERVICE
from ._service import Service
from .access_keys import credentials_of
from .kms_signer import KMSSigner

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotation, Source
    from strongroom.value import SecretValue

SPECS: Final = ("ECC_NIST_P256", "ECC_NIST_P384", "ECC_SECG_P256K1", "RSA_2048", "RSA_3072", "RSA_4096")
"""What signs, and verifies without KMS by its public half."""

_ROTATION, _EPOCH, _NAME = "strongroom-rotation", "strongroom-epoch", "strongroom-name"
_GONE: Final = frozenset(["DisabledException", "KMSInvalidStateException", "NotFoundException"])
_DELETED_AFTER: Final = 7
"""Days: the least that KMS allows (API model, ScheduleKeyDeletion: PendingWindowInDays)."""

_TAGS: Final = Service(
    name="resourcegroupstaggingapi",
    title="the Resource Groups Tagging API",
    example="a region such as eu-west-1",
    answers={"GetResources": "ResourceTagMappingList"},
    value_field=lambda _value: {},
    seal=lambda answer: answer,
)


class KMSKeyRotator(Rotator):
    """Renews a signing key of AWS KMS: its successor is another key.

    The secret says which key is in use: JSON of its URL, algorithm and public half, none of them secret.
    Applications read it and open its ``key``. When the old one's grace is over it is disabled, and
    what it signed is verified by the public half that older versions of the secret tell; a person can enable
    it again, and to delete it is an act of its own. What a crashed attempt left was never in use: it is
    disabled, and deleted after seven days.

    A symmetric key needs none of this: ``aws kms enable-key-rotation`` has KMS rotate it, and the rotator
    ``keyring`` brings a keyring under its newest material.

    The rotator's own identity needs ``kms:CreateKey``, ``kms:TagResource``, ``tag:GetResources``, and on the
    keys ``kms:DescribeKey``, ``kms:GetPublicKey``, ``kms:Sign``, ``kms:DisableKey`` and
    ``kms:ScheduleKeyDeletion``.

    Args:
        region: of the keys.
        spec: ECC_NIST_P256, ECC_NIST_P384, ECC_SECG_P256K1, RSA_2048, RSA_3072 or RSA_4096.
        admin: the rotator's own credentials, JSON ``{"access_key_id": …, "secret_access_key": …}``, with
            ``session_token`` if they are temporary; without, the SDK's own chain.
        profile: of the SDK's configuration, such as one that assumes a role.
        endpoint: other than AWS's own; plain HTTP on loopback alone.
        ca: path of a PEM file with the authorities to trust instead of the system's.
        timeout: seconds for one request.

    Raises:
        InvalidRequestError: the spec is of keys that do not sign so.
    """

    slots = "version"

    def __init__(
        self,
        *,
        region: str,
        spec: str = "ECC_NIST_P256",
        admin: Source | None = None,
        profile: str | None = None,
        endpoint: str | None = None,
        ca: str | None = None,
        timeout: float = 4.0,
    ):
        if spec not in SPECS:
            raise InvalidRequestError("no KMS key that is rotated so", hint=f"specs: {', '.join(SPECS)}")
        self._region, self._spec = region, spec
        self._admin, self._profile = admin, profile
        self._settings = Settings(endpoint=endpoint, ca=ca, timeout=timeout, attempts=1)

    def create_secret(self, r: Rotation) -> dict[str, str]:
        """Make a key that tells which attempt of which rotation made it."""
        facts = {_ROTATION: r.id, _EPOCH: str(r.epoch), _NAME: r.name}
        tags = [{"TagKey": key, "TagValue": text} for key, text in facts.items()]
        r.check()
        with self._client(r) as kms:
            made = kms.write("CreateKey", KeySpec=self._spec, KeyUsage="SIGN_VERIFY", Tags=tags)
        url = f"aws-kms://{self._region}/{made['KeyMetadata']['KeyId']}"
        return {"key": url, **self._described(r, url)}

    def reclaim(self, r: Rotation) -> tuple[str, ...]:
        """Disable and delete what a crashed attempt of this rotation made."""
        kept = {self._named(value) for value in (r.current, r.previous, r.pending)}
        for url, epoch in self._attempts(r):
            if url not in kept and epoch < r.epoch:
                r.check()
                with self._client(r) as kms:
                    _disable(kms, url)
                    _delete(kms, url)
        return ()

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if the key signs, and what it signs verifies under what the secret says of it.

        Raises:
            PermissionDeniedError: it does not sign.
            IntegrityError: the secret names another public key than KMS.
        """
        url = self._named(value)
        if url is None:
            raise PermissionDeniedError("the secret names no key", name=r.name)
        if identifier(value, "public_key") != self._used(r, url)["public_key"]:
            raise IntegrityError("KMS has another public key than the secret names")

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        """Disable the key. A first secret that names none has nothing to end.

        Raises:
            IntegrityError: it is the key in use.
        """
        url = self._named(previous)
        if url is None:
            return
        if url == self._named(r.pending):
            raise IntegrityError("the new value names the key that is to be ended")
        r.check()
        with self._client(r) as kms:
            _disable(kms, url)

    def refuses(self, r: Rotation, value: SecretValue) -> bool:
        """Whether KMS refuses to sign with the key."""
        url = self._named(value)
        if url is None:
            return True
        try:
            self._used(r, url)
        except PermissionDeniedError:
            return True
        return False

    def _used(self, r: Rotation, url: str) -> dict[str, str]:
        """As `_described`; a refusal counts only if the key is why."""
        try:
            return self._described(r, url)
        except SecretStoreError as error:
            problem = error.with_traceback(None)
        if code_of(problem) in _GONE:
            raise PermissionDeniedError("KMS does not sign with this key any more", hint=problem.hint)
        if isinstance(problem, PermissionDeniedError):
            problem = UnavailableError("the rotator may not sign with this key", hint=problem.hint)
        raise problem

    def _described(self, r: Rotation, url: str) -> dict[str, str]:
        with closing(KMSSigner.from_url(StoreURL.parse(url), self._limited(r))) as signer:
            message, public = os.urandom(32), signer.public_key() or b""
            _verify(public, signer.algorithm, signer.sign(message), message)
            return {"algorithm": signer.algorithm, "public_key": base64.b64encode(public).decode()}

    def _named(self, value: SecretValue | None) -> str | None:
        """The key that a secret names; None if it names none.

        Raises:
            IntegrityError: it is in another region, where this rotation has no business.
        """
        url = identifier(value, "key")
        if url is not None and not url.startswith(f"aws-kms://{self._region}/"):
            raise IntegrityError("the secret names a key that this rotation has nothing to do with")
        return url

    def _attempts(self, r: Rotation) -> Iterator[tuple[str, int]]:
        wanted = [{"Key": _ROTATION, "Values": [r.id]}]
        with self._client(r, _TAGS) as tags:
            answer = tags.read("GetResources", TagFilters=wanted, ResourceTypeFilters=["kms:key"])
        for found in answer["ResourceTagMappingList"]:
            epoch = {tag["Key"]: tag["Value"] for tag in found["Tags"]}.get(_EPOCH, "")
            if epoch.isdecimal():
                key = str(found["ResourceARN"]).rpartition("/")[2]
                yield f"aws-kms://{self._region}/{key}", int(epoch)

    @contextmanager
    def _client(self, r: Rotation, service: Service = SERVICE) -> Iterator[Client]:
        with closing(Client(service, StoreURL.parse(f"aws-kms://{self._region}"), self._limited(r))) as made:
            yield made

    def _limited(self, r: Rotation) -> Settings:
        auth: dict[str, str | SecretValue] = credentials_of(self._admin()) if self._admin else {}
        if self._profile:
            auth["profile"] = self._profile
        longest = max(0.5, r.remaining() / 8)
        return replace(self._settings, auth=auth, timeout=min(self._settings.timeout, longest))


def _disable(kms: Client, url: str) -> None:
    outcome = kms.once("DisableKey", KeyId=url.rpartition("/")[2])
    if isinstance(outcome, SecretStoreError) and code_of(outcome) not in _GONE:
        raise outcome


def _delete(kms: Client, url: str) -> None:
    outcome = kms.once(
        "ScheduleKeyDeletion", KeyId=url.rpartition("/")[2], PendingWindowInDays=_DELETED_AFTER
    )
    if isinstance(outcome, SecretStoreError) and code_of(outcome) not in _GONE:
        raise outcome


def _verify(public: bytes, algorithm: str, signature: bytes, message: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    digest = SHA384() if algorithm == "ES384" else SHA256()
    key = load_der_public_key(public)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            return key.verify(signature, message, ec.ECDSA(digest))
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
            return key.verify(signature, message, pss, digest)
    except InvalidSignature:
        pass
    raise IntegrityError("what the key signs does not verify under its own public half")
