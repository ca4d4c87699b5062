"""encrypt and decrypt: what must be expected, which KEKs are asked, and what an error may carry."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.envelope import cipher, sealing
from strongroom.envelope.cipher import (
    Plaintext,
    decrypt,
    decrypt_into,
    encrypt,
    encrypt_into,
    message_length,
)
from strongroom.envelope.message import decode_header
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DataKey, WrappedKey
from strongroom.localkey import MAX_WRAPS, LocalKey, aes_gcm
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary, assert_no_canary_in
from tests.unit.envelope_support import KEK, MemoryCounter, SpyKey, local_key

_BOUND = {"strongroom-domain": "prod", "strongroom-name": "db/password"}


@pytest.mark.parametrize("size", [0, 1, 300, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 5])
def test_what_was_encrypted_is_what_is_decrypted(size: int) -> None:
    """One frame up to 1 MiB, 1 MiB frames above, from any kind of buffer."""
    value = os.urandom(size)
    message = encrypt(bytearray(value), keys=[local_key()], context={"a": "1"})
    assert decrypt(message, keys=[local_key()], context={"a": "1"}).value == value
    assert decrypt(memoryview(message), keys=[local_key()], context={"a": "1"}).value == value
    assert decode_header(message)[0].frame_length == 1 << 20


@given(st.binary(max_size=100), st.dictionaries(st.text("abcé", min_size=1), st.text("xyzü"), max_size=3))
def test_any_value_under_any_context_comes_back(value: bytes, context: Mapping[str, str]) -> None:
    """The context returned is the header's, whole."""
    opened = decrypt(encrypt(value, keys=[local_key()], context=context), keys=[local_key()], context=context)
    assert (opened.value, opened.context, opened.passed_over) == (value, context, ())


def test_the_expected_context_has_no_default() -> None:
    """Nobody forgets to say what a message must be."""
    message = encrypt(b"v", keys=[local_key()], context={})
    with pytest.raises(TypeError, match="context"):
        decrypt(message, keys=[local_key()])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"a": "1"}, {"a": "2"}),
        ({"a": "1"}, {"a": "1", "b": "2"}),
        ({"a": "1", "b": "2"}, {"a": "1"}),
        ({"a": "1"}, {}),
        ({}, {"a": "1"}),
    ],
)
def test_another_context_is_an_integrity_error_before_any_key_is_asked(
    written: dict[str, str], expected: dict[str, str]
) -> None:
    """A swapped message costs no call to a KMS, and cannot probe one."""
    key = SpyKey()
    message = encrypt(b"v", keys=[key], context=written)
    with pytest.raises(IntegrityError, match="context"):
        decrypt(message, keys=[key], context=expected)
    assert key.calls == ["wrap"]


def test_a_message_put_in_another_secrets_place_is_an_integrity_error() -> None:
    """The attack: whoever can write the database swaps two secrets' ciphertexts under one KEK."""
    message = encrypt(b"v", keys=[local_key()], context={}, bindings=_BOUND)
    with pytest.raises(IntegrityError, match="strongroom-name"):
        decrypt(message, keys=[local_key()], context={}, bindings={**_BOUND, "strongroom-name": "db/other"})


def test_write_id_kind_and_stage_need_not_be_expected() -> None:
    """They are known only once the message is read; domain and name are always expected."""
    more = {"strongroom-write-id": "w", "strongroom-kind": "text", "strongroom-stage": "current"}
    message = encrypt(b"v", keys=[local_key()], context={}, bindings={**_BOUND, **more})
    assert decrypt(message, keys=[local_key()], context={}, bindings=_BOUND).context == {**_BOUND, **more}
    with pytest.raises(IntegrityError, match="strongroom-domain"):
        decrypt(message, keys=[local_key()], context={})


