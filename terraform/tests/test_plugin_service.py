"""Terraform's requests answered without a socket: plans, what may stand in state, and what an error says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import pytest

from strongroom.value import SecretValue
from strongroom_terraform.blocks import Change, Provider, Resource, State
from strongroom_terraform.messages import ERROR, WARNING, new
from strongroom_terraform.planning import proposed
from strongroom_terraform.schema import NUMBER, STRING, UNKNOWN, Attribute, Nested, Schema, Values
from strongroom_terraform.service import METHODS, Service
from strongroom_terraform.stores import Stores
from strongroom_terraform.values import decode
from strongroom_terraform.wire import dynamic, schema_message, timestamp
from terraform.tests.toy import Thing, Token, provider
from tests.canary import CANARY, assert_no_canary, plaintext

Ask = Callable[..., Any]
NULL = msgpack.packb(None)
UNKNOWN_TEXT = msgpack.ExtType(0, b"\0")


@pytest.fixture
def toy_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the toy keeps its things."""
    monkeypatch.setenv("STRONGROOM_TOY", str(tmp_path))
    return plaintext(tmp_path, "the toy keeps its values as they are")


@pytest.fixture
def ask(toy_folder: Path) -> Ask:
    """One request to the toy, with the fields of its message as they are packed."""
    service = Service(provider())

    def ask(method: str, /, **fields: Any) -> Any:
        takes, _gives, answer = METHODS[method]
        packed = {
            name: {"msgpack": msgpack.packb(value)} if isinstance(value, dict) or value is None else value
            for name, value in fields.items()
        }
        return answer(service, new(takes, **packed))

    return ask


def thing(**said: Any) -> dict[str, Any]:
    """A configuration of the toy's resource."""
    return dict.fromkeys(Thing.schema.attributes) | said


def told(answer: Any) -> list[tuple[str, list[Any]]]:
    """Each diagnostic's summary and path."""
    return [
        (
            one.summary,
            [
                step.attribute_name
                or (step.element_key_int if step.HasField("element_key_int") else step.element_key_string)
                for step in one.attribute.steps
            ],
        )
        for one in answer.diagnostics
    ]


def state(answer: Any) -> Any:
    """The object that an answer brings back."""
    return decode(Thing.schema.type, answer.msgpack)


def plan(ask: Ask, prior: dict[str, Any] | None, config: dict[str, Any]) -> Any:
    """As Terraform proposes: what is computed and not said is as before; nothing write-only."""
    after = {
        name: (prior or {}).get(name) if attribute.computed and config[name] is None else config[name]
        for name, attribute in Thing.schema.attributes.items()
    }
    return ask(
        "PlanResourceChange",
        type_name="toy_thing",
        prior_state=prior,
        proposed_new_state=after | {"value_wo": None},
        config=config,
    )


PRIOR = thing(name="a", size=1, colour="blue", id="toy/a", written=1)


def test_a_new_object_s_computed_attributes_are_unknown(ask: Ask) -> None:
    """Unless the configuration says them."""
    planned = state(plan(ask, None, thing(name="a", colour="green")).planned_state)
    assert (planned["id"], planned["written"], planned["colour"]) == (UNKNOWN, UNKNOWN, "green")


def test_a_plan_of_what_is_there_already_changes_nothing(ask: Ask) -> None:
    """Computed attributes stay known: a second plan is empty."""
    answer = plan(ask, PRIOR, thing(name="a", size=1))
    assert state(answer.planned_state) == PRIOR
    assert not answer.requires_replace


def test_a_write_only_value_alone_changes_nothing(ask: Ask) -> None:
    """Terraform cannot know whether it changed: the version beside it says so."""
    answer = plan(ask, PRIOR, thing(name="a", size=1, value_wo="another"))
    assert state(answer.planned_state) == PRIOR


@pytest.mark.parametrize("change", [{"size": 2}, {"size": None}, {"tags": {"x": UNKNOWN_TEXT}}])
def test_an_update_makes_what_is_computed_unknown(ask: Ask, change: dict[str, Any]) -> None:
    """Otherwise what the apply tells would be an inconsistent result."""
    planned = state(plan(ask, PRIOR, thing(name="a", size=1) | change).planned_state)
    assert (planned["id"], planned["written"], planned["colour"]) == (UNKNOWN, UNKNOWN, UNKNOWN)


