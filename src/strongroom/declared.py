"""What a dataclass asks of stores: its fields, the secrets that fill them, and what is declared wrongly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import KW_ONLY, MISSING, Field, dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from .value import SecretValue

JSON_TYPES = (str, int, float, bool)
_PLAIN = (*JSON_TYPES, bytes)


@dataclass(frozen=True, slots=True)
class Ref:
    """Marks a field, as ``Annotated[SecretValue, Ref("db/password")]``, and says which secret fills it.

    Attributes:
        name: the secret's name.
        store: alias of the store that holds it; empty for the one that is loaded from.
        pointer: an RFC 6901 pointer to a part of a JSON value; empty for the whole.
        reveal: the field is a plain value, or holds some; without, only a SecretValue is filled.
    """

    name: str
    _: KW_ONLY
    store: str = ""
    pointer: str = ""
    reveal: bool = False

    def __str__(self) -> str:
        """Such as ``prod/db/login#/user``."""
        where = f"{self.store}/{self.name}" if self.store else self.name
        return f"{where}#{self.pointer}" if self.pointer else where


class Leaf(NamedTuple):
    """A field that one secret fills.

    Attributes:
        path: such as ``db.password``.
        ref: the secret.
        kind: the field's type, without the None of an optional one.
        optional: whether it may be None.
        field: what the dataclass says of it.
    """

    path: str
    ref: Ref
    kind: Any
    optional: bool
    field: Field[Any]


class Group(NamedTuple):
    """A dataclass, and those of its fields that are filled."""

    cls: type
    path: str
    members: dict[str, Leaf | Group]


class Declaration:
    """Reads a dataclass; what is wrong with it is collected in ``problems``."""

    def __init__(self, cls: type):
        self.problems: list[str] = []
        self.leaves: list[Leaf] = []
        self.root = self._group(cls, "", ())

    def _group(self, cls: type, path: str, above: tuple[type, ...]) -> Group:
        fields = self._fields(cls, path, above)
        members = {field.name: self._member(at, hint, field, cls, above) for at, hint, field in fields}
        return Group(cls, path, {name: member for name, member in members.items() if member})

    def _member(
        self, at: str, hint: Any, field: Field[Any], cls: type, above: tuple[type, ...]
    ) -> Leaf | Group | None:
        kind, refs, optional = parts(hint)
        if refs:
            if len(refs) > 1:
                self.problems.append(f"{at} has {len(refs)} references")
            self._check(at, kind, field, cls, refs[0], (*above, cls))
            self.leaves.append(Leaf(at, refs[0], kind, optional, field))
            return self.leaves[-1]
        if _holds_refs(kind):
            if optional:
                self.problems.append(f"{at} groups secrets, so it cannot be optional")
            return self._group(kind, f"{at}.", (*above, cls))
        if not has_default(field):
            self.problems.append(f"{at} needs a Ref or a default")
        return None

    def _fields(self, cls: type, path: str, above: tuple[type, ...]) -> Iterator[tuple[str, Any, Field[Any]]]:
        hints = _hints(cls)
        if isinstance(hints, str) or cls in above:
            self.problems.append(
                hints if isinstance(hints, str) else f"{path[:-1]}: {cls.__name__} holds itself"
            )
            return
        for field in dataclasses.fields(cls):
            if field.init:
                yield f"{path}{field.name}", hints[field.name], field

    def _check(
        self, at: str, kind: Any, field: Field[Any], cls: Any, ref: Ref, above: tuple[type, ...]
    ) -> None:
        if is_dataclass(kind):
            self._check_members(at, kind, ref, above)
        elif kind is not SecretValue and kind not in _PLAIN:
            self.problems.append(f"{at} is {name_of(kind)}, which no secret fills: use SecretValue")
        elif kind is bytes and ref.pointer:
            self.problems.append(f"{at} is bytes, which JSON does not have: use SecretValue or str")
        elif kind in _PLAIN and not ref.reveal:
            self.problems.append(f"{at} is {name_of(kind)}: use SecretValue, or say reveal=True")
        elif kind in _PLAIN and field.repr and cls.__dataclass_params__.repr:
            self.problems.append(f"{at} would be shown by repr: say field(repr=False)")

    def _check_members(self, at: str, kind: type, ref: Ref, above: tuple[type, ...]) -> None:
        """The fields of a dataclass that a JSON object fills."""
        inside = dataclasses.replace(ref, pointer="/")
        for path, hint, field in self._fields(kind, f"{at}.", above):
            member, refs, _ = parts(hint)
            if refs:
                self.problems.append(f"{path} is filled by {at}, and has a reference of its own")
            self._check(path, member, field, kind, inside, (*above, kind))


def parts(hint: Any) -> tuple[Any, list[Ref], bool]:
    """The type of a field, its references, and whether it may be None."""
    refs: list[Ref] = []
    optional = False
    while True:
        args = get_args(hint)
        if get_origin(hint) is Annotated:
            refs += [mark for mark in args[1:] if isinstance(mark, Ref)]
            hint = args[0]
        elif get_origin(hint) in (Union, UnionType) and len(args) == 2 and NoneType in args:
            optional = True
            hint = args[0] if args[1] is NoneType else args[1]
        else:
            return hint, refs, optional


def has_default(field: Field[Any]) -> bool:
    """Whether the field may be left out."""
    return field.default is not MISSING or field.default_factory is not MISSING


def is_dataclass(kind: Any) -> bool:
    """Whether this is a dataclass, and not an object of one."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def name_of(kind: Any) -> str:
    """A type, as a person writes it."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _hints(cls: Any) -> dict[str, Any] | str:
    if not is_dataclass(cls):
        return f"{name_of(cls)} is not a dataclass"
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError as exc:
        return f"{cls.__name__}: the type {exc.name} is not known where the class is defined"


def _holds_refs(kind: Any, above: tuple[Any, ...] = ()) -> bool:
    hints = _hints(kind) if is_dataclass(kind) and kind not in above else ""
    if isinstance(hints, str):
        return False
    found = [parts(hint) for hint in hints.values()]
    return any(refs or _holds_refs(inner, (*above, kind)) for inner, refs, _ in found)
