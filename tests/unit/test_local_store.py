"""The embedded store: what stands in its file, how long things are kept, what it does with damage."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.backend import ABSENT, Backend, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.layers.edge import edge
from strongroom.names import Name, Reserved
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_local import entry as entry_module
from strongroom_local.backend import LIMIT, LocalBackend
from strongroom_local.entry import KEEP_VERSIONS
from tests.canary import CANARY, plaintext
from tests.scale import scaled
from tests.unit.local_support import encrypted, local

KEY = Name("db/password")
DAY = 86_400


@pytest.fixture
def backend(tmp_path: Path, clock: FakeClock) -> Iterator[LocalBackend]:
    backend = local(tmp_path, clock=clock)
    yield backend
    backend.close()


def _bytes(backend: LocalBackend) -> bytes:
    """All that is on disk."""
    path = Path(backend.origin.removeprefix("local://"))
    return b"".join(found.read_bytes() for found in path.parent.iterdir())


def test_only_ciphertext_is_on_disk(backend: LocalBackend) -> None:
    """Under the Encrypted layer neither the database nor its log holds a value."""
    store = encrypted(backend)
    base = store.put(KEY, SecretValue(CANARY), ABSENT).id
    store.put_pending(KEY, "r", SecretValue(f"{CANARY}-next"), base)
    assert CANARY.encode() not in _bytes(backend)
    assert store.get(KEY, Stage.CURRENT).value == SecretValue(CANARY)


@pytest.mark.parametrize("way", ["retire", "purge", "discard"])
def test_a_destroyed_value_is_gone_from_the_disk(backend: LocalBackend, way: str) -> None:
    """Exactly that version's bytes are overwritten, in the database and in its log; the others stay."""
    base = backend.put(KEY, SecretValue("first-bytes"), None).id
    if way == "discard":
        backend.put_pending(KEY, "r", SecretValue("doomed-bytes"), base)
        backend.discard_pending(KEY, "r")
    else:
        doomed = backend.put(KEY, SecretValue("doomed-bytes"), None)
        backend.retire(KEY, doomed.id) if way == "retire" else backend.purge(KEY)
    assert b"doomed-bytes" not in _bytes(backend)
    assert (b"first-bytes" in _bytes(backend)) is (way != "purge")


def test_a_retired_version_is_not_found_and_its_neighbours_are(backend: LocalBackend) -> None:
    """`retire` takes one version; a repeat, and an id that never was, change nothing."""
    first, second = (backend.put(KEY, SecretValue(text), None).id for text in ("1", "2"))
    for version in (first, first, "never"):
        backend.retire(KEY, version)
    with pytest.raises(SecretNotFoundError):
        backend.get(KEY, first)
    with pytest.raises(SecretNotFoundError):
        backend.get(KEY, Stage.PREVIOUS)
    assert backend.get(KEY, Stage.CURRENT).version == second


def test_absent_matches_a_name_whose_newest_is_destroyed(backend: LocalBackend) -> None:
    """As the interface has it."""
    version = backend.put(KEY, SecretValue("1"), ABSENT)
    backend.retire(KEY, version.id)
    assert backend.put(KEY, SecretValue("2"), ABSENT).id != version.id


def test_the_bin_keeps_a_secret_for_its_window(backend: LocalBackend, clock: FakeClock) -> None:
    """Until the last second of 30 days it is restored whole; its name is reserved."""
    backend.put(KEY, SecretValue("kept"), None)
    backend.delete(KEY)
    clock.advance(30 * DAY - 1)
    with pytest.raises(SecretConflictError, match="bin"):
        backend.put(KEY, SecretValue("other"), None)
    backend.restore(KEY)
    assert backend.get(KEY, Stage.CURRENT).value == SecretValue("kept")


def test_past_its_window_a_secret_is_purged(backend: LocalBackend, clock: FakeClock) -> None:
    """It is not found, cannot be restored, and the next write takes its bytes off the disk."""
    backend.put(KEY, SecretValue("doomed-bytes"), None)
    backend.delete(KEY)
    clock.advance(30 * DAY)
    with pytest.raises(SecretNotFoundError) as missing:
        backend.get(KEY, Stage.CURRENT)
    assert missing.value.hint is None  # restore would not bring it back
    with pytest.raises(SecretNotFoundError):
        backend.restore(KEY)
    backend.put(Name("other"), SecretValue("o"), None)
    backend.retire(Name("other"), "moves the log")
    backend.close()
    assert b"doomed-bytes" not in _bytes(backend)


def test_a_name_is_free_past_the_window(backend: LocalBackend, clock: FakeClock) -> None:
    """A put then begins a new life."""
    backend.put(KEY, SecretValue("old"), None)
    backend.delete(KEY)
    clock.advance(30 * DAY)
    backend.put(KEY, SecretValue("new"), ABSENT)
    assert [version.stages for version in backend.versions(KEY)] == [{Stage.CURRENT}]