def test_another_name_is_another_object(ask: Ask) -> None:
    """The path of the attribute that asks for it is told; an unknown name asks for it too."""
    for name in ("b", UNKNOWN_TEXT):
        answer = plan(ask, PRIOR, thing(name=name, size=1))
        assert [path.steps[0].attribute_name for path in answer.requires_replace] == ["name"]


def test_a_plan_to_destroy_asks_the_resource_nothing(ask: Ask) -> None:
    """There is no configuration any more."""
    answer = ask(
        "PlanResourceChange", type_name="toy_thing", prior_state=PRIOR, proposed_new_state=None, config=None
    )
    assert answer.planned_state.msgpack == NULL
    assert not answer.diagnostics


def test_a_value_that_a_resource_returns_by_mistake_is_nulled(ask: Ask, toy_folder: Path) -> None:
    """The toy returns its write-only value; what goes to Terraform has none."""
    answer = ask(
        "ApplyResourceChange",
        type_name="toy_thing",
        prior_state=None,
        planned_state=thing(name="a"),
        config=thing(name="a", value_wo=CANARY),
    )
    assert (toy_folder / "a").read_text() == CANARY
    assert state(answer.new_state)["value_wo"] is None
    assert_no_canary(answer.SerializeToString())


class Careless(Resource):
    """Puts a value where nothing hides it."""

    name = "careless"
    schema = Schema("", {"shown": Attribute(STRING, "", computed=True)})

    def create(self, change: Change) -> State:
        return State({"shown": SecretValue(CANARY)})

    def read(self, values: Values, private: bytes) -> State | None:
        return State({"shown": 1})

    def update(self, change: Change) -> State:
        raise NotImplementedError

    def delete(self, values: Values, private: bytes) -> None:
        raise KeyError(CANARY)

    def bring(self, identity: str) -> State:
        return State({"hidden": SecretValue(CANARY)})


@pytest.fixture
def careless() -> Service:
    """A provider with a resource that does everything wrong."""
    return Service(Provider(Schema(""), lambda _config: Stores(None), resources=[Careless]))


def test_a_value_under_a_plain_attribute_is_refused(careless: Service) -> None:
    """The mistake becomes an error at the attribute, and the value stays inside; imports too."""
    null, empty = {"msgpack": NULL}, {"msgpack": msgpack.packb({"shown": None})}
    made = careless.apply(
        new("ApplyRequest", type_name="careless", prior_state=null, planned_state=empty, config=empty)
    )
    brought = careless.bring(new("ImportRequest", type_name="careless", id="x"))
    assert told(made) == [("the provider was about to show a secret value; please report it", ["shown"])]
    assert told(brought)[0][0].startswith("the provider was about to show a secret value")
    assert_no_canary(made.SerializeToString(), brought.SerializeToString())


def test_a_state_that_does_not_fit_the_schema_is_an_error_at_its_attribute(careless: Service) -> None:
    """Terraform would say less."""
    empty = {"msgpack": msgpack.packb({"shown": None})}
    answer = careless.read(new("ReadRequest", type_name="careless", current_state=empty))
    assert told(answer) == [
        ("the provider made a value that its schema does not allow: a string is expected", ["shown"])
    ]


def test_an_unexpected_error_says_where_and_never_what(ask: Ask, careless: Service) -> None:
    """Its text may hold a value; the kind and the line of ours are enough to report it."""
    answer = ask(
        "ApplyResourceChange",
        type_name="toy_thing",
        prior_state=None,
        planned_state=thing(name="leaky"),
        config=thing(name="leaky", value_wo=CANARY),
    )
    (one,) = answer.diagnostics
    assert one.summary.startswith("the strongroom provider failed: RuntimeError in service.py:")
    assert "bug" in one.detail
    assert_no_canary(answer.SerializeToString())
    empty, null = {"msgpack": msgpack.packb({"shown": None})}, {"msgpack": NULL}
    gone = new("ApplyRequest", type_name="careless", prior_state=empty, planned_state=null, config=null)
    assert_no_canary(careless.apply(gone).SerializeToString())


