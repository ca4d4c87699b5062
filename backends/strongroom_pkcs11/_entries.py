"""A token's data objects as versions of secrets, within one session block: found, ordered, made, removed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from itertools import zip_longest
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, ObjectClass

from strongroom.guarded import Head, Stamp
from strongroom.value import SecretValue, is_utf8

from ._mark import Mark, foreign_version, is_older_label, object_id, older_label

# SoftHSM compares attributes in this order, and must decrypt a private object's texts to do so.
_DATA: Final = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True}
_READ: Final = (Attribute.APPLICATION, Attribute.VALUE)
_LOOKS: Final = 3
_SEVERAL: Final = 2
_UNREADABLE: Final = (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, UnicodeDecodeError)


class Entry:
    """One object. Good for the block of the session that found it.

    Attributes:
        path: where its secret lives.
        mark: None if another program made it.
    """

    def __init__(self, item: Any, path: str, label: str, mark: Mark | None):
        self.item, self.path, self.label, self.mark = item, path, label, mark

    @cached_property
    def value(self) -> SecretValue:
        """Read when asked for; another program's is text if it can be."""
        return _sealed(self.item[Attribute.VALUE], self.mark)

    @cached_property
    def version(self) -> str:
        """The public id."""
        return self.mark.version if self.mark else foreign_version(self.value)

    @property
    def head(self) -> Head:
        """As the guard sees it."""
        return Head(self.version, self.mark.stamp if self.mark else None)

    @property
    def bears_name(self) -> bool:
        """Whether it is what a program gets that asks the token for the secret by its label."""
        return self.label == self.path

    def rename(self, label: str) -> None:
        """Change the label; another process may have destroyed it meanwhile."""
        with suppress(pkcs11.ObjectHandleInvalid):
            self.item[Attribute.LABEL] = self.label = label

    def destroy(self) -> None:
        """Remove it; another process may have done so meanwhile."""
        with suppress(pkcs11.ObjectHandleInvalid):
            self.item.destroy()


def create(session: Any, mark: Mark, value: SecretValue) -> None:
    """Make a version: one call, which has made all of it or nothing."""
    session.create_object(
        {
            **_DATA,
            Attribute.PRIVATE: True,
            Attribute.LABEL: mark.path,
            Attribute.APPLICATION: mark.pack(),
            Attribute.OBJECT_ID: object_id(mark.path),
            Attribute.VALUE: value.reveal(),
        }
    )


def current(session: Any, path: str, *, value: bool = False) -> Entry | None:
    """The newest version: one search, which finds one object as a rule; `value`: it is wanted too."""
    bearing = _found(session, {Attribute.LABEL: path}, path, _read if value else _entry)
    found = ordered(bearing) or history(session, path)
    return found[0] if found else None


def bearers(session: Any, path: str) -> list[Entry]:
    """All that bear a secret's name, in no order. Labels are not unique on a token."""
    return _found(session, {Attribute.LABEL: path}, path)


def ours(session: Any, path: str) -> list[Entry]:
    """Every version that Strongroom made, in no order."""
    return [entry for entry in _found(session, {Attribute.OBJECT_ID: object_id(path)}, path) if entry.mark]


def history(session: Any, path: str) -> list[Entry]:
    """Every version, newest first; none if nothing bears the secret's name, since its newest was destroyed.

    A search is no snapshot: of two objects that change names during it, it may see the new one too early and
    the old one too late. So it looks again before it says so.
    """
    for _ in range(_LOOKS):
        found = everything(session, path)
        if not found or any(entry.bears_name for entry in found):
            return ordered(found)
    return []


def everything(session: Any, path: str) -> list[Entry]:
    """Every object that is or was a secret's, in no order."""
    made = ours(session, path)
    known = {entry.version for entry in made}
    others = [entry for entry in bearers(session, path) if not entry.mark or entry.version not in known]
    for entry in made:
        if entry.mark and entry.mark.over:
            renamed = _found(session, {Attribute.LABEL: older_label(path, entry.version)}, path)
            others += [other for other in renamed if not other.mark]
    return made + others


