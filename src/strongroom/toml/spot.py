"""Spot: a key of one strongroom.toml, where what is wrong with it is said."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from strongroom.errors import InvalidRequestError


class Spot:
    """The place of a key in a file.

    Args:
        path: the file.
        text: what it holds; never shown.
        names: the keys that lead there, from the top down.
        profile: in whose view the key is wrong, where that is not told by the names.
    """

    __slots__ = ("_path", "_profile", "_text", "names")

    def __init__(self, path: Path, text: str, names: tuple[str, ...] = (), profile: str = ""):
        self._path, self._text, self.names, self._profile = path, text, names, profile

    def __truediv__(self, name: str) -> Spot:
        return Spot(self._path, self._text, (*self.names, name), self._profile)

    def seen_by(self, profile: str) -> Spot:
        """The same place, where the entries of a profile stand in for others."""
        return Spot(self._path, self._text, self.names, profile)

    def error(self, problem: str, hint: str | None = None) -> InvalidRequestError:
        """What is wrong with the key, after file, line and key."""
        from .lines import line_of

        own = not self._profile or self.names[:2] == ("profile", self._profile)
        view = "" if own else f" (with profile {self._profile!r})"
        key = "".join(char if char.isprintable() else "?" for char in ".".join(self.names))
        where = f"{self._path}:{line_of(self._text, self.names)}: {key}"
        return InvalidRequestError(f"{where}: {problem}{view}", hint=hint)

    def fail(self, problem: str, hint: str | None = None) -> NoReturn:
        """Raise that error."""
        raise self.error(problem, hint)


def near(name: str, known: Iterable[str], place: str = "") -> str:
    """The hint for a name that is not known: the nearest one, or all there are."""
    from difflib import get_close_matches

    names = list(known)
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    if nearest:
        return f"did you mean {nearest[0]!r}?"
    return f"known{place}: {', '.join(names)}" if names else f"there are none{place}; run: strongroom init"
