"""Systems Manager's Parameter Store for the common client: its answers, values and errors."""

from __future__ import annotations

from typing import Any

from strongroom.errors import InvalidRequestError, PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.value import SecretValue

from ._parameter_text import encode
from ._service import Answer, Refusal, Service

EXISTS = "ParameterAlreadyExists"
_WRONG_REQUEST = """
    HierarchyLevelLimitExceededException IncompatiblePolicyException InvalidAllowedPatternException
    InvalidFilterKey InvalidFilterOption InvalidFilterValue InvalidNextToken InvalidPolicyAttributeException
    InvalidPolicyTypeException InvalidResourceType ParameterVersionLabelLimitExceeded
    PoliciesLimitExceededException TooManyTagsError UnsupportedParameterType
"""
CODES: dict[str, str] = {
    **dict.fromkeys(_WRONG_REQUEST.split(), "request"),
    **dict.fromkeys(("InvalidResourceId", "ParameterNotFound", "ParameterVersionNotFound"), "missing"),
    EXISTS: "exists",
    "HierarchyTypeMismatchException": "type",
    "InvalidKeyId": "kms",
    "ParameterLimitExceeded": "quota",
    "ParameterMaxVersionLimitExceeded": "labelled",
    "ParameterPatternMismatchException": "pattern",
    "TooManyUpdates": "busy",
}


def _explained(refusal: Refusal) -> SecretStoreError | None:
    if refusal.meaning == "denied" and refusal.action == "DescribeParameters":
        hint = 'allow ssm:DescribeParameters on resource "*": AWS does not restrict it by name'
        return PermissionDeniedError("AWS denied the request", hint=hint)
    if refusal.meaning == "denied" and "kms" in refusal.message.lower():
        hint = "allow kms:Decrypt, and to write kms:Encrypt (advanced tier: kms:GenerateDataKey), on its key"
        return PermissionDeniedError("AWS denied the use of the parameter's KMS key", hint=hint)
    if refusal.meaning == "type":
        return InvalidRequestError(
            "the parameter exists and is no SecureString", hint="copy it to a new name and delete it"
        )
    if refusal.meaning == "pattern":
        return InvalidRequestError("the value, or the name, does not match the parameter's AllowedPattern")
    if refusal.meaning == "busy":
        return UnavailableError("AWS is at another change of this parameter")
    return _labelled() if refusal.meaning == "labelled" else None


def _labelled() -> UnavailableError:
    """Never a conflict: a rotation would take itself for superseded."""
    return UnavailableError(
        "the oldest of 100 versions bears a label, so that AWS cannot drop it for a new one",
        retryable=False,
        hint="move the label to a newer version, or remove it with UnlabelParameterVersion",
    )


def _value_field(value: SecretValue) -> dict[str, Any]:
    return {"Value": encode(value)}


def _sealed(answer: Answer) -> Answer:
    """Every text in a SecretValue, not decoded yet: without decryption it is ciphertext."""
    single = answer.get("Parameter")
    for entry in (*((single,) if single else ()), *answer.get("Parameters", ())):
        if "Value" in entry:
            entry["Value"] = SecretValue(entry["Value"])
    return answer


SERVICE = Service(
    name="ssm",
    title="Parameter Store",
    example="aws-ssm://REGION/PREFIX, as in aws-ssm://eu-west-1/prod",
    answers={
        "DescribeParameters": "Parameters",
        "GetParameter": "Parameter",
        "GetParameterHistory": "Parameters",
        "GetParameters": "Parameters",
        "ListTagsForResource": "TagList",
        "PutParameter": "Version",
    },
    value_field=_value_field,
    seal=_sealed,
    codes=CODES,
    explain=_explained,
)
