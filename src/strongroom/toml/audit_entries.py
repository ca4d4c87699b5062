"""What the table ``[audit]`` is, read and checked; loaded where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .credentials import Credential
from .spot import Spot, near


@dataclass(frozen=True)
class SinkEntry:
    """One of ``audit.sinks``; its attributes are the keys."""

    url: str
    name: str
    format: str = "json"
    secret: Credential | None = None
    headers: Mapping[str, Credential] = field(default_factory=dict)
    ca: str = ""
    certificate: str = ""
    private_key: str = ""
    private: bool = False
    timeout: float = 10.0
    limit: int | None = None
    max_lag: int = 2**28
    on_full: str = "skip"


@dataclass(frozen=True)
class AnchorEntry:
    """One of ``audit.checkpoint.anchors``, or a URL of ``export``; its attributes are the keys."""

    url: str
    endpoint: str = ""
    region: str = ""
    profile: str = ""
    access_key_id: str | Credential = ""
    secret_access_key: Credential | None = None
    token: Credential | None = None
    ca: str = ""
    private: bool = False
    timeout: float = 10.0


@dataclass(frozen=True)
class CheckpointEntry:
    """``audit.checkpoint``; its attributes are the keys, `every` in seconds."""

    signer: str
    every: float = 60.0
    records: int = 10_000
    export: tuple[str, ...] = ()
    anchors: tuple[AnchorEntry, ...] = ()

    @property
    def exports(self) -> tuple[AnchorEntry, ...]:
        """Every place that checkpoints are copied to."""
        return (*map(AnchorEntry, self.export), *self.anchors)


@dataclass(frozen=True)
class AuditEntry:
    """``[audit]``.

    Attributes:
        path: the journal's folder; empty where a sink is the gate.
        if_unwritable: ``refuse`` or ``allow``.
        origin: what its checkpoints call it; or empty.
        segment: bytes of a segment.
        gate: the name of the sink that every operation waits for; or empty.
        operations: ``refuse`` or ``allow`` by operation.
        subject_key: alias of the key that the subjects' keys stand under; or empty.
        checkpoint: how it is signed; None for not at all.
        detect: what `strongroom.audit.detect.settings.DetectSettings.parse` takes.
        sinks: where records go besides.
    """

    path: str = ""
    if_unwritable: str = "refuse"
    origin: str = ""
    segment: int = 2**26
    gate: str = ""
    operations: Mapping[str, str] = field(default_factory=dict)
    subject_key: str = ""
    checkpoint: CheckpointEntry | None = None
    detect: Mapping[str, Any] = field(default_factory=dict)
    sinks: tuple[SinkEntry, ...] = ()


def audit_entry(spot: Spot, values: Mapping[str, Any], keys: Mapping[str, object]) -> AuditEntry:
    """The entry that the values of the table mean.

    Raises:
        InvalidRequestError: no such key or sink, or two sinks of one name.
    """
    if alias := values["subject_key"]:
        _known(spot / "subject_key", alias, keys, "key")
    sinks = tuple(_sink(spot / "sinks", one) for one in values["sinks"])
    names = [sink.name for sink in sinks]
    if len(set(names)) < len(names):
        (spot / "sinks").fail("two have one name", "give each a name of its own")
    if values["gate"]:
        _known(spot / "gate", values["gate"], names, "sink")
    return AuditEntry(
        **(values["journal"] or {}),
        gate=values["gate"],
        operations=values["operations"],
        subject_key=values["subject_key"],
        checkpoint=_checkpoint(spot / "checkpoint", values["checkpoint"], keys),
        detect=_written(values["detect"]),
        sinks=sinks,
    )


def _written(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """The keys that have a value; of none `DetectSettings` has the default."""
    return {key: value for key, value in (values or {}).items() if value not in (None, "", ())}


def _sink(spot: Spot, values: Mapping[str, Any]) -> SinkEntry:
    if any(one and one.reference for one in (values["secret"], *values["headers"].values())):
        spot.fail(
            "a secret that a store keeps would be audited before it is read",
            "write env://VAR or file:///path",
        )
    scheme, _, rest = values["url"].partition(":")
    made = f"{scheme}-{rest.strip('/').partition('/')[0]}" if rest.strip("/") else scheme
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in made.lower())
    return SinkEntry(**{**values, "name": values["name"] or kept[:64]})


def _checkpoint(
    spot: Spot, values: Mapping[str, Any] | None, keys: Mapping[str, object]
) -> CheckpointEntry | None:
    if not values:
        return None
    if not values["signer"].startswith("/"):
        _known(spot / "signer", values["signer"], keys, "key")
    anchors = tuple(AnchorEntry(**one) for one in values["anchors"])
    return CheckpointEntry(**{**values, "anchors": anchors})


def _known(spot: Spot, name: str, known: Any, what: str) -> None:
    if name not in known:
        spot.fail(f"no {what} is called {name!r}", near(name, known))
