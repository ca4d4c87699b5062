"""Local KEKs at rest: three places, one key; a count that no crash or race rewinds."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend

from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.errors import (
    BackendNotInstalledError,
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.localkey import MAX_WRAPS, WRAP_BLOCK, LocalKey
from strongroom.wrapcount import FileWrapCounter
from strongroom_local import passphrase as passphrase_module
from strongroom_local.keyset import Keyset, KeysetFile
from strongroom_local.os_keyring import OsKeyring
from strongroom_local.passphrase import open_keyset, seal_keyset
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.scale import scaled
from tests.unit.envelope_support import MemoryCounter


@pytest.fixture
def file(tmp_path: Path) -> KeysetFile:
    return KeysetFile(tmp_path / "keyset.json")


@pytest.fixture
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """n = 2^10 instead of 2^17, for tests of everything but the cost."""
    monkeypatch.setattr(passphrase_module, "_LOG_N", 10)


def _round_trip(writer: LocalKey, reader: LocalKey) -> None:
    message = encrypt(b"v", keys=[writer], context={"a": "1"})
    assert decrypt(message, keys=[reader], context={"a": "1"}).value == b"v"


class MemoryKeyring(KeyringBackend):
    """An OS keyring; `failure` is what it raises, `forgets` whether it keeps nothing."""

    priority = 1

    def __init__(self, failure: Exception | None = None, *, forgets: bool = False):
        self.failure, self.forgets, self.entries = failure, forgets, dict[tuple[str, str], str]()

    def get_password(self, service: str, username: str) -> str | None:
        if self.failure:
            raise self.failure
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if not self.forgets:
            self.entries[service, username] = password


@contextmanager
def _os_keyring(backend: MemoryKeyring) -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield backend
    finally:
        keyring.set_keyring(before)


def test_a_keyset_file_gives_the_same_key_every_time(file: KeysetFile) -> None:
    """What one process wraps the next one opens."""
    _round_trip(file.create(), file.load())
    _round_trip(file.load(), file.load())


def test_the_same_keyset_opens_from_all_three_places(file: KeysetFile, cheap_scrypt: None) -> None:
    """A file, the OS keyring and a passphrase are places, not kinds of key."""
    keyset = Keyset.generate()
    writer = keyset.local_key(MemoryCounter())
    file.path.touch(0o600)
    file.path.write_text(keyset.to_json())
    with _os_keyring(MemoryKeyring()) as backend:
        backend.entries["strongroom", "prod"] = keyset.to_json()
        _round_trip(writer, OsKeyring("prod").load(None))
    _round_trip(writer, file.load())
    _round_trip(writer, open_keyset(seal_keyset(keyset, CANARY), CANARY, "a test").local_key(None))


def test_a_new_keyset_is_private_and_leaves_nothing_else(file: KeysetFile) -> None:
    """Mode 0600 whatever the umask, its counter too, and no temporary file."""
    before = os.umask(0)
    try:
        file.create()
    finally:
        os.umask(before)
    entries = sorted(file.path.parent.iterdir())
    assert [entry.suffix for entry in entries] == [".json", ".wraps"]
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in entries} == {0o600}


def test_a_keyset_is_never_overwritten(file: KeysetFile) -> None:
    """Not by a second create, nor by one that raced; the loser leaves no counter behind."""
    first = file.create()
    before = file.path.read_bytes()
    with pytest.raises(SecretConflictError, match="exists already"):
        file.create()
    assert file.path.read_bytes() == before
    assert len(list(file.path.parent.iterdir())) == 2
    _round_trip(first, file.load())


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666])
def test_a_keyset_that_others_can_reach_is_refused(file: KeysetFile, mode: int) -> None:
    """Any bit for group or others; the hint is the command."""
    file.create()
    file.path.chmod(mode)
    with pytest.raises(InvalidRequestError, match="chmod 600"):
        file.load()


def test_a_keyset_of_another_user_is_refused(file: KeysetFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the file could read it, or put another in its place."""
    file.create()
    owner = file.path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionDeniedError, match="another user"):
        file.load()


def test_a_missing_keyset_names_its_path(file: KeysetFile) -> None:
    """A wrong path is told apart from a corrupt file."""
    with pytest.raises(InvalidRequestError, match=str(file.path)):
        file.load()
    with pytest.raises(InvalidRequestError, match="make the folder first"):
        KeysetFile(file.path.parent / "missing" / "keyset.json").create()


