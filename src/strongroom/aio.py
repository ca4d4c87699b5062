"""AsyncSecretStore: the same store for asyncio.

A read that the cache can answer is answered without leaving the event loop's thread. Everything else
runs in a worker thread with the caller's context variables. Cancelling a call stops the waiting, not the
work: a write that was begun completes and is audited.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

from .backend import Absent, Capability, Secret, SecretInfo, SecretVersion, Stage
from .cached import given, taken, twin
from .errors import InvalidRequestError, SecretStoreError
from .value import SecretValue, take
from .watching import notify

if TYPE_CHECKING:
    from .cached import Outcome
    from .companion import Stray
    from .layers.reencrypting import Reencrypted
    from .stages import Pending
    from .store import SecretStore
    from .watching import Subscriber

T = TypeVar("T")


async def _in_thread(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a call in a worker thread; once begun it completes, whoever stops waiting."""
    return await asyncio.shield(asyncio.to_thread(call, *args, **kwargs))


async def _within(timeout: float | None, versions: asyncio.Queue[str | None]) -> str | None:  # noqa: ASYNC109
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            return await versions.get()
    return None


@final
class _InLoop:
    """Hands what a subscriber is told to the event loop that it was made in.

    Args:
        told: called with each version.
        ended: called with None when nothing more will come.
    """

    def __init__(self, told: Callable[[str], None], ended: Callable[[None], None] = lambda _: None):
        self._loop = asyncio.get_running_loop()
        self._told, self._done, self._ended = told, ended, False

    def tell(self, version: str) -> None:
        self._hand_over(self._arrived, version)

    def end(self) -> None:
        self._ended = True
        self._hand_over(self._done, None)

    def after_fork(self) -> None:
        pass

    def _arrived(self, version: str) -> None:
        if not self._ended:
            self._told(version)

    def _hand_over(self, call: Callable[..., None], version: str | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(call, version)


@final
class AsyncSecretStore:
    """Wraps a ``SecretStore``; each method means what the store's method of that name means."""

    def __init__(self, store: SecretStore):
        self._store = store
        self._reading: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[Outcome]] = {}

    @property
    def capabilities(self) -> Capability:
        """As ``SecretStore.capabilities``."""
        return self._store.capabilities

    @property
    def origin(self) -> str:
        """As ``SecretStore.origin``."""
        return self._store.origin

    @property
    def alias(self) -> str:
        """As ``SecretStore.alias``."""
        return self._store.alias

    def is_warm(self, name: str) -> bool:
        """As ``SecretStore.is_warm``."""
        return self._store.is_warm(name)

    async def get(self, name: str, *, version: str | None = None, stage: Stage = Stage.CURRENT) -> Secret:
        """As ``SecretStore.get``; a warm read does not leave this thread, cold ones of one name share one."""
        if version is None and stage is Stage.CURRENT:
            store = self._store
            if known := taken(store._warm, name, store._monotonic()) or store._known(name):  # noqa: SLF001
                return known
            if store._reads.caches and not store._auditor:  # noqa: SLF001
                outcome = await asyncio.shield(self._shared(name))
                return given(outcome if isinstance(outcome, Secret) else twin(outcome))
        return await _in_thread(self._store.get, name, version=version, stage=stage)

    def _shared(self, name: str) -> asyncio.Task[Outcome]:
        """The read of a name that is under way in this loop; thousands of waiters take one thread.

        One that was begun before a write of this store has ended may get the old value, and is not joined.
        """
        key = asyncio.get_running_loop(), name, self._store._reads.epoch  # noqa: SLF001
        if key not in self._reading:
            self._reading[key] = asyncio.ensure_future(self._read(name))
            self._reading[key].add_done_callback(lambda _: self._reading.pop(key))
        return self._reading[key]

    async def _read(self, name: str) -> Outcome:
        try:
            return await asyncio.to_thread(self._store.get, name)
        except SecretStoreError as error:
            return error.with_traceback(None)

    async def get_many(self, names: Iterable[str]) -> dict[str, Secret]:
        """As ``SecretStore.get_many``."""
        return await _in_thread(self._store.get_many, list(names))

    async def prefetch(self, names: Iterable[str]) -> None:
        """As ``SecretStore.prefetch``."""
        await _in_thread(self._store.prefetch, list(names))

    async def put(
        self,
        name: str,
        value: str | bytes | Mapping[str, Any] | SecretValue,
        *,
        if_version: str | Absent | None = None,
    ) -> SecretVersion:
        """As ``SecretStore.put``."""
        taken, value = take(value), b""  # this frame would stand in the traceback of whatever fails
        if isinstance(taken, InvalidRequestError):
            taken.name, taken.operation = name, "put"
            raise taken
        return await _in_thread(self._store.put, name, taken, if_version=if_version)

    async def list_names(self, prefix: str = "") -> AsyncIterator[str]:
        """As ``SecretStore.list_names``, one page at a time."""
        context, names = contextvars.copy_context(), self._store.list_names(prefix)
        while (name := await _in_thread(context.run, next, names, None)) is not None:
            yield name

    async def list_info(self, prefix: str = "") -> AsyncIterator[SecretInfo]:
        """As ``SecretStore.list_info``, one page at a time."""
        context, listed = contextvars.copy_context(), self._store.list_info(prefix)
        while (info := await _in_thread(context.run, next, listed, None)) is not None:
            yield info

    async def versions(self, name: str) -> list[SecretVersion]:
        """As ``SecretStore.versions``."""
        return await _in_thread(self._store.versions, name)

    async def describe(self, name: str) -> SecretInfo:
        """As ``SecretStore.describe``."""
        return await _in_thread(self._store.describe, name)

    async def set_tags(self, name: str, tags: Mapping[str, str | None]) -> None:
        """As ``SecretStore.set_tags``."""
        await _in_thread(self._store.set_tags, name, tags)

    async def delete(self, name: str) -> None:
        """As ``SecretStore.delete``."""
        await _in_thread(self._store.delete, name)

    async def restore(self, name: str) -> None:
        """As ``SecretStore.restore``."""
        await _in_thread(self._store.restore, name)

    async def purge(self, name: str) -> None:
        """As ``SecretStore.purge``."""
        await _in_thread(self._store.purge, name)

    async def retire(self, name: str, *, version: str) -> None:
        """As ``SecretStore.retire``."""
        await _in_thread(self._store.retire, name, version=version)

    async def rollback(self, name: str, *, if_version: str) -> SecretVersion:
        """As ``SecretStore.rollback``."""
        return await _in_thread(self._store.rollback, name, if_version=if_version)

    async def reencrypt(self, name: str, *, dry_run: bool = False) -> Reencrypted:
        """As ``SecretStore.reencrypt``."""
        return await _in_thread(self._store.reencrypt, name, dry_run=dry_run)

    async def refresh(self, name: str, *, rejected: str) -> Secret:
        """As ``SecretStore.refresh``."""
        return await _in_thread(self._store.refresh, name, rejected=rejected)

    async def on_change(self, name: str, callback: Callable[[str, str], None]) -> Callable[[], None]:
        """As ``SecretStore.on_change``; the callback runs in this event loop's thread."""
        return await self._begin("on_change", name, _InLoop(partial(notify, callback, name)))

    async def watch(self, name: str, timeout: float | None = None) -> AsyncIterator[str]:  # noqa: ASYNC109
        """As ``SecretStore.watch``, but it begins with the first step; no thread waits for the next."""
        versions = asyncio.Queue[str | None]()
        leave = await self._begin("watch", name, _InLoop(versions.put_nowait, versions.put_nowait))
        try:
            while version := await _within(timeout, versions):
                yield version
        finally:
            leave()

    def hint(self, name: str | None = None) -> None:
        """As ``SecretStore.hint``."""
        self._store.hint(name)

    def pending(self, name: str, rotation_id: str) -> AsyncPending:
        """As ``SecretStore.pending``; no I/O until one of its methods is awaited."""
        return AsyncPending(self._store.pending(name, rotation_id))

    async def _begin(self, operation: str, name: str, subscriber: Subscriber) -> Callable[[], None]:
        leave, learn = self._store._join(operation, name, subscriber)  # noqa: SLF001
        try:
            await _in_thread(learn)
        except BaseException:
            leave()
            raise
        return leave

    async def close(self) -> None:
        """As ``SecretStore.close``."""
        await _in_thread(self._store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


@final
class AsyncPending:
    """As ``Pending``."""

    def __init__(self, pending: Pending):
        self._pending = pending

    @property
    def rotation_id(self) -> str:
        """The UUID in canonical form."""
        return self._pending.rotation_id

    async def read(self, wanted: str | Stage = Stage.CURRENT) -> Secret:
        """As ``Pending.read``."""
        return await _in_thread(self._pending.read, wanted)

    async def claim(self, epoch: int, check: Callable[[], None]) -> None:
        """As ``Pending.claim``; `check` is called in a thread."""
        await _in_thread(self._pending.claim, epoch, check)

    async def put(
        self,
        value: str | bytes | Mapping[str, Any] | SecretValue,
        *,
        base_version: str,
        epoch: int | None = None,
    ) -> SecretVersion:
        """As ``Pending.put``."""
        taken, value = take(value), b""
        if isinstance(taken, InvalidRequestError):
            raise taken
        return await _in_thread(self._pending.put, taken, base_version=base_version, epoch=epoch)

    async def fence(self, *, base_version: str) -> None:
        """As ``Pending.fence``."""
        await _in_thread(self._pending.fence, base_version=base_version)

    async def get(self) -> Secret:
        """As ``Pending.get``."""
        return await _in_thread(self._pending.get)

    async def promote(self) -> SecretVersion:
        """As ``Pending.promote``."""
        return await _in_thread(self._pending.promote)

    async def stray(self) -> Stray | None:
        """As ``Pending.stray``."""
        return await _in_thread(self._pending.stray)

    async def clean(self) -> bool:
        """As ``Pending.clean``."""
        return await _in_thread(self._pending.clean)

    async def discard(self) -> None:
        """As ``Pending.discard``."""
        await _in_thread(self._pending.discard)
