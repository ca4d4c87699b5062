"""A source that was taken over from: AWS itself refuses its writes, by a statement in each secret's policy.

An explicit Deny stands above every Allow
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html). It is asked for
by a person: it stops every writer, AWS's own rotation and the console too. Changing the policy is not denied,
so that it can be lifted.
"""

from __future__ import annotations

import json
from typing import Any, Final

from strongroom.errors import InvalidRequestError, SecretConflictError, UnavailableError

from ._secrets import Secrets

SID: Final = "StrongroomFencedSource"
_ROUNDS: Final = 3
_WRITES: Final = (
    "DeleteSecret",
    "PutSecretValue",
    "RestoreSecret",
    "RotateSecret",
    "UpdateSecret",
    "UpdateSecretVersionStage",
)


def statement(region: str) -> dict[str, Any]:
    """The Deny.

    A secret's policy is copied to its replicas, and stays with one that was made the source: without the
    condition the new source would be fenced with the old one.
    """
    return {
        "Sid": SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": [f"secretsmanager:{action}" for action in _WRITES],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": region}},
    }


def fence(secrets: Secrets, name: str, region: str) -> None:
    """Add the Deny to the policy of a secret; everything else in it stays.

    AWS's policies have no compare-and-set: it is read back, and added again if another writer dropped it.

    Raises:
        SecretNotFoundError: missing or in the bin.
        SecretConflictError: another writer of the policy dropped it each time.
    """
    wanted = statement(region)
    for _ in range(_ROUNDS):
        policy = _policy(secrets, name)
        others = _others(policy)
        if wanted in policy["Statement"]:
            return
        _put(secrets, name, policy | {"Statement": [*others, wanted]})
    if wanted not in _policy(secrets, name)["Statement"]:
        raise SecretConflictError("another writer is at work on the secret's policy", retryable=True)


def lift(secrets: Secrets, name: str) -> None:
    """Take the Deny out of the policy of a secret; a policy that held nothing else is deleted."""
    policy = _policy(secrets, name)
    others = _others(policy)
    if len(others) == len(policy["Statement"]):
        return
    if others:
        _put(secrets, name, policy | {"Statement": others})
    else:
        secrets.write("DeleteResourcePolicy", name)


def _policy(secrets: Secrets, name: str) -> dict[str, Any]:
    answer = secrets.client.read("GetResourcePolicy", SecretId=name)
    try:
        found = json.loads(answer.get("ResourcePolicy") or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidRequestError("the secret's policy is not a JSON object", hint="mend it by hand")
    statements = found.get("Statement", [])
    listed = statements if isinstance(statements, list) else [statements]  # one alone needs no list
    return {"Version": "2012-10-17"} | found | {"Statement": listed}


def _others(policy: dict[str, Any]) -> list[Any]:
    return [each for each in policy["Statement"] if not isinstance(each, dict) or each.get("Sid") != SID]


def _put(secrets: Secrets, name: str, policy: dict[str, Any]) -> None:
    text = json.dumps(policy)
    error: UnavailableError | None = None
    try:
        secrets.write("PutResourcePolicy", name, ResourcePolicy=text, BlockPublicPolicy=True)
    except UnavailableError as exc:
        error = exc
    if error is not None and error.performed is not None:
        raise error
