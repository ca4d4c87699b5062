"""A local Ed25519 key for checkpoints, in a file: for machines without a KMS or HSM.

Whoever reads the file can sign other trees with it. What protects a journal then is what was exported before.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from pathlib import Path
from typing import Any, Final, NoReturn, final

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.keys import Signer

from .note import ED25519, NoteKey

_HEAD: Final = "PRIVATE+KEY"
_LIMIT: Final = 4096


@final
class FileSigner(Signer):
    """The private key of a file that `create_note_key` made.

    Attributes:
        name: of the key: what signs as something else is another key to verifiers.
        note_key: the public half, as verifiers are given it.
    """

    ALGORITHMS = ("Ed25519",)
    provider_id = "strongroom-note-key"
    algorithm = "Ed25519"

    def __init__(self, name: str, private: Any):
        self._private, self.name = private, name
        self.note_key = NoteKey(name, ED25519, private.public_key().public_bytes_raw())
        self.key_id = f"{name}+{self.note_key.key_id.hex()}"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FileSigner:
        """The key in a file.

        Raises:
            InvalidRequestError: there is none, or others than its owner can read it.
            PermissionDeniedError: it belongs to another user.
            IntegrityError: it holds no such key.
        """
        where = Path(path)
        signer = _signer(_read(where))
        if signer is None:
            raise IntegrityError(f"the file {where} holds no signing key", hint="restore it from a backup")
        return signer

    def sign(self, message: bytes) -> bytes:
        return bytes(self._private.sign(message))

    def sign_digest(self, digest: bytes) -> NoReturn:
        raise UnsupportedOperationError("Ed25519 signs messages, not digests", operation="sign")

    def public_key(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return bytes(self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def create_note_key(path: str | os.PathLike[str], name: str) -> NoteKey:
    """Make a new key in a new file (0600) and return its public half.

    The file is one line, in the form that Go's ``golang.org/x/mod/sumdb/note`` and the tools after it read.

    Raises:
        InvalidRequestError: a name that no key can have, or there is no such folder.
        SecretConflictError: there is a file already.
        PermissionDeniedError, UnavailableError: it cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    key = NoteKey.parse(str(NoteKey(name, ED25519, private.public_key().public_bytes_raw())))
    _write(Path(path), private, key)
    return key


def _write(path: Path, private: Any, key: NoteKey) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, _line(private, key))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_folder(path.parent)
    except OSError as exc:
        failure = _failure(path, exc.errno)
    else:
        return
    raise failure


def _line(private: Any, key: NoteKey) -> bytes:
    material = base64.b64encode(bytes([ED25519]) + private.private_bytes_raw()).decode()
    return f"{_HEAD}+{key.name}+{key.key_id.hex()}+{material}\n".encode()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        failure = _failure(path, exc.errno)
    else:
        try:
            _check(path, os.fstat(descriptor))
            return os.read(descriptor, _LIMIT)
        finally:
            os.close(descriptor)
    raise failure


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequestError(f"{path} is no file", hint="name the file of a signing key")
    if status.st_uid not in (os.geteuid(), 0):
        raise PermissionDeniedError(f"the signing key {path} belongs to another user", hint="chown it")
    if status.st_mode & 0o077:
        raise InvalidRequestError(
            f"the signing key {path} can be read by others than its owner",
            hint=f"chmod 600 {path}; if others may have read it, make a new key",
        )


def _signer(line: bytes) -> FileSigner | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        text = line.decode().removesuffix("\n")
        name, key_id, material = text.removeprefix(_HEAD).split("+", 3)[1:]
        kind, *seed = base64.b64decode(material, validate=True)
        signer = FileSigner(name, Ed25519PrivateKey.from_private_bytes(bytes(seed)))
    except ValueError:  # and what derives from it: not UTF-8, not base64, not 32 bytes
        return None
    right = text.startswith(_HEAD) and kind == ED25519 and signer.note_key.key_id.hex() == key_id
    return signer if right else None


def _failure(path: Path, number: int | None) -> SecretStoreError:
    if number == errno.EEXIST:
        return SecretConflictError(f"there is a file at {path} already", hint="it was not changed")
    if number in (errno.ENOENT, errno.ENOTDIR):
        return InvalidRequestError(f"there is no signing key at {path}", hint="correct the path")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDeniedError(f"this user may not use {path}", hint="see who owns it")
    return UnavailableError(f"the signing key {path} cannot be reached", hint=os.strerror(number or 0))
