"""What age takes away: contents of entries after one period, the entries themselves, with grants and views, after
another (개인정보의 안전성 확보조치 기준 §8: at least a year, for large holdings two).

Only the owner of the tables can, so these functions run on the owner's connection, by a command; the service cannot.
Leaves and nodes stay: every checkpoint that was ever signed can still be checked against today's.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import entries
from app.audit.verify import DROPPED, ERASING, LEAST_DAYS
from app.errors import Malformed

_PARTITIONS = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'audit_entries'::regclass ORDER BY c.relname"
)
_UNREWRITTEN = "SELECT partition FROM audit_rewrites WHERE rewritten_at IS NULL OR rewritten_at < erased_at ORDER BY 1"


def first_of_month(days: int, today: date) -> date:
    """The first day of the month in which a period of so many days before today lies."""
    return (today - timedelta(days=days)).replace(day=1)


def _moment(until: date) -> datetime:
    if (datetime.now(UTC).date() - until).days < LEAST_DAYS:
        raise Malformed(f"what is younger than {LEAST_DAYS} days is kept; give an earlier day", field="until")
    return datetime(until.year, until.month, until.day, tzinfo=UTC)


async def say(session: AsyncSession, act: str, until: date) -> UUID | None:
    """Append the entry that names everything made before that day; None when there is nothing.

    It names all of the past, not only what is new: earlier such entries lose their contents in their turn.
    """
    rows = (await session.execute(text("SELECT * FROM audit_before(:until)"), {"until": _moment(until)})).all()
    if not rows:
        return None
    told: dict[str, Any] = {"ranges": [[row.first, row.last] for row in rows], "until": until.isoformat()}
    return await entries.append(session, entries.entry(None, act, ground="retention", **told))


async def partitions_with_contents(session: AsyncSession, until: date) -> list[str]:
    """Partitions where an entry made before that day still has contents."""
    found = []
    for (name,) in (await session.execute(_PARTITIONS)).all():
        query = f'SELECT EXISTS (SELECT FROM "{name}" WHERE at < :until AND payload IS NOT NULL AND act <> ALL (:kept))'  # noqa: S608 - ours
        if await session.scalar(text(query), {"until": _moment(until), "kept": [ERASING, DROPPED]}):
            found.append(str(name))
    return found


async def say_erased(session: AsyncSession, until: date) -> UUID | None:
    """Announce, in the log itself, that what was said before that day is erased."""
    return await say(session, ERASING, until)


async def erase(session: AsyncSession, partition: str, until: date, said: UUID) -> int:
    """Erase the contents in one partition of entries made before that day; how many. One transaction a partition."""
    query = text("SELECT audit_erase_old(CAST(:partition AS regclass), :until, :said)")
    erased = await session.scalar(query, {"partition": partition, "until": _moment(until), "said": said})
    return int(erased or 0)


async def drop(session: AsyncSession, until: date) -> list[str]:
    """Drop the months before that day (the first of one): views, then grants, then entries; names of the partitions."""
    if until.day != 1:
        raise Malformed("periods are whole months; give the first day of one", field="until")
    said = await say(session, DROPPED, until)
    if said is None:
        return []
    query = text("SELECT audit_drop_before(:until, :said)")
    return list(await session.scalar(query, {"until": _moment(until), "said": said}) or [])


async def something_to_drop(session: AsyncSession, until: date) -> bool:
    """Whether an entry made before that day is still there."""
    query = text("SELECT EXISTS (SELECT FROM audit_entries WHERE at < :until)")
    return bool(await session.scalar(query, {"until": _moment(until)}))


async def rewrite(connection: asyncpg.Connection, *, even_now: bool = False) -> tuple[list[str], list[str]]:
    """Write anew the files of partitions in which something was erased: (rewritten, left for later).

    PostgreSQL keeps an old version of a row until VACUUM, and its bytes on the page after that; only a new file is
    free of them. Nobody can append to a partition meanwhile, so the current month waits until it is over, unless
    `even_now`.
    """
    month, done, left = datetime.now(UTC).strftime("%Y%m"), [], []
    for row in await connection.fetch(_UNREWRITTEN):
        name = str(row["partition"])
        closed = re.search(r"_of_(\d{6})$", name)
        if not even_now and not (closed and closed[1] < month):
            await connection.execute(f'VACUUM (ANALYZE) "{name}"', timeout=3600)
            left.append(name)
            continue
        await connection.execute("SET lock_timeout = '5s'")
        began = await connection.fetchval("SELECT clock_timestamp()")
        await connection.execute(f'VACUUM (FULL, ANALYZE) "{name}"', timeout=3600)
        await connection.execute("UPDATE audit_rewrites SET rewritten_at = $2 WHERE partition = $1", name, began)
        done.append(name)
    if done:
        await connection.execute("ANALYZE audit_entries", timeout=3600)  # its statistics name users, too
    return done, left
