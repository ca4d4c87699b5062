"""What the commands of rotation share: the engine of a configuration, and how a rotation is told."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from .options import Options, configuration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from strongroom.audit.event import AuditHook
    from strongroom.rotation.engine import Engine
    from strongroom.rotation.ledger import Entry, Ledger


class Opened(NamedTuple):
    """An engine, its ledger, and how long that remembers what is over."""

    engine: Engine
    ledger: Ledger
    keep: timedelta


@contextmanager
def opened_engine(options: Options, hooks: Sequence[AuditHook] = ()) -> Iterator[Opened]:
    """The engine that the configuration means, with its ledger; closed at the end.

    Raises:
        InvalidRequestError: the configuration has no rotation or no ledger, or one that cannot be.
        SecretStoreError: as its ledger or a store says.
    """
    from strongroom.rotation.engine import Engine
    from strongroom.rotations import rotations

    with rotations(configuration(options), hooks=hooks) as found:
        engine = Engine(found.ledger, found.policies, hooks=found.hooks)
        with closing(engine):
            yield Opened(engine, found.ledger, found.keep)


@contextmanager
def engine_of(options: Options, hooks: Sequence[AuditHook] = ()) -> Iterator[Engine]:
    """The engine alone; as `opened_engine`."""
    with opened_engine(options, hooks) as opened:
        yield opened.engine


def document(entry: Entry) -> dict[str, Any]:
    """A rotation as JSON says it."""
    return {
        "id": entry.id,
        "secret": entry.secret,
        "state": entry.state.value,
        "open": entry.state.open,
        "started": entry.started,
        "updated": entry.updated,
        "due": entry.due if entry.state.open else None,
        "attempts": entry.attempts,
        "error": entry.error,
        "base": entry.base,
        "version": entry.version,
        "tick": entry.tick,
        "facts": dict(entry.facts or {}),
    }
