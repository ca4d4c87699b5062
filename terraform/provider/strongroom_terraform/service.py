"""Terraform's requests, answered by a provider's blocks: no socket, no threads of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Final, TypeVar

from .blocks import (
    Block,
    Change,
    Function,
    FunctionProblemError,
    PartlyDoneError,
    Provider,
    State,
)
from .failures import told
from .messages import new
from .planning import replaced
from .problems import Diagnostic, problem
from .schema import Schema, Values
from .stores import Stores
from .values import upgraded
from .wire import (
    argument,
    concealed,
    diagnostics,
    dynamic,
    function_message,
    known,
    path,
    result,
    schema_message,
    stored,
    timestamp,
    values,
)

_Method = Callable[["Service", Any], Any]
_B = TypeVar("_B", bound=Block)


def _answers(response: str) -> Callable[[_Method], _Method]:
    """Whatever a method raises becomes diagnostics of an otherwise empty `response`."""

    def wrap(method: _Method) -> _Method:
        @wraps(method)
        def answer(self: Service, request: Any) -> Any:
            try:
                return method(self, request)
            except Exception as error:  # noqa: BLE001  # a traceback could hold a value, so none leaves
                problems = told(error)
            return new(response, diagnostics=diagnostics(problems))

        return answer

    return wrap


class Service:
    """The RPCs of ``tfplugin6.Provider``; safe across threads.

    Args:
        provider: what is served.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._stores = Stores(None)
        self._lock = threading.Lock()
        self._resources = {each.name: each for each in provider.resources}
        self._data = {each.name: each for each in provider.data_sources}
        self._ephemerals = {each.name: each for each in provider.ephemerals}
        self._functions = {each.name: each for each in provider.functions}

    def close(self) -> None:
        """Let go of the stores."""
        self._stores.close()

    def stop(self, _request: Any) -> Any:
        """StopProvider: the user interrupted. What is under way is finished: a write that is cut off is worse
        than one that was not wanted, and Terraform starts nothing after it. Only waiting ends."""
        self._stores.stopping.set()
        return new("StopResponse")

    def metadata(self, _request: Any) -> Any:
        """GetMetadata."""
        return new(
            "MetadataResponse",
            server_capabilities=_capabilities(),
            resources=[new("TypeName", type_name=name) for name in self._resources],
            data_sources=[new("TypeName", type_name=name) for name in self._data],
            ephemeral_resources=[new("TypeName", type_name=name) for name in self._ephemerals],
            functions=[new("FunctionName", name=name) for name in self._functions],
        )

    def schemas(self, _request: Any) -> Any:
        """GetProviderSchema."""
        return new(
            "SchemaResponse",
            provider=schema_message(self._provider.schema),
            resource_schemas=_schemas(self._resources),
            data_source_schemas=_schemas(self._data),
            ephemeral_resource_schemas=_schemas(self._ephemerals),
            functions={name: function_message(each) for name, each in self._functions.items()},
            server_capabilities=_capabilities(),
        )

    def functions(self, _request: Any) -> Any:
        """GetFunctions."""
        described = {name: function_message(each) for name, each in self._functions.items()}
        return new("FunctionsResponse", functions=described)

    @_answers("ProviderConfigResponse")
    def validate_provider(self, request: Any) -> Any:
        """ValidateProviderConfig."""
        values(self._provider.schema, request.config)
        return new("ProviderConfigResponse")

    @_answers("Diagnosed")
    def configure(self, request: Any) -> Any:
        """ConfigureProvider."""
        stores = self._provider.configure(values(self._provider.schema, request.config) or {})
        with self._lock:
            before, self._stores = self._stores, stores
        before.close()
        return new("Diagnosed")

    @_answers("Diagnosed")
    def validate_resource(self, request: Any) -> Any:
        """ValidateResourceConfig."""
        block, config = self._configured(self._resources, request)
        allowed = request.client_capabilities.write_only_attributes_allowed
        refused = [] if allowed else _write_only(block.schema, config)
        return new("Diagnosed", diagnostics=diagnostics([*refused, *block.validate(config)]))

    @_answers("Diagnosed")
    def validate_data(self, request: Any) -> Any:
        """ValidateDataResourceConfig."""
        block, config = self._configured(self._data, request)
        return new("Diagnosed", diagnostics=diagnostics(block.validate(config)))

    @_answers("Diagnosed")
    def validate_ephemeral(self, request: Any) -> Any:
        """ValidateEphemeralResourceConfig."""
        block, config = self._configured(self._ephemerals, request)
        return new("Diagnosed", diagnostics=diagnostics(block.validate(config)))

    @_answers("UpgradeResponse")
    def upgrade(self, request: Any) -> Any:
        """UpgradeResourceState: asked for every object of the state, of whatever version."""
        schema = self._block(self._resources, request.type_name).schema
        if request.version > schema.version:
            raise problem("the state was written by a newer strongroom provider: use that one")
        taken = upgraded(schema.type, request.raw_state.json)
        kept = stored(schema, concealed(schema, taken)) if isinstance(taken, dict) else None
        return new("UpgradeResponse", upgraded_state=dynamic(schema, kept))

    @_answers("ReadResponse")
    def read(self, request: Any) -> Any:
        """ReadResource."""
        block = self._block(self._resources, request.type_name)
        found = block.read(values(block.schema, request.current_state) or {}, request.private)
        return new("ReadResponse", **_kept("new_state", "private", block.schema, found))

    @_answers("PlanResponse")
    def plan(self, request: Any) -> Any:
        """PlanResourceChange."""
        block = self._block(self._resources, request.type_name)
        change = _change(block.schema, request, request.proposed_new_state, request.prior_private)
        if change is None:
            return new("PlanResponse", planned_state=request.proposed_new_state)
        state = block.plan(change)
        other = replaced(block.schema, change.prior, stored(block.schema, state.values))
        return new(
            "PlanResponse",
            requires_replace=[path((name,)) for name in other],
            **_kept("planned_state", "planned_private", block.schema, state),
        )

    def apply(self, request: Any) -> Any:
        """ApplyResourceChange: made, changed or deleted. What fails leaves in state what was there."""
        try:
            return self._apply(request)
        except Exception as error:  # noqa: BLE001  # as in `_answers`
            problems = told(error)
        return new(
            "ApplyResponse",
            new_state=request.prior_state,
            private=request.planned_private,
            diagnostics=diagnostics(problems),
        )

    def _apply(self, request: Any) -> Any:
        block = self._block(self._resources, request.type_name)
        change = _change(block.schema, request, request.planned_state, request.planned_private)
        if change is None:
            block.delete(values(block.schema, request.prior_state) or {}, request.planned_private)
            return new("ApplyResponse", new_state=dynamic(block.schema, None))
        problems: Sequence[Diagnostic] = ()
        try:
            state = block.create(change) if change.prior is None else block.update(change)
        except PartlyDoneError as partly:
            state, problems = replace(partly.state, values=known(partly.state.values)), partly.diagnostics
        return new("ApplyResponse", **_kept("new_state", "private", block.schema, state, problems))

    @_answers("ImportResponse")
    def bring(self, request: Any) -> Any:
        """ImportResourceState."""
        block = self._block(self._resources, request.type_name)
        state = block.bring(request.id)
        brought = new(
            "ImportedResource",
            type_name=request.type_name,
            state=dynamic(block.schema, stored(block.schema, state.values)),
            private=state.private,
        )
        return new("ImportResponse", imported_resources=[brought], diagnostics=diagnostics(state.warnings))

    @_answers("DataResponse")
    def read_data(self, request: Any) -> Any:
        """ReadDataSource."""
        block, config = self._configured(self._data, request)
        return new("DataResponse", state=dynamic(block.schema, stored(block.schema, block.read(config))))

    @_answers("OpenResponse")
    def open(self, request: Any) -> Any:
        """OpenEphemeralResource: the one answer that may hold a value."""
        block, config = self._configured(self._ephemerals, request)
        opened = block.open(config)
        return new(
            "OpenResponse",
            result=dynamic(block.schema, {**config, **opened.values}),
            private=opened.private,
            renew_at=timestamp(opened.renew_at) if opened.renew_at else None,
            diagnostics=diagnostics(opened.warnings),
        )

    @_answers("RenewResponse")
    def renew(self, request: Any) -> Any:
        """RenewEphemeralResource."""
        renewed = self._block(self._ephemerals, request.type_name).renew(request.private)
        return new(
            "RenewResponse",
            private=renewed.private,
            renew_at=timestamp(renewed.renew_at) if renewed.renew_at else None,
            diagnostics=diagnostics(renewed.warnings),
        )

    @_answers("Diagnosed")
    def close_ephemeral(self, request: Any) -> Any:
        """CloseEphemeralResource."""
        told_last = self._block(self._ephemerals, request.type_name).close(request.private)
        return new("Diagnosed", diagnostics=diagnostics(told_last or ()))

    def call(self, request: Any) -> Any:
        """CallFunction."""
        argument = None
        try:
            return new("CallResponse", result=_called(self._functions[request.name](), request.arguments))
        except FunctionProblemError as error:
            text, argument = str(error), error.argument
        except Exception as error:  # noqa: BLE001  # as in `_answers`
            text = told(error)[0].summary
        return new("CallResponse", error=new("FunctionError", text=text, function_argument=argument))

    def _block(self, kinds: Mapping[str, type[_B]], name: str) -> _B:
        if name not in kinds:
            raise problem(f"this provider has nothing named {name}: does its version fit the state's?")
        return kinds[name](self._stores)

    def _configured(self, kinds: Mapping[str, type[_B]], request: Any) -> tuple[_B, Values]:
        block = self._block(kinds, request.type_name)
        return block, values(block.schema, request.config) or {}


