"""One store, many threads: nothing is lost, nothing is served that a write has ended."""

from __future__ import annotations

import contextlib
import threading
import uuid
from functools import partial

from strongroom.errors import SecretConflictError, SecretNotFoundError
from strongroom.store import SecretStore
from strongroom.testing.conformance_safety import at_once
from tests.scale import scaled
from tests.unit.core_support import COMPANION, NAME, Recorder, Running, memory, text


def test_compare_and_set_counts_right() -> None:
    """Eight threads add one through the cache, each until it wins: no addition is lost."""
    store = SecretStore(memory())
    store.put(NAME, "0")
    rounds = scaled(250)

    def add() -> None:
        for _ in range(rounds):
            while True:
                secret = store.get(NAME)
                with contextlib.suppress(SecretConflictError):
                    store.put(NAME, str(int(secret.value.reveal_text()) + 1), if_version=secret.version)
                    break

    at_once([add] * 8)
    assert store.get(NAME).value.matches(str(8 * rounds))


def test_every_event_has_its_pair() -> None:
    """Under load each intent has one outcome, of the same operation."""
    recorder = Recorder()
    store = SecretStore(memory(), hooks=[recorder])
    store.put(NAME, text("x"))
    at_once([lambda: [store.get(NAME) for _ in range(50)], lambda: store.put(NAME, text("y"))] * 8)
    by_id: dict[str, list[str]] = {}
    for event in recorder.events:
        by_id.setdefault(event.correlation_id, []).append(event.phase)
    assert set(map(tuple, by_id.values())) == {("intent", "outcome")}
    assert len(by_id) == 1 + 8 * 51


def test_a_purged_secret_is_not_seen_after_the_purge() -> None:
    """Readers run while it is purged; whoever begins after the purge returned gets nothing."""
    for _ in range(scaled(200)):
        store = SecretStore(memory())
        store.put(NAME, text("x"))
        purged = threading.Event()
        late: list[object] = []

        def read(
            store: SecretStore = store, purged: threading.Event = purged, late: list[object] = late
        ) -> None:
            for _ in range(50):
                after = purged.is_set()
                with contextlib.suppress(SecretNotFoundError):
                    late += [store.get(NAME)] if after else [store.get(NAME)][:0]

        readers = [Running(read) for _ in range(4)]
        store.purge(NAME)
        purged.set()
        for reader in readers:
            reader.result()
        assert not late
        assert not store.is_warm(NAME)


def test_of_two_stores_in_threads_one_rotation_wins() -> None:
    """Two workers' stores over one companion backend race to hold and promote different rotations."""
    for _ in range(scaled(200)):
        backend = memory(COMPANION)
        stores = [SecretStore(backend, cache=None) for _ in range(2)]
        base = stores[0].put(NAME, text("old")).id
        won = [
            answer
            for answer in at_once([partial(rotate, s, base) for s in stores])
            if isinstance(answer, str)
        ]
        assert won == [stores[0].get(NAME).version]
        assert len(stores[0].versions(NAME)) == 2


def rotate(store: SecretStore, base: str) -> str:
    pending = store.pending(NAME, str(uuid.uuid4()))
    pending.put(text("new"), base_version=base)
    return pending.promote().id
