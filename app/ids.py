"""Ids: UUIDv7 (RFC 9562), in time order and namespaced by the node that made them.

Python 3.11 has no `uuid7` and PostgreSQL before 18 neither, so ids are made here. The last 16 bits name the origin
(the first two bytes of SHA-256 of the node's name), so that registries can be joined without a clash and one sees
where an id was born.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from uuid import UUID

_origin = 0
_DRAWN = 1024


def speak_for(node: str) -> None:
    """From now on this process makes ids in the name of `node`; called once, by the composition root."""
    global _origin  # noqa: PLW0603 - a process has exactly one origin, as it has one process id
    _origin = int.from_bytes(hashlib.sha256(node.encode()).digest()[:2], "big")


def new_id() -> UUID:
    """A fresh id: 48 bits of milliseconds, 58 random bits, 16 bits of origin."""
    return from_parts(time.time_ns() // 1_000_000, secrets.randbits(58))


def new_ids() -> Iterator[UUID]:
    """Fresh ids without end, for rows by the hundred thousand: random bits are drawn a thousand ids at a time."""
    while True:
        milliseconds, bits = time.time_ns() // 1_000_000, os.urandom(8 * _DRAWN)
        for start in range(0, len(bits), 8):
            yield from_parts(milliseconds, int.from_bytes(bits[start : start + 8], "big") >> 6)


def from_parts(milliseconds: int, randomness: int) -> UUID:
    """The id of a moment and 58 random bits; with a seeded source of bits it is reproducible."""
    random_a, random_b = randomness >> 46, randomness & ((1 << 46) - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | random_a << 64 | 0x2 << 62 | random_b << 16 | _origin)
