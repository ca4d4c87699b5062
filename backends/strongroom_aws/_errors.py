"""One table from what boto raises to Strongroom's errors. AWS's text may quote requests: none gets by."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)

from ._service import Refusal, Service

READS = frozenset(
    {"get", "get_many", "list", "versions", "versions_after", "describe", "get_pending", "open"}
)
"""The interface's operations that change nothing."""

_REFUSED_CREDENTIALS = """
    ExpiredToken ExpiredTokenException IncompleteSignature IncompleteSignatureException
    InvalidAccessKeyId InvalidClientTokenId InvalidSignatureException MissingAuthenticationToken
    MissingAuthenticationTokenException
    NotAuthorized OptInRequired RequestExpired SignatureDoesNotMatch UnrecognizedClientException
"""
_WRONG_REQUEST = """
    InvalidAction InvalidNextTokenException InvalidParameterException MalformedPolicyDocumentException
    MalformedQueryString PreconditionNotMetException PublicPolicyException SerializationException
    UnknownOperationException ValidationError ValidationException
"""
_THROTTLED = """
    RequestLimitExceeded RequestThrottled RequestThrottledException SlowDown Throttling ThrottlingException
    TooManyRequestsException
"""
_NOT_SERVING = "InternalFailure InternalServerError InternalServiceError ServiceUnavailable"
_KMS_UNUSABLE = "DecryptionFailure EncryptionFailure"

CODES: dict[str, str] = {
    **dict.fromkeys(_REFUSED_CREDENTIALS.split(), "credentials"),
    **dict.fromkeys(_WRONG_REQUEST.split(), "request"),
    **dict.fromkeys(_THROTTLED.split(), "throttled"),
    **dict.fromkeys(_NOT_SERVING.split(), "failing"),
    **dict.fromkeys(_KMS_UNUSABLE.split(), "kms"),
    "AccessDenied": "denied",
    "AccessDeniedException": "denied",
    "InvalidRequestException": "state",
    "LimitExceededException": "quota",
    "ResourceExistsException": "exists",
    "ResourceNotFoundException": "missing",
}
"""What each error code of Secrets Manager, and of AWS's front end, means; a service may say otherwise."""

_NO_CREDENTIALS = """
    NoCredentialsError PartialCredentialsError CredentialRetrievalError UnknownCredentialError
    NoAuthTokenError
    TokenRetrievalError UnknownTokenProviderError SSOError LoginError RefreshWithMFAUnsupportedError
    MetadataRetrievalError
"""
_NEVER_SENT = "ConnectionError"
_ANSWER_LOST = (
    "HTTPClientError IncompleteReadError ResponseParserError ChecksumError FlexibleChecksumError SSLError"
)
_MISUSE = """
    ApiVersionNotFoundError AwsChunkedWrapperError BaseEndpointResolverError CapacityNotAvailableError
    ConfigNotFound ConfigParseError DataNotFoundError EndpointProviderError InvalidChecksumConfigError
    InvalidConfigError InvalidDNSNameError InvalidDefaultsMode InvalidEndpointConfigurationError
    InvalidEndpointDiscoveryConfigurationError InvalidExpressionError InvalidHostLabelError
    InvalidIMDSEndpointError InvalidIMDSEndpointModeError InvalidProxiesConfigError
    InvalidRetryConfigurationError InvalidS3AddressingStyleError InvalidS3UsEast1RegionalEndpointConfigError
    InvalidSTSRegionalEndpointsConfigError MD5UnavailableError MissingDependencyException
    MissingParametersError OperationNotPageableError PaginationError ParamValidationError ProfileNotFound
    ServiceNotInRegionError StubResponseError UndefinedModelAttributeError UnknownClientMethodError
    UnknownRegionError UnknownServiceStyle UnknownSignatureVersionError UnseekableStreamError
    UnsupportedOutpostResourceError UnsupportedS3AccesspointConfigurationError UnsupportedS3ArnError
    UnsupportedS3ConfigurationError UnsupportedS3ControlArnError UnsupportedS3ControlConfigurationError
    UnsupportedServiceProtocolsError UnsupportedSignatureVersionError ValidationError WaiterConfigError
    WaiterError
"""

CLASSES: dict[str, str] = {
    **dict.fromkeys(_NO_CREDENTIALS.split(), "no credentials"),
    **dict.fromkeys(_NEVER_SENT.split(), "unreachable"),
    **dict.fromkeys(_ANSWER_LOST.split(), "lost"),
    **dict.fromkeys(_MISUSE.split(), "misuse"),
    "ClientError": "answer",
}
"""What each of botocore's exceptions means; a class that is not named means what its base does."""

_NEEDS_ALSO = {
    "CreateSecret": "secretsmanager:TagResource where tags are set",
    "BatchGetSecretValue": "secretsmanager:GetSecretValue on each secret",
    "ReplicateSecretToRegions": "kms:GenerateDataKey and kms:Encrypt on the region's key",
}


