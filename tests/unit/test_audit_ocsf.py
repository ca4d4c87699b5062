"""OCSF: every record is a valid event of the published schema, and nothing of it is lost."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from py_ocsf_models.events.base_event import BaseEvent
from py_ocsf_models.events.findings.detection_finding import DetectionFinding
from py_ocsf_models.objects.api import API
from py_ocsf_models.objects.fingerprint import FingerPrint
from py_ocsf_models.objects.metadata import Metadata
from py_ocsf_models.objects.resource_details import ResourceDetails

from strongroom.audit.actor import Actor
from strongroom.audit.formats import render
from strongroom.audit.record import encode, leaf_hash
from tests.scale import scaled
from tests.unit.audit_records import ACTOR, CHAIN, every_kind, names, record, shorter

ALICE = Actor("alice@example.net", "kubernetes", name="Alice", address="192.0.2.7", on_behalf_of="bob")
ADDED = Path(__file__).parents[1] / "vectors" / "ocsf" / "record_integrity-1.9.0.json"


def event(found: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The OCSF event of a record, as it comes out of JSON."""
    rendered: dict[str, Any] = json.loads(json.dumps(render(found, "ocsf", **more)))
    return rendered


@functools.cache
def schema() -> OcsfJsonSchemaEmbedded:
    """The compiled schema 1.8.0 with what 1.9.0 adds to it for the profile record_integrity."""
    compiled = copy.deepcopy(get_ocsf_schema(version="1.8.0"))
    added = json.loads(ADDED.read_text())
    compiled["objects"] |= added["objects"]
    compiled["objects"]["fingerprint"]["attributes"] |= added["fingerprint"]
    compiled["profiles"]["record_integrity"] = {**added, "name": "record_integrity"}
    for name in ("base_event", "api_activity", "entity_management", "detection_finding"):
        compiled["classes"][name]["attributes"] |= added["attributes"]
        compiled["classes"][name]["profiles"].append("record_integrity")
    return OcsfJsonSchemaEmbedded(compiled)


@functools.cache
def validator(class_uid: int, profiles: tuple[str, ...]) -> Draft202012Validator:
    name = schema().lookup_class_name_from_uid(class_uid=class_uid)
    return Draft202012Validator(schema().get_class_schema(class_name=name, profiles=list(profiles)))


def faults(found: dict[str, Any]) -> list[str]:
    """What the schema says against an event; it knows no attributes but its own."""
    judge = validator(found["class_uid"], tuple(found["metadata"].get("profiles", ())))
    return [f"{list(fault.path)}: {fault.message[:200]}" for fault in judge.iter_errors(found)]


def clipped_records() -> list[dict[str, Any]]:
    return [short for found in every_kind() for short in shorter(found)]


def all_records() -> list[dict[str, Any]]:
    return [*every_kind(), *clipped_records(), record(op="sign"), record(op="key.create"), record(op="purge")]


@pytest.mark.parametrize(
    "actor", [None, ALICE, Actor("svc", address="not an address")], ids=["sealed", "ip", "name"]
)
def test_every_record_is_a_valid_event(actor: Actor | None) -> None:
    """Of every kind, full and clipped, actor opened and not, under the strict JSON Schema of its class."""
    wrong = [
        (found["kind"], fault)
        for found in all_records()
        for fault in faults(event(found, actor=actor, host="build-7"))
    ]
    assert not wrong


@settings(max_examples=scaled(500, "names in valid OCSF", 25), deadline=None)
@given(name=names, other=names)
def test_no_name_makes_an_event_invalid(name: str, other: str) -> None:
    """Wherever a text stands: in a name, an address, an operation, a rule, a version, a trace."""
    actor = Actor(other, "explicit", name=name, address=name)
    texts = {"name": name, "op": other, "location": name, "version": name, "trace": other, "request_id": name}
    for found in (record(**texts, outcome=other), record("detection", rule=name, title=other, severity=name)):
        assert not faults(event(found, actor=actor, host=other))


def test_the_schema_can_say_no() -> None:
    """An attribute, an enumeration and a lacking object are refused: the validation above means something."""
    good = event(record())
    for change in ({"actor_name": "x"}, {"severity_id": 9}, {"attestation_list": [{"uid": "x"}]}):
        assert faults({**good, **change}), change
    assert faults({key: value for key, value in good.items() if key != "src_endpoint"})


def test_the_published_models_take_what_they_model() -> None:
    """py-ocsf-models has detection findings, the base event and the objects of an API's event."""
    for found in map(event, all_records()):
        Metadata.model_validate(found["metadata"])
        if found["class_uid"] == 2004:
            finding = DetectionFinding.model_validate(found)
            assert finding.finding_info.uid == found["metadata"]["uid"]
        else:
            BaseEvent.model_validate(found)
        if "api" in found:
            API.model_validate(found["api"])
        for resource in found.get("resources", ()):
            ResourceDetails.model_validate(resource)
        if "raw_data_hash" in found:
            FingerPrint.model_validate(found["raw_data_hash"])


