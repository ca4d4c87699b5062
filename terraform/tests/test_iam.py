"""The evaluator decides as AWS's documentation says; what it does not know it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .iam import Policy, Request

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"


def policy(**statement: Any) -> Policy:
    """One statement."""
    full = {"Sid": "s", "Effect": "Allow", "Action": "a:B", "Resource": "*", **statement}
    return Policy(json.dumps({"Version": "2012-10-17", "Statement": [full]}))


@pytest.mark.parametrize(
    ("pattern", "resource", "allowed"),
    [
        (f"{ARN}prod/*", f"{ARN}prod/db/password-AbCdEf", True),
        (f"{ARN}prod/*", f"{ARN}prod-evil/db-AbCdEf", False),
        (f"{ARN}prod/db-??????", f"{ARN}prod/db-AbCdEf", True),
        (f"{ARN}prod/db-??????", f"{ARN}prod/db-more-AbCdEf", False),
        (f"{ARN}Prod/*", f"{ARN}prod/db-AbCdEf", False),
        ("arn:aws:kms:*", "arn:aws:kms:x\ny", True),
        ("arn:aws:kms.x", "arn:aws:kmsyx", False),
    ],
)
def test_resources_match_by_wildcards_over_slashes_and_with_case(
    pattern: str, resource: str, allowed: bool
) -> None:
    """``*`` is any run, ``?`` is one character, all else is itself."""
    assert policy(Resource=[pattern]).allows(Request("a:B", resource)) is allowed


def test_actions_have_no_case() -> None:
    """IAM's own rule."""
    assert policy(Action=["A:get*"]).allows(Request("a:GetThing", "x"))
    assert not policy(Action=["A:get*"]).allows(Request("a:PutThing", "x"))


@pytest.mark.parametrize(
    ("operator", "values", "given", "allowed"),
    [
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a", None, False),
        ("StringLike", "a*", "ab", True),
        ("StringLike", "a*", "ba", False),
        ("StringLike", "*", None, False),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", "a", "a", False),
        ("StringNotEquals", "a", None, True),
    ],
)
def test_conditions_hold_as_their_operator_says(
    operator: str, values: Any, given: str | None, allowed: bool
) -> None:
    """A key that the request has not makes a condition false, and a negated one true."""
    context = {} if given is None else {"k:k": given}
    assert policy(Condition={operator: {"K:K": values}}).allows(Request("a:B", "x", context)) is allowed


def test_all_conditions_of_a_statement_must_hold() -> None:
    """Operators and keys are joined by and, values by or."""
    both = policy(Condition={"StringEquals": {"a": "1", "b": "2"}, "StringLike": {"c": "3*"}})
    assert both.allows(Request("a:B", "x", {"a": "1", "b": "2", "c": "33"}))
    assert not both.allows(Request("a:B", "x", {"a": "1", "b": "2"}))
    assert not both.allows(Request("a:B", "x", {"a": "1", "b": "9", "c": "33"}))


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Deny"},
        {"NotAction": "a:C"},
        {"NotResource": "y"},
        {"Principal": "*"},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
    ],
)
def test_what_it_does_not_judge_is_refused(statement: dict[str, Any]) -> None:
    """A policy that it misread would be proved for nothing."""
    with pytest.raises(ValueError, match="not judged"):
        policy(**statement)


def test_an_older_policy_is_refused() -> None:
    """Its wildcards in variables mean something else."""
    with pytest.raises(ValueError, match="older"):
        Policy(json.dumps({"Version": "2008-10-17", "Statement": []}))
