"""Other keys for messages that exist: decrypt, verify, encrypt anew under a new message id.

A message is immutable. To put other wrapped keys into its header, keeping its id, would give whoever saw both
headers the authentication key of the message; so each function here makes a new message and nothing else.

What it does not do: it revokes nothing. Who kept the old message and an old key still reads it; who stole an
old key may have forged messages under it, and those are carried over as well. Change the secrets too.
"""

from __future__ import annotations

import enum
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)

from .atomic import atomic_output, attempt
from .binding import BINDINGS, join
from .cipher import decrypt, encrypt
from .message import decode_header
from .reading import read_header
from .signing import PUBLIC_KEY
from .stream import EncryptingWriter, decrypt_stream
from .suites import SUITES
from .survey import START_LENGTH, is_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from strongroom.keys import KeyWrapper

    from .atomic import AtomicFile
    from .message import Buffer, Header

# O_NONBLOCK: a FIFO that took the file's place since it was looked at must not be waited for.
LOOKS_AFTER_KEYRINGS: Final = "strongroom key rewrap puts it under other roots"
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Outcome(enum.Enum):
    """What became of one path of a tree."""

    REENCRYPTED = "reencrypted"
    """Or would have been, in a dry run."""
    ALREADY = "already"
    """It is under exactly the wanted keys."""
    FOREIGN = "foreign"
    """It is no message."""
    SKIPPED = "skipped"
    """A symbolic link, a device, a socket, a pipe, a file that is being written, or a keyring."""
    FAILED = "failed"
    """It is as it was; a repeat tries again."""


@dataclass(slots=True)
class Change:
    """What messages are to become: see `reencrypt`.

    Attributes:
        answered: whether every one of `keys` has been asked: until then an alias may mean any key.
    """

    opens: Sequence[KeyWrapper]
    keys: Sequence[KeyWrapper]
    signed: bool | None = None
    dry_run: bool = False
    answered: bool = False

    def signs(self, header: Header) -> bool:
        """Whether the new message of one with this header is signed."""
        return SUITES[header.suite].signed if self.signed is None else self.signed

    def is_done(self, header: Header) -> bool:
        """Whether the message is what it is to become, by what its header says.

        Whoever forges a header here keeps an old message from being changed, which a reader refuses anyway.
        """
        if self.signs(header) != SUITES[header.suite].signed or not is_under(header, self.keys):
            return False
        if self.answered or not any(key.remote for key in self.keys):
            return True
        self._ask(header)
        return is_under(header, self.keys)

    def check(self, header: Header, links: int) -> None:
        """Return if nothing speaks against it that can be known before anything is decrypted."""
        if _is_keyring(header):
            raise InvalidRequestError("this is a keyring", hint=LOOKS_AFTER_KEYRINGS)
        if links > 1:
            raise InvalidRequestError(
                f"the file has {links} names (hard links), and the others would keep the old message",
                hint="make copies of them, or remove them",
            )
        if not self.openers(header):
            made_under = ", ".join(sorted({repr(wrapped.provider_id) for wrapped in header.wrapped_keys}))
            raise IntegrityError(
                "none of the keys that may open it made this message",
                hint=f"it was encrypted under keys of {made_under}",
            )

    def openers(self, header: Header) -> list[KeyWrapper]:
        """Those of `opens` that made the message, by what its header says: `opens` may be more than 16."""
        return [key for key in self.opens if any(map(key.matches, header.wrapped_keys))]

    def _ask(self, header: Header) -> None:
        """Once, and in the message's own context, which is all that a grant may allow."""
        context, bindings = _pairs(header)
        denied, failed = None, None
        try:
            encrypt(b"", keys=self.keys, context=context, bindings=bindings)
        except PermissionDeniedError as error:
            denied = error.with_traceback(None)
        except UnavailableError as error:
            failed = error.with_traceback(None)
        if failed is not None:
            raise TargetError(failed)
        if denied is not None and not self.dry_run:  # who may only look is told what the names say
            raise denied
        self.answered = True


