"""Resource policies in the strict Secrets Manager double: kept, replicated, and their denials enforced."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

from . import aws_limits as limits
from .aws_account import Account, Answer, Operations
from .aws_state import AwsError, Replica

Params = limits.Params
_LENGTH = 20_480  # Model: NonEmptyResourcePolicyType


class Policies:
    """PutResourcePolicy, GetResourcePolicy and DeleteResourcePolicy.

    Of a policy the double follows what Strongroom writes: a Deny for everybody, of actions, where an
    ``aws:RequestedRegion`` may stand as its condition.
    """

    def __init__(self, account: Account):
        self._account = account
        self.operations: Operations = {
            "PutResourcePolicy": self._put,
            "GetResourcePolicy": self._get,
            "DeleteResourcePolicy": self._delete,
        }

    def enforce(self, region: str, operation: str, params: Params) -> None:
        """Refuse what the secret's own policy denies: "an explicit deny overrides any allow".

        Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
        """
        found = self._account.shelf(region)
        for name, secret in found.items():
            if params.get("SecretId") not in (name, secret.arn):
                continue
            view = secret.copy if isinstance(secret, Replica) else secret
            if view is not None and any(
                _denies(each, operation, region) for each in _statements(view.policy)
            ):
                raise AwsError(
                    "AccessDeniedException",
                    f"not authorized to perform: secretsmanager:{operation} with an explicit deny in a "
                    "resource-based policy",
                )

    def _put(self, region: str, params: Params) -> Answer:
        self._account.authorise("PutResourcePolicy", limits.secret_id(params))
        secret, text = self._account.primary(region, params), params.get("ResourcePolicy") or ""
        if not 1 <= len(text) <= _LENGTH:
            raise limits.unsatisfied("resourcePolicy", f"length 1 to {_LENGTH}")
        if not _is_policy(text):
            raise AwsError(
                "MalformedPolicyDocumentException", "This resource policy contains a syntax error."
            )
        with self._account.editing(secret):
            secret.policy = text
        return {"ARN": secret.arn, "Name": secret.name}

    def _get(self, region: str, params: Params) -> Answer:
        self._account.authorise("GetResourcePolicy", limits.secret_id(params))
        secret = self._account.seen(region, limits.secret_id(params))
        policy = {"ResourcePolicy": secret.policy} if secret.policy else {}
        return {"ARN": secret.arn, "Name": secret.name} | policy

    def _delete(self, region: str, params: Params) -> Answer:
        self._account.authorise("DeleteResourcePolicy", limits.secret_id(params))
        secret = self._account.primary(region, params)
        with self._account.editing(secret):
            secret.policy = ""
        return {"ARN": secret.arn, "Name": secret.name}


def _is_policy(text: str) -> bool:
    try:
        return bool(_statements(text))
    except (ValueError, AttributeError):
        return False


def _statements(text: str) -> list[dict[str, Any]]:
    found = json.loads(text).get("Statement", []) if text else []
    return found if isinstance(found, list) else [found]


def _denies(statement: dict[str, Any], operation: str, region: str) -> bool:
    actions = statement.get("Action", [])
    actions = [actions] if isinstance(actions, str) else actions
    regions = statement.get("Condition", {}).get("StringEquals", {}).get("aws:RequestedRegion", region)
    return (
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and any(fnmatch.fnmatchcase(f"secretsmanager:{operation}", action) for action in actions)
        and region in ([regions] if isinstance(regions, str) else regions)
    )
