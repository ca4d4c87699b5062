"""Where the keys of a TOML document stand, which `tomllib` does not tell: for errors alone."""

from __future__ import annotations

import re
import tomllib
from typing import Final

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\]|\\.)*"|' + r"'[^']*'", re.DOTALL
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN: Final = re.compile(r"[^,\]}#\r\n]*")

Path = tuple[str, ...]


def line_of(text: str, names: Path) -> int:
    """The line, counted from 1, of the key that `names` lead to, or of the nearest one above that is written.

    Args:
        text: a document that `tomllib` accepts.
        names: keys from the top down; what stands inside a list is under the list's own key.
    """
    found = _Scanner(text).found
    while names and names not in found:
        names = names[:-1]
    return text.count("\n", 0, found.get(names, 0)) + 1


class _Scanner:
    """Walks a valid document and notes where each key is first spelled."""

    def __init__(self, text: str):
        self.found: dict[Path, int] = {}
        self._text, self._at = text, 0
        self._document()

    def _document(self) -> None:
        table: Path = ()
        while not self._ends():
            if self._skip("["):
                self._skip("[")
                table = self._key(())
                self._skip("]")
                self._skip("]")
            else:
                self._pair(table)

    def _ends(self) -> bool:
        self._match(_BLANK)
        return self._at >= len(self._text)

    def _pair(self, table: Path) -> None:
        names = self._key(table)
        self._skip("=")
        self._value(names)

    def _key(self, names: Path) -> Path:
        """A dotted key; each of its parts is spelled here."""
        while True:
            self._match(_BLANK)
            start, quoted = self._at, self._text[self._at] in "\"'"
            spelled = self._match(_STRING if quoted else _BARE_KEY)
            names = (*names, next(iter(tomllib.loads(f"{spelled} = 0"))) if quoted else spelled)
            self.found.setdefault(names, start)
            if not self._skip("."):
                return names

    def _value(self, names: Path) -> None:
        if self._skip("{"):
            while not self._skip("}"):
                self._pair(names)
                self._skip(",")
        elif self._skip("["):
            while not self._skip("]"):
                self._value(names)
                self._skip(",")
        elif not self._match(_STRING):
            self._match(_PLAIN)

    def _skip(self, mark: str) -> bool:
        self._match(_BLANK)
        skipped = self._text.startswith(mark, self._at)
        self._at += len(mark) * skipped
        return skipped

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""
