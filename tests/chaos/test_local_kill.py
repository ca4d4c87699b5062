"""The embedded store under SIGKILL, forks, races between processes, migrations and full disks."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from strongroom.backend import Stage
from strongroom.errors import (
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.encrypted import Encrypted
from strongroom.names import Name
from strongroom.value import SecretValue
from strongroom_local import database, schema
from strongroom_local.backend import LocalBackend
from tests.canary import CANARY
from tests.chaos.forked import Forked, Say, forked
from tests.scale import scaled
from tests.unit.local_support import encrypted, local

pytestmark = pytest.mark.timeout(600)  # the nightly counts wait for hundreds of syncs

KEY = Name("db/password")
NAMES = [Name(f"db/n{number}") for number in range(3)]
ADDITION = schema.Migration(
    2, 1, ("ALTER TABLE secret ADD COLUMN note TEXT", "CREATE INDEX note ON secret (note)")
)


def _value(number: int) -> SecretValue:
    return SecretValue(f"{CANARY}-{number}")


def _number(value: SecretValue) -> int:
    return int(value.reveal_text().removeprefix(f"{CANARY}-"))


def _is_sound(folder: Path) -> bool:
    connection = sqlite3.connect(folder / "data" / "a.db")
    found: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return found == "ok"


def _write_on(folder: Path, key: Name, say: Say) -> None:
    """Write numbers for ever, each on top of the last, and say each once it is acknowledged."""
    backend = local(folder, None, timeout=60)  # SQLite's waiting is not fair to the slower writer
    store = encrypted(backend)
    seen = store.get(key, Stage.CURRENT)
    number = _number(seen.value)
    version = seen.version
    while True:
        number += 1
        if number % 5:
            version = store.put(key, _value(number), version).id
        else:
            version = _rotate(store, key, number, version)
        say(number)


def _rotate(store: Encrypted, key: Name, number: int, base: str) -> str:
    store.put_pending(key, f"r{number}-{base}", _value(number), base)
    return store.promote_pending(key, f"r{number}-{base}").id


@pytest.mark.parametrize("log_length", [0, database.LOG_LENGTH], ids=["log moved at each write", "long log"])
def test_a_killed_writer_loses_no_acknowledged_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_length: int
) -> None:
    """Two processes write and are killed at any instant: what they said is there, and nothing is torn."""
    monkeypatch.setattr(database, "LOG_LENGTH", log_length)
    backend = local(tmp_path)
    for key in NAMES:
        encrypted(backend).put(key, _value(0), None)
    backend.close()
    dice = random.Random(log_length)
    for _ in range(scaled(100, f"kills_{log_length}") // 2):
        keys = dice.sample(NAMES, 2)
        said = _killed([partial(_write_on, tmp_path, key) for key in keys], dice)
        _check_writes(tmp_path, dict(zip(keys, said, strict=True)))
    assert _is_sound(tmp_path)


def _killed(works: list[partial[None]], dice: random.Random) -> list[int]:
    """The last number that each said before it was killed."""
    children = [Forked(work) for work in works]
    last = [0 for _ in children]
    for _ in range(dice.randrange(6)):
        last = [child.hear() for child in children]
    children[0].hear(dice.random() / 100)  # an instant that no step of the writer determines
    for child in children:
        child.kill()
    last = [max([found or 0, *child.rest()]) for found, child in zip(last, children, strict=True)]
    assert [child.wait() for child in children] == [-9, -9]
    return last


def _check_writes(folder: Path, acknowledged: dict[Name, int]) -> None:
    backend = local(folder, None)
    store = encrypted(backend)
    for key, number in acknowledged.items():
        current = _number(store.get(key, Stage.CURRENT).value)
        assert number <= current
        numbers = [_number(store.get(key, version.id).value) for version in store.versions(key)]
        assert numbers == list(range(current, current - len(numbers), -1))
    backend.close()


def test_a_killed_creation_leaves_a_whole_database_or_none(tmp_path: Path) -> None:
    """Killed at any instant; the next one makes it, or opens what is there."""
    dice = random.Random(0)

    def create(folder: Path, say: Say) -> None:
        say("begun")
        local(folder).close()
        say("done")

    for number in range(scaled(200)):
        folder = tmp_path / str(number)
        folder.mkdir()
        child = Forked(partial(create, folder))
        child.hear()
        done = child.hear(dice.random() / 30)
        child.kill()
        child.wait()
        assert not done or (folder / "data" / "a.db").exists()
        store = encrypted(local(folder))
        store.put(KEY, _value(number), None)
        assert _number(store.get(KEY, Stage.CURRENT).value) == number
        store.close()


def test_of_sixteen_racing_writers_one_wins(tmp_path: Path) -> None:
    """Eight threads in each of two processes hold the same version: exactly one `if_version` succeeds."""
    store = encrypted(local(tmp_path, timeout=60))
    seen = store.put(KEY, _value(0), None).id
    rounds = scaled(500)
    orders = [os.pipe() for _ in range(2)]
    with forked(*(partial(_race, tmp_path, order[0], rounds) for order in orders)) as children:
        for _ in range(rounds):
            for _, writer in orders:
                os.write(writer, seen.encode())
            won = [version for child in children for version in child.hear()]
            assert len(won) == 1
            seen = store.get(KEY, Stage.CURRENT).version
            assert won == [seen]
    for end in (end for order in orders for end in order):
        os.close(end)
    store.close()


def _race(folder: Path, orders: int, rounds: int, say: Say) -> None:
    backend = local(folder, None, timeout=60)
    store = encrypted(backend)
    barrier = threading.Barrier(8)

    def attempt(seen: str, number: int) -> str | None:
        barrier.wait(60)
        try:
            return store.put(KEY, _value(number), seen).id
        except SecretConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        for _ in range(rounds):
            seen = os.read(orders, 32).decode()
            say([won for won in pool.map(partial(attempt, seen), range(8)) if won])
    backend.close()


def _migrated(folder: Path) -> int:
    connection = sqlite3.connect(folder / "data" / "a.db")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


def test_two_processes_use_a_database_that_a_third_migrates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They opened it before; reading and writing all the while, nobody fails and nothing is lost."""
    for number in range(scaled(20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = encrypted(local(folder))
        for key in NAMES[:2]:
            store.put(key, _value(0), None)
        store.close()
        gate = os.pipe()
        with forked(*(partial(_use, folder, key, gate) for key in NAMES[:2])) as children:
            assert [child.hear() for child in children] == [1, 1]  # they are at work
            with monkeypatch.context() as patched:
                patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ADDITION))
                local(folder, None).close()
            os.close(gate[1])
            last = [max(child.rest()) for child in children]
        os.close(gate[0])
        assert _migrated(folder) == 2
        _check_writes(folder, dict(zip(NAMES, last, strict=False)))


