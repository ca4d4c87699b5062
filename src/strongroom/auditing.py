"""From the table ``[audit]`` to the hooks of a store or a key; loaded where there is such a table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast, final

from .audit.event import AuditEvent, Auditor
from .audit.hook import Policy
from .audit.service import Service, release, share
from .backend import Settings

if TYPE_CHECKING:
    from .audit.anchors import Export
    from .audit.hook import JournalHook, Trail
    from .audit.service import Helper
    from .audit.shipping import Shipper
    from .audit.sinks.base import Sink
    from .clock import Clock
    from .errors import SecretStoreError
    from .keys import KeyWrapper, Signer
    from .toml.audit_entries import AnchorEntry, AuditEntry, CheckpointEntry, SinkEntry

T = TypeVar("T")
_DRAIN = 1.0
"""Seconds for which the end of the last store waits for sinks that are behind; the next process goes on."""


@dataclass(frozen=True)
class Keys:
    """How the audit opens the keys that its table names. Their use is part of no trail.

    Attributes:
        key: opens a key encryption key by its alias.
        signer: opens a signing key by its alias.
    """

    key: Callable[[str], KeyWrapper]
    signer: Callable[[str], Signer]


@final
class Lease:
    """One store's or key's share of the trail of its process; `close` ends it, after the store's last read.

    Args:
        entry: the table.
        keys: opens what it names.
        clock: injected in tests.

    Raises:
        InvalidRequestError: what it names is wrong.
        SecretStoreError: as its keys say.
    """

    def __init__(self, entry: AuditEntry, keys: Keys, clock: Clock):
        self._entry, self._clock = entry, clock
        self._place: str | None = str(Path(entry.path).absolute()) if entry.path else f"sink {entry.gate}"
        self._service = share(self._place, lambda: _service(entry, keys, clock))
        self._hooks: list[JournalHook] = []

    @property
    def failed(self) -> SecretStoreError | None:
        """Why the trail took nothing the last time, if it did not."""
        return self._service.trail.failed

    def trail(self) -> Trail:
        """Where records go that tell of no operation, such as detections: to the same sinks as all others."""
        return self._service.begun()

    def hook(
        self, principal: Callable[[], str | None] = lambda: None, *, strict: bool = False, alias: str = ""
    ) -> JournalHook:
        """A hook; see `strongroom.audit.service.Service.hook`."""
        policy = Policy(self._entry.if_unwritable, self._entry.operations)
        made = self._service.hook(principal, policy, strict=strict, alias=alias)
        self._hooks.append(made)
        return made

    def record(self, operation: str, name: str, call: Callable[[], T]) -> T:
        """Run what an administrator does as an operation of its own.

        Raises:
            UnavailableError: with ``performed=False``, it could not be recorded, and was not begun.
        """
        from .audit.actor import current, traceparent

        event = AuditEvent(operation, name, "intent", self._clock.now(), actor=current(), trace=traceparent())
        auditor = Auditor([self.hook()])
        auditor.intent(event)
        return auditor.run(event, call, self._clock)

    def after_fork(self) -> None:
        """The service hears of forks by itself."""

    def close(self) -> None:
        """Safe to repeat. Raises as `strongroom.audit.service.Service.close`."""
        place, self._place = self._place, None
        if place:
            for hook in self._hooks:
                self._service.leave(hook)
            release(place)


def _service(entry: AuditEntry, keys: Keys, clock: Clock) -> Service:
    with ExitStack() as opened:
        made = _gated(entry, clock) if entry.gate else _journaled(entry, keys, clock, opened)
        opened.pop_all()  # the service closes them from here on
        return made


def _gated(entry: AuditEntry, clock: Clock) -> Service:
    from .audit.sinkgate import SinkGate, unsealed

    gate = next(sink for sink in entry.sinks if sink.name == entry.gate)
    return Service(SinkGate(sink_of(gate, clock), gate.name, clock), unsealed, clock)


def _journaled(entry: AuditEntry, keys: Keys, clock: Clock, opened: ExitStack) -> Service:
    from .audit.journal import Journal
    from .audit.shipping import Route, Shipper
    from .audit.subjects import Subjects

    path = Path(entry.path)
    journal = Journal.open(path, clock=clock, segment_bytes=entry.segment, origin=entry.origin or None)
    opened.callback(journal.close)
    wrapper = keys.key(entry.subject_key) if entry.subject_key else None
    subjects = Subjects(path, wrapper)
    routes = [
        Route(sink.name, sink_of(sink, clock), cast("Literal['skip', 'refuse']", sink.on_full), sink.max_lag)
        for sink in entry.sinks
    ]
    shipper = Shipper(path, routes, append=journal.append, clock=clock)
    helpers: list[Helper] = [_Shipping(shipper), *_checkpointing(entry, keys, clock, journal.committed)]
    return Service(
        journal,
        subjects.seal,
        clock,
        helpers=[*helpers, subjects, *([wrapper] if wrapper else [])],
        wake=shipper.start,
        refusal=shipper.refusal,
    )


def _checkpointing(
    entry: AuditEntry, keys: Keys, clock: Clock, committed: Callable[[Callable[[], None]], None]
) -> list[Helper]:
    if entry.checkpoint is None:
        return []
    from .audit.checkpoint import Checkpointer

    signer = signer_of(entry.checkpoint, keys)
    made = Checkpointer(
        entry.path,
        signer,
        origin=entry.origin or None,
        every=entry.checkpoint.every,
        records=entry.checkpoint.records,
        exports=exports_of(entry.checkpoint, clock),
        clock=clock,
    )
    committed(made.notify)
    return [made, signer]


def exports_of(entry: CheckpointEntry, clock: Clock) -> list[Export]:
    """The anchors of the checkpoints; nothing is sent yet, and a bucket's SDK not loaded.

    Raises:
        SecretStoreError: one cannot be as it is written, or its credential is missing.
    """
    from .audit.anchors import LazyExport

    return [
        LazyExport(anchor.url.partition("?")[0], partial(_export, anchor, clock))
        if anchor.url.startswith("s3:")
        else _export(anchor, clock)
        for anchor in entry.exports
    ]


def _export(entry: AnchorEntry, clock: Clock) -> Export:
    from .registry import open_export
    from .toml.credentials import Credential

    given = {
        "token": entry.token,
        "profile": entry.profile,
        "access_key_id": entry.access_key_id,
        "secret_access_key": entry.secret_access_key,
    }
    settings = Settings(
        endpoint=entry.endpoint or None,
        ca=entry.ca or None,
        timeout=entry.timeout,
        auth={
            name: value.read(None) if isinstance(value, Credential) else value
            for name, value in given.items()
            if value
        },
        options={"private": entry.private, **({"region": entry.region} if entry.region else {})},
        clock=clock,
    )
    return open_export(entry.url, settings)


def signer_of(entry: CheckpointEntry, keys: Keys) -> Signer:
    """What signs the checkpoints: a key of the configuration, or one in a file of its own.

    A key of the configuration is opened when it first signs: no operation waits for it.

    Raises:
        SecretStoreError: the file holds no key.
    """
    if entry.signer.startswith("/"):
        from .audit.notekey import FileSigner

        return FileSigner.open(entry.signer)
    from .layers.lazy_signer import LazySigner

    return LazySigner(lambda: keys.signer(entry.signer))


def sink_of(entry: SinkEntry, clock: Clock) -> Sink:
    """The sink of an entry; nothing is sent yet.

    Raises:
        InvalidRequestError: it cannot be as it is written, or its secret is missing.
    """
    from .audit.sinks.opening import open_sink

    return open_sink(
        entry.url,
        format=entry.format,
        secret=entry.secret.read(None) if entry.secret else None,
        ca=entry.ca or None,
        identity=(entry.certificate, entry.private_key) if entry.certificate else None,
        timeout=entry.timeout,
        private=entry.private,
        limit=entry.limit or None,
        headers={name: value.read(None) for name, value in entry.headers.items()},
        clock=clock,
    )


@final
class _Shipping:
    """Ends a shipper with time to send what there is."""

    def __init__(self, shipper: Shipper):
        self._shipper = shipper

    def after_fork(self) -> None:
        self._shipper.after_fork()

    def close(self) -> None:
        self._shipper.close(_DRAIN)
