"""Records as documents of the Elastic Common Schema; what it has no field for stands under `strongroom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .activities import API_ACTIVITY, BASE_EVENT, DETECTION_FINDING, ENTITY_MANAGEMENT
from .rendering import PRODUCT, product_version, words

if TYPE_CHECKING:
    from .rendering import Facts

VERSION: Final = "9.1.0"
_CATEGORIES: Final = {
    API_ACTIVITY: ["api"],
    ENTITY_MANAGEMENT: ["configuration"],
    DETECTION_FINDING: ["intrusion_detection"],
    BASE_EVENT: [],
}
_TOLD: Final = words("chain time op host pid outcome actor trace since until rule title at reads")
_OURS: Final = PRODUCT.lower()


def ecs(facts: Facts) -> dict[str, Any]:
    """The document."""
    record = facts.record
    document: dict[str, Any] = {
        "@timestamp": record["time"],
        "ecs": {"version": VERSION},
        "message": facts.message,
        "event": _event(facts),
        "user": _user(facts),
        "source": {"address": facts.actor.address if facts.actor else "", "ip": facts.ip},
        "related": _related(facts),
        "host": {"name": facts.host},
        "process": {"pid": record.get("pid")},
        "service": {"name": _OURS, "type": _OURS, "version": product_version()},
        "rule": _rule(facts),
        "error": {"type": record["outcome"] if record.get("outcome", "ok") != "ok" else ""},
        "trace": {"id": facts.trace[0]},
        "span": {"id": facts.trace[1]},
        _OURS: {"chain": record["chain"], **facts.rest(_TOLD), "reads": facts.reads},
    }
    return _filled(document)


def _event(facts: Facts) -> dict[str, Any]:
    record = facts.record
    detected = record["kind"] == "detection"
    return {
        "kind": "alert" if detected else "event",
        "category": _CATEGORIES[facts.activity.class_uid],
        "type": _types(facts),
        "action": record.get("op") or ("get" if record["kind"] == "reads" else record["kind"]),
        "outcome": _outcome(record),
        "id": facts.id,
        "sequence": record["seq"],
        "severity": facts.severity,
        "module": _OURS,
        "dataset": f"{_OURS}.audit",
        "provider": _OURS,
        "start": record.get("since") or record.get("at"),
        "end": record.get("until") or (record["time"] if record["kind"] == "reads" else None),
        "original": facts.line,
        "hash": facts.leaf,
    }


def _types(facts: Facts) -> list[str]:
    """Of `denied` ECS knows among the API's events only."""
    denied = facts.record.get("outcome") == "PermissionDeniedError"
    allowed_here = facts.activity.class_uid == API_ACTIVITY
    return [facts.activity.ecs_type, *(["denied"] if denied and allowed_here else [])]


def _outcome(record: Any) -> str:
    if record["kind"] == "reads":
        return "success"
    if "outcome" not in record:
        return "unknown"
    return "success" if record["outcome"] == "ok" else "failure"


def _user(facts: Facts) -> dict[str, Any]:
    actor = facts.actor
    uid = facts.record.get("actor", {}).get("uid")
    return {"id": uid, "name": actor.principal if actor else "", "full_name": actor.name if actor else ""}


def _related(facts: Facts) -> dict[str, Any]:
    user = _user(facts)
    users = [user[key] for key in ("id", "name") if user[key]]
    return {"user": users, "ip": [facts.ip] if facts.ip else [], "hosts": [facts.host] if facts.host else []}


def _rule(facts: Facts) -> dict[str, Any]:
    rule = facts.record.get("rule")
    return {"id": rule, "name": facts.record.get("title") or rule}


def _filled(value: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty; a false and a zero are something."""
    inner = {key: _filled(item) if isinstance(item, dict) else item for key, item in value.items()}
    return {key: item for key, item in inner.items() if item not in (None, "", [], {})}
