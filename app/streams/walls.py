"""Walls (분할 화면): an owner's own cameras at one console, side by side or in turns, under one grant.

A wall is one grant of the duty and one entry, `wall.started`. Its tiles leave no entry each: they are showings, which
the hour's sealed manifest takes in (`manifests`). Other agencies' cameras never stand on a wall: each of them is asked
for with a reason and viewed under an entry of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.codes import OWN_USE
from app.access.rights import agreement_covers
from app.access.sessions import REVOKED
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.errors import Conflict, KeyReused, Malformed, NotFound, NotPermitted, SessionEnded
from app.ids import new_id
from app.models import Grant
from app.streams import duties
from app.streams.placement import EDGE_PATHS
from app.streams.profiles import QUALITIES
from app.streams.tours import MOST_CAMERAS, Step, steps_of
from app.streams.writer import OFFERS, Given, Writer, given_of

PROTOCOLS = tuple(EDGE_PATHS)  # tiles are shown by the embedded gateway, which writes showings
MOST_WALLS = 16  # of one session; a console has a few screens
MOST_AT_ONCE = 128  # cameras whose URLs go into one answer
HOW_TO_SEE_OTHERS = (
    "a wall shows your own agency's cameras; ask for others with POST /v1/grants: up to 64 at once, with purpose and"
    " basis, one view entry each / 다른 기관의 카메라는 분할 화면에 올릴 수 없습니다"
)

# What the asker may know of each camera; one that may not even be located gives no row.
_ASKED = f"""
SELECT p.id, p.owner_agency_id = ANY($2::uuid[]) AS own, p.has_stream AND p.retired_at IS NULL AS streams
FROM camera_positions p
WHERE p.id = ANY($1::uuid[]) AND (p.owner_agency_id = ANY($2::uuid[])
    OR EXISTS (SELECT FROM agreements a WHERE {agreement_covers(verb="'locate'", camera="p", agencies="$2::uuid[]")}))
"""  # noqa: S608 - our own SQL
_TOUR = "SELECT id, name, version, steps::text FROM tours WHERE id = $1 AND agency_id = ANY($2::uuid[])"
_RUNNING = """
SELECT count(*) FROM grants WHERE session_id = $1 AND manifested AND revoked_at IS NULL AND expires_at > now()
"""
_CLAIM = """
INSERT INTO idempotency_keys (principal_id, key, body_digest, result) VALUES ($1, $2, $3, $4::jsonb)
ON CONFLICT DO NOTHING RETURNING true
"""
_CLAIMED = "SELECT body_digest, result::text FROM idempotency_keys WHERE principal_id = $1 AND key = $2"
_START = """
INSERT INTO grants (id, entry_id, kind, user_id, appointment_id, agency_id, session_id, terminal_id, duty_id,
    owner_agency_id, camera_ids, basis, urgency, tour_id, manifested, protocols, quality, expires_at, latest_expires_at)
SELECT $2, $3, 'duty', s.user_id, s.appointment_id, o.agency_id, s.id, s.terminal_id, s.duty_id,
    $4, own.ids, $6, 4, $7, true, $8, $9, least(s.expires_at, o.valid_to), least(s.expires_at, o.valid_to)
FROM sessions s
JOIN users u ON u.id = s.user_id AND u.disabled_at IS NULL
JOIN appointments o ON o.id = s.appointment_id AND o.valid_from <= now() AND (o.valid_to IS NULL OR o.valid_to > now())
JOIN agencies c ON c.id = o.agency_id
JOIN LATERAL (
    SELECT array_agg(p.id ORDER BY asked.n) AS ids FROM unnest($5::uuid[]) WITH ORDINALITY AS asked (id, n)
    JOIN camera_positions p USING (id)
    WHERE p.owner_agency_id = ANY(c.acts_for_ids) AND p.has_stream AND p.retired_at IS NULL
) own ON own.ids IS NOT NULL
WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > now() AND s.duty_id IS NOT NULL
"""
_WALL = """
SELECT g.id, g.at, g.entry_id, g.expires_at, g.camera_ids, g.protocols, g.quality, g.urgency, t.id AS tour_id,
    t.name AS tour_name, t.version AS tour_version, t.steps::text AS tour_steps
FROM grants g LEFT JOIN tours t ON t.id = g.tour_id
WHERE g.id = $1 AND g.user_id = $2 AND g.session_id = $3 AND g.manifested
    AND g.revoked_at IS NULL AND g.expires_at > now()
