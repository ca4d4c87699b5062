"""The edge: nothing of a provider's exception passes, but facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from strongroom.backend import Absent, Backend, Secret, SecretInfo, SecretVersion, Stage
from strongroom.errors import (
    IntegrityError,
    PartialFailureError,
    PermissionDeniedError,
    ProviderFault,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.edge import Edge, edge, translated
from strongroom.layers.layer import Layer
from strongroom.memory import MemoryBackend
from strongroom.names import Companion, Key, Name
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in

NAME = Name("db/password")
ROTATION = "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11"


class SDKError(Exception):
    """Like botocore's ClientError and ParamValidationError: it carries requests wherever it can."""

    def __init__(self) -> None:
        super().__init__(f"Invalid type for parameter SecretString, value: {CANARY}")
        self.request = {"SecretString": CANARY}
        self.response = {
            "Error": {"Code": "ThrottlingException", "Message": f"refused {CANARY}"},
            "ResponseMetadata": {"RequestId": "4f1c-77", "HTTPHeaders": {"x-echo": CANARY}},
        }
        self.add_note(f"while sending {CANARY}")


def fail() -> Any:
    """Raise as SDKs do: from within another exception, with the request in every frame."""
    request_body = CANARY
    try:
        raise ValueError(request_body)
    except ValueError as inner:
        raise SDKError from inner


class Broken(MemoryBackend):
    """Every method fails within the SDK; ``table`` is its error table."""

    table: Callable[[Exception, str], SecretStoreError | None]

    def __init__(self, error: Callable[[], Any] = fail, table: Any = lambda exc, operation: None):
        super().__init__(origin="broken")
        self.error, self.table = error, table

    def error_for(self, exc: Exception, operation: str) -> SecretStoreError | None:  # type: ignore[override]
        return self.table(exc, operation)


def _failing(operation: str) -> Callable[..., Any]:
    def method(self: Broken, *args: Any) -> Any:
        sent = f"{operation} {CANARY}"
        return self.error() or sent

    return method


CALLS: dict[str, Callable[[Backend], object]] = {
    "get": lambda b: b.get(NAME, Stage.CURRENT),
    "put": lambda b: b.put(NAME, SecretValue(CANARY), None),
    "purge": lambda b: b.purge(NAME),
    "delete": lambda b: b.delete(NAME),
    "restore": lambda b: b.restore(NAME),
    "retire": lambda b: b.retire(NAME, "1"),
    "list_info": lambda b: list(b.list_info("")),
    "versions": lambda b: b.versions(NAME),
    "versions_after": lambda b: b.versions_after(NAME, "1"),
    "describe": lambda b: b.describe(NAME),
    "set_tags": lambda b: b.set_tags(NAME, {"owner": "x"}),
    "get_many": lambda b: b.get_many([NAME]),
    "put_pending": lambda b: b.put_pending(NAME, ROTATION, SecretValue(CANARY), "1"),
    "get_pending": lambda b: b.get_pending(NAME, ROTATION),
    "promote_pending": lambda b: b.promote_pending(NAME, ROTATION),
    "discard_pending": lambda b: b.discard_pending(NAME, ROTATION),
    "own_key": lambda b: b.own_key(),
    "principal": lambda b: b.principal(),
    "refused": lambda b: b.refused(NAME, "1"),
    "close": lambda b: b.close(),
}
WRITES = {"put", "purge", "delete", "restore", "retire", "set_tags"} | {
    operation for operation in CALLS if operation.endswith("_pending") and operation != "get_pending"
}
for _operation in CALLS:
    setattr(Broken, _operation, _failing(_operation))


def raised(backend: Backend, operation: str) -> SecretStoreError:
    with pytest.raises(SecretStoreError) as caught:
        CALLS[operation](edge(backend))
    return caught.value


def test_every_method_that_does_io_stands_behind_the_edge() -> None:
    """A method added to Backend later must be named here, and translated."""
    facts = {
        "from_url",
        "error_for",
        "locate",
        "check",
        "limit",
        "native_replication",
        "size",
        "own_version",
        "public_version",
        "after_fork",
    }
    methods = {name for name, member in vars(Backend).items() if callable(member) and name[0] != "_"}
    assert {name for name in methods if name not in {"from_url", "error_for"}} - facts == set(CALLS)
    assert CALLS.keys() <= vars(Edge).keys()