@pytest.mark.parametrize("key", ["strongroom-name", "strongroom-anything", "aws-crypto-public-key", ""])
def test_callers_may_not_use_reserved_context_keys(key: str) -> None:
    """Otherwise an application's message could pass for a value of an encrypted store."""
    with pytest.raises(InvalidRequestError, match="context key"):
        encrypt(b"v", keys=[local_key()], context={key: "x"})
    message = encrypt(b"v", keys=[local_key()], context={})
    with pytest.raises(InvalidRequestError, match="context key"):
        decrypt(message, keys=[local_key()], context={key: "x"})


def test_bindings_are_only_strongrooms_own() -> None:
    """The inner entry does not widen the outer one."""
    with pytest.raises(InvalidRequestError, match="binding"):
        encrypt(b"v", keys=[local_key()], context={}, bindings={"a": "1"})


@pytest.mark.parametrize("count", [0, 17])
def test_one_to_sixteen_keys(count: int) -> None:
    """Both ways, before any of them is asked."""
    key = SpyKey()
    with pytest.raises(InvalidRequestError, match="1 to 16"):
        encrypt(b"v", keys=[key] * count, context={})
    with pytest.raises(InvalidRequestError, match="1 to 16"):
        decrypt(b"", keys=[key] * count, context={})
    assert key.calls == []


def test_any_one_of_several_keys_opens_a_message() -> None:
    """Each wraps the same data key."""
    keys = [local_key(os.urandom(32), f"local-{n}") for n in range(5)]
    message = encrypt(b"v", keys=keys, context={"a": "1"})
    for key in keys:
        assert decrypt(message, keys=[key], context={"a": "1"}).value == b"v"


@pytest.mark.parametrize(
    "failure", [UnavailableError("down"), PermissionDeniedError("no"), IntegrityError("bad")]
)
def test_a_failing_key_is_passed_over_and_reported(failure: SecretStoreError) -> None:
    """A regional KMS outage does not take the value away while another KEK opens it."""
    message = encrypt(b"v", keys=[SpyKey("first"), local_key()], context={})
    opened = decrypt(message, keys=[SpyKey("first", failure), local_key()], context={})
    assert (opened.value, opened.passed_over) == (b"v", ("first",))


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([IntegrityError("bad"), UnavailableError("down")], UnavailableError),
        ([IntegrityError("bad"), PermissionDeniedError("no")], PermissionDeniedError),
        ([PermissionDeniedError("no"), UnavailableError("down")], UnavailableError),
        ([IntegrityError("bad")], IntegrityError),
    ],
)
def test_when_no_key_opens_the_most_hopeful_error_is_raised(
    failures: list[SecretStoreError], expected: type[SecretStoreError]
) -> None:
    """A retry may help against the first, a grant against the second."""
    names = [f"key-{n}" for n in range(len(failures))]
    message = encrypt(b"v", keys=[SpyKey(name) for name in names], context={})
    with pytest.raises(expected) as caught:
        decrypt(message, keys=[SpyKey(*pair) for pair in zip(names, failures, strict=True)], context={})
    assert type(caught.value) is expected


def test_a_message_chooses_among_configured_keys_only() -> None:
    """No discovery: a key id in a header is never looked up, and a key of another name is never asked."""
    message = encrypt(b"v", keys=[SpyKey("theirs")], context={})
    ours = SpyKey("ours")
    with pytest.raises(IntegrityError, match="none of the configured keys"):
        decrypt(message, keys=[ours], context={})
    assert ours.calls == []


def test_local_keys_are_told_apart_by_name_and_by_key() -> None:
    """A name that only begins alike does not match; the same name with another key does not verify."""
    message = encrypt(b"v", keys=[local_key(name="local-1")], context={})
    for other in ("local-", "local-2"):
        with pytest.raises(IntegrityError, match="none of the configured keys"):
            decrypt(message, keys=[local_key(name=other)], context={})
    with pytest.raises(IntegrityError, match="different key bears this name"):
        decrypt(message, keys=[local_key(os.urandom(32))], context={})


