"""A double of Azure Storage's queue service, for receivers; the real SDK talks to it over TLS.

https://learn.microsoft.com/rest/api/storageservices/get-messages and `delete-message2`. What was given out
and not deleted is hidden until `show`, where the service waits for the visibility timeout.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from tests.servers.https import Authority, Request, Response, serving

ACCOUNT, QUEUE = "acmeprod", "changes"
_TIME = "Tue, 06 Jan 2026 10:00:00 GMT"


@dataclass
class StorageQueue:
    """The double's inside, for tests.

    Attributes:
        url, ca_file: where it is, and whom to trust for it.
        messages: what is in the queue, by id.
        receipts: the pop receipt under which each was given out last; a deletion needs it.
        failing: the status that every request is answered with; 0 for none.
    """

    url: str = ""
    ca_file: str = ""
    messages: dict[str, str] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)
    failing: int = 0

    @property
    def queue(self) -> str:
        """What a listener is given."""
        return f"azure-queue://{ACCOUNT}/{QUEUE}?endpoint={self.url}"

    def send(self, text: str, *, encoded: bool = True) -> None:
        """Put a message into the queue, as Event Grid does: in Base64."""
        body = base64.b64encode(text.encode()).decode() if encoded else text
        self.messages[str(uuid.uuid4())] = body

    @property
    def empty(self) -> bool:
        """Whether everything was deleted."""
        return not self.messages

    def show(self) -> None:
        """The visibility timeout is over for all that was given out."""
        self.receipts.clear()

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        parts = urlsplit(request.path)
        folders = parts.path.strip("/").split("/")
        if self.failing:
            return _answer(self.failing)
        if folders[:2] != [QUEUE, "messages"]:
            return _answer(404)
        query = parse_qs(parts.query)
        if request.method == "GET" and len(folders) == 2:
            return _answer(200, self._given(int(query["numofmessages"][0])))
        return _answer(self._deleted(folders[2], query["popreceipt"][0]))

    def _given(self, most: int) -> str:
        seen = [one for one in self.messages.items() if one[0] not in self.receipts]
        first = seen[:most]
        self.receipts |= {identifier: str(uuid.uuid4()) for identifier, _ in first}
        return "".join(self._shown(*one) for one in first)

    def _shown(self, identifier: str, text: str) -> str:
        return (
            f"<QueueMessage><MessageId>{identifier}</MessageId><InsertionTime>{_TIME}</InsertionTime>"
            f"<ExpirationTime>{_TIME}</ExpirationTime><PopReceipt>{self.receipts[identifier]}</PopReceipt>"
            f"<TimeNextVisible>{_TIME}</TimeNextVisible><DequeueCount>1</DequeueCount>"
            f"<MessageText>{escape(text)}</MessageText></QueueMessage>"
        )

    def _deleted(self, identifier: str, receipt: str) -> int:
        if self.receipts.get(identifier) != receipt:
            return 404
        self.messages.pop(identifier, None)
        return 204


def _answer(status: int, listed: str = "") -> Response:
    headers = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-version": "2026-02-06"}
    if status == 204:
        return Response(status, b"", headers)
    codes = {403: "AuthorizationPermissionMismatch", 404: "QueueNotFound", 503: "ServerBusy"}
    body = f"<QueueMessagesList>{listed}</QueueMessagesList>"
    if status != 200:
        headers["x-ms-error-code"] = codes[status]
        body = f"<Error><Code>{codes[status]}</Code><Message>refused</Message></Error>"
    text = f'<?xml version="1.0" encoding="utf-8"?>{body}'
    return Response(status, text.encode(), headers | {"Content-Type": "application/xml"})


@contextmanager
def server(authority: Authority) -> Iterator[StorageQueue]:
    """A queue that nothing is in."""
    double = StorageQueue()
    with serving(double.respond, authority) as running:
        double.url, double.ca_file = running.url, str(running.ca_file)
        yield double
