"""PROTOCOLS section 2 as code: writes with `if_version` and rotations by staging labels.

The right form is `put_if`, `put_absent` and `Rotation`; each broken form is an older or more obvious design
that replaces one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable

from tests.models.aws import CURRENT, PENDING, PREVIOUS, SecretsManager
from tests.models.ledger import NONE, ConflictError, UnknownError
from tests.models.replay import Port, Program

PROMOTED = "promoted"
SUPERSEDED = "superseded"
DISCARDED = "discarded"
OVERTAKEN = "superseded, current at most for a while"
HELD = "held"

MARK = "strongroom/"
TURN = "turn/"
"""Begins the id of the version that says whose turn it is to follow a base, and that rotation's label."""


def was_current(labels: dict[str, str], version: str) -> bool:
    return version in (labels.get(CURRENT), labels.get(PREVIOUS))


def put_if(sm: SecretsManager, token: str, text: str, base: str) -> str:
    """`put(if_version=base)`: a version under a private label, then AWSCURRENT moves to it from the base."""
    mark = MARK + token
    try:
        sm.put(token, text, mark)
    except UnknownError:
        if mark not in sm.describe():
            return "unknown"
    outcome = become_current(sm, token, base)
    if outcome != "unknown":
        unmark(sm, mark, token)
    return outcome


def become_current(sm: SecretsManager, token: str, base: str) -> str:
    try:
        sm.move(CURRENT, token, base)
        return "ok"
    except ConflictError:
        otherwise = "conflict"
    except UnknownError:
        otherwise = "unknown"
    return "ok" if was_current(sm.describe(), token) else otherwise


def unmark(sm: SecretsManager, label: str, version: str) -> None:
    """Takes a label off; that it is off already, or that the answer is lost, does no harm: sweeping finds
    it."""
    try:
        sm.move(label, None, version)
    except (ConflictError, UnknownError):
        return


def put_absent(sm: SecretsManager, token: str, text: str) -> str:
    """`put(if_version=ABSENT)` where the secret exists without a value: AWS gives AWSCURRENT to a first
    version, unasked and once, so the answer tells who was first."""
    mark = MARK + token
    try:
        first = CURRENT in sm.put(token, text, mark)
    except UnknownError:
        labels = sm.describe()
        if mark not in labels:
            return "unknown"
        first = was_current(labels, token)
    unmark(sm, mark, token)
    return "ok" if first else "conflict"


