"""No block of any page goes by unseen: a test runs it by its mark, or a test here checks it by its language.

What is left over are texts, drawings and lines for a person to type (`pip install`, `make`), which have no
command of Strongroom in them.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from strongroom.cli.main import cli
from strongroom.toml.file import read_text
from tests.pages import PAGES, ROOT, Block, blocks

SHOWN = {"text", "console", "ini"}
"""Languages that may stand without a mark and are not looked at, unless they have a command of Strongroom."""
CHECKED = {"json", "yaml", "bash"}
"""Languages that may stand without a mark, since a test here reads each of them."""

NAMED = {"policy", "module"}
"""Marks with a name behind them: `policy reader` is run by who tests that policy, `module acme` is a file."""

ALL = [block for page in PAGES for block in blocks(page)]


def _where(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}, line {block.line}"


def _unmarked(language: str) -> list[Block]:
    return [block for block in ALL if block.language == language and not block.test]


def test_every_block_is_run_or_checked() -> None:
    """By its mark, or by its language."""
    silent = [
        _where(block)
        for block in ALL
        if not block.test and (block.language not in SHOWN | CHECKED or "$ strongroom" in block.text)
    ]
    assert not silent


def test_every_fence_is_seen() -> None:
    """What opens a block is found as one: a fence of another form would hide it from all tests."""
    fences = {
        page: len(re.findall(r"^ *(?:```|~~~)[ \t]*[\w{]", page.read_text(), re.MULTILINE)) for page in PAGES
    }
    found = {page: sum(block.page == page for block in ALL) for page in PAGES}
    assert fences == found


def test_every_mark_is_run_by_a_test() -> None:
    """The mark stands in one as it stands on the page, but for those that name what they are about."""
    marks = {block.test for block in ALL if block.test and block.test.split()[0] not in NAMED}
    unknown = {mark for mark in marks if not any(_spelled(mark, text) for text in _tests())}
    assert not unknown


def _spelled(mark: str, text: str) -> bool:
    return f'"{mark}"' in text or f"<!-- test: {mark} -->" in text


@functools.cache
def _tests() -> list[str]:
    folders = (ROOT / "tests", ROOT / "terraform" / "tests")
    return [path.read_text() for folder in folders for path in folder.rglob("*.py")]


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "toml"], ids=_where)
def test_every_configuration_is_one(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key is known and each name in it leads somewhere, whoever else opens it."""
    read_text(Path("strongroom.toml"), block.text, "")


@pytest.mark.parametrize("block", _unmarked("json"), ids=_where)
def test_json_is_json(block: Block) -> None:
    """An IAM policy, an event's rule."""
    assert json.loads(block.text)


@pytest.mark.parametrize("block", _unmarked("yaml"), ids=_where)
def test_yaml_is_yaml(block: Block) -> None:
    """A manifest, a Sigma rule."""
    assert all(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", _unmarked("bash"), ids=_where)
def test_bash_parses_and_its_commands_exist(block: Block) -> None:
    """And so do the options that they are given."""
    subprocess.run(["bash", "-n", "-c", block.text], check=True)
    assert not list(_unknown(block.text))


def _unknown(text: str) -> Iterator[str]:
    """Commands and options of Strongroom that the program does not have."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if "strongroom" in words:
            yield from _not_taken(words[words.index("strongroom") + 1 :])


def _not_taken(words: list[str]) -> Iterator[str]:
    command: click.Command = cli
    context = click.Context(command)
    taken = _options(command)
    for word in words:
        below = command.get_command(context, word) if isinstance(command, click.Group) else None
        if below:
            command, context = below, click.Context(below, parent=context)
            taken |= _options(command)
        elif word.startswith("--") and word.partition("=")[0] not in taken:
            yield f"{command.name} {word}"
    if isinstance(command, click.Group):
        yield f"{' '.join(words)}: no command"


def _options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize(
    "line", ["strongroom rotation tik", "strongroom get x --revael", "a | strongroom nothing"]
)
def test_a_command_that_is_not_there_is_found(line: str) -> None:
    """The check above finds what it is for."""
    assert list(_unknown(line))
