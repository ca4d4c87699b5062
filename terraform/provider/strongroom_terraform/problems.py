"""What went wrong, as Terraform shows it: a line, a hint, and the attribute it is about."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.errors import SecretStoreError

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to tell.

    Attributes:
        summary: one line a person can act on; never a value.
        detail: what to do, where there is something.
        path: the attribute, such as ``("value_wo",)`` or ``("tags", "team")``; empty for the whole block.
        warning: it does not stop anything.
    """

    summary: str
    detail: str = ""
    path: Path = ()
    warning: bool = False


class ProblemError(Exception):
    """Stops what Terraform asked for.

    Args:
        diagnostics: at least one; the message is the first's summary.
    """

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(diagnostics[0].summary)
        self.diagnostics = diagnostics


def problem(summary: str, *path: str | int, detail: str = "") -> ProblemError:
    """One error at one attribute."""
    return ProblemError(Diagnostic(summary, detail, path))


def from_store(error: SecretStoreError, *path: str | int) -> ProblemError:
    """A store's error at the attribute that it is about; its message and hint hold no value by contract."""
    hint = error.hint or ""
    return ProblemError(Diagnostic(str(error).removesuffix(f" ({hint})"), hint, path))
