"""A reader of CEF lines by the published rules alone: Implementing ArcSight Common Event Format v25."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_KEY: Final = re.compile(r"(?:^| )([A-Za-z0-9_.\[\]]+)(?<!\\)=")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_VISIBLE: Final = re.compile(r"(?:\\u[0-9a-f]{4})+")


class Cef(NamedTuple):
    """A line, read."""

    version: int
    header: tuple[str, ...]
    extension: dict[str, str]


def read_cef(line: str) -> Cef:
    """Read a line; a key given twice, a header of another length or a dangling escape is an error."""
    *header, extension = _split(line)
    assert header[0].startswith("CEF:")
    return Cef(int(header[0][4:]), tuple(_unescaped(part, "|\\") for part in header[1:]), _pairs(extension))


def original(text: str) -> str:
    """What a value was before its unprintable characters were made visible."""
    return _VISIBLE.sub(lambda match: _from_utf16(match[0]), text)


def _from_utf16(escapes: str) -> str:
    return bytes.fromhex(escapes.replace("\\u", "")).decode("utf-16-be", "surrogatepass")


def _split(line: str) -> list[str]:
    """The seven header fields and the rest: a bar ends a field unless a backslash stands before it."""
    fields, field, escaped = list[str](), "", False
    for at, char in enumerate(line):
        if char == "|" and not escaped:
            fields.append(field)
            field = ""
            if len(fields) == 7:
                return [*fields, line[at + 1 :]]
        else:
            field += char
        escaped = char == "\\" and not escaped
    raise AssertionError("a CEF line has seven header fields")


def _pairs(extension: str) -> dict[str, str]:
    found = list(_KEY.finditer(extension))
    assert found
    assert found[0].start() == 0
    pairs = dict[str, str]()
    for match, after in zip(found, [*found[1:], None], strict=True):
        assert match[1] not in pairs, f"{match[1]} is given twice"
        end = after.start() if after else len(extension)
        pairs[match[1]] = _unescaped(extension[match.end() : end], "=\\rn")
    return pairs


def _unescaped(text: str, known: str) -> str:
    def char(match: re.Match[str]) -> str:
        assert match[1] in known, "an escape that CEF does not have"
        return {"r": "\r", "n": "\n"}.get(match[1], match[1]) if "r" in known else match[1]

    plain = _ESCAPE.sub(char, text)
    assert not _ESCAPE.sub("", text).endswith("\\")
    return plain
