"""Areas of the conformance suite: what may leak, who may race, and what is left when a store closes."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from strongroom.backend import ABSENT, Backend, Capability
from strongroom.errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.edge import edge

from .conformance_base import Harness, Plant, needs
from .faults import FaultyBackend
from .leaks import leaks_in, leaks_of

if TYPE_CHECKING:
    from strongroom.store import SecretStore

T = TypeVar("T")


class Redaction(Harness):
    """No value shows in anything but `reveal`: not in text, logs, errors, or the frames of errors."""

    def test_nothing_that_is_returned_shows_it(
        self, store: SecretStore, plant: Plant, backend: Backend
    ) -> None:
        """repr, str and format of secrets, values, stores and backends hold no value."""
        plant(self.name(), self.text("hidden"))
        secret = store.get(self.name())
        shown: list[object] = [secret, secret.value, store, backend, store.get_many([self.name()])]
        for thing in shown:
            texts = (repr(thing), str(thing), f"{thing}", f"{thing!s:>5}")
            assert not [text for text in texts if leaks_in(text, self.marker)]
        with pytest.raises(TypeError):
            pickle.dumps(secret)

    @needs(Capability.PUT)
    def test_no_log_shows_it(self, store: SecretStore, caplog: pytest.LogCaptureFixture) -> None:
        """Not at DEBUG of any logger, our own or the SDK's, when things go well and when they do not."""
        with caplog.at_level(0):
            for _ in self._errors(store):
                pass
            store.put(self.name("good"), self.text("hidden"))
            store.get(self.name("good"))
            store.put(self.name("good"), self.text("hidden").encode() + b"\xff")
            store.get(self.name("good"))
        assert not [record.name for record in caplog.records if leaks_in(self._shown(record), self.marker)]

    @needs(Capability.PUT)
    def test_no_error_shows_it(self, store: SecretStore, faulty: FaultyBackend) -> None:
        """Messages, arguments, attributes, causes and the locals of our frames hold no value."""
        found = list(self._errors(store))
        assert found
        for operation in ("get", "put"):
            faulty.timeout(operation, after=True)
            with pytest.raises(UnavailableError) as caught:
                self._read_and_write(store)
            found.append(caught.value)
            faulty.clear()
        for error in found:
            assert leaks_of(error, self.marker, type(self).__module__) == []

    def _errors(self, store: SecretStore) -> Iterator[SecretStoreError]:
        """Errors of every kind, made with values at hand."""
        attempts: list[Callable[[], object]] = [
            lambda: store.put("Illegal Name", self.text("hidden")),
            lambda: store.put(self.name(), {"json": self.text("hidden"), "cannot": object()}),
            lambda: store.put(self.name(), self.text("hidden") + "\ud800"),
            lambda: store.put(self.name(), 12345),  # type: ignore[arg-type]
            lambda: store.put(self.name(), self.text("hidden" * 600_000)),
        ]
        if Capability.CAS in store.capabilities:
            attempts.append(lambda: store.put(self.name(), self.text("hidden"), if_version="none"))
        if Capability.CREATE_ONLY in store.capabilities:
            attempts += [lambda: store.put(self.name("x"), self.text("hidden"), if_version=ABSENT)] * 2
        for attempt in attempts:
            try:
                attempt()
            except SecretStoreError as error:
                yield error

    def _read_and_write(self, store: SecretStore) -> None:
        store.put(self.name(), self.text("hidden"))
        store.get(self.name())

    @staticmethod
    def _shown(record: Any) -> str:
        return f"{record.getMessage()} {vars(record)!r}"


