"""PROTOCOLS section 1 as code: a pending value in a companion, over KV version 2.

The right form is `Pending`, `rotate` and `put_if`. Each broken form is an older or more obvious design that
replaces one step; the tests show what the checker finds in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable

from tests.models.kv2 import COMPANION, KV, SECRET, Done, Found, Held, Value
from tests.models.ledger import ConflictError, UnknownError
from tests.models.replay import Port, Program

SUPERSEDED = "superseded"
DISCARDED = "discarded"


class Pending:
    """The pending value of one rotation."""

    def __init__(self, kv: KV, rotation: str) -> None:
        self.kv = kv
        self.rotation = rotation

    def frame(self) -> tuple[Found | None, Held | Done | None]:
        found = self.kv.read(COMPANION)
        data = found.data if found else None
        return found, data if isinstance(data, Held | Done) else None

    def started(self) -> bool:
        frame = self.frame()[1]
        return frame is not None and frame.rotation == self.rotation

    def put(self, text: str, base: int) -> None:
        found, frame = self.frame()
        if isinstance(frame, Held) or (frame and frame.rotation == self.rotation):
            if frame == Held(self.rotation, base, text):
                return
            raise ConflictError("held by another id or value, or ended")
        self.expect(base)
        self.hold(Held(self.rotation, base, text), found.number if found else 0)

    def expect(self, base: int) -> None:
        """Current must still be the base, read AFTER the companion: a worker of a rotation long over, which
        no frame remembers, cannot then take the companion (see `HoldsOverAnyBase`)."""
        current = self.kv.read(SECRET)
        if current is None or current.number != base:
            raise ConflictError("the base is no longer current")

    def hold(self, held: Held, cas: int) -> None:
        try:
            self.kv.put(COMPANION, held, cas)
        except UnknownError:
            if self.frame()[1] != held:
                raise

    def promote(self) -> Hashable:
        found, frame = self.frame()
        if frame is None or found is None or frame.rotation != self.rotation:
            raise ConflictError("not held")
        if isinstance(frame, Done):
            outcome = self.resume(found, frame)
        else:
            outcome = self.finish(found, frame, self.move(frame))
        self.record(outcome)
        return outcome

    def resume(self, found: Found, done: Done) -> Hashable:
        """Whoever wrote `done` may have stopped before destroying the value it took over."""
        self.kv.destroy(COMPANION, found.number - 1)
        return done.outcome

    def move(self, held: Held) -> Hashable:
        """Writes the secret over the base; the number of the promoted version, or SUPERSEDED."""
        try:
            return self.kv.put(SECRET, Value(held.text, self.rotation, held.base), held.base)
        except (ConflictError, UnknownError):
            pass
        return self.moved(held)

    def moved(self, held: Held) -> Hashable:
        after = self.kv.read(SECRET, held.base + 1)
        if after is None:
            raise UnknownError
        same = isinstance(after.data, Value) and after.data.text == held.text
        return after.number if same else SUPERSEDED

    def finish(self, found: Found, held: Held, outcome: Hashable) -> Hashable:
        try:
            self.kv.put(COMPANION, Done(held.rotation, outcome), found.number)
        except (ConflictError, UnknownError):
            frame = self.frame()[1]
            if not isinstance(frame, Done) or frame.rotation != self.rotation:
                raise UnknownError from None
            outcome = frame.outcome
        self.kv.destroy(COMPANION, found.number)
        return outcome

    def record(self, outcome: Hashable) -> None:
        with contextlib.suppress(ConflictError):
            self.kv.advance(self.rotation, "none", outcome)

    def discard(self) -> Hashable:
        """Ends the rotation without promoting it; a promote that was still on its way then fails."""
        found, frame = self.frame()
        if not isinstance(frame, Held) or found is None or frame.rotation != self.rotation:
            raise ConflictError("not held")
        if self.fence(frame):
            raise ConflictError("promoted already")
        return self.finish(found, frame, DISCARDED)

    def fence(self, held: Held) -> bool:
        """Writes current's value anew over the base, so that a late promote fails; True if promoted
        already."""
        base = self.kv.read(SECRET, held.base)
        assert base is not None
        assert isinstance(base.data, Value)
        try:
            self.kv.put(SECRET, Value(base.data.text, f"fence {self.rotation}", held.base), held.base)
        except (ConflictError, UnknownError):
            return self.moved(held) != SUPERSEDED
        return False


PendingClass = Callable[[KV, str], Pending]


def rotate(kv: KV, pending: Pending, text: str) -> None:
    """The base is read BEFORE the ledger is asked: should the rotation end while this worker is paused, its
    base is no longer current, and it cannot start the rotation a second time (see `rotate_ledger_first`)."""
    base = kv.read(SECRET)
    assert base is not None
    if kv.ledger(pending.rotation) != "none":
        return
    if not pending.started():
        pending.put(text, base.number)
    pending.promote()


def rotate_ledger_first(kv: KV, pending: Pending, text: str) -> None:
    if kv.ledger(pending.rotation) != "none":
        return
    if not pending.started():
        base = kv.read(SECRET)
        assert base is not None
        pending.put(text, base.number)
    pending.promote()


def put_if(kv: KV, value: Value, number: int) -> str:
    """`put(if_version=number)`: a conflict only if no write of ours had an unknown outcome."""
    try:
        return f"ok {kv.put(SECRET, value, number)}"
    except ConflictError:
        return "conflict"
    except UnknownError:
        after = kv.read(SECRET, number + 1)
        return f"ok {number + 1}" if after and after.data == value else "unknown"


def worker(
    name: str, *rotations: str, pending: PendingClass = Pending, rotate: Callable[..., None] = rotate
) -> Program:
    """Runs rotations one after another; after a crash it would make another value, never the same again."""

    def program(port: Port) -> str:
        kv = KV(port)
        try:
            for rotation in rotations:
                rotate(kv, pending(kv, rotation), f"{rotation} by {name}{port.run}")
        except (ConflictError, UnknownError) as error:
            return type(error).__name__
        return "ended"

    return program


def discarder(rotation: str, pending: PendingClass = Pending) -> Program:
    def program(port: Port) -> str:
        try:
            return str(pending(KV(port), rotation).discard())
        except ConflictError:
            return "refused"
        except UnknownError as error:
            return type(error).__name__

    return program


def writer(name: str, put: Callable[[KV, Value, int], str] = put_if) -> Program:
    """A foreign or Strongroom writer: reads current and writes over exactly that version."""

    def program(port: Port) -> str:
        kv = KV(port)
        seen = kv.read(SECRET)
        number = seen.number if seen else 0
        return put(kv, Value(name, name, number), number)

    return program


class DeletesCompanion(Pending):
    """Obvious: a promoted companion has done its work, so delete it."""

    def finish(self, found: Found, held: Held, outcome: Hashable) -> Hashable:
        self.kv.purge(COMPANION)
        return outcome


class PromotesBlindly(Pending):
    """Obvious: promote is a put."""

    def move(self, held: Held) -> Hashable:
        try:
            return self.kv.put(SECRET, Value(held.text, self.rotation, held.base), None)
        except UnknownError:
            return self.moved(held)


class HoldsOverAnyBase(Pending):
    """Obvious: the base will be compared when promoting, so why now."""

    def expect(self, base: int) -> None:
        pass


class LeavesValueBehind(Pending):
    """As first written: destroy the companion version that was read, and if done already, just say so."""

    def resume(self, found: Found, done: Done) -> Hashable:
        return done.outcome


class ComparesWithCurrent(Pending):
    """Obvious: promoted means that current is the pending value."""

    def moved(self, held: Held) -> Hashable:
        current = self.kv.read(SECRET)
        assert current is not None
        if current.number == held.base:
            raise UnknownError
        same = isinstance(current.data, Value) and current.data.text == held.text
        return current.number if same else SUPERSEDED


class RetriesForEver(Pending):
    """Obvious: a promote that did not match is tried again over what is current now."""

    def moved(self, held: Held) -> Hashable:
        current = self.kv.read(SECRET)
        assert current is not None
        return self.kv.put(SECRET, Value(held.text, self.rotation, held.base), current.number)


class DiscardsUnfenced(Pending):
    """Obvious: to discard is to mark the companion done."""

    def fence(self, held: Held) -> bool:
        return False


def put_retried(kv: KV, value: Value, number: int) -> str:
    """Obvious: an answer was lost, so send it again."""
    for _ in range(2):
        try:
            return f"ok {kv.put(SECRET, value, number)}"
        except ConflictError:
            return "conflict"
        except UnknownError:
            continue
    return "unknown"


def put_unconditional_retried(kv: KV, value: Value, number: int) -> str:
    for _ in range(2):
        try:
            return f"ok {kv.put(SECRET, value._replace(base=None), None)}"
        except UnknownError:
            continue
    return "unknown"


def put_with_life(kv: KV, value: Value, number: int, life: int) -> str:
    """`put(if_version="N.<created>")`: KV2 compares N alone, so the metadata is asked first whose N that
    is."""
    seen = kv.read(SECRET, number)
    if seen is None or seen.life != life:
        return "conflict"
    return put_if(kv, value, number)


def put_by_number(kv: KV, value: Value, number: int, life: int) -> str:
    """Obvious: `if_version` is the number that KV2 compares."""
    return put_if(kv, value, number)


def holder_of_old_version(put: Callable[[KV, Value, int, int], str]) -> Program:
    """Writes with an `if_version` it got from the first life's version 1."""

    def program(port: Port) -> str:
        return put(KV(port), Value("alice", "alice", (0, 1)), 1, 0)

    return program


def purger(port: Port) -> str:
    """Purges the secret and gives its name a new life."""
    kv = KV(port)
    try:
        kv.purge(SECRET)
    except UnknownError:
        return "unknown"
    return put_if(kv, Value("bob", "bob", (1, 0)), 0)


def purger_keeping_numbers(port: Port) -> str:
    """Purges by destroying every version and keeping the metadata, so that numbers never restart."""
    kv = KV(port)
    try:
        kv.destroy(SECRET, 1)
    except UnknownError:
        return "unknown"
    return put_if(kv, Value("bob", "bob", (0, 1)), 1)
