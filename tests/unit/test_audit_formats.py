"""ECS and CEF as published, and in every format: a name is a name, whatever it holds."""

from __future__ import annotations

import ipaddress
import json
from datetime import datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.audit.actor import Actor
from strongroom.audit.formats import FORMATS, render, render_line
from strongroom.audit.record import TEXT_LIMIT, encode
from strongroom.audit.sinks.syslog import LIMIT, SyslogSink
from strongroom.audit.visible import visible
from strongroom.errors import IntegrityError, InvalidRequestError
from tests.scale import scaled
from tests.unit.audit_records import ACTOR, CHAIN, every_kind, names, record, shorter
from tests.unit.cef_reader import original, read_cef

ALICE = Actor("alice@example.net", "kubernetes", name="Alice", address="2001:db8::7", on_behalf_of="bob")

# https://www.elastic.co/docs/reference/ecs (9.1): the fields we fill, with their types.
ECS_FIELDS = {
    "@timestamp": "date",
    "ecs.version": "keyword",
    "message": "match_only_text",
    **dict.fromkeys((f"event.{name}" for name in ("kind", "action", "outcome", "id", "module")), "keyword"),
    **dict.fromkeys((f"event.{name}" for name in ("dataset", "provider", "original", "hash")), "keyword"),
    **dict.fromkeys(("event.category", "event.type", "related.user", "related.hosts"), "keyword[]"),
    **dict.fromkeys(("event.sequence", "event.severity", "process.pid"), "long"),
    **dict.fromkeys(("event.start", "event.end"), "date"),
    **dict.fromkeys(("user.id", "user.name", "user.full_name", "source.address", "host.name"), "keyword"),
    **dict.fromkeys(("service.name", "service.type", "service.version", "rule.id", "rule.name"), "keyword"),
    **dict.fromkeys(("error.type", "trace.id", "span.id"), "keyword"),
    "source.ip": "ip",
    "related.ip": "ip[]",
}
# …/ecs-allowed-values-event-category: the types that are expected in each category that we use.
ECS_TYPES = {
    "api": set("access admin allowed change creation deletion denied end info start user".split()),  # noqa: SIM905
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "intrusion_detection": {"allowed", "denied", "info"},
}


def ecs(found: dict[str, Any], **more: Any) -> dict[str, Any]:
    rendered: dict[str, Any] = json.loads(json.dumps(render(found, "ecs", **more)))
    return rendered


def cef(found: dict[str, Any], **more: Any) -> dict[str, str]:
    """The extension of a record's CEF line, as a reader that knows the published rules has it."""
    line = render(found, "cef", **more)
    assert isinstance(line, str)
    return read_cef(line).extension


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = dict[str, Any]()
    for key, value in document.items():
        inner = isinstance(value, dict)
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


def fits(value: Any, kind: str) -> bool:
    """Whether a value is what Elasticsearch takes for a field of that type."""
    if kind.endswith("[]"):
        return isinstance(value, list) and all(fits(item, kind[:-2]) for item in value)
    if kind == "long":
        return type(value) is int
    if kind == "date":
        return bool(datetime.fromisoformat(value))
    if kind == "ip":
        return bool(ipaddress.ip_address(value))
    return isinstance(value, str)


@pytest.mark.parametrize("actor", [None, ALICE], ids=["sealed", "opened"])
def test_every_record_has_ecs_fields_of_their_type(actor: Actor | None) -> None:
    """Every field is one of ECS, of its type, or stands under `strongroom`, where ECS will never have one."""
    for found in [*every_kind(), *(short for each in every_kind() for short in shorter(each))]:
        for field, value in flat(ecs(found, actor=actor, host="build-7")).items():
            if not field.startswith("strongroom."):
                assert field in ECS_FIELDS, field
                assert fits(value, ECS_FIELDS[field]), (field, value)


