"""Making and opening a database: where it may lie, where its key is kept, and how its schema moves on."""

from __future__ import annotations

import grp
import os
import pwd
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from strongroom.backend import Settings, Stage
from strongroom.errors import (
    BackendNotInstalledError,
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
)
from strongroom.localkey import FIRST_BLOCK
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.value import SecretValue
from strongroom_local import passphrase as passphrase_module
from strongroom_local import schema
from strongroom_local.backend import LocalBackend
from strongroom_local.keyset import Keyset
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.local_support import encrypted, local

KEY = Name("db/password")
PASSPHRASE = SecretValue(f"{CANARY} correct horse")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is good enough for a database."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where keysets go by default."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "strongroom" / "keysets"


@pytest.fixture
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrase_module, "_LOG_N", 10)


class MemoryKeyring(KeyringBackend):
    """An OS keyring."""

    priority = 1

    def __init__(self) -> None:
        self.entries = dict[tuple[str, str], str]()

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password


@contextmanager
def _os_keyring() -> Iterator[MemoryKeyring]:
    before, ours = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(ours)
    try:
        yield ours
    finally:
        keyring.set_keyring(before)


def _refused(url: str, match: str, **settings: object) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError, match=match) as caught:
        open_backend(url, Settings(**settings))  # type: ignore[arg-type]
    return caught.value


def _round_trip(first: LocalBackend, second: LocalBackend) -> None:
    encrypted(first).put(KEY, SecretValue(CANARY), None)
    assert encrypted(second).get(KEY, Stage.CURRENT).value == SecretValue(CANARY)
    first.close()
    second.close()


def test_a_missing_database_says_how_to_make_one(folder: Path) -> None:
    """And nothing is made."""
    assert "strongroom init" in str(_refused(f"local://{folder}/a.db", "no database"))
    assert not list(folder.iterdir())


@pytest.mark.parametrize("path", ["relative/a.db", "/", "/folder/", "/x/..", "//"])
def test_a_path_that_names_no_file_is_refused(path: str) -> None:
    """Before anything is looked at."""
    _refused(f"local://{path}", "no absolute path")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A typo does not make folders."""
    _refused(f"local://{tmp_path}/no/such/a.db?create=keyset", "no folder")


@pytest.mark.parametrize("mode", [0o707, 0o770, 0o1777])
def test_a_folder_that_others_can_write_is_refused(
    folder: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could put their own log beside the database, which SQLite would replay."""
    monkeypatch.setattr("strongroom_local.place._is_private", lambda status: False)
    folder.chmod(mode)
    _refused(f"local://{folder}/a.db?create=passphrase", "others can write")


def test_a_folder_of_another_user_is_denied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He could replace the database; root's folders are taken."""
    mine = os.geteuid() or 65_534
    os.chown(folder, mine, -1)
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(PermissionDeniedError, match="another user"):
        open_backend(f"local://{folder}/a.db")


