"""What AWS's SDKs refuse we refuse, and some messages more, which are named here.

Each malformed message is authentic in every tag and signature wherever that is possible, so that the one rule
that it breaks decides.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.exceptions import SerializationError
from aws_encryption_sdk.identifiers import (
    Algorithm,
    CommitmentPolicy,
    EncryptionKeyType,
    WrappingAlgorithm,
)
from aws_encryption_sdk.key_providers.raw import RawMasterKey, WrappingKey
from cryptography.hazmat.primitives.serialization import PublicFormat

from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.errors import IntegrityError
from strongroom.localkey import LocalKey
from tests.integration.interop_support import (
    SIGNED_SUITE,
    SUITE,
    JavaScriptSDK,
    Peer,
    PythonSDK,
    Raw,
    RefusedError,
    opened,
)
from tests.scale import scaled
from tests.servers.node import Node
from tests.unit.envelope_support import KEK, Author, SignedAuthor, encoded_point, local_key, pairs
from tests.unit.vector_support import VECTORS, Vector

KEY = Raw("local-1", KEK)
CONTEXT = {"a": "1"}
VALUE = b"aaaabbbbcc"
ROUNDS = 20_000
_LAX = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)


@pytest.fixture(scope="module")
def javascript(node_sdk: Node) -> JavaScriptSDK:
    return JavaScriptSDK(node_sdk)


@pytest.fixture(scope="module")
def peers(javascript: JavaScriptSDK) -> dict[str, Peer]:
    return {"python": PythonSDK(), "javascript": javascript}


def _ours(message: bytes) -> bytes | None:
    """What we read; None if we refuse, which is always by IntegrityError."""
    try:
        return decrypt(message, keys=[local_key()], context=CONTEXT).value
    except IntegrityError:
        return None


def _frames(author: Author, length: int = 4) -> list[bytes]:
    pieces = [VALUE[at : at + length] for at in range(0, len(VALUE), length)]
    return [author.frame(n, piece, final=n == len(pieces)) for n, piece in enumerate(pieces, start=1)]


def _sound() -> Iterator[tuple[str, bytes]]:
    author = Author(context=CONTEXT)
    one, two, final = _frames(author)
    header = author.header(frame_length=4)
    yield "frames", header + one + two + final
    yield "no frames", author.header() + author.single(VALUE)
    yield "an empty final frame", header + one + two + author.frame(3, b"", final=True)
    yield "sixteen keys", author.header(frame_length=4, edks=[author.edk] * 16) + one + two + final
    yield "any IV", header + author.frame(1, b"aaaa", iv=os.urandom(12)) + author.frame(2, b"", final=True)
    signed = SignedAuthor(CONTEXT)
    yield "signed", signed.framed(VALUE, 4)
    single = signed.header() + signed.single(VALUE)
    yield "signed without frames", single + signed.footer(single)


def _broken_frames() -> Iterator[tuple[str, bytes]]:
    author = Author(context=CONTEXT)
    one, two, final = _frames(author)
    header = author.header(frame_length=4)
    yield "no final frame", header + one + two
    yield "frames in another order", header + two + one + final
    yield "a frame twice", header + one + one + two + final
    yield "a frame missing", header + one + final
    yield "frame zero", header + author.frame(0, b"aaaa") + one + two + final
    yield "a final frame above the frame length", header + author.frame(1, b"aaaaa", final=True)
    yield "a byte after the end", header + one + two + final + b"\0"
    yield "a message after the end", (header + one + two + final) * 2
    yield "a byte after the only block", author.header() + author.single(VALUE) + b"\0"


def _broken_headers() -> Iterator[tuple[str, bytes]]:
    author = Author(context=CONTEXT)
    body, key = b"".join(_frames(author)), author.edk
    yield "another commitment", author.header(frame_length=4, commitment=bytes(32)) + body
    yield "version 1", author.header(frame_length=4, version=1) + body
    yield "version 3", author.header(frame_length=4, version=3) + body
    yield "no keys", author.header(frame_length=4, edks=[]) + body
    yield "seventeen keys", author.header(frame_length=4, edks=[key] * 17) + body
    yield "content type 3", author.header(frame_length=4, content_type=3) + body
    yield "frames of no length", author.header(content_type=2) + author.frame(1, b"", final=True)
    yield "no frames, but their length", author.header(frame_length=4, content_type=1) + author.single(VALUE)


def _broken_contexts() -> Iterator[tuple[str, bytes]]:
    contexts = {
        "context not sorted": pairs((b"b", b"1"), (b"a", b"1")),
        "context key twice": pairs((b"a", b"1"), (b"a", b"1")),
        "context not UTF-8": pairs((b"a", b"\xff")),
        "context in overlong UTF-8": pairs((b"\xc0\xaf", b"1")),
        "context shorter than its length": pairs((b"a", b"1")) + b"\0",
        "context of no pairs": b"\0\0",
        "context of one byte": b"\0",
        "context key empty": pairs((b"", b"1"), (b"a", b"1")),
    }
    for name, context in contexts.items():
        yield name, Author(context=context).framed(VALUE, 4)


def _broken_signatures() -> Iterator[tuple[str, bytes]]:
    author, other = SignedAuthor(CONTEXT), SignedAuthor(CONTEXT)
    unsigned = Author.framed(author, VALUE, 4)
    signed = author.framed(VALUE, 4)
    yield "no footer", unsigned
    yield "an empty footer", unsigned + b"\0\0"
    yield "half a footer", signed[:-1]
    yield "a byte after the footer", signed + b"\0"
    yield "a signature of another key", unsigned + other.footer(unsigned)
    yield "a signature over less", unsigned + author.footer(unsigned[:-1])
    yield "unsigned suite with a public key", _with_public_key(encoded_point(author.private), 0x0478)
    yield "signed suite without public key", Author(context=CONTEXT, suite=0x0578).framed(VALUE, 4)


def _with_public_key(public_key: str, suite: int = 0x0578) -> bytes:
    return Author(context={**CONTEXT, "aws-crypto-public-key": public_key}, suite=suite).framed(VALUE, 4)


def _broken_public_keys() -> Iterator[tuple[str, bytes]]:
    forms: dict[str, Callable[[Any], str]] = {
        "public key of another": lambda _: encoded_point(SignedAuthor().private),
        "public key uncompressed": lambda key: encoded_point(key, PublicFormat.UncompressedPoint),
        "public key empty": lambda _: "",
        "public key no point": lambda _: "AAAA",
        "public key without padding": lambda key: encoded_point(key).rstrip("="),
        "public key and a line end": lambda key: encoded_point(key) + "\n",
    }
    for name, form in forms.items():
        author = SignedAuthor(CONTEXT)
        said = {**CONTEXT, "aws-crypto-public-key": form(author.private)}
        Author.__init__(author, context=said, suite=0x0578)
        yield name, author.framed(VALUE, 4)


def _malformed() -> Iterator[tuple[str, bytes]]:
    for messages in (
        _broken_frames,
        _broken_headers,
        _broken_contexts,
        _broken_signatures,
        _broken_public_keys,
    ):
        yield from messages()


# What one of them opens and we do not; everything else they refuse too. Seen in aws-encryption-sdk 4.0.7
# (streaming_client.StreamDecryptor, formatting.deserialize) and @aws-crypto/client-node 5.0.2
# (decrypt-node/verify_stream, serialize/deserialize_factory).
OPENED_BY_THEM = {
    # Unsigned, nobody looks behind the final frame; Python reads no further than the signature.
    "a byte after the end": {"python", "javascript"},
    "a message after the end": {"python", "javascript"},
    "a byte after the only block": {"python", "javascript"},
    "a byte after the footer": {"python"},
    # Theirs have no bound unless `max_encrypted_data_keys` is set; each key can cost a call to KMS.
    "seventeen keys": {"python", "javascript"},
    # The format wants a length above 0 for frames, and 0 without.
    "frames of no length": {"python", "javascript"},
    "no frames, but their length": {"javascript"},
    # The empty key is no one's; we refuse to expect it.
    "context key empty": {"python", "javascript"},
    # Buffer.from(text, "base64") skips what is not base64: one key, many encodings.
    "public key without padding": {"javascript"},
    "public key and a line end": {"javascript"},
}


SOUND, MALFORMED = dict(_sound()), dict(_malformed())


def _theirs(peers: dict[str, Peer], message: bytes) -> dict[str, bytes | None]:
    return {name: opened(peer, message, [KEY]) for name, peer in peers.items()}


@pytest.mark.parametrize("name", SOUND)
def test_all_read_what_the_format_allows(peers: dict[str, Peer], name: str) -> None:
    """The control: unbroken, messages of the same author open everywhere."""
    value = _ours(SOUND[name])
    assert value is not None
    assert _theirs(peers, SOUND[name]) == dict.fromkeys(peers, value)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_the_format_forbids_is_refused(peers: dict[str, Peer], name: str) -> None:
    """By us always; by them but for what the table says, which a mended SDK makes fail."""
    assert _ours(MALFORMED[name]) is None
    read = {peer for peer, value in _theirs(peers, MALFORMED[name]).items() if value is not None}
    assert read == OPENED_BY_THEM.get(name, set())


def test_the_table_names_what_there_is() -> None:
    """No row for a message that is not made."""
    assert OPENED_BY_THEM.keys() <= MALFORMED.keys()


def _changed(message: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(message)), rng.choice((1, 1, 1, 2, 4, 12, 16, 40))
    slice_, other = message[at : at + length], rng.randrange(len(message))
    flipped = bytes([message[at] ^ 1 << rng.randrange(8)])
    return rng.choice(
        (
            message[:at] + flipped + message[at + 1 :],
            message[:at] + message[at + length :],
            message[:at] + rng.randbytes(length) + message[at:],
            message[:at] + slice_ + message[at:],
            message[:at] + rng.randbytes(len(slice_)) + message[at + len(slice_) :],
            message[:other] + slice_ + message[other + len(slice_) :],
            message[:at],
        )
    )


@pytest.mark.parametrize("name", ["frames", "no frames", "signed"])
def test_what_they_refuse_of_random_changes_we_refuse(peers: dict[str, Peer], name: str) -> None:
    """Bits, cuts, insertions, slices moved: what we open opens everywhere, to the same value."""
    rng = random.Random(os.urandom(8))
    for _ in range(scaled(ROUNDS)):
        changed = _changed(SOUND[name], rng)
        if (ours := _ours(changed)) is not None:
            assert _theirs(peers, changed) == dict.fromkeys(peers, ours), changed.hex()


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if vector.plaintext is not None], ids=lambda vector: vector.name
)
def test_all_read_the_vectors_that_expect_success(peers: dict[str, Peer], vector: Vector) -> None:
    """So that a vector says something of the format, and not of us alone."""
    key = Raw(vector.key_name, vector.kek, vector.namespace)
    assert {opened(peer, vector.message, [key]) for peer in peers.values()} == {vector.plaintext}


_NOT_COMMITTING = [algorithm for algorithm in Algorithm if not algorithm.is_committing()]


@pytest.mark.parametrize("algorithm", _NOT_COMMITTING, ids=lambda algorithm: algorithm.name)
def test_python_writes_suites_without_commitment_and_we_refuse_them(algorithm: Algorithm) -> None:
    """All of format version 1: such a message can open under two keys."""
    message, _ = _LAX.encrypt(source=VALUE, key_provider=_master_key(), algorithm=algorithm)
    assert _LAX.decrypt(source=message, key_provider=_master_key())[0] == VALUE
    with pytest.raises(IntegrityError, match="version 2"):
        decrypt(message, keys=[local_key()], context={})


@pytest.mark.parametrize(
    "suite",
    [
        "ALG_AES256_GCM_IV12_TAG16",
        "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA256",
        "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384",
    ],
)
def test_javascript_writes_suites_without_commitment_and_we_refuse_them(
    javascript: JavaScriptSDK, suite: str
) -> None:
    """As above; its committing client refuses them too."""
    message = javascript.encrypt(VALUE, [KEY], CONTEXT, 4_096, suite=suite)
    with pytest.raises(IntegrityError, match="version 2"):
        decrypt(message, keys=[local_key()], context=CONTEXT)
    with pytest.raises(RefusedError, match="only committed messages"):
        javascript.decrypt(message, [KEY])


@pytest.mark.parametrize("frame", [1, 127, 129, 4_000])
def test_python_writes_frames_in_multiples_of_128_bytes_alone(peers: dict[str, Peer], frame: int) -> None:
    """It takes the 128 bits of an AES block for bytes (`internal.utils.validate_frame_length`); it reads
    frames of any length."""
    with pytest.raises(SerializationError, match="block size"):
        peers["python"].encrypt(VALUE, [KEY], CONTEXT, frame, signed=False)
    message = Author(context=CONTEXT).framed(VALUE, frame)
    assert opened(peers["python"], message, [KEY]) == _ours(message) == VALUE


def test_javascript_opens_a_context_in_all_of_unicode_if_it_is_told_to(javascript: JavaScriptSDK) -> None:
    """Without `utf8Sorting` its raw AES keyring sorts by locale, so that the wrapped key does not verify:
    https://github.com/aws/aws-encryption-sdk-javascript/issues/428. Its default is the old order."""
    context = {"\U0001f511": "key", "\uff21": ""}
    message = encrypt(VALUE, keys=[local_key()], context=context)
    assert javascript.decrypt(message, [KEY])[0] == VALUE
    with pytest.raises(RefusedError, match="unencryptedDataKey has not been set"):
        javascript.decrypt(message, [KEY], utf8Sorting=False)


