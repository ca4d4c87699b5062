"""AWS KMS as key wrappers and signers share it: which key is meant, its calls, and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import StoreURL
from strongroom.value import SecretValue

from ._client import Answer, Client
from ._service import Refusal, Service

LOGGERS = ("boto3", "botocore", "urllib3")
_KEY_ID = re.compile(r"[A-Za-z0-9-]{1,128}")
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}")  # the API model, CreateAlias: AliasName
_ARN = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):(\d{12}):key/([A-Za-z0-9-]{1,128})")
_TOKENS = 10  # the API model, GrantTokenList
_TOKEN_LENGTH = 8192  # the API model, GrantTokenType

_CODES = {
    "DependencyTimeoutException": "failing",
    "DisabledException": "disabled",
    "DryRunOperationException": "request",
    "IncorrectKeyException": "not ours",
    "InvalidArnException": "request",
    "InvalidCiphertextException": "not ours",
    "InvalidGrantTokenException": "grant",
    "InvalidKeyUsageException": "usage",
    "KMSInternalException": "failing",
    "KMSInvalidStateException": "state",
    "KeyUnavailableException": "failing",
    "NotFoundException": "missing",
    "UnsupportedOperationException": "usage",
}


def _explain(refusal: Refusal) -> SecretStoreError | None:
    """What KMS alone can mean.

    A key that was disabled, deleted or never there is denied rather than unavailable: somebody decided so,
    hence no cached value outlives it, and another key of the message is tried all the same.
    """
    if refusal.meaning == "not ours":
        return IntegrityError(
            "the wrapped data key does not verify under this KMS key",
            hint="the message or its context was changed, or it was made under another key",
        )
    if refusal.meaning == "disabled":
        return PermissionDeniedError("the KMS key is disabled", hint="enable it, or use another key")
    if refusal.meaning == "missing":
        return PermissionDeniedError(
            "no such KMS key", hint="check its id and region; a deleted key never comes back"
        )
    if refusal.meaning == "grant":
        return PermissionDeniedError("KMS refused a grant token", hint="has the grant been retired?")
    if refusal.meaning == "usage":
        return InvalidRequestError(
            "the KMS key is not made for this", hint="check its usage and spec, and the option algorithm"
        )
    return _in_state(refusal.message) if refusal.meaning == "state" else None


def _in_state(message: str) -> SecretStoreError:
    if "deletion" in message:  # KMS: "arn:… is pending deletion", "… is pending replica deletion"
        return PermissionDeniedError(
            "the KMS key is to be deleted", hint="cancel its deletion, or use another key"
        )
    return UnavailableError(
        "the KMS key cannot be used in its present state", retryable=False, hint="describe the key"
    )


def _sealed(answer: Answer) -> Answer:
    if "Plaintext" in answer:
        answer["Plaintext"] = SecretValue(answer["Plaintext"])
    return answer


SERVICE = Service(
    name="kms",
    title="KMS",
    example="aws-kms://REGION/KEY, as in aws-kms://eu-west-1/alias/strongroom",
    answers={
        "Decrypt": "Plaintext",
        "DescribeKey": "KeyMetadata",
        "Encrypt": "CiphertextBlob",
        "GenerateDataKey": "Plaintext",
        "GenerateMac": "Mac",
        "GetPublicKey": "PublicKey",
        "Sign": "Signature",
    },
    value_field=lambda value: {"Plaintext": value.reveal()},
    seal=_sealed,
    codes=_CODES,
    explain=_explain,
)


class Arn(NamedTuple):
    """A key's ARN in its parts."""

    partition: str
    region: str
    account: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The parts of a key's ARN; None for an alias's, or what is none."""
        match = _ARN.fullmatch(text)
        return cls(*match.groups()) if match else None

    def is_same_key(self, other: Arn) -> bool:
        """Whether both name one key, or replicas of one multi-Region key, which share id and material
        (https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html)."""
        regions_matter = not self.key.startswith("mrk-")
        return self == (other if regions_matter else other._replace(region=self.region))


class _Client(Client):
    """KMS, with grant tokens; they are shown to the SDK alone, in a frame that no error carries."""

    def __init__(self, url: StoreURL, settings: Settings):
        super().__init__(SERVICE, url, settings)
        self._tokens = _grant_tokens(settings.options.get("grant_tokens", ()))

    def _call(self, action: str, value: SecretValue | None, params: Mapping[str, Any]) -> Answer:
        if not self._tokens:
            return super()._call(action, value, params)
        return super()._call(
            action, value, {**params, "GrantTokens": [token.reveal_text() for token in self._tokens]}
        )


class Key:
    """One KMS key as a URL names it: by id, by ARN (of another account) or by alias.

    All calls are repeatable: encrypting or signing twice changes nothing.

    Attributes:
        name: as the URL says it.
        arn: the key's ARN, once it is known: from the URL, or from KMS's first answer. What an alias means
            is found out once; who points it elsewhere keeps the former key configured for old messages.
    """

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        self.name = _checked(url)
        self.region = url.host
        self.arn = self.name if _ARN.fullmatch(self.name) else None
        self._client = _Client(url, settings)
        self.after_fork, self.close = self._client.after_fork, self._client.close

    def call(self, action: str, value: SecretValue | None = None, /, **params: Any) -> Answer:
        """Call KMS on this key, and note its ARN from the answer.

        Raises:
            IntegrityError: KMS used another key than it was asked to.
        """
        answer = self._client.read(action, value, KeyId=self.arn or self.name, **params)
        self._learn(str(answer.get("KeyId") or answer.get("KeyMetadata", {}).get("Arn", "")))
        return answer

    def may_be(self, arn: str) -> bool:
        """Whether an ARN may be this key's, as far as that is known without asking."""
        theirs, ours = Arn.parse(arn), Arn.parse(self.arn or "")
        if theirs is None:
            return False
        if ours is not None:
            return theirs.is_same_key(ours)
        here = theirs.region == self.region or theirs.key.startswith("mrk-")
        return here and (theirs.key == self.name or self.name.startswith("alias/"))

    def _learn(self, arn: str) -> None:
        found = Arn.parse(arn)
        if found is None:  # a provider's stand-in may answer with the bare id
            return
        if self.arn is not None and not self.may_be(arn):
            raise IntegrityError("KMS answered for another key than it was asked to use")
        self.arn = self.arn or arn


def _checked(url: StoreURL) -> str:
    name = url.path
    arn = Arn.parse(name)
    if arn is None and not (_KEY_ID.fullmatch(name) or _ALIAS.fullmatch(name)):
        raise InvalidRequestError(f"not a KMS key: {name[:80]!r}", hint=f"write {SERVICE.example}")
    if arn is not None and arn.region != url.host:
        raise InvalidRequestError(
            f"the key is in {arn.region}, not in {url.host[:60]!r}", hint="name the key's own region"
        )
    return name


def _grant_tokens(given: Any) -> list[SecretValue]:
    """AWS calls grant tokens no secrets; they are kept out of sight all the same."""
    several: Sequence[Any] = [given] if isinstance(given, str | SecretValue) else list(given)
    tokens = [token if isinstance(token, SecretValue) else SecretValue(token) for token in several]
    if len(tokens) > _TOKENS or any(not 1 <= len(token.reveal()) <= _TOKEN_LENGTH for token in tokens):
        raise InvalidRequestError(
            f"at most {_TOKENS} grant tokens, each of 1 to {_TOKEN_LENGTH} characters",
            hint="check grant_tokens",
        )
    return tokens