def test_a_data_key_of_another_length_is_refused() -> None:
    """A provider that answers with something else is not believed."""
    message = encrypt(b"v", keys=[SpyKey()], context={})
    with pytest.raises(IntegrityError, match="no data key of 32 bytes"):
        decrypt(message, keys=[SpyKey(length=16)], context={})


def test_an_unreachable_key_stops_encryption_and_carries_no_plaintext() -> None:
    """All KEKs must answer; the error's frames hold neither the value nor the provider's exception."""
    failing = SpyKey("second", UnavailableError("down"))
    with pytest.raises(UnavailableError) as caught:
        encrypt(CANARY_BYTES, keys=[SpyKey(), failing], context={})
    assert_no_canary_in(caught.value)


@pytest.mark.parametrize(
    "provoke",
    [
        lambda: encrypt(CANARY_BYTES, keys=[], context={}),
        lambda: encrypt(CANARY_BYTES, keys=[local_key()], context={"k": "v" * 70_000}),
        lambda: encrypt(CANARY_BYTES, keys=[local_key()], context={"strongroom-x": ""}),
        lambda: encrypt(CANARY_BYTES, keys=[local_key(start=MAX_WRAPS)], context={}),
        lambda: encrypt(CANARY_BYTES, keys=[LocalKey(KEK, name="read-only")], context={}),
        lambda: encrypt(CANARY_BYTES, keys=[SpyKey("k" * 70_000)], context={}),
    ],
)
def test_no_error_of_encrypt_carries_the_value(provoke: Callable[[], bytes]) -> None:
    """Not in its message, its chain, nor the locals of our frames."""
    with pytest.raises(SecretStoreError) as caught:
        provoke()
    assert_no_canary_in(caught.value)


def test_a_key_that_breaks_carries_no_value_either() -> None:
    """A third party's defect raises what it likes; our frames on its way hold nothing."""
    broken = SpyKey()
    broken.wrap = None  # type: ignore[assignment,method-assign]
    with pytest.raises(TypeError) as caught:
        encrypt(CANARY_BYTES, keys=[broken], context={})
    assert_no_canary_in(caught.value)


def test_nothing_shows_itself() -> None:
    """Plaintext, data key and KEK have reprs without their bytes, and the KEK cannot be pickled."""
    opened = Plaintext(CANARY_BYTES, {}, ())
    assert_no_canary(repr(opened), str(opened), f"{opened}", repr([opened]))
    key = DataKey(CANARY_BYTES, WrappedKey("p", b"", b""))
    assert_no_canary(repr(key), str(key))
    kek = local_key(CANARY.ljust(32)[:32].encode())
    assert_no_canary(repr(kek), repr(vars(kek)))
    for escape in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            escape(kek)


def test_each_message_has_its_own_id_and_data_key() -> None:
    """Encrypting the same value twice shows nothing in common."""
    headers = [decode_header(encrypt(b"v", keys=[SpyKey()], context={}))[0] for _ in range(500)]
    assert len({header.message_id for header in headers}) == 500
    assert len({header.wrapped_keys for header in headers}) == 500
    assert len({header.commitment for header in headers}) == 500


def test_no_iv_is_used_twice_under_a_message_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """IV 0 for the header and the sequence number for each frame: counted on a message of many frames."""
    real, invalid_tag = aes_gcm()
    used: list[tuple[bytes, bytes]] = []

    class Recorder:
        def __init__(self, key: bytes):
            self.key, self.aead = key, real(key)

        def encrypt(self, iv: bytes, data: bytes, additional: bytes) -> bytes:
            used.append((self.key, bytes(iv)))
            return bytes(self.aead.encrypt(iv, data, additional))

    monkeypatch.setattr(sealing, "aes_gcm", lambda: (Recorder, invalid_tag))
    for module in (sealing, cipher):
        monkeypatch.setattr(module, "FRAME_LENGTH", 10)
    message = encrypt(b"x" * 1_005, keys=[local_key()], context={})
    monkeypatch.undo()
    assert len(used) == len(set(used)) == 1 + 101
    assert decrypt(message, keys=[local_key()], context={}).value == b"x" * 1_005


