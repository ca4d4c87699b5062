"""What our code asks of AWS, as IAM sees it: recorded where botocore sends, and refused where a policy does.

What an operation needs besides the action of its own name stands on its page of the API reference
(https://docs.aws.amazon.com/secretsmanager/latest/apireference/), and what Secrets Manager asks of a key in
https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from .iam import Grant, Policy, Request

KeyOf = Callable[[str, str], str | None]
ACCOUNT = "123456789012"
_SUFFIX = "-AbCdEf"
_LISTS = {"ListSecrets", "BatchGetSecretValue"}
_KEY_USES: dict[str, tuple[str, ...]] = {
    "GetSecretValue": ("kms:Decrypt",),
    "PutSecretValue": ("kms:GenerateDataKey", "kms:Decrypt"),
    "ReplicateSecretToRegions": ("kms:Decrypt",),
    "UpdateSecret": ("kms:GenerateDataKey", "kms:Encrypt", "kms:Decrypt"),
}


@dataclass
class Recorder:
    """Sits before botocore: asks a policy about every call, and keeps what was asked.

    Attributes:
        key_of: the ARN of the KMS key under which a secret lies, by region and name; None for AWS's own,
            which needs no grant.
        policy: what decides now; None lets everything pass and keeps nothing: that is the test's own doing.
        requests: what was asked under a policy.
        refused: those that it did not allow.
    """

    key_of: KeyOf
    policy: Policy | None = None
    requests: list[Request] = field(default_factory=list)
    refused: list[Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def under(self, policy: Policy) -> Iterator[None]:
        """All calls of the block are judged by this policy."""
        self.policy = policy
        try:
            yield
        finally:
            self.policy = None

    @contextmanager
    def off(self) -> Iterator[None]:
        """The block is the test's own doing."""
        policy, self.policy = self.policy, None
        try:
            yield
        finally:
            self.policy = policy

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on botocore asks here first."""
        send = BaseClient._make_api_call  # type: ignore[attr-defined]

        def asked(client: Any, operation: str, params: dict[str, Any]) -> Any:
            if self.policy is not None:
                self._judge(client.meta, operation, params)
            return send(client, operation, params)

        monkeypatch.setattr(BaseClient, "_make_api_call", asked)

    def _judge(self, meta: Any, operation: str, params: Mapping[str, Any]) -> None:
        service, region = meta.service_model.service_name, meta.region_name
        if service == "sts" and operation == "GetCallerIdentity":
            return  # "No permissions are required to perform this operation": its page in STS's API reference
        needed = list(_requests(service, region, operation, params, self.key_of))
        assert self.policy is not None
        denied = [request for request in needed if not self.policy.allows(request)]
        with self._lock:
            self.requests += needed
            self.refused += denied
        if denied:
            raise _denial(denied[0], operation)

    def unused(self, policy: Policy) -> list[Grant]:
        """What no recorded request was covered by."""
        return [grant for grant in policy.grants if not any(map(grant.covers, self.requests))]


def _denial(request: Request, operation: str) -> ClientError:
    told = {"Code": "AccessDeniedException", "Message": f"not authorized to perform {request.action}"}
    answer: Any = {"Error": told, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, operation)


def arn(region: str, name: str) -> str:
    """Of a secret: AWS adds six characters to the name."""
    return f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}{_SUFFIX}"


def _requests(
    service: str, region: str, operation: str, params: Mapping[str, Any], key_of: KeyOf
) -> Iterator[Request]:
    if service != "secretsmanager":
        raise AssertionError(f"our code called {service}:{operation}, whose permissions are not known here")
    context = {"aws:requestedregion": region}
    if "VersionStage" in params:
        context["secretsmanager:versionstage"] = params["VersionStage"]
    name = _name(str(params.get("SecretId") or params.get("Name")))
    yield Request(f"secretsmanager:{operation}", "*" if operation in _LISTS else arn(region, name), context)
    for listed in params.get("SecretIdList", ()):
        yield from _requests(service, region, "GetSecretValue", {"SecretId": listed}, key_of)
    yield from _uses_of_keys(region, operation, params, name, key_of)


def _name(given: str) -> str:
    """Of an ARN too."""
    return given.partition(":secret:")[2].removesuffix(given[-7:]) if given.startswith("arn:") else given


def _uses_of_keys(
    region: str, operation: str, params: Mapping[str, Any], name: str, key_of: KeyOf
) -> Iterator[Request]:
    """CreateSecret has none: it names no key, so that what our code makes lies under AWS's own."""
    key = params.get("KmsKeyId") or key_of(region, name)
    if key:
        yield from (_use(action, region, name, key) for action in _KEY_USES.get(operation, ()))
    for copy in params.get("AddReplicaRegions", ()):
        if there := copy.get("KmsKeyId"):
            yield from (
                _use(f"kms:{each}", copy["Region"], name, there) for each in ("GenerateDataKey", "Encrypt")
            )


def _use(action: str, region: str, name: str, key: str) -> Request:
    context = {
        "kms:viaservice": f"secretsmanager.{region}.amazonaws.com",
        "kms:encryptioncontext:secretarn": arn(region, name),
    }
    return Request(action, key, context)
