"""What all formats tell of a record, worked out once."""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import InvalidRequestError

from .activities import Activity, activity_of, severity_of
from .record import FIELDS, encode, leaf_hash, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .actor import Actor

PRODUCT: Final = "Strongroom"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALWAYS: Final = {"chain", "seq", "time", "kind"}
"""What a clipped record still has."""


@dataclass(frozen=True)
class Facts:
    """A record, and what follows from it.

    Attributes:
        record: as it stands in the journal.
        actor: who it was, where the record's sealed text could be opened.
        host: where the writer of the chain runs, if known.
        line: the journal's line, from which everything can be proved; empty if the record was clipped.
        leaf: the RFC 6962 leaf hash of the line, hexadecimal; or empty.
        activity: what it is in the words of the schemas.
        severity: OCSF's `severity_id`.
        message: one sentence for people; it may hold whatever a name holds.
    """

    record: Mapping[str, Any]
    actor: Actor | None
    host: str
    line: str
    leaf: str
    activity: Activity
    severity: int
    message: str

    @property
    def id(self) -> str:
        """The record's id."""
        return record_id(self.record)

    @property
    def reads(self) -> list[dict[str, Any]]:
        """Accounted reads, each with its name, version and count."""
        found = self.record.get("reads", ())
        return [{"name": name, "version": version, "count": count} for name, version, count in found]

    @property
    def ip(self) -> str:
        """The actor's address, if it is one of the Internet protocol."""
        try:
            return ipaddress.ip_address(self.actor.address).compressed if self.actor else ""
        except ValueError:
            return ""

    @property
    def trace(self) -> tuple[str, str]:
        """The ids of the trace and of the span, out of a W3C ``traceparent``: version, trace, span, flags."""
        parts: list[str] = [*self.record.get("trace", "").split("-"), "", ""]
        return parts[1], parts[2]

    def rest(self, told: frozenset[str]) -> dict[str, Any]:
        """What the record holds beside the keys that a format has its own places for."""
        rest = {key: value for key, value in self.record.items() if key not in told}
        how = self.record.get("actor", {}).get("how")
        on_behalf_of = self.actor.on_behalf_of if self.actor else ""
        more = {"actor_how": how, "on_behalf_of": on_behalf_of}
        return rest | {key: value for key, value in more.items() if value}


def facts_of(
    record: Mapping[str, Any], actor: Actor | None = None, host: str = "", line: bytes = b""
) -> Facts:
    """What a record tells. One that was clipped for its receiver has no line, since nothing proves it.

    Args:
        line: that it was parsed from, if at hand.

    Raises:
        InvalidRequestError, IntegrityError: it is not a record.
    """
    found, line = _checked(record, line)
    return Facts(
        found,
        actor,
        host or found.get("host", ""),
        line.decode(),
        leaf_hash(line).hex() if line else "",
        activity_of(found),
        severity_of(found),
        _message(found),
    )


def _checked(record: Mapping[str, Any], line: bytes) -> tuple[Mapping[str, Any], bytes]:
    if not record.keys() >= _ALWAYS or record["kind"] not in FIELDS:
        raise InvalidRequestError("not a record of the journal")
    if record.get("clipped"):
        return record, b""
    if line:
        return record, line
    line = encode(record)
    # Parsed, since `encode` trusts a shape that it knows, and this may be from a file that was changed.
    return parse(line), line


def words(text: str) -> frozenset[str]:
    """The words of a text, for sets of keys."""
    return frozenset(text.split())


def record_id(record: Mapping[str, Any]) -> str:
    """``<chain>:<seq>``."""
    return f"{record['chain']}:{record['seq']}"


def milliseconds(time: str) -> int:
    """A record's time in milliseconds since 1970; of a time that no calendar has, 0."""
    try:
        moment = datetime.fromisoformat(f"{time[:26]}+00:00")
    except ValueError:
        return 0
    since = moment - _EPOCH
    return (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000


@functools.cache
def product_version() -> str:
    """The version of this library; "unknown" where a packer stripped what says it."""
    from importlib import metadata

    try:
        return metadata.version("strongroom")
    except metadata.PackageNotFoundError:
        return "unknown"


def _message(record: Mapping[str, Any]) -> str:
    kind: str = record["kind"]
    if kind == "event":
        told = "intent" if record.get("phase") == "intent" else record.get("outcome", "outcome not told")
        return f"{record.get('op')} {record.get('name', '')}".rstrip() + f": {told}"
    if kind == "reads":
        return f"{sum(count for _, _, count in record.get('reads', ()))} reads from the cache"
    if kind == "detection":
        return str(record.get("title") or record.get("rule") or kind)
    if kind == "suppression":
        return f"alerts of {record.get('rule', 'a rule')} are suppressed"
    return {
        "chain": "a writer begins a chain",
        "adopt": "a writer goes on with a chain",
        "recovery": f"{record.get('lost')} bytes of a torn record were cut off",
        "gap": f"{record.get('count')} operations went unrecorded",
        "segment": "the chain goes on in its next segment",
        "skipped": f"{record.get('count')} records were not sent to a sink",
    }[kind]
