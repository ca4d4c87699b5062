"""A file to write plaintext to, whose message grows in another."""

from __future__ import annotations

import io
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any, final

from strongroom.errors import InvalidRequestError

from .binding import join
from .message import FINAL_OVERHEAD
from .pipes import writer_to
from .sealing import FRAME_LENGTH, Sealing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import NoReturn, Self

    from strongroom.keys import KeyWrapper

    from .datakeys import DataKeyCache


@final
class EncryptingWriter(io.BufferedIOBase):
    """A binary file to write in, whose message goes to `sink`; closing it finishes the message.

    ::

        with open("dump.enc", "wb") as sink, EncryptingWriter(sink, keys=keys, context=context) as file:
            shutil.copyfileobj(source, file)

    Leave it by an error, `abandon` it or drop it without closing, and the message stays without its final
    frame: readers get an IntegrityError, not a part that passes for the whole. So use `with`, and not a
    ``finally: file.close()``, which finishes what an error cut short.

    It buffers up to a frame of 1 MiB, and `flush` does not change that: only a final frame may be shorter.
    `sink` is neither closed nor flushed. Threads may share it, each `write` then stands whole in the message;
    a forked child may not use it, since two processes would encrypt different bytes under one key and IV.

    Args:
        sink: as of `strongroom.encrypt_stream`.
        keys, context, bindings, signed: as of `strongroom.encrypt`.
        data_keys, length: as of `strongroom.encrypt_stream`.

    Raises:
        InvalidRequestError: as of `strongroom.encrypt_stream`; or `sink` has failed before, and what it has
            is cut short for good.
        UnavailableError, PermissionDeniedError: a KEK could not be used.
    """

    _sealing: Sealing | None = None

    def __init__(
        self,
        sink: Any,
        *,
        keys: Sequence[KeyWrapper],
        context: Mapping[str, str],
        bindings: Mapping[str, str] | None = None,
        signed: bool = False,
        data_keys: DataKeyCache | None = None,
        length: int | None = None,
    ):
        self._send, pairs = writer_to(sink), join(context, bindings)
        sealing = Sealing.begin(keys, pairs, signed=signed, data_keys=data_keys, length=length)
        self._lock, self._process = threading.RLock(), os.getpid()
        self._plain, self._filled = memoryview(bytearray(FRAME_LENGTH)), 0
        self._sealed = memoryview(bytearray(FRAME_LENGTH + FINAL_OVERHEAD))
        self._length, self._touched, self._is_cut = 0, 0, False
        self._emit(sealing.prologue)
        self._sealing = sealing

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Bytes of plaintext so far."""
        return self._length

    def write(self, data: Any, /) -> int:
        """Take all of `data`, any object with a buffer; how many bytes that is."""
        try:
            with memoryview(data) as whole, whole.cast("B") as view, self._lock:
                self._take(self._usable(), view)
                self._length += len(view)
                return len(view)
        except BaseException:
            data = b""  # this frame travels with the error
            raise

    def close(self) -> None:
        """Write the final frame, unless the message is finished or abandoned. Safe to repeat."""
        with self._lock:
            if self.closed or self._sealing is None:
                return
            try:
                sealing = self._usable()
                self._seal(sealing, self._plain[: self._filled], final=True)
                self._emit(sealing.epilogue())
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Close without a final frame: what `sink` has is no message, and nobody can make it one."""
        with self._lock:
            self._sealing = None
            self._plain[: self._touched] = bytes(self._touched)
            super().close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an EncryptingWriter cannot be copied: two files would write one message")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self.closed:
            self.abandon()

    def __del__(self) -> None:
        # io's own finalizer closes, which here would turn what was dropped half-way into a whole message.
        if self._sealing is not None and not self.closed:
            self._dealloc_warn(self)

    def _dealloc_warn(self, source: object) -> None:
        """CPython's io calls this before a wrapper that was dropped (TextIOWrapper) closes what it wraps."""
        if self._process == os.getpid():
            warnings.warn(
                f"unclosed {type(self).__name__}: its message is cut short", ResourceWarning, 2, source
            )
        self.abandon()

    def _usable(self) -> Sealing:
        if self._sealing is None:
            raise ValueError("I/O operation on closed file.")
        if self._process != os.getpid():
            raise InvalidRequestError("a forked process cannot go on with its parent's message")
        if self._is_cut:
            raise InvalidRequestError("the message is cut short: an earlier write to its sink failed")
        return self._sealing

    def _take(self, sealing: Sealing, view: memoryview) -> None:
        """A full frame waits for the byte that proves that it is not the final one."""
        while len(view):
            if self._filled == FRAME_LENGTH:
                self._seal(sealing, self._plain, final=False)
                self._filled = 0
            if not self._filled and len(view) > FRAME_LENGTH:
                self._seal(sealing, view[:FRAME_LENGTH], final=False)
                view = view[FRAME_LENGTH:]
            else:
                view = view[self._keep(view) :]

    def _keep(self, view: memoryview) -> int:
        count = min(FRAME_LENGTH - self._filled, len(view))
        self._plain[self._filled : self._filled + count] = view[:count]
        self._filled += count
        self._touched = max(self._touched, self._filled)
        return count

    def _seal(self, sealing: Sealing, piece: memoryview, *, final: bool) -> None:
        self._is_cut = True
        self._send(self._sealed[: sealing.seal_into(piece, self._sealed, final=final)])
        self._is_cut = False

    def _emit(self, data: bytes) -> None:
        self._is_cut = True
        self._send(data)
        self._is_cut = False
