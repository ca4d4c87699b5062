"""What a replica holds under a name, and whether it is this replication's."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.backend import Capability, Stage
from strongroom.errors import IntegrityError, SecretNotFoundError

from .page import Page, read_page
from .record import Record, digest_of

if TYPE_CHECKING:
    from strongroom.backend import Backend, Secret
    from strongroom.names import Name
    from strongroom.value import SecretValue


@dataclass(frozen=True, slots=True)
class Holding:
    """What a replica holds under a name.

    Attributes:
        name: the secret's.
        page: what the replica keeps of its order.
        page_version: the page's version, to be written over; None where there is none.
        version: the current version's id; None where the replica has no such secret.
        secret: the current version, if it could be opened.
        own: its record, if the digest shows that a holder of the domain's key has written it.
        strange: why it is not this replication's; empty if it is, or there is none.
    """

    name: Name
    page: Page
    page_version: str | None
    version: str | None = None
    secret: Secret | None = None
    own: Record | None = None
    strange: str = ""

    @property
    def record(self) -> Record | None:
        """The highest that the replica knows of: below it nothing is applied."""
        known = [record for record in (self.own, self.page.tombstone) if record]
        return max(known, key=lambda record: record.order, default=None)


def verifies(key: SecretValue | None, name: Name, value: SecretValue | None, record: Record) -> bool:
    """Whether a holder of the domain's digest key has put this value at this place; None: a deletion."""
    if key is None:
        return False
    return hmac.compare_digest(digest_of(key, str(name), value, record.epoch, record.seq), record.digest)


def read_holding(backend: Backend, name: Name, key: SecretValue | None) -> Holding:
    """Read what a replica holds; two reads.

    Raises:
        IntegrityError: the page is damaged.
        SecretStoreError: as the backend says.
    """
    version, secret = _current(backend, name)
    page, page_version = read_page(backend, name)  # afterwards: a tombstone that comes in between is seen
    if version is None:
        return Holding(name, page, page_version)
    if secret is None:
        return Holding(name, page, page_version, version, strange="what the replica holds does not open")
    own, strange = _ownership(page, secret, name, key)
    return Holding(name, page, page_version, version, secret, own, strange)


def _current(backend: Backend, name: Name) -> tuple[str | None, Secret | None]:
    """Version and secret; no secret where the value does not open, and only its version is known."""
    error = None
    try:
        secret = backend.get(name, Stage.CURRENT)
        return secret.version, secret
    except SecretNotFoundError:
        return None, None
    except IntegrityError as exc:
        error = exc
    found = backend.versions(name) if Capability.VERSIONS in backend.capabilities else ()
    version = next((version.id for version in found if Stage.CURRENT in version.stages), None)
    if version is None:
        raise error
    return version, None


def _ownership(page: Page, secret: Secret, name: Name, key: SecretValue | None) -> tuple[Record | None, str]:
    try:
        record = page.bindings.get(secret.version)  # of a store that was a source once
        record = record or (Record.parse(secret.record) if secret.record else None)
    except IntegrityError:
        return None, "it bears what is no record"
    if record is None:
        return None, "it bears no record of ours"
    if not verifies(key, name, secret.value, record):
        return None, "its value is not the one that its record was made for"
    return record, ""