def test_a_folder_of_the_owner_s_own_group_is_taken(folder: Path) -> None:
    """Distributions with umask 002 give each user a group of his own."""
    folder.chmod(0o770)
    owner = pwd.getpwuid(os.geteuid())
    if grp.getgrgid(owner.pw_gid).gr_name != owner.pw_name:
        pytest.skip("this user has no group of his own")
    _refused(f"local://{folder}/a.db", "no database")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_database_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """The hint is the command."""
    local(tmp_path).close()
    path = tmp_path / "data" / "a.db"
    path.chmod(mode)
    assert f"chmod 600 {path}" in str(_refused(f"local://{path}", "open to others"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    """Its folder's owner could point it elsewhere. A link to the folder is resolved, and that is checked."""
    local(tmp_path).close()
    data = tmp_path / "data"
    (data / "link.db").symlink_to(data / "a.db")
    _refused(f"local://{data}/link.db", "link")
    (tmp_path / "elsewhere").symlink_to(data)
    backend = open_backend(f"local://{tmp_path}/elsewhere/a.db")
    assert backend.origin == f"local://{data}/a.db"
    backend.close()


def test_a_folder_is_no_database(folder: Path) -> None:
    """Nor is a socket or a device."""
    (folder / "a.db").mkdir()
    _refused(f"local://{folder}/a.db", "not a file")


def test_options_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    """In the URL and in the configuration."""
    local(tmp_path).close()
    _refused(f"local://{tmp_path}/data/a.db?mode=memory", "no option 'mode'")
    _refused(f"local://{tmp_path}/data/a.db", "no option 'kestey'", options={"kestey": "/x"})
    _refused(f"local://{tmp_path}/data/b.db?create=plain", "none of keyset")


def test_everything_made_is_for_its_owner_alone(tmp_path: Path, folder: Path, config: Path) -> None:
    """The database, its log, the keyset and its folder, whatever the umask."""
    before = os.umask(0)
    try:
        backend = open_backend(f"local://{folder}/a.db?create=keyset")
        encrypted(backend.inner).put(KEY, SecretValue(CANARY), None)  # type: ignore[arg-type]
        made = [*folder.iterdir(), *config.iterdir(), config]
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made} == {0}
        assert {"a.db", "a.db-wal"} <= {path.name for path in made}
        backend.close()
    finally:
        os.umask(before)


def test_the_keyset_lies_in_the_configuration_folder(folder: Path, config: Path) -> None:
    """Under the database's own id; later openings find it by what the database records."""
    first = open_backend(f"local://{folder}/a.db?create=keyset")
    assert (config / f"{first.domain}.json").exists()
    _round_trip(first.inner, open_backend(f"local://{folder}/a.db").inner)  # type: ignore[arg-type]


def test_a_relative_configuration_folder_is_ignored(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the XDG specification says; the home directory's is taken."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    backend = open_backend(f"local://{folder}/a.db?create=keyset")
    assert (tmp_path / "home/.config/strongroom/keysets" / f"{backend.domain}.json").exists()
    backend.close()


def test_a_keyset_beside_the_database_is_refused(tmp_path: Path, folder: Path) -> None:
    """At creation, when nothing is made, and later."""
    beside = {"keyset": str(folder / "keyset.json")}
    _refused(f"local://{folder}/a.db?create=keyset", "beside", options=beside)
    assert not list(folder.iterdir())
    local(tmp_path).close()
    backend = local(tmp_path, create=None, options=beside)
    with pytest.raises(InvalidRequestError, match="beside"):
        backend.own_key()
    backend.close()


def test_two_databases_may_share_a_keyset(tmp_path: Path) -> None:
    """One that its owner names; each has a domain of its own."""
    shared = {"keyset": str(tmp_path / "keys" / "shared.json")}
    first, second = (local(tmp_path, name=name, options=shared) for name in ("a.db", "b.db"))
    assert first.own_key().key_id == second.own_key().key_id
    assert first.domain != second.domain
    first.close()
    second.close()


def test_a_keyset_that_moved_is_found_by_the_option(tmp_path: Path) -> None:
    """And must be the right one."""
    local(tmp_path).close()
    keys = tmp_path / "keys"
    for found in list(keys.iterdir()):
        found.rename(keys / found.name.replace("a.db", "moved"))
    backend = local(tmp_path, create=None, options={"keyset": str(keys / "moved.json")})
    encrypted(backend).put(KEY, SecretValue(CANARY), None)
    backend.close()


def test_another_database_s_keyset_is_refused(tmp_path: Path) -> None:
    """Its name is recorded."""
    local(tmp_path).close()
    local(tmp_path, name="b.db").close()
    backend = local(tmp_path, create=None, options={"keyset": str(tmp_path / "keys" / "b.db.json")})
    with pytest.raises(IntegrityError, match="not this database's"):
        backend.own_key()
    backend.close()


@pytest.mark.parametrize(("harm", "error"), [
    (lambda path: path.unlink(), InvalidRequestError),
    (lambda path: path.write_text("{}"), IntegrityError),
    (lambda path: path.chmod(0o644), InvalidRequestError),
])  # fmt: skip
def test_a_harmed_keyset_is_told(tmp_path: Path, harm, error: type[SecretStoreError]) -> None:  # type: ignore[no-untyped-def]
    """Missing, corrupt or open to others; the bare database opens all the same."""
    local(tmp_path).close()
    harm(tmp_path / "keys" / "a.db.json")
    backend = open_backend(f"local://{tmp_path}/data/a.db")
    with pytest.raises(error) as caught:
        backend.own_key()
    assert caught.value.hint
    backend.close()


def test_a_passphrase_opens_its_database(tmp_path: Path, cheap_scrypt: None) -> None:
    """Only the right one; the sealed keyset lies in the database, and no file beside."""
    first = local(tmp_path, "passphrase", auth={"passphrase": PASSPHRASE})
    _round_trip(first, local(tmp_path, None, auth={"passphrase": PASSPHRASE}))
    assert not list((tmp_path / "keys").iterdir())
    wrong = local(tmp_path, None, auth={"passphrase": SecretValue(f"{CANARY} wrong")})
    with pytest.raises(PermissionDeniedError) as denied:
        wrong.own_key()
    assert_no_canary_in(denied.value)
    wrong.close()


@pytest.mark.parametrize("auth", [{}, {"passphrase": "in clear"}])
def test_a_passphrase_that_is_not_given_is_told(
    tmp_path: Path, cheap_scrypt: None, auth: dict[str, str]
) -> None:
    """At creation, when nothing is made, and later, when the bare database opens."""
    with pytest.raises(InvalidRequestError, match="passphrase"):
        local(tmp_path, "passphrase", auth=auth)
    assert not list((tmp_path / "data").iterdir())
    local(tmp_path, "passphrase", auth={"passphrase": PASSPHRASE}).close()
    backend = local(tmp_path, None, auth=auth)
    with pytest.raises(InvalidRequestError, match="passphrase"):
        backend.own_key()
    backend.close()


def test_the_os_keyring_keeps_a_key(tmp_path: Path) -> None:
    """Under the database's id; without the entry it is told."""
    with _os_keyring() as ring:
        first = local(tmp_path, "os-keyring")
        assert list(ring.entries) == [("strongroom", first.domain)]
        _round_trip(first, local(tmp_path, None))
        ring.entries.clear()
        backend = local(tmp_path, None)
        with pytest.raises(InvalidRequestError, match="no keyset in the OS keyring"):
            backend.own_key()
        backend.close()


def test_the_choice_is_recorded_and_never_probed(
    tmp_path: Path, cheap_scrypt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `create` later changes nothing, and the OS keyring is not imported for other databases."""
    local(tmp_path, "passphrase", auth={"passphrase": PASSPHRASE}).close()
    monkeypatch.setitem(sys.modules, "keyring", None)
    for create in ("keyset", "os-keyring", None):
        backend = local(tmp_path, create, auth={"passphrase": PASSPHRASE})
        backend.own_key()
        backend.close()
    with pytest.raises(BackendNotInstalledError):
        local(tmp_path, "os-keyring", name="b.db")
    assert not (tmp_path / "data" / "b.db").exists()


@pytest.mark.parametrize("create", ["passphrase", "os-keyring"])
def test_wraps_are_counted_in_the_database(tmp_path: Path, cheap_scrypt: None, create: str) -> None:
    """A new process takes a new block; nothing is counted twice."""
    with _os_keyring():
        for expected in (1, 2):
            backend = local(tmp_path, create, auth={"passphrase": PASSPHRASE})
            encrypted(backend).put(KEY, SecretValue(CANARY), None)
            with backend._database.reading() as connection:
                assert schema.read_fact(connection, "wraps") == expected * FIRST_BLOCK
            backend.close()


def test_of_racing_creators_one_makes_the_database(folder: Path, config: Path) -> None:
    """All open the same one, and the losers' keysets are gone."""
    found: list[str] = []
    barrier = threading.Barrier(8)

    def create() -> None:
        barrier.wait()
        backend = open_backend(f"local://{folder}/a.db?create=keyset")
        backend.own_key()
        found.append(backend.domain)
        backend.close()

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in config.glob("*.json")] == [f"{found[0]}.json"]
    assert len(list(config.iterdir())) == 2
    assert [path.name for path in folder.iterdir()] == ["a.db"]


def test_a_creation_that_fails_leaves_nothing(
    folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a database nor a keyset."""

    def fail(*_: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr("strongroom_local.creation._sync", fail)
    with pytest.raises(SecretStoreError, match="disk is full"):
        open_backend(f"local://{folder}/a.db?create=keyset")
    assert not list(folder.iterdir())
    assert not list(config.iterdir())


def test_durability_is_switched_on(tmp_path: Path) -> None:
    """WAL, full sync at each commit, deleted content overwritten, no log moved behind our back."""
    backend = local(tmp_path)
    names = ("journal_mode", "synchronous", "secure_delete", "wal_autocheckpoint", "trusted_schema")
    with backend._database.reading() as connection:
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert found == ["wal", 2, 1, 0, 0]
    backend.close()


def test_the_log_is_moved_when_it_is_long(tmp_path: Path) -> None:
    """It does not grow for ever."""
    backend = local(tmp_path)
    for number in range(12):
        backend.put(KEY, SecretValue(bytes(1_000_000)), None, str(number))
    assert (tmp_path / "data" / "a.db-wal").stat().st_size < 6 << 20
    backend.close()


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    """A write to the old one would be acknowledged and lost."""
    backend = local(tmp_path)
    backend.put(KEY, SecretValue("1"), None)
    path = tmp_path / "data" / "a.db"
    path.rename(tmp_path / "data" / "old.db")
    with pytest.raises(InvalidRequestError, match="no database"):
        backend.put(KEY, SecretValue("2"), None)
    local(tmp_path).close()
    with pytest.raises(SecretStoreError, match="replaced"):
        backend.put(KEY, SecretValue("2"), None)
    backend.close()


def test_opening_loads_no_cryptography(tmp_path: Path) -> None:
    """It is imported for the key, and the OS keyring only for a database that names it."""
    local(tmp_path).close()
    code = (
        "import sys; from strongroom.registry import open_backend;"
        f"open_backend('local://{tmp_path}/data/a.db').close();"
        "print({'cryptography', 'keyring', 'hashlib'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == "set()"


NEXT = schema.Migration(2, 1, ("CREATE TABLE extra (x)",))
BREAKING = schema.Migration(2, 2, ("ALTER TABLE secret ADD COLUMN extra",))


def _version(tmp_path: Path) -> int:
    with sqlite3.connect(tmp_path / "data" / "a.db") as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


def test_an_older_database_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it holds; the step is done once."""
    _filled = local(tmp_path)
    encrypted(_filled).put(KEY, SecretValue(CANARY), None)
    _filled.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT))
    for _ in range(2):
        backend = local(tmp_path, None)
        assert encrypted(backend).get(KEY, Stage.CURRENT).value == SecretValue(CANARY)
        backend.close()
    assert _version(tmp_path) == 2


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps are one transaction."""
    local(tmp_path).close()
    broken = schema.Migration(3, 3, ("CREATE TABLE other (x)", "not SQL"))
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT, broken))
        with pytest.raises(SecretStoreError):
            local(tmp_path, None)
    assert _version(tmp_path) == 1
    local(tmp_path, None).close()


def test_older_code_goes_on_after_an_addition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who had the database open before, and who opens it after, if the step allows."""
    old = local(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT))
        local(tmp_path, None).close()
    _round_trip(old, local(tmp_path, None))


def test_older_code_is_told_to_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a step that it would break: at once, also with the database open, and nothing is written."""
    old = local(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, BREAKING))
        local(tmp_path, None).close()
    for use in (lambda: old.put(KEY, SecretValue("v"), None), lambda: local(tmp_path, None)):
        with pytest.raises(InvalidRequestError, match="schema version 2") as caught:
            use()
        assert caught.value.hint == "upgrade Strongroom"
    old.close()


def test_a_keyset_s_repr_shows_nothing() -> None:
    """It stands in locals of creation."""
    assert "key" not in repr(Keyset.generate()).replace("Keyset", "")
