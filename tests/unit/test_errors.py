"""The error tree: nine errors, one line each, and nothing in them but facts."""

from __future__ import annotations

import copy
import pickle

import pytest

from strongroom import errors
from strongroom.errors import PartialFailureError, ProviderFault, SecretStoreError, UnavailableError

PLAIN = [cls for cls in SecretStoreError.__subclasses__() if cls is not PartialFailureError]


def test_there_are_nine_errors_and_the_docstring_draws_each() -> None:
    """DESIGN section 4 fixes the tree; a tenth meaning needs a decision."""
    names = [cls.__name__ for cls in SecretStoreError.__subclasses__()]
    assert len(names) == 9
    assert all(f"── {name} " in (errors.__doc__ or "") for name in names)


@pytest.mark.parametrize("cls", PLAIN)
def test_only_unavailable_is_retryable_unless_it_says_otherwise(cls: type[SecretStoreError]) -> None:
    """A retry of a denial or of a conflict locks accounts out and hides races."""
    assert cls("why").retryable is (cls is UnavailableError)
    assert cls("why", retryable=True).retryable


@pytest.mark.parametrize("cls", PLAIN)
def test_nothing_happened_unless_the_error_says_otherwise(cls: type[SecretStoreError]) -> None:
    """`performed` is False, True, or None where nobody knows."""
    assert cls("why").performed is False
    assert cls("why", performed=None).performed is None


def test_an_error_is_one_line_with_where_what_and_what_to_do() -> None:
    """A person reads: operation, name, problem, hint."""
    error = SecretStoreError("no answer", operation="put", name="db/x", hint="is it up?")
    assert str(error) == "put db/x: no answer (is it up?)"
    assert str(SecretStoreError("no answer")) == "no answer"


@pytest.mark.parametrize("cls", PLAIN)
def test_an_error_survives_copying_and_pickling_with_its_facts(cls: type[SecretStoreError]) -> None:
    """Waiters of one fetch each raise a copy; process pools pickle what a worker raised."""
    error = cls("why", operation="get", name="db/x", performed=None, hint="wait", request_id="r-1")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is cls
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)


def test_a_partial_failure_survives_copying_with_its_parts() -> None:
    """It takes more than a message, which the default way of copying an exception forgets."""
    parts = {"a": UnavailableError("no answer")}
    error = PartialFailureError("1 of 2", results={"b": "done"}, errors=parts, operation="get_many")
    twin = copy.copy(error)
    assert twin.errors == parts
    assert twin.results == {"b": "done"}
    assert str(twin) == str(error)


def test_a_provider_fault_holds_four_facts_and_skips_those_unknown() -> None:
    """Class, code, request id and place: what a support desk asks for, and nothing that was sent."""
    assert str(ProviderFault("ClientError", code="Throttling", request_id="r-1", where="a.py:3")) == (
        "ClientError, Throttling, request r-1, at a.py:3"
    )
    assert str(ProviderFault("Timeout")) == "Timeout"
