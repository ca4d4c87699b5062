"""Change notices: what a provider sends to a queue when a secret was changed, and what receives it.

A notice is a hint and nothing else. No value is taken from it, and nothing is believed of it but that a
resource may have changed; the value is always read again, from the provider and with the store's own
credentials. So a notice that is forged, repeated, late or lost changes only how soon a change is met.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

if TYPE_CHECKING:
    from .names import StoreURL
    from .settings import Settings

LARGEST: Final = 65_536
"""Bytes of a notice that is looked at: no provider's own has more than a few thousand."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a queue gave.

    Attributes:
        body: the text, or the attributes, as the queue gave them.
        handle: by which it is acknowledged.
    """

    body: object = field(repr=False)
    handle: object = field(repr=False)


class Receiver(ABC):
    """A queue of notices. One thread receives; ``close`` may come from another.

    Attributes:
        origin: where the notices come from, without credentials.
        loggers: the SDK's, which log requests at DEBUG.
    """

    loggers: ClassVar[tuple[str, ...]] = ()
    origin: str

    @classmethod
    @abstractmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the queue that a URL names, without I/O.

        Raises:
            InvalidRequestError: the URL or a setting is wrong.
        """

    @abstractmethod
    def receive(self, timeout: float) -> Sequence[Message]:
        """The messages that are there, after at most about ``timeout`` seconds; none is no error.

        Raises:
            SecretStoreError: the queue does not answer, or does not exist, or may not be read.
        """

    @abstractmethod
    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Take these out of the queue; what fails comes again.

        Raises:
            SecretStoreError: as for `receive`.
        """

    @abstractmethod
    def resources(self, message: Message) -> Collection[str]:
        """What may have changed, each written as `resource` writes it; nothing if that cannot be told.

        Pure, and it raises nothing: whoever may write into the queue chooses the message.
        """

    @abstractmethod
    def resource(self, location: str) -> str:
        """How this provider's notices name what ``Backend.locate`` calls so."""

    @abstractmethod
    def close(self) -> None:
        """Release connections. What is being received ends by itself."""

    @abstractmethod
    def after_fork(self) -> None:
        """Forget the parent's connections without closing them."""


def parsed(text: object) -> Any:
    """The JSON in a text; None if there is none, or too much of it."""
    if not isinstance(text, str | bytes) or len(text) > LARGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def inside(value: Any, *path: str) -> Any:
    """What stands in nested tables; None where there is no such key, or no table."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
