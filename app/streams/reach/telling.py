"""Telling what can no longer be reached, or again: one camera by itself, many at once as one event with its members.

One process tells at a time. It waits until no more cameras of an owner have changed for some seconds, so that a cut
cable is one event; those that follow within a minute join it. What the gateway has told already is not told twice.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import asyncpg

from app import clock
from app.events import record
from app.events.record import Report
from app.ids import new_id

SOURCE = "gwanje/reach"
GROUP_LEAST = 20
QUIET_SECONDS, MOST_WAIT_SECONDS, JOIN_SECONDS = 5.0, 20.0, 60.0
MOST_AT_ONCE = 250  # told in one transaction; the rest joins in the next ones
_MOST_COUNTED = 100_000
ANY_UNTOLD = "SELECT EXISTS (SELECT FROM camera_reaches WHERE lost <> told_lost)"
_UNTOLD = """
SELECT camera_id, owner_agency_id, lost, network, loss_id,
    extract(epoch FROM clock_timestamp() - since)::float8 AS age
FROM camera_reaches WHERE lost <> told_lost ORDER BY since LIMIT $1
"""
_KNOWN = """
SELECT id FROM unnest($1::uuid[]) AS camera (id)
JOIN conditions c ON c.family = 'camera.lost' AND c.subject = 'cameras/' || id AND c.lasts
"""
_SHARED_AREAS = """
SELECT area FROM camera_positions p, unnest(p.area_ids) AS area WHERE p.id = ANY($1::uuid[])
GROUP BY area HAVING count(*) = cardinality($1::uuid[]) ORDER BY area
"""
_TOLD_LOST = """
WITH faulty AS (
    UPDATE camera_positions SET status = 'faulty', changed_at = now()
    WHERE id = ANY($1::uuid[]) AND status = 'active' RETURNING id
)
UPDATE camera_reaches SET told_lost = true, loss_id = $2,
    made_faulty = camera_id IN (SELECT id FROM faulty) WHERE camera_id = ANY($1::uuid[])
"""
_TOLD_BACK = """
WITH active AS (
    UPDATE camera_positions p SET status = 'active', changed_at = now() FROM camera_reaches r
    WHERE r.camera_id = p.id AND r.made_faulty AND p.id = ANY($1::uuid[]) AND p.status = 'faulty'
), members AS (
    UPDATE loss_members m SET restored_at = now() FROM camera_reaches r
    WHERE r.camera_id = m.camera_id AND r.loss_id = m.loss_id AND m.camera_id = ANY($1::uuid[])
)
UPDATE camera_reaches SET told_lost = false, made_faulty = false, loss_id = NULL WHERE camera_id = ANY($1::uuid[])
"""
_RECENT = """
SELECT id, network FROM losses WHERE owner_agency_id = $1 AND told_at > now() - make_interval(secs => $2)
ORDER BY told_at DESC LIMIT 1
"""
_BACK_ALREADY = "SELECT back_at > now() - make_interval(secs => $2) FROM losses WHERE id = $1"
_MEMBERS = """
INSERT INTO loss_members (loss_id, camera_id, lost_at) SELECT $1, camera_id, since FROM camera_reaches
WHERE camera_id = ANY($2::uuid[]) ON CONFLICT DO NOTHING
"""


async def tell(connection: asyncpg.Connection) -> int:
    """Tell what is ripe, in the caller's transaction; how many cameras still wait to be told."""
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended('reach/telling', 1))"):
        return 1
    groups: dict[tuple[UUID, bool], list[Mapping[str, Any]]] = defaultdict(list)
    for row in await connection.fetch(_UNTOLD, _MOST_COUNTED):
        groups[row["owner_agency_id"], row["lost"]].append(row)
    waiting, room = 0, MOST_AT_ONCE
    for (owner, lost), rows in sorted(groups.items()):
        ages = [row["age"] for row in rows]
        if (min(ages) < QUIET_SECONDS and max(ages) < MOST_WAIT_SECONDS) or room <= 0:
            waiting += len(rows)
            continue
        done = await (_tell_lost if lost else _tell_back)(connection, owner, rows, room)
        room -= done
        waiting += len(rows) - done
    return waiting


Rows = Sequence[Mapping[str, Any]]


