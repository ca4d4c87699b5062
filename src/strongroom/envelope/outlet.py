"""Where sealed frames go, from buffers that are used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from .message import FINAL_OVERHEAD
from .sealing import FRAME_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor
    from types import TracebackType
    from typing import Self

    from .message import Buffer

_CAPACITY: Final = FRAME_LENGTH + FINAL_OVERHEAD
_BEHIND: Final = 2


class Outlet:
    """Writes each frame before the next is sealed, as sinks that are not our own are used.

    Args:
        write: takes all of a buffer, and does not keep it.
    """

    def __init__(self, write: Callable[[Buffer], None]):
        self._write = write
        self._buffer = memoryview(bytearray(_CAPACITY))

    def buffer(self) -> memoryview:
        """Where the next frame is sealed."""
        return self._buffer

    def send(self, frame: memoryview) -> None:
        """Write the first part of what `buffer` gave last; raises what this or an earlier write raised."""
        self._write(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """All is written, or one write has failed and none is under way."""


@final
class OutletBehind(Outlet):
    """Writes frames while the next are sealed: with two processors a file is encrypted as fast as copied.

    Another thread writes, up to two frames behind; a file of one frame needs none.
    """

    def __init__(self, write: Callable[[Buffer], None]):
        super().__init__(write)
        self._spare = [memoryview(bytearray(_CAPACITY)) for _ in range(_BEHIND)]
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []
        self._is_cut = False

    def send(self, frame: memoryview) -> None:
        self._settle(_BEHIND - 1)
        if self._pool is not None:
            self._pending.append(self._pool.submit(self._write_next, frame))
            self._spare.append(self._buffer)
            self._buffer = self._spare.pop(0)
            return
        self._write(frame)
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1, "strongroom-outlet")  # its thread begins with the next frame

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._settle(0)
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def _write_next(self, frame: memoryview) -> None:
        if self._is_cut:  # a message with a hole would be worse than a short one
            return
        self._is_cut = True
        self._write(frame)
        self._is_cut = False

    def _settle(self, under_way: int) -> None:
        """Return when at most so many writes are not done; raises what one has raised."""
        while len(self._pending) > under_way:
            self._pending.pop(0).result()
