"""One message id, one header; one key, no IV twice: recorded over everything in the product that writes.

What follows if that broke is in test_envelope_forgery.py.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import strongroom
from strongroom.envelope import sealing
from strongroom.envelope.binding import join
from strongroom.envelope.cipher import encrypt, encrypt_into, message_length
from strongroom.envelope.datakeys import DataKeyCache
from strongroom.envelope.files import encrypt_file
from strongroom.envelope.message import Header, encode_header
from strongroom.envelope.reencrypt import reencrypt, reencrypt_file
from strongroom.envelope.sealing import Sealing
from strongroom.envelope.stream import EncryptingWriter, encrypt_stream
from strongroom.envelope.tree import reencrypt_tree
from strongroom.errors import IntegrityError, InvalidRequestError, UnavailableError
from strongroom.layers.encrypted import Encrypted
from strongroom.localkey import aes_gcm
from strongroom.memory import MemoryBackend
from strongroom.reencryption import reencrypt_store
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.unit.envelope_support import SpyKey, local_key
from tests.unit.keyring_support import Root, World
from tests.unit.test_fork import in_child

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

_FRAME = 16
_OLD, _NEW = local_key(), local_key(bytes(32), "local-2")


class _Seal(NamedTuple):
    """One call of AES-GCM under a message key; `about` is what it was given."""

    key: bytes
    iv: bytes
    about: bytes


class _Recorder:
    """What was written, as it happened."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.seals: list[_Seal] = []

    def assert_all_differ(self, at_least: int) -> None:
        """Every header has its own id, key and commitment, and no IV came twice under a key."""
        assert len(self.headers) >= at_least
        for facts in (
            [header.message_id for header in self.headers],
            [header.commitment for header in self.headers],
            [(seal.key, seal.iv) for seal in self.seals],
        ):
            assert not [fact for fact, times in Counter(facts).items() if times > 1]
        tags = [seal.key for seal in self.seals if not any(seal.iv)]
        assert len(tags) == len(set(tags)) == len(self.headers)
        assert {seal.key for seal in self.seals} == set(tags)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> _Recorder:
    """Records headers and seals of this process; frames are of 16 bytes."""
    found, (real, invalid_tag), encode = _Recorder(), aes_gcm(), encode_header

    class Recording:
        def __init__(self, key: bytes):
            self._key, self._aead = key, real(key)

        def encrypt(self, iv: Any, data: Any, additional: bytes) -> bytes:
            self._note(iv, data, additional)
            return bytes(self._aead.encrypt(iv, data, additional))

        def encrypt_into(self, iv: Any, data: Any, additional: bytes, out: Any) -> int:
            self._note(iv, data, additional)
            return int(self._aead.encrypt_into(iv, data, additional, out))

        def _note(self, iv: Any, data: Any, additional: bytes) -> None:
            digest = hashlib.sha256(bytes(data) + additional).digest()
            found.seals.append(_Seal(self._key, bytes(iv), digest))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._aead, name)

    def encoded(header: Header) -> bytes:
        found.headers.append(header)
        return encode(header)

    monkeypatch.setattr(sealing, "encode_header", encoded)
    monkeypatch.setattr(sealing, "aes_gcm", lambda: (Recording, invalid_tag))
    for module in ("cipher", "sealing", "stream", "writer"):
        monkeypatch.setattr(f"strongroom.envelope.{module}.FRAME_LENGTH", _FRAME)
    return found


class _Full(io.RawIOBase):
    """A sink that takes `calls` writes and then fails, once."""

    def __init__(self, calls: int):
        self.left, self.data = calls, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.left -= 1
        if self.left == -1:
            raise OSError("the disk is full")
        self.data += data
        return len(data)


def _encrypt(value: bytes, sink: Any, **options: Any) -> None:
    sink.write(encrypt(value, **options))


def _encrypt_into(value: bytes, sink: Any, **options: Any) -> None:
    names = ("keys", "context", "signed")
    room = message_length(len(value), **{name: options[name] for name in names if name in options})
    buffer = bytearray(room)
    sink.write(buffer[: encrypt_into(value, buffer, **options)])


def _write(value: bytes, sink: Any, **options: Any) -> None:
    with EncryptingWriter(sink, **options) as file:
        file.write(value[:20])
        file.write(value[20:])


def _stream(value: bytes, sink: Any, **options: Any) -> None:
    encrypt_stream(io.BytesIO(value), sink, length=len(value), **options)


_WRITERS = {
    "encrypt": _encrypt,
    "encrypt_into": _encrypt_into,
    "EncryptingWriter": _write,
    "encrypt_stream": _stream,
}
_VALUES = (b"", b"v" * 16, b"v" * 17, b"v" * 100)


