"""A queue of SQS, to which EventBridge or SNS sends what changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError, SecretStoreError
from strongroom.names import StoreURL
from strongroom.notices import Message, Receiver

from . import change_events
from ._access import Access
from ._client import Client
from ._errors import translate
from ._service import Answer, Refusal, Service

_EXAMPLE: Final = "sqs://eu-west-1/123456789012/changes"
_QUEUE: Final = re.compile(r"(\d{12})/([A-Za-z0-9_-]{1,80}(?:\.fifo)?)")
# The API's most, for both: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
_BATCH: Final = 10
_LONGEST_WAIT: Final = 20
_CODES: Final = {
    "AWS.SimpleQueueService.NonExistentQueue": "no queue",
    "QueueDoesNotExist": "no queue",
    "OverLimit": "throttled",
    "ReceiptHandleIsInvalid": "request",
}


def _explain(refusal: Refusal) -> SecretStoreError | None:
    if refusal.meaning == "no queue":
        return InvalidRequestError("there is no such queue", hint="check its name, account and region")
    return None


SERVICE: Final = Service(
    name="sqs",
    title="SQS",
    example=_EXAMPLE,
    answers={},
    value_field=lambda _value: {},
    seal=lambda answer: answer,
    codes=_CODES,
    explain=_explain,
)


class _Access(Access):
    """A queue answers a long poll when there is something, or the poll's time is over."""

    def _options(self) -> dict[str, Any]:
        config = super()._options()
        return config | {"read_timeout": config["read_timeout"] + _LONGEST_WAIT}


class _Client(Client):
    def __init__(self, url: StoreURL, settings: Settings):
        super().__init__(SERVICE, url, settings)
        self._access = _Access(url, settings, _EXAMPLE)


class SQSQueue(Receiver):
    """Behind ``sqs://REGION/ACCOUNT/QUEUE[?endpoint=http://127.0.0.1:PORT]``.

    It needs ``sqs:ReceiveMessage`` and ``sqs:DeleteMessage``, and ``kms:Decrypt`` where the queue has a key
    of its own. Credentials are found as for ``aws-sm``.
    """

    loggers: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "urllib3")

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        found = _QUEUE.fullmatch(url.path)
        if not found:
            raise InvalidRequestError(f"not a queue: {url.path[:100]!r}", hint=f"write {_EXAMPLE}")
        self._client = _Client(url, settings)
        self._queue = _address(url, settings, found[0])
        self.origin = f"sqs://{url.host}/{found[0]}"

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what boto raises."""
        return translate(exc, operation, SERVICE)

    def receive(self, timeout: float) -> Sequence[Message]:
        wait = int(min(max(timeout, 0.0), _LONGEST_WAIT))
        answer = self._once("ReceiveMessage", MaxNumberOfMessages=_BATCH, WaitTimeSeconds=wait)
        found = answer.get("Messages") or ()
        return [Message(one.get("Body"), one.get("ReceiptHandle")) for one in found]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        entries = [{"Id": str(n), "ReceiptHandle": message.handle} for n, message in enumerate(messages)]
        for first in range(0, len(entries), _BATCH):
            self._once("DeleteMessageBatch", Entries=entries[first : first + _BATCH])

    def resources(self, message: Message) -> frozenset[str]:
        return change_events.resources(message.body)

    def resource(self, location: str) -> str:
        return change_events.resource(location)

    def close(self) -> None:
        self._client.close()

    def after_fork(self) -> None:
        self._client.after_fork()

    def _once(self, action: str, **params: Any) -> Answer:
        outcome = self._client.once(action, QueueUrl=self._queue, **params)
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return outcome


def _address(url: StoreURL, settings: Settings, queue: str) -> str:
    """The queue's own URL, which says which one is meant; requests go to the client's endpoint."""
    endpoint = url.endpoint or settings.endpoint
    suffix = "amazonaws.com.cn" if url.host.startswith("cn-") else "amazonaws.com"
    return f"{endpoint.rstrip('/') if endpoint else f'https://sqs.{url.host}.{suffix}'}/{queue}"
