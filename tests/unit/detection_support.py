"""Scenes for the detections: records as a journal's writers would write them, on a clock of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from strongroom.audit.detect.engine import Detection, Engine
from strongroom.audit.detect.settings import DetectSettings
from strongroom.audit.detect.sigma import load_rules
from strongroom.audit.detect.spans import since_epoch
from strongroom.audit.detect.state import State
from strongroom.audit.record import GENESIS, encode, leaf_hash, stamp

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
OFFICE = {"timezone": "Europe/Zurich", "days": "mon-fri", "hours": "07:00-19:00", "holidays": ["2026-04-03"]}
RULES = load_rules()


class Scene:
    """Writes records to one chain, each a moment after the one before it."""

    def __init__(self, start: datetime = MONDAY, chain: int = 1):
        self.now, self.chain = start, f"{chain:032x}"
        self.records: list[dict[str, Any]] = []
        self._cids = itertools.count(1)
        self._prev = GENESIS
        self.add("chain", library="strongroom 0.1.0", host="app-1", pid=4711)

    def wait(self, **span: float) -> Scene:
        """Let time pass."""
        self.now += timedelta(**span)
        return self

    def at(self, moment: datetime) -> Scene:
        """Go to a moment."""
        self.now = moment
        return self

    def add(self, kind: str, **fields: Any) -> None:
        """One record."""
        self.now += timedelta(milliseconds=1)
        head = {"v": 1, "chain": self.chain, "seq": len(self.records), "prev": self._prev}
        told = {key: value for key, value in fields.items() if value}
        record = {**head, "time": stamp(self.now), "mono": len(self.records) + 1, "kind": kind, **told}
        self._prev = leaf_hash(encode(record)).hex()
        self.records.append(record)

    def does(self, actor: str, op: str, name: str, outcome: str = "ok", **fields: Any) -> None:
        """An operation: its intent and its outcome. Fields with an underscore stand in the outcome alone."""
        store = fields.pop("store", "prod")
        asked = {key: value for key, value in fields.items() if not key.startswith("_")}
        answered = {key.lstrip("_"): value for key, value in fields.items()}
        event = {"op": op, "name": name, "cid": f"{self.chain[-4:]}{next(self._cids):028x}", "store": store}
        who = {"actor": {"uid": actor, "how": "explicit", "sealed": "c2VhbGVk"}} if actor else {}
        self.add("event", phase="intent", **event, **asked, **who)
        if outcome:
            self.add("event", phase="outcome", **event, **answered, outcome=outcome, **who)

    def reads(self, actor: str, name: str, version: str = "v1", outcome: str = "ok", **fields: Any) -> None:
        """A read of the current value that asked the provider."""
        self.does(actor, "get", name, outcome, stage="current", _version=version, **fields)

    def puts(self, actor: str, name: str, version: str) -> None:
        """A new version."""
        self.does(actor, "put", name, _version=version)

    def rotates(self, actor: str, name: str, version: str) -> None:
        """A rotation's end: the pending version becomes current."""
        rotation = "0c9f6c43-7a3a-4b8e-9a7e-3f1f6a5f0001"
        self.does(actor, "pending.promote", name, _version=version, rotation_id=rotation)

    def warm(self, actor: str, *reads: tuple[str, str, int]) -> None:
        """Accounted reads from the cache."""
        who = {"actor": {"uid": actor, "how": "explicit", "sealed": "c2VhbGVk"}}
        since = stamp(self.now - timedelta(seconds=1))
        self.add("reads", store="prod", since=since, reads=[list(read) for read in reads], **who)

    def lines(self) -> bytes:
        """The chain's segment."""
        return b"".join(encode(record) + b"\n" for record in self.records)


def merged(*scenes: Scene) -> list[dict[str, Any]]:
    """The records of several chains, by time."""
    records = itertools.chain.from_iterable(scene.records for scene in scenes)
    return sorted(records, key=lambda record: (record["time"], record["chain"], record["seq"]))


def engine(**settings: Any) -> Engine:
    """An engine that remembers nothing yet; by default it does not learn."""
    return Engine(RULES, State(), DetectSettings.parse({"learn": 0, **settings}))


def judged(
    records: Iterable[dict[str, Any]],
    until: datetime | None = None,
    using: Engine | None = None,
    **settings: Any,
) -> list[Detection]:
    """What an engine finds in records."""
    judge = using or engine(**settings)
    found = []
    for record in records:
        found += judge.take(f"{record['chain']}:{record['seq']}", record)
    return found + (judge.advance(since_epoch(until)) if until else [])