@pytest.fixture(params=list(_WRITERS))
def write(request: pytest.FixtureRequest) -> Callable[..., None]:
    return _WRITERS[request.param]


def test_every_message_of_every_writer_has_its_own_id(
    write: Callable[..., None], recorder: _Recorder
) -> None:
    """The same value, keys and context again and again, signed and not, under one KEK and three."""
    for signed in (False, True):
        for keys in ([_OLD], [_OLD, _NEW, SpyKey()]):
            for value in _VALUES * 3:
                write(value, io.BytesIO(), keys=keys, context={"a": "1"}, signed=signed)
    recorder.assert_all_differ(48)
    assert len(recorder.headers) == 48


def test_an_id_that_comes_twice_is_noticed(recorder: _Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a generator that repeats itself, as that of a virtual machine restored twice."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", bytes)
        for value in (b"one", b"two"):
            encrypt(value, keys=[SpyKey()], context={})
    with pytest.raises(AssertionError):
        recorder.assert_all_differ(2)


def test_a_write_that_failed_is_repeated_under_another_id(
    write: Callable[..., None], recorder: _Recorder
) -> None:
    """A sink that fails at any of its writes, a KEK that does: what is tried again is another message."""
    for value in _VALUES:
        for calls in range(9):
            sink, keys = _Full(calls), [_OLD]
            for _ in range(2):
                with suppress(OSError):
                    write(value, sink, keys=keys, context={})
    before = len(recorder.headers)
    for failing in (
        [SpyKey(failure=UnavailableError("down"))],
        [_OLD, SpyKey(failure=UnavailableError("no"))],
    ):
        with pytest.raises(UnavailableError):
            write(b"v", io.BytesIO(), keys=failing, context={})
        write(b"v", io.BytesIO(), keys=[_OLD], context={})
    assert len(recorder.headers) == before + 2  # a header is written once all KEKs have answered
    recorder.assert_all_differ(72)


def test_a_cached_data_key_serves_messages_of_different_ids_and_keys(
    write: Callable[..., None], recorder: _Recorder
) -> None:
    """One call to the KEK; message id, message key and commitment are each message's own."""
    cache, key = DataKeyCache(), SpyKey()
    for _ in range(10):
        write(b"v" * 40, io.BytesIO(), keys=[key], context={"a": "1"}, data_keys=cache)
    expected = ["wrap"] if write is not _WRITERS["EncryptingWriter"] else ["wrap"] * 10  # of unknown length
    assert key.calls == expected
    assert len({header.wrapped_keys for header in recorder.headers}) == len(expected)
    recorder.assert_all_differ(10)


def test_threads_that_share_a_data_key_share_no_id(recorder: _Recorder) -> None:
    """Eight at once, one cache, one KEK object."""
    cache, key = DataKeyCache(), SpyKey()

    def work() -> None:
        for _ in range(10):
            encrypt(b"v" * 40, keys=[key], context={}, data_keys=cache)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert key.calls == ["wrap"]
    recorder.assert_all_differ(80)


def test_a_writer_that_is_used_again_writes_nothing_or_another_message(recorder: _Recorder) -> None:
    """Closed, abandoned, failed: it is over. Made anew, it is another message."""
    for sink, end in ((io.BytesIO(), "close"), (io.BytesIO(), "abandon"), (_Full(2), "close")):
        file = EncryptingWriter(sink, keys=[_OLD], context={})
        with suppress(OSError):
            file.write(b"v" * 50)
        with suppress(OSError, InvalidRequestError):
            getattr(file, end)()
        for again in (lambda file=file: file.write(b"w" * 50), file.__enter__, file.close):
            with suppress(ValueError, InvalidRequestError):
                again()
        seals = len(recorder.seals)
        with suppress(ValueError, InvalidRequestError):
            file.write(b"x" * 50)
        assert len(recorder.seals) == seals
        file.abandon()
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.copy(file)
    file.__init__(io.BytesIO(), keys=[_OLD], context={})
    file.abandon()
    recorder.assert_all_differ(4)


def test_a_frame_that_failed_does_not_give_its_number_to_another(recorder: _Recorder) -> None:
    """Nor does a copy of what writes: number and IV are spent."""
    message = Sealing.begin([_OLD], join({}))
    out = memoryview(bytearray(_FRAME + 40))
    for piece in (b"short", b"v" * _FRAME, b"much longer than a frame", b"w" * _FRAME):
        with suppress(InvalidRequestError):
            message.seal(piece)
        with suppress(InvalidRequestError):
            message.seal_into(piece, out)
    with pytest.raises(InvalidRequestError):
        message.seal_into(b"v" * _FRAME, out[:-30])
    twin = copy.copy(message)
    twin.seal(b"x" * _FRAME)
    message.seal(b"y" * _FRAME, final=True)
    twin.seal(b"z" * _FRAME, final=True)
    with pytest.raises(TypeError):
        copy.deepcopy(message)
    recorder.assert_all_differ(1)


