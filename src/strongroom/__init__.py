"""Strongroom: one interface to secrets, whatever holds them.

::

    import strongroom

    with strongroom.open("local:///var/lib/app/secrets.db") as store:
        secret = store.get("db/password")
        connect(password=secret.value.reveal_text())

Names are loaded on first use (PEP 562), so that importing this package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # type checkers take it for true; importing `typing` for it would cost most of the import
)
if TYPE_CHECKING:
    from typing import Any

    from .aio import AsyncSecretStore
    from .audit.actor import Actor, actor
    from .audit.event import AuditEvent, AuditHook
    from .backend import ABSENT, Capability, Secret, SecretInfo, SecretVersion, Stage
    from .config import key, open, signer  # noqa: A004  (the module's main verb, as in gzip.open)
    from .declared import Ref
    from .envelope.cipher import Plaintext, decrypt, decrypt_into, encrypt, encrypt_into, message_length
    from .envelope.datakeys import DataKeyCache
    from .envelope.files import decrypt_file, encrypt_file
    from .envelope.keyring import Keyring
    from .envelope.reencrypt import reencrypt, reencrypt_file
    from .envelope.stream import DecryptingReader, EncryptingWriter, decrypt_stream, encrypt_stream
    from .envelope.tree import reencrypt_tree
    from .errors import (
        BackendNotInstalledError,
        IntegrityError,
        InvalidRequestError,
        PartialFailureError,
        PermissionDeniedError,
        SecretConflictError,
        SecretNotFoundError,
        SecretStoreError,
        UnavailableError,
        UnsupportedOperationError,
    )
    from .keys import KeyWrapper, Signer
    from .loading import load
    from .memory import MemoryBackend
    from .resolving import resolve
    from .stages import Pending
    from .store import SecretStore
    from .value import SecretValue

_HOMES = {
    "aio": ("AsyncSecretStore",),
    "audit.actor": ("Actor", "actor"),
    "audit.event": ("AuditEvent", "AuditHook"),
    "backend": ("ABSENT", "Capability", "Secret", "SecretInfo", "SecretVersion", "Stage"),
    "config": ("key", "open", "signer"),
    "declared": ("Ref",),
    "envelope.cipher": (
        "Plaintext",
        "decrypt",
        "decrypt_into",
        "encrypt",
        "encrypt_into",
        "message_length",
    ),
    "envelope.datakeys": ("DataKeyCache",),
    "envelope.files": ("decrypt_file", "encrypt_file"),
    "envelope.keyring": ("Keyring",),
    "envelope.reencrypt": ("reencrypt", "reencrypt_file"),
    "envelope.stream": ("DecryptingReader", "EncryptingWriter", "decrypt_stream", "encrypt_stream"),
    "envelope.tree": ("reencrypt_tree",),
    "errors": (
        "BackendNotInstalledError",
        "IntegrityError",
        "InvalidRequestError",
        "PartialFailureError",
        "PermissionDeniedError",
        "SecretConflictError",
        "SecretNotFoundError",
        "SecretStoreError",
        "UnavailableError",
        "UnsupportedOperationError",
    ),
    "keys": ("KeyWrapper", "Signer"),
    "loading": ("load",),
    "memory": ("MemoryBackend",),
    "resolving": ("resolve",),
    "stages": ("Pending",),
    "store": ("SecretStore",),
    "value": ("SecretValue",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ABSENT",
    "Actor",
    "AsyncSecretStore",
    "AuditEvent",
    "AuditHook",
    "BackendNotInstalledError",
    "Capability",
    "DataKeyCache",
    "DecryptingReader",
    "EncryptingWriter",
    "IntegrityError",
    "InvalidRequestError",
    "KeyWrapper",
    "Keyring",
    "MemoryBackend",
    "PartialFailureError",
    "Pending",
    "PermissionDeniedError",
    "Plaintext",
    "Ref",
    "Secret",
    "SecretConflictError",
    "SecretInfo",
    "SecretNotFoundError",
    "SecretStore",
    "SecretStoreError",
    "SecretValue",
    "SecretVersion",
    "Signer",
    "Stage",
    "UnavailableError",
    "UnsupportedOperationError",
    "actor",
    "decrypt",
    "decrypt_file",
    "decrypt_into",
    "decrypt_stream",
    "encrypt",
    "encrypt_file",
    "encrypt_into",
    "encrypt_stream",
    "key",
    "load",
    "message_length",
    "open",
    "reencrypt",
    "reencrypt_file",
    "reencrypt_tree",
    "resolve",
    "signer",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'strongroom' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"strongroom.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