@pytest.mark.parametrize("operation", CALLS)
def test_nothing_of_an_sdk_exception_passes(operation: str) -> None:
    """Its text, attributes, notes, causes and frames hold requests: none is reachable from our error ▲."""
    error = raised(Broken(), operation)
    assert_no_canary_in(error)
    assert error.__context__ is None
    assert isinstance(error.__cause__, ProviderFault)
    assert error.__cause__.__traceback__ is None
    assert error.__cause__.__context__ is None


@pytest.mark.parametrize("operation", CALLS)
def test_the_same_holds_for_what_the_table_knows(operation: str) -> None:
    """Also if the table chained the exception it was given, as a careless `raise ... from` does."""

    def table(exc: Exception, operation: str) -> SecretStoreError:
        error = UnavailableError("throttled", performed=False)
        error.__cause__ = error.__context__ = exc
        return error

    error = raised(Broken(table=table), operation)
    assert type(error) is UnavailableError
    assert error.retryable
    assert_no_canary_in(error)


def test_a_fault_says_class_code_request_id_and_place() -> None:
    """What a support desk needs, and no text that a provider sent."""
    error = raised(Broken(), "get")
    fault = error.__cause__
    assert isinstance(fault, ProviderFault)
    assert (fault.kind, fault.code, fault.request_id) == ("SDKError", "ThrottlingException", "4f1c-77")
    assert error.request_id == "4f1c-77"
    assert (error.operation, error.name, error.backend) == ("get", "db/password", "broken")
    assert "SDKError" in str(error)


@pytest.mark.parametrize(
    "response",
    [
        CANARY,
        {"Error": CANARY, "ResponseMetadata": CANARY},
        {"Error": {"Code": f"bad {CANARY}"}, "ResponseMetadata": {"RequestId": f"{CANARY}\n"}},
        {"Error": {"Code": [CANARY]}, "ResponseMetadata": {"RequestId": {CANARY}}},
        {"Error": {"Code": CANARY}, "ResponseMetadata": {"RequestId": "x" * 80 + CANARY}},
        None,
    ],
    ids=range(6),
)
def test_a_response_of_another_shape_gives_no_facts(response: object) -> None:
    """A code is an identifier and a request id short and plain; whatever else stands there stays there."""

    def error() -> None:
        exc = SDKError()
        exc.response = response  # type: ignore[assignment]
        raise exc

    caught = raised(Broken(error), "put")
    assert_no_canary_in(caught)
    assert caught.request_id is None


@pytest.mark.parametrize("operation", CALLS)
def test_an_unknown_exception_of_a_write_leaves_it_unknown_whether_it_happened(operation: str) -> None:
    """`performed=False` would invite a repeat of a write that may have happened ▲."""
    assert raised(Broken(), operation).performed is (None if operation in WRITES else False)


@pytest.mark.parametrize("operation", CALLS)
def test_a_table_that_stumbles_does_not_leak(operation: str) -> None:
    """The exception it raises would have the SDK's as its context."""

    def table(exc: Exception, operation: str) -> SecretStoreError:
        raise KeyError(vars(exc)["request"])

    error = raised(Broken(table=table), operation)
    assert type(error) is SecretStoreError
    assert_no_canary_in(error)
    assert error.performed is (None if operation in WRITES else False)


OWN = [
    SecretNotFoundError,
    SecretConflictError,
    PermissionDeniedError,
    UnavailableError,
    IntegrityError,
]


@pytest.mark.parametrize("cls", OWN)
def test_our_own_errors_keep_their_type_and_facts_and_lose_what_they_were_raised_from(
    cls: type[SecretStoreError],
) -> None:
    """A backend that translates by itself may still raise within its `except`."""

    def error() -> None:
        body = CANARY
        try:
            fail()
        except SDKError as exc:
            raise cls("why", hint="what to do", performed=None) from (exc if body else None)

    caught = raised(Broken(error), "put")
    assert type(caught) is cls
    assert (caught.message, caught.hint, caught.performed) == ("why", "what to do", None)
    assert (caught.operation, caught.name) == ("put", "db/password")
    assert caught.__cause__ is caught.__context__ is None
    assert_no_canary_in(caught)


