"""Who acts: what the program says, and what an operation happens in.

::

    with strongroom.actor("alice@example.net", address=request.client):
        store.get("db/password")

The actor belongs to the context: tasks, `AsyncSecretStore` and ``asyncio.to_thread`` carry it along. A thread
of your own begins with an empty context; give it one: ``Thread(target=contextvars.copy_context().run, ...)``.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPLICIT: Final = "explicit"
"""How an actor is known whom the program named."""


@dataclass(frozen=True)
class Actor:
    """Who asks. It identifies a person or a service and is no credential.

    Attributes:
        principal: whom the records are about: an ARN, an account, an address; what `audit shred` takes.
        how: how it is known: ``explicit``, ``aws-sts``, ``kubernetes``, ``vault``, ``provider`` or ``os``.
        name: what people call it.
        address: where the request came from.
        on_behalf_of: the principal that the actor acts for, such as a service's customer.
    """

    principal: str
    how: str = EXPLICIT
    name: str = ""
    address: str = ""
    on_behalf_of: str = ""


_current: ContextVar[Actor | None] = ContextVar("strongroom_actor", default=None)


@contextmanager
def actor(principal: str, *, name: str = "", address: str = "", on_behalf_of: str = "") -> Iterator[Actor]:
    """Say who asks in this block; an inner block replaces it as a whole.

    Args:
        principal: whom the records are about; in a journal it stands encrypted, under a key of its own.
        name: what people call it.
        address: where the request came from.
        on_behalf_of: the principal it acts for.

    Raises:
        InvalidRequestError: no text, or no principal.
    """
    given = (principal, name, address, on_behalf_of)
    if not all(isinstance(text, str) for text in given) or not principal:
        raise InvalidRequestError("an actor is text, and its principal is not empty")
    said = Actor(principal, EXPLICIT, name, address, on_behalf_of)
    token = _current.set(said)
    try:
        yield said
    finally:
        _current.reset(token)


def current() -> Actor | None:
    """Whom the program named last in this context."""
    return _current.get()


def traceparent() -> str | None:
    """The W3C ``traceparent`` of the current OpenTelemetry span; OpenTelemetry is never loaded for it."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
