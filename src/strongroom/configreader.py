"""The tables of a strongroom.toml: typed values, credentials by reference, and errors that name the line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .errors import InvalidRequestError
from .value import SecretValue

_ALIAS = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PLAIN_AUTH = frozenset(
    [
        "access_key_id",
        "cert",
        "certificate",
        "client_id",
        "jwt_file",
        "key",
        "method",
        "mount",
        "profile",
        "role",
        "role_id",
        "tenant_id",
        "username",
    ]
)
"""What of ``auth`` may stand in the file. Everything else may be a credential and is named by reference."""

Table = Mapping[str, Any]
Place = tuple[str, ...]


@dataclass(slots=True, repr=False)
class Reader:
    """Reads the tables of one file, and finds the line of what is wrong.

    Every method raises InvalidRequestError with file, line and key; `at` is where its table stands.
    """

    path: Path
    text: str

    def document(self) -> dict[str, Any]:
        """The whole file, parsed."""
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as exc:
            at = re.search(r"at line (\d+)", str(exc))
            line = int(at[1]) if at else self.text.count("\n") + 1
        raise InvalidRequestError(
            f"{self.path}:{line}: not valid TOML", hint="check quotes and brackets there"
        )

    def tables(self, document: Table, group: str) -> Iterator[tuple[str, Table]]:
        """Each ``[group.ALIAS]``, with its alias checked."""
        for alias in self.table((), document, group):
            if not _ALIAS.fullmatch(alias):
                self.fail((group,), alias, "an alias is lower-case letters and digits with . _ - between")
            yield alias, self.table((group,), document[group], alias)

    def credential(self, at: Place, auth: Table, name: str) -> str | SecretValue:
        """A value named as ``env://VAR`` or ``file:///path``; plain text only for what is no secret."""
        scheme, _, rest = self.string(at, auth, name).partition("://")
        if scheme == "env" and rest:
            return self._from_environment(at, name, rest)
        if scheme == "file" and rest.startswith("/"):
            return self._from_file(at, name, Path(rest))
        if name not in _PLAIN_AUTH:
            self.fail(at, name, "must not stand in the file", "write env://VAR or file:///path")
        return self.string(at, auth, name, required=True)

    def _from_environment(self, at: Place, name: str, variable: str) -> SecretValue:
        if not os.environ.get(variable):
            self.fail(at, name, f"the environment has no {variable}, or an empty one")
        return SecretValue(os.fsencode(os.environ[variable]), "text")

    def _from_file(self, at: Place, name: str, path: Path) -> SecretValue:
        try:
            return SecretValue(path.read_bytes().removesuffix(b"\n"), "text")
        except OSError as exc:
            problem = exc.strerror or "cannot be read"
        except InvalidRequestError:
            problem = "not UTF-8 text"
        return self.fail(at, name, f"{path}: {problem}")

    def string(self, at: Place, table: Table, name: str, *, required: bool = False) -> str:
        """A string, empty where it is missing."""
        text = table.get(name, "")
        if not isinstance(text, str) or (required and not text):
            self.fail(at, name, "must be a string")
        return text

    def strings(self, at: Place, table: Table, name: str) -> tuple[str, ...]:
        """A list of strings that, where it is given, names something."""
        texts = table.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            self.fail(at, name, "must be a list of strings")
        if name in table and not texts:
            self.fail(at, name, "names nothing")
        return tuple(texts)

    def table(self, at: Place, table: Table, name: str) -> dict[str, Any]:
        """A table inside `table`, empty where it is missing."""
        inner = table.get(name, {})
        if not isinstance(inner, dict):
            self.fail(at, name, "must be a table")
        return inner

    def seconds(self, at: Place, table: Table, name: str, default: float) -> float:
        """A duration such as ``"30s"``, in seconds."""
        if name not in table:
            return default
        match = _DURATION.fullmatch(self.string(at, table, name)) if isinstance(table[name], str) else None
        if not match:
            self.fail(at, name, "is a duration", 'write "30s", "5m" or "1h"')
        return int(match[1]) * _SECONDS[match[2]]

    def known(self, at: Place, table: Table, known: Sequence[str]) -> None:
        """Refuse every key but these."""
        for name in table:
            if name not in known:
                self.fail(at, name, "there is no such key", near(name, known))

    def fail(self, at: Place, name: str, problem: str, hint: str | None = None) -> NoReturn:
        """Say what is wrong with a key, and where."""
        where = ".".join((*at, name))
        raise InvalidRequestError(f"{self.path}:{self._line((*at, name))}: {where}: {problem}", hint=hint)

    def _line(self, names: Place) -> int:
        """The line that spells the last name, looked for from the line of the one before it."""
        lines, found = [line.partition("#")[0] for line in self.text.splitlines()], 0
        for name in names:
            spelled = re.compile(rf"""(?:^\s*\[+[^\]=]*?|[\s{{,.]|^)["']?{re.escape(name)}["']?\s*[\].=]""")
            found = next((n for n in range(found, len(lines)) if spelled.search(lines[n])), found)
        return found + 1


def near(name: str, known: Iterable[str], place: str = "") -> str:
    """The hint for a name that is not known: the nearest one, or all there are."""
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known{place}: {', '.join(names)}" if names else f"there are none{place}; run: strongroom init"
