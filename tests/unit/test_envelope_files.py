"""Messages from file to file: the output is whole or absent, whatever the file system does and when."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from strongroom import DataKeyCache, decrypt, decrypt_file, encrypt_file
from strongroom.envelope import atomic, files
from strongroom.envelope.atomic import TEMPORARY_PREFIX, atomic_output
from strongroom.envelope.sealing import FRAME_LENGTH
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from tests.canary import CANARY_BYTES, assert_no_canary_in, plaintext
from tests.chaos.forked import Forked
from tests.scale import NIGHTLY
from tests.unit.envelope_support import Author, SpyKey, local_key
from tests.unit.file_faults import ATTEMPT, acting, failing

CONTEXT = {"tenant": "t1"}
DATA = random.Random(0).randbytes(FRAME_LENGTH + 5)
SMALL = DATA[:5]
KINDS = ["nameless", "named", "no hard links"]


def seal(source: Path, target: Path, **options: Any) -> int:
    length: int = encrypt_file(source, target, keys=[local_key()], context=CONTEXT, **options)
    return length


def unseal(source: Path, target: Path, **options: Any) -> None:
    decrypt_file(source, target, keys=[local_key()], context=CONTEXT, **options)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def descriptors(folder: Path) -> list[str]:
    """What is open of a folder, itself included; whatever else this process holds may close at any time."""
    found = list[str]()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.append(str(link.readlink()))
    return [path for path in found if path.startswith(str(folder))]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """File systems: with files without a name, without, and without hard links too."""
    name: str = request.param
    if name != "nameless":
        monkeypatch.delattr(os, "O_TMPFILE")
    if name == "no hard links":

        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(errno.EPERM, "as FAT says")

        monkeypatch.setattr(os, "link", refuse)
    return name


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_go_round_and_nothing_else_is_left(
    kind: str, tmp_path: Path, source: Path, overwrite: bool
) -> None:
    """On every kind of file system, and over an old file."""
    message, plain = tmp_path / "message", tmp_path / "plain"
    if overwrite:
        message.write_bytes(b"old")
        plain.write_bytes(b"old")
    assert seal(source, message, overwrite=overwrite) == len(DATA)
    unseal(message, plain, overwrite=overwrite)
    assert plain.read_bytes() == DATA
    assert decrypt(message.read_bytes(), keys=[local_key()], context=CONTEXT).value == DATA
    assert names(tmp_path) == {"source", "message", "plain"}


def test_a_message_has_the_permissions_of_its_source_and_plaintext_is_private(
    kind: str, tmp_path: Path, source: Path
) -> None:
    """The umask neither adds nor takes away; a message that all may read makes no secret that all may."""
    before = os.umask(0o027)
    try:
        for mode in (0o644, 0o400, 0o4755):
            source.chmod(mode)
            seal(source, tmp_path / "message", overwrite=True)
            assert mode_of(tmp_path / "message") == mode & 0o777
        unseal(tmp_path / "message", tmp_path / "plain")
        assert mode_of(tmp_path / "plain") == 0o600
        unseal(tmp_path / "message", tmp_path / "shared", mode=0o640)
        assert mode_of(tmp_path / "shared") == 0o640
    finally:
        os.umask(before)


def test_it_is_private_until_it_is_whole(kind: str, tmp_path: Path) -> None:
    """Nobody opens what is half there, by any name, and keeps it open."""
    with atomic_output(tmp_path / "target", mode=0o644) as file:
        file.write(b"part")
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert names(tmp_path) - {"target"} == ({name for name in names(tmp_path) if kind != "nameless"})
        assert all(name.startswith(TEMPORARY_PREFIX) for name in names(tmp_path))
    assert mode_of(tmp_path / "target") == 0o644


def test_an_existing_target_is_kept_unless_overwriting_is_asked_for(tmp_path: Path, source: Path) -> None:
    """And it is refused before any key is asked."""
    target, spy = tmp_path / "target", SpyKey()
    target.write_bytes(b"old")
    with pytest.raises(SecretConflictError):
        encrypt_file(source, target, keys=[spy], context=CONTEXT)
    assert (target.read_bytes(), spy.calls) == (b"old", [])


@pytest.mark.parametrize("intruder", ["file", "folder", "dangling link"])
def test_what_came_to_the_target_in_between_is_not_replaced(
    kind: str, tmp_path: Path, source: Path, intruder: str
) -> None:
    """The check at the start is a courtesy; the link at the end is the rule."""
    target = tmp_path / "target"

    def intrude(_: int) -> None:
        if not os.path.lexists(target):
            make: dict[str, Callable[[], None]] = {
                "file": target.touch,
                "folder": target.mkdir,
                "dangling link": partial(target.symlink_to, tmp_path / "nowhere"),
            }
            make[intruder]()

    with pytest.raises(SecretConflictError):
        seal(source, target, progress=intrude)
    assert names(tmp_path) == {"source", "target"}
    assert not target.is_file() or target.read_bytes() == b""


def bad_targets(folder: Path) -> Iterator[tuple[str | Path, type[SecretStoreError], str]]:
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "source")
    (folder / "dangling").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    yield folder / "folder", InvalidRequestError, "is a folder"
    yield f"{folder}/folder/", InvalidRequestError, "is a folder"
    yield f"{folder}/..", InvalidRequestError, "is a folder"
    yield folder / "dangling", InvalidRequestError, "symbolic link"
    yield folder / "pipe", InvalidRequestError, "not a regular file"
    yield "/dev/null", InvalidRequestError, "not a regular file"
    yield folder / "source", InvalidRequestError, "both source and target"
    yield folder / "link", InvalidRequestError, "both source and target"
    yield folder / "missing" / "target", SecretNotFoundError, "no such file"
    yield folder / "source" / "target", InvalidRequestError, "not a directory"
    yield folder / ("n" * 256), InvalidRequestError, "too long"
    yield folder / "a\nb\0", InvalidRequestError, "no path"
    yield "", InvalidRequestError, "no path"


def test_a_target_that_cannot_be_one_is_refused_on_one_line(tmp_path: Path, source: Path) -> None:
    """A device is not replaced, a link not followed, and nothing is left."""
    cases = list(bad_targets(tmp_path))
    before = names(tmp_path)
    for target, error, words in cases:
        with pytest.raises(error, match=words) as caught:
            encrypt_file(source, target, keys=[local_key()], context=CONTEXT, overwrite=True)
        assert "\n" not in str(caught.value)
        assert caught.value.__context__ is None
    assert names(tmp_path) == before
    assert source.read_bytes() == DATA


def test_a_source_that_cannot_be_one_is_refused_on_one_line(tmp_path: Path) -> None:
    """And the target stays absent."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {"missing": SecretNotFoundError, ".": InvalidRequestError, "loop": InvalidRequestError}
    for name, error in cases.items():
        with pytest.raises(error) as caught:
            seal(tmp_path / name, tmp_path / "target")
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == {"loop"}


