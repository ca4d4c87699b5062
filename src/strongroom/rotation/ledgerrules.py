"""What may become of a ledger's record: pure functions, the same for every ledger.

Each takes the record as it is found under a lock, or to be written back under compare-and-set, and gives the
one to write. What it gives for its own result is that result: a call whose answer was lost may be repeated.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import InvalidRequestError, SecretNotFoundError

from .ledger import (
    BY_HAND,
    CLOSED,
    LEASE_LIMIT,
    LEASE_SECONDS,
    PROMOTED,
    Entry,
    InProgressError,
    OvertakenError,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

HOOK_LIMIT: Final = timedelta(seconds=LEASE_SECONDS)
"""What a hook may take beyond the end of its worker's lease: a hook is shorter than the lease."""
CHANGES: Final = frozenset(["base", "version", "due", "attempts", "replaced", "error", "facts"])
FACTS_LIMIT, TEXT_LIMIT = 32, 512

Due = datetime | timedelta


def begun(
    rotation_id: str,
    secret: str,
    now: datetime,
    *,
    base: str | None,
    tick: datetime | None,
    others: Iterable[Entry],
) -> Entry:
    """The first record of a rotation.

    Args:
        others: records of this secret, at least the open one and all whose quiet time has not passed.
    """
    for other in others:
        if other.state.open:
            raise InProgressError(f"rotation {other.id} of {secret} is open", rotation_id=other.id)
        if other.quiet_until and other.quiet_until > now:
            raise InProgressError(
                f"a worker of rotation {other.id} of {secret} was overtaken and may not have stopped yet",
                rotation_id=other.id,
                retryable=True,
                retry_after=(other.quiet_until - now).total_seconds(),
            )
    return Entry(rotation_id, secret, State.STARTED, 0, now, now, now, base=base, tick=tick)


def same_secret(entry: Entry, secret: str) -> Entry:
    """The record that a repeated `begin` found."""
    if entry.secret != secret:
        raise InvalidRequestError(f"rotation id {entry.id} is of another secret", hint="use a new UUID")
    return entry


def check_tick(tick: datetime | None, next_due: datetime | None) -> None:
    """That the schedule still waits for a tick."""
    if tick is not None and tick != next_due:
        raise OvertakenError("another worker has begun this tick")


def found(entry: Entry | None, rotation_id: str) -> Entry:
    """A record that must be there."""
    if entry is None:
        raise SecretNotFoundError(f"the ledger has no rotation {rotation_id}")
    return entry


def claimable(entry: Entry, now: datetime) -> bool:
    """Whether a worker may take it over, due or not."""
    return workable(entry.state) and (entry.lease_until is None or entry.lease_until <= now)


def workable(state: State) -> bool:
    """Whether workers move it on, not a person."""
    return state not in CLOSED and state not in BY_HAND


def claimed(entry: Entry, now: datetime, seconds: float, token: str) -> Entry | None:
    """Taken over under a new epoch; as it is if nobody may; None while another has it."""
    if not workable(entry.state) or entry.token == token:
        return entry
    if not claimable(entry, now):
        return None
    return replace(
        entry,
        epoch=entry.epoch + 1,
        lease_until=lease_end(now, seconds),
        quiet_until=_quiet(entry),
        token=token,
    )


def lease_end(now: datetime, seconds: float) -> datetime:
    """When a lease ends that is given now."""
    if not 0 < seconds <= LEASE_LIMIT:
        raise InvalidRequestError(f"a lease is above 0 and at most {LEASE_LIMIT:.0f} s long")
    return now + timedelta(seconds=seconds)


def renewed(mine: Entry, entry: Entry | None, now: datetime, seconds: float) -> Entry:
    """With a lease from now on; one that was longer is not cut."""
    held = _mine(mine, entry)
    assert held.lease_until
    return replace(held, lease_until=max(held.lease_until, lease_end(now, seconds)))


def recorded(mine: Entry, entry: Entry | None, now: datetime, state: State, changes: dict[str, Any]) -> Entry:
    """Moved on by its worker."""
    if entry and _repeats(mine, entry, state):
        return entry
    held = _mine(mine, entry)
    if held.state not in (mine.state, state):
        raise _overtaken(mine)
    return _changed(held, now, state, changes)


