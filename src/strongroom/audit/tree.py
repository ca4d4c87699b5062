"""The Merkle tree of RFC 6962 as a log's writer needs it: appending, roots, proofs, in memory of log(size).

Leaves are given as hashes (`record.leaf_hash`) in order, from any iterator, so that a tree of millions of
records is proved in one pass over its files. The verifier has a tree of its own.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of a tree without leaves (RFC 6962 section 2.1)."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node; its first byte keeps it from passing for a leaf (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that is appended to, of which only the roots of its full subtrees are kept.

    Attributes:
        size: how many leaves it has.
        peaks: the roots of the full subtrees, largest first: one for each bit that is set in `size`.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()):
        if len(peaks) != size.bit_count():
            raise ValueError("a tree has as many peaks as its size has bits")
        self.size, self.peaks = size, list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add the next leaf hash."""
        node, full = leaf, self.size
        while full & 1:  # a full subtree as large as this one stands to its left
            node, full = node_hash(self.peaks.pop(), node), full >> 1
        self.peaks.append(node)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes in order."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """The root hash."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in self.peaks[-2::-1]:
            root = node_hash(peak, root)
        return root

    def copy(self) -> Frontier:
        """The tree as it is now."""
        return Frontier(self.size, self.peaks)


def inclusion_proof(index: int, size: int, leaves: Iterable[bytes]) -> list[bytes]:
    """The audit path of one leaf in the tree of the first `size` leaves (RFC 6962 section 2.1.1).

    Raises:
        ValueError: there is no such leaf, or `leaves` ends before the tree does.
    """
    if not 0 <= index < size:
        raise ValueError("no such leaf in this tree")
    return _roots(_path(index, size), iter(leaves), 0)


def consistency_proof(before: Frontier, size: int, leaves: Iterable[bytes]) -> list[bytes]:
    """That the tree of `size` leaves begins with the tree `before` (RFC 6962 section 2.1.2).

    Args:
        before: the older tree; its peaks stand for its leaves, which need not be read again.
        size: of the newer tree.
        leaves: those that follow the older tree's.

    Raises:
        ValueError: the newer tree is smaller, or `leaves` ends before it does.
    """
    if not 0 <= before.size <= size:
        raise ValueError("a tree is consistent with larger ones only")
    if before.size in (0, size):
        return []
    parts = _parts(before.size, size)
    new = [part for part in parts if part.start >= before.size]
    known = dict(zip(_peak_ranges(before.size), before.peaks, strict=True))
    known |= zip(new, _roots(new, iter(leaves), before.size), strict=True)
    return [known[part] for part in parts]


def _path(index: int, size: int) -> list[range]:
    """The subtrees beside the way from a leaf up to the root."""
    low, high, beside = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            beside.append(range(middle, high))
            high = middle
        else:
            beside.append(range(low, middle))
            low = middle
    return beside[::-1]


def _parts(old: int, size: int) -> list[range]:
    """The subtrees from which the roots of both trees can be made."""
    low, high, parts = 0, size, []
    while old < high:
        middle = low + _split(high - low)
        if old <= middle:
            parts.append(range(middle, high))
            high = middle
        else:
            parts.append(range(low, middle))
            low = middle
    if low:  # otherwise it is the older tree itself, whose root the verifier has
        parts.append(range(low, high))
    return parts[::-1]


def _split(count: int) -> int:
    """The largest power of two below `count`: how many leaves stand in the left subtree."""
    return 1 << ((count - 1).bit_length() - 1)


def _peak_ranges(size: int) -> list[range]:
    ranges, start = [], 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            ranges.append(range(start, start + (1 << bit)))
            start += 1 << bit
    return ranges


def _roots(parts: Sequence[range], leaves: Iterator[bytes], place: int) -> list[bytes]:
    """The roots of disjoint subtrees, in one pass over the leaves from `place` on."""
    found: dict[range, bytes] = {}
    for part in sorted(parts, key=lambda part: part.start):
        subtree = Frontier()
        for _ in islice(leaves, part.start - place):
            pass
        subtree.extend(islice(leaves, len(part)))
        if subtree.size != len(part):
            raise ValueError("there are fewer leaves than the tree has")
        found[part], place = subtree.root(), part.stop
    return [found[part] for part in parts]
