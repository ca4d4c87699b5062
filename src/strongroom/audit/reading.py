"""Reading a journal while others write it: whole lines, from where one left off; nothing here is verified."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import IntegrityError

from .chains import CHAIN_NAME, LINE_LIMIT
from .record import parse
from .segments import segment_name, segment_numbers, sound_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK: Final = 2**20


class Cursor(NamedTuple):
    """Where to go on in a chain.

    Attributes:
        segment: its number, from 1.
        offset: bytes of it that are behind us.
        seq: of the record that stands there.
    """

    segment: int = 1
    offset: int = 0
    seq: int = 0


Cursors = dict[str, Cursor]


class Line(NamedTuple):
    """One line of a chain, without its line feed, and where the next begins."""

    chain: str
    seq: int
    data: bytes
    after: Cursor


class Reader:
    """Reads the journal in a folder; what is not there yet is no error.

    Args:
        durable: tell only what would outlive a power cut. Who hands records on must ask for it: a record
            that its writer had not synced may be gone after the cut, and another stand in its place.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = False):
        self.path = Path(path)
        self.durable = durable

    def chains(self) -> list[str]:
        """The names of the chains there are."""
        try:
            names = os.listdir(self.path / "chains")
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if CHAIN_NAME.fullmatch(name))

    def lines(self, cursors: Mapping[str, Iterable[int]] | None = None) -> Iterator[Line]:
        """The lines after the cursors, chain by chain; a chain without a cursor from its first."""
        for chain in self.chains():
            yield from self.chain(chain, _cursor(cursors, chain))

    def chain(self, chain: str, cursor: Cursor = Cursor()) -> Iterator[Line]:  # noqa: B008  (immutable)
        """The lines of one chain after the cursor; a segment that is gone is passed over."""
        folder = self.path / "chains" / chain
        while numbers := _segments(folder, cursor.segment):
            # Listed before they are read: a segment that another follows gets no more lines.
            for number in numbers:
                if number > cursor.segment:
                    cursor = Cursor(number, 0, cursor.seq)
                for line in self._segment(folder, chain, cursor):
                    cursor = line.after
                    yield line
            if not _segments(folder, cursor.segment + 1):
                return

    def records(self, cursors: Cursors | None = None) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """The records after the cursors as (chain, seq, record), all chains together by time.

        What is not a record is passed over. Before a record is told its chain's cursor is moved behind it.
        """
        cursors = {} if cursors is None else cursors
        for line, record in self._merged(cursors):
            cursors[line.chain] = line.after
            yield line.chain, line.seq, record

    def tail(self, cursors: Mapping[str, Iterable[int]], limit: int) -> tuple[list[dict[str, Any]], Cursors]:
        """At most so many records after the cursors, by time, and the cursors behind them.

        The cursors may come from JSON. They stay as they are, for when the batch must be read again.
        """
        after: Cursors = {chain: Cursor(*place) for chain, place in cursors.items()}
        return [record for _, _, record in islice(self.records(after), limit)], after

    def _merged(self, cursors: Cursors) -> Iterator[tuple[Line, dict[str, Any]]]:
        chains = [_decoded(self.chain(chain, _cursor(cursors, chain))) for chain in self.chains()]
        return heapq.merge(*chains, key=lambda item: (item[1]["time"], item[0].chain, item[0].seq))

    def _segment(self, folder: Path, chain: str, cursor: Cursor) -> Iterator[Line]:
        number, offset, seq = cursor
        for data in _whole_lines(folder / segment_name(number), offset, self.durable):
            offset, seq = offset + len(data), seq + 1
            yield Line(chain, seq - 1, data[:-1], Cursor(number, offset, seq))


def _segments(folder: Path, first: int) -> list[int]:
    try:
        return [number for number in segment_numbers(folder) if number >= first]
    except FileNotFoundError:
        return []


def _cursor(cursors: Mapping[str, Iterable[int]] | None, chain: str) -> Cursor:
    return Cursor(*(cursors or {}).get(chain, ()))


def _whole_lines(path: Path, offset: int, durable: bool) -> Iterator[bytes]:
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        rest = b""
        while block := file.read(_BLOCK):
            if durable:  # after reading: what was read is in what is synced
                os.fdatasync(file.fileno())
                sound = sound_bytes(path)
                block = block if sound is None else block[: max(0, sound - offset)]
                offset += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from (line + b"\n" for line in lines)
            if len(rest) > 4 * LINE_LIMIT:
                return


def _decoded(lines: Iterator[Line]) -> Iterator[tuple[Line, dict[str, Any]]]:
    for line in lines:
        with contextlib.suppress(IntegrityError):
            yield line, parse(line.data)
