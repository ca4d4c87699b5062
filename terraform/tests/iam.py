"""What AWS IAM decides, as far as our policies go: actions, resources and the conditions that they use.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
A policy that uses more than this is refused, not misjudged.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_KNOWN = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that AWS is asked whether a principal may do.

    Attributes:
        action: as in ``secretsmanager:GetSecretValue``.
        resource: its ARN, ``*`` for an action that has none.
        context: condition keys, in lower case, and what the request has for them.
    """

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """One pair of an action and a resource of one statement: the smallest thing that can be superfluous."""

    sid: str
    action: str
    resource: str
    conditions: Mapping[str, Mapping[str, Any]] = field(hash=False, compare=False)

    def covers(self, request: Request) -> bool:
        """Whether it allows the request. Actions have no case; in resources ``*`` stands for slashes too."""
        return (
            matches(self.action.lower(), request.action.lower())
            and matches(self.resource, request.resource)
            and all(
                _OPERATORS[operator](values, request.context.get(key.lower()))
                for operator, keys in self.conditions.items()
                for key, values in ((key, _listed(values)) for key, values in keys.items())
            )
        )


class Policy:
    """An identity-based policy of Allow statements.

    Args:
        document: as JSON.

    Raises:
        ValueError: it has something that is not judged here.
    """

    def __init__(self, document: str):
        found = json.loads(document)
        if found["Version"] != "2012-10-17":
            raise ValueError("variables and wildcards mean other things in older policies")
        self.statements: list[dict[str, Any]] = found["Statement"]
        self.grants = tuple(grant for statement in self.statements for grant in _grants(statement))

    def allows(self, request: Request) -> bool:
        """Whether any statement does: none here denies, and what is not allowed is denied."""
        return any(grant.covers(request) for grant in self.grants)

    def without(self, action: str) -> Policy:
        """The same policy with one action taken out of every statement."""
        kept = [{**s, "Action": [a for a in s["Action"] if a != action]} for s in self.statements]
        return Policy(json.dumps({"Version": "2012-10-17", "Statement": kept}))


def _grants(statement: dict[str, Any]) -> Iterator[Grant]:
    conditions = statement.get("Condition", {})
    if statement["Effect"] != "Allow" or statement.keys() - _KNOWN or conditions.keys() - _OPERATORS.keys():
        raise ValueError(f"a statement that is not judged here: {statement.get('Sid')}")
    for action in _listed(statement["Action"]):
        for resource in _listed(statement["Resource"]):
            yield Grant(statement["Sid"], action, resource, conditions)


def _listed(found: str | list[str]) -> list[str]:
    return [found] if isinstance(found, str) else found


def matches(pattern: str, text: str) -> bool:
    """``*`` is any run of characters, ``?`` is one."""
    return _compiled(pattern).fullmatch(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"([*?])", pattern)
    return re.compile(
        "".join({"*": ".*", "?": "."}.get(part) or re.escape(part) for part in parts), re.DOTALL
    )


def _string_equals(values: list[str], given: str | None) -> bool:
    return given in values


def _string_like(values: list[str], given: str | None) -> bool:
    return given is not None and any(matches(value, given) for value in values)


def _string_not_equals(values: list[str], given: str | None) -> bool:
    """Negated operators hold where the request has no such key."""
    return given not in values


_OPERATORS: dict[str, Callable[[list[str], str | None], bool]] = {
    "StringEquals": _string_equals,
    "StringLike": _string_like,
    "StringNotEquals": _string_not_equals,
}
