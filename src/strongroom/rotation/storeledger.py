"""The ledger in a store with compare-and-set, for functions, which have no disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from strongroom.backend import ABSENT, ANY_CAS, Backend, Capability, Stage
from strongroom.clock import Clock
from strongroom.errors import (
    IntegrityError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue

from . import ledgerrules as rules
from .ledger import LEASE_SECONDS, Entry, Known, Ledger, State
from .ledgerpage import Page

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

T = TypeVar("T")
Write = Callable[[], object]
PER_PAGE: Final = 128
"""Secrets that one record of the index names: with the longest names it stays below 25 KB."""
SETTLES: Final = 10.0
"""Seconds for which a store whose labels lag may still answer with an older record."""
_ATTEMPTS: Final = 12
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


class StoreLedger(Ledger):
    """One record per secret in the reserved name space of a store, and an index of the secrets.

    What looks for rotations among all secrets reads the record of each: this is for hundreds, a database for
    more. Time is each process's own clock; two that run apart by more than a lease make workers overtake each
    other, which the epoch makes harmless to the ledger. The last `ledgerpage.KEPT` rotations that are over
    are remembered, and only a process that has seen a rotation id tells that it is another secret's.

    Args:
        backend: with compare-and-set, CAS or CAS_GUARDED; this object closes it.
        clock: injected in tests.

    Raises:
        UnsupportedOperationError: the store has no compare-and-set.
    """

    def __init__(self, backend: Backend, clock: Clock | None = None):
        needed = Capability.PUT | Capability.CREATE_ONLY
        if needed not in backend.capabilities or not backend.capabilities & ANY_CAS:
            raise UnsupportedOperationError(
                f"{backend.origin or type(backend).__name__} has no compare-and-set, which a ledger needs",
                hint="keep it in another store, in sqlite:/// or postgresql://, or configure a coordinator",
            )
        self._backend, self._clock = backend, clock or Clock()
        self._secrets: list[str] = []
        self._where: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._lock, self._pid = threading.Lock(), os.getpid()

    def now(self) -> datetime:
        return self._clock.now()

    def begin(
        self,
        rotation_id: str,
        secret: str,
        *,
        base: str | None,
        tick: datetime | None = None,
        next_due: datetime | None = None,
    ) -> Entry:
        def begun(page: Page) -> Entry:
            if entry := page.entries.get(rotation_id):
                return entry
            rules.check_tick(tick, page.next_due)
            others = page.entries.values()
            entry = rules.begun(rotation_id, secret, self.now(), base=base, tick=tick, others=others)
            page.next_due = next_due or page.next_due
            return page.write(entry)

        if self._where.get(rotation_id, secret) != secret and (other := self._find(rotation_id)):
            return rules.same_secret(other, secret)
        self._enrol(secret)
        entry = self._change(secret, begun)
        self._where[rotation_id] = secret
        return entry

    def get(self, rotation_id: str) -> Entry:
        return rules.found(self._find(rotation_id), rotation_id)

    def find(
        self, *, secret: str | None = None, states: Collection[State] | None = None, limit: int = 1000
    ) -> Sequence[Entry]:
        pages = self._pages() if secret is None else [self._read(secret)[0]]
        everything = (entry for page in pages for entry in page.entries.values())
        wanted = [entry for entry in everything if states is None or entry.state in states]
        return sorted(wanted, key=lambda entry: (entry.started, entry.id), reverse=True)[:limit]

    def claim(self, rotation_id: str, seconds: float = LEASE_SECONDS) -> Entry | None:
        token = uuid.uuid4().hex

        def claimed(page: Page) -> Entry | None:
            entry = rules.found(page.entries.get(rotation_id), rotation_id)
            found = rules.claimed(entry, self.now(), seconds, token)
            return found and page.write(found)

        return self._change(self._secret_of(rotation_id), claimed)

    def claim_due(self, limit: int, seconds: float = LEASE_SECONDS) -> Sequence[Entry]:
        now = self.now()
        everything = (entry for page in self._pages() for entry in page.entries.values())
        due = [entry for entry in everything if entry.due <= now and rules.claimable(entry, now)]
        claims: list[Entry] = []
        for entry in sorted(due, key=lambda entry: (entry.due, entry.id)):
            if len(claims) < limit and (claim := self._claim_free(entry, seconds)):
                claims.append(claim)
        return claims

    def renew(self, entry: Entry, seconds: float = LEASE_SECONDS) -> Entry:
        def renewed(page: Page) -> Entry:
            return page.write(rules.renewed(entry, page.entries.get(entry.id), self.now(), seconds))

        return self._change(entry.secret, renewed)

    def record(self, entry: Entry, state: State, **changes: Any) -> Entry:
        def recorded(page: Page) -> Entry:
            found = page.entries.get(entry.id)
            return page.write(rules.recorded(entry, found, self.now(), state, changes))

        return self._change(entry.secret, recorded)

    def release(self, entry: Entry, *, due: rules.Due | None = None, **changes: Any) -> None:
        def released(page: Page) -> None:
            if free := rules.released(entry, page.entries.get(entry.id), self.now(), due, changes):
                page.write(free)

        self._change(entry.secret, released)

    def move(
        self,
        rotation_id: str,
        states: Collection[State],
        to: State,
        *,
        epoch: int | None = None,
        **changes: Any,
    ) -> Entry:
        token = uuid.uuid4().hex

        def moved(page: Page) -> Entry:
            entry = rules.found(page.entries.get(rotation_id), rotation_id)
            return page.write(rules.moved(entry, self.now(), states, to, epoch, token, changes))

        return self._change(self._secret_of(rotation_id), moved)

    def last_success(self, secret: str) -> datetime | None:
        return self._read(secret)[0].last_success

    def next_due(self, secret: str) -> datetime | None:
        return self._read(secret)[0].next_due

    def known(self, secrets: Collection[str]) -> Mapping[str, Known]:
        pages = (self._read(secret)[0] for secret in secrets)
        return {page.secret: Known(page.next_due, page.last_success) for page in pages}

    def plan(self, secret: str, due: datetime, *, expected: datetime | None) -> bool:
        def planned(page: Page) -> bool:
            if page.next_due not in (expected, due):
                return False
            page.next_due = due
            return True

        self._enrol(secret)
        return self._change(secret, planned)

    def due(self, limit: int) -> Sequence[tuple[str, datetime]]:
        now = self.now()
        waiting = [
            (page.next_due, page.secret)
            for page in self._pages()
            if page.next_due and page.next_due <= now and not page.busy
        ]
        return [(secret, at) for at, secret in sorted(waiting)[:limit]]

    def purge(self, before: datetime, limit: int = 10_000) -> int:
        def purged(page: Page) -> None:
            now = self.now()
            old = [entry.id for entry in page.entries.values() if rules.may_purge(entry, before, now)]
            for rotation_id in old[: limit - len(forgotten)]:
                del page.entries[rotation_id]
                forgotten.add(rotation_id)

        forgotten: set[str] = set()
        for secret in self._listed():
            self._change(secret, purged)
        return len(forgotten)

    def after_fork(self) -> None:
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._backend.after_fork()

    def close(self) -> None:
        self._backend.close()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self.after_fork()

    def _claim_free(self, entry: Entry, seconds: float) -> Entry | None:
        """None also if it was claimed, and given back, since it was found due."""
        claim = self.claim(entry.id, seconds)
        return claim if claim and claim.epoch == entry.epoch + 1 and claim.lease_until else None

    def _find(self, rotation_id: str) -> Entry | None:
        secret = self._where.get(rotation_id)
        pages = [self._read(secret)[0]] if secret else self._pages()
        return next((page.entries[rotation_id] for page in pages if rotation_id in page.entries), None)

    def _secret_of(self, rotation_id: str) -> str:
        return self._where.get(rotation_id) or self.get(rotation_id).secret

    def _change(self, secret: str, change: Callable[[Page], T]) -> T:
        """Change a page under compare-and-set; what was written, and not answered, is found by the repeat."""

        def attempt() -> tuple[T, Write | None]:
            page, version = self._read(secret)
            before = replace(page, entries=dict(page.entries))
            answer = change(page)
            return answer, None if page == before else (lambda: self._put(page, version))

        return self._write(f"the ledger's record of {secret}", attempt)

    def _write(self, what: str, attempt: Callable[[], tuple[T, Write | None]]) -> T:
        unknown, pause = False, _FIRST_PAUSE
        for _ in range(_ATTEMPTS):
            answer, write = attempt()
            try:
                if write:
                    write()
                return answer
            except SecretConflictError:
                pass
            except UnavailableError as error:
                if error.performed is False:
                    raise
                unknown = True
            self._clock.sleep(pause * self._clock.chance())
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise UnavailableError(f"{what} is written by too many at once", performed=None if unknown else False)

    def _put(self, page: Page, version: str | None) -> None:
        key = _key(page.secret)
        page.revision += 1
        self._backend.put(key, page.pack(self._backend.limit(key)), version or ABSENT)
        self._seen[page.secret] = page.revision
        if version and Capability.CAS not in self._backend.capabilities:
            # Google bills every version; what is left costs a little, and nobody reads it.
            with contextlib.suppress(SecretStoreError):
                self._backend.retire(key, version)

    def _read(self, secret: str) -> tuple[Page, str | None]:
        """▲ Never older than what this process has seen: by an old page a worker would seem fenced."""
        self._check_process()
        until = self._clock.monotonic() + SETTLES
        while True:
            page, version = self._read_once(secret)
            if page.revision >= self._seen.get(secret, 0):
                self._seen[secret] = page.revision
                self._where.update(dict.fromkeys(page.entries, secret))
                return page, version
            if self._clock.monotonic() >= until:
                raise UnavailableError(f"the store answers with an old record of {secret}")
            self._clock.sleep(_LONGEST_PAUSE / 4)

    def _read_once(self, secret: str) -> tuple[Page, str | None]:
        try:
            found = self._backend.get(_key(secret), Stage.CURRENT)
        except SecretNotFoundError:
            return Page(secret), None
        return Page.parse(found.value, secret), found.version

    def _pages(self) -> Iterator[Page]:
        for secret in self._listed():
            yield self._read(secret)[0]

    def _listed(self) -> list[str]:
        """Every secret that was ever planned or begun."""
        self._check_process()
        with self._lock:
            while True:
                number = len(self._secrets) // PER_PAGE
                names, _ = self._index(number)
                self._secrets[number * PER_PAGE :] = names
                if len(names) < PER_PAGE:
                    return list(self._secrets)

    def _enrol(self, secret: str) -> None:
        """Name a secret in the index, before its page is written: no rotation is begun that none finds."""

        def attempt() -> tuple[None, Write | None]:
            if secret in self._secrets or secret in self._listed():
                return None, None
            number = len(self._secrets) // PER_PAGE
            names, version = self._index(number)
            while len(names) >= PER_PAGE:  # another thread or process has filled it meanwhile
                number += 1
                names, version = self._index(number)
            packed = SecretValue(json.dumps([*names, secret]))
            return None, lambda: self._backend.put(_index_key(number), packed, version or ABSENT)

        self._write("the ledger's index", attempt)

    def _index(self, number: int) -> tuple[list[str], str | None]:
        try:
            found = self._backend.get(_index_key(number), Stage.CURRENT)
        except SecretNotFoundError:
            return [], None
        return _names(found.value), found.version


def _names(value: SecretValue) -> list[str]:
    try:
        found = json.loads(value.reveal())
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise IntegrityError("the ledger's index is damaged", hint="purge it in its store")
    return found


def _key(secret: str) -> Reserved:
    """A secret's name with its store's alias is longer than a portable name, and of other characters."""
    return Reserved("rotation", Name(hashlib.sha256(secret.encode()).hexdigest()[:32]))


def _index_key(number: int) -> Reserved:
    return Reserved("rotation-index", Name(str(number)))
