"""Records of every kind, as a journal would hold them, and names that would like to be more than names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hypothesis import strategies as st

from strongroom.audit.record import FIELDS, encode, parse
from strongroom.audit.sinks.base import Entry

CHAIN: Final = "0123456789abcdef" * 2
SINCE: Final = "2026-11-23T11:59:00.000000000Z"
HEAD: Final = {
    "v": 1,
    "chain": CHAIN,
    "seq": 7,
    "prev": "ab" * 32,
    "time": "2026-11-23T12:00:00.123456000Z",
    "mono": 9,
}
ACTOR: Final = {"uid": "5f" * 16, "how": "kubernetes", "sealed": "c2VhbGVk"}

FULL: Final[Mapping[str, Mapping[str, Any]]] = {
    "chain": {"library": "strongroom 0.1.0", "host": "build-7", "pid": 4242},
    "adopt": {"library": "strongroom 0.1.0", "host": "build-7", "pid": 4343},
    "event": {
        "phase": "outcome",
        "op": "get",
        "name": "db/password",
        "cid": "c1" * 16,
        "store": "prod",
        "backend": "aws-sm://eu-west-1",
        "location": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db/password",
        "version": "v-12",
        "stage": "current",
        "rotation_id": "0d9c3a34-9a1c-4a37-8a6a-2f8a3b9f0c11",
        "outcome": "PermissionDeniedError",
        "performed": False,
        "request_id": "req-77",
        "trace": f"00-{'4b' * 16}-{'a3' * 8}-01",
        "actor": ACTOR,
        "degraded": True,
    },
    "reads": {
        "store": "prod",
        "since": SINCE,
        "reads": [["db/password", "v-12", 40], ["api", "", 2]],
        "actor": ACTOR,
    },
    "recovery": {"lost": 117},
    "gap": {
        "since": SINCE,
        "until": HEAD["time"],
        "count": 3,
        "ops": {"get": 2, "put": 1},
        "reason": "disk full",
    },
    "segment": {"next": "00000002.jsonl"},
    "detection": {
        "rule": "denied-burst",
        "severity": "high",
        "title": "Many refusals",
        "at": SINCE,
        "records": [f"{CHAIN}:3", f"{CHAIN}:4"],
        "facts": {"count": 20, "name": "db/password", "known": False},
    },
    "suppression": {
        "rule": "denied-burst",
        "until": "2026-11-24T00:00:00.000000000Z",
        "reason": "a drill",
        "actor": ACTOR,
        "facts": {"name": "db/password"},
    },
    "skipped": {"sink": "siem", "from": f"{CHAIN}:1", "to": f"{CHAIN}:5", "count": 5},
}


def record(kind: str = "event", **fields: Any) -> dict[str, Any]:
    """A record with every field its kind can have, but for those given; None leaves one out."""
    given = {**HEAD, "kind": kind, **FULL[kind], **fields}
    return parse(encode({key: value for key, value in given.items() if value is not None}))


def every_kind() -> list[dict[str, Any]]:
    """One full record of each kind, and the intent and success of an operation."""
    intent = record(
        phase="intent", outcome=None, performed=None, version=None, request_id=None, degraded=None
    )
    return [*map(record, FIELDS), intent, record(outcome="ok", degraded=None), record(seq=0, prev="00" * 32)]


_NASTY: Final = (
    "|=\\\r\n\t\0\x0b\x0c\x1b\x1c\x7f\x85\x9b\u200f\u2028\u2029\u202e\u2066\ufeff\U000e0041 \u00a0uU0123"
)
_FORGERIES: Final = (
    "x\nCEF:0|Strongroom|Strongroom Audit|0|get|forged|0|outcome=ok",
    "x\r\n<110>1 2026-11-23T12:00:00Z host strongroom - - - forged",
    'x"}\n{"v":1,"kind":"event","outcome":"ok"}',
    "x outcome=ok cs1=forged suser=root",
    "x\\ outcome=ok",
    "x\\\\\\= act=purge",
    "\x1b[2J\x1b[1;1H\x1b]0;title\x07\x9b2J",
    "admin\u202e\u2066nimda\u2069",
    "\\u000a\\\\u005cn",
    "a" * 10_000,
    "\u2028" * 10_000,
    "|=\\\n" * 2_500,
)

names: Final = st.one_of(
    st.text(
        st.one_of(st.sampled_from(_NASTY), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=60
    ),
    st.sampled_from(_FORGERIES),
)
"""Names with everything that ends a line, a field, or a reader's attention somewhere; some very long."""


def shorter(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a sink tells of a record whose receiver refuses its size, ever less."""
    line = json.dumps(found).encode()
    return (dict(short.fields) for short in Entry(line).shorter())
