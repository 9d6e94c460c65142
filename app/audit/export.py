"""The log as a file that anybody can check offline with `gwanje-audit` (verify.py says how it is written)."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import restricted
from app.audit.checkpoints import Notary
from app.audit.entries import append, entry, leaf_data
from app.audit.verify import DROPPED, ERASING, EXPORT, GONE, LEAF_PREFIX, WITHHELD, Checkpoint, split_note
from app.database import Database
from app.errors import NotPermitted
from app.models import Agency

AT_ONCE = 2000
_ROWS = """
SELECT l.position, l.leaf_hash, e.*, CAST(e.payload ->> 'incident_id' AS uuid) AS incident_id
FROM audit_leaves l LEFT JOIN audit_entries e ON e.id = l.id AND e.at = l.at
WHERE l.position > $1 AND l.position <= $2 ORDER BY l.position LIMIT $3
"""

MOST_SECONDS = 3600
LOOK_SECONDS = 5.0
_STILL_SIGNED_IN = "SELECT EXISTS (SELECT FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > now())"

MaySee = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Sight:
    """What of the log one reader may have: which entries at all, and of which the contents."""

    sees: MaySee = lambda _: True
    knows: MaySee = lambda _: True


ALL = Sight()


async def size(database: Database, notary: Notary) -> int:
    """How many entries the newest checkpoint has."""
    async with database.bare.acquire() as connection:
        return Checkpoint.of_text(split_note(await notary.publish(connection))[0]).size


async def lines(database: Database, notary: Notary, sight: Sight = ALL) -> AsyncGenerator[tuple[int, bytes]]:
    """The whole log up to the newest checkpoint, in parts (entries, bytes) of some hundred kilobytes; flat in memory.

    Of what the reader may not see, and of what was dropped with its period, the hash alone is told, and of what is
    restricted the header, so that the tree still holds. No connection is held while a part is on its way. Wrong when
    the log was rewritten.
    """
    async with database.bare.acquire() as connection:
        note = await notary.publish(connection)
    last = Checkpoint.of_text(split_note(note)[0]).size
    yield 0, f"{EXPORT}\n{notary.origin}\n\n".encode()
    after = 0
    while after < last:
        async with database.bare.acquire(timeout=5) as connection:
            rows = await connection.fetch(_ROWS, after, last, AT_ONCE)
        if not rows:
            break  # leaves are missing at the end: the verifier will say so
        yield len(rows), b"".join(_line(row, sight) for row in rows)
        after = rows[-1]["position"]
    yield 0, b"\n" + note.encode()


def _line(row: Mapping[str, Any], sight: Sight) -> bytes:
    if row["id"] is None:
        return b"%b\t%b\t\n" % (GONE, base64.b64encode(row["leaf_hash"]))
    for_all = row["act"] in (ERASING, DROPPED)  # they name no person, and explain what is missing
    if not (for_all or sight.sees(row)):
        return b"%b\t%b\t\n" % (WITHHELD, base64.b64encode(row["leaf_hash"]))
    header = leaf_data(row).removeprefix(LEAF_PREFIX)
    if row["payload"] is None:
        return header + b"\t\t\n"
    if not (for_all or sight.knows(row)):
        return b"%b\t\t%b\n" % (header, WITHHELD)
    salt, payload = str(row["salt"].hex()), str(row["payload"])
    return b"%b\t%b\t%b\n" % (header, salt.encode(), payload.encode())


async def begin(session: AsyncSession, actor: Actor, reason: str) -> Sight:
    """What an auditor may see of the log, and know of what is restricted, asked for with a reason, which is an entry.

    NotPermitted for others.
    """
    if not actor.may("read_audit"):
        raise NotPermitted(f"the role {actor.role} takes no copy of the log; an auditor does", missing="read_audit")
    bodies = set(
        await session.scalars(
            select(Agency.id).where(or_(Agency.id == actor.body_id, Agency.ancestor_ids.contains([actor.body_id])))
        )
    )
    await append(session, entry(actor, "audit.exported", reason=reason))
    circle = await restricted.circle_of(session, actor)
    return Sight(lambda row: row["agency_id"] in bodies or row["owner_agency_id"] in bodies, circle.knows)


async def to_reader(
    database: Database, notary: Notary, actor: Actor, sight: Sight, exporting: asyncio.Semaphore
) -> AsyncGenerator[bytes]:
    """The log for one reader, for as long as the session lasts and the reader reads; it breaks off otherwise.

    The verifier says of a file that broke off that it cannot tell.
    """
    async with exporting, asyncio.timeout(MOST_SECONDS):
        looked = time.monotonic()
        async for _, part in lines(database, notary, sight):
            if time.monotonic() - looked > LOOK_SECONDS:
                async with database.bare.acquire(timeout=5) as connection:
                    if not await connection.fetchval(_STILL_SIGNED_IN, actor.session_id):
                        return
                looked = time.monotonic()
            yield part


def hashes(found: list[bytes]) -> str:
    """Hashes as lines of base64."""
    return "".join(base64.b64encode(one).decode() + "\n" for one in found)