def test_what_fails_leaves_in_state_what_was_there(ask: Ask) -> None:
    """A failed change is planned again; a failed creation leaves nothing."""
    changed = thing(name="leaky", written=1, size=2)
    update = ask(
        "ApplyResourceChange",
        type_name="toy_thing",
        prior_state=changed | {"size": 1},
        planned_state=changed,
        config=thing(name="leaky", size=2),
        planned_private=b"kept",
    )
    assert (state(update.new_state)["size"], update.private) == (1, b"kept")
    create = ask(
        "ApplyResourceChange",
        type_name="toy_thing",
        prior_state=None,
        planned_state=changed,
        config=thing(name="leaky"),
    )
    assert create.new_state.msgpack == NULL


def test_what_is_done_in_part_is_kept_with_the_error(ask: Ask) -> None:
    """What is still unknown is null in that state."""
    planned = thing(name="half") | {"size": UNKNOWN_TEXT}
    answer = ask(
        "ApplyResourceChange",
        type_name="toy_thing",
        prior_state=None,
        planned_state=planned,
        config=thing(name="half"),
    )
    assert told(answer) == [("only half of it is done", ["tags"])]
    assert (state(answer.new_state)["id"], state(answer.new_state)["size"]) == ("toy/half", None)


def test_an_error_of_the_library_keeps_its_hint(ask: Ask) -> None:
    """Message and hint hold no value by contract."""
    answer = ask("ImportResourceState", type_name="toy_thing", id="none")
    assert told(answer) == [("there is no thing 'none'", [])]
    assert answer.diagnostics[0].detail == "look again"


def test_an_error_stands_at_its_attribute_and_key(ask: Ask) -> None:
    """Terraform shows the line of the configuration."""
    for config, path in (
        (thing(name="bad"), ["name"]),
        (thing(name="a", tags={"bad": "x"}), ["tags", "bad"]),
    ):
        answer = ask("ValidateResourceConfig", type_name="toy_thing", config=config)
        assert told(answer)[0][1] == path
        assert answer.diagnostics[0].severity == ERROR


def test_a_terraform_without_write_only_attributes_is_told_so(ask: Ask) -> None:
    """An older one would keep the value in state, so the configuration is refused before that."""
    config = thing(name="a", value_wo=CANARY)
    asked = {"type_name": "toy_thing", "config": config}
    old = ask("ValidateResourceConfig", **asked)
    capable = new("ClientCapabilities", write_only_attributes_allowed=True)
    assert told(old)[0][1] == ["value_wo"]
    assert "1.11" in told(old)[0][0]
    assert not told(ask("ValidateResourceConfig", **asked, client_capabilities=capable))
    assert_no_canary(old.SerializeToString())


def test_every_rpc_answers_hostile_bytes_with_a_diagnostic(ask: Ask) -> None:
    """No request can make the provider raise: a call that breaks tells nobody anything."""
    hostile = new("DynamicValue", msgpack=b"\xc1" + CANARY.encode())
    for name, (takes, _gives, _answer) in METHODS.items():
        fields = new(takes).DESCRIPTOR.fields_by_name
        dynamics = {f: hostile for f in fields if f in ("config", "current_state", "planned_state")}
        names = {f: "toy_thing" for f in ("type_name",) if f in fields}
        answer = ask(name, **dynamics, **names)
        assert_no_canary(answer.SerializeToString())
        if "config" in dynamics or "current_state" in dynamics:
            assert answer.diagnostics, name


def test_an_interrupt_reaches_what_only_waits() -> None:
    """What is under way is finished; blocks that wait look at this event."""
    stores = Stores(None)
    service = Service(Provider(Schema(""), lambda _config: stores))
    assert not service.configure(new("ConfigureRequest", config={"msgpack": msgpack.packb({})})).diagnostics
    service.stop(new("Empty"))
    assert stores.stopping.is_set()


def test_what_the_provider_does_not_have_is_an_error(ask: Ask) -> None:
    """As when a state was written by another version."""
    answer = ask("ReadResource", type_name="toy_other", current_state=PRIOR)
    assert "nothing named toy_other" in told(answer)[0][0]
    assert ask("CallFunction", name="none").error.text


