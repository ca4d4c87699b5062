"""Events of the clouds say that a secret of a source has changed: it is brought to the replicas at once.

They are hints, as for rotations: they come twice, late, in any order or never, and whoever can send one
causes a look. A timer that calls `Function.tick` finds what no event told of.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import PartialFailureError, SecretStoreError
from strongroom.names import Name
from strongroom.replicas import replicas

from .azure import parts
from .google import SECRET, message
from .opening import configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike

    from strongroom.audit.event import AuditHook
    from strongroom.backend import Backend
    from strongroom.clock import Clock
    from strongroom.config import Config
    from strongroom.replication.plan import Report
    from strongroom.replication.replicating import Replicating

    Meant = Callable[[str], bool]  # whether the provider's own name of a secret is that of the event's

_TIMERS: Final = frozenset({"aws.events", "aws.scheduler"})
_AWS: Final = re.compile(
    r"arn:aws[\w-]*:(?:secretsmanager|ssm):(?P<region>[\w-]+):\d*:(?:secret:|parameter)(?P<name>.+)"
)
_SUFFIX: Final = re.compile(r"-\w{6}")


class Function:
    """Answers events of Amazon EventBridge, of Pub/Sub and of Event Grid: a function's handler.

    ``Function()`` is the Lambda's; ``functions_framework.cloud_event`` and ``event_grid_trigger`` take
    functions that call one. It is made once, and remembers which provider's name is which secret.

    Args:
        config: a strongroom.toml; without one, ``STRONGROOM_CONFIG`` names it, or it lies in the folder that
            the function starts in.
        hooks: called before and after every change of a replica.
        clock: injected in tests.
    """

    def __init__(
        self,
        *,
        config: str | PathLike[str] | Config | None = None,
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
    ):
        self._config, self._hooks, self._clock = config, hooks, clock
        self._known: dict[str, Name] = {}

    def __call__(self, event: Any, _context: object = None) -> dict[str, int]:
        """Bring the secret that an event is about to the replicas of its store.

        Returns:
            how many changes were brought to each replica that has it.

        Raises:
            InvalidRequestError: not an event of the three.
            SecretStoreError: a replica could not be written; the event should be delivered again.
        """
        if isinstance(event, dict) and event.get("source") in _TIMERS:
            return self.tick()
        meant = _meant(event)
        return self._each(lambda one: self._names(one, meant)) if meant else {}

    def tick(self) -> dict[str, int]:
        """Bring everything up, as a timer asks for; as a call with an event."""
        return self._each(lambda _: None)

    def _each(self, names: Callable[[Replicating], Sequence[str] | None]) -> dict[str, int]:
        done: dict[str, int] = {}
        errors: dict[str, SecretStoreError] = {}
        with replicas(configuration(self._config), hooks=self._hooks, clock=self._clock) as found:
            for alias, one in found.items():
                try:
                    wanted = names(one)
                    done |= {} if wanted == [] else {alias: _written(one.sync(wanted))}
                except SecretStoreError as error:
                    errors[alias] = error.with_traceback(None)
        if errors:
            problem = f"{len(errors)} replicas could not be brought up"
            raise PartialFailureError(problem, results=done, errors=errors, operation="replica sync")
        return done

    def _names(self, one: Replicating, meant: Meant) -> list[str]:
        """The names that an event means: of what is known from before, or else of what the stores list."""
        source = one.source.backend
        known = {place: name for place, name in self._known.items() if meant(place)}
        if not known:
            # What was deleted at the source is listed by the replica alone.
            for backend in (source, one.replica.backend):
                self._known |= {source.locate(name): name for name in _listed(backend)}
            known = {place: name for place, name in self._known.items() if meant(place)}
        return sorted({str(name) for place, name in known.items() if source.locate(name) == place})


def _listed(backend: Backend) -> Iterator[Name]:
    return (info.key for info in backend.list_info("") if isinstance(info.key, Name))


def _written(report: Report) -> int:
    if report.failed:
        problem = f"{len(report.failed)} secrets could not be brought to the replica"
        done = {step.name: step for step in report.done}
        raise PartialFailureError(problem, results=done, errors=report.failed, operation="replica sync")
    return len(report.done)


def _meant(event: Any) -> Meant | None:
    """What an event is about; None if it tells of no change."""
    if isinstance(event, dict) and str(event.get("source", "")).startswith("aws."):
        return _of_aws(event)
    if _is_of_pub_sub(event):
        return _of_google(message(event).get("attributes") or {})
    _, _, data = parts(event)
    vault, name = data.get("vaultname", "").lower(), data.get("objectname", "").lower()
    end = re.compile(rf"https://{re.escape(vault)}(?:\.[^/]*)?/secrets/{re.escape(name)}")
    return (lambda place: bool(end.fullmatch(place))) if vault and name else None


def _is_of_pub_sub(event: Any) -> bool:
    data = event if isinstance(event, dict) else getattr(event, "data", None)
    return isinstance(data, dict) and isinstance(data.get("message"), dict)


def _of_google(attributes: dict[str, Any]) -> Meant | None:
    """Events call a project by its number, and URLs mostly by its id: then the name decides."""
    told = SECRET.fullmatch(str(attributes.get("secretId", "")))
    if told is None:
        return None

    def meant(place: str) -> bool:
        here = SECRET.search(place)
        numbers = here and here["project"].isdigit() != told["project"].isdigit()
        return bool(here and here["name"] == told["name"] and (numbers or here["project"] == told["project"]))

    return meant


def _of_aws(event: dict[str, Any]) -> Meant | None:
    """CloudTrail's records of calls on Secrets Manager, and Parameter Store's own events.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-eventbridge.html
    https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-cwe.html
    """
    detail = event.get("detail")
    given = detail if isinstance(detail, dict) else {}
    asked = given.get("requestParameters")
    named = {**given, **(asked if isinstance(asked, dict) else {})}
    told = named.get("secretId") or named.get("name")
    region = event.get("region")
    return (lambda place: _is_of(place, told, region)) if isinstance(told, str) else None


def _is_of(place: str, told: str, region: object) -> bool:
    """By its name, or by an ARN, to whose name Secrets Manager adds six random characters."""
    here, there = _AWS.fullmatch(place), _AWS.fullmatch(told)
    if here is None or (region and here["region"] != region):
        return False
    name = there["name"] if there else told
    rest = name.removeprefix(here["name"]) if name.startswith(here["name"]) else None
    return rest == "" or bool(there and rest and _SUFFIX.fullmatch(rest))