def _capabilities() -> Any:
    return new("ServerCapabilities", get_provider_schema_optional=True)


def _schemas(kinds: Mapping[str, type[Block]]) -> dict[str, Any]:
    return {name: schema_message(each.schema) for name, each in kinds.items()}


def _write_only(schema: Schema, config: Values) -> list[Diagnostic]:
    """Terraform before 1.11 knows no write-only attributes: it would put the value into state."""
    return [
        Diagnostic(
            f"{name} needs Terraform 1.11 or later: an earlier one would keep it in state", "", (name,)
        )
        for name, attribute in schema.attributes.items()
        if attribute.write_only and config.get(name) is not None
    ]


def _change(schema: Schema, request: Any, planned: Any, private: bytes) -> Change | None:
    """What a plan or an apply starts from; None when the object is to go."""
    config, after = values(schema, request.config), values(schema, planned)
    if config is None or after is None:
        return None
    return Change(config, values(schema, request.prior_state), after, private)


def _kept(
    state: str, private: str, schema: Schema, kept: State | None, problems: Sequence[Diagnostic] = ()
) -> dict[str, Any]:
    """The fields of a response that bring an object's state back to Terraform."""
    if kept is None:
        return {state: dynamic(schema, None)}
    return {
        state: dynamic(schema, stored(schema, kept.values)),
        private: kept.private,
        "diagnostics": diagnostics([*kept.warnings, *problems]),
    }


