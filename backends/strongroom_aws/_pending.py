"""A rotation's pending value: a version under a private label, then under AWSPENDING, then current.

The order of the calls, and what labels mean after a crash between any two, was checked with the models in
``tests/models``. The private label names the base, so that it survives a crash. The turn to follow that base
is the lock among our own rotations; AWSPENDING is what others see, AWS's own rotation included; AWSCURRENT
moves from the base and from nothing else.
"""

from __future__ import annotations

import contextlib

from strongroom.backend import Secret, SecretVersion, Stage
from strongroom.errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.value import SecretValue

from ._client import Answer
from ._labels import (
    CURRENT,
    OURS,
    PENDING,
    PREVIOUS,
    RECORD,
    TURN,
    Labels,
    done,
    lost,
    record_of,
    stages_of,
    turn_in,
    turn_of,
    void,
    was_current,
)
from ._secrets import Secrets
from ._writes import become_current, ours, put_if

_PENDING_ONLY = frozenset({Stage.PENDING})


class Rotation:
    """One rotation of one secret; its id is the ClientRequestToken, hence the version id, of its value."""

    def __init__(self, secrets: Secrets, name: str, rotation_id: str):
        if not 32 <= len(rotation_id) <= 64:
            raise InvalidRequestError("a rotation id is a UUID")
        self._secrets = secrets
        self._name = name
        self._id = rotation_id

    def put(self, value: SecretValue, base: str, record: str | None = None) -> SecretVersion:
        """Hold a value; see ``Backend.put_pending``."""
        labels = self._labels_with(base)
        state = labels.state(self._id)
        if state in ("promoted", "void"):
            raise _is_done()
        if state == "lost":
            raise _superseded()
        if rival := labels.rival(self._id):
            raise _held_by(rival)
        if state == "held":
            self._require_same(value)
            base = labels.base(self._id) or base
        elif not labels.holder(CURRENT):
            raise SecretNotFoundError("a pending value needs a current one")
        elif labels.holder(CURRENT) != base:
            raise _not_current()
        else:
            self._sweep(labels)
            self._add(value, base, record)
        self._take_turn(base)
        self._announce(base)
        return SecretVersion(self._id, stages=_PENDING_ONLY)

    def _labels_with(self, base: str) -> Labels:
        def settled(seen: Labels) -> bool:
            return seen.holder(CURRENT) == base or seen.state(self._id) != "none"

        labels = self._secrets.labels_once(self._name, settled)
        return labels if labels.by_version else self._secrets.labels(self._name)

    def _require_same(self, value: SecretValue) -> None:
        if self._read()["Value"] != value:
            raise SecretConflictError("another value is pending under this rotation id")

    def _add(self, value: SecretValue, base: str, record: str | None) -> None:
        mark = f"{OURS}{self._id}/{base}"
        error: SecretStoreError
        try:
            given = self._secrets.add(
                self._name, self._id, value, [mark, *([RECORD + record] if record else [])], rotating=True
            )
        except (SecretConflictError, UnavailableError) as exc:
            error = exc
        else:
            if given == {PENDING}:  # another tool's version, with this value: it is taken in as ours
                self._secrets.move(self._name, mark, self._id, None)
            elif given & {CURRENT, PREVIOUS} or mark not in given:  # a repeat is told the labels of now
                raise _is_done()
            return
        if isinstance(error, UnavailableError) and error.performed is None:
            labels = self._secrets.labels_once(self._name, lambda seen: mark in seen.on(self._id))
            if mark in labels.on(self._id):
                return
        if isinstance(error, SecretConflictError):
            raise SecretConflictError("another value stands under this rotation id", hint="begin a new one")
        raise error

    def _take_turn(self, base: str) -> None:
        """Be the one rotation that follows ``base``: the first to put its id as the version the base names.

        The value of a version never changes, and AWS refuses a used token for another value; so it decides
        this by itself, while it may move a held label or refuse to, and tells two racing rotations yes.
        """
        error: SecretStoreError
        try:
            follower = SecretValue(self._id)
            self._secrets.add(self._name, turn_of(base), follower, [TURN + self._id], rotating=True)
        except (SecretConflictError, UnavailableError) as exc:
            error = exc
        else:
            return
        sent = isinstance(error, SecretConflictError) or error.performed is None
        turn = self._secrets.soon(self._name, turn_of(base)) if sent else None
        if turn is None:
            raise error
        if turn["Value"] != SecretValue(self._id):
            self._yield_to(turn_in(turn.get("VersionStages", ())), base)

    def _yield_to(self, follower: str | None, base: str) -> None:
        def seen(labels: Labels) -> bool:
            return follower is None or labels.state(follower) != "none"

        labels = self._secrets.labels_once(self._name, seen)
        if follower and labels.state(follower) == "held":
            raise _held_by(follower)
        # Every rotation that ends leaves its base; somebody moved AWSCURRENT back, where no turn is left.
        self._fence(base)
        raise _not_current()

    def _give_up(self) -> None:
        """Leave no turn behind that would block others; a repeat is told the same, and finishes this."""
        with contextlib.suppress(SecretConflictError, UnavailableError):
            self._secrets.move(self._name, lost(self._id), self._id, None)

    def _announce(self, base: str) -> None:
        """Move AWSPENDING here, also from a finished rotation.

        The API model says both that a move of a held label fails without RemoveFromVersionId and that it
        succeeds, so the labels are read before and after, and either answer is taken as it comes.
        """
        labels = self._labels_before(base)
        holder = labels.holder(PENDING)
        if holder == self._id:
            return
        error: SecretStoreError | None = None
        try:
            self._secrets.move(self._name, PENDING, self._id, holder)
        except UnavailableError as exc:
            error = exc
        now = self._secrets.labels_once(self._name, lambda seen: seen.holder(PENDING) not in (None, holder))
        if now.holder(PENDING) == self._id:
            return
        if error:
            raise error
        raise _held_by(now.holder(PENDING) or "another")

    def _labels_before(self, base: str) -> Labels:
        """The labels, once the turn is taken, if they leave room for this rotation.

        The turn says nothing of a base that was replaced meanwhile, nor of a rotation that follows another.
        """
        labels = self._secrets.labels_once(
            self._name, lambda seen: seen.holder(CURRENT) == base or seen.state(self._id) != "held"
        )
        if labels.holder(PENDING) == self._id:
            return labels
        if labels.state(self._id) in ("promoted", "void"):
            raise _is_done()
        if labels.state(self._id) == "lost":
            raise _superseded()
        rival = labels.rival(self._id)
        if rival or labels.holder(CURRENT) != base:
            self._give_up()
            raise _held_by(rival) if rival else _superseded()
        return labels

    def get(self, shown: str, origin: str) -> Secret:
        """The held value; see ``Backend.get_pending``."""
        answer = self._read()
        labels = Labels.of({self._id: answer.get("VersionStages", ())})
        if labels.state(self._id) != "held" or (PENDING not in labels.on(self._id) and not self._has_turn()):
            raise _nothing_held()
        return Secret(
            shown,
            answer["Value"],
            self._id,
            Stage.PENDING,
            origin,
            confirmed_at=self._secrets.settings.clock.now(),
            record=record_of(labels.on(self._id)),
        )

    def _has_turn(self) -> bool:
        labels = self._secrets.labels(self._name)
        return labels.follower(labels.base(self._id) or "") == self._id and not labels.rival(self._id)

    def _read(self) -> Answer:
        return self._secrets.client.read("GetSecretValue", SecretId=self._name, VersionId=self._id)

    def promote(self) -> SecretVersion:
        """Make the held value current; see ``Backend.promote_pending``."""
        labels = self._secrets.labels(self._name)
        state, base = labels.state(self._id), labels.base(self._id)
        if state == "held" and base:
            self._promote(labels, base)
            promoted = self._secrets.made_current(self._name, self._id)
        elif state == "lost":
            raise _superseded()
        elif state == "promoted" or self._is_swept(labels):
            promoted = SecretVersion(self._id, stages=stages_of(labels.on(self._id)) - _PENDING_ONLY)
        else:
            raise _nothing_held()
        self._finish(labels)
        return promoted

    def _promote(self, labels: Labels, base: str) -> None:
        if labels.rival(self._id):
            raise _superseded()
        if PENDING not in labels.on(self._id):
            self._take_turn(base)
        self._secrets.replicas.require(self._name)
        error: SecretStoreError
        try:
            become_current(self._secrets, self._name, self._id, base)
        except SecretConflictError:
            error = _superseded()
        except UnavailableError as exc:
            error = exc
        else:
            return
        raise error

    def _finish(self, labels: Labels) -> None:
        """AWSPENDING off, for AWS's own rotation; ``done`` on, since AWSPREVIOUS is gone two writes later."""
        on = labels.on(self._id)
        if PENDING in on:
            self._secrets.unlabel(self._name, PENDING, self._id)
        if on and done(self._id) not in on:
            with contextlib.suppress(SecretConflictError, UnavailableError):
                self._secrets.move(self._name, done(self._id), self._id, None)

    def _is_swept(self, labels: Labels) -> bool:
        """Whether the version exists without labels: then it was current, and a later rotation swept it."""
        if labels.on(self._id):
            return False
        try:
            return was_current(self._read().get("VersionStages", ()))
        except SecretNotFoundError:
            return False

    def discard(self) -> None:
        """Drop the held value; see ``Backend.discard_pending``."""
        labels = self._secrets.labels(self._name)
        state, base = labels.state(self._id), labels.base(self._id)
        if state == "promoted" or (state == "none" and self._is_swept(labels)):
            raise _is_promoted()
        if state in ("held", "lost") and base:
            if labels.follower(base) in (None, self._id):  # else it never can be promoted
                self._fence(base)
            self._secrets.move(self._name, void(self._id), self._id, None)
        if state != "none" and PENDING in labels.on(self._id):
            self._secrets.unlabel(self._name, PENDING, self._id)

    def _fence(self, base: str) -> None:
        """Write current's value as a new version, so that a late promote, which names the base, fails."""
        current = self._secrets.client.read("GetSecretValue", SecretId=self._name, VersionStage=CURRENT)
        if current["VersionId"] == base:
            record = record_of(current.get("VersionStages", ()))
            with contextlib.suppress(SecretConflictError):  # somebody else moved the base: as good
                put_if(self._secrets, self._name, current["Value"], base, record)
        if ours(self._secrets.labels(self._name), self._id):
            raise _is_promoted()

    def _sweep(self, labels: Labels) -> None:
        """Free the versions of ended rotations: the next one begins once the ledger has their outcome."""
        for version, on in labels.by_version.items():
            turn = turn_in(on)
            if turn and labels.state(turn) != "held" and version != turn_of(labels.holder(CURRENT) or ""):
                self._secrets.unlabel(self._name, TURN + turn, version)
            if on & {CURRENT, PREVIOUS} or done(version) in on:
                # `done` goes last: a version of ours with no other label left would pass for discarded.
                for label in sorted(on, key=lambda label: label == done(version)):
                    if label == PENDING or (label.startswith(OURS) and not label.startswith(RECORD)):
                        self._secrets.unlabel(self._name, label, version)
        self._secrets.sweep_records(self._name, labels)


def _nothing_held() -> SecretNotFoundError:
    return SecretNotFoundError("nothing is pending under this rotation id")


def _is_done() -> SecretConflictError:
    return SecretConflictError("this rotation is done", hint="begin a new one")


def _is_promoted() -> SecretConflictError:
    return SecretConflictError("it was promoted already", hint="use rollback")


def _held_by(version: str) -> SecretConflictError:
    return SecretConflictError("another pending value is held", hint=f"it is version {version}")


def _not_current() -> SecretConflictError:
    return SecretConflictError("base_version is not the current version")


def _superseded() -> SecretConflictError:
    return SecretConflictError(
        "superseded: another version became current", hint="discard it and rotate anew"
    )
