"""What the site of the documents adds to its pages: the place of each, all commands, the reference of names.

The pages are read on their own too, by an editor or a forge, so they hold no directives of the generator.
Their place in the site follows from the lists in ``index.md`` and from their names; a page that nobody put
anywhere stands under "More".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

INDEX = "docs/index"
_ITEM = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<page>[^)#]+)\.md\)", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[\w./-]+)\)")
_AUTODOC = re.compile(r"^<!-- autodoc: (?P<names>[\w. ]+) -->$", re.MULTILINE)


def sections(index: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each heading of the index with the pages that its list begins lines with, and what it calls them."""
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        pages = {
            f"docs/{item['page']}".removeprefix("docs/../"): item["title"] for item in _ITEM.finditer(text)
        }
        if pages:
            yield heading, pages


def parent(page: str, pages: Iterable[str]) -> str:
    """The page below which one stands that the index does not list: by its folder, or by its name.

    ``docs/audit-proof`` stands below ``docs/audit``, a decision below the list of decisions, a submodule
    below its module.
    """
    known = set(pages)
    folder = page.rpartition("/")[0]
    for home in (f"{folder}/index", f"{folder}/README"):
        if home in known and home not in (page, INDEX):
            return home
    if page.startswith("docs/examples/"):
        return "docs/writing-a-backend"
    if page.startswith("terraform/"):
        module, _, inner = page.removeprefix("terraform/").partition("/modules/")
        return f"terraform/{module}/README" if inner else "docs/terraform"
    name = page
    while "-" in name:
        name = name.rpartition("-")[0]
        if name in known:
            return name
    return INDEX


def children(page: str, index: str, pages: Iterable[str]) -> list[str]:
    """What stands below a page, but for what the index lists; in the order of names."""
    known = sorted(pages)
    listed = {INDEX, *(found for _, group in sections(index) for found in group)}
    return [other for other in known if other not in listed and parent(other, known) == page]


def toctrees(page: str, index: str, pages: Iterable[str]) -> str:
    """The directives that put other pages below this one; empty where there is none.

    Args:
        page: as Sphinx names it, such as ``docs/guide``.
        index: the text of ``index.md``.
        pages: all that the site has.
    """
    known = set(pages)
    rest = dict.fromkeys(children(page, index, known), "")
    groups = [("", rest)] if page != INDEX else [*sections(index), ("More", rest)]
    return "".join(_toctree(caption, below, known) for caption, below in groups if known & below.keys())


def _toctree(caption: str, pages: Mapping[str, str], known: set[str]) -> str:
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    entries = [
        f"{title} </{page}>" if title else f"/{page}" for page, title in pages.items() if page in known
    ]
    return "\n" + "\n".join(["```{toctree}", *options, "", *entries, "```"]) + "\n"


def folders(text: str, folder: Path) -> str:
    """A page's text, with each link to a folder made one to the page that tells of it, as forges show it.

    Args:
        text: the page's Markdown.
        folder: where the page lies.
    """
    return _LINK.sub(lambda found: _readme(found["target"], folder) + ")", text)


def _readme(target: str, folder: Path) -> str:
    tells = (folder / target / "README.md").is_file()
    return f"]({target}" + ("/README.md" if tells else "")


def commands() -> str:
    """Every command of the program with its help, as the program itself prints it."""
    import click

    from strongroom.cli.main import cli

    return "\n".join(_command(path, command) for path, command in _walk(cli, click.Context(cli)))


def _walk(command: click.Command, context: click.Context) -> Iterator[tuple[click.Context, click.Command]]:
    import click

    context.info_name = context.info_name or "strongroom"
    context.max_content_width = context.terminal_width = 100
    yield context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below and not below.hidden:
                yield from _walk(below, click.Context(below, info_name=name, parent=context))


def _command(context: click.Context, command: click.Command) -> str:
    return f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"


def reference(page: str) -> str:
    """The page with each comment ``autodoc: NAMES`` replaced by what the docstrings of these names say."""
    return _AUTODOC.sub(lambda found: _documented(found["names"].split()), page)


def named(page: str) -> list[str]:
    """The names that a page asks the docstrings of."""
    return [name for found in _AUTODOC.finditer(page) for name in found["names"].split()]


def _documented(names: list[str]) -> str:
    directives = "\n".join(f".. {_kind(name)}:: strongroom.{name}\n" for name in names)
    return f"```{{eval-rst}}\n{directives}\n```"


def _kind(name: str) -> str:
    import strongroom

    found = getattr(strongroom, name)
    if not isinstance(found, type):
        return "autofunction" if callable(found) else "autodata"
    return "autoexception" if issubclass(found, BaseException) else "autoclass"
