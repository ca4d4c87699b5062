"""The revocation list at a replica: carried there with its secrets, and remembered when it is gone."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, final

from .audit.note import NoteKey, NoteSigner
from .audit.notekey import FileSigner
from .backend import ABSENT, ANY_CAS, Stage
from .errors import IntegrityError, SecretNotFoundError, SecretStoreError
from .layers.breaker import WithheldError
from .names import Name, Reserved
from .rotation.revocation_places import FilePlace, Held, RevocationPlace, text_of
from .rotation.revocations import Revocations
from .value import SecretValue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .backend import Backend
    from .clock import Clock
    from .keys import Signer
    from .rotation.revocations import RevocationList
    from .toml.entries import StoreEntry
    from .toml.file import Config
    from .toml.replicas import ReplicaEntry
    from .toml.revocations import RevocationsEntry

    Opens = Callable[[ExitStack], Revocations]

    class Members(Protocol):
        """Opens the stores of a configuration."""

        def member(self, entry: StoreEntry) -> Backend:
            """A store with its own encryption, and nothing of replication's over it."""


EVERY: Final = 30.0
"""Seconds for which a list that was read answers by itself, as watched names are looked at again."""

_AGAIN: Final = 5.0
"""Seconds after a list could not be read until it is asked for once more: not with every secret."""
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@final
class KnownRevocations:
    """Answers from the newest list that was believed, which it reads when it is first needed.

    A revocation is never taken back. So a list that is too old, or that cannot be reached any more, goes on
    refusing what it names; what was revoked last it cannot tell, and a strict question is refused.

    Args:
        opens: each opens a place that may have the list, at the first question; what it puts on the stack
            is closed in the end.
        clock: injected in tests.
        every: seconds for which a list that was read is not read again.
    """

    def __init__(self, opens: Sequence[Opens], clock: Clock, *, every: float = EVERY):
        self._opens, self._clock, self._every = opens, clock, every
        self._held: RevocationList | None = None
        self.after_fork()

    def check(self, name: str, version: str, record: str | None = None, *, strict: bool = True) -> None:
        """As `strongroom.layers.revocable.Checker.check`."""
        found = self._newest()
        if found and (revocation := found.revoked(name, version, record)):
            when = revocation.at.strftime(_TIME)
            raise SecretNotFoundError(
                f"this version was revoked at {when}", name=name, hint=revocation.reason
            )
        if strict and (found is None or found.expires <= self._clock.now()):
            raise self._doubt(found)

    def after_fork(self) -> None:
        """In a forked child: what was believed counts on, what is open is the parent's."""
        self._lock, self._opened = threading.Lock(), ExitStack()
        self._places: dict[Opens, Revocations] = {}
        self._due, self._problem = float("-inf"), ""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""
        with self._lock:
            self._places = {}
            self._opened.close()

    def _newest(self) -> RevocationList | None:
        # Only who has no list at all waits for the one who reads it.
        if self._clock.monotonic() >= self._due and self._lock.acquire(blocking=self._held is None):
            try:
                if self._clock.monotonic() >= self._due:
                    self._read()
            finally:
                self._lock.release()
        return self._held

    def _read(self) -> None:
        """From every place: where one is out of reach or was put back to an old list, another may do."""
        found, problems = [self._held], []
        for opens in self._opens:
            try:
                found.append(self._place(opens).newest())
            except SecretStoreError as error:
                problems.append(error.message)
        lists = [one for one in found if one]
        self._held = max(lists, key=lambda one: one.sequence, default=None)
        self._problem = "; ".join(problems)
        self._due = self._clock.monotonic() + (_AGAIN if problems else self._every)

    def _place(self, opens: Opens) -> Revocations:
        if opens not in self._places:
            with ExitStack() as opened:
                self._places[opens] = opens(opened)
                self._opened.push(opened.pop_all())
        return self._places[opens]

    def _doubt(self, found: RevocationList | None) -> WithheldError:
        if found is None:
            said = f"no list tells which versions are revoked{self._problem and f': {self._problem}'}"
            return WithheldError(said, hint="strongroom replica sync signs one, and brings it here")
        return WithheldError(
            f"the newest list of revocations that came here expired at {found.expires.strftime(_TIME)}",
            hint="see why nobody signs it, or why it does not come here: strongroom check",
        )


@final
class CopyPlace(RevocationPlace):
    """A store's own copy of the list, in its reserved name space: at a replica it outlives its source.

    Args:
        backend: the store with its encryption; its owner closes it.
        domain: of the list.
    """

    def __init__(self, backend: Backend, domain: str):
        self._backend, self.key = backend, Reserved("revocations", Name.parse(domain))

    def read(self) -> Held | None:
        try:
            found = self._backend.get(self.key, Stage.CURRENT)
        except (SecretNotFoundError, IntegrityError):  # under keys that are gone it is nobody's list
            return None
        return Held(text_of(found.value.reveal()), found.version)

    def write(self, note: str, over: Held | None) -> None:
        if over is None:
            self._drop()
        guarded = bool(self._backend.capabilities & ANY_CAS)
        if_version = (over.version if over else ABSENT) if guarded else None
        self._backend.put(self.key, SecretValue(note), if_version)

    def _drop(self) -> None:
        """Purge what does not open, since its version cannot be told to be written over."""
        try:
            self._backend.get(self.key, Stage.CURRENT)
        except IntegrityError:
            self._backend.purge(self.key)
        except SecretNotFoundError:
            pass


def known(
    config: Config,
    replica: ReplicaEntry,
    opening: Callable[[ExitStack], Members],
    signer: Callable[[str], Signer],
    clock: Clock,
) -> KnownRevocations:
    """What the readers of a replica know of revocations: where the file says, and by the replica's own copy.

    Args:
        config: has a table ``[revocations]``.
        replica: whose readers they are.
        opening: opens stores, and closes them with the stack.
        signer: opens the signing key of an alias: its public half is believed.
        clock: injected in tests.
    """
    entry = config.revocations
    assert entry

    def believed(place: RevocationPlace, opened: ExitStack) -> Revocations:
        keys = [NoteKey.parse(key) for key in entry.keys]
        by = note_signer(entry, signer, opened)
        return Revocations(place, keys, domain=entry.domain, signer=by, max_age=entry.max_age, clock=clock)

    def stored(alias: str) -> Opens:
        def opens(opened: ExitStack) -> Revocations:
            backend = opening(opened).member(config.stores[alias])
            return believed(CopyPlace(backend, entry.domain), opened)

        return opens

    aliases = dict.fromkeys((entry.store or replica.alias, replica.alias))
    files: list[Opens] = [partial(believed, FilePlace(entry.file))] if entry.file else []
    return KnownRevocations([*files, *map(stored, aliases)], clock)


def note_signer(
    entry: RevocationsEntry, opens: Callable[[str], Signer], opened: ExitStack
) -> NoteSigner | None:
    """Who signs the list of an entry, closed with `opened`; None where nobody does.

    Args:
        entry: the table ``[revocations]``.
        opens: opens the signing key of an alias.
        opened: closes it.
    """
    if not entry.signer:
        return None
    if entry.signer.startswith("/"):
        key = FileSigner.open(entry.signer)
        return NoteSigner(key.name, key)
    made = opens(entry.signer)
    opened.callback(made.close)
    return NoteSigner(f"{entry.domain}/revocations", made)