def _spoil(**changes: Any) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        document = json.loads(text)
        for place in (document, document["keys"][0]):
            place.update({name: value for name, value in changes.items() if name in place})
        return json.dumps(document)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "\x00" + text,
        lambda text: "[" * 50_000,
        lambda text: " " * 70_000 + text,
        lambda text: "null",
        _spoil(version=2),
        _spoil(format="other"),
        _spoil(keys=[]),
        _spoil(algorithm="AES-128-GCM"),
        _spoil(key="AAAA"),
        _spoil(key="not base64 at all"),
        _spoil(key=7),
        _spoil(name=""),
        _spoil(name=["a"]),
        _spoil(name="n" * 300),
        _spoil(created=1),
    ],
)
def test_a_corrupt_keyset_is_an_integrity_error_with_a_hint(
    file: KeysetFile, spoil: Callable[[str], str]
) -> None:
    """Whatever happened to the file; and the error does not show what stands in it."""
    file.create()
    text = file.path.read_text()
    file.path.write_text(spoil(text))
    with pytest.raises(IntegrityError, match="backup") as caught:
        file.load()
    assert caught.value.__context__ is None
    assert str(json.loads(text)["keys"][0]["key"]) not in str(caught.value)


def test_a_folder_or_pipe_in_the_keysets_place_is_an_integrity_error(tmp_path: Path) -> None:
    """Opening a pipe does not hang."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (pipe, tmp_path):
        with pytest.raises(IntegrityError):
            KeysetFile(path).load()


@pytest.mark.parametrize("good", [0, 1])
def test_a_full_disk_leaves_no_keyset(file: KeysetFile, monkeypatch: pytest.MonkeyPatch, good: int) -> None:
    """Unavailable, and nothing half made: the file's fsync fails, or only its directory's."""
    real, left, fail = os.fsync, [None] * good, _raising(errno.ENOSPC)
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: real(descriptor) if left and not left.pop() else fail()
    )
    with pytest.raises(UnavailableError, match="No space"):
        file.create()
    assert list(file.path.parent.iterdir()) == []


def _raising(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_keyset_knows_when_it_lies_beside_a_database(file: KeysetFile, tmp_path: Path) -> None:
    """Links are resolved, since a backup follows them."""
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    assert file.lies_beside(tmp_path / "secrets.db")
    assert file.lies_beside(tmp_path / "link" / "secrets.db")
    assert not file.lies_beside(tmp_path / "other" / "secrets.db")


def test_a_keyset_does_not_show_its_key() -> None:
    """Neither by repr nor by pickle."""
    keyset = Keyset("local-1", CANARY.ljust(32)[:32].encode(), "2026-01-01T00:00:00+00:00")
    assert_no_canary(repr(keyset), str(keyset))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(keyset)


def test_the_os_keyring_keeps_a_keyset() -> None:
    """Made once, loaded after, never overwritten."""
    with _os_keyring(MemoryKeyring()):
        _round_trip(OsKeyring("prod").create(MemoryCounter()), OsKeyring("prod").load(None))
        with pytest.raises(SecretConflictError, match="exists already"):
            OsKeyring("prod").create(MemoryCounter())
        with pytest.raises(InvalidRequestError, match="strongroom/other"):
            OsKeyring("other").load(None)


@pytest.mark.parametrize(
    "backend", [MemoryKeyring(RuntimeError(f"D-Bus said {CANARY}")), MemoryKeyring(forgets=True)]
)
def test_an_os_keyring_that_does_not_work_is_unavailable(backend: MemoryKeyring) -> None:
    """Locked, absent, or one that keeps nothing (keyring's null backend); its words are not repeated."""
    with _os_keyring(backend), pytest.raises(UnavailableError) as caught:
        OsKeyring("prod").create(MemoryCounter())
    assert_no_canary_in(caught.value)


def test_a_corrupt_entry_is_an_integrity_error() -> None:
    """As a file."""
    with _os_keyring(MemoryKeyring()) as backend:
        backend.entries["strongroom", "prod"] = CANARY
        with pytest.raises(IntegrityError) as caught:
            OsKeyring("prod").load(None)
    assert_no_canary_in(caught.value)


def test_a_missing_keyring_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(BackendNotInstalledError, match=r"strongroom\[keyring\]"):
        OsKeyring("prod").load(None)


def test_the_passphrase_costs_what_the_document_says() -> None:
    """n = 2^17, r = 8, p = 1, and it opens again."""
    keyset = Keyset.generate()
    sealed = seal_keyset(keyset, CANARY)
    assert json.loads(sealed)["scrypt"] == {"log_n": 17, "r": 8, "p": 1}
    _round_trip(keyset.local_key(MemoryCounter()), open_keyset(sealed, CANARY, "a test").local_key(None))


def test_a_wrong_passphrase_is_denied_and_shows_neither(cheap_scrypt: None) -> None:
    """Told apart from a corrupt document where that can be told."""
    sealed = seal_keyset(Keyset.generate(), "right")
    with pytest.raises(PermissionDeniedError, match="passphrase does not open") as caught:
        open_keyset(sealed, CANARY, "a test")
    assert_no_canary_in(caught.value)
    with pytest.raises(InvalidRequestError, match="empty"):
        seal_keyset(Keyset.generate(), "")


@pytest.mark.parametrize(
    "changes",
    [
        {"scrypt": {"log_n": 20, "r": 8, "p": 1}},
        {"scrypt": {"log_n": 62, "r": 8, "p": 1}},
        {"scrypt": {"log_n": -1, "r": 8, "p": 1}},
        {"scrypt": {"log_n": 17, "r": 2**30, "p": 1}},
        {"scrypt": {"log_n": 17, "r": 8, "p": 2**30}},
        {"scrypt": {"log_n": 17, "r": 8, "p": True}},
        {"scrypt": {"log_n": 9, "r": 8, "p": 1}},
        {"scrypt": {"log_n": 17.0, "r": 8, "p": 1}},
        {"scrypt": []},
        {"salt": ""},
        {"commitment": "AAAA"},
        {"ciphertext": "%%"},
        {"version": 2},
        {"format": "strongroom-keyset"},
    ],
)
def test_a_sealed_keyset_cannot_ask_for_more_than_the_bounds(
    changes: dict[str, Any], cheap_scrypt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: a changed document makes whoever opens it fill the memory. No scrypt is even started."""
    document = {**json.loads(seal_keyset(Keyset.generate(), CANARY)), **changes}
    monkeypatch.setattr(passphrase_module, "_stretch", lambda *_: pytest.fail("scrypt was started"))
    with pytest.raises(IntegrityError, match="corrupt"):
        open_keyset(json.dumps(document).encode(), CANARY, "a test")
    with pytest.raises(IntegrityError, match="corrupt"):
        open_keyset(b" " * 200_000, CANARY, "a test")


def test_every_changed_byte_of_a_sealed_keyset_is_an_error(
    cheap_scrypt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Denied or corrupt, never another key, and never a different exception."""
    keyset = Keyset.generate()
    sealed = seal_keyset(keyset, CANARY)
    real, memo = passphrase_module._stretch, dict[Any, Any]()
    monkeypatch.setattr(
        passphrase_module, "_stretch", lambda *a: memo[a] if a in memo else memo.setdefault(a, real(*a))
    )
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with suppress(PermissionDeniedError, IntegrityError):
            opened = open_keyset(bytes(changed), CANARY, "a test")
            assert opened.to_json() == keyset.to_json()  # a byte of insignificant JSON white space


def test_a_file_counter_gives_blocks_in_order(tmp_path: Path) -> None:
    """One byte for each, which tells its size: what is asked for, rounded up."""
    counter = FileWrapCounter(tmp_path / "k.wraps")
    counter.create()
    assert [counter.reserve(WRAP_BLOCK) for _ in range(3)] == [0, WRAP_BLOCK, 2 * WRAP_BLOCK]
    assert [counter.reserve(count) for count in (1, 64, 65, 40_000, 1)] == [
        3 * WRAP_BLOCK,
        3 * WRAP_BLOCK + 64,
        3 * WRAP_BLOCK + 128,
        3 * WRAP_BLOCK + 256,
        4 * WRAP_BLOCK + 256,
    ]
    assert counter.path.read_bytes() == b"...aab.a"
    assert counter.taken() == 4 * WRAP_BLOCK + 320


def test_a_damaged_byte_counts_as_a_whole_block(tmp_path: Path) -> None:
    """Too many wraps are safe, too few are not."""
    counter = FileWrapCounter(tmp_path / "k.wraps")
    counter.path.write_bytes(b"a\0\xffz")
    assert counter.reserve(1) == 64 + 3 * WRAP_BLOCK


def test_a_process_that_wraps_once_takes_few_numbers(file: KeysetFile) -> None:
    """A command run once a minute would else spend its key in 22 days; who wraps much asks seldom."""
    key = file.create()
    (counter,) = file.path.parent.glob("*.wraps")
    key.wrap(bytes(32), {})
    assert counter.read_bytes() == b"a"
    for _ in range(2 * WRAP_BLOCK):
        key.wrap(bytes(32), {})
    assert counter.read_bytes() == b"abcdefghij.."


def test_a_spent_counter_grows_no_more(tmp_path: Path) -> None:
    """2^31 wraps are 32,768 bytes, and refused attempts write nothing."""
    counter = FileWrapCounter(tmp_path / "k.wraps")
    counter.path.write_bytes(b"." * (MAX_WRAPS // WRAP_BLOCK))
    assert counter.reserve(WRAP_BLOCK) == MAX_WRAPS
    assert counter.path.stat().st_size == 32_768


def test_a_block_whose_durability_failed_is_lost_and_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync nobody knows what the disk holds, so the block is never given out."""
    counter = FileWrapCounter(tmp_path / "k.wraps")
    counter.create()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _raising(errno.EIO))
        with pytest.raises(UnavailableError, match="durable"):
            counter.reserve(WRAP_BLOCK)
    assert counter.reserve(WRAP_BLOCK) == WRAP_BLOCK


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EROFS, PermissionDeniedError),
        (errno.EACCES, PermissionDeniedError),
        (errno.ENOSPC, UnavailableError),
        (errno.ENOENT, IntegrityError),
    ],
)
def test_a_keyset_whose_counter_cannot_be_written_still_reads(
    file: KeysetFile, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[SecretStoreError]
) -> None:
    """Read-only, full, or missing: wrapping is refused with what to do, opening goes on."""
    message = encrypt(b"v", keys=[file.create()], context={})
    key = file.load()
    real = os.open
    fail = _raising(number)

    def opened(path: Any, *rest: Any) -> int:
        if str(path).endswith(".wraps"):
            fail()
        return real(path, *rest)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(expected):
        encrypt(b"v", keys=[key], context={})
    assert decrypt(message, keys=[key], context={}).value == b"v"


def _python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, env=environment)


_RESERVE = """
import os, sys
from pathlib import Path
from strongroom.localkey import MAX_WRAPS, WRAP_BLOCK
from strongroom.wrapcount import FileWrapCounter
counter = FileWrapCounter(Path(sys.argv[1]))
while (start := counter.reserve(WRAP_BLOCK)) < MAX_WRAPS:
    os.write(1, start.to_bytes(8, "big"))
"""


def test_a_killed_process_never_makes_a_count_repeat(tmp_path: Path) -> None:
    """kill -9 at any instant of reserving: every block given out is above all that were given out before."""
    counter = FileWrapCounter(tmp_path / "k.wraps")
    counter.create()
    highest = -1
    for _ in range(scaled(100)):
        with _python(_RESERVE, str(counter.path)) as process:
            assert process.stdout is not None
            said = process.stdout.read(8)
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read()
        starts = [int.from_bytes(said[at : at + 8], "big") for at in range(0, len(said), 8)]
        assert starts
        assert [highest, *starts] == sorted({highest, *starts})
        highest = max(starts)
    assert counter.reserve(WRAP_BLOCK) > highest


def test_two_processes_never_reserve_one_block(tmp_path: Path) -> None:
    """Racing for the last 2,000 blocks: each is given out once, and all are."""
    counter = FileWrapCounter(tmp_path / "k.wraps")
    counter.path.write_bytes(b"." * (MAX_WRAPS // WRAP_BLOCK - 2_000))
    processes = [_python(_RESERVE, str(counter.path)) for _ in range(2)]
    said = b"".join(process.communicate()[0] for process in processes)
    starts = sorted(int.from_bytes(said[at : at + 8], "big") for at in range(0, len(said), 8))
    assert starts == list(range(MAX_WRAPS - 2_000 * WRAP_BLOCK, MAX_WRAPS, WRAP_BLOCK))


_WRAP = """
import sys
from strongroom.errors import InvalidRequestError
from strongroom_local.keyset import KeysetFile
key, wraps = KeysetFile(sys.argv[1]).load(), 0
try:
    while True:
        key.wrap(bytes(32), {})
        wraps += 1
except InvalidRequestError:
    print(wraps)
"""


def test_two_processes_of_one_keyset_never_exceed_its_count(file: KeysetFile) -> None:
    """With three blocks left, two processes wrap until they are refused: no more than three blocks in all."""
    file.create()
    (counter,) = file.path.parent.glob("*.wraps")
    counter.write_bytes(b"." * (MAX_WRAPS // WRAP_BLOCK - 3))
    processes = [_python(_WRAP, str(file.path)) for _ in range(2)]
    wraps = sum(int(process.communicate()[0]) for process in processes)
    assert 2 * WRAP_BLOCK < wraps <= 3 * WRAP_BLOCK


def test_a_forked_child_reserves_its_own_block(file: KeysetFile) -> None:
    """Else parent and child would spend one block twice."""
    key = file.create()
    (counter,) = file.path.parent.glob("*.wraps")
    key.wrap(bytes(32), {})
    child = os.fork()
    if not child:
        key.wrap(bytes(32), {})
        os._exit(counter.stat().st_size)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    key.wrap(bytes(32), {})
    assert counter.stat().st_size == 2