def test_ecs_categories_have_types_that_they_expect() -> None:
    """For every kind and for every outcome."""
    outcomes = ("ok", "PermissionDeniedError", "UnavailableError")
    operations = ("get", "put", "purge", "rollback", "sign", "pending.put")
    tried = [record(op=op, outcome=outcome) for op in operations for outcome in outcomes]
    for found in [*every_kind(), *tried]:
        event = ecs(found)["event"]
        assert event["outcome"] in {"success", "failure", "unknown"}
        for category in event.get("category", ()):
            assert set(event["type"]) <= ECS_TYPES[category]


def test_an_ecs_document_tells_who_did_what_to_which_secret() -> None:
    """The fields that analysts' rules are written on."""
    told = ecs(record(), actor=ALICE, host="build-7")
    assert told["event"]["action"] == "get"
    assert told["event"]["type"] == ["access", "denied"]
    assert told["event"]["id"] == f"{CHAIN}:7"
    assert told["user"] == {"id": ACTOR["uid"], "name": "alice@example.net", "full_name": "Alice"}
    assert told["source"] == {"address": "2001:db8::7", "ip": "2001:db8::7"}
    assert told["trace"]["id"] == "4b" * 16
    assert told["span"]["id"] == "a3" * 8
    assert told["strongroom"]["name"] == "db/password"
    assert told["strongroom"]["performed"] is False


@pytest.mark.parametrize("found", every_kind(), ids=lambda found: found["kind"])
def test_every_record_is_a_cef_line(found: dict[str, Any]) -> None:
    """Version 0, our name, a severity from 0 to 10, labels for every custom text, and the proof's leaf."""
    line = render(found, "cef", actor=ALICE, host="build-7")
    assert isinstance(line, str)
    read = read_cef(line)
    assert (read.version, read.header[:2]) == (0, ("Strongroom", "Strongroom Audit"))
    assert 0 <= int(read.header[5]) <= 10
    custom = {key for key in read.extension if key.startswith("cs") and not key.endswith("Label")}
    assert {f"{key}Label" for key in custom} <= read.extension.keys()
    assert read.extension["cs1"] == f"{CHAIN}:{found['seq']}"
    assert len(read.extension["StrongroomAuditLeaf"]) == 64


def test_a_cef_line_tells_who_did_what_to_which_secret() -> None:
    """In the keys of the dictionary."""
    told = cef(record(), actor=Actor("alice", address="192.0.2.7"), host="build-7")
    assert (told["act"], told["outcome"], told["cs2"], told["cs2Label"]) == (
        "get",
        "PermissionDeniedError",
        "db/password",
        "name",
    )
    assert (told["suid"], told["suser"], told["src"]) == (ACTOR["uid"], "alice", "192.0.2.7")
    assert told["rt"] == "1795435200123"
    six = cef(record(), actor=ALICE)
    assert (six["c6a2"], six["c6a2Label"]) == ("2001:db8::7", "Source IPv6 Address")
    assert cef(record("gap"))["reason"] == "disk full"
    assert told["StrongroomAuditPerformed"] == "false"


@settings(max_examples=scaled(2_000, "names in every format", 40), deadline=None)
@given(name=names, other=names)
def test_no_name_forges_a_line_in_any_format(name: str, other: str) -> None:
    """One record is one line of printable characters to every reader, with as many fields as another."""
    found = record(name=name, location=other, version=name, store=other)
    actor = Actor(other, "explicit", name=name, address=other)
    for form in FORMATS:
        text = render_line(found, form, actor=actor, host=name).decode()
        assert text.isprintable()
        assert len(text.splitlines()) == 1
    clean = cef(record(store="s"), actor=Actor("a", "explicit", name="n", address="a"), host="h")
    assert cef(found, actor=actor, host=name).keys() == clean.keys()


@settings(max_examples=scaled(2_000, "names back from every format", 40), deadline=None)
@given(name=names)
def test_a_name_can_be_had_back_from_every_format(name: str) -> None:
    """JSON formats as they are; CEF by its own escapes, and those of what it cannot say."""
    found = record(name=name)
    kept = found["name"]
    assert json.loads(render_line(found))["name"] == kept
    assert json.loads(render_line(found, "ocsf"))["resources"][0]["name"] == kept
    assert json.loads(render_line(found, "ecs"))["strongroom"]["name"] == kept
    assert original(cef(found)["cs2"]) == kept
    assert kept == name or len(name) > TEXT_LIMIT
    assert render_line({**found, "name": name}, "cef") == render_line(found, "cef")


