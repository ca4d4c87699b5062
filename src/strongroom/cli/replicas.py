"""What the commands of replication share: the replicas of a configuration, asked one by one, and JSON."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from strongroom.errors import InvalidRequestError, PartialFailureError, SecretStoreError

from .options import Options, configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from strongroom.audit.event import AuditHook
    from strongroom.replication.plan import Report, Step
    from strongroom.replication.record import Record
    from strongroom.replication.replicating import Replicating
    from strongroom.toml.file import Config

T = TypeVar("T")


@contextmanager
def opened_replicas(options: Options, hooks: Sequence[AuditHook] = ()) -> Iterator[Mapping[str, Replicating]]:
    """The replicas that the configuration names, or the one that ``--store`` does; closed at the end.

    Raises:
        InvalidRequestError: the configuration has none, or none of that name.
    """
    from strongroom.replicas import replicas

    config = configuration(options)
    if not config.replicas:
        hint = "write [replica.ALIAS] with source = in strongroom.toml"
        raise InvalidRequestError("no replica is configured", hint=hint)
    if options.store is not None and options.store not in config.replicas:
        hint = f"there are: {', '.join(sorted(config.replicas))}"
        raise InvalidRequestError(f"no replica is called {options.store!r}", hint=hint)
    with replicas(_only(config, {options.store or alias for alias in config.replicas}), hooks=hooks) as found:
        yield found


def _only(config: Config, aliases: AbstractSet[str]) -> Config:
    """What is not asked for is not opened: it might not be able to."""
    kept = {alias: entry for alias, entry in config.replicas.items() if alias in aliases}
    return replace(config, replicas=kept)


def replicas_of(options: Options, name: str) -> list[dict[str, Any]]:
    """Where each replica stands with one secret; that of another store, or of none, is not among them."""
    config = configuration(options)
    if not config.replicas:
        return []
    from strongroom.replicas import replicas

    entry = config.entry(options.store)
    places = {entry.alias, *entry.failover}
    meant = {one.alias for one in config.replicas.values() if one.covers(name) and one.source in places}
    meant |= {alias for alias in config.replicas if alias == entry.alias}
    try:
        with replicas(_only(config, meant)) as found:
            answers = each(found, lambda one: one.plan([name]).steps)
    except SecretStoreError as error:
        return [{"replica": alias, "problem": error.message} for alias in sorted(meant)]
    stand = {alias: step_document(steps[0]) for alias, steps in answers.results.items() if steps}
    problems = {alias: {"problem": error.message} for alias, error in answers.errors.items()}
    return [{"replica": alias, **facts} for alias, facts in sorted({**stand, **problems}.items())]


class Answers(NamedTuple, Generic[T]):
    """What each replica answered, or why it did not."""

    results: dict[str, T]
    errors: dict[str, SecretStoreError]

    def refuse(self) -> None:
        """Raise what went wrong: an error alone as it is, several or one of several as a partial failure."""
        if not self.errors:
            return
        if not self.results and len(self.errors) == 1:
            raise next(iter(self.errors.values()))
        count = f"{len(self.errors)} of {len(self.errors) + len(self.results)} replicas"
        raise PartialFailureError(f"{count} failed", results=self.results, errors=self.errors)


def each(found: Mapping[str, Replicating], call: Callable[[Replicating], T]) -> Answers[T]:
    """Ask all of them: one that is down says nothing of the others."""
    answers = Answers[T]({}, {})
    for alias, replicator in found.items():
        try:
            answers.results[alias] = call(replicator)
        except SecretStoreError as error:
            answers.errors[alias] = error.with_traceback(None)
    return answers


def step_document(step: Step) -> dict[str, Any]:
    """A step as JSON says it."""
    return {
        "name": step.name,
        "action": step.action.value,
        "reason": step.reason,
        "record": _place(step.record),
        "held": _place(step.held),
        "behind": step.behind,
        "since": step.since,
    }


def report_document(report: Report) -> dict[str, Any]:
    """A report as JSON says it."""
    from .failure import describe

    return {
        "done": list(map(step_document, report.done)),
        "failed": {name: describe(error) for name, error in report.failed.items()},
        "skipped": list(map(step_document, report.skipped)),
        "seconds": round(report.seconds, 3),
    }


def order(record: Record | None) -> str:
    """A record's place in the order, for people; its digest and write id are for machines that compare."""
    return f"{record.epoch}.{record.seq}" if record else "-"


def _place(record: Record | None) -> dict[str, int] | None:
    return {"epoch": record.epoch, "seq": record.seq} if record else None
