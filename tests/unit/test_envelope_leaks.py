"""Whatever fails, and wherever: no error of the envelope carries plaintext, data key or message key.

Every call that the envelope makes into C (a cipher, a file, a buffer) is made to fail once, each in its turn,
as memory that runs out would make it; so is every call of a KEK, a source and a sink. Then message, chain and
attributes of the error and all locals of our frames on its way are searched.
"""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from strongroom.envelope import sealing
from strongroom.envelope.cipher import decrypt, decrypt_into, encrypt, encrypt_into
from strongroom.envelope.files import decrypt_file, encrypt_file
from strongroom.envelope.reencrypt import reencrypt, reencrypt_file
from strongroom.envelope.stream import DecryptingReader, EncryptingWriter, decrypt_stream, encrypt_stream
from strongroom.errors import IntegrityError
from strongroom.keys import DataKey, KeyWrapper, WrappedKey
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary_in, plaintext
from tests.scale import NIGHTLY

_PRODUCT = str(Path(sealing.__file__).parents[1])
_VALUE = CANARY_BYTES * 4
_KEY = CANARY_BYTES[:31].ljust(32, b"!")
_FRAME = 64
_TEXT: Any = CANARY
_LIST: Any = [_VALUE]
_READ_ONLY: Any = bytes(900)
_CONTEXT = {"a": "1"}
_CANNOT_FAIL = ("len", "__exit__")
"""The length of a buffer, and the release of a lock."""


class _BrokenError(Exception):
    """What is raised in the place of a call."""


class _Chances:
    """Raises at the `nth` chance; `left` tells whether that was reached."""

    def __init__(self, nth: int = sys.maxsize):
        self.left = nth

    def take(self) -> None:
        self.left -= 1
        if not self.left:
            raise _BrokenError


class _CallsIntoC(_Chances):
    """For `sys.setprofile`: each call that the product makes into C is a chance."""

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        ours = frame.f_code.co_filename.startswith(_PRODUCT)
        if ours and event == "c_call" and called.__name__ not in _CANNOT_FAIL:
            self.take()


