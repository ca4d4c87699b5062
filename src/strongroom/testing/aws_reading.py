"""The reads of the strict Secrets Manager double."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from . import aws_limits as limits
from .aws_account import Account, Answer, Operations, marked_for_deletion, missing
from .aws_state import CURRENT, MANAGED_KEY, AwsError, Secret, Version

Params = limits.Params


class Reading:
    """GetSecretValue, BatchGetSecretValue, DescribeSecret, ListSecretVersionIds and ListSecrets."""

    def __init__(self, account: Account):
        self._account = account
        self.operations: Operations = {
            "GetSecretValue": self._get,
            "BatchGetSecretValue": self._batch_get,
            "DescribeSecret": self._describe,
            "ListSecretVersionIds": self._versions,
            "ListSecrets": self._list,
        }

    def _get(self, region: str, params: Params) -> Answer:
        secret_id = limits.secret_id(params)
        self._account.authorise("GetSecretValue", secret_id)
        secret = self._account.seen(region, secret_id)
        if secret.deletion:
            raise marked_for_deletion()
        version = self._version(secret, params.get("VersionId"), params.get("VersionStage"))
        self._account.use_key(version.kms_key, "DecryptionFailure")
        return _value_entry(secret, version)

    def _version(self, secret: Secret, version_id: str | None, stage: str | None) -> Version:
        label = stage or CURRENT
        found = version_id or secret.labels.get(label)
        version = secret.versions.get(found or "")
        if version is None or version.data is None:
            where = f"VersionId: {version_id}" if version_id else f"staging label: {label}"
            raise missing(f"value for {where}")
        if version_id and stage and secret.labels.get(stage) != version_id:
            raise AwsError(
                "InvalidRequestException",
                "You provided a VersionStage that is not associated to the provided VersionId.",
            )
        return version

    def _batch_get(self, region: str, params: Params) -> Answer:
        self._account.authorise("BatchGetSecretValue", None)
        ids, filters = params.get("SecretIdList"), limits.filters(params)
        if bool(ids) == bool(filters):
            raise limits.invalid("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
        if ids and "MaxResults" in params:
            raise limits.invalid("'Filters' must also be specified when 'MaxResults' is provided.")
        if ids and len(ids) > limits.BATCH:
            raise limits.unsatisfied("secretIdList", "Member must have length less than or equal to 20")
        if ids:
            return self._batch(region, ids)
        listed = self._list(region, {**params, "MaxResults": limits.page_size(params, limits.BATCH)})
        answer = self._batch(region, [entry["Name"] for entry in listed["SecretList"]])
        return answer | {key: listed[key] for key in ("NextToken",) if key in listed}

    def _batch(self, region: str, ids: Sequence[str]) -> Answer:
        values, errors = [], []
        for secret_id in ids:  # Model: "you must have secretsmanager:GetSecretValue for each secret"
            try:
                values.append(self._get(region, {"SecretId": secret_id}))
            except AwsError as error:
                errors.append({"SecretId": secret_id, "ErrorCode": error.code, "Message": str(error)})
        return {"SecretValues": values, "Errors": errors}

    def _describe(self, region: str, params: Params) -> Answer:
        secret_id = limits.secret_id(params)
        self._account.authorise("DescribeSecret", secret_id)
        secret = self._account.seen(region, secret_id)
        answer = _described(secret) | {"VersionIdsToStages": _stages(secret)}
        if secret.replicas:
            now = self._account.clock()
            for replica in secret.replicas.values():
                replica.settle(now)
            answer["ReplicationStatus"] = [replica.described() for replica in secret.replicas.values()]
        return answer

    def _versions(self, region: str, params: Params) -> Answer:
        secret_id = limits.secret_id(params)
        self._account.authorise("ListSecretVersionIds", secret_id)
        secret = self._account.seen(region, secret_id)
        held = set(secret.labels.values())
        # Model: "only returns versions that contain a secret value"
        shown = [
            {
                "VersionId": version.id,
                "VersionStages": secret.labels_of(version.id),
                "CreatedDate": version.created,
            }
            for version in secret.versions.values()
            if version.data is not None and (version.id in held or params.get("IncludeDeprecated"))
        ]
        return {"ARN": secret.arn, "Name": secret.name} | self._page(shown, params, "Versions")

    def _list(self, region: str, params: Params) -> Answer:
        self._account.authorise("ListSecrets", None)
        filters = limits.filters(params)
        found = [
            secret
            for secret in self._account.seen_in_list(region)
            if (not secret.deletion or params.get("IncludePlannedDeletion"))
            and all(_matches(secret, key, values) for key, values in filters)
        ]
        page = self._page(found, params, "SecretList")
        shown = [
            _described(secret) | {"SecretVersionsToStages": _stages(secret)} for secret in page["SecretList"]
        ]
        return page | {"SecretList": shown}

    def _page(self, items: Sequence[Any], params: Params, key: str) -> Answer:
        size, start = limits.page_size(params), _offset(params.get("NextToken"))
        if start is None:
            start = 0
            if self._account.behaviour.empty_pages:
                return {key: [], "NextToken": _next_token(0)}
        end = start + size
        more = {"NextToken": _next_token(end)} if end < len(items) else {}
        return {key: list(items[start:end])} | more


def _next_token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"strict:{offset}".encode()).decode()


def _offset(token: str | None) -> int | None:
    if token is None:
        return None
    try:
        mark, _, offset = base64.urlsafe_b64decode(token).decode().partition(":")
        if mark == "strict":
            return int(offset)
    except ValueError:
        pass
    raise AwsError("InvalidNextTokenException", "The NextToken value is invalid.")


def _stages(secret: Secret) -> dict[str, list[str]]:
    return {version_id: secret.labels_of(version_id) for version_id in dict.fromkeys(secret.labels.values())}


def _described(secret: Secret) -> Answer:
    answer: Answer = {
        "ARN": secret.arn,
        "Name": secret.name,
        "CreatedDate": secret.created,
        "LastChangedDate": secret.changed,
        "Tags": [{"Key": key, "Value": text} for key, text in secret.tags.items()],
        "PrimaryRegion": secret.region,
    }
    optional = {
        "Description": secret.description,
        "KmsKeyId": None if secret.kms_key == MANAGED_KEY else secret.kms_key,
        "DeletedDate": secret.deletion and secret.deletion.date,
    }
    return answer | {key: value for key, value in optional.items() if value}


def _value_entry(secret: Secret, version: Version) -> Answer:
    data = version.data
    answer: Answer = {
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": version.id,
        "VersionStages": secret.labels_of(version.id),
        "CreatedDate": version.created,
    }
    if isinstance(data, bytes):
        return answer | {"SecretBinary": base64.b64encode(data).decode()}
    return answer | {"SecretString": data}


_TEXTS: dict[str, Callable[[Secret], list[str]]] = {
    "name": lambda secret: [secret.name],
    "description": lambda secret: [secret.description],
    "tag-key": lambda secret: list(secret.tags),
    "tag-value": lambda secret: list(secret.tags.values()),
    "primary-region": lambda secret: [secret.region],
    "owning-service": lambda _: [],
}


def _matches(secret: Secret, key: str, values: Sequence[str]) -> bool:
    """Model, Filter: prefix match, case-sensitive but for descriptions; "!" negates; "all" searches words."""
    return any(not _has(secret, key, v[1:]) if v.startswith("!") else _has(secret, key, v) for v in values)


def _has(secret: Secret, key: str, value: str) -> bool:
    if key == "all":
        words = [word.lower() for word in value.split()]
        texts = [text.lower() for find in _TEXTS.values() for text in find(secret)]
        return all(any(word in text for text in texts) for word in words)
    fold: Callable[[Any], Any] = str.lower if key == "description" else str
    return any(fold(text).startswith(fold(value)) for text in _TEXTS[key](secret))
