"""Records as events of the Open Cybersecurity Schema Framework, version 1.9.0.

The profile `record_integrity` names the journal's own chain: the fingerprint is the RFC 6962 leaf hash of the
journal's line, and that line stands in `raw_data`, since it is what the journal's proofs are about.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from .activities import API_ACTIVITY, BASE_EVENT, DETECTION_FINDING, ENTITY_MANAGEMENT, OTHER
from .rendering import PRODUCT, milliseconds, product_version, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .rendering import Facts

VERSION: Final = "1.9.0"
_CLASSES: Final = {
    API_ACTIVITY: ("API Activity", 6, "Application Activity"),
    ENTITY_MANAGEMENT: ("Entity Management", 3, "Identity & Access Management"),
    DETECTION_FINDING: ("Detection Finding", 2, "Findings"),
    BASE_EVENT: ("Base Event", 0, "Uncategorized"),
}
_SEVERITIES: Final = ("Unknown", "Informational", "Low", "Medium", "High", "Critical")
_HEAD: Final = words("v chain seq prev time kind")
_TOLD: Final = {
    API_ACTIVITY: _HEAD | words("op name cid store location version outcome request_id actor reads since"),
    ENTITY_MANAGEMENT: _HEAD | words("op name cid location version outcome actor rule reason until facts"),
    DETECTION_FINDING: _HEAD | words("rule title at records facts"),
    BASE_EVENT: _HEAD | words("since until count"),
}
"""The keys of a record that have a place of their own in a class; what has none goes to `unmapped`."""

_SERVICE: Final = PRODUCT.lower()
_RULE: Final = "detection rule"


def ocsf(facts: Facts) -> dict[str, Any]:
    """The event."""
    class_uid, activity_id, name, _ = facts.activity
    class_name, category_uid, category_name = _CLASSES[class_uid]
    event = {
        "activity_id": activity_id,
        "activity_name": name,
        "category_uid": category_uid,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "type_uid": class_uid * 100 + activity_id,
        "type_name": f"{class_name}: {'Other' if activity_id == OTHER else name}",
        "time": milliseconds(facts.record["time"]),
        "severity_id": facts.severity,
        "severity": _SEVERITIES[facts.severity],
        "message": facts.message,
        "metadata": _metadata(facts),
        **_KINDS[class_uid](facts),
        **(_integrity(facts) if facts.line else {}),
        "unmapped": facts.rest(_TOLD[class_uid]),
    }
    return {key: value for key, value in event.items() if value not in ("", None, [], {})}


def _metadata(facts: Facts) -> dict[str, Any]:
    record = facts.record
    metadata = {
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": product_version()},
        "profiles": _profiles(facts),
        "is_truncated": record.get("clipped"),
        "uid": facts.id,
        "sequence": record["seq"],
        "correlation_uid": record.get("cid"),
        "event_code": record.get("op") or record["kind"],
        "log_name": "audit",
        "log_version": str(record["v"]) if "v" in record else None,
        "original_time": record["time"],
    }
    return {key: value for key, value in metadata.items() if value not in (None, [])}


def _profiles(facts: Facts) -> list[str]:
    return [*(["record_integrity"] if facts.line else []), *(["trace"] if _traced(facts) else [])]


def _traced(facts: Facts) -> bool:
    return facts.trace[0] != "" and facts.activity.class_uid == API_ACTIVITY


def _integrity(facts: Facts) -> dict[str, Any]:
    digest = hashlib.sha256(facts.line.encode()).hexdigest()
    return {
        "raw_data": facts.line,
        "raw_data_hash": _fingerprint(digest, 3, "SHA-256"),
        "attestation_list": [_attestation(facts)],
    }


def _attestation(facts: Facts) -> dict[str, Any]:
    record = facts.record
    attestation = {"uid": facts.id, "chain_uid": record["chain"], "fingerprint": _leaf(facts.leaf)}
    if record["seq"] > 0:
        before = f"{record['chain']}:{record['seq'] - 1}"
        attestation["prev_event"] = {"uid": before, "fingerprint": _leaf(record["prev"])}
    return attestation


def _leaf(value: str) -> dict[str, Any]:
    """Not called SHA-256: who hashes `raw_data` alone gets another value."""
    return _fingerprint(value, OTHER, "SHA-256 of 0x00 and raw_data (RFC 6962 leaf)")


def _fingerprint(value: str, algorithm_id: int, algorithm: str) -> dict[str, Any]:
    named = {"algorithm_id": algorithm_id, "algorithm": algorithm}
    return {**named, "value": value, "encoding_id": 1, "encoding": "Hex"}


def _api_activity(facts: Facts) -> dict[str, Any]:
    record, reads = facts.record, facts.reads
    fields = {
        **_common(facts),
        "api": _api(facts),
        "src_endpoint": _source(facts),
        "resources": _resources(facts),
    }
    if reads:
        fields["count"] = sum(read["count"] for read in reads)
        fields["start_time"] = milliseconds(record.get("since", ""))
        fields["end_time"] = milliseconds(record["time"])
    if _traced(facts):
        fields["trace"] = {"uid": facts.trace[0]}
    return fields


def _entity_management(facts: Facts) -> dict[str, Any]:
    record = facts.record
    if record["kind"] == "suppression":
        data = {key: record[key] for key in ("until", "facts") if key in record}
        entity = {
            "name": record.get("rule", "?"),
            "type": _RULE,
            "type_id": OTHER,
            **({"data": data} if data else {}),
        }
        return {"actor": _actor(facts), "entity": entity, "comment": record.get("reason")}
    entity = {"type": _type(record), "type_id": OTHER, **_named(facts)}
    if "name" not in entity and "uid" not in entity:
        entity["name"] = facts.activity.name
    return {**_common(facts), "entity": entity, "src_endpoint": _source(facts)}


def _detection_finding(facts: Facts) -> dict[str, Any]:
    record = facts.record
    rule = record.get("rule", "?")
    info: dict[str, Any] = {
        "uid": facts.id,
        "title": facts.message,
        "analytic": {"name": rule, "uid": rule, "type_id": 1, "type": "Rule"},
        "created_time": milliseconds(record["time"]),
        "related_events": [{"uid": uid} for uid in record.get("records", ())],
    }
    if "at" in record:
        info["last_seen_time"] = milliseconds(record["at"])
    evidence = {"data": record["facts"]} if record.get("facts") else None
    return {
        "finding_info": {key: value for key, value in info.items() if value},
        "evidences": [evidence] if evidence else None,
        "is_alert": True,
        "status_id": 1,
        "status": "New",
    }


def _base_event(facts: Facts) -> dict[str, Any]:
    record = facts.record
    fields: dict[str, Any] = {"count": record.get("count")}
    for key, place in (("since", "start_time"), ("until", "end_time")):
        if key in record:
            fields[place] = milliseconds(record[key])
    return fields


_KINDS: Final = {
    API_ACTIVITY: _api_activity,
    ENTITY_MANAGEMENT: _entity_management,
    DETECTION_FINDING: _detection_finding,
    BASE_EVENT: _base_event,
}


def _common(facts: Facts) -> dict[str, Any]:
    """What an operation has in either class."""
    return {"actor": _actor(facts), **_status(facts)}


def _status(facts: Facts) -> dict[str, Any]:
    record = facts.record
    if record["kind"] == "reads":
        return {"status_id": 1, "status": "Success"}
    if "outcome" not in record:
        return {"status_id": OTHER, "status": "Intent" if record.get("phase") == "intent" else "Not told"}
    if record["outcome"] == "ok":
        return {"status_id": 1, "status": "Success"}
    return {"status_id": 2, "status": "Failure", "status_code": record["outcome"]}


def _api(facts: Facts) -> dict[str, Any]:
    record = facts.record
    service = {"name": _SERVICE, "uid": _SERVICE, "version": product_version()}
    api: dict[str, Any] = {"operation": record.get("op", "get"), "service": service}
    if "request_id" in record:
        api["request"] = {"uid": record["request_id"]}
    if record.get("outcome", "ok") != "ok":
        api["response"] = {"error": record["outcome"]}
    return api


def _actor(facts: Facts) -> dict[str, Any]:
    uid = facts.record.get("actor", {}).get("uid")
    user = {"uid": uid} if uid else {}
    if facts.actor:
        user |= {"name": facts.actor.principal, "full_name": facts.actor.name}
    user = {key: value for key, value in user.items() if value}
    return {"user": user} if user else {"app_name": _SERVICE}


def _source(facts: Facts) -> dict[str, Any]:
    """Where it came from: the class demands something, so it is at least the program itself."""
    if facts.ip:
        return {"ip": facts.ip}
    if facts.actor and facts.actor.address:
        return {"name": facts.actor.address}
    return {"hostname": facts.host} if facts.host else {"svc_name": _SERVICE}


def _type(record: Mapping[str, Any]) -> str:
    operation: str = record.get("op", "")
    return "key" if operation == "sign" or operation.startswith("key.") else "secret"


def _named(facts: Facts) -> dict[str, Any]:
    keys = (("name", "name"), ("location", "uid"), ("version", "version"))
    return {place: facts.record[key] for key, place in keys if key in facts.record}


def _resources(facts: Facts) -> list[dict[str, Any]]:
    store = facts.record.get("store")
    more = {"type": _type(facts.record), **({"namespace": store} if store else {})}
    reads = [
        {"name": read["name"], "version": read["version"], "data": {"count": read["count"]}}
        for read in facts.reads
    ]
    found = [{key: value for key, value in each.items() if value} for each in reads or [_named(facts)]]
    return [{**resource, **more} for resource in found if "name" in resource or "uid" in resource]
