"""A bucket of S3, or of a server that speaks S3, in which each object is written once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Self

import botocore.session

from strongroom.backend import Settings
from strongroom.errors import (
    InvalidRequestError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.names import StoreURL

from ._access import Access
from ._client import Client
from ._errors import translate
from ._service import Answer, Refusal, Service

_LARGEST = 2**16
"""Bytes of an object that are read: a checkpoint with all its signatures has fewer."""

_EXAMPLE = "s3://BUCKET/PREFIX/?region=eu-west-1"
_CODES = {
    "BucketAlreadyExists": "state",
    "ConditionalRequestConflict": "failing",
    "InvalidBucketName": "missing",
    "InvalidBucketState": "lock",
    "InvalidRequest": "lock",
    "NoSuchBucket": "missing",
    "NoSuchKey": "no object",
    "NotImplemented": "lock",
    "ObjectLockConfigurationNotFoundError": "lock",
    "PermanentRedirect": "region",
    "PreconditionFailed": "exists",
}


def _explain(refusal: Refusal) -> SecretStoreError | None:
    if refusal.meaning == "missing":
        return InvalidRequestError("there is no such bucket", hint="check its name and region")
    if refusal.meaning == "no object":
        return SecretNotFoundError("there is no such object")
    if refusal.meaning == "lock":
        return InvalidRequestError(
            "the bucket does not take the object so", hint="retain needs a bucket with Object Lock"
        )
    if refusal.meaning == "region":
        return InvalidRequestError("the bucket is in another region", hint=f"write {_EXAMPLE}")
    return None


def _read(answer: Answer) -> Answer:
    if "Body" in answer:
        with answer["Body"] as body:
            answer["Body"] = body.read(_LARGEST)
    return answer


SERVICE = Service(
    name="s3",
    title="S3",
    example=_EXAMPLE,
    answers={"GetObject": "Body"},
    value_field=lambda _value: {},
    seal=_read,
    codes=_CODES,
    explain=_explain,
)


class _Access(Access):
    """Other servers than Amazon's have no host name for each bucket."""

    def _options(self) -> dict[str, Any]:
        options = super()._options()
        return options if self.endpoint is None else options | {"s3": {"addressing_style": "path"}}


class _Client(Client):
    def __init__(self, url: StoreURL, settings: Settings):
        super().__init__(SERVICE, url, settings)
        self._access = _Access(url, settings, _EXAMPLE)


class Bucket:
    """Behind ``s3://BUCKET/PREFIX/[?region=REGION][&retain=DAYS]``.

    Objects are created with ``If-None-Match: *``, so that none is ever replaced. With `retain`, or a default
    retention of the bucket, Object Lock keeps them so for its time, whoever asks. It needs
    ``s3:PutObject``, ``s3:GetObject`` and ``s3:ListBucket``, and ``s3:PutObjectRetention`` to retain.

    Attributes:
        name: the URL, without options.
    """

    loggers: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "urllib3")

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint", "region", "retain")
        if not url.host:
            raise InvalidRequestError("an S3 URL names a bucket", hint=f"write {_EXAMPLE}")
        self._bucket = url.host
        self._prefix = f"{url.path.rstrip('/')}/" if url.path else ""
        self.name = f"s3://{self._bucket}/{self._prefix}"
        self._retain = _days(url.option("retain"))
        self._clock = settings.clock
        self._client = _Client(replace(url, host=_region(url, settings)), settings)
        self.after_fork: Callable[[], None] = self._client.after_fork
        self.close: Callable[[], None] = self._client.close

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the bucket, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what boto raises."""
        return translate(exc, operation, SERVICE)

    def create(self, key: str, data: bytes, content_type: str) -> None:
        """Write a new object.

        Raises:
            SecretConflictError: there is one of that name.
            InvalidRequestError: no such bucket, or it cannot retain.
            PermissionDeniedError, UnavailableError: as AWS says.
        """
        params = {"Body": data, "ContentType": content_type, "IfNoneMatch": "*", **self._retention()}
        # Twice is once: the second attempt finds what the first one wrote.
        self._client.write("PutObject", token=True, Bucket=self._bucket, Key=self._prefix + key, **params)

    def read(self, key: str) -> bytes:
        """An object's first 65,536 bytes.

        Raises:
            SecretNotFoundError: there is none.
            SecretStoreError: as AWS says.
        """
        answer = self._client.read("GetObject", Bucket=self._bucket, Key=self._prefix + key)
        return bytes(answer["Body"])

    def following(self, key: str) -> str | None:
        """The name of some object in the same folder that sorts after this one; None if there is none."""
        folder = self._prefix + key.rpartition("/")[0] + "/"
        answer = self._client.read(
            "ListObjectsV2", Bucket=self._bucket, Prefix=folder, StartAfter=self._prefix + key, MaxKeys=1
        )
        found = [str(item["Key"]) for item in answer.get("Contents", ())]
        return found[0].removeprefix(self._prefix) if found else None

    def _retention(self) -> dict[str, Any]:
        if not self._retain:
            return {}
        until = self._clock.now() + timedelta(days=self._retain)
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}


def _region(url: StoreURL, settings: Settings) -> str:
    """The URL's, or the one that AWS's own tools would take."""
    named = url.option("region") or settings.options.get("region")
    found = named or botocore.session.Session().get_config_variable("region")
    if not found:
        raise InvalidRequestError("the bucket's region is not known", hint=f"write {_EXAMPLE}")
    return str(found)


def _days(text: str | None) -> int:
    if text is not None and not (text.isascii() and text.isdigit() and 0 < int(text) <= 36_500):
        raise InvalidRequestError("retain is a number of days", hint="write retain=365")
    return int(text or 0)
