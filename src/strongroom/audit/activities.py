"""What the operations are in the words of the published schemas, and how serious a record is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

API_ACTIVITY: Final = 6003
ENTITY_MANAGEMENT: Final = 3004
DETECTION_FINDING: Final = 2004
BASE_EVENT: Final = 0
OTHER: Final = 99
"""Classes and the activity "Other" by their ids in OCSF 1.9.0."""

INFORMATIONAL: Final = 1
LOW: Final = 2
MEDIUM: Final = 3
HIGH: Final = 4
CRITICAL: Final = 5
"""OCSF's `severity_id`."""


class Activity(NamedTuple):
    """What an operation does.

    Attributes:
        class_uid: the OCSF class of its records: the use of values and keys is API Activity, what changes the
            life of a secret or a key is Entity Management.
        activity_id: of that class.
        name: OCSF's caption of that id; of what OCSF has no word for, the operation itself.
        ecs_type: ECS's `event.type`.
    """

    class_uid: int
    activity_id: int
    name: str
    ecs_type: str


_READ: Final = Activity(API_ACTIVITY, 2, "Read", "access")
_WRITE: Final = Activity(API_ACTIVITY, 3, "Update", "change")
_CREATE: Final = Activity(API_ACTIVITY, 1, "Create", "creation")
_CHANGE: Final = Activity(ENTITY_MANAGEMENT, 3, "Update", "change")
_MAKE: Final = Activity(ENTITY_MANAGEMENT, 1, "Create", "creation")
_END: Final = Activity(ENTITY_MANAGEMENT, 4, "Delete", "deletion")
_ENABLE: Final = Activity(ENTITY_MANAGEMENT, 8, "Enable", "change")
_DISABLE: Final = Activity(ENTITY_MANAGEMENT, 9, "Disable", "change")
_ACTIVATE: Final = Activity(ENTITY_MANAGEMENT, 10, "Activate", "change")
_DEACTIVATE: Final = Activity(ENTITY_MANAGEMENT, 11, "Deactivate", "change")
_SUSPEND: Final = Activity(ENTITY_MANAGEMENT, 12, "Suspend", "change")

_OPERATIONS: Final[Mapping[str, Activity]] = {
    **dict.fromkeys(("get", "get_many", "prefetch", "list", "versions", "describe", "refresh"), _READ),
    **dict.fromkeys(("pending.get", "pending.stray", "watch", "on_change", "key.list"), _READ),
    **dict.fromkeys(("put", "reencrypt"), _WRITE),
    "pending.put": _CREATE,
    **dict.fromkeys(("set_tags", "key.rotate", "key.rewrap", "pending.claim", "pending.fence"), _CHANGE),
    "key.create": _MAKE,
    **dict.fromkeys(("purge", "retire", "pending.discard", "pending.clean", "shred"), _END),
    "delete": _DISABLE,
    "restore": _ENABLE,
    **dict.fromkeys(("rollback", "pending.promote"), _ACTIVATE),
    **dict.fromkeys(("revoke", "rotation.revoke"), _DEACTIVATE),
}
_GROUPS: Final = {"rotation": _CHANGE, "replica": _CHANGE}

_LEVELS: Final = {
    "informational": INFORMATIONAL,
    "low": LOW,
    "medium": MEDIUM,
    "high": HIGH,
    "critical": CRITICAL,
}
_FAILURES: Final = {"PermissionDeniedError": MEDIUM, "IntegrityError": HIGH}
_KINDS: Final = {"gap": HIGH, "recovery": MEDIUM, "skipped": MEDIUM, "suppression": LOW}


def activity_of(record: Mapping[str, Any]) -> Activity:
    """What a record tells of."""
    kind: str = record["kind"]
    if kind == "event":
        operation: str = record.get("op", "")
        other = _GROUPS.get(operation.partition(".")[0], Activity(API_ACTIVITY, OTHER, operation, "info"))
        return _OPERATIONS.get(operation, other)
    if kind == "reads":
        return _READ
    if kind == "detection":
        return Activity(DETECTION_FINDING, 1, "Create", "info")
    return _SUSPEND if kind == "suppression" else Activity(BASE_EVENT, OTHER, kind, "info")


def severity_of(record: Mapping[str, Any]) -> int:
    """How serious a record is, as OCSF's `severity_id`."""
    kind: str = record["kind"]
    if kind == "detection":
        return _LEVELS.get(record.get("severity", ""), MEDIUM)
    outcome = record.get("outcome", "ok")
    if outcome != "ok":
        return _FAILURES.get(outcome, LOW)
    return LOW if record.get("degraded") else _KINDS.get(kind, INFORMATIONAL)
