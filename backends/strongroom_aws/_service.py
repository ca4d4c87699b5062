"""What differs between AWS's services, for the one client and the one table of errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from strongroom.errors import SecretStoreError
from strongroom.value import SecretValue

Answer = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """An error that AWS answered. `message` is AWS's text: to be searched, never to be shown."""

    meaning: str
    action: str
    message: str
    writes: bool


@dataclass(frozen=True)
class Service:
    """One of AWS's services.

    Attributes:
        name: as boto calls it, and IAM before the colon of its actions.
        title: as people call it.
        example: how its URLs are written.
        answers: for each action a field that every right answer has: with status 200 the SDK takes any
            bytes, such as a proxy's page, for an answer without fields. An action that is not named here
            has none.
        value_field: the parameter that carries a secret value.
        seal: the same answer, each secret value of it in a SecretValue, before it is a local of anything
            that may fail.
        codes: meanings of error codes that are its own, or differ from `_errors.CODES`.
        explain: the error for a refusal whose meaning is its own; None leaves it to the common table.
    """

    name: str
    title: str
    example: str
    answers: Mapping[str, str]
    value_field: Callable[[SecretValue], dict[str, Any]]
    seal: Callable[[Answer], Answer]
    codes: Mapping[str, str] = field(default_factory=dict)
    explain: Callable[[Refusal], SecretStoreError | None] = lambda _refusal: None
