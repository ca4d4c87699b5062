"""``provider::strongroom::reference``, and how a secret is named in state and by ``terraform import``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar, final
from urllib.parse import quote

from strongroom.errors import InvalidRequestError
from strongroom.names import Name
from strongroom.references import SCHEME, Reference
from strongroom.value import SecretValue

from .blocks import Function, FunctionProblemError, Parameter
from .problems import problem
from .schema import STRING, Type, Value

_VERSION = "version="
_PLAIN = "/:@!$&'()*+,;=~"
"""What RFC 3986 lets stand in a path, so that a reference reads as people write it."""


def written(alias: str, name: str, version: str = "", pointer: str = "") -> str:
    """The reference that `Reference.parse` reads as these parts."""
    said = f"?{_VERSION}{quote(version, safe=_PLAIN.replace('&', ''))}" if version else ""
    at = f"#{quote(pointer, safe=_PLAIN)}" if pointer else ""
    return f"{SCHEME}{alias}/{quote(name, safe=_PLAIN)}{said}{at}"


def identity(alias: str, name: str) -> str:
    """What names a secret in state, and imports it: its reference, or for a store by URL ``URL NAME``."""
    return f"{alias} {name}" if ":" in alias else written(alias, name)


def identified(text: str) -> tuple[str, str]:
    """Store and name of ``STORE/NAME``, a reference, or ``URL NAME``.

    Raises:
        ProblemError: it is none of these.
    """
    store, space, name = text.partition(" ")
    if space and ":" in store and name and not text.startswith(SCHEME):
        return store, name
    found = None
    with suppress(InvalidRequestError):
        found = Reference.parse(f"{SCHEME}{text.removeprefix(SCHEME)}")
    if found is None or found.version or found.pointer:
        raise problem("a secret is imported by STORE/NAME, by its reference, or by 'URL NAME'")
    return found.alias, found.name


@final
class ReferenceFunction(Function):
    """A reference, made of its parts and read back."""

    name: ClassVar[str] = "reference"
    summary: ClassVar[str] = "The strongroom:// reference of a secret, for what resolves one where it runs."
    parameters: ClassVar[Sequence[Parameter]] = (
        Parameter("store", STRING, "The store's alias in strongroom.toml; never a URL."),
        Parameter("name", STRING, "The secret's name."),
    )
    variadic: ClassVar[Parameter | None] = Parameter(
        "options", STRING, "A version as version=ID, or a JSON pointer such as /password; each once."
    )
    returns: ClassVar[Type] = STRING

    def call(self, *arguments: Value) -> Value:
        """The reference; what the library would refuse to read is refused here."""
        store, name, *options = (_text(one, at) for at, one in enumerate(arguments))
        _check(0, written(store, "name"), "is no alias of a store")
        _check_name(name)
        version, pointer = _options(options)
        made = written(store, name, version, pointer)
        wanted = Reference(store, name, version or None, pointer)
        if _parsed(made) != wanted:
            raise FunctionProblemError("these make no reference: at most 4,096 printable characters", 1)
        return made


def _text(value: Value, at: int) -> str:
    if isinstance(value, SecretValue) or not isinstance(value, str):
        raise FunctionProblemError("a reference is made of texts", at)
    return value


def _check_name(name: str) -> None:
    """As a store with the provider's own names would take it; the stricter rule is its store's to apply."""
    wrong = None
    try:
        Name.parse(name, "native")
    except InvalidRequestError as error:
        wrong = str(error)
    if wrong:
        raise FunctionProblemError(wrong, 1)
    _check(1, written("store", name), "is no name of a secret")


def _options(options: Sequence[str]) -> tuple[str, str]:
    found = {"version": "", "pointer": ""}
    for at, option in enumerate(options, 2):
        kind = "version" if option.startswith(_VERSION) else "pointer"
        text = option.removeprefix(_VERSION) if kind == "version" else option
        if not text or (kind == "pointer" and not text.startswith("/")):
            raise FunctionProblemError("an option is version=ID, or a JSON pointer that begins with /", at)
        if found[kind]:
            raise FunctionProblemError(f"a reference has one {kind}", at)
        parts = {kind: text}
        _check(at, written("store", "name", **parts), f"is no {kind}")
        found[kind] = text
    return found["version"], found["pointer"]


def _check(at: int, reference: str, problem_: str) -> None:
    if _parsed(reference) is None:
        raise FunctionProblemError(f"this {problem_}", at)


def _parsed(reference: str) -> Reference | None:
    try:
        return Reference.parse(reference)
    except InvalidRequestError:
        return None
