"""The line of a key in a TOML document, however it is written."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.toml.file import read_text
from strongroom.toml.lines import line_of
from tests.scale import scaled

EVERY_FORM = '''\
title = """
[store.decoy]
url = "nowhere"
"""
path = \'\'\'
url = """ # no comment
\'\'\'   # [store.decoy]
[ store . "prod" ]   # url = "not here"
url = "a\\"b#c" # a comment
options.deep.er = { list = [ # {
    1, { inner = "]}" }, """
] # still the string
""", 1979-05-27T07:32:00Z ], last = 'x' }
"quoted key" = 0x_F
\'literal.key\' = [ [ ], [ "a", \'b\' ], ]
"" = 1
[[store.many]]
first = +inf
[[store.many]]
second = 2
[key]
a.url = "x"
a.pin = "y"
'''.replace("0x_F", "0xF")
WHERE = {
    ("title",): 1,
    ("path",): 5,
    ("store",): 8,
    ("store", "prod"): 8,
    ("store", "prod", "url"): 9,
    ("store", "prod", "options"): 10,
    ("store", "prod", "options", "deep", "er"): 10,
    ("store", "prod", "options", "deep", "er", "list"): 10,
    ("store", "prod", "options", "deep", "er", "list", "inner"): 11,
    ("store", "prod", "options", "deep", "er", "last"): 13,
    ("store", "prod", "quoted key"): 14,
    ("store", "prod", "literal.key"): 15,
    ("store", "prod", ""): 16,
    ("store", "many"): 17,
    ("store", "many", "second"): 20,
    ("key",): 21,
    ("key", "a"): 22,
    ("key", "a", "url"): 22,
    ("key", "a", "pin"): 23,
}


@pytest.mark.parametrize("names", WHERE, ids=".".join)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_each_form_of_a_key_is_found(names: tuple[str, ...], ending: str) -> None:
    """Tables, dotted and quoted keys, inline tables and lists; strings and comments are no keys."""
    text = EVERY_FORM.replace("\n", ending)
    tomllib.loads(text)
    assert line_of(text, names) == WHERE[names]


def test_a_key_that_is_not_written_stands_where_its_table_does() -> None:
    """What is missing is missing there; nothing at all at the top."""
    assert line_of(EVERY_FORM, ("store", "prod", "timeout")) == 8
    assert line_of(EVERY_FORM, ("store", "many", "third", "x")) == 17
    assert line_of(EVERY_FORM, ("gone",)) == 1
    assert line_of("", ("gone",)) == 1


BARE = st.text("abcxyz_-09", min_size=1, max_size=4)
NAMES = BARE | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=4)
TEXTS = st.text(st.characters(codec="ascii", exclude_characters="\x7f"), max_size=6)
SCALARS = st.integers(-9, 9) | st.booleans() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)


class Writer:
    """Writes a document in forms drawn at random, and remembers the line of each key."""

    def __init__(self, draw: st.DataObject):
        self._draw, self.text = draw, ""
        self.lines: dict[tuple[str, ...], int] = {}

    def document(self, node: dict[str, Any], above: tuple[str, ...] = ()) -> str:
        tables = [name for name, inner in node.items() if isinstance(inner, dict) and self._chance()]
        for name, inner in node.items():
            if name not in tables:
                self._key((*above, name))
                self._write(self._blank() + "=" + self._blank())
                self._value(inner, (*above, name))
                self._write(self._comment() + "\n")
        for name in tables:
            self._table(node[name], (*above, name))
        return self.text

    def _table(self, node: dict[str, Any], names: tuple[str, ...]) -> None:
        self._write("[" + self._blank())
        for depth in range(len(names)):
            self._write("." * (depth > 0))
            self._key(names[: depth + 1])
        self._write(self._blank() + "]" + self._comment() + "\n")
        self.document(node, names)

    def _key(self, names: tuple[str, ...]) -> None:
        self.lines.setdefault(names, self.text.count("\n") + 1)
        bare = names[-1] and all(char in "abcxyz_-09" for char in names[-1]) and self._chance()
        self._write(names[-1] if bare else json.dumps(names[-1], ensure_ascii=False))

    def _value(self, node: Any, names: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            self._write("{")
            for at, (name, inner) in enumerate(node.items()):
                self._write("," * (at > 0) + self._blank())
                self._key((*names, name))
                self._write("=")
                self._value(inner, (*names, name))
            self._write("}")
        elif isinstance(node, list):
            self._write("[")
            for inner in node:
                self._write((self._comment() + "\n") * self._chance() + self._line_end())
                self._value(inner, names)
                self._write(",")
            self._write(self._line_end() + "]")
        else:
            self._write(self._scalar(node))

    def _scalar(self, node: Any) -> str:
        if isinstance(node, str) and self._chance():
            inner = json.dumps(node)[1:-1].replace("\\n", "\n")
            return f'"""\n{inner}"""'
        return json.dumps(node).replace("Infinity", "inf") if isinstance(node, float) else json.dumps(node)

    def _write(self, text: str) -> None:
        self.text += text

    def _chance(self) -> bool:
        return self._draw.draw(st.booleans())

    def _blank(self) -> str:
        return self._draw.draw(st.sampled_from(["", " ", "\t "]))

    def _line_end(self) -> str:
        return "\n" * self._draw.draw(st.integers(0, 2))

    def _comment(self) -> str:
        return self._draw.draw(st.sampled_from(["", " # a = 1", ' # [x] """', "\n\n# {"]))


@settings(max_examples=scaled(1000, "documents whose keys are found", 40))
@given(DOCUMENTS, st.data())
def test_every_key_of_any_document_is_found(document: dict[str, Any], draw: st.DataObject) -> None:
    """On the line where it was written."""
    writer = Writer(draw)
    text = writer.document(document)
    assert tomllib.loads(text) is not None
    assert {names: line_of(text, names) for names in writer.lines} == writer.lines


@settings(max_examples=scaled(300, "mistakes whose line is told"))
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True), st.data())
def test_an_error_names_the_line_that_has_its_key(aliases: list[str], draw: st.DataObject) -> None:
    """Whichever entry has the mistake, and however it is written."""
    wrong = draw.draw(st.sampled_from(aliases))
    entries = {alias: {"url": "memory://x"} for alias in aliases}
    entries[wrong]["tiemout"] = "5s"
    writer = Writer(draw)
    text = writer.document({"store": entries})
    with pytest.raises(InvalidRequestError) as caught:
        read_text(Path("c.toml"), text, "")
    line = writer.lines[("store", wrong, "tiemout")]
    assert str(caught.value).startswith(f"c.toml:{line}: store.{wrong}.tiemout: there is no such key")
    assert "tiemout" in text.splitlines()[line - 1]
