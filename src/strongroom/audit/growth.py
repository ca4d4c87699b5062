"""The tree over a journal's records: in the order that is on disk, as far as it goes, and what is to follow.

``order.jsonl`` says which records are leaves, in which order. It is durable before anything over it is signed
and is never rewritten, so all trees that were ever signed are beginnings of one and the same.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import IntegrityError

from .linefile import LineFile, compact
from .reading import Cursor, Reader
from .record import GENESIS, VERSION, leaf_hash, parse
from .tree import Frontier

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from .head import Checkpoint
    from .reading import Line

    _Noted = tuple[int, Checkpoint]

ORDER: Final = "order.jsonl"


@dataclass(frozen=True)
class Run:
    """Records of one chain that stand together in the order."""

    chain: str
    first: int
    count: int

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Run:
        """Read a line of the order.

        Raises:
            IntegrityError: it is none.
        """
        run = cls(fields.get("chain", ""), fields.get("first", -1), fields.get("count", 0))
        if type(run.chain) is str and type(run.first) is type(run.count) is int and run.count > 0:
            return run
        raise IntegrityError("a line of the order of records is damaged")

    def line(self) -> bytes:
        """The run as a line of the order."""
        return compact(asdict(self))


class Place(NamedTuple):
    """How far a chain is in the tree: where its next record stands, and what that one must name as `prev`."""

    cursor: Cursor = Cursor()
    prev: str = GENESIS


class Growth:
    """The tree as far as it was read. A copy grows apart from its original.

    Attributes:
        tree: over the records in order.
        places: how far each chain is in it.
        ordered: bytes of the order that it stands for.
        noted: bytes of the checkpoints that were compared with it.
        newest: the last of these.
        stuck: chains whose next record does not follow the one before it, and which one that is.
    """

    def __init__(self, path: Path):
        self.path = path
        self.tree = Frontier()
        self.places: dict[str, Place] = {}
        self.ordered = self.noted = 0
        self.newest: Checkpoint | None = None
        self.stuck: dict[str, int] = {}
        self._reader = Reader(path, durable=True)

    def copy(self) -> Growth:
        """The same tree, to be grown on trial."""
        twin = Growth(self.path)
        twin.tree, twin.places = self.tree.copy(), dict(self.places)
        twin.ordered, twin.noted, twin.newest = self.ordered, self.noted, self.newest
        return twin

    def follow(self, notes: Iterable[tuple[int, Checkpoint]]) -> None:
        """Read what was ordered meanwhile, and compare each checkpoint with the tree of its size.

        Raises:
            IntegrityError: a checkpoint that the records do not give; records in the order that are not
                there, or others than were ordered.
        """
        ahead = iter(notes)
        waiting = self._compared(ahead, next(ahead, None))
        for leaf in self.leaves():
            self.tree.append(leaf)
            if waiting and waiting[1].size <= self.tree.size:
                waiting = self._compared(ahead, waiting)
        if waiting:
            raise IntegrityError(
                "the order of records ends before the last checkpoint does",
                hint="restore the journal; strongroom audit verify says what is missing",
            )

    def take(self) -> list[Run]:
        """Add all durable records that are in no tree yet; the runs by which they come into the order."""
        runs = []
        for chain in self._reader.chains():
            place = self.places.get(chain, Place())
            before = self.tree.size
            self.tree.extend(self._leaves(chain))
            if self.tree.size > before:
                runs.append(Run(chain, place.cursor.seq, self.tree.size - before))
        return runs

    def leaves(self) -> Iterator[bytes]:
        """The leaf hashes that follow, as far as the order goes; they come into no tree by themselves."""
        for ordered, fields in LineFile(self.path / ORDER).read(self.ordered):
            self.ordered = ordered
            yield from self._ordered(Run.of(fields))

    def grow(self, size: int) -> Iterator[bytes]:
        """Read on to the tree of so many leaves, which a checkpoint was made of; its new leaf hashes.

        Raises:
            IntegrityError: the order does not go so far, or what it names is not there.
        """
        for leaf in islice(self.leaves(), size - self.tree.size):
            self.tree.append(leaf)
            yield leaf
        if self.tree.size < size:
            raise IntegrityError("the order of records ends before the checkpoint does")

    def _compared(self, ahead: Iterator[_Noted], waiting: _Noted | None) -> _Noted | None:
        """The first checkpoint of a larger tree than this, all before it being of ours."""
        while waiting and waiting[1].size <= self.tree.size:
            self.noted, checkpoint = waiting
            if (checkpoint.size, checkpoint.root) != (self.tree.size, self.tree.root()):
                raise IntegrityError(
                    f"the journal is not the one whose checkpoint of {checkpoint.size} records was signed",
                    hint="nothing more is signed; strongroom audit verify says where they differ",
                )
            self.newest, waiting = checkpoint, next(ahead, None)
        return waiting

    def _ordered(self, run: Run) -> Generator[bytes, None, None]:
        place = self.places.get(run.chain, Place())
        if run.first != place.cursor.seq:
            raise IntegrityError(f"the order of records has a gap before {run.chain}:{run.first}")
        count = 0
        with closing(self._leaves(run.chain)) as leaves:
            for count, leaf in enumerate(islice(leaves, run.count), 1):  # noqa: B007  (counted for what follows)
                yield leaf
        if count < run.count:
            lacking = f"{run.chain}:{run.first + count}"
            raise IntegrityError(
                f"record {lacking} was ordered and is not in its chain",
                hint="nothing more is signed; strongroom audit verify says what is missing",
            )

    def _leaves(self, chain: str) -> Generator[bytes, None, None]:
        """The leaf hashes of a chain from its place on, moving the place; up to one that does not follow."""
        place = self.places.get(chain, Place())
        self.stuck.pop(chain, None)
        with closing(_pairs(self._reader, chain, place.cursor)) as lines:
            for line, following in lines:
                leaf = leaf_hash(line.data)
                after = Place(line.after, leaf.hex())
                if not _follows(line, place) or not (_follows(following, after) or _is_whole(line)):
                    self.stuck[chain] = line.seq
                    return
                place = self.places[chain] = after
                yield leaf


def _pairs(reader: Reader, chain: str, cursor: Cursor) -> Generator[tuple[Line, Line | None], None, None]:
    """Each line with the one behind it; a generator, so that it can be closed before its end."""
    line: Line | None = None
    for following in reader.chain(chain, cursor):
        if line is not None:
            yield line, following
        line = following
    if line is not None:
        yield line, None


def _follows(line: Line | None, place: Place) -> bool:
    """Whether a line begins as a record's one form does that is the next of its chain."""
    if line is None:
        return False
    head = f'{{"v":{VERSION},"chain":"{line.chain}","seq":{place.cursor.seq},"prev":"{place.prev}",'
    return line.data.startswith(head.encode())


def _is_whole(line: Line) -> bool:
    """Of a line that none behind it vouches for: a power cut may have spared its beginning and its end alone.

    Who adopts the chain judges so too, and puts another record where this one is none.
    """
    try:
        parse(line.data)
    except IntegrityError:
        return False
    return True
