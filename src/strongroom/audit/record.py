"""One record of the journal: what it may hold, its bytes, and the hash by which the next record names it.

A record is one line of JSON in one form only: the keys in the order of `FIELDS`, nothing empty, no blanks,
ASCII (everything else escaped). So it can hold no line break, no terminal sequence and no second meaning,
whatever a name holds; and who parses it can demand the exact bytes that `encode` would give.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError, InvalidRequestError

if TYPE_CHECKING:
    from .event import AuditEvent

VERSION: Final = 1
TEXT_LIMIT: Final = 2048
"""Characters of a text; of a longer one this many are kept, and ``…(+N)`` says how many are not."""

GENESIS: Final = "0" * 64
"""`prev` of the first record of a chain."""

HEAD: Final = ("v", "chain", "seq", "prev", "time", "mono", "kind")
"""The keys that every record begins with."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "chain": ("library", "host", "pid"),
    "adopt": ("library", "host", "pid"),
    "event": (
        *("phase", "op", "name", "cid", "store", "backend", "location", "version", "stage", "rotation_id"),
        *("outcome", "performed", "request_id", "trace", "actor", "degraded"),
    ),
    "reads": ("store", "since", "reads", "actor"),
    "recovery": ("lost",),
    "gap": ("since", "until", "count", "ops", "reason"),
    "segment": ("next",),
    "detection": ("rule", "severity", "title", "at", "records", "facts"),
    "suppression": ("rule", "until", "reason", "actor", "facts"),
    "skipped": ("sink", "from", "to", "count"),
}
"""The keys of each kind of record after `HEAD`, in their order; a key without a value is left out."""

KINDS: Final = frozenset(FIELDS)
_NEEDED: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(HEAD) | keys
    for kind, keys in {
        "chain": {"library"},
        "adopt": {"library"},
        "event": {"phase", "op"},
        "reads": {"since", "reads"},
        "recovery": {"lost"},
        "gap": {"since", "until", "count"},
        "segment": {"next"},
        "detection": {"rule"},
        "suppression": {"rule"},
        "skipped": {"sink", "count"},
    }.items()
}

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CLIPPED: Final = re.compile(r"…\(\+\d{1,20}\)")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]+", re.ASCII)
_DELETE: Final = 0x7F  # the one control character that JSON does not escape
_TIME_ENDS: Final = len('{"time":"0000-00-00T00:00:00.000000000Z"')
_BEHIND_TIME: Final = b',"kind":"event",'
_BIGGEST: Final = 2**63 - 1
_PHASES: Final = ("intent", "outcome")
_NOT_TEXT: Final = frozenset({"performed", "actor", "degraded"})
_known_events: dict[tuple[str, ...], Callable[[Mapping[str, Any]], tuple[str, ...]]] = {}


def encode(fields: Mapping[str, Any]) -> bytes:
    """The line of a record, without its line feed; what is None or empty is left out.

    Raises:
        InvalidRequestError: a field that this kind of record does not have, lacks, or of another type.
    """
    return _encode(_ordered(fields))


def encode_next(chain: str, seq: int, prev: str, mono: int, fields: Mapping[str, Any]) -> bytes:
    """`encode` of a whole record, whose `fields` are its `time`, its `kind` and what that kind holds.

    Nearly all are events with the fields of one before. Of these only what may differ is looked at, and the
    head is set around what orjson makes of the rest: a dict of it all would cost half as much as the hash.
    """
    texts = _known_events.get(tuple(fields))
    if texts is not None and all(fields.values()) and fields["phase"] in _PHASES:
        try:
            "".join(texts(fields))  # refuses what is not text
            body = _compact()(fields)
        except (TypeError, UnicodeEncodeError):
            body = b""
        plain = len(body) <= TEXT_LIMIT and body.isascii() and _DELETE not in body
        if plain and body.startswith(_BEHIND_TIME, _TIME_ENDS):
            head = f'{{"v":{VERSION},"chain":"{chain}","seq":{seq},"prev":"{prev}",'.encode()
            return b'%b%b,"mono":%d%b' % (head, body[1:_TIME_ENDS], mono, body[_TIME_ENDS:])
    heading = {"v": VERSION, "chain": chain, "seq": seq, "prev": prev, "time": fields["time"], "mono": mono}
    return encode({**heading, **fields})


def parse(line: bytes) -> dict[str, Any]:
    """The record of a line, if `encode` would give exactly this line for it.

    Raises:
        IntegrityError: it is not a record. The message holds nothing of the line.
    """
    fault: str | None = "it is not JSON"
    try:
        record = _loads()(line)
        fault = _fault(record) or (
            None if encode(record) == line else "it is not in the one form of a record"
        )
    except (ValueError, RecursionError, InvalidRequestError):
        pass
    if fault:
        raise IntegrityError(f"not a journal's record: {fault}")
    return record  # type: ignore[no-any-return]


def leaf_hash(line: bytes) -> bytes:
    """The RFC 6962 leaf hash of a line without its line feed."""
    return hashlib.sha256(b"\0" + line).digest()


