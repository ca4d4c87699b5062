"""Encrypt and decrypt from file to file: the output is there whole, or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.errors import InvalidRequestError

from .atomic import PRIVATE, InputFile, atomic_output
from .message import MAX_FRAMES
from .sealing import FRAME_LENGTH
from .stream import Decrypted, decrypt_stream, encrypt_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.keys import KeyWrapper

    from .datakeys import DataKeyCache

    Path = str | os.PathLike[str]
    Progress = Callable[[int], None]

__all__ = ["atomic_output", "decrypt_file", "encrypt_file"]


def encrypt_file(  # noqa: PLR0913  (options, all by keyword)
    source_path: Path,
    target_path: Path,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    signed: bool = False,
    data_keys: DataKeyCache | None = None,
    overwrite: bool = False,
    mode: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a message that holds the file `source_path` to `target_path`; how many bytes the file has.

    The message appears whole, as of `strongroom.envelope.files.atomic_output`; a process that is killed
    leaves ciphertext at most.

    Args:
        keys, context, bindings, signed, data_keys: as of `strongroom.encrypt`.
        overwrite: replace the file at `target_path` if there is one.
        mode: permission bits of the message; by default those of the source.
        progress: called with the bytes of the source that are done, after each frame.

    Raises:
        SecretNotFoundError: the source does not exist, or the target's folder.
        SecretConflictError: the target exists, and is not to be overwritten.
        InvalidRequestError: source and target are one file, the target is a folder, a symbolic link or a
            device, the source is too long for a message (4 PiB); or as of `strongroom.encrypt`.
        PermissionDeniedError: the source may not be read, the target's folder not be written, or as of a KEK.
        UnavailableError: the disk is full or failed, or a KEK could not be used.
    """
    with InputFile(source_path) as source:
        _check_different(source, source_path, target_path)
        size = source.size
        if size is not None and size > MAX_FRAMES * FRAME_LENGTH:
            raise InvalidRequestError("the file is longer than a message can be")
        announced = (size or None) if data_keys is not None else None  # a file of /proc says 0
        mode = source.permissions if mode is None else mode
        with atomic_output(target_path, overwrite=overwrite, mode=mode) as target:
            return encrypt_stream(
                source,
                target,
                keys=keys,
                context=context,
                bindings=bindings,
                signed=signed,
                data_keys=data_keys,
                length=announced,
                progress=progress,
            )


def decrypt_file(  # noqa: PLR0913  (options, all by keyword)
    source_path: Path,
    target_path: Path,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    data_keys: DataKeyCache | None = None,
    overwrite: bool = False,
    mode: int = PRIVATE,
    progress: Progress | None = None,
) -> Decrypted:
    """Write what the message in the file `source_path` holds to `target_path`, once all of it is verified.

    Until then the plaintext is in a file that has no name, and is gone with the process, on file systems of
    Linux that have such files (ext4, XFS, Btrfs, tmpfs). On others (NFS, FAT), and for the instant in which
    an old target is replaced, a process that is killed can leave plaintext beside the target, in
    ``.strongroom-<16 hex digits>.tmp``; its mode is 0600 until it is whole. Remove such a file when no
    process is at work.

    Args:
        keys, context, bindings, data_keys: as of `strongroom.decrypt`.
        overwrite: replace the file at `target_path` if there is one.
        mode: permission bits of the plaintext, which are not those of the message: others may read that.
        progress: called with the bytes of the message that are done, after each write.

    Raises:
        IntegrityError: as of `strongroom.decrypt`; nothing is at the target that was not there before.
        SecretNotFoundError, SecretConflictError: as of `encrypt_file`.
        InvalidRequestError: source and target are one file, the target is a folder, a symbolic link or a
            device; or as of `strongroom.decrypt`.
        PermissionDeniedError: the source may not be read, the target's folder not be written, or no KEK used.
        UnavailableError: the disk is full or failed, or no KEK that could open the message could be used.
    """
    with InputFile(source_path) as source:
        _check_different(source, source_path, target_path)
        with atomic_output(target_path, overwrite=overwrite, mode=mode) as target:
            return decrypt_stream(
                source,
                target,
                keys=keys,
                context=context,
                bindings=bindings,
                data_keys=data_keys,
                progress=progress,
            )


def _check_different(source: InputFile, source_path: Path, target_path: Path) -> None:
    if source.is_file(target_path):
        raise InvalidRequestError(
            f"{os.fsdecode(source_path)!r} cannot be both source and target", hint="name another target"
        )
