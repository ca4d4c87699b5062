"""The pages of the documents, and the blocks that tests run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# Generated from the conformance suite, or part of an example: tested with those.
ELSEWHERE = {ROOT / "docs" / "writing-a-backend.md", *(ROOT / "docs" / "examples").rglob("*.md")}
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - ELSEWHERE)]

_BLOCK = re.compile(
    r"(?:<!-- test: (?P<test>[a-z ]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block and its test: ``python``, ``shell``, ``configuration``, ``toml`` and others, or none."""

    page: Path
    line: int
    language: str
    test: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text[: found.start("text")].count("\n") + 1
        yield Block(page, line, found["language"], found["test"] or "", found["text"])


def marked(test: str, *pages: Path) -> list[Block]:
    """The blocks of these pages that carry a mark."""
    return [block for page in pages for block in blocks(page) if block.test == test]
