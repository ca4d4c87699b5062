"""Both directions with AWS's own SDK: what one writes the other reads, under one raw AES key."""

from __future__ import annotations

import itertools
import os
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.key_providers.raw import RawMasterKey, WrappingKey

from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.errors import IntegrityError
from tests.unit.envelope_support import KEK, Author, local_key

_CLIENT = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
)
_SIGNED = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
_CONTEXTS: list[dict[str, str]] = [
    {},
    {"tenant": "acme", "name": "db/password"},
    {"über": "Straße", "\U0001f511": "key", "\uff21": ""},
]


def _master_key(key: bytes = KEK, name: str = "local-1") -> RawMasterKey:
    wrapping = WrappingKey(
        wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
        wrapping_key=key,
        wrapping_key_type=EncryptionKeyType.SYMMETRIC,
    )
    return RawMasterKey(provider_id="strongroom-local", key_id=name, wrapping_key=wrapping)


def _sdk_encrypt(value: bytes, context: dict[str, str], frame_length: int, **more: Any) -> bytes:
    options = {
        "algorithm": Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
        "key_provider": _master_key(),
        **more,
    }
    message, _ = _CLIENT.encrypt(
        source=value, encryption_context=context, frame_length=frame_length, **options
    )
    return bytes(message)


@pytest.mark.parametrize("size", [0, 1, 1_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
@pytest.mark.parametrize("context", _CONTEXTS, ids=["none", "ascii", "unicode"])
def test_aws_sdk_reads_what_we_write(size: int, context: dict[str, str]) -> None:
    """0 B to 5 MiB, in one frame and in several; the SDK sees our context."""
    value = os.urandom(size)
    message = encrypt(value, keys=[local_key()], context=context)
    opened, header = _CLIENT.decrypt(source=message, key_provider=_master_key())
    assert opened == value
    assert header.encryption_context == context


_FRAMES = [
    (size, frame)
    for size, frame in itertools.product((0, 1, 300, 4_096, 100_000, 5 << 20), (128, 4_096, 1 << 20, 4 << 20))
    if size / frame <= 1_500
]


@pytest.mark.parametrize(("size", "frame_length"), _FRAMES)
def test_we_read_what_aws_sdk_writes_in_any_frame_length(size: int, frame_length: int) -> None:
    """Frames from 128 B, the least that this SDK writes, to 4 MiB; exact multiples of it among the sizes."""
    value = os.urandom(size)
    message = _sdk_encrypt(value, _CONTEXTS[1], frame_length)
    assert decrypt(message, keys=[local_key()], context=_CONTEXTS[1]).value == value


@pytest.mark.parametrize(("size", "frame_length"), [(0, 1), (700, 1), (700, 7), (4_096, 300), (300, 300)])
def test_both_read_frame_lengths_that_this_sdk_does_not_write(size: int, frame_length: int) -> None:
    """Other SDKs write frames from 1 B."""
    value = os.urandom(size)
    message = Author(context=_CONTEXTS[1]).framed(value, frame_length)
    assert decrypt(message, keys=[local_key()], context=_CONTEXTS[1]).value == value
    assert _CLIENT.decrypt(source=message, key_provider=_master_key())[0] == value


@pytest.mark.parametrize("context", _CONTEXTS, ids=["none", "ascii", "unicode"])
@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_we_read_what_aws_sdk_writes_without_frames(size: int, context: dict[str, str]) -> None:
    """Non-framed, with and without context."""
    value = os.urandom(size)
    message = _sdk_encrypt(value, context, 0)
    assert decrypt(message, keys=[local_key()], context=context).value == value


def test_aws_sdk_opens_a_message_of_several_keys_with_any_of_them() -> None:
    """1 to 5 KEKs."""
    keys = {f"local-{n}": os.urandom(32) for n in range(5)}
    message = encrypt(b"v", keys=[local_key(key, name) for name, key in keys.items()], context={})
    for name, key in keys.items():
        assert _CLIENT.decrypt(source=message, key_provider=_master_key(key, name))[0] == b"v"


@pytest.mark.parametrize("size", [0, 300])
def test_each_reads_what_the_other_signs(size: int) -> None:
    """Suite 0x0578, in several frames and without any."""
    value = os.urandom(size)
    ours = encrypt(value, keys=[local_key()], context=_CONTEXTS[1], signed=True)
    opened, header = _CLIENT.decrypt(source=ours, key_provider=_master_key())
    assert (opened, header.algorithm) == (value, _SIGNED)
    for frame_length in (128, 0):
        theirs = _sdk_encrypt(value, _CONTEXTS[1], frame_length, algorithm=_SIGNED)
        assert decrypt(theirs, keys=[local_key()], context=_CONTEXTS[1]).value == value


def test_we_refuse_what_aws_sdk_writes_without_commitment() -> None:
    """Older suites, for ever."""
    lax = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    )
    old, _ = lax.encrypt(
        source=b"v", key_provider=_master_key(), algorithm=Algorithm.AES_256_GCM_IV12_TAG16_HKDF_SHA256
    )
    with pytest.raises(IntegrityError, match="version 2"):
        decrypt(old, keys=[local_key()], context={})


def test_the_writer_of_our_hostile_tests_agrees_with_aws_sdk() -> None:
    """The control for the malformed messages elsewhere: unbroken, the SDK reads them too."""
    author = Author(context={"a": "1"})
    for message in (author.framed(b"value", 2), author.header() + author.single(b"value")):
        assert _CLIENT.decrypt(source=message, key_provider=_master_key())[0] == b"value"