def test_a_forked_child_goes_on_with_no_message_of_its_parent(recorder: _Recorder) -> None:
    """Both would seal different bytes under one key and IV; the parent's is the one that goes on."""
    cache, key, sink = DataKeyCache(), SpyKey(), io.BytesIO()
    file = EncryptingWriter(sink, keys=[_OLD], context={})
    file.write(b"v" * 20)
    message = Sealing.begin([_OLD], join({}))
    encrypt(b"v", keys=[key], context={}, data_keys=cache)
    before = len(recorder.headers), len(recorder.seals)

    def refused() -> bool:
        for work in (lambda: file.write(b"w" * 20), file.close, lambda: message.seal(b"w" * _FRAME)):
            with pytest.raises(InvalidRequestError, match="forked"):
                work()
        assert (len(recorder.headers), len(recorder.seals)) == before
        encrypt(b"v", keys=[key], context={}, data_keys=cache)
        return key.calls == ["wrap", "wrap"]

    in_child(refused)
    file.write(b"v" * 20)
    file.close()
    message.seal(b"w" * _FRAME, final=True)
    recorder.assert_all_differ(3)


def test_a_fork_in_the_middle_of_a_stream_leaves_one_writer(recorder: _Recorder) -> None:
    """Whatever forks in a callback: one process finishes the message, the other one cannot."""
    children = list[int]()

    def progress(done: int) -> None:
        if done == _FRAME:
            children.append(os.fork())

    source, sink = io.BytesIO(b"v" * 60), io.BytesIO()
    try:
        encrypt_stream(source, sink, keys=[_OLD], context={}, progress=progress)
        code = 1
    except InvalidRequestError:
        code = 0
    finally:
        if children == [0]:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert strongroom.decrypt(sink.getvalue(), keys=[_OLD], context={}).value == b"v" * 60


def test_two_processes_share_no_id(recorder: _Recorder) -> None:
    """A child has random numbers of its own, and its messages open beside its parent's."""
    read, write = os.pipe()

    def child() -> bool:
        made = [encrypt(b"v", keys=[_OLD], context={})[3:35] for _ in range(20)]
        return os.write(write, b"".join(made)) == 640

    in_child(child)
    theirs = os.read(read, 640)
    os.close(read)
    os.close(write)
    for _ in range(20):
        encrypt(b"v", keys=[_OLD], context={})
    ids = [theirs[at : at + 32] for at in range(0, 640, 32)] + [h.message_id for h in recorder.headers]
    assert len(set(ids)) == 40


def test_reencryption_makes_new_messages(recorder: _Recorder, tmp_path: Path) -> None:
    """Of a value, a file and a tree, also to the keys that it has, also repeated, also after a failure."""
    message = encrypt(b"v" * 50, keys=[_OLD], context={"a": "1"})
    for keys in ([_NEW], [_OLD], [_OLD, _NEW], [_OLD]):
        reencrypt(message, opens=[_OLD], keys=keys)
        reencrypt(message, opens=[_OLD], keys=keys, signed=True)
    down = SpyKey(failure=UnavailableError("down"))
    for n in range(3):
        encrypt_file(_put(tmp_path / "plain", b"v" * 50), tmp_path / f"{n}.enc", keys=[_OLD], context={})
    with pytest.raises(UnavailableError):
        reencrypt_file(tmp_path / "0.enc", opens=[_OLD], keys=[_NEW, down])
    with pytest.raises(IntegrityError):
        reencrypt_file(tmp_path / "0.enc", opens=[SpyKey("another")], keys=[_NEW])
    for keys in ([_NEW], [_NEW], [_OLD], [_OLD, _NEW]):
        reencrypt_file(tmp_path / "0.enc", opens=[_OLD, _NEW], keys=keys)
        reencrypt_tree(tmp_path, opens=[_OLD, _NEW], keys=keys)
    recorder.assert_all_differ(20)


def _put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_keyrings_and_stores_make_new_messages(recorder: _Recorder, tmp_path: Path) -> None:
    """A keyring that is made, rotated and put under other roots; a store that is written and re-encrypted."""
    world = World(tmp_path)
    keyring = world.create()
    for _ in range(3):
        keyring.rotate()
    world.open(world.root, Root("two")).rewrap()
    inner = MemoryBackend()
    for keys, old in (([_OLD], []), ([keyring], [_OLD]), ([_NEW], [_OLD, keyring])):
        store = SecretStore(Encrypted(inner, keys, "prod", old_keys=old))
        for name in ("a", "b"):
            if old:
                reencrypt_store(store)
            else:
                store.put(name, SecretValue("v"))
    recorder.assert_all_differ(9)
