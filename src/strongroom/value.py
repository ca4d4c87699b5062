"""SecretValue: bytes that do not show themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NoReturn, final

from .errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["text", "binary"]
_REDACTED = "<SecretValue redacted>"
_INDEX = re.compile("0|[1-9][0-9]{0,17}")  # RFC 6901 section 4; more digits than any list is long
_NOTHING = object()


@final
class SecretValue:
    """A secret's bytes and whether they are text.

    ``reveal``, ``reveal_text`` and ``reveal_json`` are the only ways out, so that a review can grep
    for them. Everything that prints or serialises an object by accident (repr, str, format, logging,
    json, pickle, vars) gives nothing of it, not even its length. Python cannot wipe memory, and this
    class does not claim to.

    Args:
        data: text is kept as UTF-8.
        kind: ``"text"`` or ``"binary"``; by default what ``data`` is.

    Raises:
        InvalidRequestError: ``data`` is neither, or is said to be text and is not UTF-8.
    """

    __slots__ = ("_data", "_kind")

    def __init__(self, data: str | bytes | bytearray | memoryview, kind: Kind | None = None):
        problem = None
        if isinstance(data, str):
            try:
                self._data, self._kind = data.encode(), kind or "text"
            except UnicodeEncodeError:  # it holds the value, so it must not become our context
                problem = "a text value must be encodable as UTF-8 (it holds a lone surrogate)"
        elif isinstance(data, (bytes, bytearray, memoryview)):
            self._data, self._kind = bytes(data), kind or "binary"
            if self._kind == "text" and not is_utf8(self._data):
                problem = "a value of kind 'text' must be UTF-8"
        else:
            problem = f"a secret value is str, bytes or a mapping, not {type(data).__name__}"
        data = b""
        if problem:
            raise InvalidRequestError(problem)

    @classmethod
    def of(cls, value: str | bytes | Mapping[str, Any] | SecretValue) -> SecretValue:
        """Take whatever ``SecretStore.put`` takes; a mapping is written as JSON text."""
        taken, value = take(value), b""
        if isinstance(taken, InvalidRequestError):
            raise taken
        return taken

    @property
    def kind(self) -> Kind:
        """``"text"`` or ``"binary"``."""
        return self._kind

    def reveal(self) -> bytes:
        """The bytes."""
        return self._data

    def reveal_text(self) -> str:
        """The bytes as UTF-8 text.

        Raises:
            InvalidRequestError: the value is not UTF-8.
        """
        try:
            return self._data.decode()
        except UnicodeDecodeError:  # its `object` attribute is the value
            pass
        raise InvalidRequestError("the value is binary, not UTF-8 text", hint="use reveal()")

    def reveal_json(self, pointer: str = "") -> Any:
        """The value parsed as JSON, or the part of it an RFC 6901 ``pointer`` names.

        Raises:
            InvalidRequestError: the value is not JSON, or has nothing at the pointer.
        """
        path = _split_pointer(pointer)
        found = _follow(_parsed(self._data), path)
        if found is _NOTHING:
            raise InvalidRequestError(f"the value has nothing at {pointer!r}")
        return found

    def matches(self, guess: str | bytes | SecretValue) -> bool:
        """Whether ``guess`` has the same bytes, compared in constant time."""
        from hmac import compare_digest

        other = guess.reveal() if isinstance(guess, SecretValue) else guess
        return compare_digest(
            self._data, other.encode("utf-8", "surrogatepass") if isinstance(other, str) else other
        )

    def __eq__(self, other: object) -> bool:
        """Equal bytes, compared in constant time; never equal to a bare str or bytes."""
        return self.matches(other) if isinstance(other, SecretValue) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a hash is a fingerprint of the value

    def __repr__(self) -> str:
        return _REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return _REDACTED

    def __copy__(self) -> SecretValue:
        return self

    def __deepcopy__(self, memo: object) -> SecretValue:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecretValue cannot be pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a SecretValue has no state to show")  # object's own would hand out the slots

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("SecretValue is final")


def is_utf8(data: bytes) -> bool:
    """Whether ``data`` is valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def take(value: object) -> SecretValue | InvalidRequestError:
    """Make a SecretValue, or return (never raise) what is wrong.

    A raised error would carry every frame between here and the caller, with the raw value among its
    locals. The caller rebinds its own variable first, then raises.
    """
    if isinstance(value, SecretValue):
        return value
    try:
        return SecretValue(_json_text(value) if hasattr(value, "items") else value)  # type: ignore[arg-type]
    except InvalidRequestError as problem:
        return problem.with_traceback(None)
    except (TypeError, ValueError, RecursionError):  # json quotes what it refuses
        return InvalidRequestError("a secret value is str, bytes or a mapping that JSON can hold")


def _json_text(value: Any) -> str:
    import json

    return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _parsed(data: bytes) -> Any:
    import json

    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # JSONDecodeError.doc is the value
        data = b""
    raise InvalidRequestError("the value is not JSON")


def _split_pointer(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise InvalidRequestError(f"a JSON pointer starts with '/': {pointer!r}", hint=f"use '/{pointer}'")
    parts = pointer.split("/")[1:]
    if any("~" in part.replace("~0", "").replace("~1", "") for part in parts):
        raise InvalidRequestError(f"in a JSON pointer '~' is written '~0': {pointer!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _follow(document: Any, path: list[str]) -> Any:
    """Never raises: the frame of whoever raised would travel with the document in it."""
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and _INDEX.fullmatch(part) and int(part) < len(document):
            document = document[int(part)]
        else:
            return _NOTHING
    return document
