"""What is written down against what is carried: running views asked again, and the views that a crash left open."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from app import clock
from app.database import Database
from app.streams import views
from app.streams.urls import Pass
from app.streams.views import Ending
from app.streams.writer import Writer

log = logging.getLogger("gwanje.reconcile")

BEAT_SECONDS = 1.0
SILENT_SECONDS = 3.0  # a process that has not said for so long that it lives is dead: its views are over
_MOST_AT_ONCE = 500

_STILL = f"""
SELECT coalesce(array_agg(pass.n), '{{}}'),
    coalesce(array_agg(extract(epoch FROM g.expires_at - now())::float8), '{{}}')
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) WITH ORDINALITY AS pass (grant_id, grant_at, camera_id, n)
{views.ALIVE}
WHERE {views.ALLOWED}
"""  # noqa: S608 - our own SQL
_IS_SILENT = "(n.name IS NULL OR n.seen_at < now() - make_interval(secs => {}))"
_BEAT = f"""
WITH beat AS (INSERT INTO nodes (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET seen_at = now())
SELECT EXISTS (
    SELECT FROM views v LEFT JOIN nodes n ON n.name = v.node
    WHERE v.closed_at IS NULL AND v.node <> $1 AND {_IS_SILENT.format("$2")}
) OR EXISTS (
    SELECT FROM showings s LEFT JOIN nodes n ON n.name = s.node
    WHERE s.ended_at IS NULL AND s.node <> $1 AND {_IS_SILENT.format("$2")}
)
"""  # noqa: S608 - our own SQL
_ORPHANS = f"""
SELECT v.id, v.at, v.bytes, greatest(extract(epoch FROM coalesce(n.seen_at, v.at) - v.at), 0)::float8 AS seconds
FROM views v LEFT JOIN nodes n ON n.name = v.node
WHERE v.closed_at IS NULL AND {_IS_SILENT.format("$1")}
FOR UPDATE OF v SKIP LOCKED LIMIT $2
"""  # noqa: S608 - our own SQL
_ORPHAN_SHOWINGS = """
UPDATE showings s SET ended_at = greatest(coalesce(n.seen_at, s.began_at), s.began_at),
    cause = coalesce(nullif(s.cause, ''), 'node_lost')
FROM (SELECT id, node FROM showings WHERE ended_at IS NULL) o LEFT JOIN nodes n ON n.name = o.node
WHERE s.id = o.id AND (n.name IS NULL OR n.seen_at < now() - make_interval(secs => $1))
RETURNING s.id
"""
_FORGET_NODES = "DELETE FROM nodes WHERE seen_at < now() - interval '1 day'"
_OF_GATEWAY = """
SELECT id, at, grant_id, grant_at, camera_id, profile, protocol, session_ref, peer, bytes,
    preempted_by IS NOT NULL AS over, extract(epoch FROM now() - at)::float8 AS seconds
FROM views WHERE gateway = $1 AND closed_at IS NULL
"""
_CARRIED = """
UPDATE views v SET bytes = greatest(v.bytes, c.bytes), first_byte_at = coalesce(v.first_byte_at, now())
FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[]) AS c (id, at, bytes)
WHERE v.id = c.id AND v.at = c.at AND v.closed_at IS NULL AND v.bytes < c.bytes
"""


async def still_permitted(connection: asyncpg.Connection, tickets: Sequence[Pass]) -> list[float | None]:
    """For each pass the seconds it still has, or None when it is over: what running views are checked against."""
    found: list[float | None] = [None] * len(tickets)
    columns = (
        [one.grant_id for one in tickets],
        [one.grant_at for one in tickets],
        [one.camera_id for one in tickets],
    )
    numbers, seconds = await connection.fetchrow(_STILL, *columns, timeout=2)
    for number, left in zip(numbers, seconds, strict=True):
        found[number - 1] = left
    return found


async def beat(database: Database, writer: Writer, node: str, *, closes: bool = True) -> int:
    """Say that this process lives, and close what processes left that do so no more; returns how many views.

    A view is then as long as its process is known to have lived; what it carried meanwhile is not known, and the
    cause (`node_lost`) says so.
    """
    async with database.bare.acquire(timeout=1) as connection:
        if not await connection.fetchval(_BEAT, node, SILENT_SECONDS, timeout=2) or not closes:
            return 0

    async def work(connection: asyncpg.Connection) -> int:
        rows = await connection.fetch(_ORPHANS, SILENT_SECONDS, _MOST_AT_ONCE)
        for row in rows:
            await views.write_close(connection, row["id"], row["at"], Ending("node_lost", row["bytes"], row["seconds"]))
        showings = await connection.fetch(_ORPHAN_SHOWINGS, SILENT_SECONDS)
        if rows:
            await connection.execute(_FORGET_NODES)
        return len(rows) + len(showings)

    closed: int = await writer.transact(work)
    return closed


class Heart:
    """Beats for a process. After the database was away others get the time to be heard before they count as dead."""

    def __init__(self, database: Database, writer: Writer, node: str) -> None:
        self._database, self._writer, self._node = database, writer, node
        self._steady_since = self._last = clock.monotonic()

    async def beat(self) -> int:
        """As `reconcile.beat`; closes nothing until it has beaten without a gap for as long as others may be silent."""
        before = clock.monotonic()
        if before - self._last > SILENT_SECONDS:
            self._steady_since = before
        steady = before - self._steady_since > SILENT_SECONDS
        closed = await beat(self._database, self._writer, self._node, closes=steady)
        self._last = clock.monotonic()
        return closed


@dataclass(frozen=True, slots=True)
class OpenView:
    """A view that stands open, as the database knows it."""

    id: UUID
    at: datetime
    ticket: Pass
    protocol: str
    session_ref: str
    peer: str
    bytes: int
    seconds: float
    """Since it was opened, by the database's clock."""
    seconds_left: float | None
    """None when its permission is over, or when it had to give way."""


async def of_gateway(connection: asyncpg.Connection, gateway: str) -> list[OpenView]:
    """The open views of a gateway, each with what its permission has left now."""
    rows = await connection.fetch(_OF_GATEWAY, gateway, timeout=2)
    tickets = [Pass(row["grant_id"], row["grant_at"], row["camera_id"], row["at"], row["profile"]) for row in rows]
    left = await still_permitted(connection, tickets) if rows else []
    return [
        OpenView(
            row["id"], row["at"], ticket, row["protocol"], row["session_ref"], row["peer"], row["bytes"],
            row["seconds"], None if row["over"] else seconds,
        )
        for row, ticket, seconds in zip(rows, tickets, left, strict=True)
    ]  # fmt: skip


async def carried(connection: asyncpg.Connection, views_bytes: Mapping[tuple[UUID, datetime], int]) -> None:
    """Write down what open views have carried so far, by (id, at): whoever closes them later knows it."""
    if views_bytes:
        ids = list(views_bytes)
        await connection.execute(
            _CARRIED, [one[0] for one in ids], [one[1] for one in ids], list(views_bytes.values()), timeout=2
        )


async def close(writer: Writer, view: OpenView, ending: Ending) -> None:
    """Close an open view that perhaps another process opened."""
    await writer.transact(lambda connection: views.write_close(connection, view.id, view.at, ending))