"""
_OFFERS = f"""
SELECT id AS camera_id, {OFFERS.format(camera="camera_positions.id")} AS offers FROM camera_positions
WHERE id = ANY($1::uuid[])
"""  # noqa: S608 - our own SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What shall be shown: cameras, or a version of a tour; one of the two."""

    camera_ids: Sequence[UUID] = ()
    tour_id: UUID | None = None
    protocols: Sequence[str] = PROTOCOLS
    quality: str = "sub"
    """Many small pictures: the sub stream, where a camera has one."""
    idempotency_key: str | None = None
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Wall:
    """A wall that runs, with the grants of some of its cameras: those from `step` on, as many as one answer holds."""

    id: UUID
    at: datetime
    entry_id: UUID
    expires_at: datetime
    tour: Mapping[str, Any] | None
    protocols: tuple[str, ...]
    quality: str
    steps: tuple[Step, ...]
    cameras: tuple[Given, ...]
    next_step: int | None
    """From where the next answer goes on; None when these are all."""
    left_out: tuple[UUID, ...] = ()
    """Own cameras that were asked for and have no live stream now, or are no longer the agency's."""


def check(request: Request) -> None:
    """Refuse a request that cannot be understood."""
    if (request.tour_id is None) == (not request.camera_ids):
        raise Malformed("name either camera_ids or a tour_id", field="camera_ids")
    if len(request.camera_ids) > MOST_CAMERAS or len(set(request.camera_ids)) != len(request.camera_ids):
        raise Malformed(f"camera_ids: 1 to {MOST_CAMERAS} different cameras", field="camera_ids")
    if not request.protocols or any(one not in PROTOCOLS for one in request.protocols):
        raise Malformed(f"protocols: any of {', '.join(PROTOCOLS)}", field="protocols", expected=list(PROTOCOLS))
    if request.quality not in QUALITIES:
        raise Malformed(f"quality is one of: {', '.join(QUALITIES)}", field="quality", expected=list(QUALITIES))
    if not (request.idempotency_key or "").isprintable():
        raise Malformed("the Idempotency-Key holds printable characters only", field="idempotency-key")


async def start(writer: Writer, actor: Actor, request: Request) -> Wall:
    """Start a wall at the actor's console; the duty begins with it if it has not yet.

    Grant and entry are committed when this returns, and it ends with the session. Raises Malformed; NotPermitted for
    another agency's camera (or a role without footage), NotFound for one that may not be located: refusals are
    audited. Conflict when too many walls run. A repeated Idempotency-Key gives the same wall again.
    """
    check(request)
    try:
        wall: Wall = await writer.transact(lambda connection: _start(connection, actor, request))
    except (NotPermitted, NotFound) as refusal:
        entry = entries.entry(
            actor, "wall.refused", "refused", reason=refusal.code, missing=refusal.extra.get("missing"),
            tour_id=request.tour_id, camera_ids=list(request.camera_ids),
        )  # fmt: skip
        await writer.transact(lambda connection: entries.store(connection, [entry]))
        raise
    return wall


async def _start(connection: asyncpg.Connection, actor: Actor, request: Request) -> Wall:
    if not actor.may("view"):
        raise NotPermitted(f"the role {actor.role} sees no footage; ask for an appointment that does", missing="view")
    await duties.begin(connection, actor)  # from here on, walls of this session come one after the other
    grant_id = new_id()
    if request.idempotency_key is not None:
        made = await _claim(connection, actor, request, grant_id)
        if made is not None:
            return await _running(connection, actor, made)
    if await connection.fetchval(_RUNNING, actor.session_id) >= MOST_WALLS:
        raise Conflict(f"{MOST_WALLS} walls run in this session already; stop one first", limit=MOST_WALLS)
    tour, wanted = await _wanted(connection, actor, request)
    standing = await _standing(connection, actor, request, wanted)
    entry = entries.entry(
        actor, "wall.started", owner_agency_id=actor.body_id, subject=("grant", grant_id), kind="duty", basis=OWN_USE,
        duty_id=await connection.fetchval("SELECT duty_id FROM sessions WHERE id = $1", actor.session_id),
        cameras=len(standing), camera_ids=list(request.camera_ids), **_named(tour),
    )  # fmt: skip
    await entries.store(connection, [entry])
    await connection.execute(
        _START, actor.session_id, grant_id, entry.id, actor.body_id, standing, OWN_USE, request.tour_id,
        list(request.protocols), request.quality,
    )  # fmt: skip
    return await _running(connection, actor, grant_id, wanted=wanted)


