"""A forked child starts with an empty cache and locks of its own; the parent notices nothing."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable

import pytest

from strongroom.errors import UnavailableError
from strongroom.layers.layer import Layer
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from tests.unit.core_support import DEADLINE, NAME, Gate, Recorder, Running, memory, overwrite, text

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def in_child(check: Callable[[], object]) -> None:
    """Run ``check`` in a forked child; it must return True. A child that hangs is killed by its alarm."""
    child = os.fork()
    if not child:
        code = 2
        try:
            __import__("signal").alarm(int(DEADLINE))
            code = 0 if check() is True else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_child_has_an_empty_cache_and_the_parent_keeps_its_own() -> None:
    """Secrets of the parent are not served by the child: it asks with its own session."""
    backend = memory()
    overwrite(backend.inner, "x")
    store = SecretStore(backend)
    store.get(NAME)

    def check() -> bool:
        return not store.is_warm(NAME) and store.get(NAME).value.matches(text("x")) and store.is_warm(NAME)

    in_child(check)
    assert store.is_warm(NAME)
    store.get(NAME)
    assert backend.calls["get"] == 1


def test_reads_are_counted_where_they_were_made() -> None:
    """The child begins at nothing, with its own entries; the parent still has its own."""
    backend = memory()
    version = overwrite(backend.inner, "x").id
    store = SecretStore(backend)
    for _ in range(3):
        store.get(NAME)

    def check() -> bool:
        for _ in range(5):
            store.get(NAME)
        return store._reads.drain_hits() == [(NAME, version, 4)]

    in_child(check)
    assert store._reads.drain_hits() == [(NAME, version, 2)]


def test_an_outage_of_the_parent_is_not_the_childs() -> None:
    """It has sessions of its own, and asks at once."""
    backend = memory()
    overwrite(backend.inner, "x")
    store = SecretStore(backend)
    backend.unreachable("get", times=1)
    with pytest.raises(UnavailableError):
        store.get(NAME)
    in_child(lambda: store.get(NAME).value.matches(text("x")))
    with pytest.raises(UnavailableError):
        store.get(NAME)
    assert backend.calls["get"] == 1


def test_a_lock_held_by_another_thread_does_not_hang_the_child() -> None:
    """The thread that would release the cache's lock, or the backend's, does not exist there."""
    backend = MemoryBackend()
    overwrite(backend, "x")
    store = SecretStore(backend, hooks=[Recorder()])
    cache = store._reads._cache
    assert cache is not None
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._lock, backend._lock, store._auditor._lock:
            held.set()
            assert release.wait(DEADLINE)

    holder = Running(hold)
    assert held.wait(DEADLINE)
    try:
        in_child(lambda: store.get(NAME).value.matches(text("x")))
    finally:
        release.set()
    holder.result()
    assert store.get(NAME).value.matches(text("x"))


def test_a_read_under_way_in_the_parent_is_not_waited_for_by_the_child() -> None:
    """Its answer will never come there: the child begins its own; the parent's reader gets the parent's."""
    gate = Gate(MemoryBackend())
    overwrite(gate, "x")
    store = SecretStore(gate)
    gate.arm()
    reader = Running(lambda: store.get(NAME).value.matches(text("x")))
    assert gate.asked.wait(DEADLINE)
    in_child(lambda: store.get(NAME).value.matches(text("x")))
    gate.open()
    assert reader.result() is True


class Told(Layer):
    """Counts what a fork tells it."""

    forked = closed = 0

    def after_fork(self) -> None:
        self.forked += 1
        self.inner.after_fork()

    def close(self) -> None:
        self.closed += 1


def test_the_backend_is_told_and_not_closed() -> None:
    """Sessions are dropped, not closed: the parent still speaks on the same sockets."""
    backend = Told(MemoryBackend())
    store = SecretStore(backend)
    in_child(lambda: (backend.forked, backend.closed) == (1, 0))
    assert (backend.forked, backend.closed) == (0, 0)
    store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_backend_that_fails_does_not_leave_the_other_stores_as_they_were() -> None:
    """Every store of the process starts anew, whatever another one's backend does."""

    class Broken(MemoryBackend):
        def after_fork(self) -> None:
            raise OSError("broken")

    stores = [SecretStore(Told(MemoryBackend())) for _ in range(3)]
    broken = SecretStore(Broken())
    more = [SecretStore(Told(MemoryBackend())) for _ in range(3)]

    def check() -> bool:
        return all(store._backend.inner.forked == 1 for store in [*stores, *more])  # type: ignore[attr-defined]

    in_child(check)
    broken.close()


def test_an_outcome_owed_by_the_parent_is_handed_in_by_the_parent() -> None:
    """Once: the child does not record what it did not do."""
    recorder = Recorder()
    store = SecretStore(memory(), hooks=[recorder])
    recorder.fails_after = OSError("disk full")
    store.put(NAME, text("x"))

    def check() -> bool:
        recorder.fails_after = None
        store.describe(NAME)
        return recorder.told() == [("put", None), ("describe", None), ("describe", "ok")]

    in_child(check)
    with pytest.raises(UnavailableError):
        store.get(NAME)


def test_pins_do_not_cross_a_fork() -> None:
    """The child did not write."""
    backend = MemoryBackend()
    backend.eventual = True
    store = SecretStore(backend)
    store.put(NAME, text("x"))
    in_child(lambda: not store._reads._pins._pins)
    assert store._reads._pins._pins
