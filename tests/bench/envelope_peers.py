"""Other libraries that encrypt a value under a local key, each as its own documentation shows it.

What they do is not the same. Tink's envelope and Fernet commit to no key; SecretBox and AESGCM have one key
for all messages and no context (SecretBox) or no header. AWS's Encryption SDK writes what we write.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

CONTEXT = {"tenant": "acme", "name": "prod/db/password", "version": "17"}
ASSOCIATED = b"name=prod/db/password;tenant=acme;version=17"
MIB = 1 << 20

SDK_BEST = "SDK, best"
SDK_DEFAULT = "SDK, default"
TINK = "tink KmsEnvelopeAead"


class Peer(NamedTuple):
    """One library, and the same two verbs."""

    encrypt: Callable[[bytes], bytes]
    decrypt: Callable[[bytes], bytes]


def aws_sdk() -> dict[str, Peer]:
    """AWS's Encryption SDK, in the two configurations that are measured.

    By default it signs every message, which is most of what it takes; here under a master key, since its
    newer keyrings take three times as long. At its best it neither signs nor wraps, because a caching
    materials manager keeps the data key, and its frames are as long as ours.
    """
    import aws_encryption_sdk as sdk
    from aws_encryption_sdk.identifiers import AlgorithmSuite, EncryptionKeyType, WrappingAlgorithm
    from aws_encryption_sdk.key_providers.raw import RawMasterKey, WrappingKey

    warnings.simplefilter("ignore")  # master keys are deprecated, and faster
    wrapping = WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING
    key = WrappingKey(wrapping, os.urandom(32), EncryptionKeyType.SYMMETRIC)
    master = RawMasterKey(provider_id="bench", key_id="kek", wrapping_key=key)
    caching = sdk.CachingCryptoMaterialsManager(
        master_key_provider=master,
        cache=sdk.LocalCryptoMaterialsCache(100),
        max_age=3600.0,
        max_messages_encrypted=1 << 32,
    )
    suite = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    unsigned = {"algorithm": suite, "frame_length": MIB}
    return {SDK_BEST: _sdk(unsigned, materials_manager=caching), SDK_DEFAULT: _sdk({}, key_provider=master)}


def _sdk(options: dict[str, Any], **source: Any) -> Peer:
    import aws_encryption_sdk as sdk

    client = sdk.EncryptionSDKClient()

    def encrypt(value: bytes) -> bytes:
        return client.encrypt(source=value, encryption_context=CONTEXT, **options, **source)[0]  # type: ignore[no-any-return]

    def decrypt(message: bytes) -> bytes:
        return client.decrypt(source=message, **source)[0]  # type: ignore[no-any-return]

    return Peer(encrypt, decrypt)


def tink_envelope() -> dict[str, Peer]:
    """Tink's envelope under a local key; it takes the context as bytes."""
    import tink
    from tink import aead

    aead.register()
    template = aead.aead_key_templates.AES256_GCM
    envelope = aead.KmsEnvelopeAead(template, tink.new_keyset_handle(template).primitive(aead.Aead))
    return {
        TINK: Peer(
            lambda value: envelope.encrypt(value, ASSOCIATED), lambda it: envelope.decrypt(it, ASSOCIATED)
        )
    }


@functools.cache
def tink_streaming() -> Any:
    """Tink's streaming cipher with segments of 1 MiB."""
    import tink
    from tink import streaming_aead

    streaming_aead.register()
    template = streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
    return tink.new_keyset_handle(template).primitive(streaming_aead.StreamingAead)


def small() -> dict[str, Peer]:
    """What a program may use that has one key, and no header, KEK or context to speak of."""
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from nacl.secret import SecretBox

    fernet, box, bare = Fernet(Fernet.generate_key()), SecretBox(os.urandom(32)), AESGCM(os.urandom(32))
    iv = bytes(12)
    return {
        "Fernet": Peer(fernet.encrypt, fernet.decrypt),
        "SecretBox": Peer(lambda value: bytes(box.encrypt(value)), lambda it: bytes(box.decrypt(it))),
        "AESGCM": Peer(
            lambda value: bare.encrypt(iv, value, ASSOCIATED), lambda it: bare.decrypt(iv, it, ASSOCIATED)
        ),
    }
