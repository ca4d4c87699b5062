"""The revocation list: which versions of which secrets nobody may use any more, signed and of a stated age.

A leaked version is cut off at its target and its store at once. Where they are out of reach (a replica
behind a partition, a backup that is restored a year later) the list tells: it travels by itself, is signed
with a key that no reader holds, and says until when it may be believed. It is a signed note
(https://c2sp.org/signed-note) whose text is::

    strongroom-revocations/v1
    DOMAIN
    SEQUENCE
    ISSUED, as 2026-11-23T15:00:00Z
    MAX AGE in seconds
    one line of JSON for each revocation, the oldest first

A list replaces another of its domain only if its sequence is greater: an older one, however well signed, is
somebody's attempt to bring a revoked version back.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self, final

from strongroom.audit.note import Note
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.replication.record import Record

if TYPE_CHECKING:
    from collections.abc import Collection

    from strongroom.audit.note import NoteKey, NoteSigner
    from strongroom.clock import Clock

    from .revocation_places import Held, RevocationPlace

HEAD: Final = "strongroom-revocations/v1"
MAX_AGE: Final = timedelta(hours=24)
"""How long a list may be believed by default: two nights without anybody who signs are one too many."""

REASON_LENGTH: Final = 200
_DOMAIN: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_HEADER: Final = re.compile(
    rf"{HEAD}\n({_DOMAIN.pattern})\n([0-9]{{1,18}})\n([0-9TZ:-]{{20}})\n([0-9]{{1,9}})\n", re.ASCII
)
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_SKEW: Final = timedelta(minutes=5)
"""How far in the future a list may have been issued: other machines' clocks are not ours."""
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class Revocation:
    """One version that nobody may use any more.

    Attributes:
        name: the secret's.
        version: its id, in the store where it was revoked.
        at: when.
        reason: a person's words, on one line; no part of the value.
        record: its replication record, by which replicas know their copy of it; None if it has none.
    """

    name: str
    version: str
    at: datetime
    reason: str
    record: str | None = None

    def covers(self, name: str, version: str, record: str | None = None) -> bool:
        """Whether it means a version: by its id, or by the write that its replication record names.

        Raises:
            IntegrityError: `record` is no replication record.
        """
        if name != self.name:
            return False
        if record and self.record:
            return Record.parse(record).write_id == Record.parse(self.record).write_id
        return version == self.version

    @property
    def line(self) -> str:
        """As it stands in the list."""
        facts = {"name": self.name, "version": self.version, "at": self.at.strftime(_TIME)}
        more = {"record": self.record} if self.record else {}
        return json.dumps({**facts, "reason": self.reason, **more}, sort_keys=True)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line; IntegrityError if it is none."""
        try:
            facts = json.loads(line)
            made = cls(**{**facts, "at": _instant(facts["at"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            made = None
        texts = made and (made.name, made.version, made.reason, made.record or "")
        if made is None or not all(isinstance(text, str) for text in texts or ()):
            raise IntegrityError("a line of the revocation list is no revocation")
        return made


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list as it was signed.

    Attributes:
        domain: the logical id that a store shares with its replicas.
        sequence: one more with each that is signed.
        issued: when it was signed.
        max_age: how long after that it may be believed.
        revocations: the oldest first.
    """

    domain: str
    sequence: int
    issued: datetime
    max_age: timedelta = MAX_AGE
    revocations: tuple[Revocation, ...] = ()

    @property
    def expires(self) -> datetime:
        """From when on it says nothing about what was revoked last."""
        return self.issued + self.max_age

    def revoked(self, name: str, version: str, record: str | None = None) -> Revocation | None:
        """What it says of a version; None if that is not revoked."""
        return next((one for one in self.revocations if one.covers(name, version, record)), None)

    @property
    def text(self) -> str:
        """What is signed."""
        head = (HEAD, self.domain, str(self.sequence), self.issued.strftime(_TIME), str(self._seconds))
        return "".join(f"{line}\n" for line in (*head, *(one.line for one in self.revocations)))

    @property
    def _seconds(self) -> int:
        return int(self.max_age.total_seconds())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what was signed; whether it was is not asked here.

        Raises:
            IntegrityError: it is no list of version 1.
        """
        lines = text.split("\n")
        match = _HEADER.match(text)
        at = _time(match[3]) if match else None
        if match is None or at is None or lines.pop():
            raise IntegrityError("this is no revocation list", hint="damaged, or of a later version")
        found = tuple(map(Revocation.parse, lines[5:]))
        return cls(match[1], int(match[2]), at, timedelta(seconds=int(match[4])), found)


@final
class Revocations:
    """Reads and signs the list of one domain.

    Args:
        place: where it is kept; it stays its owner's to close.
        keys: whose signatures are believed: the public half of the signer, and of the one before it.
        domain: the logical id, as of an encrypted store.
        signer: signs; None for who only reads.
        max_age: how long a list that is signed here may be believed. Sign it anew well before, by `renew`.
        clock: injected in tests.

    Raises:
        InvalidRequestError: no key, or the domain or the age cannot be.
    """

    def __init__(
        self,
        place: RevocationPlace,
        keys: Collection[NoteKey] = (),
        *,
        domain: str,
        signer: NoteSigner | None = None,
        max_age: timedelta = MAX_AGE,
        clock: Clock | None = None,
    ):
        from strongroom.clock import Clock

        if not _DOMAIN.fullmatch(domain) or max_age < timedelta(minutes=1):
            raise InvalidRequestError("a revocation list has a domain, and an age of a minute or more")
        if not keys and signer is None:
            raise InvalidRequestError(
                "nobody's revocation list could be believed", hint="give its public key"
            )
        self._place, self._keys, self.domain, self._signer = place, tuple(keys), domain, signer
        self._max_age, self._clock, self._highest = max_age, clock or Clock(), 0

    def read(self) -> RevocationList | None:
        """The list, verified; None if there never was one.

        Raises:
            IntegrityError: no key of ours signed it, it is another domain's, or older than one seen here.
            UnavailableError: it is too old to be believed, or its place does not answer.
        """
        found = self.newest()
        if found and found.expires <= self._clock.now():
            raise UnavailableError(
                f"the revocation list of {self.domain} expired at {found.expires.strftime(_TIME)}",
                hint="see why nobody signs it: strongroom rotation tick does",
            )
        return found

    def newest(self) -> RevocationList | None:
        """The list, verified, however old: what it names stays revoked.

        Raises: as `read`, but for its age.
        """
        held = self._place.read()
        if held is None and not self._highest:
            return None
        if held is None:
            raise IntegrityError("the revocation list was removed", hint="restore it from another place")
        return self._verified(held)

    def check(self, name: str, version: str, record: str | None = None) -> None:
        """Return if a version may be used, as far as a list tells that may be believed.

        Raises:
            SecretNotFoundError: it is revoked.
            IntegrityError, UnavailableError: as `read`.
        """
        found = self.read()
        revocation = found and found.revoked(name, version, record)
        if revocation:
            when = revocation.at.strftime(_TIME)
            raise SecretNotFoundError(
                f"this version was revoked at {when}", name=name, hint=revocation.reason
            )

    def publish(self, revocation: Revocation) -> RevocationList:
        """Sign a revocation into the list; one that is there already is not entered again.

        Raises:
            InvalidRequestError: nobody signs here, or the reason is none.
            IntegrityError: what is there is not to be believed, and nothing is built on it.
            UnavailableError, PermissionDeniedError: as its place or signer says.
        """
        check_reason(revocation.reason)
        return self._signed(revocation)

    def renew(self) -> RevocationList:
        """Sign the list anew, with the same revocations, so that it can be believed for another `max_age`."""
        return self._signed(None)

    def keep(self) -> RevocationList | None:
        """Sign the list anew once half of its age is over; None if it is younger, or there is none.

        Raises: as `publish`.
        """
        held = self._place.read()
        found = self._verified(held) if held else None
        if found is None or self._clock.now() < found.issued + found.max_age / 2:
            return None
        return self.renew()

    @property
    def signs(self) -> bool:
        """Whether we sign the list here."""
        return self._signer is not None

    def share(self, place: RevocationPlace) -> None:
        """Have the newer of two places' lists stand in both: one that was removed or put back is mended.

        Raises:
            SecretConflictError: another put one there meanwhile.
            SecretStoreError: as the two places say.
        """
        here, there = self._place.read(), place.read()
        ours, theirs = self._sequence(here), self._sequence(there)
        if here and ours > theirs:
            place.write(here.note, there)
        elif there and theirs > ours:
            self._place.write(there.note, here)

    def _sequence(self, held: Held | None) -> int:
        """Below every list's where there is none that we believe: it is written over."""
        try:
            return self._believed(held).sequence if held else -1
        except IntegrityError:
            return -1

    def _signed(self, revocation: Revocation | None) -> RevocationList:
        if self._signer is None:
            raise InvalidRequestError("nobody signs revocations here", hint="name a signer in [revocations]")
        for _ in range(_ATTEMPTS):
            held = self._place.read()
            before = self._verified(held) if held else self._first()
            after = self._next(before, revocation)
            if self._written(self._signer.sign(after.text), held):
                self._highest = after.sequence
                return after
        raise UnavailableError("others signed the revocation list each time", hint="repeat it")

    def _next(self, before: RevocationList, revocation: Revocation | None) -> RevocationList:
        more: tuple[Revocation, ...] = ()
        if revocation and not before.revoked(revocation.name, revocation.version, revocation.record):
            more = (revocation,)
        now = self._clock.now().replace(microsecond=0)
        return replace(
            before,
            sequence=before.sequence + 1,
            issued=now,
            max_age=self._max_age,
            revocations=(*before.revocations, *more),
        )

    def _first(self) -> RevocationList:
        if self._highest:
            raise IntegrityError("the revocation list was removed", hint="restore it from another place")
        return RevocationList(self.domain, 0, self._clock.now())

    def _written(self, note: str, held: Held | None) -> bool:
        """False if another was first."""
        try:
            self._place.write(note, held)
        except SecretConflictError:
            return False
        return True

    def _verified(self, held: Held) -> RevocationList:
        found = self._believed(held)
        if found.sequence < self._highest or found.issued > self._clock.now() + _SKEW:
            raise IntegrityError(
                "the revocation list is older than one that was seen, or of the future",
                hint="somebody put an old one back: restore the newest",
            )
        self._highest = found.sequence
        return found

    def _believed(self, held: Held) -> RevocationList:
        note = Note.parse(held.note)
        known = (*self._keys, *([self._signer.key] if self._signer else []))
        if not any(key.signed(note) for key in known):
            raise IntegrityError(
                "no key that is believed signed the revocation list",
                hint="restore it, or name its signer's key",
            )
        found = RevocationList.parse(note.text)
        if found.domain != self.domain:
            raise IntegrityError(f"this is the revocation list of {found.domain!r}")
        return found


def check_reason(reason: str) -> None:
    """Raise InvalidRequestError unless it is one line of at most `REASON_LENGTH` characters."""
    if not reason.strip() or len(reason) > REASON_LENGTH or not reason.isprintable():
        raise InvalidRequestError(f"a reason is one line of at most {REASON_LENGTH} characters")


def _instant(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def _time(text: str) -> datetime | None:
    try:
        return _instant(text)
    except ValueError:
        return None
