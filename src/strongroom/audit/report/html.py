"""HTML that is built of elements, so that no name of a secret is ever markup."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

from strongroom.audit.visible import visible

_EMPTY: Final = frozenset({"meta", "input", "rect", "path", "circle", "line"})


class Html(str):
    """Text that is markup already; any other text is escaped where it is put in."""

    __slots__ = ()


Child = str | None | Iterable["Html"]


def text(value: object) -> Html:
    """A text with nothing in it that is markup, ends a line, or turns around what stands beside it."""
    return Html(html.escape(visible(str(value))))


def element(name: str, /, *children: Child, **attributes: object) -> Html:
    """An element: ``element("p", "a < b", class_="note")``; None and False are left out."""
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY:
        return Html(f"<{name}{said}>") if name in ("meta", "input") else Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{''.join(map(_child, children))}</{name}>")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    return text(child) if isinstance(child, str) else "".join(map(_child, child))
