"""What the commands of replication share: the replicas of a configuration, asked one by one, and JSON."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from strongroom.errors import InvalidRequestError, PartialFailureError, SecretStoreError

from .options import Options, configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.replication.plan import Report, Step
    from strongroom.replication.record import Record
    from strongroom.replication.replicating import Replicating

T = TypeVar("T")


@contextmanager
def opened_replicas(options: Options, hooks: Sequence[AuditHook] = ()) -> Iterator[Mapping[str, Replicating]]:
    """The replicas that the configuration names, or the one that ``--store`` does; closed at the end.

    Raises:
        InvalidRequestError: the configuration has none, or none of that name.
    """
    from strongroom.replicas import replicas

    config = configuration(options)
    with replicas(config, hooks=hooks) as found:
        if not found:
            raise InvalidRequestError(
                "no replica is configured", hint='write [replica] with ALIAS = { source = "…" }'
            )
        if options.store is not None and options.store not in found:
            hint = f"there are: {', '.join(sorted(found))}"
            raise InvalidRequestError(f"no replica is called {options.store!r}", hint=hint)
        yield {alias: one for alias, one in found.items() if options.store in (None, alias)}


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