@pytest.mark.parametrize("found", every_kind(), ids=lambda found: found["kind"])
def test_nothing_of_a_record_is_lost(found: dict[str, Any]) -> None:
    """Every value stands somewhere beside `raw_data`; what OCSF has no place for, in `unmapped`."""
    told = event(found)
    line = told.pop("raw_data")
    assert line.encode() == encode(found)
    values = _leaves(told)
    translated = {"severity", "since", "until", "at", "sealed"}
    pairs = [(key, value) for key, value in _pairs(found) if key not in translated]
    if found["seq"] == 0:
        pairs.remove(("prev", found["prev"]))
    assert not [key for key, value in pairs if str(value) not in values]


def _pairs(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for name, item in value.items() for pair in _pairs(item, name)]
    if isinstance(value, list):
        return [pair for item in value for pair in _pairs(item, key)]
    return [(key, value)] if value not in ("", "ok", "event", "reads") else []


def _leaves(value: Any) -> set[str]:
    return {str(leaf) for _, leaf in _pairs(value)}


def test_the_attestation_is_what_the_journal_says_of_the_record() -> None:
    """Fingerprint, chain and predecessor are the journal's own, and can be computed from `raw_data`."""
    found = record()
    told = event(found)
    [attestation] = told["attestation_list"]
    line = told["raw_data"].encode()
    assert (
        attestation["fingerprint"]["value"]
        == leaf_hash(line).hex()
        == hashlib.sha256(b"\0" + line).hexdigest()
    )
    assert attestation["fingerprint"]["algorithm_id"] == 99
    assert attestation["chain_uid"] == CHAIN
    assert attestation["prev_event"]["uid"] == f"{CHAIN}:6"
    assert attestation["prev_event"]["fingerprint"]["value"] == found["prev"]
    assert told["raw_data_hash"]["value"] == hashlib.sha256(line).hexdigest()
    assert told["metadata"]["profiles"] == ["record_integrity", "trace"]


def test_the_first_record_of_a_chain_has_no_predecessor() -> None:
    """OCSF: absent on the genesis event."""
    assert "prev_event" not in event(record(seq=0, prev="00" * 32))["attestation_list"][0]


def test_a_clipped_record_attests_nothing() -> None:
    """Its bytes are not the journal's: it says that it was truncated, and carries no fingerprint."""
    short = event(next(shorter(record(name="n" * 2000))))
    assert "attestation_list" not in short
    assert "raw_data" not in short
    assert short["metadata"]["is_truncated"] is True
    assert "record_integrity" not in short["metadata"].get("profiles", ())


@pytest.mark.parametrize(
    ("operation", "type_uid"),
    [
        ("get", 600302),
        ("get_many", 600302),
        ("put", 600303),
        ("pending.put", 600301),
        ("pending.promote", 300410),
        ("rollback", 300410),
        ("delete", 300409),
        ("restore", 300408),
        ("purge", 300404),
        ("set_tags", 300403),
        ("key.create", 300401),
        ("rotation.start", 300403),
        ("revoke", 300411),
        ("sign", 600399),
        ("something.new", 600399),
    ],
)
def test_each_operation_has_its_class_and_activity(operation: str, type_uid: int) -> None:
    """Use is API Activity, life is Entity Management; what nobody foresaw is Other, by its own name."""
    told = event(record(op=operation))
    assert told["type_uid"] == type_uid == told["class_uid"] * 100 + told["activity_id"]
    if told["activity_id"] == 99:
        assert told["activity_name"] == operation


@pytest.mark.parametrize(
    ("outcome", "status_id", "severity_id"),
    [("ok", 1, 1), ("PermissionDeniedError", 2, 3), ("IntegrityError", 2, 4), ("UnavailableError", 2, 2)],
)
def test_an_outcome_is_a_status_and_a_severity(outcome: str, status_id: int, severity_id: int) -> None:
    """A refusal is medium, a broken integrity high, any other failure low."""
    told = event(record(outcome=outcome, degraded=None))
    assert (told["status_id"], told["severity_id"]) == (status_id, severity_id)
    assert told.get("status_code", "ok") == outcome


@pytest.mark.parametrize(("operation", "kind"), [("get", "secret"), ("key.unwrap", "key"), ("sign", "key")])
def test_what_was_used_is_a_secret_or_a_key(operation: str, kind: str) -> None:
    """Audited keys and signers have records of their own."""
    [resource] = event(record(op=operation))["resources"]
    assert resource["type"] == kind
    assert event(record(op="key.rotate"))["entity"]["type"] == "key"


def test_a_sealed_actor_is_a_uid_and_an_opened_one_a_name() -> None:
    """Whoever may not know the person still can tell two apart."""
    sealed, opened = event(record()), event(record(), actor=ALICE)
    assert sealed["actor"]["user"] == {"uid": ACTOR["uid"]}
    assert opened["actor"]["user"] == {"uid": ACTOR["uid"], "name": "alice@example.net", "full_name": "Alice"}
    assert opened["src_endpoint"] == {"ip": "192.0.2.7"}
    assert opened["unmapped"]["on_behalf_of"] == "bob"
    assert event(record(actor=None))["actor"] == {"app_name": "strongroom"}


def test_accounted_reads_are_one_event_with_their_count() -> None:
    """The sum stands in `count`, each name with its own count among the resources."""
    told = event(record("reads"))
    assert told["count"] == 42
    assert [resource["data"]["count"] for resource in told["resources"]] == [40, 2]
    assert told["start_time"] < told["end_time"] == told["time"]
