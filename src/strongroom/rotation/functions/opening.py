"""The engine that a function works with, for one event: what an earlier one left in memory cannot matter."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.backend import Settings
from strongroom.config import Config, StoreEntry
from strongroom.names import StoreURL
from strongroom.rotation.engine import Engine
from strongroom.rotationchecks import refuse_bad
from strongroom.rotations import rotations
from strongroom.toml.credentials import merged
from strongroom.toml.rotation_entries import LedgerEntry, RotationEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta
    from os import PathLike

    from strongroom.audit.event import AuditHook
    from strongroom.clock import Clock
    from strongroom.rotation.ledger import Ledger
    from strongroom.rotation.policy import Policy
    from strongroom.value import SecretValue

_ALIAS: Final = "secrets"


def configuration(config: str | PathLike[str] | Config | None) -> Config:
    """The file as it is now, or what was read of it already."""
    return config if isinstance(config, Config) else Config.load(config)


class Opened(NamedTuple):
    """An engine, and what it works on."""

    engine: Engine
    policies: tuple[Policy, ...]
    ledger: Ledger


@contextmanager
def opened(
    config: Config,
    *,
    hooks: Sequence[AuditHook] = (),
    clock: Clock | None = None,
    each: Callable[[Policy], Policy] = lambda policy: policy,
) -> Iterator[Opened]:
    """The engine of a configuration; closed at the end. Raises as `strongroom.rotations.engine`.

    Args:
        config: with its rotations and its ledger.
        hooks: called before and after every operation.
        clock: injected in tests.
        each: what becomes of each policy.
    """
    with rotations(config, hooks=hooks, clock=clock) as found:
        refuse_bad(config, found.policies)
        policies = tuple(map(each, found.policies))
        engine = Engine(found.ledger, policies, hooks=found.hooks, clock=clock)
        with closing(engine):
            yield Opened(engine, policies, found.ledger)


def location(policy: Policy) -> str:
    """The provider's own name of a policy's secret, by which events call it; nothing is asked."""
    store = policy.store
    return store._backend.locate(store._gate.key(policy.name, "get"))  # noqa: SLF001


def of_one_secret(
    url: str, name: str, rotator: str, *, grace: timedelta, endpoint: str | None = None
) -> Config:
    """A configuration for one secret, with its ledger beside it.

    Args:
        url: the store, without a prefix, since the event names the secret as its provider does.
        name: the secret's whole name there.
        rotator: ``package.module:Class``, made without arguments.
        grace: how long the previous value goes on working.
        endpoint: another server than the provider's own.
    """
    store = StoreEntry(_ALIAS, url, settings=Settings(names="native", endpoint=endpoint))
    entry = RotationEntry("function", (name,), _ALIAS, rotator, grace=grace)
    ledger = LedgerEntry(f"strongroom://{_ALIAS}")
    return Config(default=_ALIAS, stores={_ALIAS: store}, rotations={"function": entry}, ledger=ledger)


def bearing(config: Config, token: SecretValue | None) -> Config:
    """The same, where Secrets Manager's stores send the RotationToken of an event; nothing is read yet."""
    if token is None:
        return config
    stores = {alias: _bearing(entry, token) for alias, entry in config.stores.items()}
    return replace(config, stores=stores)


def _bearing(entry: StoreEntry, token: SecretValue) -> StoreEntry:
    if not entry.url or StoreURL.parse(entry.url).scheme != "aws-sm":
        return entry
    auth = merged(entry.settings.auth, {"rotation_token": token})
    return replace(entry, settings=replace(entry.settings, auth=auth))
