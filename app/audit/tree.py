"""The Merkle tree over the audit log (RFC 9162 §2.1), grown batch by batch, proved from few stored hashes.

The state is a *frontier*: the roots of the perfect subtrees that make up a tree of `size` leaves, largest first. Its
length is the number of ones in `size`, so ten million entries need at most 24 hashes. Stored are the leaves' hashes
and the roots of perfect subtrees of 256, 65,536, … leaves: every other hash is one of at most 255 steps away, and a
proof needs at most two runs of 256 of each height.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from app.audit.verify import node_hash

HEIGHT = 8  # levels between two that are stored
WIDTH = 1 << HEIGHT


@dataclass(frozen=True, slots=True)
class Node:
    """The root of a perfect subtree: of the leaves from index << level on, 1 << level of them."""

    level: int
    index: int
    hash: bytes


def grow(size: int, frontier: Iterable[bytes], leaves: Iterable[bytes]) -> tuple[list[bytes], list[Node]]:
    """The frontier after appending leaf hashes to a tree of `size` leaves, and the nodes to store that came with it."""
    roots, nodes = list(frontier), []
    if len(roots) != size.bit_count():
        raise ValueError(f"a tree of {size} leaves has {size.bit_count()} full subtrees, not {len(roots)}")
    for leaf in leaves:
        node, rest, level = leaf, size, 0
        while rest & 1:
            node = node_hash(roots.pop(), node)
            rest >>= 1
            level += 1
            if level % HEIGHT == 0:
                nodes.append(Node(level, size >> level, node))
        roots.append(node)
        size += 1
    return roots, nodes


Stored = Callable[[int, int], bytes]


def subtree(start: int, end: int, stored: Stored) -> bytes:
    """The root of the leaves from `start` up to `end`, from what is stored: `stored(level, index)`, level by eights."""
    width = end - start
    if width & (width - 1) == 0 and start % width == 0:
        return _perfect(width.bit_length() - 1, start // width, stored)
    half = 1 << ((width - 1).bit_length() - 1)
    return node_hash(subtree(start, start + half, stored), subtree(start + half, end, stored))


def _perfect(level: int, index: int, stored: Stored) -> bytes:
    if level % HEIGHT == 0:
        return stored(level, index)
    return node_hash(_perfect(level - 1, 2 * index, stored), _perfect(level - 1, 2 * index + 1, stored))


def inclusion(index: int, size: int, stored: Stored) -> list[bytes]:
    """The proof that the leaf at the index is in the tree of that size, from its sibling up (RFC 9162 §2.1.3.1)."""
    return [subtree(start, end, stored) for start, end in _siblings(index, 0, size)]


def _siblings(index: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    if end - start == 1:
        return
    half = start + (1 << ((end - start - 1).bit_length() - 1))
    if index < half:
        yield from _siblings(index, start, half)
        yield half, end
    else:
        yield from _siblings(index, half, end)
        yield start, half


def consistency(old: int, new: int, stored: Stored) -> list[bytes]:
    """The proof that the tree of `new` leaves begins with that of `old` (RFC 9162 §2.1.4.1)."""
    if old in (0, new):
        return []
    return [subtree(start, end, stored) for start, end in _shared(old, 0, new, whole=True)]


def _shared(old: int, start: int, end: int, *, whole: bool) -> Iterator[tuple[int, int]]:
    if old == end:
        if not whole:
            yield start, end
        return
    half = start + (1 << ((end - start - 1).bit_length() - 1))
    if old <= half:
        yield from _shared(old, start, half, whole=whole)
        yield half, end
    else:
        yield from _shared(old, half, end, whole=False)
        yield start, half


def runs(size: int, *edges: int) -> list[tuple[int, int, int]]:
    """What is to be read for proofs about these indexes in a tree of `size`: (level, first, last) of stored nodes."""
    found = set()
    level = 0
    while (count := size >> level) > 0:
        for edge in (*edges, size - 1):
            first = (edge >> level) // WIDTH * WIDTH
            found.add((level, first, min(first + WIDTH, count) - 1))
        level += HEIGHT
    return sorted(run for run in found if run[1] <= run[2])