def test_wraps_are_counted_in_blocks_and_end_at_two_to_the_31() -> None:
    """A block is reserved before its first wrap, each twice the one before; the last block is the last."""
    counter = MemoryCounter(MAX_WRAPS - 64 - 128 - 256)
    key = LocalKey(KEK, name="k", counter=counter)
    assert counter.asked == []
    for _ in range(64 + 128 + 256):
        key.wrap(bytes(32), {})
    assert counter.asked == [64, 128, 256]
    with pytest.raises(InvalidRequestError, match="2147483648"):
        key.wrap(bytes(32), {})


def test_a_key_without_a_counter_only_opens() -> None:
    """A read-only keyset cannot wrap, because nobody would count."""
    message = encrypt(b"v", keys=[local_key()], context={})
    read_only = LocalKey(KEK, name="local-1")
    assert decrypt(message, keys=[read_only], context={}).value == b"v"
    with pytest.raises(PermissionDeniedError, match="read-only"):
        encrypt(b"v", keys=[read_only], context={})


@pytest.mark.parametrize("namespace", ["aws-kms", "aws-kms-mrk"])
def test_a_local_key_does_not_pass_for_a_kms_key(namespace: str) -> None:
    """The AWS Encryption SDK reserves the prefix."""
    with pytest.raises(InvalidRequestError, match="aws-kms"):
        LocalKey(KEK, name="k", namespace=namespace)
    with pytest.raises(InvalidRequestError, match="32 bytes"):
        LocalKey(KEK[:16], name="k")


def test_cryptography_is_loaded_by_the_first_message_and_not_before() -> None:
    """Importing the envelope costs no 20 ms to a program that never encrypts."""
    code = """
import sys
import strongroom.envelope.cipher, strongroom.localkey
assert not any(name.partition(".")[0] == "cryptography" for name in sys.modules)
strongroom.localkey.LocalKey(bytes(32), name="k")
assert "cryptography" in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.fixture
def short_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of 20,000 bytes, so that several fit a test; longer than what is copied for speed."""
    for module in (sealing, cipher):
        monkeypatch.setattr(module, "FRAME_LENGTH", 20_000)


@pytest.mark.usefixtures("short_frames")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [0, 1, 19_999, 20_000, 20_001, 60_000, 70_000])
def test_a_message_is_written_and_read_in_place(size: int, signed: bool) -> None:
    """Buffers of the caller's, longer than needed; what is beyond the message or value stays as it was."""
    value, keys = os.urandom(size), [local_key()]
    bound = message_length(size, keys=keys, context={"a": "1"}, signed=signed)
    buffer, back = bytearray(b"x" * (bound + 5)), bytearray(b"x" * (size + 5))
    length = encrypt_into(value, buffer, keys=keys, context={"a": "1"}, signed=signed)
    assert size < length <= bound
    assert buffer[length:] == b"x" * (len(buffer) - length)
    message = bytes(buffer[:length])
    assert len(encrypt(value, keys=keys, context={"a": "1"}, signed=signed)) == length
    assert decrypt(message, keys=keys, context={"a": "1"}).value == value
    assert decrypt_into(memoryview(buffer)[:length], back, keys=keys, context={"a": "1"}) == size
    assert back == value + b"x" * 5


