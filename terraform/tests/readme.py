"""The tables of variables and outputs in the README of each module: made from the .tf files.

``python -m terraform.tests.readme`` writes them anew, under the headings ``## Variables`` and ``## Outputs``.
It reads only what `terraform fmt` leaves: a block begins at a line's start, its arguments two columns in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parents[1] / "modules"
_BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(r"^  (\w+) += (.*?)(?=^  \w+ += |^  \w+ \{|^  #|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Declared:
    """One variable or output, with its arguments as written, each on one line."""

    kind: str
    name: str
    arguments: dict[str, str]

    @property
    def row(self) -> str:
        """As its table shows it."""
        meaning = self.arguments["description"].strip('"').replace('\\"', '"').replace("|", "\\|")
        if self.kind == "output":
            return f"| `{self.name}` | {meaning} |"
        default = self.arguments.get("default")
        shown = f"`{default}`" if default is not None else "**needed**"
        return f"| `{self.name}` | `{self.arguments['type']}` | {shown} | {meaning} |"


def modules() -> list[Path]:
    """Every folder with a module, submodules too."""
    return sorted({path.parent for path in MODULES.rglob("*.tf") if ".terraform" not in path.parts})


def declared(module: Path) -> list[Declared]:
    """All of a module, in the order of its files."""
    return [one for path in sorted(module.glob("*.tf")) for one in _in_text(path.read_text())]


def _in_text(text: str) -> Iterator[Declared]:
    for kind, name, body in _BLOCK.findall(text):
        arguments = {key: _line(value) for key, value in _ARGUMENT.findall(body)}
        yield Declared(kind, name, arguments)


def _line(value: str) -> str:
    """An expression on one line, its arguments parted by commas."""
    lines = [line.partition(" # ")[0].strip() for line in value.strip().splitlines()]
    joined = ""
    for line in (re.sub(r" +", " ", line) for line in lines if line and not line.startswith("#")):
        joined += _joint(joined, line) + line.rstrip(",")
    return joined


def _joint(before: str, line: str) -> str:
    if not before or before[-1] in "([" or line[0] in "])":
        return ""
    return " " if before[-1] == "{" or line[0] == "}" else ", "


def tables(module: Path) -> str:
    """Both tables with their headings; without its heading what the module has none of."""
    found = declared(module)
    parts = [
        ("## Variables", ("variable", "type", "default", "meaning"), "variable"),
        ("## Outputs", ("output", "meaning"), "output"),
    ]
    return "\n\n".join(
        "\n".join([heading, "", _row(columns), _row("---" for _ in columns), *rows])
        for heading, columns, kind in parts
        if (rows := [one.row for one in found if one.kind == kind])
    )


def _row(cells: Iterator[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def written_anew(text: str, module: Path) -> str:
    """A README with its tables made anew: they end it, or stand before the next heading."""
    before, heading, rest = text.partition("## Variables")
    if not heading:
        before, heading, rest = text.partition("## Outputs")
    after = re.split(r"^(?=## (?!Outputs))", rest, maxsplit=1, flags=re.MULTILINE)[1:]
    return f"{before.rstrip()}\n\n{tables(module)}\n" + "".join(f"\n{part}" for part in after)


def main() -> None:
    """Write them all."""
    for module in modules():
        readme = module / "README.md"
        if readme.exists():
            readme.write_text(written_anew(readme.read_text(), module))


if __name__ == "__main__":
    main()
