"""Ids: UUIDv7 (RFC 9562), in time order and namespaced by the node that made them.

Python 3.11 has no `uuid7` and PostgreSQL before 18 neither, so ids are made here. The last 16 bits name the origin
(the first two bytes of SHA-256 of the node's name), so that registries can be joined without a clash and one sees
where an id was born.
"""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from uuid import UUID

_origin = 0
_DRAWN = 1024
_RANDOM_BITS = 58
_STEP_BITS = 40  # ids of one millisecond are this far from each other, at random: as hard to guess as they were to meet
_made = 0  # the newest moment and random bits that `new_id` gave out
_making = threading.Lock()


def speak_for(node: str) -> None:
    """From now on this process makes ids in the name of `node`; called once, by the composition root."""
    global _origin  # noqa: PLW0603 - a process has exactly one origin, as it has one process id
    _origin = int.from_bytes(hashlib.sha256(node.encode()).digest()[:2], "big")


def new_id() -> UUID:
    """A fresh id: 48 bits of milliseconds, 58 random bits, 16 bits of origin; each sorts after the process's last one.

    So what one process does in one transaction, hence at one time, sorts as it was done (RFC 9562, 6.2, method 2).
    """
    global _made  # noqa: PLW0603 - a process has one order
    with _making:
        milliseconds = time.time_ns() // 1_000_000
        if milliseconds > _made >> _RANDOM_BITS:
            _made = milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS - 1)
        else:
            _made += 1 + secrets.randbits(_STEP_BITS)
        return from_parts(_made >> _RANDOM_BITS, _made & (1 << _RANDOM_BITS) - 1)


def new_ids() -> Iterator[UUID]:
    """Fresh ids without end, for rows by the hundred thousand: random bits are drawn a thousand ids at a time."""
    while True:
        milliseconds, bits = time.time_ns() // 1_000_000, os.urandom(8 * _DRAWN)
        for start in range(0, len(bits), 8):
            yield from_parts(milliseconds, int.from_bytes(bits[start : start + 8], "big") >> 6)


def row_ids() -> tuple[str, str]:
    """(beginning, end) of the ids of up to 16 million rows of one piece of work, each with up to 255 parts.

    Between them go a row's number as six hexadecimal digits and a part's number as two, in the place of random bits:
    so the database itself makes ids, in the order of the rows, that no other work makes.
    """
    text = str(new_id())
    return text[:24], text[32:]


def from_parts(milliseconds: int, randomness: int) -> UUID:
    """The id of a moment and 58 random bits; with a seeded source of bits it is reproducible."""
    random_a, random_b = randomness >> 46, randomness & ((1 << 46) - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | random_a << 64 | 0x2 << 62 | random_b << 16 | _origin)
