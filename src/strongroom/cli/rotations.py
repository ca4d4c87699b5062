"""What the commands of rotation share: the engine of a configuration, and how a rotation is told."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import SecretStoreError

from .options import Options, configuration
from .output import day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from strongroom.audit.event import AuditHook
    from strongroom.backend import SecretVersion
    from strongroom.rotation.engine import Engine
    from strongroom.rotation.ledger import Entry, Ledger
    from strongroom.rotation.policy import Policy


class Opened(NamedTuple):
    """An engine, its ledger and policies, and how long the ledger remembers what is over."""

    engine: Engine
    ledger: Ledger
    policies: Sequence[Policy]
    keep: timedelta

    def forget(self) -> int:
        """Have the ledger forget what has been over for long; how many."""
        return self.ledger.purge(self.ledger.now() - self.keep)


@contextmanager
def opened_engine(
    options: Options, hooks: Sequence[AuditHook] = (), *, judged: bool = True
) -> Iterator[Opened]:
    """The engine that the configuration means, with its ledger; closed at the end.

    Args:
        options: name the configuration.
        hooks: told of each step besides the audit.
        judged: refuse policies that would break their readers.

    Raises:
        InvalidRequestError: the configuration has no rotation or no ledger, or one that cannot be.
        SecretStoreError: as its ledger or a store says.
    """
    from strongroom.rotation.engine import Engine
    from strongroom.rotationchecks import refuse_bad
    from strongroom.rotations import rotations

    config = configuration(options)
    with rotations(config, hooks=hooks) as found:
        if judged:
            refuse_bad(config, found.policies)
        owner = f"{os.uname().nodename} {os.getpid()}"
        with closing(Engine(found.ledger, found.policies, hooks=found.hooks, owner=owner)) as engine:
            yield Opened(engine, found.ledger, found.policies, found.keep)


@contextmanager
def engine_of(options: Options, hooks: Sequence[AuditHook] = (), *, judged: bool = True) -> Iterator[Engine]:
    """The engine alone; as `opened_engine`."""
    with opened_engine(options, hooks, judged=judged) as opened:
        yield opened.engine


@contextmanager
def rolling_back(options: Options, name: str) -> Iterator[Callable[[str], SecretVersion] | None]:
    """What rolls a secret back whose rotations the ledger remembers; None for any other.

    The store alone would bring back what a rotation has revoked at the target, or is about to.
    """
    config = configuration(options)
    alias = config.entry(options.store).alias
    if not any(entry.store == alias and entry.covers(name) for entry in config.rotations.values()):
        yield None
        return
    with engine_of(options, judged=False) as engine:
        secret = f"{alias}:{name}"
        known = engine.status(secret)
        yield (lambda version: engine.rollback(secret, if_version=version)) if known else None


def rotation_of(options: Options, name: str) -> dict[str, Any] | None:
    """What the ledger knows of a secret, if the configuration rotates it; no policy is judged for that."""
    config = configuration(options)
    alias = config.entry(options.store).alias
    covering = [one for one in config.rotations.values() if one.store == alias and one.covers(name)]
    if not covering:
        return None
    from strongroom.rotations import ledger

    [entry, *_] = covering
    found: dict[str, Any] = {"label": entry.label, "state": None, "last": None, "next": None}
    found["every"] = entry.schedule.every if entry.schedule else None
    try:
        with ledger(config) as opened:
            secret = f"{alias}:{name}"
            if opened:
                newest = opened.find(secret=secret, limit=1)
                found["state"] = newest[0].state.value if newest else None
                found["last"], found["next"] = opened.last_success(secret), opened.next_due(secret)
    except SecretStoreError as error:
        found["problem"] = error.message
    return found


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


def needs_a_person(entry: Entry) -> bool:
    """Whether automation has stopped, or waits for a value that somebody brings."""
    return entry.state.value in ("orphaned", "waiting")


def answer_command(entry: Entry) -> str:
    """How a person brings the value that a rotation waits for."""
    return f"strongroom put {entry.secret.partition(':')[2]} --rotation {entry.id}"


def told(entry: Entry) -> str:
    """A rotation in one line, with what comes next."""
    state, due = entry.state.value, day(entry.due)
    if entry.attempts and not needs_a_person(entry):
        failed = f"{entry.error or 'a step'} failed {entry.attempts} times"
        return f"{entry.secret}: {state}; {failed}, tried again at {due} ({entry.id})"
    coming = {
        "grace": f"the value before works until {due}",
        "waiting": f"somebody brings the value by {due}: {answer_command(entry)}",
        "orphaned": f"stopped at {entry.error or 'a step'}: see strongroom rotation resume and abort",
    }.get(state, f"goes on at {due}" if entry.state.open else "")
    return f"{entry.secret}: {state}{f'; {coming}' if coming else ''} ({entry.id})"
