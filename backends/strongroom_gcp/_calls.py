"""The protocol's port: Google's calls for one secret, through the client."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError, SecretNotFoundError
from strongroom.retry import pause
from strongroom.value import SecretValue

from ._book import PREFIX, Book
from ._client import LATEST, Client
from ._digests import Digests
from ._port import Gone, Seen

ANNOTATION_BYTES: Final = 16 * 1024
"""Secret.annotations: "The total size of annotation keys and values must be less than 16KiB."""
BOOK_BYTES: Final = 6 * 1024
"""What is kept free of users' tags for our own."""
_INTENT_TIMEOUTS: Final = 4
_WAITS: Final = 24
_log = logging.getLogger("strongroom.gcp")


class SecretCalls:
    """One secret of a store. Implements `Port`.

    Args:
        client: the calls.
        digests: this store's.
        settings: clock and timeouts.
        name: the secret's resource name.

    Attributes:
        added: when each version added here was created, by number.
    """

    def __init__(self, client: Client, digests: Digests, settings: Settings, name: str):
        self._client = client
        self._digests = digests
        self._settings = settings
        self._name = name
        self.added: dict[int, datetime | None] = {}

    def look(self) -> Seen | None:
        """GetSecret."""
        found = self._client.secret(self._name)
        return None if found is None else seen_in(found)

    def create(self, book: Book) -> Seen | None:
        """CreateSecret; an intent can only be set where the digest key is at hand."""
        found = self._client.create(self._name, book.over({}))
        return None if found is None else seen_in(found)

    def change(self, seen: Seen, book: Book) -> Seen | None:
        """UpdateSecret under the etag."""
        return self.annotate(seen, book.over(dict(seen.others)))

    def annotate(self, seen: Seen, annotations: dict[str, str]) -> Seen | None:
        """Replace all annotations, under the etag.

        Raises:
            InvalidRequestError: they take more room than Google gives.
        """
        texts = [part for pair in annotations.items() for part in pair]
        if sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) >= ANNOTATION_BYTES:
            raise InvalidRequestError(
                "the secret's annotations are full", hint="Google takes 16 KiB; remove tags or annotations"
            )
        found = self._client.annotate(self._name, seen.etag, annotations)
        return None if found is None else seen_in(found)

    def add(self, payload: SecretValue) -> int:
        """AddSecretVersion."""
        added = self._client.add(self._name, payload)
        self.added[added.number] = added.created
        return added.number

    def read(self, number: int) -> SecretValue | Gone | None:
        """AccessSecretVersion by number."""
        return self._client.read(self._name, number)

    def newest(self) -> int:
        """GetSecretVersion of ``latest``: whatever its state."""
        try:
            found = self._client.version(self._name, LATEST)
        except SecretNotFoundError:
            return 0
        return number_in(found.name)

    def digest(self, write_id: str, payload: SecretValue) -> str:
        """Under this store's key."""
        return self._digests.digest(self._name.rpartition("/")[2], write_id, payload)

    def new_id(self) -> str:
        """Random."""
        return secrets.token_hex(8)

    def now(self) -> int:
        """By the store's clock: two writers' clocks may differ, which costs time and nothing else."""
        return int(self._settings.clock.now().timestamp() * 1000)

    def patience(self) -> int:
        """Four attempts' time: what a writer needs from its intent to the end."""
        return int(_INTENT_TIMEOUTS * self._settings.timeout * 1000)

    def wait(self, times: int) -> bool:
        """About as long as one attempt may take, in all."""
        if times >= _WAITS:
            return False
        self._settings.clock.sleep(pause(min(times + 1, 2)))
        return True

    def report(self, numbers: Iterable[int]) -> None:
        """In the log: names and numbers only."""
        found = ", ".join(map(str, numbers))
        if found:
            _log.warning("%s: version %s was written by another program", self._name, found)


def seen_in(secret: Any) -> Seen:
    """What a protocol buffer of a secret tells."""
    annotations = dict(secret.annotations)
    others = tuple((key, text) for key, text in annotations.items() if not key.startswith(PREFIX))
    return Seen(secret.etag, life_of(secret), Book.of(annotations), others)


def life_of(secret: Any) -> str:
    """When this life of the name began, in nanoseconds: numbers start again after a delete."""
    return f"{secret.create_time.seconds}{secret.create_time.nanos:09}"


def number_in(name: str) -> int:
    """The number in a version's resource name."""
    return int(name.rpartition("/versions/")[2])