@pytest.mark.parametrize(
    "key", [Raw("local-1", bytes(32)), Raw("local-2", KEK), Raw("local-1", KEK, "other-names")]
)
def test_nobody_opens_a_message_with_another_key(peers: dict[str, Peer], key: Raw) -> None:
    """Another one of its name, or the same one under another name or in another name space."""
    ours = LocalKey(key.key, name=key.name, namespace=key.namespace)
    with pytest.raises(IntegrityError):
        decrypt(SOUND["frames"], keys=[ours], context=CONTEXT)
    assert {opened(peer, SOUND["frames"], [key]) for peer in peers.values()} == {None}


def _master_key(key: bytes = KEK, name: str = "local-1") -> RawMasterKey:
    wrapping = WrappingKey(
        wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
        wrapping_key=key,
        wrapping_key_type=EncryptionKeyType.SYMMETRIC,
    )
    return RawMasterKey(provider_id="strongroom-local", key_id=name, wrapping_key=wrapping)


@pytest.mark.parametrize("size", [0, 1, 70_000])
@pytest.mark.parametrize("frame", [0, 128, 4_096])
@pytest.mark.parametrize("suite", [SUITE, SIGNED_SUITE], ids=["unsigned", "signed"])
def test_the_master_keys_of_older_programs_agree_too(size: int, frame: int, suite: Any) -> None:
    """aws-encryption-sdk without the Material Providers Library; a frame length of 0 is a body without
    frames, which no keyring of today's writes."""
    client, value = aws_encryption_sdk.EncryptionSDKClient(), os.urandom(size)
    options = {"encryption_context": CONTEXT, "frame_length": frame, "algorithm": suite}
    message, _ = client.encrypt(source=value, key_provider=_master_key(), **options)
    assert decrypt(message, keys=[local_key()], context=CONTEXT).value == value
    message = encrypt(value, keys=[local_key()], context=CONTEXT, signed=suite is SIGNED_SUITE)
    assert client.decrypt(source=message, key_provider=_master_key())[0] == value
