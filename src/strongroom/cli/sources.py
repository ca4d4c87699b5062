"""Where the value of ``put`` comes from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from strongroom.errors import InvalidRequestError
from strongroom.passwords import Policy, generate
from strongroom.value import SecretValue, is_utf8

from .output import can_ask
from .stdin import standard_input

if TYPE_CHECKING:
    from strongroom.value import Kind


def policy(length: int, classes: str, exclude: str) -> Policy:
    """The password policy that the options describe; the errors are `Policy`'s."""
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    return Policy(length, names, exclude)


def value(path: str | None, made: Policy | None, kind: Kind | None, *, exact: bool) -> SecretValue:
    """The value from a file, a policy, a prompt or stdin, in this order of precedence.

    Raises:
        InvalidRequestError: the file cannot be read, nobody can be asked, or it is not of the stated kind.
    """
    if path:
        return _of_kind(read_file(path), kind)
    if made:
        return _of_kind(SecretValue(generate(made)), kind)
    if can_ask():
        return _of_kind(_ask(), kind)
    given = _of_kind(_stdin(), kind)
    return given if exact or given.kind == "binary" else _without_newline(given)


def read_file(path: str) -> SecretValue:
    """A file's bytes, or those of stdin if `path` is ``-``.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    if path == "-":
        return _stdin()
    try:
        with open(path, "rb") as file:
            return SecretValue(file.read())
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise InvalidRequestError(f"cannot read {path}: {reason}")


def _stdin() -> SecretValue:
    if sys.stdin is None:
        raise InvalidRequestError("stdin is closed", hint="pipe the value in, or use --file or --generate")
    with standard_input() as stdin:
        return SecretValue(stdin.read())


def _of_kind(given: SecretValue, kind: Kind | None) -> SecretValue:
    # With a kind stated, SecretValue itself refuses bytes that are not UTF-8; its error holds none of them.
    return SecretValue(given.reveal(), kind or ("text" if is_utf8(given.reveal()) else "binary"))


def _without_newline(given: SecretValue) -> SecretValue:
    return SecretValue(given.reveal().removesuffix(b"\n"), "text")


def _ask() -> SecretValue:
    first, again = typed("Value: "), typed("Again: ")
    if first != again:
        raise InvalidRequestError("the two did not match; nothing was stored")
    return first


def typed(question: str) -> SecretValue:
    """What is typed on the terminal, which does not show it.

    Raises:
        InvalidRequestError: the terminal would show it.
    """
    import getpass
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return SecretValue(getpass.getpass(question))
        except getpass.GetPassWarning:
            pass
    raise InvalidRequestError(
        "this terminal cannot hide what is typed", hint="pipe the value in, or use --file"
    )
