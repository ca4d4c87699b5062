"""The same suite through ``AsyncSecretStore``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, Self, cast

from strongroom.aio import AsyncPending, AsyncSecretStore
from strongroom.backend import Backend
from strongroom.store import SecretStore

from .conformance import BackendConformance


class AsyncConformance(BackendConformance):
    """Every case of ``BackendConformance``, each call awaited in an event loop of its own."""

    def open(self, backend: Backend, **options: Any) -> SecretStore:
        store = AsyncSecretStore(super().open(backend, **options))
        return cast("SecretStore", _Blocking(store))


class _Blocking:
    """Looks synchronous and awaits behind the scenes, so that one suite serves both stores."""

    def __init__(self, inner: AsyncSecretStore | AsyncPending):
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: _wait(found(*args, **kwargs))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._inner)


def _wait(answer: Any) -> Any:
    if isinstance(answer, AsyncPending):
        return _Blocking(answer)
    if isinstance(answer, AsyncIterator):
        return _drain(answer)
    return asyncio.run(_result(answer)) if inspect.isawaitable(answer) else answer


async def _result(answer: Awaitable[Any]) -> Any:
    return await answer


def _drain(items: AsyncIterator[Any]) -> Iterator[Any]:
    async def collect() -> list[Any]:
        return [item async for item in items]

    yield from asyncio.run(collect())
