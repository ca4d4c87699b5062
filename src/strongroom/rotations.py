"""From ``[rotation.LABEL]`` and ``[ledger]`` to what an engine works on: policies, a ledger, hooks."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

from .clock import Clock
from .config import Opening, keyring
from .config import open as open_store
from .errors import InvalidRequestError, SecretStoreError
from .rotatoroptions import Opens, arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta

    from .audit.event import AuditHook
    from .backend import Backend
    from .rotation.engine import Engine
    from .rotation.ledger import Ledger
    from .rotation.policy import Policy
    from .rotation.rotator import Rotator, Source
    from .rotation.schedule import Schedule
    from .store import SecretStore
    from .toml.credentials import Credential
    from .toml.file import Config
    from .toml.rotation_entries import LedgerEntry, RotationEntry
    from .toml.spot import Spot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rotations:
    """What a strongroom.toml says of rotation, opened.

    Attributes:
        ledger: how far each has come.
        policies: one for each secret.
        hooks: the audit's, then those given.
        keep: how long the ledger remembers what is over.
    """

    ledger: Ledger
    policies: tuple[Policy, ...]
    hooks: tuple[AuditHook, ...]
    keep: timedelta


@contextmanager
def rotations(
    config: Config, *, hooks: Sequence[AuditHook] = (), clock: Clock | None = None
) -> Iterator[Rotations]:
    """Open all that the file says of rotation; closed at the end. No target is asked.

    A prefix among the names means the secrets that the store has below it now.

    Args:
        config: the file.
        hooks: called before and after every operation of the stores and every step of a rotation.
        clock: injected in tests.

    Raises:
        InvalidRequestError: a schedule or a rotator's option is wrong, or there is no ledger.
        BackendNotInstalledError: a package is missing.
        SecretStoreError: as a store says whose names have to be listed.
    """
    if not config.rotations:
        raise InvalidRequestError(
            "no rotation is configured", hint="write [rotation.LABEL] in strongroom.toml"
        )
    if config.ledger is None:
        hint = 'write [ledger] with url = "sqlite:///path of a file" in strongroom.toml'
        raise InvalidRequestError(
            "there is no ledger, which remembers how far a rotation has come", hint=hint
        )
    with ExitStack() as opened:
        building = _Building(config, hooks, clock or Clock(), opened)
        policies = tuple(one for entry in config.rotations.values() for one in building.policies(entry))
        yield Rotations(building.ledger(config.ledger), policies, building.hooks, config.ledger.keep)


@contextmanager
def ledger(config: Config, clock: Clock | None = None) -> Iterator[Ledger | None]:
    """The ledger alone, for whoever only looks; None if the file names none. Closed at the end.

    Raises:
        SecretStoreError: as a store says that is to hold it.
    """
    with ExitStack() as opened:
        building = _Building(config, (), clock or Clock(), opened)
        yield building.ledger(config.ledger) if config.ledger else None


@contextmanager
def engine(
    config: Config,
    *,
    hooks: Sequence[AuditHook] = (),
    clock: Clock | None = None,
    judged: bool = True,
    owner: str | None = None,
) -> Iterator[Engine]:
    """The engine that the file means, for whatever calls it; closed at the end.

    Args:
        config, hooks, clock: as of `rotations`.
        judged: refuse policies that would break their readers; whoever ends a rotation does not ask.
        owner: what the ledger calls this worker.

    Raises:
        InvalidRequestError: besides, a grace is shorter than what readers remember.
    """
    from .rotation.engine import Engine
    from .rotationchecks import refuse_bad

    with rotations(config, hooks=hooks, clock=clock) as found:
        if judged:
            refuse_bad(config, found.policies)
        with closing(
            Engine(found.ledger, found.policies, clock=clock, hooks=found.hooks, owner=owner)
        ) as made:
            yield made


def judge(config: Config) -> None:
    """Whether the schedules and rotators of a file can be made; nothing is opened, read or asked.

    Raises:
        InvalidRequestError: a schedule or a rotator's option is wrong.
        BackendNotInstalledError: a package is missing, so that nothing can be said.
    """
    opens = Opens(_unread, _unread)
    for entry in config.rotations.values():
        _schedule(entry)
        _rotator(entry, opens)


def _unread(_alias: str, *_rest: object) -> NoReturn:
    raise InvalidRequestError("a rotator reads what its options name before it is asked to rotate")


class _Building:
    def __init__(self, config: Config, hooks: Sequence[AuditHook], clock: Clock, opened: ExitStack):
        self._config, self._given, self._clock, self._opened = config, tuple(hooks), clock, opened
        self._opening = Opening(config, clock, opened, hooks)
        trail = self._opening.trail()
        self.hooks: tuple[AuditHook, ...] = (*([trail.hook()] if trail else []), *hooks)
        self._stores: dict[str, SecretStore] = {}
        self._owners: dict[tuple[str, str], str] = {}

    def policies(self, entry: RotationEntry) -> Iterator[Policy]:
        """One for each name; they share the rotator, which keeps nothing between two hooks."""
        from .rotation.policy import Policy

        store, schedule, rotator = self._store(entry.store), _schedule(entry), _rotator(entry, self._opens())
        for name in self._names(entry, store):
            yield Policy(
                name,
                store,
                rotator,
                schedule,
                grace=entry.grace,
                deadline=entry.deadline,
                attempts=entry.attempts,
                puts_count=entry.puts_count,
                label=entry.label,
                options=_digest(entry),
            )

    def ledger(self, entry: LedgerEntry) -> Ledger:
        from .rotation.ledgers import open_ledger

        made = open_ledger(
            entry.url,
            user=entry.user or None,
            password=self._source(entry.password) if entry.password else None,
            ca=entry.ca or None,
            stores=self._backend,
            clock=self._clock,
        )
        self._opened.callback(made.close)
        return made

    def _source(self, credential: Credential) -> Source:
        return lambda: credential.read(self._opening.secret)

    def _backend(self, alias: str) -> Backend:
        """Below a store's cache and audit: the ledger's records are no secrets."""
        self._opening.coordinate()
        return self._opening.alone(self._config.stores[alias])

    def _store(self, alias: str) -> SecretStore:
        if alias not in self._stores:
            store = open_store(alias, config=self._config, hooks=self._given, clock=self._clock)
            self._stores[alias] = self._opened.enter_context(store)
        return self._stores[alias]

    def _names(self, entry: RotationEntry, store: SecretStore) -> Iterator[str]:
        for name in dict.fromkeys(name for pattern in entry.names for name in _matching(pattern, store)):
            other = self._owners.setdefault((entry.store, name), entry.label)
            if other != entry.label:
                (entry.spot / "names").fail(f"{name} is in rotation.{other} too", "a secret has one rotation")
            yield name

    def _opens(self) -> Opens:
        return Opens(
            self._opening.secret, lambda alias: keyring(alias, config=self._config, clock=self._clock)
        )


def _matching(pattern: str, store: SecretStore) -> Iterable[str]:
    prefix = pattern.removesuffix("**")
    return (pattern,) if prefix == pattern else store.list_names(prefix=prefix)


def _digest(entry: RotationEntry) -> str:
    """An option may be a value that somebody wrote into the file: the ledger never gets to see it."""
    return hashlib.sha256(repr((entry.rotator, sorted(entry.options.items()))).encode()).hexdigest()


def _rotator(entry: RotationEntry, opens: Opens) -> Rotator:
    from .rotation.rotators.names import rotator_class

    found = _told(entry.spot / "rotator", lambda: rotator_class(entry.rotator))
    given = arguments(found, entry.options, entry.spot / "options", opens)
    return _told(entry.spot / "options", lambda: found(**given))


def _schedule(entry: RotationEntry) -> Schedule | None:
    found = entry.schedule
    if found is None:
        return None
    from .rotation.schedule import Schedule

    return _told(
        entry.spot / "schedule",
        lambda: Schedule(found.every, timezone=found.timezone, window=found.window, max_age=found.max_age),
    )


def _told(spot: Spot, make: Callable[[], T]) -> T:
    """What is made, or its error with the place in the file."""
    try:
        return make()
    except SecretStoreError as error:
        problem = error
    problem.message = f"{spot.error('').message}{problem.message}"
    raise problem.with_traceback(None)
