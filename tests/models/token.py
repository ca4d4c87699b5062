"""A PKCS#11 token's data objects as the models see them, and a session whose token is that model.

Modelled: labels that are not unique and can be changed, values and applications that cannot, creating and
destroying as one call each. A search gives what it finds with its label and application, as of one moment;
what is destroyed meanwhile is gone when it is used. Not modelled: searches that see half of a change, which
`_entries.history` is there for, and SoftHSM's way of storing an object.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import pkcs11
from pkcs11 import Attribute

from strongroom.backend import Settings
from strongroom.names import Key, Name
from strongroom.testing.clock import FakeClock
from strongroom_pkcs11._mark import Mark
from strongroom_pkcs11._versions import Versions
from tests.models.replay import Call, Lost, Port, Refused

NAME = Name("db/password")
PATH = str(NAME)
KEEP = 2
WRITES = frozenset({"create", "rename", "destroy"})


class Object(NamedTuple):
    """One data object."""

    number: int
    label: str
    application: str
    object_id: bytes
    value: bytes

    @property
    def mark(self) -> Mark | None:
        """What it carries of its making."""
        return _parsed(self.application)


class World(NamedTuple):
    """The token, and how many objects it has ever had."""

    objects: tuple[Object, ...] = ()
    made: int = 0

    @property
    def bearing(self) -> list[Object]:
        """What another program may get that asks for the secret."""
        return [found for found in self.objects if found.label == PATH]

    @property
    def ours(self) -> list[Mark]:
        """The marks of all versions, oldest first."""
        return sorted((found.mark for found in self.objects if found.mark), key=lambda mark: mark.order)


@lru_cache(None)
def _parsed(application: str) -> Mark | None:
    return Mark.parse(application, PATH)


def apply(world: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to the token, atomically."""
    objects = world.objects
    if call.name == "search":
        label, object_id = call.args
        found = (one for one in objects if label in (None, one.label) and object_id in (None, one.object_id))
        return world, tuple(found)
    if call.name == "create":
        made = world.made + 1
        return World((*objects, Object(made, *call.args)), made), "ok"
    number, *change = call.args
    if number not in {one.number for one in objects}:
        return world, Refused("gone")
    if call.name == "rename":
        changed = [one._replace(label=change[0]) if one.number == number else one for one in objects]
        return world._replace(objects=tuple(changed)), "ok"
    assert call.name == "destroy"
    return world._replace(objects=tuple(one for one in objects if one.number != number)), "ok"


@dataclass
class Item:
    """An object as a session finds it."""

    port: Port
    found: Object

    def __getitem__(self, attribute: Attribute) -> Any:
        texts = {Attribute.LABEL: self.found.label, Attribute.APPLICATION: self.found.application}
        return self.found.value if attribute == Attribute.VALUE else texts[attribute]

    def __setitem__(self, attribute: Attribute, text: str) -> None:
        assert attribute == Attribute.LABEL
        _asked(self.port, "rename", self.found.number, text)

    def get_attributes(self, attributes: tuple[Attribute, ...]) -> dict[Attribute, Any]:
        return {attribute: self[attribute] for attribute in attributes}

    def destroy(self) -> None:
        _asked(self.port, "destroy", self.found.number)


@dataclass
class Session:
    """What the store does with one."""

    port: Port

    def get_objects(self, template: Mapping[Attribute, Any]) -> Iterator[Item]:
        wanted = template.get(Attribute.LABEL), template.get(Attribute.OBJECT_ID)
        return (Item(self.port, found) for found in _asked(self.port, "search", *wanted))

    def create_object(self, template: Mapping[Attribute, Any]) -> None:
        told = (Attribute.LABEL, Attribute.APPLICATION, Attribute.OBJECT_ID, Attribute.VALUE)
        _asked(self.port, "create", *(template[attribute] for attribute in told))


def _asked(port: Port, name: str, *args: Hashable) -> Any:
    answer = port.call(name, *args)
    if isinstance(answer, Lost):
        raise pkcs11.DeviceError
    if isinstance(answer, Refused):
        raise pkcs11.ObjectHandleInvalid
    return answer


class ModelVersions(Versions):
    """The store's own, of which only the way to a session is another."""

    def __init__(self, port: Port):
        self._settings = Settings(clock=FakeClock(), attempts=1)
        self._place: Callable[[Key], str] = str
        self._keep: Callable[[Key], int] = lambda _: KEEP
        self._origin = "model"
        self._token: Any = SimpleNamespace(session=lambda: _block(Session(port)))


@contextmanager
def _block(session: Session) -> Iterator[Session]:
    yield session