def _use(folder: Path, key: Name, gate: tuple[int, int], say: Say) -> None:
    """Read and write until the gate closes, and ten times more."""
    backend = local(folder, None, timeout=60)
    store, left = encrypted(backend), 10
    os.close(gate[1])
    os.set_blocking(gate[0], False)
    for number in range(1, 100_000):
        version = store.get(key, Stage.CURRENT).version
        store.put(key, _value(number), version)
        say(number)
        left -= _is_closed(gate[0])
        if not left:
            break
    backend.close()


def _is_closed(gate: int) -> bool:
    try:
        return os.read(gate, 1) == b""
    except BlockingIOError:
        return False


def test_three_processes_migrate_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All open an older database at the same moment with newer code: the step is done once, nobody fails."""
    for number in range(scaled(50)):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = encrypted(local(folder))
        store.put(KEY, _value(7), None)
        store.close()
        with monkeypatch.context() as patched:
            patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ADDITION))
            start = os.pipe()
            with forked(*[partial(_open_at, folder, start)] * 3) as children:
                os.close(start[1])
                assert [list(child.rest()) for child in children] == [[7]] * 3
            os.close(start[0])
        assert _migrated(folder) == 2


def _open_at(folder: Path, start: tuple[int, int], say: Say) -> None:
    os.close(start[1])
    os.read(start[0], 1)
    backend = local(folder, None, timeout=60)
    say(_number(encrypted(backend).get(KEY, Stage.CURRENT).value))
    backend.close()


def test_sqlite_itself_loses_a_write_across_a_fork(tmp_path: Path) -> None:
    """The hazard that closing before a fork guards against: the child drops the inherited connection and
    opens its own, the parent closes, and what the child commits then is gone."""
    path = tmp_path / "raw.db"
    parent = sqlite3.connect(path, isolation_level=None)
    parent.execute("PRAGMA journal_mode = WAL")
    parent.execute("CREATE TABLE t (x)")
    gate = os.pipe()

    def child(say: Say) -> None:
        own = sqlite3.connect(path, isolation_level=None)
        own.execute("INSERT INTO t VALUES (1)")
        say("ready")
        os.read(gate[0], 1)
        own.execute("INSERT INTO t VALUES (2)")
        say([row[0] for row in own.execute("SELECT x FROM t")])

    with forked(child) as (process,):
        process.hear()
        parent.close()
        os.write(gate[1], b".")
        acknowledged = process.hear()
    after = sqlite3.connect(path)
    found = [row[0] for row in after.execute("SELECT x FROM t")]
    after.close()
    assert acknowledged == [1, 2]
    assert found == [1], "SQLite keeps its locks across a fork now: the rule could be dropped"


def test_a_fork_loses_nothing(tmp_path: Path) -> None:
    """The same through the store: parent and child write by turns, close in any order, and all is kept."""
    backend = local(tmp_path)
    store = encrypted(backend)
    store.put(NAMES[0], _value(1), None)
    gate = os.pipe()

    def child(say: Say) -> None:
        store.put(NAMES[1], _value(2), None)
        say("ready")
        os.read(gate[0], 1)
        store.put(NAMES[2], _value(3), None)

    with forked(child) as (process,):
        process.hear()
        store.put(NAMES[0], _value(4), None)
        backend.close()
        os.write(gate[1], b".")
    again = local(tmp_path, None)
    found = [_number(encrypted(again).get(key, Stage.CURRENT).value) for key in NAMES]
    assert found == [4, 2, 3]
    again.close()


def test_forks_amid_busy_threads_lose_nothing(tmp_path: Path) -> None:
    """Four threads write while the process forks; each child writes too: all they acknowledged is there."""
    backend = local(tmp_path, timeout=60)
    store = encrypted(backend)
    done = threading.Event()

    def write(thread: int) -> int:
        count = 0
        while not done.is_set():
            count += 1
            store.put(Name(f"thread/n{thread}"), _value(count), None)
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(write, thread) for thread in range(4)]
        children = scaled(100)
        for number in range(children):
            work = partial(_put_in_child, store, Name(f"child/n{number}"), number)
            with forked(work):
                pass
        done.set()
        written = [count.result() for count in counts]
    assert [_number(store.get(Name(f"thread/n{n}"), Stage.CURRENT).value) for n in range(4)] == written
    for number in range(children):
        assert _number(store.get(Name(f"child/n{number}"), Stage.CURRENT).value) == number
    backend.close()
    assert _is_sound(tmp_path)


def _put_in_child(store: Encrypted, key: Name, number: int, say: Say) -> None:
    store.put(key, _value(number), None)


def test_a_fork_that_python_did_not_see_is_refused(tmp_path: Path) -> None:
    """Made in C, it carries open connections along: the child drops them unclosed, and may not go on.

    In a process of its own: such a fork in one that has gRPC's threads leaves a child that may hang.
    """
    code = f"from tests.chaos.test_local_kill import fork_unseen; fork_unseen({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parents[2])


def fork_unseen(folder: str) -> None:
    """Forks past Python while a store is open."""
    backend = local(Path(folder))
    encrypted(backend).put(KEY, _value(1), None)
    child = ctypes.PyDLL(None).fork()
    if not child:
        os._exit(_use_inherited(backend))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _number(encrypted(backend).get(KEY, Stage.CURRENT).value) == 1
    backend.close()


def _use_inherited(backend: LocalBackend) -> int:
    backend.after_fork()
    try:
        backend.get(KEY, Stage.CURRENT)
    except UnavailableError as error:
        return 0 if "forked" in error.message and not error.retryable else 1
    except BaseException:
        return 2
    return 3


def test_after_fork_without_a_fork_changes_nothing(tmp_path: Path) -> None:
    """A store may call it more than once."""
    backend = local(tmp_path)
    encrypted(backend).put(KEY, _value(1), None)
    for _ in range(2):
        backend.after_fork()
    assert _number(encrypted(backend).get(KEY, Stage.CURRENT).value) == 1
    backend.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "data"
    disk.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root with CAP_SYS_ADMIN")
    yield tmp_path
    subprocess.run(["umount", str(disk)], check=True)


def _fill(store: Encrypted) -> tuple[int, SecretStoreError]:
    """Write until it fails: the last number acknowledged, and the error."""
    for number in range(1, 1000):
        try:
            store.put(KEY, SecretValue(f"{CANARY}-{number}".ljust(50_000, " ")), None)
        except SecretStoreError as error:
            return number - 1, error
    raise AssertionError("the disk never filled")


def test_a_full_disk_is_unavailable_and_loses_nothing(small_disk: Path) -> None:
    """The write did not happen, what was acknowledged is read, and with room again the store goes on."""
    ballast = small_disk / "data" / "ballast"
    backend = local(small_disk)
    ballast.write_bytes(bytes(300_000))
    store = encrypted(backend)
    last, error = _fill(store)
    assert (type(error), error.performed, error.retryable) == (UnavailableError, False, True)
    assert "disk is full" in error.message
    assert int(store.get(KEY, Stage.CURRENT).value.reveal_text().split("-")[-1]) == last
    ballast.unlink()
    store.put(KEY, _value(last + 1), None)
    backend.close()
    _check_current(small_disk, last + 1)


def test_a_database_is_not_made_on_a_full_disk(small_disk: Path) -> None:
    """Nothing is left of it, its keyset neither."""
    with pytest.raises(OSError, match="No space"):
        (small_disk / "data" / "ballast").write_bytes(bytes(2 << 20))
    with pytest.raises(UnavailableError, match="disk is full"):
        local(small_disk)
    assert [path.name for path in (small_disk / "data").iterdir()] == ["ballast"]


def test_a_file_that_may_not_grow_is_unavailable(tmp_path: Path) -> None:
    """The same under a limit of the process, which needs no root."""
    local(tmp_path).close()

    def child(say: Say) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        backend = local(tmp_path, None)
        last, error = _fill(encrypted(backend))
        say([last, type(error).__name__])

    with forked(child) as (process,):
        last, error = process.hear()
    assert error == "UnavailableError"
    _check_current(tmp_path, last)


def _check_current(folder: Path, number: int) -> None:
    backend = local(folder, None)
    text = encrypted(backend).get(KEY, Stage.CURRENT).value.reveal_text()
    assert int(text.split("-")[-1]) == number
    backend.close()
    assert _is_sound(folder)


def test_a_read_only_file_system_denies(small_disk: Path) -> None:
    """Opening needs the log's place; making a database is denied too."""
    local(small_disk).close()
    disk = str(small_disk / "data")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for name in ("a.db", "b.db"):
        with pytest.raises(PermissionDeniedError):
            local(small_disk, name=name).get(KEY, Stage.CURRENT)


