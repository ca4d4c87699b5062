"""The environment that ``run`` gives to CMD: its own, with secrets in the place of references."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import InvalidRequestError, PartialFailureError
from strongroom.references import SCHEME, is_reference
from strongroom.value import SecretValue

from .child import Environment

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE: Final = "STRONGROOM_PASSPHRASE"
"""What `init --kek passphrase` takes the passphrase from, and writes into the configuration."""
_WEB_REQUEST: Final = frozenset(["GATEWAY_INTERFACE", "REQUEST_METHOD"])
"""What a web server sets for a CGI program (RFC 3875), beside variables whose text the client chooses."""


def from_files(paths: Sequence[str]) -> dict[str, str]:
    """The variables that files give, the last one that gives a variable being right.

    ``${NAME}`` in a ``.env`` file stands for itself.

    Raises:
        InvalidRequestError: a file cannot be read, or holds what no variable can.
        BackendNotInstalledError: its format needs a package that is not there.
    """
    variables: dict[str, str] = {}
    if not paths:
        return variables
    from . import formats, sources

    for path in paths:
        kind = formats.format_of(path)
        parsed = formats.parse(sources.read_file(path), kind, expand=False)
        problems = [*parsed.problems, *(f"{key} is no text" for key in parsed.objects)]
        problems += [f"{key[:80]!r} is no variable" for key in parsed.entries if not _is_variable(key)]
        if problems:
            raise InvalidRequestError(f"{path} cannot be read as {kind}: {'; '.join(problems[:5])}")
        variables |= {key: value.reveal_text() for key, value in parsed.entries.items()}
        variables |= dict.fromkeys(parsed.empty, "")
    return variables


def _is_variable(name: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name


def given(files: Mapping[str, str], unset: Iterable[str]) -> dict[str, str]:
    """This process's variables without those to `unset`, and over them those of files.

    Raises:
        InvalidRequestError: a web server started us: what a client sent must never be resolved.
    """
    if _WEB_REQUEST & os.environ.keys():
        raise InvalidRequestError(
            "the environment holds a web request, and whoever sent it could name secrets in it",
            hint="resolve the program's own settings with strongroom.resolve",
        )
    dropped = set(unset)
    own = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**own, **files}


def credentials(config: Path | None) -> set[str]:
    """The variables from which Strongroom takes credentials: CMD needs none to read what it is given."""
    if config is None:
        return {VARIABLE}
    import tomllib

    document = tomllib.loads(config.read_text(encoding="utf-8"))  # it was read and checked before
    return {VARIABLE, *(text.removeprefix("env://") for text in _texts(document, ""))}


def _texts(node: Any, key: str) -> Iterator[str]:
    """What is named as ``env://VARIABLE``; as a ``url`` that is a store."""
    if isinstance(node, dict):
        for inner_key, inner in node.items():
            yield from _texts(inner, inner_key)
    elif isinstance(node, list):
        for inner in node:
            yield from _texts(inner, key)
    elif isinstance(node, str) and node.startswith("env://") and key != "url":
        yield node


def references(variables: Mapping[str, str]) -> dict[str, str]:
    """Those variables that are a reference as a whole."""
    return {name: value for name, value in variables.items() if is_reference(value)}


def check_arguments(command: Iterable[str]) -> None:
    """Refuse a reference among the arguments: every user of the machine reads those.

    Raises:
        InvalidRequestError: there is one.
    """
    for argument in command:
        if is_reference(argument) or f"={SCHEME}" in argument:
            raise InvalidRequestError(
                "a reference among the arguments of CMD is not resolved: others could see the value",
                hint="put it into a variable, as in NAME=strongroom://…, and let CMD read that",
            )


def filled(variables: Mapping[str, str], values: Mapping[str, SecretValue]) -> Environment:
    """The environment itself.

    Raises:
        PartialFailureError: a value holds a zero byte, which no variable can.
    """
    problem = "the value holds a zero byte, which a variable cannot"
    hint = "keep it as text, such as base64, or let CMD read it from the store"
    errors = {
        name: InvalidRequestError(problem, hint=hint) for name, value in values.items() if _has_zero(value)
    }
    if errors:
        raise PartialFailureError(
            f"{len(errors)} of {len(values)} references cannot be variables", results={}, errors=errors
        )
    plain = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
    return Environment(plain | {os.fsencode(name): value.reveal() for name, value in values.items()})


def _has_zero(value: SecretValue) -> bool:
    return b"\0" in value.reveal()
