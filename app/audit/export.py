"""The log as a file that anybody can check offline with `gwanje-audit` (verify.py says how it is written)."""

import base64
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import asyncpg

from app.audit.checkpoints import Notary
from app.audit.entries import leaf_data
from app.audit.verify import EXPORT, LEAF_PREFIX, WITHHELD, Checkpoint, split_note

AT_ONCE = 2000
_ROWS = """
SELECT l.position, e.* FROM audit_leaves l JOIN audit_entries e ON e.id = l.id AND e.at = l.at
WHERE l.position > $1 AND l.position <= $2 ORDER BY l.position LIMIT $3
"""

MaySee = Callable[[Mapping[str, Any]], bool]


async def size(connection: asyncpg.Connection, notary: Notary) -> int:
    """How many entries the newest checkpoint has."""
    return Checkpoint.of_text(split_note(await notary.publish(connection))[0]).size


async def lines(
    connection: asyncpg.Connection, notary: Notary, *, may_see: MaySee = lambda _: True
) -> AsyncGenerator[tuple[int, bytes]]:
    """The whole log up to the newest checkpoint, in parts (entries, bytes) of some hundred kilobytes; flat in memory.

    What the reader may not see is withheld: its header stays, so that every hash still holds.
    """
    note = await notary.publish(connection)
    last = Checkpoint.of_text(split_note(note)[0]).size
    yield 0, b"%b\n%b\nfirst 0\n\n" % (EXPORT, notary.origin.encode())
    after = 0
    while after < last:
        rows = await connection.fetch(_ROWS, after, last, AT_ONCE)
        yield len(rows), b"".join(_line(row, may_see) for row in rows)
        after = rows[-1]["position"]
    yield 0, b"\n" + note.encode()


def _line(row: Mapping[str, Any], may_see: MaySee) -> bytes:
    header = leaf_data(row).removeprefix(LEAF_PREFIX)
    if row["payload"] is None:
        return header + b"\t\t\n"
    if not may_see(row):
        return header + b"\t" + WITHHELD + b"\t\n"
    salt, payload = str(row["salt"].hex()), str(row["payload"])
    return b"%b\t%b\t%b\n" % (header, salt.encode(), payload.encode())


def hashes(found: list[bytes]) -> str:
    """Hashes as lines of base64."""
    return "".join(base64.b64encode(one).decode() + "\n" for one in found)