# Root passes every check of permissions, so as root these run without its capabilities.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
ATTEMPT = """
import sys
from strongroom.backend import Settings, Stage
from strongroom.errors import SecretStoreError
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.value import SecretValue
try:
    backend = open_backend(sys.argv[1])
    if "write" in sys.argv:
        backend.put(Name("a"), SecretValue("v"), None)
    else:
        backend.get(Name("db/password"), Stage.CURRENT)
    print("ok")
except SecretStoreError as error:
    print(type(error).__name__, bool(error.hint))
"""


def _attempt(folder: Path, *what: str) -> str:
    argv = [*UNPRIVILEGED, sys.executable, "-c", ATTEMPT, f"local://{folder}/data/a.db", *what]
    run = subprocess.run(argv, capture_output=True, check=True, text=True)
    return run.stdout.strip()


@pytest.mark.parametrize(("file", "folder", "kept_open", "reads", "writes"), [
    (0o600, 0o700, False, "ok", "ok"),
    (0o400, 0o700, False, "ok", "PermissionDeniedError True"),
    (0o600, 0o500, False, "PermissionDeniedError True", "PermissionDeniedError True"),
    (0o400, 0o500, True, "ok", "PermissionDeniedError True"),
    (0o000, 0o700, False, "PermissionDeniedError True", "PermissionDeniedError True"),
    (0o600, 0o000, False, "PermissionDeniedError True", "PermissionDeniedError True"),
])  # fmt: skip
def test_what_the_system_denies_is_denied(
    tmp_path: Path, file: int, folder: int, kept_open: bool, reads: str, writes: str
) -> None:
    """Never "not found" and never "unavailable"; a file that may only be read is read."""
    backend = local(tmp_path)
    backend.put(KEY, SecretValue("plain"), None)
    if not kept_open:
        backend.close()
    data = tmp_path / "data"
    (data / "a.db").chmod(file)
    data.chmod(folder)
    try:
        assert (_attempt(tmp_path), _attempt(tmp_path, "write")) == (reads, writes)
    finally:
        data.chmod(0o700)
        (data / "a.db").chmod(0o600)
        backend.close()
