"""How Google's APIs refuse a call: a gRPC status with details (google.rpc.Status, AIP-193)."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status  # type: ignore[import-untyped]


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of the double
    """The status of an answer, by its name in google.rpc.Code.

    Args:
        code: such as ``"NOT_FOUND"``.
        message: what Google says to the developer.
        retry_after: seconds to wait, sent as google.rpc.RetryInfo.
        reason: sent as google.rpc.ErrorInfo, with `metadata`.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        retry_after: float | None = None,
        reason: str | None = None,
        metadata: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.code = code
        self._details: list[Any] = []
        if retry_after is not None:
            wait = Duration()
            wait.FromNanoseconds(round(retry_after * 1e9))
            self._details.append(error_details_pb2.RetryInfo(retry_delay=wait))
        if reason is not None:
            info = error_details_pb2.ErrorInfo(reason=reason, domain="iam.googleapis.com", metadata=metadata)
            self._details.append(info)

    def abort(self, context: grpc.ServicerContext) -> None:
        """End the call with this status."""
        status = status_pb2.Status(code=code_pb2.Code.Value(self.code), message=str(self))
        for detail in self._details:
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))


def not_found(resource: str) -> Refusal:
    """As Secret Manager words it."""
    return Refusal("NOT_FOUND", f"Secret [{resource}] not found.")


def invalid(message: str) -> Refusal:
    """The request could not have worked at any time."""
    return Refusal("INVALID_ARGUMENT", message)


def precondition(message: str) -> Refusal:
    """The resource is not in the state that the request needs."""
    return Refusal("FAILED_PRECONDITION", message)


def denied(permission: str, resource: str) -> Refusal:
    """IAM's answer: existence is not told to who may not know (AIP-211)."""
    return Refusal(
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied for resource '{resource}' (or it may not exist).",
        reason="IAM_PERMISSION_DENIED",
        metadata={"permission": permission, "resource": resource},
    )
