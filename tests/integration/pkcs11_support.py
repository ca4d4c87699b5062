"""What the tests of the token store share: stores of their own, what others do, and killed writers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pkcs11 import Attribute, ObjectClass

from strongroom.lease import Coordinator
from strongroom.names import Key, Name
from strongroom.registry import open_backend
from strongroom.value import SecretValue
from strongroom_pkcs11 import _entries
from strongroom_pkcs11.module import module_of
from strongroom_pkcs11.objects import TokenStore
from tests.canary import CANARY
from tests.servers.softhsm import TestToken

DB = Name("db/password")


def text(label: object = "") -> SecretValue:
    """A value that must not leak."""
    return SecretValue(f"{CANARY}{label}")


class Place:
    """A prefix of its own on the token, as Strongroom and as plain python-pkcs11 see it."""

    def __init__(self, token: TestToken):
        self.token, self.prefix = token, token.unique("app")
        self._module = module_of(token.settings())

    def open(self, coordinator: Coordinator | None = None, **changes: Any) -> TokenStore:
        """A store, without the layers above it."""
        settings = self.token.settings(**{"timeout": 30.0, "coordinator": coordinator, **changes})
        edge: Any = open_backend(self.token.url(self.prefix), settings)
        assert isinstance(edge.inner, TokenStore)
        return edge.inner

    def label(self, key: Key = DB) -> str:
        """What a secret is called."""
        return f"{self.prefix}/{key}"

    @contextmanager
    def native(self) -> Iterator[Any]:
        """Another program's session, under the module's lock since it shares this process."""
        with self._module.held(30), self.token.native() as session:
            yield session

    def read(self, label: str | None = None) -> list[bytes]:
        """The values of all objects of a label."""
        with self.native() as session:
            return [item[Attribute.VALUE] for item in self._found(session, label or self.label())]

    def write(self, value: bytes, label: str | None = None) -> None:
        """As another program writes: an object more, of this label."""
        template = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: True}
        with self.native() as session:
            session.create_object(
                {**template, Attribute.LABEL: label or self.label(), Attribute.VALUE: value}
            )

    def destroy(self, value: bytes) -> None:
        """As another program destroys: what bears the label and has this value."""
        with self.native() as session:
            for item in self._found(session, self.label()):
                if item[Attribute.VALUE] == value:
                    item.destroy()

    def objects(self) -> list[str]:
        """The labels of all objects below the prefix, sorted."""
        with self.native() as session:
            labels = [item[Attribute.LABEL] for item in list(session.get_objects(_DATA))]
        return sorted(label for label in labels if f"{self.prefix}/" in label)

    @staticmethod
    def _found(session: Any, label: str) -> list[Any]:
        return list(session.get_objects({**_DATA, Attribute.LABEL: label}))


_DATA = {Attribute.CLASS: ObjectClass.DATA}
CHANGES = ((_entries, "create"), (_entries.Entry, "rename"), (_entries.Entry, "destroy"))
"""Every call of ours that changes a token."""


def after(changes: int, act: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Call `act` once so many of our changes to the token are made."""
    left = [changes]

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def then(*args: Any) -> None:
            change(*args)
            left[0] -= 1
            if left[0] == 0:
                act()

        return then

    for owner, name in CHANGES:
        patch.setattr(owner, name, counted(getattr(owner, name)))


def in_child(work: Callable[[], object]) -> int:
    """Run it in a forked process: its exit code, 0 if nothing was raised, negative for a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except Exception as exc:
            os.write(2, f"in a child: {exc!r}, {exc.__cause__!r}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_after(changes: int, work: Callable[[], object]) -> bool:
    """Whether a process that does `work` got so far before ``kill -9`` that it made so many changes."""

    def dies() -> None:
        after(changes, lambda: os.kill(os.getpid(), signal.SIGKILL), pytest.MonkeyPatch())
        work()

    code = in_child(dies)
    assert code in (0, -signal.SIGKILL)
    return code != 0
