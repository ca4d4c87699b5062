"""The writer's tree: published vectors of RFC 6962, and the verifier's own code over every small tree."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit.record import leaf_hash
from strongroom.audit.tree import EMPTY_ROOT, Frontier, consistency_proof, inclusion_proof
from strongroom.audit.verify_tree import consistent, included

# Certificate Transparency's own: cpp/merkletree/merkle_tree_test.cc, also those of Trillian.
LEAVES = [
    leaf_hash(bytes.fromhex(text))
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): """
        96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7
        5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4""",
    (5, 8): """
        bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b
        ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0
        d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7""",
}
CONSISTENCY = {
    (1, 8): """
        96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7
        5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4""",
    (6, 8): """
        0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a
        ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0
        d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7""",
    (2, 5): """
        5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e
        bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b""",
}


def grown(leaves: list[bytes]) -> Frontier:
    tree = Frontier()
    tree.extend(leaves)
    return tree


def made(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    """Every size up to eight has the root that Certificate Transparency publishes."""
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_the_published_ones(index: int, size: int) -> None:
    """An audit path is the published one, hash by hash."""
    proof = inclusion_proof(index, size, LEAVES)
    assert [part.hex() for part in proof] == INCLUSION[index, size].split()


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_consistency_proofs_are_the_published_ones(old: int, size: int) -> None:
    """A consistency proof is the published one, hash by hash."""
    proof = consistency_proof(grown(LEAVES[:old]), size, LEAVES[old:])
    assert [part.hex() for part in proof] == CONSISTENCY[old, size].split()


def test_every_proof_in_small_trees_convinces_the_verifier() -> None:
    """For all trees of up to 20 leaves: each leaf is included, each older tree is a beginning."""
    leaves = made(20)
    for size in range(1, 21):
        root = grown(leaves[:size]).root()
        for index in range(size):
            assert included(leaves[index], index, size, inclusion_proof(index, size, leaves), root)
        for old in range(size + 1):
            before = grown(leaves[:old])
            proof = consistency_proof(before, size, leaves[old:])
            assert consistent(old, before.root(), size, root, proof)


@given(size=st.integers(1, 300), data=st.data())
def test_a_proof_convinces_of_nothing_else(size: int, data: st.DataObject) -> None:
    """A proof of one leaf proves no other leaf, and a changed older tree is no beginning."""
    leaves, index = made(size), data.draw(st.integers(0, size - 1))
    root, proof = grown(leaves).root(), inclusion_proof(index, size, leaves)
    assert included(leaves[index], index, size, proof, root)
    assert not included(leaf_hash(b"another"), index, size, proof, root)
    other = grown([leaf_hash(b"another"), *leaves[1 : index + 1]])
    assert not consistent(
        other.size, other.root(), size, root, consistency_proof(other, size, leaves[other.size :])
    )


def test_a_frontier_holds_one_hash_for_each_bit_of_its_size() -> None:
    """So a tree of a million leaves takes at most 20 hashes, and can be kept and gone on with."""
    leaves = made(1000)
    half = grown(leaves[:500])
    again = Frontier(half.size, half.peaks)
    again.extend(leaves[500:])
    assert (again.root(), len(again.peaks)) == (grown(leaves).root(), (1000).bit_count())
    assert half.root() == grown(leaves[:500]).root()


def test_proofs_read_no_more_leaves_than_their_tree_has() -> None:
    """A proof is one pass over an iterator; what follows the tree is left unread."""
    read = iter(made(40))
    inclusion_proof(3, 32, islice(read, 40))
    assert len(list(read)) >= 8


def test_what_cannot_be_proved_is_refused() -> None:
    """No such leaf, a tree that shrinks, too few leaves, peaks that fit no size."""
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion_proof(3, 3, LEAVES)
    with pytest.raises(ValueError, match="larger ones only"):
        consistency_proof(grown(LEAVES), 3, [])
    with pytest.raises(ValueError, match="fewer leaves"):
        inclusion_proof(0, 9, LEAVES)
    with pytest.raises(ValueError, match="as many peaks"):
        Frontier(3, [EMPTY_ROOT])