def test_one_file_under_two_names_is_not_source_and_target(tmp_path: Path, source: Path) -> None:
    """Overwriting a hard link would leave one name with plaintext and look done."""
    (tmp_path / "other").hardlink_to(source)
    with pytest.raises(InvalidRequestError, match="both source and target"):
        seal(source, tmp_path / "other", overwrite=True)


def test_names_may_be_as_long_as_the_file_system_allows(kind: str, tmp_path: Path, source: Path) -> None:
    """The temporary name does not grow with the target's."""
    target = tmp_path / ("n" * 255)
    seal(source, target)
    seal(source, target, overwrite=True)
    assert names(tmp_path) == {"source", target.name}


def test_a_relative_target_stays_in_its_folder(
    kind: str, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the process, or the folder, moves while the work is done."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def move(_: int) -> None:
        if folder.exists():
            os.chdir(tmp_path)
            folder.rename(tmp_path / "moved")

    seal(source, Path("target"), progress=move)
    assert names(tmp_path) == {"source", "moved"}
    assert names(tmp_path / "moved") == {"target"}


def test_a_pipe_is_a_source(tmp_path: Path) -> None:
    """Its message is private, since a pipe's permissions say nothing about what comes through it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    feeder = threading.Thread(target=pipe.write_bytes, args=(DATA,))
    feeder.start()
    seal(pipe, tmp_path / "message")
    feeder.join()
    assert decrypt((tmp_path / "message").read_bytes(), keys=[local_key()], context=CONTEXT).value == DATA
    assert mode_of(tmp_path / "message") == 0o600


def test_the_data_key_cache_is_told_how_long_the_file_is(tmp_path: Path, source: Path) -> None:
    """One call to the KEK for two files; a file of /proc, which says that it is empty, goes without."""
    cache, spy = DataKeyCache(), SpyKey()
    for number in range(2):
        encrypt_file(source, tmp_path / str(number), keys=[spy], context=CONTEXT, data_keys=cache)
    assert spy.calls == ["wrap"]
    encrypt_file("/proc/self/limits", tmp_path / "limits", keys=[spy], context=CONTEXT, data_keys=cache)
    assert b"Max" in decrypt((tmp_path / "limits").read_bytes(), keys=[spy], context=CONTEXT).value


def test_a_file_longer_than_a_message_is_refused_at_once(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any key is asked, not after 4 PiB."""
    monkeypatch.setattr(files, "MAX_FRAMES", 1)
    spy = SpyKey()
    with pytest.raises(InvalidRequestError, match="longer than a message"):
        encrypt_file(source, tmp_path / "target", keys=[spy], context=CONTEXT)
    assert (spy.calls, names(tmp_path)) == ([], {"source"})


@pytest.mark.parametrize("overwrite", [False, True])
def test_plaintext_that_is_not_verified_to_the_end_appears_nowhere(
    kind: str, tmp_path: Path, overwrite: bool
) -> None:
    """A message whose last byte is wrong leaves what was there."""
    message, plain = tmp_path / "message", tmp_path / "plain"
    content = bytearray(Author(context=CONTEXT).framed(CANARY_BYTES * 10, 32))
    content[-1] ^= 1
    message.write_bytes(content)
    if overwrite:
        plain.write_bytes(b"old")
    before = names(tmp_path)
    with pytest.raises(IntegrityError) as caught:
        unseal(message, plain, overwrite=overwrite)
    assert_no_canary_in(caught.value)
    assert names(tmp_path) == before
    assert not overwrite or plain.read_bytes() == b"old"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_an_interruption_leaves_nothing(
    kind: str, tmp_path: Path, source: Path, error: type[BaseException]
) -> None:
    """Whatever kind of exception it is, and no descriptor stays open."""
    assert not descriptors(tmp_path)

    def stop(_: int) -> None:
        raise error

    with pytest.raises(error):
        seal(source, tmp_path / "target", progress=stop)
    assert names(tmp_path) == {"source"}
    assert not descriptors(tmp_path)


# Every call to the system fails, at every position.


def work_under(
    position: int, error: int, work: Callable[[], Any]
) -> tuple[list[str], SecretStoreError | None]:
    """The calls that the work made, of which one failed, and its own error."""
    with acting(position, failing(error)) as calls:
        try:
            work()
        except SecretStoreError as failure:
            return calls.names, failure
        return calls.names, None


EXPECTED = {
    errno.ENOSPC: (UnavailableError,),
    errno.EIO: (UnavailableError,),
    errno.EDQUOT: (UnavailableError,),
    errno.EINTR: (UnavailableError,),
    errno.EACCES: (PermissionDeniedError,),
    errno.EROFS: (PermissionDeniedError,),
}


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "over an old file"])
@pytest.mark.parametrize("error", list(EXPECTED)[:: 1 if NIGHTLY else 4], ids=errno.errorcode.get)
def test_whatever_call_fails_the_target_is_whole_or_as_it_was(
    kind: str, tmp_path: Path, source: Path, error: int, overwrite: bool
) -> None:
    """With each error at each call: a typed error, no stray file, no open descriptor."""
    target = tmp_path / "target"
    source.write_bytes(SMALL)
    position, calls = 0, list[str]()
    while position <= len(calls):  # until there is no such call any more
        position += 1
        target.unlink(missing_ok=True)
        if overwrite:
            target.write_bytes(b"old")
        calls, failure = work_under(position, error, lambda: seal(source, target, overwrite=overwrite))
        last = calls[position - 1] if position <= len(calls) else ""
        assert failure is None or isinstance(failure, EXPECTED[error]), (last, failure)
        if last in ("link", "replace") and isinstance(failure, UnavailableError):
            assert failure.performed is None  # a disk that fails may have done its work
        check_target(target, old=b"old" if overwrite else None, failure=failure, where=last)
        assert names(tmp_path) - {"source", "target"} == set() or last == "unlink", last
        for stray in names(tmp_path) - {"source", "target"}:
            (tmp_path / stray).unlink()
        assert not descriptors(tmp_path), last
    assert {"open", "fchmod", "fsync", "write", "readinto"} <= set(calls)


