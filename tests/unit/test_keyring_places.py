"""Where keyrings are kept: files and stores, lost answers, lagging labels, and who may write."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from strongroom.backend import ANY_CAS, Capability, Stage
from strongroom.envelope import keyring_file
from strongroom.envelope.keyring import FilePlace, Keyring, KeyringPlace, StorePlace
from strongroom.envelope.keyring_places import Held
from strongroom.envelope.keyring_store import SETTLES, StoreWrapCounter
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.localkey import MAX_WRAPS, WRAP_BLOCK
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name, Reserved
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_key_base import error_of
from strongroom.testing.conformance_safety import at_once
from strongroom.testing.faults import FaultyBackend, Killed, kill
from strongroom.value import SecretValue
from tests.scale import scaled
from tests.unit.core_support import memory
from tests.unit.keyring_support import MESSAGE, NAME, Root, opens, round_trips, sealed
from tests.unit.local_support import encrypted, local

KEY = "keyring-0123456789abcdef/0123456789abcdef"
COUNTER = Reserved("keyring-wraps", Name(KEY))


def _file(folder: Path) -> KeyringPlace:
    return FilePlace(folder / "main.keyring")


def _memory(folder: Path) -> KeyringPlace:
    return StorePlace(MemoryBackend(), NAME)


def _local(folder: Path) -> KeyringPlace:
    return StorePlace(encrypted(local(folder)), NAME)


def _raw_local(folder: Path) -> KeyringPlace:
    return StorePlace(local(folder), NAME)


@pytest.fixture(params=[_file, _memory, _local, _raw_local])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> KeyringPlace:
    made: Callable[[Path], KeyringPlace] = request.param
    return made(tmp_path)


def test_nothing_is_found_before_it_is_written(place: KeyringPlace) -> None:
    """And it cannot be replaced either."""
    with pytest.raises(SecretNotFoundError):
        place.read()
    with pytest.raises((SecretNotFoundError, SecretConflictError)):
        place.write(b"message", Held(b"before", "no-such-version"))


def test_what_is_written_is_read(place: KeyringPlace) -> None:
    """Bytes of any value."""
    message = bytes(range(256)) * 16
    place.write(message, None)
    assert place.read().message == message


def test_a_write_over_something_else_is_a_conflict(place: KeyringPlace) -> None:
    """Whatever came between reading and writing stays."""
    place.write(b"one", None)
    held = place.read()
    with pytest.raises(SecretConflictError):
        place.write(b"again", None)
    place.write(b"two", held)
    for over in (held, None):
        with pytest.raises(SecretConflictError):
            place.write(b"three", over)
    assert place.read().message == b"two"


def test_of_eight_threads_one_writes(place: KeyringPlace) -> None:
    """Over the same message."""
    place.write(b"0", None)
    for number in range(scaled(30)):
        held = place.read()
        results = at_once([partial(_tried, place, b"%d-%d" % (number, thread), held) for thread in range(8)])
        assert sorted(map(bool, results)) == [False] * 7 + [True]
        assert place.read().message == next(filter(None, results))


def _tried(place: KeyringPlace, message: bytes, held: Held) -> bytes:
    try:
        place.write(message, held)
    except SecretConflictError:
        return b""
    return message


def test_a_counter_gives_no_number_twice(place: KeyringPlace) -> None:
    """Four threads, each through a counter of its own."""
    place.create_counter(KEY)
    rounds = scaled(20)

    def reserve() -> list[int]:
        return [place.counter(KEY).reserve(WRAP_BLOCK) for _ in range(rounds)]

    starts = sorted(start for found in at_once([reserve] * 4) for start in found)
    assert starts == [number * WRAP_BLOCK for number in range(4 * rounds)]


def test_a_counter_that_is_missing_is_not_made_anew(place: KeyringPlace) -> None:
    """IntegrityError, each time."""
    for _ in range(2):
        with pytest.raises(IntegrityError, match="missing"):
            place.counter(KEY).reserve(WRAP_BLOCK)


def test_two_keyrings_of_one_place_rotate_at_once(place: KeyringPlace) -> None:
    """Eight threads with a keyring each: every version is there, in every one of them."""
    root, clock = Root(), FakeClock()
    keyring = Keyring.create(place, [root], name=NAME, clock=clock)
    others = [Keyring.open(place, [root], name=NAME, clock=clock) for _ in range(8)]
    rotated = at_once([other.rotate for other in others])
    names = {version.name for version in Keyring.open(place, [root], name=NAME).versions}
    assert names == {*rotated, keyring.versions[0].name}
    assert all(round_trips(writer, reader) for writer in others for reader in (keyring, others[0]))


def test_one_keyring_rotated_by_eight_threads_loses_nothing(place: KeyringPlace) -> None:
    """While others wrap and unwrap."""
    keyring = Keyring.create(place, [Root()], name=NAME)
    messages: list[bytes] = []

    def use() -> str:
        messages.append(sealed(keys=[keyring]))
        return keyring.rotate() if round_trips(keyring) else ""

    rotated = at_once([use] * 8)
    assert {version.name for version in keyring.versions} > set(rotated)
    assert not [error for error in rotated if isinstance(error, Exception)]
    assert len(keyring.versions) == 9
    assert all(round_trips(keyring) for _ in messages)


def test_rotating_and_rewrapping_at_once_lose_neither(place: KeyringPlace) -> None:
    """The version is there, and so is the new root."""
    old, new = Root("old"), Root("new")
    Keyring.create(place, [old], name=NAME)
    keyrings = [Keyring.open(place, [old, new], name=NAME) for _ in range(6)]
    results = at_once([(one.rotate if at % 2 else one.rewrap) for at, one in enumerate(keyrings)])
    alone = Keyring.open(place, [new], name=NAME)
    assert {version.name for version in alone.versions} > {name for name in results if isinstance(name, str)}
    assert len(alone.versions) == 4
    assert alone.generation == 7


def test_a_store_without_compare_and_set_is_refused() -> None:
    """Of two rotations at once it would lose one; guarded is enough."""
    for missing in (Capability.CAS, Capability.CREATE_ONLY, Capability.PUT):
        with pytest.raises(UnsupportedOperationError, match="compare-and-set"):
            StorePlace(MemoryBackend(ALL & ~missing), NAME)
    StorePlace(MemoryBackend((ALL & ~ANY_CAS) | Capability.CAS_GUARDED), NAME)


def test_a_name_that_is_not_portable_is_refused() -> None:
    """It is a key in a store."""
    with pytest.raises(InvalidRequestError):
        StorePlace(MemoryBackend(), "../main")


@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("write", [0, 1], ids=["the counter", "the message"])
def test_a_creation_whose_answer_was_lost_is_read_back(after: bool, write: int) -> None:
    """It succeeded, or it can be repeated."""
    backend = memory()
    place = StorePlace(backend, NAME)
    backend.timeout("put", after=after, skip=write)
    if after:
        assert round_trips(Keyring.create(place, [Root()], name=NAME))
    else:
        with pytest.raises(UnavailableError):
            Keyring.create(place, [Root()], name=NAME)
        assert round_trips(Keyring.create(place, [Root()], name=NAME))
    assert round_trips(Keyring.open(place, [Root()], name=NAME))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", [0, 1], ids=["the counter", "the message"])
@pytest.mark.parametrize("change", ["create", "rotate", "rewrap", "wrap"])
def test_a_process_that_dies_at_a_write_leaves_a_whole_keyring(change: str, write: int, after: bool) -> None:
    """Or none, where it was being made; whatever its primary is, that has its counter."""
    backend, root = memory(), Root()
    place = StorePlace(backend, NAME)
    message = b""
    if change != "create":
        keyring = Keyring.create(place, [root], name=NAME)
        message = sealed(keys=[keyring])
    backend.fault("put", kill, after=after, skip=write)
    try:
        _changed(place, root, change)
    except Killed:
        pass
    else:
        assert write == 1
        assert change in ("rewrap", "wrap")
    backend.clear()
    survivor = Keyring.open(place, [root], name=NAME) if message else _found_or_made(place, root)
    assert round_trips(survivor)
    assert not message or opens(survivor, message)
    assert survivor.rotate() == survivor.versions[-1].name


def _changed(place: KeyringPlace, root: Root, change: str) -> None:
    if change == "create":
        Keyring.create(place, [root], name=NAME)
    elif change == "wrap":
        sealed(keys=[Keyring.open(place, [root], name=NAME)])
    else:
        getattr(Keyring.open(place, [root], name=NAME), change)()


def _found_or_made(place: KeyringPlace, root: Root) -> Keyring:
    try:
        return Keyring.open(place, [root], name=NAME)
    except SecretNotFoundError:
        return Keyring.create(place, [root], name=NAME)


@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("change", ["rotate", "rewrap"])
def test_a_change_whose_answer_was_lost_is_read_back(after: bool, change: str) -> None:
    """It succeeded and is told so, or it is not known and the keyring is as it was; it can be repeated."""
    backend = memory()
    keyring = Keyring.create(StorePlace(backend, NAME), [Root()], name=NAME)
    backend.timeout("put", after=after, skip=1 if change == "rotate" else 0)
    if not after:
        with pytest.raises(UnavailableError) as caught:
            getattr(keyring, change)()
        assert caught.value.performed is None
        assert keyring.generation == 1
    getattr(keyring, change)()
    assert (keyring.generation, len(keyring.versions)) == (2, 2 if change == "rotate" else 1)
    assert round_trips(keyring, Keyring.open(StorePlace(backend, NAME), [Root()], name=NAME))


def test_a_rotation_that_was_lost_and_built_upon_happened_once() -> None:
    """The answer is lost, and another process rotates before it is read back."""
    backend = _Overtaken(MemoryBackend())
    root = Root()
    keyring = Keyring.create(StorePlace(backend, NAME), [root], name=NAME)
    other = Keyring.open(StorePlace(backend.inner, NAME), [root], name=NAME)
    backend.then = other.rotate
    name = keyring.rotate()
    assert [version.name for version in keyring.versions].count(name) == 1
    assert len(keyring.versions) == 3
    assert not keyring.versions[1].primary
    assert round_trips(keyring, other)


def test_a_store_whose_labels_lag_may_answer_with_the_keyring_before() -> None:
    """For ten seconds that is no rollback: reading keeps the newer, a change waits; then it is one."""
    backend, clock, root = memory(), FakeClock(), Root()
    backend.inner.eventual = True
    place = StorePlace(backend, NAME, clock=clock)
    keyring = Keyring.create(place, [root], name=NAME, clock=clock)
    older = backend.inner.get(MESSAGE, Stage.CURRENT)
    keyring.rotate()
    newer = backend.inner.get(MESSAGE, Stage.CURRENT)
    backend.inner.put(MESSAGE, older.value, None)
    for attempt in (keyring.rotate, partial(Keyring.open, place, [root], name=NAME, clock=clock)):
        clock.slept.clear()
        with pytest.raises(IntegrityError, match="older keyring"):
            attempt()
        assert sum(clock.slept) <= SETTLES + 1
    backend.inner.put(MESSAGE, newer.value, None)
    assert keyring.rotate()


def test_a_stale_answer_right_after_a_rotation_is_no_rollback() -> None:
    """A process that was told of the new version, and reads the old message once more."""
    backend, clock, root = memory(), FakeClock(), Root()
    backend.inner.eventual = True
    place = StorePlace(backend, NAME, clock=clock)
    keyring = Keyring.create(place, [root], name=NAME, clock=clock)
    keyring.rotate()
    for _ in range(3):
        backend.stale("get", times=2)
        keyring.rotate()
        backend.clear()
    backend.stale("get")
    assert round_trips(Keyring.open(place, [root], name=NAME, clock=clock), keyring)
    assert len(keyring.versions) == 5


def test_a_keyring_too_large_for_its_store_is_refused_before_it_is_written() -> None:
    """Parameter Store takes 4 KB: the keyring that is there stays, and says where it could go."""
    backend = _Small()
    keyring = Keyring.create(StorePlace(backend, NAME), [Root()], name=NAME)
    while len(keyring.versions) < 15:
        keyring.rotate()
    results = [error_of(keyring.rotate) for _ in range(25)]
    assert "takes 4" in str(results[-1])
    assert len(keyring.versions) < 40
    assert round_trips(keyring, Keyring.open(StorePlace(backend, NAME), [Root()], name=NAME))


def test_a_spent_counter_stays_as_it_is() -> None:
    """It answers with where it stands, and is written no more."""
    backend = MemoryBackend()
    StoreWrapCounter(backend, KEY, FakeClock()).create()
    found = backend.get(COUNTER, Stage.CURRENT)
    backend.put(COUNTER, SecretValue(str(MAX_WRAPS)), found.version)
    assert StoreWrapCounter(backend, KEY, FakeClock()).reserve(WRAP_BLOCK) == MAX_WRAPS
    assert backend.get(COUNTER, Stage.CURRENT).value == SecretValue(str(MAX_WRAPS))


@pytest.mark.parametrize("damage", ["", "-1", "x", "9" * 40, "²"])
def test_a_damaged_counter_gives_no_numbers(damage: str) -> None:
    """IntegrityError, and it is not repaired by guessing."""
    backend = MemoryBackend()
    backend.put(COUNTER, SecretValue(damage), None)
    with pytest.raises(IntegrityError, match="damaged"):
        StoreWrapCounter(backend, KEY, FakeClock()).reserve(WRAP_BLOCK)


def test_a_counter_that_others_take_each_time_is_unavailable() -> None:
    """After a few tries, with pauses."""
    backend, clock = _Contended(), FakeClock()
    StoreWrapCounter(backend, KEY, clock).create()
    backend.contended = True
    with pytest.raises(UnavailableError, match="taken by others"):
        StoreWrapCounter(backend, KEY, clock).reserve(WRAP_BLOCK)
    assert len(clock.slept) > 5


def test_a_counter_is_not_counted_down_by_being_made_twice() -> None:
    """A name that is in use is a conflict."""
    backend = MemoryBackend()
    counter = StoreWrapCounter(backend, KEY, FakeClock())
    counter.create()
    counter.reserve(WRAP_BLOCK)
    with pytest.raises(SecretConflictError):
        counter.create()
    assert counter.reserve(WRAP_BLOCK) == WRAP_BLOCK


def test_a_keyring_file_is_its_owners(tmp_path: Path) -> None:
    """0600; one that others may write is refused, one that they may read is not: it is encrypted."""
    place = FilePlace(tmp_path / "k")
    keyring = Keyring.create(place, [Root()], name=NAME)
    assert place.path.stat().st_mode & 0o777 == 0o600
    place.path.chmod(0o640)
    keyring.rotate()
    assert place.path.stat().st_mode & 0o777 == 0o640
    place.path.chmod(0o620)
    with pytest.raises(InvalidRequestError, match="chmod 600"):
        keyring.rotate()


def test_another_users_keyring_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But root's may be read."""
    place = FilePlace(tmp_path / "k")
    place.write(b"message", None)
    monkeypatch.setattr(os, "geteuid", lambda: place.path.stat().st_uid + 1)
    if place.path.stat().st_uid:
        with pytest.raises(PermissionDeniedError, match="another user"):
            place.read()
    else:
        assert place.read().message == b"message"
        os.chown(place.path, 12345, -1)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        with pytest.raises(PermissionDeniedError, match="another user"):
            place.read()


