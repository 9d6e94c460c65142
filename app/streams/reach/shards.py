"""Which process looks after which part of the cameras: leases in the database, evened out by taking from who has most.

That two processes knock at the same door for a moment does no harm: what they find is written only where it changes.
"""

from uuid import UUID

import asyncpg

SHARDS = 16
LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
_RENEW = """
UPDATE reach_shards SET leased_until = now() + make_interval(secs => $2) WHERE leased_by = $1 RETURNING shard
"""
_FREE = """
UPDATE reach_shards SET leased_by = $1, leased_until = now() + make_interval(secs => $2)
WHERE shard IN (
    SELECT shard FROM reach_shards WHERE leased_until IS NULL OR leased_until < now()
    ORDER BY shard LIMIT $3 FOR UPDATE SKIP LOCKED
) RETURNING shard
"""
_HOLDERS = "SELECT leased_by, array_agg(shard) AS shards FROM reach_shards WHERE leased_until > now() GROUP BY 1"
_TAKE = """
UPDATE reach_shards SET leased_by = $1, leased_until = now() + make_interval(secs => $2)
WHERE shard = ANY($3::smallint[]) AND leased_by = $4 RETURNING shard
"""
# Written down only where it changes; what has changed and is untold waits for `telling`.
_CHANGE = """
INSERT INTO camera_reaches AS r (camera_id, owner_agency_id, lost, network)
SELECT p.id, p.owner_agency_id, true, c.network FROM unnest($1::uuid[], $2::boolean[], $3::text[])
    AS c (camera_id, lost, network) JOIN camera_positions p ON p.id = c.camera_id WHERE c.lost
ON CONFLICT (camera_id) DO UPDATE SET lost = true, since = now(), network = excluded.network WHERE NOT r.lost
"""
_BACK = """
UPDATE camera_reaches SET lost = false, since = now() WHERE lost AND camera_id = ANY($1::uuid[])
"""
_CAMERAS = """
SELECT p.id, x.address_sealed, coalesce(r.lost, false) AS lost FROM camera_positions p
JOIN stream_sources x ON x.position_id = p.id AND x.mode = 'live' AND x.profile = 'main'
LEFT JOIN camera_reaches r ON r.camera_id = p.id
WHERE p.id > $2 AND p.retired_at IS NULL AND p.status IN ('active', 'faulty')
    AND (hashtext(p.id::text) & 15) = ANY($1::smallint[])
ORDER BY p.id LIMIT $3
"""


async def hold(connection: asyncpg.Connection, node: str) -> set[int]:
    """Renew this process's shards, take what is free, and from who has more; those that it now has."""
    own = {row["shard"] for row in await connection.fetch(_RENEW, node, LEASE_SECONDS)}
    holders = {row["leased_by"]: row["shards"] for row in await connection.fetch(_HOLDERS)}
    holders.setdefault(node, [])
    fair = -(-SHARDS // len(holders))
    own |= {row["shard"] for row in await connection.fetch(_FREE, node, LEASE_SECONDS, max(0, fair - len(own)))}
    most = max(holders, key=lambda name: len(holders[name]))
    if most != node and len(holders[most]) > len(own) + 1:
        taken = holders[most][: (len(holders[most]) - len(own)) // 2]
        own |= {row["shard"] for row in await connection.fetch(_TAKE, node, LEASE_SECONDS, taken, most)}
    return own


async def give_up(connection: asyncpg.Connection, node: str) -> None:
    """This process stops: others take its shards at once."""
    await connection.execute("UPDATE reach_shards SET leased_until = NULL, leased_by = '' WHERE leased_by = $1", node)


async def write(connection: asyncpg.Connection, changes: list[tuple[UUID, bool, str]]) -> None:
    """Write down which cameras are lost or back, with the address that was tried."""
    changes = sorted(changes)
    await connection.execute(_CHANGE, *([change[number] for change in changes] for number in range(3)))
    await connection.execute(_BACK, [camera_id for camera_id, lost, _ in changes if not lost])


async def cameras(
    connection: asyncpg.Connection, shards: set[int], after: UUID, most: int
) -> list[tuple[UUID, bytes, bool]]:
    """Cameras of these shards with their sealed addresses, in the order of their ids."""
    rows = await connection.fetch(_CAMERAS, sorted(shards), after, most)
    return [(row["id"], row["address_sealed"], row["lost"]) for row in rows]
