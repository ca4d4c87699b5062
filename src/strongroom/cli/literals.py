"""How each format of ``render`` writes one value, so that a reader of that format gets the very same text.

A value that a format's readers understand differently is refused: a password that is silently another one is
worse than an error.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any, Final


class Unwritable(Exception):  # noqa: N818  (told as an error of ours, with the line)
    """The format has no way to write this value; says why, and nothing of the value."""

    def __init__(self, problem: str, hint: str | None = None):
        super().__init__(problem)
        self.problem, self.hint = problem, hint


class Raw(str):
    """Text that is written as it stands, whatever the format."""

    __slots__ = ()


# Line ends of YAML 1.1 and control characters that JSON may leave as they are, and YAML and TOML may not.
_SPECIAL: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BARE: Final = re.compile(r"[\w./:@%+,=-]*", re.ASCII)
_NOT_INI: Final = re.compile(r"""[\r\n\0%]|\s[;#]|^[\s;#"']|\s$""")


def _json(value: Any) -> str:
    return _dumped(value, (str, bool, int, float, list, dict, type(None)))


def _yaml(value: Any) -> str:
    return _SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", _json(value))


def _toml(value: Any) -> str:
    return _SPECIAL.sub(
        lambda found: f"\\u{ord(found[0]):04x}", _dumped(value, (str, bool, int, float, list))
    )


def _dumped(value: Any, kinds: tuple[type, ...]) -> str:
    if isinstance(value, kinds):
        try:
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            pass
    raise _unfit(value)


def _env(value: Any) -> str:
    text = _scalar(value)
    if _BARE.fullmatch(text):
        return text
    # Readers of .env differ in what they expand and unescape; in these two forms they do not.
    if not re.search(r"""['\0\r]|\\\\|\\$|\$\{""", text):
        return f"'{text}'"
    if not re.search(r"""["\\$`!\0\r\n]""", text):
        return f'"{text}"'
    raise Unwritable(
        "the value holds quotes, backslashes or ${ that readers of .env files take differently",
        "write it with | base64, or use a format with one meaning, such as json",
    )


def _shell(value: Any) -> str:
    text = _scalar(value)
    if "\0" in text:
        raise Unwritable("the value holds a zero byte, which no variable of a shell can")
    return shlex.quote(text)


def _ini(value: Any) -> str:
    text = _scalar(value)
    if _NOT_INI.search(text):
        raise Unwritable(
            "the value has several lines, %, a comment's beginning, or space or quotes at its ends, which "
            "readers of INI files take differently",
            "write it with | base64, or use a format with one meaning, such as toml",
        )
    return text


def _none(value: Any) -> str:
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise _unfit(value)


def _unfit(value: Any) -> Unwritable:
    if isinstance(value, bytes):
        return Unwritable("the value is binary", "write it with | base64")
    return Unwritable(f"this format cannot hold what the expression gives ({type(value).__name__})")


WRITERS: Final[dict[str, Callable[[Any], str]]] = {
    "env": _env,
    "ini": _ini,
    "json": _json,
    "none": _none,
    "shell": _shell,
    "toml": _toml,
    "yaml": _yaml,
}

# What may stand right before and right after a value that is written with its quotes.
BEFORE: Final = {"json": "[,:", "yaml": "[{,", "toml": "[,="}
AFTER: Final = {"json": "]},", "yaml": "]},", "toml": "]},#"}


def write(kind: str) -> Callable[[Any], str]:
    """What writes a value in a format; text that is marked as raw stays as it is."""
    writer = WRITERS[kind]
    return lambda value: value if isinstance(value, Raw) else writer(value)