def released(
    mine: Entry, entry: Entry | None, now: datetime, due: Due | None, changes: dict[str, Any]
) -> Entry | None:
    """Given back by its worker; None if it is not the worker's any more."""
    if entry is None or not _is_mine(mine, entry):
        return None
    changes = changes if due is None else changes | {"due": due}
    return replace(_changed(entry, now, entry.state, changes), lease_until=None)


def moved(
    entry: Entry,
    now: datetime,
    states: Collection[State],
    to: State,
    epoch: int | None,
    token: str,
    changes: dict[str, Any],
) -> Entry:
    """Moved by a person, over the head of whoever has it."""
    if entry.token == token:
        return entry
    if entry.state not in states or epoch not in (None, entry.epoch):
        raise OvertakenError(f"rotation {entry.id} of {entry.secret} is {entry.state.value}")
    if not entry.state.open:
        raise InvalidRequestError(f"rotation {entry.id} is {entry.state.value}, which is final")
    after = _changed(entry, now, to, {"due": now} | changes)
    return replace(after, epoch=entry.epoch + 1, lease_until=None, quiet_until=_quiet(entry), token=token)


def may_purge(entry: Entry, before: datetime, now: datetime) -> bool:
    """Whether a record may be forgotten."""
    quiet = entry.quiet_until is None or entry.quiet_until <= now
    return not entry.state.open and entry.updated < before and quiet


def _changed(entry: Entry, now: datetime, state: State, changes: dict[str, Any]) -> Entry:
    changes = _checked(changes, now)
    if state is not entry.state and state is not State.ORPHANED:
        changes = {"attempts": 0, "error": None} | changes
    return replace(
        entry,
        state=state,
        updated=now,
        lease_until=entry.lease_until if state.open else None,
        promoted=entry.promoted or (now if state in PROMOTED else None),
        proved=_proved(entry, state),
        **changes,
    )


def _proved(entry: Entry, state: State) -> State | None:
    if state is not State.ORPHANED:
        return None
    return entry.proved if entry.state is State.ORPHANED else entry.state


def _checked(changes: dict[str, Any], now: datetime) -> dict[str, Any]:
    """▲ What a rotator gives as a fact could be a value: only short text is taken, never a SecretValue."""
    unknown = changes.keys() - CHANGES
    if unknown:
        raise TypeError(f"a record has no changeable {', '.join(sorted(unknown))}")
    facts = changes.get("facts") or {}
    texts = [*facts, *facts.values(), *(changes.get(name) for name in ("base", "version", "error"))]
    if len(facts) > FACTS_LIMIT or not all(map(_is_short, texts)):
        raise InvalidRequestError(
            f"a ledger keeps at most {FACTS_LIMIT} facts, and identifiers of at most {TEXT_LIMIT} characters"
        )
    due = changes.get("due")
    return changes | {"due": now + due} if isinstance(due, timedelta) else changes


def _is_short(text: object) -> bool:
    return text is None or (type(text) is str and len(text) <= TEXT_LIMIT)


def _quiet(entry: Entry) -> datetime | None:
    """Until when the worker that it is taken from may be in a hook."""
    if entry.lease_until is None:
        return entry.quiet_until
    ends = entry.lease_until + HOOK_LIMIT
    return max(ends, entry.quiet_until or ends)


def _repeats(mine: Entry, entry: Entry, state: State) -> bool:
    """Whether this closed it already: its lease ended with it."""
    return _same(entry, mine) and entry.state is state and not state.open


def _mine(mine: Entry, entry: Entry | None) -> Entry:
    if entry is None or not _is_mine(mine, entry):
        raise _overtaken(mine)
    return entry


def _is_mine(mine: Entry, entry: Entry) -> bool:
    return _same(entry, mine) and entry.lease_until is not None


def _same(entry: Entry, mine: Entry) -> bool:
    """An id that was forgotten may begin anew, of another secret and from the first epoch."""
    return (entry.secret, entry.epoch) == (mine.secret, mine.epoch)


def _overtaken(mine: Entry) -> OvertakenError:
    return OvertakenError(
        f"rotation {mine.id} of {mine.secret} was taken over", hint="stop; it goes on elsewhere"
    )