class Rotation:
    """One rotation; its id is the token, hence the version id, of its value."""

    def __init__(self, sm: SecretsManager, rotation: str) -> None:
        self.sm = sm
        self.rotation = rotation

    def run(self, text: str) -> Hashable:
        """The labels are read BEFORE the ledger, so that a base is never newer than the ledger's word."""
        labels = self.sm.describe()
        ended = self.sm.ledger(self.rotation)
        if ended == NONE:
            base = self.base(labels) or self.start(text, labels)
            ended = self.go_on(base) if self.has_turn(base) else SUPERSEDED
            self.end(ended)
        self.sweep()
        return ended

    def go_on(self, base: str) -> Hashable:
        self.announce(base)
        return self.promote(base)

    def hold(self, text: str) -> None:
        """What a rotation does until its caller is told that the value is held."""
        labels = self.sm.describe()
        if self.rival(labels):
            raise ConflictError("another is held")
        base = self.base(labels) or self.start(text, labels)
        if not self.has_turn(base) or not self.announce(base):
            raise ConflictError("another's turn, or the base is not current")

    def base(self, labels: dict[str, str]) -> str | None:
        """The base that was written into the private label: it must survive a crash."""
        return self.base_of(labels, self.rotation)

    @staticmethod
    def base_of(labels: dict[str, str], rotation: str) -> str | None:
        marks = [label for label in labels if label.startswith(f"{MARK}{rotation}/")]
        return marks[0].rpartition("/")[2] if marks else None

    def mark(self, base: str) -> str:
        return f"{MARK}{self.rotation}/{base}"

    def start(self, text: str, labels: dict[str, str]) -> str:
        base = labels.get(CURRENT)
        if base is None:
            raise ConflictError("no pending without a current")
        if CURRENT in self.sm.put(self.rotation, text, self.mark(base)):
            # Not an error: a repeat is answered with the labels of now, and another worker has promoted.
            raise ConflictError("ended meanwhile")
        return base

    def has_turn(self, base: str) -> bool:
        """One rotation may follow a base: the first to put its id as the version that the base names. A
        version's value never changes, so this decides what labels cannot."""
        try:
            self.sm.put(TURN + base, self.rotation, MARK + TURN + self.rotation)
        except ConflictError:
            return False
        return True

    def announce(self, base: str) -> bool:
        """AWSPENDING moves here, also from a version whose rotation is finished; False if the base is no
        longer current, so that the turn means nothing."""
        labels = self.sm.describe()
        if labels.get(PENDING) == self.rotation or was_current(labels, self.rotation):
            return True
        if self.rival(labels):
            raise ConflictError("another is held")
        if labels.get(CURRENT) != base:
            return False
        self.sm.move(PENDING, self.rotation, labels.get(PENDING))
        return True

    def rival(self, labels: dict[str, str]) -> bool:
        """Whether another's AWSPENDING or turn, whatever its base, belongs to a rotation that is not over."""
        turns = {label.removeprefix(MARK + TURN) for label in labels if label.startswith(MARK + TURN)}
        holders = {labels.get(PENDING)} | {turn for turn in turns if self.base_of(labels, turn)}
        return any(not self.finished(labels, holder) for holder in holders - {None, self.rotation} if holder)

    def finished(self, labels: dict[str, str], holder: str) -> bool:
        """Is or was current, or its rotation ended otherwise: a late move can set AWSPENDING after the
        end."""
        return was_current(labels, holder) or self.sm.ledger(holder) != NONE

    def promote(self, base: str) -> Hashable:
        with contextlib.suppress(ConflictError, UnknownError):
            self.sm.move(CURRENT, self.rotation, base)
            return PROMOTED
        return self.settled(base)

    def settled(self, base: str) -> Hashable:
        """Decides by the labels, whatever the move was answered."""
        labels = self.sm.describe()
        if was_current(labels, self.rotation):
            return PROMOTED
        if labels.get(CURRENT) == base:
            raise UnknownError
        # Two writes later no label tells whether the value ever was current; that it is not now is certain.
        return SUPERSEDED if labels.get(PREVIOUS) == base else OVERTAKEN

    def end(self, outcome: Hashable) -> None:
        unmark(self.sm, PENDING, self.rotation)
        self.sm.advance(self.rotation, NONE, outcome)

    def sweep(self) -> None:
        """The private label comes off only now that the ledger has the outcome."""
        base = self.base(self.sm.describe())
        if base is not None:
            self.sm.move(self.mark(base), None, self.rotation)
            unmark(self.sm, MARK + TURN + self.rotation, TURN + base)

    def discard(self) -> Hashable:
        labels = self.sm.describe()
        base = self.base(labels)
        if base is None or was_current(labels, self.rotation):
            raise ConflictError("nothing pending")
        if self.sm.read(TURN + base) in (None, self.rotation) and not self.fence(base):
            raise ConflictError("promoted already")
        self.end(DISCARDED)
        self.sweep()
        return DISCARDED

    def fence(self, base: str) -> bool:
        """Puts current's value as a new version, so that a late promote from the base fails; False if it was
        promoted. The base's own value is what current holds, while the base is current."""
        outcome = put_if(self.sm, f"fence-{self.rotation}", self.sm.read(base) or "", base)
        if outcome == "unknown":
            raise UnknownError
        return outcome == "ok" or self.settled(base) == SUPERSEDED


RotationClass = Callable[[SecretsManager, str], Rotation]


def worker(name: str, *rotations: str, kind: RotationClass = Rotation) -> Program:
    """Runs rotations one after another; a worker that crashed would make another value."""

    def program(port: Port) -> str:
        sm = SecretsManager(port)
        try:
            for rotation in rotations:
                kind(sm, rotation).run(f"{rotation} by {name}{port.run}")
        except (ConflictError, UnknownError) as error:
            return type(error).__name__
        return "ended"

    return program


