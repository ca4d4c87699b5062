"""A double of Google Pub/Sub's REST API, for subscribers; the real SDK talks to it over a socket.

https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/pull and `acknowledge`. Like the
service it is at least once: what was given out and not acknowledged comes again, here with the next pull.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.servers.https import Request, Response, serving

PROJECT, SUBSCRIPTION = "acme-prod", "changes"
_PATH = f"/v1/projects/{PROJECT}/subscriptions/{SUBSCRIPTION}"
_HELD = 0.05
"""Seconds for which an empty pull is held open."""


@dataclass
class PubSub:
    """The double's inside, for tests.

    Attributes:
        url: where it is.
        waiting: messages that were not given out yet, by the id that acknowledges them.
        given: those that were, and were not acknowledged.
        failing: the status that every request is answered with; 0 for none.
    """

    url: str = ""
    waiting: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    given: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failing: int = 0
    _ids: Iterator[int] = field(default_factory=count)
    _some: threading.Event = field(default_factory=threading.Event)

    @property
    def subscription(self) -> str:
        """What a listener is given."""
        return f"pubsub://{PROJECT}/{SUBSCRIPTION}?endpoint={self.url}"

    def publish(self, attributes: Mapping[str, str], data: str = "") -> None:
        """Put a message into the subscription."""
        number = next(self._ids)
        message = {"attributes": dict(attributes), "data": data, "messageId": str(number)}
        self.waiting[f"ack-{number}"] = message
        self._some.set()

    @property
    def empty(self) -> bool:
        """Whether everything was acknowledged."""
        return not (self.waiting or self.given)

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        if self.failing:
            return _error(self.failing)
        path, _, method = request.path.partition("?")[0].rpartition(":")
        if path != _PATH or method not in ("pull", "acknowledge"):
            return _error(404)
        body = json.loads(request.body)
        return _answer(self._pull(body) if method == "pull" else self._acknowledge(body))

    def _pull(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.empty and self._some.wait(_HELD):
            self._some.clear()
        self.given |= self.waiting
        self.waiting = {}
        first = deque(list(self.given.items())[: body["maxMessages"]])
        return {"receivedMessages": [{"ackId": ack, "message": message} for ack, message in first]}

    def _acknowledge(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        for ack in body["ackIds"]:
            self.given.pop(ack, None)
        return {}


def _answer(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _error(status: int) -> Response:
    names = {403: "PERMISSION_DENIED", 404: "NOT_FOUND", 503: "UNAVAILABLE"}
    return _answer({"error": {"code": status, "message": "refused", "status": names[status]}}, status)


@contextmanager
def server() -> Iterator[PubSub]:
    """A subscription that nothing is in."""
    double = PubSub()
    with serving(double.respond) as running:
        double.url = running.url
        yield double
