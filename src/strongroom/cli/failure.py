"""How a failure is told: one line (what, why, what to do), an exit code, and never a value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

import click

from strongroom.errors import (
    BackendNotInstalledError,
    IntegrityError,
    InvalidRequestError,
    PartialFailureError,
    PermissionDeniedError,
    ProviderFault,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)

BUG: Final = 1
USAGE: Final = 2
ACTION_NEEDED: Final = 10
BEFORE_COMMAND: Final = 125
INTERRUPTED: Final = 130

EXIT_CODES: Final[dict[type[BaseException], int]] = {
    click.UsageError: USAGE,
    InvalidRequestError: USAGE,
    UnsupportedOperationError: USAGE,
    BackendNotInstalledError: USAGE,
    SecretNotFoundError: 3,
    PermissionDeniedError: 4,
    SecretConflictError: 5,
    UnavailableError: 6,
    IntegrityError: 7,
    PartialFailureError: 8,
    click.Abort: INTERRUPTED,
    KeyboardInterrupt: INTERRUPTED,
}

# What to do where the library, which does not know that it is used from a shell, had nothing to say.
_HINTS: Final[dict[type[SecretStoreError], str]] = {
    SecretNotFoundError: "strongroom list shows what there is",
    SecretConflictError: "strongroom show tells the current version; look, then repeat",
    PermissionDeniedError: "check whose credentials are used, and what they are granted",
    UnavailableError: "repeat it later; strongroom check tells whether the store answers",
    IntegrityError: "do not write here; restore from a backup, or find out who changed it",
}


class Ended(Exception):  # noqa: N818  (an end, for a reason that is an error)
    """A command whose exit codes are its own ends for a reason that would have another code elsewhere."""

    def __init__(self, reason: BaseException, code: int):
        super().__init__()
        self.reason, self.code = reason, code


def exit_code(error: BaseException) -> int:
    """The exit code for an error, by its nearest class in the table; anything else is a bug of ours."""
    if isinstance(error, Ended):
        return error.code
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), BUG)


def tell(error: BaseException, *, as_json: bool, debug: bool) -> None:
    """Print the error on stderr."""
    code, error = exit_code(error), error.reason if isinstance(error, Ended) else error
    chain = list(_chain(error)) if debug else []
    if as_json:
        document = {**describe(error), "exit": code, **({"debug": chain} if debug else {})}
        click.echo(json.dumps(document), err=True)
    else:
        for line in (f"strongroom: {_line(error)}", *_failed_items(error), *chain):
            click.echo(one_line(line), err=True)


def describe(error: BaseException) -> dict[str, Any]:
    """What may be said of an error, for JSON."""
    document: dict[str, Any] = {"error": type(error).__name__, "message": _message(error)}
    if isinstance(error, SecretStoreError):
        facts = ("hint", "operation", "name", "backend", "retryable", "performed", "request_id")
        document |= {fact: getattr(error, fact) for fact in facts} | {"hint": _hint(error)}
    if isinstance(error, PartialFailureError):
        document["results"] = sorted(error.results)
        document["errors"] = {name: describe(inner) for name, inner in error.errors.items()}
    return document


def one_line(text: str) -> str:
    """Text without line ends or control characters, which could drive a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _line(error: BaseException) -> str:
    if not isinstance(error, SecretStoreError):
        return _message(error)
    hint = "" if error.hint else _hint(error)
    return f"{error} ({hint})" if hint else str(error)


def _hint(error: SecretStoreError) -> str | None:
    return error.hint or _HINTS.get(type(error))


def _message(error: BaseException) -> str:
    if isinstance(error, SecretStoreError):
        return error.message
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "strongroom"
        return f"{_usage(error)} (see '{command} --help')"
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "interrupted"
    # Not its message: an exception nobody foresaw may quote what it choked on.
    where = "".join(list(_frames(error.__traceback__))[-1:])
    return (
        f"unexpected {type(error).__name__} {where}".rstrip()
        + " (this is a bug; --debug prints the way to it)"
    )


def _usage(error: click.UsageError) -> str:
    if (
        not isinstance(error, click.BadParameter)
        or isinstance(error, click.MissingParameter)
        or not error.param
    ):
        return error.format_message()
    # click quotes what it refuses, which may be a secret that slipped into the wrong place.
    kind = error.param.type
    wanted = f"one of {', '.join(kind.choices)}" if isinstance(kind, click.Choice) else f"of type {kind.name}"
    return f"{error.param.get_error_hint(error.ctx)} must be {wanted}"


def _failed_items(error: BaseException) -> Iterator[str]:
    if isinstance(error, PartialFailureError):
        for name, inner in error.errors.items():
            yield f"  {name}: {inner.message}{f' ({inner.hint})' if inner.hint else ''}"


def _chain(error: BaseException) -> Iterator[str]:
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        # Only what we wrote ourselves is known to hold no value.
        said = f": {link}" if isinstance(link, (SecretStoreError, ProviderFault)) else ""
        yield f"  {'caused by' if len(seen) > 1 else 'error'}: {type(link).__name__}{said}"
        yield from (f"    {frame}" for frame in _frames(link.__traceback__))
        link = link.__cause__ or link.__context__


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = "/".join(code.co_filename.rsplit("/", 2)[-2:])
        yield f"at {place}:{traceback.tb_lineno} in {code.co_name}"
        traceback = traceback.tb_next
