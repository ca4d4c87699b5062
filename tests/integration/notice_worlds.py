"""A provider's secrets, and the queue that its change notices come by, as the tests of notices need them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from strongroom.backend import Settings
from strongroom.names import Name
from strongroom.notices import LARGEST, Receiver
from strongroom.registry import open_backend, open_receiver
from strongroom.testing.clock import FakeClock
from tests.servers import azure, azure_queue, moto, pubsub
from tests.servers.azure_queue import StorageQueue
from tests.servers.boto import REGION
from tests.servers.https import Authority
from tests.servers.pubsub import PubSub

GARBAGE: Final = (
    "not JSON",
    "null",
    "9" * 5000,
    "[" * 30_000,
    "x" * 200_000,
    json.dumps({"detail": [], "source": "aws.secretsmanager", "data": 7}),
)


class World(ABC):
    """One provider.

    Attributes:
        url, settings: its store, which another program writes to as well.
    """

    url: str
    settings: Settings

    @abstractmethod
    def receiver(self, clock: FakeClock) -> Receiver:
        """The queue."""

    @abstractmethod
    def send(self, event: Any) -> None:
        """Put an event into the queue."""

    @abstractmethod
    def event(self, name: str) -> Any:
        """What the provider sends when the secret of that name was changed."""

    @abstractmethod
    def forgeries(self, name: str) -> list[Any]:
        """What anybody else may send: of other accounts, of nothing, of the secret that was not changed."""

    @property
    @abstractmethod
    def empty(self) -> bool:
        """Whether nothing is left in the queue."""

    def location(self, name: str) -> str:
        """What the provider calls a secret of the store."""
        backend = open_backend(self.url, self.settings)
        try:
            return backend.locate(Name.parse(name))
        finally:
            backend.close()


class Amazon(World):
    """Secrets Manager, and SQS behind EventBridge."""

    def __init__(self, server: moto.Moto):
        self.settings = Settings(endpoint=server.url)
        self.url = f"aws-sm://{REGION}/notices"
        self._sqs = server.client("sqs")
        self._queue = self._sqs.create_queue(QueueName="changes")["QueueUrl"]
        self._server = server

    def receiver(self, clock: FakeClock) -> Receiver:
        url = f"sqs://{REGION}/123456789012/changes?endpoint={self._server.url}"
        return open_receiver(url, Settings(clock=clock))

    def send(self, event: Any) -> None:
        self._sqs.send_message(QueueUrl=self._queue, MessageBody=event)

    def event(self, name: str) -> Any:
        detail = {"name": f"notices/{name}", "labelUpdated": "AWSCURRENT", "versionId": "not believed"}
        return json.dumps({"source": "aws.secretsmanager", "region": REGION, "detail": detail})

    def forgeries(self, name: str) -> list[Any]:
        signed = {"Type": "Notification", "Message": self.event(name), "Signature": "d3Jvbmc="}
        others = [f"arn:aws:secretsmanager:{REGION}:999999999999:secret:{one}-AbCdEf" for one in ("a", "b/c")]
        told = [self._record(one) for one in (*others, f"notices/{name}", "notices/../x", "notices/no/such")]
        return [*GARBAGE, *told, json.dumps(signed), self._record(f"notices/{name}", "GetSecretValue")]

    @property
    def empty(self) -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=names)["Attributes"]
        return all(found[name] == "0" for name in names)

    def _record(self, secret: str, call: str = "PutSecretValue") -> str:
        detail = {"eventName": call, "requestParameters": {"secretId": secret}}
        return json.dumps({"source": "aws.secretsmanager", "region": REGION, "detail": detail})


class Google(World):
    """Secret Manager, and Pub/Sub."""

    def __init__(self, endpoint: str, queue: PubSub):
        # The writes of a secret keep Google's pace by this clock, which nobody waits for.
        self.settings = Settings(endpoint=endpoint, clock=FakeClock())
        self.url = "gcp-sm://acme-notices/notices"
        self._queue = queue

    def receiver(self, clock: FakeClock) -> Receiver:
        return open_receiver(self._queue.subscription, Settings(clock=clock))

    def send(self, event: Any) -> None:
        self._queue.publish(event)

    def event(self, name: str) -> Any:
        found = self.location(name).rpartition("/")[2]
        return {"eventType": "SECRET_VERSION_ADD", "secretId": f"projects/123456/secrets/{found}"}

    def forgeries(self, name: str) -> list[Any]:
        ours = self.event(name)
        other = [{**ours, "secretId": one} for one in ("projects/9/secrets/other", "x" * LARGEST, "", "a/b")]
        return [*({"secretId": text, "eventType": text} for text in GARBAGE), *other, {}, ours]

    @property
    def empty(self) -> bool:
        return self._queue.empty


class Azure(World):
    """Key Vault, and Event Grid through a storage queue."""

    def __init__(self, vault: azure.Vault, queue: StorageQueue):
        self.settings = Settings(endpoint=vault.url, ca=str(vault.ca_file))
        self.url = "azure-kv://acme-prod/notices"
        self._queue = queue

    def receiver(self, clock: FakeClock) -> Receiver:
        return open_receiver(self._queue.queue, Settings(ca=self._queue.ca_file, clock=clock))

    def send(self, event: Any) -> None:
        self._queue.send(event)

    def event(self, name: str) -> Any:
        return self._created(f"{self.location(name)}/0123456789abcdef")

    def forgeries(self, name: str) -> list[Any]:
        others = ["https://other.vault.azure.net/secrets/notices--db/1", "https://[", "", f"{self.url}/x"]
        cloud = {"specversion": "1.0", "type": "Microsoft.KeyVault.SecretNewVersionCreated", "data": {}}
        return [*GARBAGE, *map(self._created, others), json.dumps(cloud), self.event(name)]

    @property
    def empty(self) -> bool:
        return self._queue.empty

    def _created(self, identifier: str) -> str:
        kind = "Microsoft.KeyVault.SecretNewVersionCreated"
        return json.dumps([{"eventType": kind, "subject": "x", "data": {"Id": identifier}}])


@contextmanager
def google(endpoint: str) -> Iterator[Google]:
    """Google's world, beside a Secret Manager that runs."""
    with pubsub.server() as queue:
        yield Google(endpoint, queue)


@contextmanager
def microsoft(vault: azure.Vault, authority: Authority) -> Iterator[Azure]:
    """Azure's world, beside a vault that runs."""
    with azure_queue.server(authority) as queue:
        yield Azure(vault, queue)