class _Kek(KeyWrapper):
    """Its data key is the canary; each call of it is a chance to fail."""

    provider_id, key_id = "test", "k"

    def __init__(self, chances: _Chances):
        self._chances = chances

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return DataKey(_KEY, self.wrap(_KEY, context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        self._chances.take()
        return self.wrapped(b"wrapped")

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        self._chances.take()
        return _KEY


class _File(io.BytesIO):
    """A source or sink; each call of it is a chance to fail."""

    def __init__(self, chances: _Chances, data: bytes = b""):
        super().__init__(data)
        self._chances = chances

    def readinto(self, buffer: Any, /) -> int:
        self._chances.take()
        return super().readinto(buffer)

    def write(self, data: Any, /) -> int:
        self._chances.take()
        return super().write(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._chances.take()
        return super().seek(offset, whence)


class _World:
    """What a work is given: files, messages, and KEKs and streams that take their chances."""

    def __init__(self, folder: Path):
        self.chances, self._folder = (
            _Chances(),
            plaintext(folder, "what encrypt_file and decrypt_file are for"),
        )
        self.messages = {signed: encrypt(_VALUE, signed=signed, **self.options) for signed in (False, True)}
        self.path("plain").write_bytes(_VALUE)
        for signed, message in self.messages.items():
            self.path(f"message {signed}").write_bytes(message)

    @property
    def keks(self) -> list[_Kek]:
        return [_Kek(self.chances), _Kek(self.chances)]

    @property
    def options(self) -> dict[str, Any]:
        return {"keys": self.keks, "context": _CONTEXT}

    def path(self, name: str) -> Path:
        return self._folder / name

    def file(self, data: bytes = b"") -> _File:
        return _File(self.chances, data)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _World:
    """The message key is the canary too; frames are short."""
    monkeypatch.setattr(sealing, "derive", lambda suite, data_key, message_id: (_KEY, bytes(32)))
    for module in ("cipher", "sealing", "stream", "writer"):
        monkeypatch.setattr(f"strongroom.envelope.{module}.FRAME_LENGTH", _FRAME)
    monkeypatch.setattr("strongroom.envelope.reader._TARGET", _FRAME)
    return _World(tmp_path)


def _one_frame(world: _World, signed: bool) -> None:
    encrypt(_VALUE[:60], signed=signed, **world.options)


def _one_frame_of_a_bytearray(world: _World, signed: bool) -> None:
    encrypt(bytearray(_VALUE[:60]), signed=signed, **world.options)


def _encrypt(world: _World, signed: bool) -> None:
    encrypt(_VALUE, signed=signed, **world.options)


def _encrypt_into(world: _World, signed: bool) -> None:
    encrypt_into(_VALUE, bytearray(2000), signed=signed, **world.options)


def _write(world: _World, signed: bool) -> None:
    file = EncryptingWriter(world.file(), signed=signed, **world.options)
    try:
        with file:
            file.write(_VALUE[:70])
            file.write(bytearray(_VALUE[70:]))
    finally:
        file.abandon()  # where leaving the block failed


def _encrypt_stream(world: _World, signed: bool) -> None:
    source, sink = world.file(_VALUE), world.file()
    encrypt_stream(source, sink, signed=signed, progress=lambda done: world.chances.take(), **world.options)


def _encrypt_file(world: _World, signed: bool) -> None:
    encrypt_file(world.path("plain"), world.path("out"), overwrite=True, signed=signed, **world.options)


def _decrypt(world: _World, signed: bool) -> None:
    assert decrypt(world.messages[signed], **world.options).value == _VALUE


def _decrypt_one_frame(world: _World, signed: bool) -> None:
    message = encrypt(_VALUE[:60], keys=[_Kek(_Chances())], context=_CONTEXT, signed=signed)
    assert decrypt(message, **world.options).value == _VALUE[:60]


def _decrypt_into(world: _World, signed: bool) -> None:
    assert decrypt_into(world.messages[signed], bytearray(500), **world.options) == len(_VALUE)


def _decrypt_stream(world: _World, signed: bool) -> None:
    source = world.file(world.messages[signed])
    decrypt_stream(source, world.file(), progress=lambda done: world.chances.take(), **world.options)


def _read(world: _World, signed: bool) -> None:
    with DecryptingReader(world.file(world.messages[signed]), **world.options) as reader:
        assert reader.read() == _VALUE


def _read_anywhere(world: _World, signed: bool) -> None:
    with DecryptingReader(world.file(world.messages[signed]), **world.options) as reader:
        reader.seek(70)
        reader.peek()
        reader.read1(5)
        reader.readinto(bytearray(40))
        reader.seek(0)
        reader.readinto1(bytearray(40))
        reader.readline()


def _decrypt_file(world: _World, signed: bool) -> None:
    decrypt_file(world.path(f"message {signed}"), world.path("out"), overwrite=True, **world.options)


def _reencrypt(world: _World, signed: bool) -> None:
    reencrypt(world.messages[signed], opens=world.keks, keys=world.keks)


def _reencrypt_file(world: _World, signed: bool) -> None:
    path = world.path("again")
    path.write_bytes(world.messages[signed])
    reencrypt_file(path, opens=world.keks[:1], keys=world.keks[:1])


_WORKS: list[Callable[[_World, bool], None]] = [
    _one_frame,
    _one_frame_of_a_bytearray,
    _encrypt,
    _encrypt_into,
    _write,
    _encrypt_stream,
    _encrypt_file,
    _decrypt,
    _decrypt_one_frame,
    _decrypt_into,
    _decrypt_stream,
    _read,
    _read_anywhere,
    _decrypt_file,
    _reencrypt,
    _reencrypt_file,
]


@pytest.fixture(params=_WORKS, ids=lambda work: work.__name__.strip("_"))
def work(request: pytest.FixtureRequest, world: _World) -> Callable[[bool], None]:
    """One public function, from beginning to end."""
    return partial(request.param, world)


def _failures(
    work: Callable[[], None], begin: Callable[[int], _Chances], step: int = 1
) -> Iterator[BaseException]:
    """The error of each run: in the first the first chance fails, in the last there is none any more."""
    nth, reached = 1, True
    while reached:
        chances, failure = begin(nth), None
        try:
            work()
        except BaseException as error:
            failure = error
        finally:
            sys.setprofile(None)
        if failure is not None:
            yield failure
            failure = None  # or the error and this frame hold each other, and what else they hold
        reached, nth = chances.left <= 0, nth + step


@pytest.mark.parametrize("signed", [False, True], ids=["0478", "0578"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where closing itself failed
def test_no_call_into_c_that_fails_shows_a_secret(
    work: Callable[[bool], None], signed: bool, request: pytest.FixtureRequest
) -> None:
    """Each of them once (by day every sixth): ciphers, digests, buffers, system calls."""

    def begin(nth: int) -> _Chances:
        chances = _CallsIntoC(nth)
        sys.setprofile(chances)
        return chances

    work(signed)
    failures = 0
    for error in _failures(partial(work, signed), begin, step=1 if NIGHTLY else 6):
        assert_no_canary_in(error)
        failures += isinstance(error, _BrokenError)
    assert failures > 2
    del error
    if "file" in request.node.callspec.id:
        gc.collect()  # now, and not in a test that does not expect it


@pytest.mark.parametrize("signed", [False, True], ids=["0478", "0578"])
def test_no_kek_source_sink_or_callback_that_fails_shows_a_secret(
    work: Callable[[bool], None], signed: bool, world: _World
) -> None:
    """Each call of what the caller brought, once; what it raised comes out as it is."""

    def begin(nth: int) -> _Chances:
        world.chances.left = nth
        return world.chances

    failures = 0
    for error in _failures(partial(work, signed), begin):
        assert_no_canary_in(error)
        assert type(error) is _BrokenError
        failures += 1
    assert failures > 0


class _Talker(io.RawIOBase):
    """Breaks the rules of sources: it gives text, or more than was asked for."""

    def __init__(self, gives: object):
        self._gives = gives

    def read(self, size: int = -1) -> Any:
        return self._gives

    readinto = None  # type: ignore[assignment]


def _write_text(**options: Any) -> None:
    with EncryptingWriter(io.BytesIO(), **options) as file:
        file.write(_TEXT)


@pytest.mark.parametrize(
    "provoke",
    [
        lambda **options: encrypt(_TEXT, **options),
        lambda **options: encrypt(_LIST, **options),
        lambda **options: encrypt_into(_TEXT, bytearray(900), **options),
        lambda **options: encrypt_into(_VALUE, bytearray(9), **options),
        lambda **options: encrypt_into(_VALUE, _READ_ONLY, **options),
        _write_text,
        lambda **options: encrypt_stream(io.StringIO(CANARY), io.BytesIO(), **options),
        lambda **options: encrypt_stream(_Talker(CANARY), io.BytesIO(), **options),
        lambda **options: encrypt_stream(_Talker(_VALUE * 9999), io.BytesIO(), **options),
        lambda **options: encrypt_stream(io.BytesIO(_VALUE), io.BytesIO(), length=3, **options),
        lambda **options: decrypt_into(encrypt(_VALUE, **options), bytearray(9), **options),
        lambda **options: decrypt_into(encrypt(_VALUE, **options), _READ_ONLY, **options),
        lambda **options: decrypt_stream(io.BytesIO(encrypt(_VALUE, **options)), io.StringIO(), **options),
        lambda **options: decrypt_stream(io.BytesIO(encrypt(_VALUE, **options)), _Talker(None), **options),
    ],
)
def test_no_mistake_of_the_caller_shows_a_secret(world: _World, provoke: Callable[..., object]) -> None:
    """Text for bytes, buffers too short or not writable, sources and sinks that are none."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (whatever it is)
        provoke(**world.options)
    assert_no_canary_in(caught.value)


@pytest.mark.parametrize("way", ["read", "readinto"])
def test_a_read_that_meets_a_bad_frame_shows_nothing_of_the_good_ones(world: _World, way: str) -> None:
    """What was verified before is not handed over, and does not travel with the error either."""
    source = io.BytesIO(encrypt(_VALUE * 2, **world.options))
    with DecryptingReader(source, **world.options) as reader:
        source.getbuffer()[-2 * (_FRAME + 32) - 50] ^= 1  # in the second frame of four
        with pytest.raises(IntegrityError) as caught:
            reader.read() if way == "read" else reader.readinto(bytearray(300))
    assert_no_canary_in(caught.value)
