"""Records as lines of ArcSight's Common Event Format, version 0 (Implementing CEF, version 25).

CEF can say ``| = \\ CR LF`` and nothing else that is not printable. The rest is written as `visible` does it,
so a line of ours is one line to every reader and the text can be had back: unescape as CEF says, then read
``\\uXXXX`` as JSON would.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from .activities import CRITICAL, HIGH, INFORMATIONAL, LOW, MEDIUM
from .rendering import PRODUCT, milliseconds, product_version, words
from .visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rendering import Facts

_SEVERITIES: Final = {INFORMATIONAL: 1, LOW: 3, MEDIUM: 6, HIGH: 8, CRITICAL: 10}
_CUSTOM: Final = (
    ("cs1", "record"),
    ("cs2", "name"),
    ("cs3", "version"),
    ("cs4", "store"),
    ("cs5", "correlation"),
    ("cs6", "location"),
)
_TOLD: Final = words(
    "v chain seq time kind op name version store cid location outcome phase host pid since until actor rule "
    "title count reason"
)
_SAID_IN_MSG: Final = frozenset(("detection", "suppression", "gap", "recovery", "skipped"))
_PREFIX: Final = f"{PRODUCT}Audit"
"""CEF asks for the vendor's and the product's name before a key that is not in its dictionary."""


def cef(facts: Facts) -> str:
    """The line, without its end."""
    record = facts.record
    signature = record.get("op") or record.get("rule") or record["kind"]
    name = " ".join(filter(None, (record["kind"], record.get("op"), record.get("phase"))))
    header = (PRODUCT, f"{PRODUCT} Audit", product_version(), signature, name)
    extension = " ".join(f"{key}={_value(value)}" for key, value in _extension(facts))
    return "|".join(("CEF:0", *map(_header, header), str(_SEVERITIES[facts.severity]), extension))


def _extension(facts: Facts) -> Iterator[tuple[str, Any]]:
    pairs = (*_standard(facts), *_custom(facts), *_own(facts))
    return ((key, value) for key, value in pairs if value not in (None, "", [], {}))


def _standard(facts: Facts) -> Iterator[tuple[str, Any]]:
    """Keys of CEF's dictionary."""
    record = facts.record
    yield "rt", milliseconds(record["time"])
    yield "cat", record.get("phase") or record["kind"]
    yield "act", record.get("op") or ("get" if record["kind"] == "reads" else "")
    yield "outcome", record.get("outcome")
    yield "dvchost", facts.host
    yield "dvcpid", record.get("pid")
    yield "suid", record.get("actor", {}).get("uid")
    if facts.actor:
        yield "suser", facts.actor.principal
        yield from _address(facts.actor.address, facts.ip)
    yield "start", milliseconds(record["since"]) if "since" in record else None
    yield "end", milliseconds(record["until"]) if "until" in record else None
    yield "cnt", sum(read["count"] for read in facts.reads) or record.get("count")
    yield "reason", record.get("reason")
    yield "msg", facts.message if record["kind"] in _SAID_IN_MSG else ""


def _address(address: str, ip: str) -> Iterator[tuple[str, str]]:
    """`src` takes version 4 of the protocol alone; what is no address is a host."""
    if ":" in ip:
        yield "c6a2", ip
        yield "c6a2Label", "Source IPv6 Address"
    else:
        yield ("src" if ip else "shost"), address


def _custom(facts: Facts) -> Iterator[tuple[str, Any]]:
    """The six texts that CEF lets a product name."""
    known = {**facts.record, "record": facts.id, "correlation": facts.record.get("cid")}
    for key, label in _CUSTOM:
        if known.get(label):
            yield key, known[label]
            yield f"{key}Label", label


def _own(facts: Facts) -> Iterator[tuple[str, Any]]:
    """What is left, under names of our own."""
    yield f"{_PREFIX}Leaf", facts.leaf
    if facts.actor:
        yield f"{_PREFIX}ActorName", facts.actor.name
    for key, value in facts.rest(_TOLD).items():
        yield _PREFIX + "".join(part.capitalize() for part in key.split("_")), value


def _value(value: Any) -> str:
    if isinstance(value, bool | dict | list):
        value = json.dumps(value, separators=(",", ":"))
    text = visible(str(value), keep="\r\n").replace("\\", "\\\\").replace("=", "\\=")
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _header(value: str) -> str:
    return visible(value).replace("\\", "\\\\").replace("|", "\\|")