def ordered(found: list[Entry]) -> list[Entry]:
    """Newest first. A foreign object counts as the newest, unless a version says it was written over it."""
    if len(found) < _SEVERAL:
        return found
    made = {entry.mark.order: entry for entry in found if entry.mark}
    line = [made[order] for order in sorted(made, reverse=True)]
    foreign = {entry.version: entry for entry in found if not entry.mark}
    for version in sorted(foreign):
        entry = foreign[version]
        line.insert(_place(line, entry), entry)
    return line


def heads(line: list[Entry]) -> list[Head]:
    """Ordered versions as the guard sees them."""
    following = [entry.version for entry in line[1:]]
    return [_head(entry, before) for entry, before in zip_longest(line, following)]


def tidy(session: Any, path: str, keep: int) -> None:
    """Let the newest of ours alone bear the name, and destroy the oldest beyond `keep`.

    It judges by what is there, not by who wrote last: any number of processes may do it at once, and one that
    was killed before it leaves it to the next. The newest is never renamed.
    """
    found = history(session, path)
    newest = next((at for at, entry in enumerate(found) if entry.mark), len(found))
    made = found[newest].version if newest < len(found) else ""
    for entry in found[newest + 1 :]:
        if entry.mark:
            made = entry.version
        if entry.bears_name:
            entry.rename(older_label(path, made))
    for entry in found[max(keep, newest + 1) :]:
        entry.destroy()


def scan(session: Any) -> dict[str, list[Entry]]:
    """All data objects of the token by the path of their secret; no value is read."""
    found: dict[str, list[Entry]] = {}
    for entry in _found(session, {}, None):
        if entry.mark or not is_older_label(entry.label):
            found.setdefault(entry.path, []).append(entry)
    return found


def _entry(item: Any, path: str | None) -> Entry:
    """Of this path, or of whichever it says itself."""
    label, mark = _text(item, Attribute.LABEL), Mark.parse(_text(item, Attribute.APPLICATION), path)
    return Entry(item, path or (mark.path if mark else label), label, mark)


def _found(
    session: Any,
    template: dict[Attribute, Any],
    path: str | None,
    entry: Callable[[Any, Any], Entry] = _entry,
) -> list[Entry]:
    found = []
    for item in list(session.get_objects({**_DATA, **template})):
        with suppress(pkcs11.ObjectHandleInvalid):  # another process has just destroyed it
            found.append(entry(item, path))
    return found


def _read(item: Any, path: str) -> Entry:
    """What bears a secret's name, value included: two attributes at once take a token as long as one."""
    with suppress(*_UNREADABLE):
        found = item.get_attributes(_READ)
        if len(found) == len(_READ):
            entry = Entry(item, path, path, Mark.parse(str(found[Attribute.APPLICATION]), path))
            entry.value = _sealed(found.pop(Attribute.VALUE), entry.mark)
            return entry
    return _entry(item, path)


def _sealed(found: bytes, mark: Mark | None) -> SecretValue:
    """Whoever has the token's PIN can write a mark that says text of what is none."""
    text = is_utf8(found) and (mark is None or mark.kind == "text")
    return SecretValue(found, "text" if text else "binary")


def _text(item: Any, attribute: Attribute) -> str:
    """A text; nothing where another program wrote something else."""
    with suppress(*_UNREADABLE):
        return str(item[attribute])
    return ""


def _place(line: list[Entry], foreign: Entry) -> int:
    """Right behind the last version that was written over it, or before all of them."""
    over = [at for at, entry in enumerate(line) if entry.mark and _replaced(entry, foreign)]
    return over[-1] + 1 if over else 0


def _replaced(entry: Entry, foreign: Entry) -> bool:
    assert entry.mark
    renamed = foreign.label == older_label(entry.path, entry.version)
    return renamed or (bool(entry.mark.over) and entry.mark.written_over(foreign.value))


def _head(entry: Entry, following: str | None) -> Head:
    """Without a fence the order is what it is: two such writers may have seen one version, and both wrote.
    Behind a version that was written over a foreign one stands that, under this process's id for it."""
    stamp = entry.head.stamp
    if entry.mark is None or stamp is None or stamp.before is None or (stamp.fence and not entry.mark.over):
        return entry.head
    return Head(entry.version, Stamp(following, stamp.fence, stamp.write_id))
