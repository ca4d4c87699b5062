"""The page on strongroom.toml names every key that there is, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.toml.file import read_text
from strongroom.toml.markdown import markdown
from strongroom.toml.schema import schema
from tests.pages import ROOT, blocks

PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- generated: python -m strongroom.toml.markdown -->\n", "<!-- end -->\n"


def named(node: Any) -> Iterator[str]:
    """The keys that a schema knows, wherever in it; those that it only forbids are none."""
    if isinstance(node, dict):
        yield from (name for name, inner in node.get("properties", {}).items() if inner is not False)
        for inner in node.values():
            yield from named(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from named(inner)


def test_the_tables_are_those_of_the_declaration() -> None:
    """`python -m strongroom.toml.markdown` prints what belongs there."""
    text = PAGE.read_text()
    assert text.split(BEGIN)[1].split(END)[0] == markdown()


def test_the_page_names_every_key_of_the_schema_and_no_other() -> None:
    """The schema is what editors know."""
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| .* \|$", PAGE.read_text(), re.MULTILINE)
    assert {name.rpartition(".")[2] for name, _ in rows} == set(named(schema())) - {"PATTERN"}
    assert all(meaning for _, meaning in rows)


@pytest.mark.parametrize("profile", ["", "laptop"])
def test_the_example_is_valid(profile: str) -> None:
    """With each of its profiles."""
    [block] = [block for block in blocks(PAGE) if block.test == "toml"]
    config = read_text(Path("strongroom.toml"), block.text, profile)
    assert config.default == ("machine" if profile else "prod")
    assert config.profile == profile


def test_the_guide_leads_there() -> None:
    """Or nobody would find it."""
    assert "(configuration.md)" in (ROOT / "docs" / "guide.md").read_text()


def test_the_error_on_the_page_is_the_error_that_is_told() -> None:
    """Line, key and hint."""
    [block] = [block for block in blocks(PAGE) if block.test == "toml"]
    [said] = re.findall(r"^strongroom\.toml:\d+: .*$", PAGE.read_text(), re.MULTILINE)
    with pytest.raises(Exception, match="there is no such key") as caught:
        read_text(Path("strongroom.toml"), block.text.replace("{ keyring =", "{ kyes = [], keyring =", 1), "")
    assert str(caught.value) == said