@settings(max_examples=scaled(500, "names that CEF can say", 20), deadline=None)
@given(name=st.text("ab|=\\\r\n ", min_size=1, max_size=30))
def test_what_cef_can_say_needs_no_rule_of_ours(name: str) -> None:
    """Bars, equal signs, backslashes and line ends come back by CEF's own escapes alone."""
    assert cef(record(name=name))["cs2"] == name


@settings(max_examples=scaled(500, "titles in every format", 20), deadline=None)
@given(text=names)
def test_no_detection_forges_a_line_either(text: str) -> None:
    """A rule's title, its facts and its name may hold a secret's name."""
    found = record("detection", title=text, facts={"name": text, text: "x"}, rule=text)
    clean = cef(record("detection", facts={"name": "n"}))
    for form in FORMATS:
        assert render_line(found, form).decode().isprintable()
    assert cef(found).keys() == clean.keys()


@settings(max_examples=scaled(500, "names in syslog", 20), deadline=None)
@given(name=names, form=st.sampled_from(FORMATS))
def test_no_name_forges_a_syslog_message(name: str, form: str) -> None:
    """The count of the frame is its length, nothing in it ends a line, and it is not longer than allowed."""
    sink = SyslogSink("127.0.0.1", form=form)
    with mock.patch("strongroom.audit.sinks.syslog.connect") as connect:
        sink.send([encode(record(name=name, op="get" if len(name) > 30 else name))])
    connection = connect.return_value.__enter__.return_value
    [frame] = connection.send.call_args.args
    count, _, message = frame.partition(b" ")
    assert int(count) == len(message) <= LIMIT
    assert message.decode().isprintable()
    assert len(message.decode().split(" ", 7)) == 8


@settings(max_examples=scaled(2_000, "texts made visible", 20), deadline=None)
@given(one=st.text(max_size=20), two=st.text(max_size=20))
def test_what_is_made_visible_can_be_had_back(one: str, two: str) -> None:
    """Printable always, and no two texts look the same."""
    assert visible(one).isprintable()
    assert original(visible(one)) == one
    assert (visible(one) == visible(two)) == (one == two)


@pytest.mark.parametrize("form", ["xml", "OCSF", "", "json\n"])
def test_a_format_that_is_none_is_refused(form: str) -> None:
    """With the formats there are."""
    with pytest.raises(InvalidRequestError, match="json, ocsf, ecs, cef"):
        render(record(), form)


@pytest.mark.parametrize(
    "change", [{"seq": "7"}, {"actor": "alice"}, {"kind": "other"}, {"time": 3}, {"more": 1}]
)
@pytest.mark.parametrize("form", FORMATS)
def test_what_is_no_record_is_refused(form: str, change: dict[str, Any]) -> None:
    """Also if it looks like one that was encoded before."""
    good = record()
    render_line(good, form)
    with pytest.raises((InvalidRequestError, IntegrityError)):
        render({**good, **change}, form)


@pytest.mark.parametrize("form", FORMATS)
def test_a_line_at_hand_is_not_made_again(form: str) -> None:
    """It says the same; and what is no record is refused with it, too."""
    for found in every_kind():
        assert render(found, form, line=encode(found)) == render(found, form)
    for wrong in ({}, {**record(), "kind": "other"}, {"kind": "event"}):
        with pytest.raises(InvalidRequestError):
            render(wrong, form, line=b"x")


def test_json_is_the_journals_own_line() -> None:
    """So that an exported record still proves itself; with the actor opened it says more than the journal."""
    found = record()
    assert render_line(found) == encode(found)
    opened = json.loads(render_line(found, actor=ALICE))
    assert opened.pop("actor")["opened"]["principal"] == "alice@example.net"
    assert opened.items() <= found.items()