def _named(tour: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if tour is None else {"tour_id": tour["id"], "tour": tour["name"], "version": tour["version"]}


async def _claim(connection: asyncpg.Connection, actor: Actor, request: Request, grant_id: UUID) -> UUID | None:
    """Take the idempotency key for this wall; the wall that it made before, if it did."""
    digest = sha256(request.body).digest()
    made = orjson.dumps([str(grant_id)]).decode()
    if await connection.fetchval(_CLAIM, actor.user_id, request.idempotency_key, digest, made):
        return None
    before = await connection.fetchrow(_CLAIMED, actor.user_id, request.idempotency_key)
    if before["body_digest"] != digest:
        raise KeyReused("this Idempotency-Key was used with another body; take a new one")
    return UUID(orjson.loads(before["result"])[0])


async def _wanted(
    connection: asyncpg.Connection, actor: Actor, request: Request
) -> tuple[Mapping[str, Any] | None, list[UUID]]:
    if request.tour_id is None:
        return None, list(request.camera_ids)
    tour = await connection.fetchrow(_TOUR, request.tour_id, list(actor.acts_for_ids))
    if tour is None:
        raise NotFound("there is no such tour of your agency; GET /v1/tours lists them")
    steps = steps_of(orjson.loads(tour["steps"]))
    return tour, list(dict.fromkeys(camera_id for step in steps for camera_id in step.camera_ids))


async def _standing(
    connection: asyncpg.Connection, actor: Actor, request: Request, wanted: Sequence[UUID]
) -> list[UUID]:
    """Those of the wanted cameras that can be shown; a refusal if one was named that never stands on a wall."""
    known = {row["id"]: row for row in await connection.fetch(_ASKED, wanted, list(actor.acts_for_ids))}
    for camera_id in request.camera_ids:  # a tour's cameras were the agency's own; one that left is left out
        if camera_id not in known:
            raise NotFound("there is no such camera, or you may not know of it", camera_id=str(camera_id))
        if not known[camera_id]["own"]:
            raise NotPermitted(HOW_TO_SEE_OTHERS, camera_id=str(camera_id), missing="own_camera")
    standing = [one for one in wanted if one in known and known[one]["own"] and known[one]["streams"]]
    if not standing:
        raise NotPermitted(
            "none of these cameras has a live stream registered; their owner can add one", missing="stream"
        )
    return standing


async def _running(
    connection: asyncpg.Connection, actor: Actor, wall_id: UUID, *, step: int = 0, wanted: Sequence[UUID] = ()
) -> Wall:
    row = await connection.fetchrow(_WALL, wall_id, actor.user_id, actor.session_id)
    if row is None and wanted:
        raise SessionEnded("this session is over; sign in again")
    if row is None:
        raise NotFound("there is no such wall of this session, or it was stopped; start another")
    standing = set(row["camera_ids"])
    if row["tour_id"] is None:
        steps: tuple[Step, ...] = (Step(tuple(row["camera_ids"]), None),)
    else:
        steps = tuple(
            Step(kept, one.seconds)
            for one in steps_of(orjson.loads(row["tour_steps"]))
            if (kept := tuple(camera_id for camera_id in one.camera_ids if camera_id in standing))
        )
    page, following = _page(steps, step)
    offers = {one["camera_id"]: one["offers"] for one in await connection.fetch(_OFFERS, page)}
    facts = {"grant_id": row["id"], "at": row["at"], "expires_at": row["expires_at"], "entry_id": row["entry_id"]}
    cameras = tuple(given_of({**facts, "camera_id": one, "offers": offers.get(one)}) for one in page)
    tour = {"id": row["tour_id"], "name": row["tour_name"], "version": row["tour_version"]}
    return Wall(
        row["id"], row["at"], row["entry_id"], row["expires_at"], tour if row["tour_id"] else None,
        tuple(row["protocols"]), row["quality"], steps, cameras, following,
        tuple(one for one in wanted if one not in standing),
    )  # fmt: skip


def _page(steps: Sequence[Step], start: int) -> tuple[list[UUID], int | None]:
    """The cameras of the steps from `start` on, each once, until an answer is full; and where the next goes on."""
    page: dict[UUID, None] = {}
    for number in range(start, len(steps)):
        more = {**page, **dict.fromkeys(steps[number].camera_ids)}
        if page and len(more) > MOST_AT_ONCE:
            return list(page), number
        page = more
    return list(page), None


async def find(writer: Writer, actor: Actor, wall_id: UUID, *, step: int) -> Wall:
    """A wall that runs in the actor's session, with its cameras from `step` on; NotFound if it does not."""
    wall: Wall = await writer.transact(lambda connection: _running(connection, actor, wall_id, step=step))
    return wall


async def stop(session: AsyncSession, actor: Actor, wall_id: UUID) -> None:
    """End a wall: one's own, or as its agency's supervisor. Its tiles are cut within a second, on every node."""
    wall = await session.scalar(select(Grant).where(Grant.id == wall_id, Grant.manifested).with_for_update())
    known = wall is not None and (
        wall.user_id == actor.user_id or (actor.may("supervise") and wall.agency_id in actor.acts_for_ids)
    )
    if wall is None or not known:
        raise NotFound("there is no such wall of yours")
    if wall.revoked_at is not None:
        return
    said = "ended_by_user" if wall.user_id == actor.user_id else "revoked"
    await session.execute(
        update(Grant)
        .where(Grant.id == wall.id, Grant.at == wall.at)
        .values(revoked_at=func.now(), revoked_by=actor.user_id, revoked_cause=said)
    )
    await entries.append(
        session,
        entries.entry(
            actor, "wall.stopped", owner_agency_id=wall.owner_agency_id, subject=("grant", wall.id), cause=said,
            duty_id=wall.duty_id, tour_id=wall.tour_id,
        ),
    )  # fmt: skip
    await announce(session, REVOKED, f"grant {wall.id}")