def discarder(rotation: str, kind: RotationClass = Rotation) -> Program:
    def program(port: Port) -> str:
        try:
            return str(kind(SecretsManager(port), rotation).discard())
        except ConflictError:
            return "refused"
        except UnknownError as error:
            return type(error).__name__

    return program


def writer(
    name: str, put: Callable[[SecretsManager, str, str, str], str] = put_if, times: int = 1
) -> Program:
    """Reads which version is current and writes over exactly that one."""

    def program(port: Port) -> str:
        sm = SecretsManager(port)
        outcome = ""
        for number in range(times):
            outcome = put(sm, name + "'" * (number + 2 * port.run), name, sm.describe().get(CURRENT, ""))
        return outcome

    return program


def native_writer(name: str, times: int = 1) -> Program:
    """A foreign writer, the console say: AWSCURRENT moves with the put."""

    def program(port: Port) -> str:
        sm = SecretsManager(port)
        try:
            for number in range(times):
                sm.put(f"{name}{number}{port.run}", name)
        except UnknownError:
            return "unknown"
        return "ok"

    return program


def first_writer(name: str, put: Callable[[SecretsManager, str, str], str] = put_absent) -> Program:
    return lambda port: put(SecretsManager(port), name, name)


def holder(name: str, rotation: str, kind: RotationClass = Rotation) -> Program:
    """Holds a value, and goes no further."""

    def program(port: Port) -> str:
        try:
            kind(SecretsManager(port), rotation).hold(f"{rotation} by {name}{port.run}")
        except ConflictError:
            return "conflict"
        except UnknownError:
            return "unknown"
        return HELD

    return program


class TurnsByLabel(Rotation):
    """As first written: AWSPENDING is the lock, and who reads it back on its own version holds."""

    def has_turn(self, base: str) -> bool:
        return True

    def announce(self, base: str) -> bool:
        return super().announce(base) and self.sm.describe().get(PENDING) == self.rotation


class UnmarksFirst(Rotation):
    """Obvious: clean up the labels, then tell the ledger."""

    def end(self, outcome: Hashable) -> None:
        unmark(self.sm, PENDING, self.rotation)
        self.sweep()
        self.sm.advance(self.rotation, NONE, outcome)


class DiscardsUnfenced(Rotation):
    """Obvious: to discard is to take the labels off."""

    def fence(self, base: str) -> bool:
        return True


class ForgetsTheBase(Rotation):
    """Obvious: the base is whatever is current when promoting."""

    def promote(self, base: str) -> Hashable:
        return super().promote(self.sm.describe()[CURRENT])


class TwoAnswersOnly(Rotation):
    """As first written: promoted is what bears AWSCURRENT or AWSPREVIOUS, all else was never current."""

    def settled(self, base: str) -> Hashable:
        outcome = super().settled(base)
        return SUPERSEDED if outcome == OVERTAKEN else outcome


class LabelsTellAll(Rotation):
    """As first written: AWSPENDING on what never was current is foreign."""

    def finished(self, labels: dict[str, str], holder: str) -> bool:
        return was_current(labels, holder)


class PendingOnNothing(Rotation):
    """Obvious: an empty secret has no base, so hold the value all the same."""

    def start(self, text: str, labels: dict[str, str]) -> str:
        base = labels.get(CURRENT, "nothing")
        self.sm.put(self.rotation, text, self.mark(base))
        return base


def put_if_retried(sm: SecretsManager, token: str, text: str, base: str) -> str:
    """Obvious: the answer to the label's move was lost, so move it again."""
    try:
        sm.put(token, text, MARK + token)
    except UnknownError:
        return "unknown"
    for _ in range(2):
        try:
            sm.move(CURRENT, token, base)
            return "ok"
        except ConflictError:
            return "conflict"
        except UnknownError:
            continue
    return "unknown"


def put_plain(sm: SecretsManager, token: str, text: str, base: str) -> str:
    """Obvious: see that current is the base, then put."""
    if sm.describe().get(CURRENT) != base:
        return "conflict"
    sm.put(token, text)
    return "ok"


def put_absent_plain(sm: SecretsManager, token: str, text: str) -> str:
    """Obvious: see that there is no value, then put."""
    if CURRENT in sm.describe():
        return "conflict"
    sm.put(token, text)
    return "ok"
