"""What this process learnt of versions, since AccessSecretVersion tells a number and a payload and no more.

In which life of the name a version is, of what kind, and with which record stands in the secret: one request
more, when a version is read for the first time. It is learnt for exactly that payload: another payload under
the same number is another life of the name. What this process wrote is a floor too: ``latest`` may lag.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from strongroom.errors import PermissionDeniedError, SecretNotFoundError
from strongroom.value import SecretValue

from ._calls import seen_in
from ._client import LATEST, Client

_NAMES: Final = 2048
_VERSIONS: Final = 16


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a version beside its payload.

    Attributes:
        life: when this life of the name began; empty if this identity may not read the secret.
        mark: of the value's kind.
        record: replication's.
    """

    life: str
    mark: str = ""
    record: str | None = None


@dataclass(slots=True)
class _Entry:
    floor: int = 0
    life: str = ""
    facts: dict[int, tuple[bytes, Facts]] = field(default_factory=dict)


class Known:
    """Facts of many secrets, as long as there is room. Threads may race: the later one is as right."""

    def __init__(self, client: Client):
        self._client = client
        self._pepper = secrets.token_bytes(32)  # so that a dump of the process holds no hash to try values on
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def latest(self, name: str) -> tuple[int, SecretValue]:
        """What ``latest`` says, but never an older version than was written here."""
        floor = self.floor(name)
        if not floor:
            return self._client.access(name, LATEST)
        try:
            found = self._client.access(name, LATEST)
            return found if found[0] >= floor else self._client.access(name, floor)
        except SecretNotFoundError:
            self.forget(name)
        return self._client.access(name, LATEST)

    def floor(self, name: str) -> int:
        """The number of the newest version that was written here, 0 if there is none."""
        entry = self._entries.get(name)
        return entry.floor if entry else 0

    def facts(self, name: str, number: int, payload: SecretValue) -> Facts:
        """Of this version with this payload."""
        entry, fingerprint = self._entries.get(name), self._fingerprint(payload)
        known = entry.facts.get(number) if entry else None
        if known is not None and known[0] == fingerprint:
            return known[1]
        facts, settled = self._asked(name, number)
        if settled:
            self._keep(name, number, fingerprint, facts)
        return facts

    def wrote(self, name: str, number: int, payload: SecretValue, facts: Facts) -> None:
        """Remember what was just written."""
        entry = self._keep(name, number, self._fingerprint(payload), facts)
        entry.floor = max(entry.floor, number) if entry.life == facts.life else number
        entry.life = facts.life

    def doubt(self, name: str) -> None:
        """Something did not fit: ask again what its versions are. The floor stays."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.facts = {}

    def forget(self, name: str) -> None:
        """It was purged."""
        self._entries.pop(name, None)

    def _asked(self, name: str, number: int) -> tuple[Facts, bool]:
        """The facts, and whether they stay: those of a version that is just being written may not."""
        try:
            secret = self._client.secret(name)
        except PermissionDeniedError:
            return Facts(""), True
        if secret is None:
            raise SecretNotFoundError("no such secret")
        seen = seen_in(secret)
        facts = Facts(seen.life, seen.book.mark(number), seen.book.records.get(number))
        return facts, number in seen.book.chain or seen.book.intent is None

    def _keep(self, name: str, number: int, fingerprint: bytes, facts: Facts) -> _Entry:
        entry = self._entries.setdefault(name, _Entry())
        entry.facts[number] = fingerprint, facts
        if len(entry.facts) > _VERSIONS:
            entry.facts.pop(min(entry.facts), None)
        if len(self._entries) > _NAMES:
            self._entries.popitem(last=False)
        return entry

    def _fingerprint(self, payload: SecretValue) -> bytes:
        return hashlib.blake2b(payload.reveal(), key=self._pepper, digest_size=16).digest()