def check_target(target: Path, *, old: bytes | None, failure: SecretStoreError | None, where: str) -> None:
    if target.exists() and target.read_bytes() != old:
        assert decrypt(target.read_bytes(), keys=[local_key()], context=CONTEXT).value == SMALL, where
        assert failure is None or failure.performed is None, where
    else:
        assert failure is not None, where
        assert target.exists() == (old is not None), where


def test_the_disk_has_the_bytes_before_the_name_and_the_name_before_the_return(
    kind: str, tmp_path: Path, source: Path
) -> None:
    """So a power cut leaves the old file or the new one; never an empty one under the name."""
    for overwrite in (False, True):
        calls, failure = work_under(0, 0, partial(seal, source, tmp_path / "target", overwrite=overwrite))
        assert failure is None
        named = "replace" if overwrite or kind == "no hard links" else "link"
        writes = max(number for number, call in enumerate(calls) if call == "write")
        first_sync, last_sync = calls.index("fsync"), len(calls) - 1 - calls[::-1].index("fsync")
        assert writes < calls.index("fchmod") < first_sync < calls.index(named) < last_sync


def test_writes_may_be_cut_short(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is written by the next call."""
    dice = random.Random(1)

    def short(path: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if getattr(call, "__name__", "") in ("write", "readinto"):
            arguments = (arguments[0][: dice.randint(1, len(arguments[0]))],)
        return ATTEMPT(path, call, *arguments, **options)

    monkeypatch.setattr(atomic, "attempt", short)
    seal(source, tmp_path / "message")
    unseal(tmp_path / "message", tmp_path / "plain")
    assert (tmp_path / "plain").read_bytes() == DATA


def test_a_real_limit_of_the_system_is_one_typed_line(kind: str, tmp_path: Path, source: Path) -> None:
    """The kernel itself cuts a write short and fails the next: EFBIG, as a full disk gives ENOSPC."""

    def limited(say: Callable[[Any], None]) -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FRAME_LENGTH // 2, FRAME_LENGTH // 2))
        try:
            seal(source, tmp_path / "target")
        except UnavailableError as error:
            say(str(error))

    child = Forked(limited)
    (line,) = child.rest()
    assert child.wait() == 0
    assert "too large" in line
    assert names(tmp_path) == {"source"}


def test_an_error_while_writing_plaintext_carries_none_of_it(tmp_path: Path) -> None:
    """Neither the message nor the frames that the error came through."""
    source = plaintext(tmp_path, "what is encrypted") / "source"
    source.write_bytes(CANARY_BYTES)
    seal(source, tmp_path / "message")
    other = tmp_path / "other"
    for work in (partial(seal, source, other), partial(unseal, tmp_path / "message", other)):
        calls, _ = work_under(0, 0, work)
        other.unlink()
        _, failure = work_under(calls.index("write") + 1, errno.ENOSPC, work)
        assert isinstance(failure, UnavailableError)
        assert_no_canary_in(failure)


def test_bytes_of_the_callers_own_stay_out_of_errors(tmp_path: Path) -> None:
    """`atomic_output` is given plaintext by others too."""
    with acting(0, failing(errno.ENOSPC)) as calls, atomic_output(tmp_path / "target") as file:
        calls.position = len(calls.names) + 1
        with pytest.raises(UnavailableError) as caught:
            file.write(CANARY_BYTES)
    assert_no_canary_in(caught.value)


def test_the_output_is_a_plain_binary_file(tmp_path: Path) -> None:
    """So that whoever writes in the block can wrap it."""
    with atomic_output(tmp_path / "target") as file:
        buffered = io.BufferedWriter(file)
        buffered.write(b"value")
        buffered.detach()
    assert (tmp_path / "target").read_bytes() == b"value"
