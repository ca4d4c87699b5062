"""The rotators and their options as the tables of ``docs/rotators.md``, from their own docstrings.

``python -m strongroom.cli.rotatortable`` prints them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Final

from strongroom.rotation.rotators.names import ROTATORS, rotator_class

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotator

_SLOTS: Final = {
    "single": "one at a time",
    "two": "old and new",
    "version": "old versions go on",
    "human": "a person's",
}
_OPTION: Final = re.compile(r"^(\w+(?:, \w+)*): (.*?)(?=^\w+(?:, \w+)*: |\Z)", re.MULTILINE | re.DOTALL)

_ELSEWHERE: Final = re.compile(r"(?:as of|see) `([\w.]+)`")


def markdown() -> str:
    """An overview of all rotators, then a table of options for each."""
    found = {name: rotator_class(name) for name in ROTATORS}
    rows = [
        f"| [`{name}`](#{name}) | {_first_sentence(one)} | {_SLOTS[one.slots]} |"
        for name, one in found.items()
    ]
    overview = ["| `rotator =` | what it does | good at a time |", "| --- | --- | --- |", *rows, ""]
    return "\n".join([*overview, *(_section(name, one) for name, one in found.items())])


def _section(name: str, rotator: type[Rotator]) -> str:
    rows = [
        f"| `{option}` | {meaning} | {_default(rotator, option)} |" for option, meaning in _options(rotator)
    ]
    head = ["| option | meaning | default |", "| --- | --- | --- |"]
    return "\n".join([f"### `{name}`", "", *head, *rows, ""])


def _options(rotator: type[Rotator]) -> Iterator[tuple[str, str]]:
    """Name and meaning, in the docstring's order; what is no keyword is for tests and programs."""
    known = inspect.signature(rotator).parameters
    for name, meaning in _told(rotator).items():
        if known[name].kind is inspect.Parameter.KEYWORD_ONLY:
            elsewhere = _ELSEWHERE.match(meaning)
            yield name, _told(_class(elsewhere[1]))[name] if elsewhere else meaning


def _told(documented: type) -> dict[str, str]:
    """What a class says of its arguments."""
    text = (inspect.getdoc(documented) or "").partition("Args:\n")[2].partition("\n\n")[0]
    found = _OPTION.findall(inspect.cleandoc(f"\n{text}"))
    return {name: _plain(meaning) for names, meaning in found for name in names.split(", ")}


def _class(name: str) -> type:
    """The one that another leaves an option's meaning to."""
    module, _, attribute = name.rpartition(".")
    if module:
        found: type = getattr(import_module(module), attribute)
        return found
    return next(one for one in map(rotator_class, ROTATORS) if one.__name__ == name)


def _default(rotator: type[Rotator], option: str) -> str:
    parameter = inspect.signature(rotator).parameters[option]
    if parameter.default is inspect.Parameter.empty:
        return "**needed**"
    if parameter.default in (None, "", ()):
        return "a reference" if "Source" in str(parameter.annotation) else ""
    return f"`{_written(parameter.default)}`"


def _written(value: object) -> str:
    """As strongroom.toml spells it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _first_sentence(rotator: type[Rotator]) -> str:
    return _plain((inspect.getdoc(rotator) or "").partition("\n\n")[0]).partition(". ")[0].rstrip(".")


def _plain(text: str) -> str:
    """One line for a cell."""
    return " ".join(text.replace("``", "`").split()).rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown())
