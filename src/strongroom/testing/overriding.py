"""``override``: the store of a test in the place of the one that the application opens."""

# ruff: noqa: SLF001  (a handle of a store is made of its parts)

from __future__ import annotations

import copy
import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ContextDecorator
from functools import partial
from typing import Any, Self, TypeVar, cast

from strongroom import config
from strongroom.audit.event import AuditHook, Auditor
from strongroom.backend import Capability
from strongroom.gate import Gate
from strongroom.names import Name
from strongroom.operations import Operations
from strongroom.reads import Accounting
from strongroom.store import SecretStore
from strongroom.watching import Subscriber, Watcher

Function = TypeVar("Function", bound=Callable[..., Any])
_lock = threading.Lock()


class Override(ContextDecorator):
    """What ``override`` gives: a context manager, and a decorator of functions and coroutine functions."""

    def __init__(self, stores: Mapping[str, SecretStore]):
        self._stores = stores
        self._entered: list[config.Override] = []

    def __enter__(self) -> Self:
        opens = {alias: partial(_lent, store, alias) for alias, store in self._stores.items()}
        with _lock:
            self._entered.append(opens)
            config.overrides.append(opens)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with _lock:
            ended = self._entered.pop()
            config.overrides[:] = [other for other in config.overrides if other is not ended]

    def __call__(self, function: Function) -> Function:
        """Make it hold while ``function`` runs; each call is an override of its own."""
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return cast("Function", inside)

    def _recreate_cm(self) -> Self:
        return type(self)(self._stores)


def override(others: Mapping[str, SecretStore] | None = None, /, **stores: SecretStore) -> Override:
    """While inside, ``strongroom.open("prod")`` gives the store of ``override(prod=store)``.

    It is the same store, cache and all, under a handle of its own: closing that leaves yours open, and its
    hooks are those given to ``open`` and yours. Credentials and clock given to ``open`` go unused. No
    configuration is needed, and whatever else is opened is opened for real. ``open()`` gives it too, if it
    stands for the default store or, without a configuration, is the only one.

    It holds for the whole process: every thread and task sees it from the moment it begins, and so does a
    process forked from this one; one that is spawned does not. Overrides nest, the newest counts, and they
    may end in any order. As a decorator it holds while the function runs, or the coroutine function.

    Args:
        others: aliases that are no Python names, and URLs, as ``{"prod-eu": store}``.
        stores: by alias, whether or not a configuration knows it.
    """
    return Override({**(others or {}), **stores})


class _Borrowed:
    """The watcher of another handle, for the subscriptions of this one, which end when it is closed."""

    def __init__(self, watcher: Watcher):
        self._watcher, self.learn, self.next_for = watcher, watcher.learn, watcher.next_for
        self._joined: list[tuple[Subscriber, Callable[[], None]]] = []

    def join(self, name: Name, subscriber: Subscriber) -> Callable[[], None]:
        leave = self._watcher.join(name, subscriber)
        self._joined.append((subscriber, leave))
        return leave

    def close(self) -> None:
        for subscriber, leave in self._joined:
            leave()
            subscriber.end()


def _lent(store: SecretStore, alias: str, hooks: Sequence[AuditHook], require: Capability) -> SecretStore:
    """A second handle, with all that `strongroom.open` would make anew, and the rest the first one's."""
    lent = copy.copy(store)
    backend, clock = store._backend, store._clock
    lent._lent, lent._alias = True, alias
    lent._gate = Gate(backend, store._gate.names, alias)
    lent._gate.need(require, "open", None)
    lent._auditor = Auditor([*hooks, *store._auditor.hooks])
    lent._watcher = cast("Watcher", _Borrowed(store._watcher))
    lent._warm = {} if lent._auditor.hooks else store._warm
    lent._accounting = Accounting(store._reads, lent._auditor.hooks, weakref.WeakMethod(lent._serve))
    lent._operations = Operations(backend, lent._auditor, lent._gate, clock, alias)
    lent._run = lent._operations.run
    return lent
