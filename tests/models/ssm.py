"""AWS Parameter Store as the models see it, and a boto3 client whose provider is that model.

Modelled: numbers that start again at 1 in each life of a name, dates to the millisecond that never go back,
Overwrite=False as create-only and Overwrite=True that creates too, final deletes after which a name is free
30 seconds later, a description per version that a put without one carries on, and the 100 versions of which
a labelled oldest one blocks the next put (`most` makes them fewer). Not modelled: lagging reads, tags, tiers.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, ReadTimeoutError

from tests.models.replay import Call, Lost, Port, Refused

WRITES = frozenset({"ssm_put", "ssm_delete", "ssm_label"})
CODES = {
    "exists": "ParameterAlreadyExists",
    "missing": "ParameterNotFound",
    "no such version": "ParameterVersionNotFound",
    "labelled": "ParameterMaxVersionLimitExceeded",
    "throttled": "ThrottlingException",
    "busy": "TooManyUpdates",
    "denied": "AccessDeniedException",
    "failing": "InternalServerError",
    "key": "InvalidKeyId",
}
_PAUSE = 30_000


class Version(NamedTuple):
    """`made` is in milliseconds since the epoch."""

    number: int
    made: int
    text: str
    description: str = ""
    labels: tuple[str, ...] = ()


class World(NamedTuple):
    """The versions of each parameter, oldest first, and the clock of its writes."""

    parameters: tuple[tuple[str, tuple[Version, ...]], ...] = ()
    now: int = 1_800_000_000_000
    most: int = 100

    def of(self, name: str) -> tuple[Version, ...]:
        return dict(self.parameters).get(name, ())

    def having(self, name: str, versions: tuple[Version, ...], passed: int = 1) -> World:
        parameters = {**dict(self.parameters), name: versions}
        kept = tuple(sorted((key, held) for key, held in parameters.items() if held))
        return self._replace(parameters=kept, now=self.now + passed)


def apply(world: World, call: Call) -> tuple[World, Hashable]:
    """One call to AWS, atomically."""
    name, *args = call.args
    if call.name == "ssm_put":
        return _put(world, name, *args)
    if call.name == "ssm_get":
        return world, _get(world.of(name), *args)
    if call.name == "ssm_batch":
        return world, tuple((each, world.of(each)[-1] if world.of(each) else None) for each in call.args)
    if call.name == "ssm_history":
        return world, world.of(name) or Refused("missing")
    if call.name == "ssm_label":
        return _label(world, name, *args)
    assert call.name == "ssm_delete"
    return (world.having(name, (), _PAUSE), "ok") if world.of(name) else (world, Refused("missing"))


def _put(
    world: World, name: str, text: str, description: str | None, overwrite: bool
) -> tuple[World, Hashable]:
    versions = world.of(name)
    if versions and not overwrite:
        return world, Refused("exists")
    if len(versions) >= world.most:
        if versions[0].labels:
            return world, Refused("labelled")
        versions = versions[1:]
    last = versions[-1] if versions else Version(0, 0, "")
    told = last.description if description is None else description
    written = Version(last.number + 1, world.now, text, told)
    return world.having(name, (*versions, written)), written.number


def _get(versions: tuple[Version, ...], number: int) -> Hashable:
    if not versions:
        return Refused("missing")
    found = versions[-1] if not number else next((v for v in versions if v.number == number), None)
    return Refused("no such version") if found is None else found


def _label(world: World, name: str, number: int, label: str) -> tuple[World, Hashable]:
    """A label is on one version at a time."""
    moved = tuple(
        version._replace(labels=(label,) if version.number == number else ()) for version in world.of(name)
    )
    return (world.having(name, moved, 0), "ok") if moved else (world, Refused("missing"))


class PortClient:
    """The calls that the backend makes, answered with boto3's shapes and errors."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def put_parameter(self, **request: Any) -> dict[str, Any]:
        args = request["Value"], request.get("Description"), request.get("Overwrite", False)
        return {"Version": self._asked("PutParameter", "ssm_put", request["Name"], *args)}

    def get_parameter(self, **request: Any) -> dict[str, Any]:
        name, _, number = request["Name"].partition(":")
        found = self._asked("GetParameter", "ssm_get", name, int(number or 0))
        return {"Parameter": shown(found)}

    def get_parameters(self, **request: Any) -> dict[str, Any]:
        found = self._asked("GetParameters", "ssm_batch", *request["Names"])
        there = [{**shown(version), "Name": name} for name, version in found if version]
        return {"Parameters": there, "InvalidParameters": [name for name, version in found if not version]}

    def get_parameter_history(self, **request: Any) -> dict[str, Any]:
        versions = self._asked("GetParameterHistory", "ssm_history", request["Name"])
        return {"Parameters": [shown(version) for version in versions]}

    def delete_parameter(self, **request: Any) -> dict[str, Any]:
        self._asked("DeleteParameter", "ssm_delete", request["Name"])
        return {"ResponseMetadata": {}}

    def _asked(self, operation: str, call: str, *args: Hashable) -> Any:
        answer = self._port.call(call, *args)
        if isinstance(answer, Lost):
            raise ReadTimeoutError(endpoint_url="https://model.invalid")
        if isinstance(answer, Refused):
            raise ClientError({"Error": {"Code": CODES[answer.why], "Message": answer.why}}, operation)
        return answer


def shown(version: Version) -> dict[str, Any]:
    """A version as GetParameter and GetParameterHistory tell it."""
    return {
        "Name": "/model",
        "Version": version.number,
        "LastModifiedDate": datetime.fromtimestamp(version.made / 1000, UTC),
        "Value": version.text,
        "Description": version.description,
        "Labels": list(version.labels),
    }
