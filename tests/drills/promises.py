"""What was promised, held against the log: every entry there, every leaf as promised, gapless, and nothing signed amiss.

`judge` is pure and shares no code with the service: roots are made as RFC 9162 §2.1.1 says, by recursion.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

UNRECORDED, MISSING, OTHER = "unrecorded", "missing", "other"  # no entry, no leaf, another leaf than was promised
GAP, TWICE, FORKED = "gap", "twice", "forked"  # of positions, of an entry's leaves; a checkpoint of another log


@dataclass(frozen=True, slots=True)
class Promise:
    """A receipt that went out with a URL."""

    entry_id: str
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    position: int
    entry_id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint that was signed."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    detail: str


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of these leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_of(leaves[:middle]) + root_of(leaves[middle:])).digest()


def judge(
    promises: Iterable[Promise], entries: Iterable[str], leaves: Sequence[Leaf], signed: Iterable[Signed]
) -> list[Finding]:
    """Everything that contradicts what was promised and signed; `leaves` in the order of their positions."""
    found: list[Finding] = []
    recorded, of_entry = set(entries), {leaf.entry_id: leaf for leaf in leaves}
    for number, leaf in enumerate(leaves, 1):
        if leaf.position != number:
            found.append(Finding(GAP, f"position {leaf.position} stands where {number} should"))
            break
    found += [
        Finding(TWICE, entry_id) for entry_id, count in Counter(leaf.entry_id for leaf in leaves).items() if count > 1
    ]
    for promise in promises:
        if promise.entry_id not in recorded:
            found.append(Finding(UNRECORDED, promise.entry_id))
        elif (leaf_of := of_entry.get(promise.entry_id)) is None:
            found.append(Finding(MISSING, promise.entry_id))
        elif leaf_of.hash != promise.leaf:
            found.append(Finding(OTHER, promise.entry_id))
    hashes = [leaf.hash for leaf in leaves]
    for checkpoint in signed:
        if checkpoint.size > len(hashes) or root_of(hashes[: checkpoint.size]) != checkpoint.root:
            found.append(Finding(FORKED, f"of {checkpoint.size} entries"))
    return found