def test_the_window_is_an_option(tmp_path: Path, clock: FakeClock) -> None:
    """In days; anything else is refused."""
    backend = local(tmp_path, clock=clock, options={"recovery_days": 0.5})
    backend.put(KEY, SecretValue("v"), None)
    backend.delete(KEY)
    clock.advance(DAY / 2)
    with pytest.raises(SecretNotFoundError):
        backend.restore(KEY)
    backend.close()
    for wrong in (-1, "30d", True, 1e9, None):
        with pytest.raises(InvalidRequestError, match="recovery_days"):
            local(tmp_path, clock=clock, options={"recovery_days": wrong})


def test_the_newest_hundred_versions_are_kept(backend: LocalBackend) -> None:
    """Older ones go, with their bytes; what came after a lost base can no longer be told."""
    ids = [backend.put(KEY, SecretValue(f"value-{n:03}"), None).id for n in range(KEEP_VERSIONS + 2)]
    assert [version.id for version in backend.versions(KEY)] == ids[:1:-1]
    assert [version.id for version in backend.versions_after(KEY, ids[2])] == ids[3:]
    for call in (lambda: backend.get(KEY, ids[1]), lambda: backend.versions_after(KEY, ids[1])):
        with pytest.raises(SecretNotFoundError):
            call()
    backend.retire(KEY, "never")  # moves the log
    assert b"value-001" not in _bytes(backend)


def test_a_pending_value_outlives_any_number_of_puts(backend: LocalBackend) -> None:
    """It is no part of the history that is cut."""
    base = backend.put(KEY, SecretValue("base"), None).id
    backend.put_pending(KEY, "r", SecretValue("held"), base)
    for number in range(KEEP_VERSIONS + 1):
        backend.put(KEY, SecretValue(str(number)), None)
    assert backend.get_pending(KEY, "r").value == SecretValue("held")


def test_a_promoted_rotation_is_known_when_its_version_is_gone(backend: LocalBackend) -> None:
    """A late repeat of promote still answers with the version it became."""
    base = backend.put(KEY, SecretValue("base"), None).id
    held = backend.put_pending(KEY, "r", SecretValue("held"), base)
    backend.promote_pending(KEY, "r")
    for number in range(KEEP_VERSIONS):
        backend.put(KEY, SecretValue(str(number)), None)
    assert backend.promote_pending(KEY, "r").id == held.id