def _is_keyring(header: Header) -> bool:
    return header.context.get("strongroom-kind") == "keyring"


def is_under(header: Header, keys: Sequence[KeyWrapper]) -> bool:
    """Whether a message says to be under exactly `keys`, in the version that each wraps with today."""
    made = header.wrapped_keys
    return (
        len(made) == len(keys)
        and all(any(key.is_primary(wrapped) for wrapped in made) for key in keys)
        and all(any(key.is_primary(wrapped) for key in keys) for wrapped in made)
    )


class TargetError(Exception):
    """A key of `keys` does not answer, so no other file can succeed either."""

    def __init__(self, error: SecretStoreError):
        super().__init__()
        self.error = error


def reencrypt(
    message: Buffer, *, opens: Sequence[KeyWrapper], keys: Sequence[KeyWrapper], signed: bool | None = None
) -> bytes:
    """A new message that holds what `message` does, says the same of itself, and opens under `keys`.

    Its context and bindings are those of `message`, verified with the rest, so that whatever a reader expects
    of it stays the same. A signature is made anew: it then says who reencrypted, not who wrote first.

    Args:
        opens: keys of which one opens `message`.
        keys: the 1 to 16 keys of the new message.
        signed: whether the new message is signed; None leaves that as it is.

    Raises:
        IntegrityError, UnavailableError, PermissionDeniedError: as `strongroom.decrypt`.
        InvalidRequestError: as `strongroom.encrypt`.
    """
    header, _ = decode_header(message)
    context, bindings = _pairs(header)
    again = Change(opens, keys, signed).signs(header)
    opened = decrypt(message, keys=opens, context=context, bindings=bindings)
    try:
        return encrypt(opened.value, keys=keys, context=context, bindings=bindings, signed=again)
    except BaseException:
        del opened  # this frame travels with the error
        raise