def test_the_parts_of_a_partial_failure_are_bare_too() -> None:
    """Each part was raised and caught somewhere inside the provider's client."""

    def error() -> None:
        parts: dict[str, SecretStoreError] = {}
        try:
            try:
                fail()
            except SDKError as exc:
                raise UnavailableError("no answer") from exc
        except UnavailableError as part:
            parts["db/x"] = part
        raise PartialFailureError("1 failed", results={}, errors=parts)

    caught = raised(Broken(error), "put")
    assert isinstance(caught, PartialFailureError)
    assert_no_canary_in(caught)
    assert_no_canary_in(caught.errors["db/x"])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_stops_a_program_passes(stop: type[BaseException]) -> None:
    """Ctrl-C is no provider's failure."""

    def error() -> None:
        raise stop

    with pytest.raises(stop):
        CALLS["get"](edge(Broken(error)))


class Listing(MemoryBackend):
    """Yields one page, then fails within the iterator."""

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        page = CANARY
        yield SecretInfo(NAME)
        raise fail() or ValueError(page)


def test_an_iterator_is_translated_while_it_runs() -> None:
    """The second page's failure comes out of `next`, far from the call that made the iterator."""
    infos = edge(Listing()).list_info("")
    assert next(infos).key == NAME
    with pytest.raises(SecretStoreError) as caught:
        next(infos)
    assert_no_canary_in(caught.value)
    assert caught.value.operation == "list"


class Batch(MemoryBackend):
    """Answers a batch with errors for items, raised before, as they come."""

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        outcomes: dict[Key, Any] = {}
        for position, key in enumerate(keys):
            try:
                try:
                    fail()
                except SDKError as exc:
                    if position:
                        raise
                    raise PermissionDeniedError("denied") from exc
            except Exception as exc:
                outcomes[key] = exc
        return outcomes


def test_a_batchs_items_are_translated_too() -> None:
    """They are handed over, not raised: nothing else would strip them."""
    other = Name("db/other")
    outcomes = edge(Batch()).get_many([NAME, other])
    denied, unknown = outcomes[NAME], outcomes[other]
    assert isinstance(denied, PermissionDeniedError)
    assert isinstance(unknown, SecretStoreError)
    for name, error in ((NAME, denied), (other, unknown)):
        assert_no_canary_in(error)
        assert (error.name, error.operation) == (str(name), "get")


def test_an_error_about_a_companion_names_the_secret() -> None:
    """Users know no companions."""
    with pytest.raises(SecretStoreError) as caught:
        edge(Broken()).get(Companion(NAME), Stage.CURRENT)
    assert caught.value.name == "db/password"


def test_the_edge_is_put_once() -> None:
    """Each layer asks for it; twice would say everything twice."""
    once = edge(MemoryBackend())
    assert edge(once) is once


def test_the_edge_changes_nothing_else() -> None:
    """Values, versions and facts pass as they are."""
    backend = MemoryBackend(origin="m")
    guarded = edge(backend)
    version = guarded.put(NAME, SecretValue("v"), Absent.ABSENT)
    assert guarded.get(NAME, version.id).value == SecretValue("v")
    assert isinstance(version, SecretVersion)
    assert guarded.capabilities == backend.capabilities
    assert guarded.limit(NAME) == backend.limit(NAME)
    assert guarded.writer is guarded


def test_a_layer_forwards_everything_of_backend() -> None:
    """A method or fact that Layer forgets would silently be Backend's default."""
    forwarded = vars(Layer).keys()
    of_the_class = {"from_url", "scheme", "loggers", "needs_coordinator", "auth_keys", "option_keys"}
    public = {name for name in vars(Backend) if not name.startswith("_")} - of_the_class
    assert public <= forwarded


def test_translation_keeps_no_reference_to_the_exception() -> None:
    """Not even as an attribute."""
    try:
        fail()
    except SDKError as exc:
        error = translated(exc, "put", lambda exc, operation: None)
    assert_no_canary_in(error)
