"""The limits that Secrets Manager puts on parameters, each with its source.

"Model" is botocore's ``data/secretsmanager/2017-10-17/service-2.json.gz``, AWS's own description of the API.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .aws_state import AwsError

VALUE_BYTES = 65_536  # Model: SecretStringType, SecretBinaryType max 65536
LABELS_PER_VERSION = 20  # Model: SecretVersionStagesType max 20
LABEL_LENGTH = 256  # Model: SecretVersionStageType
TAGS_PER_SECRET = 50  # Tag quota of the AWS General Reference, which TagResource points to
TAG_KEY_LENGTH, TAG_VALUE_LENGTH = 128, 256  # Model: TagKeyType, TagValueType
BATCH = 20  # Model: SecretIdListType max 20, MaxResultsBatchType max 20
PAGE = 100  # Model: MaxResultsType max 100
RECOVERY_DAYS = range(7, 31)  # Model: DeleteSecret RecoveryWindowInDays "from 7 to 30 days"
DEFAULT_RECOVERY_DAYS = 30  # Model: DeleteSecret "by default ... a 30 day recovery window"
VERSIONS_KEPT = 100  # Model: PutSecretValue "keeps 100 of the most recent versions"
VERSION_YOUTH = 24 * 3600.0  # Model: PutSecretValue "keeps all secret versions created in the last 24 hours"

_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")  # Model: CreateSecret Name
_TAG = re.compile(r"[\w\s+\-=.:/@]*")  # characters that the AWS General Reference allows in tags
_FILTER_VALUE = re.compile(r"!?[a-zA-Z0-9 :_@/+=.\-!]{0,512}")  # Model: FilterValueStringType pattern
_FILTER_KEYS = {"description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"}

Params = Mapping[str, Any]


def invalid(message: str) -> AwsError:
    """An InvalidParameterException."""
    return AwsError("InvalidParameterException", message)


def unsatisfied(field: str, rule: str) -> AwsError:
    """A ValidationException about one parameter, which never repeats its value."""
    return AwsError(
        "ValidationException",
        f"1 validation error detected: Value at '{field}' failed to satisfy constraint: {rule}",
    )


def name(params: Params) -> str:
    """The name for a new secret."""
    given = params.get("Name") or ""
    if not _NAME.fullmatch(given):
        raise AwsError(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, "
            "or any of the following: -/_+=.@!",
        )
    return str(given)


def secret_id(params: Params) -> str:
    """The name or ARN that a call is about."""
    given = params.get("SecretId") or ""
    if not 1 <= len(given) <= 2048:
        raise unsatisfied("secretId", "length 1 to 2048")
    return str(given)


def token(params: Params) -> str:
    """The ClientRequestToken, which becomes the version's id.

    The SDK makes one up if the caller gives none; without an SDK it is required (Model: CreateSecret).
    """
    given = params.get("ClientRequestToken")
    if given is None or not 32 <= len(given) <= 64:
        raise invalid("ClientRequestToken must be 32-64 characters long.")
    return str(given)


def value(params: Params) -> str | bytes | None:
    """The secret data, or None if there is none; "not both" is the model's."""
    text, blob = params.get("SecretString"), params.get("SecretBinary")
    if text is not None and blob is not None:
        raise invalid("You can't specify both a binary secret value and a string secret value.")
    data = text if blob is None else _decoded(blob)
    if data is not None and not 1 <= len(data.encode() if isinstance(data, str) else data) <= VALUE_BYTES:
        field = "secretString" if blob is None else "secretBinary"
        raise unsatisfied(field, f"Member must have length between 1 and {VALUE_BYTES}")
    return data


def _decoded(blob: str) -> bytes:
    try:
        return base64.b64decode(blob, validate=True)
    except binascii.Error:
        pass
    raise AwsError("SerializationException", "SecretBinary is not base64")


def stages(params: Params) -> list[str] | None:
    """The labels asked for a new version, or None if the call leaves them to the service."""
    given = params.get("VersionStages")
    if given is None:
        return None
    if not 1 <= len(given) <= LABELS_PER_VERSION or not all(1 <= len(s) <= LABEL_LENGTH for s in given):
        raise unsatisfied("versionStages", "1 to 20 labels")
    return list(dict.fromkeys(given))


def tags(params: Params) -> dict[str, str]:
    """The tags of a call."""
    given: Sequence[Params] = params.get("Tags") or ()
    result = {str(tag.get("Key", "")): str(tag.get("Value", "")) for tag in given}
    if len(result) != len(given):
        raise invalid("Duplicate tag keys in one request.")
    for key, text in result.items():
        _tag(key, text)
    return result


def _tag(key: str, text: str) -> None:
    if not 1 <= len(key) <= TAG_KEY_LENGTH or len(text) > TAG_VALUE_LENGTH:
        raise AwsError("ValidationException", "A tag key has 1 to 128 characters, a tag value at most 256.")
    if key.lower().startswith("aws:"):
        raise invalid("Tag keys that start with aws: are reserved for AWS use.")
    if not _TAG.fullmatch(key) or not _TAG.fullmatch(text):
        raise invalid("A tag holds letters, digits, white space and + - = . _ : / @ only.")


def room_for_tags(count: int) -> None:
    """Refuse more tags than a secret may bear."""
    if count > TAGS_PER_SECRET:
        raise invalid(f"A secret can have at most {TAGS_PER_SECRET} tags.")


def page_size(params: Params, most: int = PAGE) -> int:
    """MaxResults."""
    size = params.get("MaxResults", most)
    if not 1 <= size <= most:
        raise unsatisfied("maxResults", f"1 to {most}")
    return int(size)


def filters(params: Params) -> list[tuple[str, list[str]]]:
    """The filters of a list, as pairs of key and values."""
    given: Sequence[Params] = params.get("Filters") or ()
    if len(given) > 10:
        raise unsatisfied("filters", "at most 10")
    return [_filter(one) for one in given]


def _filter(one: Params) -> tuple[str, list[str]]:
    key, values = one.get("Key"), list(one.get("Values") or ())
    if key not in _FILTER_KEYS:
        raise unsatisfied("filters.1.member.key", "Member must satisfy enum value set")
    if not 1 <= len(values) <= 10 or not all(_FILTER_VALUE.fullmatch(v) for v in values):
        raise unsatisfied("filters.1.member.values", "1 to 10 values of the allowed characters")
    return str(key), values


def recovery_days(params: Params) -> int | None:
    """The recovery window in days, or None for a forced deletion."""
    days, force = params.get("RecoveryWindowInDays"), bool(params.get("ForceDeleteWithoutRecovery"))
    if force and days is not None:
        raise invalid("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
    if days is not None and days not in RECOVERY_DAYS:
        raise invalid("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
    return None if force else int(days or DEFAULT_RECOVERY_DAYS)