def meaning(kind: type[BaseException]) -> str | None:
    """What a class of exception means, by the nearest named one in its order of resolution."""
    return next((CLASSES[base.__name__] for base in kind.__mro__ if base.__name__ in CLASSES), None)


def translate(exc: BaseException, operation: str, service: Service) -> SecretStoreError | None:
    """The error for what boto raised during an operation of the interface; None for what is not boto's."""
    found = meaning(type(exc))
    writes = operation not in READS
    if found == "answer" and isinstance(exc, ClientError):
        return _answered(exc.response, exc.operation_name, service, writes=writes)
    if found == "no credentials":
        return PermissionDeniedError(
            "no usable AWS credentials", hint="log in, set a profile, or name credentials in strongroom.toml"
        )
    if found == "unreachable":
        return UnavailableError("AWS cannot be reached", hint="check region, endpoint and network")
    if found == "lost":
        return UnavailableError("AWS did not answer", performed=None if writes else False)
    if found == "misuse":
        kind = type(exc).__name__
        return InvalidRequestError(f"the AWS SDK refused the request or its configuration ({kind})")
    return None


def code_in(exc: BaseException, service: Service) -> str | None:
    """AWS's code in an exception of the SDK, if it is one of the known ones; it is safe to show."""
    response = getattr(exc, "response", None) or {}
    found = str(response.get("Error", {}).get("Code", ""))
    return found if found in CODES or found in service.codes else None


def code_of(error: SecretStoreError) -> str | None:
    """AWS's code behind an error of ours."""
    return error.__cause__.code if isinstance(error.__cause__, ProviderFault) else None


def item_error(code: str, message: str, service: Service) -> SecretStoreError:
    """The error for one item of a batch."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return _answered(answer, "GetSecretValue", service, writes=False)


def _answered(response: Any, action: str, service: Service, *, writes: bool) -> SecretStoreError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    meant = service.codes.get(code) or CODES.get(code) or _by_status(status)
    refusal = Refusal(meant, action, str(response.get("Error", {}).get("Message", "")), writes)
    error = service.explain(refusal) or _explained(refusal, service)
    error.request_id = response.get("ResponseMetadata", {}).get("RequestId")
    if isinstance(error, UnavailableError):
        error.retry_after = _seconds(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}))
    return error


def _seconds(headers: Any) -> float | None:
    """What Retry-After asks for, where it is whole seconds (RFC 9110 section 10.2.3)."""
    asked = str(headers.get("retry-after", ""))
    return float(asked) if asked.isascii() and asked.isdigit() else None


def _by_status(status: int) -> str:
    if status == 429:
        return "throttled"
    if status >= 500:
        return "failing"
    if status in (401, 403):
        return "denied"
    return "redirected" if 300 <= status < 400 else "request"


def _explained(refusal: Refusal, service: Service) -> SecretStoreError:
    found = refusal.meaning
    if found == "missing":
        return SecretNotFoundError("no such secret or version")
    if found == "denied":
        return _denied(refusal, service)
    if found == "credentials":
        return PermissionDeniedError("AWS did not accept the credentials", hint="log in again")
    if found == "exists":
        return SecretConflictError("exists already")
    if found == "state":
        return _in_the_bin(writes=refusal.writes)
    if found == "request":
        return InvalidRequestError("AWS refused the request's parameters")
    return _not_served(refusal, service)


def _not_served(refusal: Refusal, service: Service) -> UnavailableError:
    found = refusal.meaning
    if found == "throttled":
        return UnavailableError("AWS throttles this account", hint="call less often")
    if found == "quota":
        return UnavailableError(
            f"a quota of {service.title} is reached", retryable=False, hint="write less often, or raise it"
        )
    if found == "kms":
        return UnavailableError(
            "the secret's KMS key cannot be used", retryable=False, hint="is the key enabled?"
        )
    if found == "redirected":
        return UnavailableError(
            "AWS answered with a redirect, which is not followed", retryable=False, hint="check the endpoint"
        )
    return UnavailableError("AWS has a fault", performed=None if refusal.writes else False)


def _denied(refusal: Refusal, service: Service) -> PermissionDeniedError:
    if service.name != "kms" and ("KMS" in refusal.message or "kms:" in refusal.message):
        needed = "kms:Decrypt, and kms:GenerateDataKey to write, on the secret's key"
    else:
        needed = f"{service.name}:{refusal.action}"
    also = _NEEDS_ALSO.get(refusal.action)
    hint = f"allow {needed}" + (f" and {also}" if also else "")
    return PermissionDeniedError("AWS denied the request", hint=hint)


def _in_the_bin(*, writes: bool) -> SecretStoreError:
    """InvalidRequestException means, in the calls made here, that the secret is scheduled for deletion."""
    if writes:
        return SecretConflictError("the name is in the bin", hint="restore or purge it first")
    return SecretNotFoundError("the secret is in the bin", hint="restore brings it back")