def of_event(event: AuditEvent, *, actor: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The fields of a record of one side of an operation.

    Args:
        actor: its `uid`, `how` and `sealed`, in place of the event's own.
    """
    fields = {
        "time": stamp(event.time),
        "kind": "event",
        "phase": event.phase,
        "op": event.operation,
        "name": event.name,
        "cid": event.correlation_id,
        "store": event.store,
        "backend": event.backend,
        "location": event.location,
        "version": event.version,
        "stage": event.stage,
        "rotation_id": event.rotation_id,
        "outcome": event.outcome,
        "performed": event.performed,
        "request_id": event.request_id,
        "trace": event.trace,
        "actor": actor,
        "degraded": event.degraded,
    }
    return {key: value for key, value in fields.items() if value or (value is False and key == "performed")}


def stamp(moment: datetime) -> str:
    """A moment as records tell it: RFC 3339, UTC, nine digits."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "000Z"


def _ordered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in their order, without those that are empty."""
    full = {key: value for key, value in fields.items() if value not in (None, "", [], {}, ())}
    if full.get("degraded") is False:
        del full["degraded"]
    fault = _fault(full)
    if fault:
        raise InvalidRequestError(f"not a record for the journal: {fault}")
    record = _sorted(full)
    if record["kind"] == "event":
        keys = ("time", "kind", *(key for key in record if key not in HEAD))
        _known_events[keys] = itemgetter(*(key for key in keys if key not in _NOT_TEXT))
    return record


def _sorted(record: Mapping[str, Any]) -> dict[str, Any]:
    order: tuple[str, ...] = HEAD + FIELDS[record["kind"]]
    return {key: record[key] for key in order if key in record}


def _encode(record: Mapping[str, Any]) -> bytes:
    try:
        line = _compact()(record)
    except (TypeError, UnicodeEncodeError):  # a lone surrogate: not UTF-8
        line = b""
    if 0 < len(line) <= TEXT_LIMIT and line.isascii() and _DELETE not in line:
        return line  # no text in it can be too long
    text = json.dumps(_clipped(record), separators=(",", ":"), allow_nan=False)
    return text.replace(chr(_DELETE), "\\u007f").encode("ascii")


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        return _clip(value)
    if isinstance(value, Mapping):
        return {_clip(key): _clipped(item) for key, item in value.items()}
    return [_clipped(item) for item in value] if isinstance(value, list | tuple) else value


def _clip(text: str) -> str:
    text = _SURROGATE.sub("\ufffd", text)
    over = len(text) - TEXT_LIMIT
    if over <= 0 or _CLIPPED.fullmatch(text, TEXT_LIMIT):
        return text
    return f"{text[:TEXT_LIMIT]}…(+{over})"


@functools.cache
def _compact() -> Callable[[Any], bytes]:
    """orjson's encoder, or the standard one: what passes `encode` is the same from both."""
    try:
        import orjson
    except ImportError:
        return _standard
    return orjson.dumps


def _standard(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


@functools.cache
def _loads() -> Callable[[bytes], Any]:
    try:
        import orjson
    except ImportError:
        return json.loads
    return orjson.loads


def _fault(record: object) -> str | None:
    """What is wrong with a record, in words that hold nothing of it."""
    if not isinstance(record, dict):
        return "it is not an object"
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in FIELDS:
        return "its kind is unknown"
    if record.keys() - {*HEAD, *FIELDS[kind]}:
        return f"a record of kind {kind} has a field it does not know"
    lacking = sorted(_NEEDED[kind] - record.keys())
    if lacking:
        return f"a record of kind {kind} lacks {', '.join(lacking)}"
    wrong = [key for key, value in record.items() if not _TYPES.get(key, _is_text)(value)]
    return f"{', '.join(wrong)} has the wrong type" if wrong else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _BIGGEST


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _is_hex(digits: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and len(value) == digits and bool(_HEX.fullmatch(value))


def _is_actor(value: object) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    known = [key for key in ("uid", "how", "sealed") if key in value]
    return list(value) == known and all(_is_text(item) for item in value.values())


def _are_reads(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_read, value))


def _is_read(value: object) -> bool:
    if not isinstance(value, list) or len(value) != len(("name", "version", "count")):
        return False
    name, version, count = value
    return isinstance(name, str) and isinstance(version, str) and _is_count(count)


def _is_map(of: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and bool(value) and all(map(of, value.values()))


def _is_fact(value: object) -> bool:
    return isinstance(value, str | bool) or (type(value) is int and abs(value) <= _BIGGEST)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "v": lambda value: type(value) is int and value == VERSION,
    "chain": _is_hex(32),
    "seq": _is_count,
    "prev": _is_hex(64),
    "time": _is_time,
    "mono": _is_count,
    "pid": _is_count,
    "phase": lambda value: value in _PHASES,
    "performed": lambda value: isinstance(value, bool),
    "degraded": lambda value: value is True,
    "actor": _is_actor,
    "since": _is_time,
    "until": _is_time,
    "at": _is_time,
    "reads": _are_reads,
    "lost": _is_count,
    "count": _is_count,
    "ops": _is_map(_is_count),
    "records": _are_texts,
    "facts": _is_map(_is_fact),
}
"""What is not here is text."""