def test_a_keyring_without_a_folder_or_that_is_none_says_so(tmp_path: Path) -> None:
    """One line each."""
    with pytest.raises(InvalidRequestError, match="no folder"):
        Keyring.create(FilePlace(tmp_path / "no" / "k"), [Root()], name=NAME)
    with pytest.raises(IntegrityError, match="no keyring"):
        FilePlace(tmp_path).read()
    large = tmp_path / "large"
    large.write_bytes(bytes(keyring_file.MAX_LENGTH + 1))
    large.chmod(0o600)
    with pytest.raises(IntegrityError, match="no keyring"):
        FilePlace(large).read()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(IntegrityError, match="no keyring"):
        FilePlace(fifo).read()


def test_a_full_disk_leaves_the_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unavailable, not performed, and nothing half written."""
    place = FilePlace(tmp_path / "k")
    keyring = Keyring.create(place, [Root()], name=NAME)
    before = place.read()
    monkeypatch.setattr(os, "fsync", _failing(errno.ENOSPC))
    for change in (keyring.rewrap, keyring.rotate):
        with pytest.raises(UnavailableError, match="No space left") as caught:
            change()
        assert caught.value.performed is False
    monkeypatch.undo()
    assert place.read() == before
    assert not list(tmp_path.glob(".*"))
    assert keyring.rotate()


def test_a_name_that_is_not_durable_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is there, but a power cut could bring the old one back: an error, and it was performed."""
    place = FilePlace(tmp_path / "k")
    keyring = Keyring.create(place, [Root()], name=NAME)
    monkeypatch.setattr(keyring_file, "_sync", _failing(errno.EIO))
    with pytest.raises(UnavailableError, match="made durable") as caught:
        keyring.rewrap()
    assert caught.value.performed is True
    monkeypatch.undo()
    assert keyring.rotate() == keyring.versions[-1].name


def _failing(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


class _Small(MemoryBackend):
    def limit(self, key: object) -> int | None:
        return 4096


class _Contended(MemoryBackend):
    """Another process takes the block before each write, once `contended`."""

    contended = False

    def put(self, key, value, if_version, record=None):  # type: ignore[no-untyped-def]
        if self.contended and key == COUNTER:
            raise SecretConflictError("another was quicker")
        return super().put(key, value, if_version, record)


class _Overtaken(FaultyBackend):
    """The answer to the write after which `then` is to happen is lost."""

    then: Callable[[], object] | None = None

    def put(self, key, value, if_version, record=None):  # type: ignore[no-untyped-def]
        done = super().put(key, value, if_version, record)
        if self.then and key == MESSAGE:
            then, self.then = self.then, None
            then()
            raise UnavailableError("no answer", performed=None)
        return done
