"""What is told of an exception: never its text, unless it is one of ours, whose texts hold no value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from strongroom.errors import SecretStoreError

from .problems import Diagnostic, ProblemError, from_store
from .values import WireValueError


def told(error: Exception) -> Sequence[Diagnostic]:
    """The diagnostics of whatever a block raised."""
    if isinstance(error, ProblemError):
        return error.diagnostics
    if isinstance(error, SecretStoreError):
        return from_store(error).diagnostics
    if isinstance(error, WireValueError):
        return [Diagnostic(f"Terraform sent a value that the schema does not allow: {error}", "", error.path)]
    return [
        Diagnostic(
            f"the strongroom provider failed: {type(error).__name__}{_where(error)}",
            "This is a bug. What the error says is not shown, because it may hold a secret.",
        )
    ]


def _where(error: Exception) -> str:
    """The innermost line of our own, which says more than where an SDK stumbled."""
    place, trace = "", error.__traceback__
    while trace:
        path = PurePath(trace.tb_frame.f_code.co_filename)
        if any(part.startswith("strongroom") for part in path.parts[-4:]):
            place = f" in {path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
