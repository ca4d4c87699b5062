"""The Merkle tree of RFC 6962 as a verifier needs it: a root over leaves in order, and proofs checked.

Written apart from the writer's tree on purpose: an error in one does not hide in the other.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HASH_LENGTH: Final = 32
MAX_SIZE: Final = 1 << 63
"""No tree has more leaves; C2SP keeps sizes in signed 64 bits."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """An inner node (RFC 6962 section 2.1); its first byte keeps it apart from a leaf."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that only grows. Memory: one hash for each bit of its size.

    Attributes:
        size: how many leaves it has.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash; every full pair of subtrees becomes one."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root hash; of an empty tree the hash of nothing (RFC 6962 section 2.1)."""
        if not self._peaks:
            return sha256(b"").digest()
        *others, root = self._peaks
        for peak in reversed(others):
            root = node_hash(peak, root)
        return root


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf stands at `index` in the tree of `size` leaves with that root.

    RFC 9162 section 2.1.3.2, which is RFC 6962's proof with the check written out.
    """
    if not 0 <= index < size <= MAX_SIZE:
        return False
    place, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `size` leaves begins with the tree of `old` leaves (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old <= size <= MAX_SIZE:
        return False
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof and old_root == sha256(b"").digest()
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    return _climb(old, size, path) == (old_root, root)


def _climb(old: int, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The two roots that a proof leads to; None if it is too long or too short."""
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return (before, after) if last == 0 else None