def test_a_state_of_a_newer_provider_is_refused(ask: Ask) -> None:
    """It may mean something that this version would undo."""
    raw = new("RawState", json=json.dumps(PRIOR).encode())
    answer = ask("UpgradeResourceState", type_name="toy_thing", version=7, raw_state=raw)
    assert "newer" in told(answer)[0][0]


def test_a_value_in_an_old_state_is_not_carried_on(ask: Ask) -> None:
    """Whatever put it there, a write-only attribute is null from here on."""
    raw = new("RawState", json=json.dumps(PRIOR | {"value_wo": CANARY, "gone": CANARY}).encode())
    answer = ask("UpgradeResourceState", type_name="toy_thing", version=0, raw_state=raw)
    assert state(answer.upgraded_state) == PRIOR
    assert_no_canary(answer.SerializeToString())


def test_a_function_s_argument_is_named_by_its_position(ask: Ask) -> None:
    """Variadic ones too."""

    def half(*numbers: int) -> Any:
        arguments = [{"msgpack": msgpack.packb(number)} for number in numbers]
        return ask("CallFunction", name="half", arguments=arguments)

    assert decode(NUMBER, half(3, 4).result.msgpack) * 2 == 7  # type: ignore[operator]
    assert half(1, 2, -1).error.function_argument == 2
    assert not half(1, 2).HasField("error")


def test_an_ephemeral_brings_its_value_and_its_end(ask: Ask, toy_folder: Path) -> None:
    """Open is the one answer that holds a value; what it keeps for itself comes back to renew and close."""
    opened = ask(
        "OpenEphemeralResource", type_name="toy_token", config={"after": None, "seconds": 60, "value": None}
    )
    assert decode(Token.schema.type, opened.result.msgpack) == {"after": None, "seconds": 60, "value": CANARY}
    assert opened.renew_at.seconds > datetime.now(UTC).timestamp()
    renewed = ask("RenewEphemeralResource", type_name="toy_token", private=opened.private)
    assert renewed.diagnostics[0].severity == WARNING
    ask("CloseEphemeralResource", type_name="toy_token", private=renewed.private)
    assert (toy_folder / "calls").read_text().splitlines() == ["open None", "renew private", "close renewed"]


def test_the_provider_block_s_errors_stand_at_its_attribute(ask: Ask) -> None:
    """Configuring fails before anything is done."""
    assert told(ask("ConfigureProvider", config={"colour": "red"})) == [("no red provider", ["colour"])]
    assert not told(ask("ConfigureProvider", config={"colour": "blue"}))


def test_values_of_nested_blocks_are_hidden_and_nulled_too() -> None:
    """A write-only attribute inside a block is as write-only."""
    from strongroom_terraform.wire import stored, values

    inner = Schema("", {"key_wo": Attribute(STRING, "", write_only=True), "name": Attribute(STRING, "")})
    outer = Schema("", {"id": Attribute(STRING, "")}, blocks={"keys": Nested(inner, "list")})
    packed = new(
        "DynamicValue", msgpack=msgpack.packb({"id": "a", "keys": [{"key_wo": CANARY, "name": "n"}]})
    )
    taken = values(outer, packed)
    assert taken is not None
    assert_no_canary(repr(taken))
    kept = dynamic(outer, stored(outer, taken))
    assert msgpack.unpackb(kept.msgpack) == {"id": "a", "keys": [{"key_wo": None, "name": "n"}]}
    assert schema_message(outer).block.block_types[0].nesting == 2


def test_a_moment_is_told_to_the_microsecond() -> None:
    """As seconds since 1970 and nanoseconds."""
    told_at = timestamp(datetime(2026, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    assert (told_at.seconds, told_at.nanos) == (1767225601, 5000)


def test_a_plan_of_its_own_may_call_the_default_one() -> None:
    """What is proposed is a copy: a resource changes it freely."""
    change = Change({"a": None}, None, {"a": None})
    schema = Schema("", {"a": Attribute(STRING, "", computed=True)})
    assert proposed(schema, change) == {"a": UNKNOWN}
    assert change.planned == {"a": None}
