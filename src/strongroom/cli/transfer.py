"""Many values into one store: what ``import`` and ``copy`` share.

First everything is planned and every collision is known; only then is anything written. Values that are there
already are not written again, so that a run that was cut short is simply repeated.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from strongroom.backend import ABSENT, ANY_CAS, Absent, Capability
from strongroom.errors import (
    InvalidRequestError,
    PartialFailureError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)

from .output import progress

if TYPE_CHECKING:
    from strongroom.backend import Secret
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

Existing = Literal["refuse", "keep", "replace"]
_BATCH = 20  # AWS's BatchGetSecretValue takes no more names


class Action(enum.Enum):
    """What happens to one name."""

    CREATE = "create"
    REPLACE = "replace"
    SAME = "same"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Step:
    """One name of the plan; `if_version` guards the write against what changed since."""

    name: str
    value: SecretValue
    action: Action
    if_version: str | Absent | None = None

    @property
    def writes(self) -> bool:
        """Whether this step writes at all."""
        return self.action in (Action.CREATE, Action.REPLACE)


def read_many(store: SecretStore, names: Sequence[str]) -> dict[str, Secret]:
    """The secrets that exist among `names`.

    Raises:
        SecretStoreError: the first error that is not "not found".
    """
    batches = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
    return {
        name: secret for batch in progress(batches, "reading") for name, secret in _read(store, batch).items()
    }


def _read(store: SecretStore, names: Sequence[str]) -> Mapping[str, Secret]:
    try:
        return store.get_many(names)
    except PartialFailureError as partial:
        results, errors = partial.results, partial.errors
    serious = next((error for error in errors.values() if not isinstance(error, SecretNotFoundError)), None)
    if serious:
        raise serious
    return results


def plan(store: SecretStore, values: Mapping[str, SecretValue], existing: Existing) -> list[Step]:
    """What must be written, judged by what the store holds now.

    Raises:
        SecretConflictError: names hold other values and `existing` is "refuse"; nothing was written.
    """
    there = read_many(store, list(values))
    steps = [_step(store, name, value, there.get(name), existing) for name, value in values.items()]
    taken = [step.name for step in steps if step.action is Action.REPLACE]
    if taken and existing == "refuse":
        raise SecretConflictError(
            f"{len(taken)} names hold other values already: {_some(taken)}; nothing was written",
            hint="--if-absent keeps them, --replace writes new versions",
        )
    return steps


def _step(
    store: SecretStore, name: str, value: SecretValue, there: Secret | None, existing: Existing
) -> Step:
    can = store.capabilities
    if there is None:
        return Step(name, value, Action.CREATE, ABSENT if Capability.CREATE_ONLY in can else None)
    if there.value == value and there.value.kind == value.kind:
        return Step(name, value, Action.SAME)
    if existing == "keep":
        return Step(name, value, Action.KEEP)
    return Step(name, value, Action.REPLACE, there.version if can & ANY_CAS else None)


def apply(store: SecretStore, steps: Sequence[Step]) -> dict[str, str]:
    """Write what the plan says; the new version ids by name.

    Raises:
        PartialFailureError: some names failed; the others are done. A repeat does only what is missing.
        UnavailableError: the store did not answer, and nothing was written.
    """
    results: dict[str, str] = {}
    errors: dict[str, SecretStoreError] = {}
    for step in progress([step for step in steps if step.writes], "writing"):
        try:
            results[step.name] = store.put(step.name, step.value, if_version=step.if_version).id
        except SecretStoreError as error:
            errors[step.name] = error.with_traceback(None)
        # A store that does not answer now would be waited for once per name.
        if isinstance(errors.get(step.name), UnavailableError):
            break
    finish(results, errors, sum(step.writes for step in steps))
    return results


def finish(results: Mapping[str, Any], errors: Mapping[str, SecretStoreError], wanted: int) -> None:
    """Raise if there were errors: the only one if nothing at all was tried beside it, else all together."""
    if not errors:
        return
    if not results and len(errors) == 1:
        raise next(iter(errors.values()))
    raise PartialFailureError(
        f"{len(results)} of {wanted} names are written, {len(errors)} failed",
        results=results,
        errors=errors,
        performed=bool(results),
        hint="repeat the command: what is written already is skipped",
    )


def check_names(names: Sequence[str]) -> None:
    """Refuse two values for one name.

    Raises:
        InvalidRequestError: naming them.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRequestError(
            f"several keys become the same name: {_some(twice)}; nothing was written", hint="--map KEY=NAME"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