async def _tell_lost(connection: asyncpg.Connection, owner: UUID, rows: Rows, most: int) -> int:
    """Tell what was lost, or have it join the loss that was told a moment ago; how many were dealt with."""
    recent = await connection.fetchrow(_RECENT, owner, JOIN_SECONDS)
    joins = [row for row in rows if recent is not None and _is_within(row["network"], recent["network"])]
    if recent is not None and joins:
        await _join(connection, recent["id"], joins[:most])
        return len(joins[:most])
    if len(rows) >= GROUP_LEAST:
        loss_id, network = new_id(), shared_network([row["network"] for row in rows])
        data = {"loss_id": str(loss_id), "count": len(rows), "network": network}
        event_id = await _tell_many(connection, "cameras.lost", owner, rows, loss_id, data)
        await connection.execute(
            "INSERT INTO losses (id, owner_agency_id, event_id, network) VALUES ($1, $2, $3, $4)",
            loss_id, owner, event_id, network,
        )  # fmt: skip
        await _join(connection, loss_id, rows[:most])
        return len(rows[:most])
    known = await _known(connection, rows)
    await _tell_each(connection, "camera.lost", [row for row in rows if row["camera_id"] not in known])
    await connection.execute(_TOLD_LOST, [row["camera_id"] for row in rows], None)
    return len(rows)


async def _join(connection: asyncpg.Connection, loss_id: UUID, rows: Rows) -> None:
    ids = [row["camera_id"] for row in rows]
    await connection.execute(_MEMBERS, loss_id, ids)
    await connection.execute(_TOLD_LOST, ids, loss_id)


async def _tell_back(connection: asyncpg.Connection, owner: UUID, rows: Rows, most: int) -> int:
    """Tell what is back: many of one loss as one event, others each by itself; how many were dealt with."""
    losses: dict[UUID | None, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        losses[row["loss_id"]].append(row)
    done = 0
    for loss_id, those in losses.items():
        if done < most:
            done += await _tell_those_back(connection, owner, loss_id, those, most - done)
    return done


async def _tell_those_back(
    connection: asyncpg.Connection, owner: UUID, loss_id: UUID | None, members: Rows, most: int
) -> int:
    piece = members[:most]
    known = await _known(connection, piece)
    alone: Rows = [row for row in piece if row["camera_id"] in known]  # what was told of one is ended for it
    if loss_id is not None and not await connection.fetchval(_BACK_ALREADY, loss_id, JOIN_SECONDS):
        if len(members) >= GROUP_LEAST:
            network = shared_network([row["network"] for row in members])
            data = {"count": len(members), "network": network, "loss_id": str(loss_id)}
            await _tell_many(connection, "cameras.restored", owner, members, new_id(), data)
            await connection.execute("UPDATE losses SET back_at = now() WHERE id = $1", loss_id)
        elif max(row["age"] for row in members) < MOST_WAIT_SECONDS:
            return 0  # the first of many, most likely
        else:
            alone = piece
    await _tell_each(connection, "camera.restored", alone)
    await connection.execute(_TOLD_BACK, [row["camera_id"] for row in piece])
    return len(piece)


async def _known(connection: asyncpg.Connection, rows: Rows) -> set[UUID]:
    """Those of which it is told already that they are lost, each by itself."""
    return {row["id"] for row in await connection.fetch(_KNOWN, [row["camera_id"] for row in rows])}


async def _tell_each(connection: asyncpg.Connection, kind: str, rows: Rows) -> None:
    now = clock.now()
    reports = [
        Report(
            kind=kind, source=SOURCE, source_key=f"{row['camera_id']}/{kind}/{now.isoformat()}", occurred_at=now,
            subject_kind="cameras", subject_id=row["camera_id"], data={"cause": "unreachable"},
        )
        for row in rows
    ]  # fmt: skip
    if reports:
        await record.record_many(connection, None, reports)


async def _tell_many(
    connection: asyncpg.Connection, kind: str, owner: UUID, rows: Rows, key: UUID, data: dict[str, Any]
) -> UUID:
    """One event of the owner's, of the areas in which all of them lie."""
    areas = await connection.fetch(_SHARED_AREAS, [row["camera_id"] for row in rows])
    report = Report(
        kind=kind, source=SOURCE, source_key=str(key), owner_agency_id=owner, area_ids=[row["area"] for row in areas],
        data=data,
    )  # fmt: skip
    return (await record.record(connection, None, report)).id


def shared_network(addresses: Sequence[str]) -> str:
    """The smallest IPv4 network that holds all addresses, as long as it says something (/8 or longer); else empty."""
    known = [int(ip_address(one)) for one in addresses if one.count(".") == 3 and ":" not in one]  # noqa: PLR2004
    if not known or len(known) < len(addresses):
        return ""
    length = 32 - (min(known) ^ max(known)).bit_length()
    if length < 8:  # noqa: PLR2004 - said above
        return ""
    return f"{ip_address(min(known) >> (32 - length) << (32 - length))}/{length}"


def _is_within(address: str, network: str) -> bool:
    """Whether an address shares a network's first 16 bits, or nothing is known of either."""
    return address.split(".")[:2] == network.partition("/")[0].split(".")[:2] or not (address and network)
