"""Encrypt and decrypt from stream to stream in constant memory, whatever the length.

Messages are those of `strongroom.encrypt`: one of one frame and one of a thousand open alike. Each frame is
verified before its bytes leave; that a message was cut short, extended or put in another order is an
`IntegrityError`, and nothing that has not been verified is ever given away.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import IntegrityError

from .atomic import AtomicFile
from .binding import join
from .body import Body
from .outlet import Outlet, OutletBehind
from .pipes import Intake, is_seekable, writer_to
from .reader import DecryptingReader
from .sealing import FRAME_LENGTH, Sealing
from .writer import EncryptingWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.keys import KeyWrapper

    from .datakeys import DataKeyCache

    Progress = Callable[[int], None]

__all__ = ["Decrypted", "DecryptingReader", "EncryptingWriter", "decrypt_stream", "encrypt_stream"]

_READ_AHEAD: Final = 64
"""Bytes beyond a frame that are read with it: whether there is one decides whether the frame is the last."""


class Decrypted(NamedTuple):
    """What a message that was decrypted said and proved.

    Attributes:
        length: bytes of plaintext.
        context: every pair of the header, verified.
        passed_over: key ids of configured KEKs that should have opened the message and did not.
    """

    length: int
    context: Mapping[str, str]
    passed_over: tuple[str, ...]


def encrypt_stream(  # noqa: PLR0913  (options, all by keyword)
    source: Any,
    sink: Any,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    signed: bool = False,
    data_keys: DataKeyCache | None = None,
    length: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a message that holds all that `source` has yet to give; how many bytes that was.

    About 3 MiB of memory are used, 5 by `encrypt_file`. An error of `source`, `sink` or `progress` leaves a
    message that is cut short and opens nowhere; neither file is closed or flushed.

    Args:
        source: a binary file-like with `readinto` or `read`; it may give fewer bytes than asked for.
        sink: one with a `write` that says how many bytes it took. It is given views of a buffer that is
            reused, as `io` says of `write`, and may not keep them.
        keys, context, bindings, signed: as of `strongroom.encrypt`.
        data_keys: as of `strongroom.encrypt`, used if `length` is known.
        length: at most so many bytes will come.
        progress: called with the bytes of `source` that are done, after each frame.

    Raises:
        InvalidRequestError: as of `strongroom.encrypt`; a file that is text or non-blocking; more than
            `length` bytes, or more than 4 PiB, in which case nothing of the frame too many is written.
        UnavailableError, PermissionDeniedError: a KEK could not be used.
    """
    write, intake = writer_to(sink), Intake(source, FRAME_LENGTH + _READ_AHEAD)
    sealing = Sealing.begin(keys, join(context, bindings), signed=signed, data_keys=data_keys, length=length)
    try:
        write(sealing.prologue)
        # Only the thread of the caller may be used for a sink of the caller's.
        with OutletBehind(write) if isinstance(sink, AtomicFile) else Outlet(write) as outlet:
            _seal_all(intake, sealing, outlet, progress)
        write(sealing.epilogue())
    finally:
        intake.wipe()
    return intake.taken


def _seal_all(intake: Intake, sealing: Sealing, outlet: Outlet, progress: Progress | None) -> None:
    final = False
    while not final:
        piece, out = intake.peek(FRAME_LENGTH + 1), outlet.buffer()
        final, piece = len(piece) <= FRAME_LENGTH, piece[:FRAME_LENGTH]
        outlet.send(out[: sealing.seal_into(piece, out, final=final)])
        intake.skip(len(piece))
        if progress is not None:
            progress(intake.taken)


def decrypt_stream(
    source: Any,
    sink: Any,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    data_keys: DataKeyCache | None = None,
    progress: Progress | None = None,
) -> Decrypted:
    """Write what the message in `source` holds, each frame once it is verified.

    The source must end where the message does. If it turns out to have been cut, extended or changed,
    `sink` has the frames before that place and the error says so: whoever acts on plaintext that he has not
    seen the end of, acts on less than was written. `strongroom.decrypt_file` gives all or nothing.

    About 3 MiB of memory are used for messages of frames up to 1 MiB, such as ours, else twice the longest
    frame: it cannot be verified in parts.

    A signed message is read twice, and nothing is written before its signature is verified; the second
    reading must give what the first gave.

    Args:
        source: as of `encrypt_stream`; one that can `seek` for a signed message, unless `sink` is that of
            `strongroom.envelope.files.atomic_output`.
        sink: as of `encrypt_stream`.
        keys, context, bindings, data_keys: as of `strongroom.decrypt`.
        progress: called with the bytes of `source` that are done, after each write.

    Raises:
        IntegrityError: as of `strongroom.decrypt`.
        InvalidRequestError: no keys, a reserved key in `context`, a file that is text or non-blocking, or a
            signed message from a source that cannot be read twice.
        UnavailableError, PermissionDeniedError: no KEK that could open the message could be used.
    """
    write, expected = writer_to(sink), join(context, bindings)
    start = source.tell() if is_seekable(source) else None
    body = Body(source)
    twice = body.signed and not isinstance(sink, AtomicFile)
    if twice:
        body.must_be_read_twice(start is not None)
    body.begin(keys, expected, data_keys)
    written = 0
    for stretch in _verified_first(body, source, start or 0) if twice else body.stretches():
        write(stretch)
        written += len(stretch)
        if progress is not None:
            progress(body.taken)
    return Decrypted(written, body.header.context, body.opening.passed_over)


def _verified_first(body: Body, source: Any, start: int) -> Iterator[memoryview]:
    """Whoever can write to the source and open its message could swap it between the two readings."""
    digests = [hashlib.sha256(stretch).digest() for stretch in body.stretches()]
    source.seek(start + body.position)
    body.restart()
    for number, stretch in enumerate(body.stretches(feed=False)):
        if number >= len(digests) or hashlib.sha256(stretch).digest() != digests[number]:
            raise IntegrityError("the source was changed while it was read")
        yield stretch