def _pairs(header: Header) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The caller's pairs and Strongroom's own; the public key of a signature belongs to one message only."""
    own = {key: value for key, value in header.context.items() if key in BINDINGS}
    given = {key: value for key, value in header.context.items() if key not in own and key != PUBLIC_KEY}
    with suppress(InvalidRequestError):
        join(given, own)
        return given, own
    raise IntegrityError("the message's context holds a key that no message may hold")


def reencrypt_file(
    path: str | os.PathLike[str],
    *,
    opens: Sequence[KeyWrapper],
    keys: Sequence[KeyWrapper],
    signed: bool | None = None,
    dry_run: bool = False,
) -> bool:
    """Put the message of `reencrypt` in the place of the file's; False if there is nothing to do.

    There is nothing to do if the header says that the message is under exactly `keys` already, so that a run
    that was cut short is simply repeated. The file is streamed in constant memory and replaced by a rename:
    it is whole at every moment, with the old message or the new one. Its mode is kept, and its owner and
    group where the process may set them. Its times are new, since its bytes are: a backup must take it again.
    Access control lists and other extended attributes are not kept.

    Args:
        dry_run: look at the header only and write nothing. (A remote key of `keys` may be asked once, which
            key its alias means.)

    Raises:
        IntegrityError: it is no message, or none that `opens` open; it is left as it is.
        InvalidRequestError: a symbolic link or not a regular file; or one of several names (hard links), of
            which only this one would be changed; or a keyring, which ``strongroom key rewrap`` looks after.
        SecretConflictError: somebody changed it meanwhile; theirs is left as it is.
        SecretNotFoundError, PermissionDeniedError, UnavailableError: the file system or a key says so.
    """
    path, error = os.fspath(path), None
    check_kind(path)
    try:
        outcome = reencrypt_at(path, Change(opens, keys, signed, dry_run))
    except TargetError as failed:
        outcome, error = Outcome.FAILED, failed.error
    if error is not None:
        raise error
    if outcome is Outcome.FOREIGN:
        raise IntegrityError(f"{path!r} is no message", hint="strongroom encrypt makes one")
    if outcome is Outcome.SKIPPED:
        raise InvalidRequestError(f"{path!r} is a keyring", hint=LOOKS_AFTER_KEYRINGS)
    return outcome is Outcome.REENCRYPTED


def check_kind(path: str) -> None:
    """Return if `path` is a regular file; raises as `reencrypt_file`."""
    kind = kind_of(attempt(path, os.lstat, path).st_mode)
    if kind:
        raise InvalidRequestError(f"{path!r} is {kind}", hint="name a regular file or a folder")


def kind_of(mode: int) -> str:
    """What a path is that is no regular file; empty if it is one."""
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return "" if stat.S_ISREG(mode) else kinds.get(stat.S_IFMT(mode), "a device")


def reencrypt_at(path: str, change: Change) -> Outcome:
    """Do to one file what `reencrypt_file` does; no message, and a keyring, are outcomes here and no errors.

    Raises:
        TargetError: a key of ``change.keys`` does not answer.
    """
    with _opened(path) as file:
        header = _header(file)
        if header is None:
            return Outcome.FOREIGN
        if _is_keyring(header):
            return Outcome.SKIPPED
        if change.is_done(header):
            return Outcome.ALREADY
        change.check(header, os.fstat(file.fileno()).st_nlink)
        if not change.dry_run:
            _replace(file, path, header, change)
        return Outcome.REENCRYPTED


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    descriptor, failed = attempt(path, os.open, path, _OPEN), None
    with open(descriptor, "rb") as file:
        kind = kind_of(os.fstat(descriptor).st_mode)
        if kind:
            raise SecretConflictError(f"{path!r} is {kind} now")
        try:
            yield file
        except OSError as error:  # the disk failed while it was read
            failed = error
    if failed is not None:
        attempt(path, _fail, failed)


def _fail(error: OSError) -> None:
    raise error


def _header(file: BinaryIO) -> Header | None:
    if not is_message(file.read(START_LENGTH)):
        return None
    file.seek(0)
    header, _ = read_header(file.read)
    file.seek(0)
    return header


def _replace(file: BinaryIO, path: str, header: Header, change: Change) -> None:
    before = os.fstat(file.fileno())
    with atomic_output(path, overwrite=True, mode=before.st_mode & 0o777) as output:
        _copy(file, output, header, change)
        _keep_owner(output, before)
        attempt(path, os.fsync, output.fileno())  # now, or the disk would make the next check an old one
        _check_unchanged(path, before)


def _copy(file: BinaryIO, output: AtomicFile, header: Header, change: Change) -> None:
    (context, bindings), failed = _pairs(header), None
    signed = change.signs(header)
    try:
        writer = EncryptingWriter(output, keys=change.keys, context=context, bindings=bindings, signed=signed)
    except UnavailableError as error:
        failed = error.with_traceback(None)
    if failed is not None:
        raise TargetError(failed)
    change.answered = True
    with writer:
        decrypt_stream(file, writer, keys=change.openers(header), context=context, bindings=bindings)


def _keep_owner(output: AtomicFile, before: os.stat_result) -> None:
    for owner, group in ((before.st_uid, before.st_gid), (-1, before.st_gid)):
        try:
            os.fchown(output.fileno(), owner, group)
        except PermissionError:  # to give files away takes root; the group may be one of ours nevertheless
            continue
        return


def _check_unchanged(path: str, before: os.stat_result) -> None:
    """What another program wrote meanwhile must not be undone. Only the instant until the rename remains."""
    now = attempt(path, os.lstat, path)
    facts = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_nlink")
    if any(getattr(now, fact) != getattr(before, fact) for fact in facts):
        raise SecretConflictError(f"{path!r} was changed meanwhile, and left as it is now", hint="repeat it")