@pytest.mark.usefixtures("short_frames")
def test_a_buffer_that_is_too_short_is_refused_and_the_error_says_what_it_takes() -> None:
    """Exactly so many bytes are enough; of a value that does not fit, nothing stays."""
    keys, value = [local_key()], CANARY_BYTES * 1_000
    needed = len(encrypt(value, keys=keys, context={}))
    with pytest.raises(
        InvalidRequestError, match=f"takes {needed} bytes, and the buffer has {needed - 1}"
    ) as caught:
        encrypt_into(value, bytearray(needed - 1), keys=keys, context={})
    assert_no_canary_in(caught.value)
    message = bytearray(needed)
    encrypt_into(value, message, keys=keys, context={})
    back = bytearray(len(value) - 1)
    with pytest.raises(
        InvalidRequestError, match=f"takes {len(value)} bytes, and the buffer has {len(back)}"
    ) as caught:
        decrypt_into(message, back, keys=keys, context={})
    assert_no_canary_in(caught.value)
    assert back == bytes(len(back))
    assert decrypt_into(message, bytearray(len(value)), keys=keys, context={}) == len(value)


@pytest.mark.usefixtures("short_frames")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("place", [-1, -150, 30_000])
def test_nothing_of_a_message_that_does_not_verify_stays_in_the_buffer(signed: bool, place: int) -> None:
    """Not even the frames before the damage, which verified."""
    value, keys = CANARY_BYTES * 2_000, [local_key()]
    message = bytearray(encrypt(value, keys=keys, context={}, signed=signed))
    message[place] ^= 1
    back = bytearray(len(value) + 3)
    with pytest.raises(IntegrityError) as caught:
        decrypt_into(message, back, keys=keys, context={})
    assert_no_canary_in(caught.value)
    assert back == bytes(len(back))


@pytest.mark.usefixtures("short_frames")
def test_a_failing_key_leaves_the_buffer_alone() -> None:
    """Nothing is written before every KEK has answered."""
    buffer = bytearray(b"x" * 1_000)
    with pytest.raises(UnavailableError) as caught:
        encrypt_into(CANARY_BYTES, buffer, keys=[SpyKey("k", UnavailableError("down"))], context={})
    assert_no_canary_in(caught.value)
    assert buffer == b"x" * 1_000


@pytest.mark.usefixtures("short_frames")
@pytest.mark.parametrize("size", [1, 6_000, 40_000])
def test_any_buffer_is_taken_by_its_bytes(size: int) -> None:
    """An array of numbers is encrypted whole, not by its count of elements; so is a matrix."""
    value = array("I", range(size))
    message = encrypt(memoryview(value), keys=[local_key()], context={})
    assert decrypt(message, keys=[local_key()], context={}).value == value.tobytes()
    matrix = memoryview(value.tobytes()).cast("B", shape=[2, size * 2])
    buffer = bytearray(size * 4 + 1_000)
    length = encrypt_into(matrix, buffer, keys=[local_key()], context={})
    assert decrypt(buffer[:length], keys=[local_key()], context={}).value == value.tobytes()


def test_a_context_cannot_be_changed() -> None:
    """Messages with one context share it; a change would be a change of all that follow."""
    opened = decrypt(
        encrypt(b"v", keys=[local_key()], context={"a": "1"}), keys=[local_key()], context={"a": "1"}
    )
    context: Any = opened.context
    for change in (
        lambda: context.update(b="2"),
        lambda: context.__setitem__("a", "2"),
        lambda: context.pop("a"),
        context.clear,
        context.popitem,
        lambda: context.setdefault("b", "2"),
        lambda: context.__delitem__("a"),
        lambda: context.__ior__({"b": "2"}),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert {**context, "b": "2"} == {"a": "1", "b": "2"}
    assert pickle.loads(pickle.dumps(context)) == copy.deepcopy(context) == context == {"a": "1"}


def test_changing_a_callers_dict_after_the_call_changes_no_message() -> None:
    """What is remembered of a context is a copy."""
    context = {"a": "1"}
    encrypt(b"v", keys=[local_key()], context=context)
    context["a"] = "2"
    message = encrypt(b"v", keys=[local_key()], context=context)
    assert decode_header(message)[0].context == {"a": "2"}
