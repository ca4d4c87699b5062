"""The messages of Terraform's plugin protocol 6 and of go-plugin, built from a table: only what we use.

Field numbers are those of Terraform's ``docs/plugin-protocol/tfplugin6.9.proto`` and of go-plugin's
``grpc_stdio.proto``, ``grpc_broker.proto`` and ``grpc_controller.proto``. Generated code would tie the
provider to one range of protobuf releases; descriptors made at import work with any from 5 on. An enum
stands as int32 and a oneof as optional fields: the same bytes.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ERROR, WARNING = 1, 2
"""`Diagnostic.severity`."""
SERVING = 1
"""`HealthResponse.status`."""
NESTINGS: Final = {"single": 1, "list": 2, "set": 3, "map": 4, "group": 5}
"""`NestedBlock.nesting`."""

_DIAGNOSED = "repeated Diagnostic diagnostics"
_TABLE: Final[dict[str, tuple[str, ...]]] = {
    "Empty": (),
    "Timestamp": ("1 int64 seconds", "2 int32 nanos"),
    "DynamicValue": ("1 bytes msgpack", "2 bytes json"),
    "Step": (
        "1 optional string attribute_name",
        "2 optional string element_key_string",
        "3 optional int64 element_key_int",
    ),
    "AttributePath": ("1 repeated Step steps",),
    "Diagnostic": ("1 int32 severity", "2 string summary", "3 string detail", "4 AttributePath attribute"),
    "FunctionError": ("1 string text", "2 optional int64 function_argument"),
    "RawState": ("1 bytes json",),
    "Attribute": (
        "1 string name",
        "2 bytes type",
        "3 string description",
        "4 bool required",
        "5 bool optional",
        "6 bool computed",
        "7 bool sensitive",
        "11 bool write_only",
    ),
    "NestedBlock": (
        "1 string type_name",
        "2 Block block",
        "3 int32 nesting",
        "4 int64 min_items",
        "5 int64 max_items",
    ),
    "Block": (
        "1 int64 version",
        "2 repeated Attribute attributes",
        "3 repeated NestedBlock block_types",
        "4 string description",
    ),
    "Schema": ("1 int64 version", "2 Block block"),
    "Parameter": ("1 string name", "2 bytes type", "5 string description"),
    "Return": ("1 bytes type",),
    "Function": (
        "1 repeated Parameter parameters",
        "2 Parameter variadic_parameter",
        "3 Return return",
        "4 string summary",
        "5 string description",
    ),
    "ServerCapabilities": ("1 bool plan_destroy", "2 bool get_provider_schema_optional"),
    "ClientCapabilities": ("1 bool deferral_allowed", "2 bool write_only_attributes_allowed"),
    "TypeName": ("1 string type_name",),
    "FunctionName": ("1 string name",),
    "MetadataResponse": (
        "1 ServerCapabilities server_capabilities",
        "3 repeated TypeName data_sources",
        "4 repeated TypeName resources",
        "5 repeated FunctionName functions",
        "6 repeated TypeName ephemeral_resources",
    ),
    "SchemaResponse": (
        "1 Schema provider",
        "2 map Schema resource_schemas",
        "3 map Schema data_source_schemas",
        "4 repeated Diagnostic diagnostics",
        "6 ServerCapabilities server_capabilities",
        "7 map Function functions",
        "8 map Schema ephemeral_resource_schemas",
    ),
    "FunctionsResponse": ("1 map Function functions",),
    "ProviderConfig": ("1 DynamicValue config",),
    "ProviderConfigResponse": ("2 " + _DIAGNOSED,),
    "ConfigureRequest": (
        "1 string terraform_version",
        "2 DynamicValue config",
        "3 ClientCapabilities client_capabilities",
    ),
    "Config": (
        "1 string type_name",
        "2 DynamicValue config",
        "3 ClientCapabilities client_capabilities",
    ),
    "Diagnosed": ("1 " + _DIAGNOSED,),
    "UpgradeRequest": ("1 string type_name", "2 int64 version", "3 RawState raw_state"),
    "UpgradeResponse": ("1 DynamicValue upgraded_state", "2 " + _DIAGNOSED),
    "ReadRequest": ("1 string type_name", "2 DynamicValue current_state", "3 bytes private"),
    "ReadResponse": ("1 DynamicValue new_state", "2 " + _DIAGNOSED, "3 bytes private"),
    "PlanRequest": (
        "1 string type_name",
        "2 DynamicValue prior_state",
        "3 DynamicValue proposed_new_state",
        "4 DynamicValue config",
        "5 bytes prior_private",
    ),
    "PlanResponse": (
        "1 DynamicValue planned_state",
        "2 repeated AttributePath requires_replace",
        "3 bytes planned_private",
        "4 " + _DIAGNOSED,
    ),
    "ApplyRequest": (
        "1 string type_name",
        "2 DynamicValue prior_state",
        "3 DynamicValue planned_state",
        "4 DynamicValue config",
        "5 bytes planned_private",
    ),
    "ApplyResponse": ("1 DynamicValue new_state", "2 bytes private", "3 " + _DIAGNOSED),
    "ImportRequest": ("1 string type_name", "2 string id"),
    "ImportedResource": ("1 string type_name", "2 DynamicValue state", "3 bytes private"),
    "ImportResponse": ("1 repeated ImportedResource imported_resources", "2 " + _DIAGNOSED),
    "DataResponse": ("1 DynamicValue state", "2 " + _DIAGNOSED),
    "OpenResponse": (
        "1 " + _DIAGNOSED,
        "2 Timestamp renew_at",
        "3 DynamicValue result",
        "4 optional bytes private",
    ),
    "RenewRequest": ("1 string type_name", "2 optional bytes private"),
    "RenewResponse": ("1 " + _DIAGNOSED, "2 Timestamp renew_at", "3 optional bytes private"),
    "CallRequest": ("1 string name", "2 repeated DynamicValue arguments"),
    "CallResponse": ("1 DynamicValue result", "2 FunctionError error"),
    "StopResponse": ("1 string Error",),
    "StdioData": ("1 int32 channel", "2 bytes data"),
    "ConnInfo": ("1 uint32 service_id", "2 string network", "3 string address"),
    "HealthRequest": ("1 string service",),
    "HealthResponse": ("1 int32 status",),
}
_PACKAGE = "strongroom_terraform"
_Field = descriptor_pb2.FieldDescriptorProto


def _typed(field: Any, kind: str) -> None:
    scalar = getattr(_Field, f"TYPE_{kind.upper()}", None)
    field.type = _Field.TYPE_MESSAGE if scalar is None else scalar
    if scalar is None:
        field.type_name = f".{_PACKAGE}.{kind}"


def _entry(message: Any, field: Any, kind: str) -> str:
    """A map is a repeated message of key and value, as the protobuf language guide says."""
    entry = message.nested_type.add(name=field.name.title().replace("_", "") + "Entry")
    entry.options.map_entry = True
    _typed(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), "string")
    _typed(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), kind)
    return f"{message.name}.{entry.name}"


def _declare(message: Any, line: str) -> None:
    number, *label, kind, name = line.split()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if label in (["map"], ["repeated"]):
        field.label = _Field.LABEL_REPEATED
    if label == ["map"]:
        kind = _entry(message, field, kind)
    _typed(field, kind)
    if label == ["optional"]:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for name, lines in _TABLE.items():
        message = file.message_type.add(name=name)
        for line in lines:
            _declare(message, line)
    pool = descriptor_pool.DescriptorPool()  # our own: another library's tfplugin6 may be in the default one
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _TABLE
    }


_CLASSES: Final = _build()


def message(name: str) -> Any:
    """The class of one message by its name in the table."""
    return _CLASSES[name]


def new(kind: str, /, **fields: Any) -> Any:
    """One message."""
    return _CLASSES[kind](**fields)
