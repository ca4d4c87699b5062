"""A store returns that was the source: what it had acknowledged, and the new source never saw, is kept first.

A write of the old source is known to the new one if that has the very same write, or a later one of the same
line: the old source wrote one after the other, so that what came before is contained. Anything else goes into
the divergence report before the name is written over. Where the new source's older versions are gone, nothing
can be shown to be known, and is kept too: a person lets go in a minute what nobody can bring back.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, final

from strongroom.backend import Capability
from strongroom.errors import IntegrityError, SecretNotFoundError

from .divergence import Divergence, DivergenceReport
from .events import DIVERGED, Events
from .standing import parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from strongroom.audit.event import AuditHook
    from strongroom.backend import Backend, Secret
    from strongroom.names import Name
    from strongroom.value import SecretValue

    from .holding import Holding
    from .member import Member
    from .order import Order
    from .page import Page
    from .record import Record
    from .standing import Standing

LOOKS_BACK: Final = 100
"""Versions of a name that are read for the last common write: what AWS keeps at most of those without a
label (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html)."""


class _Write(NamedTuple):
    """A write at the returning store; no value if it was a deletion."""

    record: Record
    version: str
    value: SecretValue | None
    written_at: datetime | None


@final
class Returning:
    """Keeps, name by name, what a returning store has that its new source never had.

    Args:
        source: the new source's order.
        replica: the returning store's. One that never was a source has nothing of its own.
        member: the new source, for the audit.
        hooks: as of a store; one that refuses keeps the name from being written over.
    """

    def __init__(self, source: Order, replica: Order, member: Member, hooks: Sequence[AuditHook] = ()):
        self._source, self._replica = source, replica
        self._events = Events(hooks, member, source.clock)
        self._report = DivergenceReport(source.backend)
        self._apart: frozenset[int] | None = None

    def keep(self, standing: Standing, held: Holding) -> None:
        """Keep what only the replica has of a name. Repeated, it keeps nothing twice.

        Args:
            standing: what the new source has of it.
            held: what the replica has, of an epoch that is over.

        Raises:
            InvalidRequestError: it does not fit into the report; nothing may be written over it.
            SecretStoreError: as the stores say.
        """
        if held.record is None:
            return
        line = _Line(self._source, standing, self._epochs_apart())
        found: list[_Write] = []
        for write in _writes(self._replica, held, held.record):
            if line.knows(write):
                break
            found.append(write)
        for write in reversed(found):  # the oldest first: whoever is stopped in between finds the others
            self._keep(held.name, write)

    def _keep(self, name: Name, write: _Write) -> None:
        found = Divergence(
            str(name),
            write.record,
            self._replica.alias,
            write.version,
            write.value is None,
            write.written_at,
            self._source.clock.now(),
        )
        told = write.version or None
        self._events.run(DIVERGED, str(name), lambda: self._report.keep(found, write.value), version=told)

    def _epochs_apart(self) -> frozenset[int]:
        if self._apart is None:
            sheet = self._replica.sheet()
            self._apart = frozenset(sheet.apart if sheet else ())
        return self._apart


@final
class _Line:
    """What the new source has been through under one name, read as far as it is asked."""

    def __init__(self, source: Order, standing: Standing, apart: frozenset[int]):
        page = standing.page
        deleted = page.tombstone if _took_effect(standing) else None
        told = (standing.record, standing.own, page.buried, deleted, *page.bindings.values())
        self._seen = [record for record in told if record]
        self._source, self._standing, self._apart = source, standing, apart
        self._older = _history(source.backend, standing.name, page, standing.version)
        self._read: list[tuple[Record | None, Secret]] = []

    def knows(self, write: _Write) -> bool:
        """Whether the line contains a write, or a later one of the same line."""
        if any(self._contains(seen, write.record) for seen in self._seen):
            return True
        if self._has_its_value(write):
            return True
        for seen, secret in self._history():
            if self._is_copy(write, secret) or (seen and self._contains(seen, write.record)):
                return True
            if seen and seen.order < write.record.order:  # and those before it are older still
                break
        return False

    def _is_copy(self, write: _Write, secret: Secret) -> bool:
        """Whether the provider itself copied it: without a record, under the source's own version id."""
        return secret.record is None and secret.version == write.version and self._proves(write, secret)

    def _history(self) -> Iterator[tuple[Record | None, Secret]]:
        yield from tuple(self._read)
        for found in self._older:
            self._read.append(found)
            yield found

    def _has_its_value(self, write: _Write) -> bool:
        """What is current here has the very value: a write that changes nothing for anybody."""
        current = self._standing.secret
        return current is not None and self._proves(write, current)

    def _proves(self, write: _Write, secret: Secret) -> bool:
        return write.value is not None and self._source.proves(
            self._standing.name, write.record, secret.value
        )

    def _contains(self, seen: Record, record: Record) -> bool:
        if seen.write_id == record.write_id:
            return True
        # A write of a later epoch tells nothing: it may follow any of those before.
        return record.epoch not in self._apart and seen.epoch <= record.epoch and seen.order > record.order


def _took_effect(standing: Standing) -> bool:
    """Whether what the tombstone deletes was gone before the takeover.

    A deletion that was on its way when its source was lost may have come as far as its record. What should
    have gone is then bound above it, in the epoch of the takeover.
    """
    tombstone = standing.page.tombstone
    if tombstone is None or standing.deleted:
        return True
    given = (
        *standing.page.bindings.values(),
        *([] if standing.record == standing.own else [standing.record]),
    )
    return not any(record and record.epoch > tombstone.epoch for record in given)


def _writes(replica: Order, held: Holding, newest: Record) -> Iterator[_Write]:
    """What the returning store has of a name, the newest first."""
    if held.own != newest:
        yield _Write(newest, "", None, None)
    if held.own is None or held.secret is None:
        return
    yield _Write(held.own, held.secret.version, held.secret.value, held.secret.created_at)
    for record, secret in _history(replica.backend, held.name, held.page, held.secret.version):
        if record and replica.proves(held.name, record, secret.value):
            yield _Write(record, secret.version, secret.value, secret.created_at)


def _history(
    backend: Backend, name: Name, page: Page, besides: str | None
) -> Iterator[tuple[Record | None, Secret]]:
    """The older versions that can be read, and their records, the newest first."""
    if Capability.VERSIONS not in backend.capabilities:
        return
    ids: list[str] = []
    with contextlib.suppress(SecretNotFoundError):
        ids = [version.id for version in backend.versions(name) if version.id != besides]
    for version in ids[:LOOKS_BACK]:
        with contextlib.suppress(SecretNotFoundError, IntegrityError):
            secret = backend.get(name, version)
            yield page.bindings.get(version) or parsed(secret.record), secret
