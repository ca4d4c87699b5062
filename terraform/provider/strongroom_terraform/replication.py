"""``resource "strongroom_replication"``: a replica is brought up to its source, and kept so by each apply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final, final

from strongroom.toml.spot import near

from .blocks import Change, PartlyDoneError, Resource, State
from .places import blamed, config_of, known
from .problems import Diagnostic, ProblemError, problem
from .schema import BOOL, NUMBER, STRING, STRING_MAP, STRINGS, UNKNOWN, Attribute, Schema, Value, Values

if TYPE_CHECKING:
    from strongroom.replication.plan import Plan, Report, Step
    from strongroom.replication.replicating import Replicating
    from strongroom.toml.replicas import ReplicaEntry

_IN_SYNC: Final[Values] = {"in_sync": True, "missing": 0, "quarantined": 0, "lag_versions": 0}
"""What every plan wants; a replica that is anything else is to be updated."""


@final
class ReplicationResource(Resource):
    """Syncs a replica of strongroom.toml when it is made and whenever it is found behind."""

    name: ClassVar[str] = "strongroom_replication"
    schema: ClassVar[Schema] = Schema(
        "Brings the replica of a [replica.ALIAS] up to its source, each write read back; one that is found "
        "behind is an update. Destroying it leaves the replica as it is.",
        {
            "replica": Attribute(STRING, "The ALIAS of [replica.ALIAS].", required=True, replace=True),
            "names": Attribute(
                STRINGS,
                "Only these of the names that the replica is to have, or patterns of them.",
                optional=True,
            ),
            "after": Attribute(
                STRING_MAP,
                "Anything that tells of changes at the source, such as the versions of secrets that the same "
                "apply writes: another value syncs anew, after they are there.",
                optional=True,
            ),
            "id": Attribute(STRING, "The replica's alias.", computed=True),
            "source": Attribute(STRING, "The alias of the store whose secrets it has.", computed=True),
            "in_sync": Attribute(BOOL, "Whether it has every secret as its source has it.", computed=True),
            "missing": Attribute(NUMBER, "How many secrets it has not at all.", computed=True),
            "quarantined": Attribute(
                NUMBER,
                "How many names wait for a person, since two values claim one place in the order.",
                computed=True,
            ),
            "lag_versions": Attribute(NUMBER, "How many writes it is known to miss.", computed=True),
        },
    )

    def plan(self, change: Change) -> State:
        """In sync, whatever it is now; fails at ``replica`` or ``names`` if strongroom.toml has no such."""
        planned = {**change.planned, **_IN_SYNC}
        if known(change.config["replica"]):
            entry = self._entry(planned["replica"])
            _check_names(entry, planned["names"])
            planned |= {"id": entry.alias, "source": entry.source}
        else:
            planned |= {"id": UNKNOWN, "source": UNKNOWN}
        return State(planned, change.private, tuple(_waiting(change.prior)))

    def create(self, change: Change) -> State:
        """Sync. What was begun by an apply that was broken off is gone on with, and nothing written twice."""
        values, problems = self._synced(change)
        if problems:
            raise ProblemError(*problems)
        return State(values)

    def update(self, change: Change) -> State:
        """Sync."""
        values, problems = self._synced(change)
        if problems:
            raise PartlyDoneError(State(values), *problems)
        return State(values)

    def read(self, values: Values, private: bytes) -> State | None:
        """Names and records of both sides, no values. A replica that strongroom.toml has no more is gone."""
        alias = str(values["replica"])
        if alias not in config_of(self.stores).replicas:
            return None
        with self._replicating(alias) as replicating:
            found = replicating.plan(_texts(values["names"]))
            source = replicating.source.alias
        return State({**values, "id": alias, "source": source, **_counted(found)}, private)

    def delete(self, values: Values, private: bytes) -> None:
        """The state forgets; the replica stays as it is, and is followed by whoever does so."""

    def bring(self, identity: str) -> State:
        """By the replica's alias."""
        alias = self._entry(identity).alias
        return State({**dict.fromkeys(self.schema.attributes), "replica": alias})

    def _synced(self, change: Change) -> tuple[Values, Sequence[Diagnostic]]:
        alias, names = str(change.planned["replica"]), _texts(change.planned["names"])
        with self._replicating(alias) as replicating:
            report = replicating.sync(names)
            if report.complete:
                return change.planned, ()
            return {**change.planned, **_counted(replicating.plan(names))}, tuple(_undone(alias, report))

    def _entry(self, alias: Value) -> ReplicaEntry:
        replicas = config_of(self.stores).replicas
        if alias not in replicas:
            hint = near(str(alias), replicas) if replicas else "write [replica.ALIAS] in strongroom.toml"
            raise problem(f"no replica is called {alias!r}", "replica", detail=hint)
        return replicas[str(alias)]

    @contextmanager
    def _replicating(self, alias: str) -> Iterator[Replicating]:
        """Another replica of the file is not opened: it might not be able to."""
        from strongroom.replicas import replicas

        config = config_of(self.stores)
        alone = replace(config, replicas={alias: config.replicas[alias]})
        with blamed("replica"), replicas(alone, clock=self.stores.clock) as found:
            yield found[alias]


def _check_names(entry: ReplicaEntry, names: Value) -> None:
    """A name that the replica never has would be left out without a word."""
    for position, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and not set(name) & set("*?") and not entry.covers(name):
            summary = f"{entry.alias} is no replica of {name!r}: its names are {', '.join(entry.names)}"
            raise problem(summary, "names", position)


def _counted(plan: Plan) -> Values:
    from strongroom.replication.plan import Action

    return {
        "in_sync": not plan.due and not plan.waiting,
        "missing": sum(step.missing for step in plan.steps),
        "quarantined": plan.counts.get(Action.QUARANTINE, 0),
        "lag_versions": sum(step.behind for step in plan.steps),
    }


def _waiting(prior: Values | None) -> Iterator[Diagnostic]:
    if prior and prior["quarantined"]:
        summary = (
            f"{prior['quarantined']} names of {prior['replica']} are quarantined: two values claim one place"
        )
        yield Diagnostic(summary, _adopt(str(prior["replica"]), "NAME"), warning=True)


def _undone(alias: str, report: Report) -> Iterator[Diagnostic]:
    for step in report.skipped:
        if step.tried:
            why = step.reason or step.action.value
            yield Diagnostic(f"{alias}: {step.name}: {why}", _advice(alias, step), ("replica",))
    for name, error in report.failed.items():
        yield Diagnostic(f"{alias}: {name}: {error}", error.hint or "apply again", ("replica",))
    if late := [step for step in report.skipped if not step.tried]:
        yield Diagnostic(f"{alias}: {len(late)} more: {late[0].reason}", "apply again", ("replica",))


def _advice(alias: str, step: Step) -> str:
    from strongroom.replication.plan import Action

    if step.action in (Action.QUARANTINE, Action.FOREIGN):
        return _adopt(alias, step.name)
    if step.action is Action.AHEAD:
        return "it is newer than at the source; find out who writes there: strongroom replica plan"
    return "see: strongroom replica plan"


def _adopt(alias: str, name: str) -> str:
    return f"look at both values, then: strongroom replica adopt --store {alias} {name}"


def _texts(names: Value) -> list[str] | None:
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else None