def test_finished_rotations_are_forgotten_only_by_number(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are remembered; the record of a secret cannot grow for ever."""
    monkeypatch.setattr(entry_module, "KEEP_ROTATIONS", 2)
    base = backend.put(KEY, SecretValue("base"), None).id
    for rotation in ("r1", "r2", "r3"):
        backend.put_pending(KEY, rotation, SecretValue("v"), base)
        backend.discard_pending(KEY, rotation)
    for known in ("r2", "r3"):
        with pytest.raises(SecretConflictError, match="done"):
            backend.put_pending(KEY, known, SecretValue("v"), base)
    backend.put_pending(KEY, "r1", SecretValue("v"), base)


def test_reserved_keys_are_kept_and_not_listed(backend: LocalBackend) -> None:
    """They are read by their key, and no listing shows them."""
    backend.put(Reserved("lease", KEY), SecretValue("ours"), None)
    backend.put(KEY, SecretValue("theirs"), None)
    assert [info.key for info in backend.list_info("")] == [KEY]
    assert backend.get(Reserved("lease", KEY), Stage.CURRENT).value == SecretValue("ours")


def test_a_value_at_the_limit_is_kept(backend: LocalBackend) -> None:
    """One MiB, less what a frame may take."""
    limit = backend.limit(KEY)
    assert limit == LIMIT - 1024
    backend.put(KEY, SecretValue(bytes(limit)), None)
    assert backend.get(KEY, Stage.CURRENT).value == SecretValue(bytes(limit))


def test_two_openings_share_one_state(tmp_path: Path, backend: LocalBackend) -> None:
    """What one wrote the other reads at once, with its kind and record."""
    backend.put(KEY, SecretValue(b"\xff\x00", "binary"), None, "v1.1.1")
    other = local(tmp_path, create=None)
    secret = other.get(KEY, Stage.CURRENT)
    assert (secret.value, secret.value.kind, secret.record) == (SecretValue(b"\xff\x00"), "binary", "v1.1.1")
    assert other.domain == backend.domain
    other.close()


def test_a_closed_store_refuses(backend: LocalBackend) -> None:
    """Also when it was closed twice."""
    backend.close()
    backend.close()
    with pytest.raises(InvalidRequestError, match="closed"):
        backend.get(KEY, Stage.CURRENT)


def test_a_locked_database_is_unavailable(tmp_path: Path) -> None:
    """Who cannot get the lock in time may try again, and nothing was written; readers do not wait."""
    backend = local(tmp_path, timeout=0.01)
    first = backend.put(KEY, SecretValue("1"), None)
    other = sqlite3.connect(tmp_path / "data" / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SecretStoreError, match="lock") as busy:
        edge(backend).put(KEY, SecretValue("2"), None)
    assert (busy.value.retryable, busy.value.performed) == (True, False)
    assert backend.get(KEY, Stage.CURRENT).version == first.id
    other.close()
    backend.close()


def _filled(tmp_path: Path) -> dict[Name, str]:
    backend = local(tmp_path)
    store = encrypted(backend)
    values = {Name(f"n{number}/key"): f"{CANARY}-{number}" for number in range(8)}
    for key, value in values.items():
        store.put(key, SecretValue(f"{CANARY}-old"), None)
        store.put(key, SecretValue(value), None)
    backend.close()
    return values


def _read(tmp_path: Path, key: Name) -> SecretValue | str:
    """The value, or the name of the error."""
    backend: LocalBackend | None = None
    try:
        backend = local(tmp_path, create=None)
        store: Backend = edge(encrypted(backend))
        return store.get(key, Stage.CURRENT).value
    except SecretStoreError as error:
        return type(error).__name__
    finally:
        if backend:
            backend.close()


@pytest.mark.parametrize("how", ["bit", "zeros", "noise", "cut"])
def test_damage_gives_an_integrity_error_or_the_right_value(tmp_path: Path, how: str) -> None:
    """Never another value, an older one, or "not found", wherever the database was hit."""
    values = _filled(tmp_path)
    path = tmp_path / "data" / "a.db"
    sound, dice = path.read_bytes(), random.Random(how)
    seen = set()
    for _ in range(scaled(1000, f"damage_{how}")):
        path.write_bytes(_damaged(sound, how, dice))
        for leftover in path.parent.glob("a.db-*"):
            leftover.unlink()
        key, value = dice.choice(list(values.items()))
        found = _read(tmp_path, key)
        seen.add(found if isinstance(found, str) else "right")
        assert found in (SecretValue(value), "IntegrityError")
    assert "IntegrityError" in seen


def _damaged(sound: bytes, how: str, dice: random.Random) -> bytes:
    at = dice.randrange(len(sound))
    if how == "cut":
        return sound[:at]
    length = 1 if how == "bit" else dice.randrange(1, 600)
    part = sound[at : at + length]
    if how == "bit":
        part = bytes([part[0] ^ 1 << dice.randrange(8)])
    else:
        part = bytes(len(part)) if how == "zeros" else dice.randbytes(len(part))
    return sound[:at] + part + sound[at + len(part) :]


@pytest.mark.parametrize("sql", [
    "DELETE FROM secret WHERE key = 'n1/key'",
    "UPDATE secret SET key = 'n9/key' WHERE key = 'n1/key'",
    "UPDATE secret SET deleted_at = 1 WHERE key = 'n1/key'",
    "UPDATE secret SET state = (SELECT state FROM secret WHERE key = 'n2/key') WHERE key = 'n1/key'",
    "DELETE FROM value",
    "UPDATE value SET data = data || x'00'",
    "UPDATE fact SET value = 'x' WHERE name = 'domain'",
    "DROP TABLE value",
    "PRAGMA user_version = 9",
    "PRAGMA application_id = 9",
])  # fmt: skip
def test_rows_that_do_not_fit_each_other_are_found(tmp_path: Path, sql: str) -> None:
    """A change that keeps SQLite's own structure sound is found by our sums."""
    _filled(tmp_path)
    with sqlite3.connect(tmp_path / "data" / "a.db") as connection:
        connection.execute(sql)
    connection.close()
    assert _read(tmp_path, Name("n1/key")) == "IntegrityError"


@pytest.mark.parametrize("sql", [
    "DELETE FROM secret WHERE key = 'n1/key'",
    "UPDATE fact SET value = 7 WHERE name = 'secrets'",
])  # fmt: skip
def test_a_name_that_is_not_found_and_a_listing_are_sure(tmp_path: Path, sql: str) -> None:
    """Where a name may have been lost, neither says that it is not there."""
    _filled(tmp_path)
    with sqlite3.connect(tmp_path / "data" / "a.db") as connection:
        connection.execute(sql)
    connection.close()
    backend = local(tmp_path, create=None)
    for look in (lambda: list(backend.list_info("")), lambda: backend.get(Name("never"), Stage.CURRENT)):
        with pytest.raises(IntegrityError):
            look()
    backend.close()


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be one" * 50])
def test_another_file_is_not_taken_for_a_database(tmp_path: Path, content: bytes) -> None:
    """It is an integrity error, and the file is as it was."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "a.db").write_bytes(content)
    (folder / "a.db").chmod(0o600)
    with pytest.raises(IntegrityError):
        local(tmp_path, create=None)
    assert (folder / "a.db").read_bytes() == content


def test_another_program_s_database_is_not_touched(tmp_path: Path) -> None:
    """It bears another application id."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "a.db") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    (folder / "a.db").chmod(0o600)
    before = (folder / "a.db").read_bytes()
    with pytest.raises(IntegrityError, match="not a Strongroom database"):
        local(tmp_path, create=None)
    assert (folder / "a.db").read_bytes() == before


def test_a_bare_value_is_where_it_was_declared(tmp_path: Path) -> None:
    """The guard would find it otherwise: the bare backend keeps what it is given."""
    backend = local(plaintext(tmp_path, "the bare backend, which stores what it is given"))
    backend.put(KEY, SecretValue(CANARY), None)
    assert CANARY.encode() in _bytes(backend)
    backend.close()
