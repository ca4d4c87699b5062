"""A journal of an ordinary fortnight with an extraordinary night in it, as a report would be made of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from strongroom.audit.actor import Actor
from strongroom.audit.checkpoint import Checkpointer
from strongroom.audit.journal import Journal
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.audit.record import stamp
from strongroom.audit.subjects import Subjects
from strongroom.testing.clock import FakeClock

START: Final = datetime(2026, 11, 9, tzinfo=UTC)
SERVICES: Final = {
    "arn:aws:iam::111122223333:role/ledger": ("db/ledger", "db/reporting", "smtp/password"),
    "arn:aws:iam::111122223333:role/trading": ("exchange/binance", "exchange/kraken", "db/orders"),
    "system:serviceaccount:prod:payments": ("psp/api-key", "db/payments", "webhooks/psp"),
}
PEOPLE: Final = ("ada@example.com", "grace@example.com")
HOSTILE: Final = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "a\r\nb\u202egnp.exe\x00\u2028",
    "{{7*7}}</style></script><!--",
    "n" * 10_000,
)


class Fortnight(NamedTuple):
    """The journal.

    Attributes:
        path: its folder.
        key: the key that verifies its checkpoints.
        anchor: a checkpoint that was kept elsewhere, of all but its end.
    """

    path: Path
    key: str
    anchor: Path


def fortnight(folder: Path, per_day: int = 24, names: tuple[str, ...] = ()) -> Fortnight:
    """Make it in `folder`: so many reads on a working day, and each further name used once."""
    path = folder / "journal"
    journal, subjects = (
        Journal.open(path, origin="audit.example.com/prod", clock=FakeClock(START)),
        Subjects(path),
    )
    create_note_key(folder / "note.key", "audit.example.com/prod")
    checkpoints = Checkpointer(path, FileSigner.open(folder / "note.key"), clock=FakeClock(_at(13, 23)))
    try:
        for fields in _records(subjects, per_day, names):
            journal.append(fields, durable=False)
        journal.flush()
        made = checkpoints.checkpoint()
        assert made
        (folder / "anchor").write_text(made.note)
        for at in range(1, 10):
            journal.append(_event("get", "db/ledger", _at(13, 23, at)), durable=False)
        journal.flush()
        return Fortnight(path, str(checkpoints.key), folder / "anchor")
    finally:
        checkpoints.close()
        subjects.close()
        journal.close()


def _at(day: int, hour: int, minute: int = 0) -> datetime:
    return START + timedelta(days=day, hours=hour, minutes=minute)


def _event(operation: str, name: str, at: datetime, **more: Any) -> dict[str, Any]:
    told = {
        "outcome": "ok",
        "store": "prod",
        "backend": "aws-sm://eu-west-1",
        "cid": f"{at:%d%H%M%S}",
        **more,
    }
    return {"time": stamp(at), "kind": "event", "phase": "outcome", "op": operation, "name": name, **told}


def _records(subjects: Subjects, per_day: int, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    chance = random.Random(6)
    actors = {who: dict(subjects.seal(Actor(who))) for who in (*SERVICES, *PEOPLE, "mallory@example.com")}
    for day in range(14):
        share = 1 if day % 7 < 5 else 0.4
        for _ in range(int(per_day * share)):
            who = chance.choices(list(SERVICES), [5, 9, 3])[0]
            hour = min(23, max(0, round(chance.gauss(13, 4))))
            yield _use(
                chance.choice(SERVICES[who]), actors[who], _at(day, hour, chance.randrange(60)), chance
            )
        if day % 7 == 2:
            yield from _rotation(actors[PEOPLE[0]], _at(day, 9, 30))
    yield from _night(actors["mallory@example.com"], _at(11, 2, 40))
    for minute, name in enumerate(names):
        yield _event("get", name, _at(12, 12, minute), actor=actors[PEOPLE[1]])
    yield _event("put", "db/ledger", _at(12, 15), phase="intent", outcome="")
    gap = {"since": stamp(_at(12, 16)), "until": stamp(_at(12, 17)), "count": 3, "ops": {"get": 3}}
    yield {"time": stamp(_at(12, 17)), "kind": "gap", **gap, "reason": "disk full"}


def _use(name: str, actor: dict[str, str], at: datetime, chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.6:
        reads = [[name, "v1", chance.randrange(1, 12)]]
        return {"time": stamp(at), "kind": "reads", "store": "prod", "since": stamp(at), "reads": reads,
                "actor": actor}  # fmt: skip
    outcome = chance.choices(["ok", "UnavailableError", "SecretNotFoundError"], [60, 2, 1])[0]
    return _event("get", name, at, actor=actor, outcome=outcome)


def _rotation(actor: dict[str, str], at: datetime) -> Iterator[dict[str, Any]]:
    for step, operation in enumerate(("pending.put", "pending.get", "pending.promote")):
        yield _event(operation, "db/ledger", at + timedelta(minutes=step), actor=actor)


def _night(actor: dict[str, str], at: datetime) -> Iterator[dict[str, Any]]:
    for second in range(14):
        yield _event(
            "get", f"exchange/cold-{second:02}", at + timedelta(seconds=7 * second), actor=actor,
            outcome="PermissionDeniedError", performed=False,
        )  # fmt: skip
    found = {
        "rule": "denied-burst", "severity": "high", "title": "Burst of refused operations",
        "records": [f"{'ab' * 16}:{seq}" for seq in (7, 8, 9)], "facts": {"count": 14, "store": "prod"},
    }  # fmt: skip
    yield {"time": stamp(at + timedelta(minutes=3)), "kind": "detection", "at": stamp(at), **found}
    found = {"rule": "off-hours", "severity": "medium", "title": "Access outside of working hours"}
    yield {"time": stamp(at + timedelta(minutes=4)), "kind": "detection", "at": stamp(at), **found}
    muted = {"rule": "off-hours", "until": stamp(at + timedelta(days=1)), "reason": "on call tonight"}
    yield {"time": stamp(at + timedelta(minutes=5)), "kind": "suppression", "actor": actor, **muted}