class Concurrency(Harness):
    """Any number of threads may use a store, and races have one winner."""

    @needs(Capability.PUT, cas=True)
    def test_of_two_racing_writers_one_wins(self, store: SecretStore, faulty: FaultyBackend) -> None:
        """Both saw the same version: exactly one `if_version` succeeds, the other is a conflict."""
        other = self.open(faulty)
        seen = store.put(self.name(), self.text("start")).id
        for number in range(self.count(500)):
            labels = [f"{number}a", f"{number}b"]
            writes = [
                partial(writer.put, self.name(), self.text(label), if_version=seen)
                for writer, label in zip((store, other), labels, strict=True)
            ]
            answers = at_once(writes)
            won = [n for n, answer in enumerate(answers) if not isinstance(answer, Exception)]
            assert [type(a) for a in answers if isinstance(a, Exception)] == [SecretConflictError]
            secret = store.get(self.name())
            assert (secret.version, secret.value) == (answers[won[0]].id, self.value(labels[won[0]]))
            seen = secret.version

    @needs(Capability.PUT, Capability.CREATE_ONLY)
    def test_of_eight_racing_creators_one_wins(self, store: SecretStore) -> None:
        """ABSENT lets exactly one in."""
        for number in range(self.count(50)):
            name = self.name(f"n{number}")
            answers = at_once(
                [partial(store.put, name, self.text(f"w{n}"), if_version=ABSENT) for n in range(8)]
            )
            won = [n for n, answer in enumerate(answers) if not isinstance(answer, Exception)]
            assert len(won) == 1
            assert {type(a) for a in answers if isinstance(a, Exception)} == {SecretConflictError}
            assert store.get(name).value == self.value(f"w{won[0]}")

    @needs(Capability.PUT, pending=True)
    def test_of_eight_racing_rotations_one_holds(self, store: SecretStore) -> None:
        """One pending value is held, the other seven rotations get a conflict, and the held one promotes."""
        for number in range(self.count(50)):
            name = self.name(f"n{number}")
            base = store.put(name, self.text("old")).id
            rotations = [store.pending(name, self.rotation()) for _ in range(8)]
            answers = at_once(
                [partial(r.put, self.text(f"r{n}"), base_version=base) for n, r in enumerate(rotations)]
            )
            held = [n for n, answer in enumerate(answers) if not isinstance(answer, Exception)]
            assert len(held) == 1
            assert {type(a) for a in answers if isinstance(a, Exception)} == {SecretConflictError}
            rotations[held[0]].promote()
            assert store.get(name).value == self.value(f"r{held[0]}")

    @needs(Capability.PUT, pending=True)
    def test_a_promote_by_many_workers_is_one(self, store: SecretStore) -> None:
        """Workers that promote the same rotation at once all get the same version, and it is written once."""
        for number in range(self.count(50)):
            name, rotation = self.name(f"n{number}"), self.rotation()
            base = store.put(name, self.text("old")).id
            store.pending(name, rotation).put(self.text("new"), base_version=base)
            promotes = [store.pending(name, rotation).promote for _ in range(4)]
            answers = [answer for answer in at_once(promotes) if not isinstance(answer, UnavailableError)]
            assert {getattr(answer, "id", repr(answer)) for answer in answers} == {store.get(name).version}
            assert store.get(name).value == self.value("new")

    @needs(Capability.PUT)
    def test_writers_do_not_lose_each_others_names(self, store: SecretStore) -> None:
        """Eight threads write eight names; all are there."""
        names = [self.name(f"n{number}") for number in range(8)]
        at_once([partial(store.put, name, self.text(name)) for name in names])
        found = store.get_many(names)
        assert {name: secret.value for name, secret in found.items()} == {n: self.value(n) for n in names}

    def test_many_threads_read_one_store(self, store: SecretStore, plant: Plant) -> None:
        """64 threads read at once, and each gets the value."""
        plant(self.name(), self.text("shared"))
        answers = at_once([lambda: store.get(self.name())] * 64)
        assert [a for a in answers if isinstance(a, Exception)] == []
        assert all(secret.value == self.value("shared") for secret in answers)

    @needs(Capability.PUT)
    def test_many_threads_do_everything(self, store: SecretStore) -> None:
        """64 threads mix operations on four names: only conflicts and missing names come of it."""
        names = [self.name(f"n{number}") for number in range(4)]
        answers = at_once([partial(self._mixed, store, names[n % 4], n) for n in range(64)])
        expected = (SecretConflictError, SecretNotFoundError)
        assert [a for a in answers if isinstance(a, Exception) and not isinstance(a, expected)] == []

    def _mixed(self, store: SecretStore, name: str, number: int) -> None:
        flags = store.capabilities
        if number % 3 == 0:
            store.put(name, self.text(f"w{number}"))
        elif number % 3 == 1:
            assert not leaks_in(repr(store.get(name)), self.marker)
        elif Capability.DELETE in flags and number % 4 == 3:
            store.delete(name)
        elif Capability.VERSIONS in flags:
            store.versions(name)


class Lifecycle(Harness):
    """A store is opened, closed, closed again, and does not come back."""

    def test_closing_twice_is_harmless(self, disposable: Backend) -> None:
        """`close` may be repeated, by the store and by whoever holds the backend."""
        store = self.open(disposable)
        for _ in range(2):
            store.close()
        disposable.close()

    def test_a_closed_store_refuses(self, disposable: Backend) -> None:
        """Every use after `close` is InvalidRequestError and sends nothing."""
        faulty = FaultyBackend(edge(disposable))
        store = self.open(faulty)
        store.close()
        calls: Sequence[Callable[[], object]] = (
            lambda: store.get(self.name()),
            lambda: store.put(self.name(), self.text("late")),
            lambda: list(store.list_names()),
            lambda: store.pending(self.name(), self.rotation()).get(),
        )
        for call in calls:
            with pytest.raises(InvalidRequestError):
                call()
        assert not faulty.calls

    def test_a_closed_backend_fails_with_an_error_of_ours(self, disposable: Backend) -> None:
        """Who still uses a closed backend gets a typed error or an answer, never the SDK's exception."""
        disposable.close()
        with contextlib.suppress(SecretStoreError):
            self.open(disposable).get(self.name())

    def test_a_block_closes(self, disposable: Backend) -> None:
        """`with` closes the store, after an exception too."""
        with contextlib.suppress(KeyError), self.open(disposable) as store:
            raise KeyError
        with pytest.raises(InvalidRequestError):
            store.get(self.name())

    def test_a_forked_child_reads(self, store: SecretStore, plant: Plant) -> None:
        """After a fork the child makes its own connections; the parent's go on working."""
        plant(self.name(), self.text("forked"))
        store.get(self.name())
        child = os.fork()
        if not child:
            os._exit(self._read_in_child(store))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.get(self.name()).value == self.value("forked")

    def _read_in_child(self, store: SecretStore) -> int:
        try:
            return 0 if store.get(self.name()).value == self.value("forked") else 1
        except BaseException:  # noqa: BLE001  (the child must never return into the test run)
            return 2


def at_once(calls: Sequence[Callable[[], T]]) -> list[T | Any]:
    """Run all calls in threads that start together; each answer, or the SecretStoreError in its place."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | SecretStoreError:
        barrier.wait(30)
        try:
            return call()
        except SecretStoreError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