def _called(function: Function, arguments: Sequence[Any]) -> Any:
    kinds = [one.type for one in function.parameters]
    if function.variadic:
        kinds += [function.variadic.type] * (len(arguments) - len(kinds))
    taken = [argument(kind, one) for kind, one in zip(kinds, arguments, strict=True)]
    return result(function.returns, function.call(*taken))


METHODS: Final[dict[str, tuple[str, str, Callable[[Service, Any], Any]]]] = {
    "GetMetadata": ("Empty", "MetadataResponse", Service.metadata),
    "GetProviderSchema": ("Empty", "SchemaResponse", Service.schemas),
    "GetFunctions": ("Empty", "FunctionsResponse", Service.functions),
    "GetResourceIdentitySchemas": ("Empty", "Empty", lambda _service, _request: new("Empty")),
    "ValidateProviderConfig": ("ProviderConfig", "ProviderConfigResponse", Service.validate_provider),
    "ConfigureProvider": ("ConfigureRequest", "Diagnosed", Service.configure),
    "ValidateResourceConfig": ("Config", "Diagnosed", Service.validate_resource),
    "ValidateDataResourceConfig": ("Config", "Diagnosed", Service.validate_data),
    "ValidateEphemeralResourceConfig": ("Config", "Diagnosed", Service.validate_ephemeral),
    "UpgradeResourceState": ("UpgradeRequest", "UpgradeResponse", Service.upgrade),
    "ReadResource": ("ReadRequest", "ReadResponse", Service.read),
    "PlanResourceChange": ("PlanRequest", "PlanResponse", Service.plan),
    "ApplyResourceChange": ("ApplyRequest", "ApplyResponse", Service.apply),
    "ImportResourceState": ("ImportRequest", "ImportResponse", Service.bring),
    "ReadDataSource": ("Config", "DataResponse", Service.read_data),
    "OpenEphemeralResource": ("Config", "OpenResponse", Service.open),
    "RenewEphemeralResource": ("RenewRequest", "RenewResponse", Service.renew),
    "CloseEphemeralResource": ("RenewRequest", "Diagnosed", Service.close_ephemeral),
    "CallFunction": ("CallRequest", "CallResponse", Service.call),
    "StopProvider": ("Empty", "StopResponse", Service.stop),
}
"""What each RPC takes, gives, and who answers."""
