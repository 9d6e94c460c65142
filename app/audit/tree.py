"""The Merkle tree over the audit log (RFC 9162 §2.1), grown batch by batch.

The state is a *frontier*: the roots of the perfect subtrees that make up a tree of `size` leaves, largest first. Its
length is the number of ones in `size`, so ten million entries need at most 24 hashes.
"""

from collections.abc import Iterable
from hashlib import sha256


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def grow(size: int, frontier: Iterable[bytes], leaves: Iterable[bytes]) -> list[bytes]:
    """The frontier after appending leaf hashes to a tree of `size` leaves."""
    roots = list(frontier)
    if len(roots) != size.bit_count():
        raise ValueError(f"a tree of {size} leaves has {size.bit_count()} full subtrees, not {len(roots)}")
    for leaf in leaves:
        node, rest = leaf, size
        while rest & 1:
            node = node_hash(roots.pop(), node)
            rest >>= 1
        roots.append(node)
        size += 1
    return roots


def root(frontier: Iterable[bytes]) -> bytes:
    """The tree's root hash; that of no leaves is SHA-256 of nothing."""
    node: bytes | None = None
    for subtree in reversed(list(frontier)):
        node = subtree if node is None else node_hash(subtree, node)
    return sha256(b"").digest() if node is None else node
