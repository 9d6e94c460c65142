"""The Merkle tree against the definition itself (RFC 9162 §2.1.1), written down as recursively as it stands there."""

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audit import tree, verify

# The roots of the first trees of the reference vectors of RFC 6962 / 9162 (certificate-transparency).
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def definition(data: list[bytes]) -> bytes:
    """MTH(D[n]), word for word."""
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = 1
    while k * 2 < len(data):
        k *= 2
    return sha256(b"\x01" + definition(data[:k]) + definition(data[k:])).digest()


def grown(data: list[bytes], cuts: list[int]) -> list[bytes]:
    """The frontier of a tree grown in batches that end at the cuts."""
    frontier: list[bytes] = []
    size = 0
    for end in [*sorted(cuts), len(data)]:
        batch = [verify.leaf_hash(one) for one in data[size:end]]
        frontier, _ = tree.grow(size, frontier, batch)
        size = max(size, end)
    return frontier


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots(size: int) -> None:
    expected = bytes.fromhex(ROOTS[size - 1]) if size else sha256(b"").digest()
    assert verify.Tree(size, grown(LEAVES[:size], [])).root() == expected


@given(data=st.data(), size=st.integers(0, 600))
@settings(max_examples=60, deadline=None)
def test_a_tree_grown_in_any_batches_is_the_tree_of_the_definition(data: st.DataObject, size: int) -> None:
    dice = random.Random(size)
    leaves = [dice.randbytes(dice.randrange(40)) for _ in range(size)]
    cuts = data.draw(st.lists(st.integers(0, size), max_size=12))
    frontier = grown(leaves, cuts)
    assert verify.Tree(len(leaves), frontier).root() == definition(leaves)
    assert len(frontier) == size.bit_count()


def test_every_size_up_to_six_hundred_leaf_by_leaf() -> None:
    leaves = [number.to_bytes(2, "big") for number in range(600)]
    frontier: list[bytes] = []
    for size, leaf in enumerate(leaves):
        if size % 7 == 0 or size.bit_count() == 1 or (size + 1).bit_count() == 1:
            assert verify.Tree(size, frontier).root() == definition(leaves[:size])
        frontier, _ = tree.grow(size, frontier, [verify.leaf_hash(leaf)])
    assert verify.Tree(len(leaves), frontier).root() == definition(leaves)


def test_growing_leaves_the_old_frontier_alone() -> None:
    frontier = [verify.leaf_hash(b"1")]
    kept = list(frontier)
    tree.grow(1, frontier, [verify.leaf_hash(b"2")])
    assert frontier == kept


@pytest.mark.parametrize(("size", "length"), [(0, 1), (1, 0), (3, 1), (4, 2)])
def test_a_frontier_of_another_size_is_refused(size: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of {size} leaves"):
        tree.grow(size, [b"x" * 32] * length, [b"y" * 32])


def test_a_leaf_cannot_pass_for_a_node() -> None:
    left, right = verify.leaf_hash(b"l"), verify.leaf_hash(b"r")
    assert verify.leaf_hash(left + right) != verify.node_hash(left, right)
