"""Leases of heads: who may turn a camera, for what, and how that ends.

Whoever turns a camera has a right of its own (`ptz`) and a permission to see it that stands: the lease ends with the
permission, the view, the session or the agreement, or when nobody has moved the head for a minute. One row a camera
is locked by whoever opens, moves or ends, so that all processes agree about who drives.
Steering to another purpose than the one that was permitted is forbidden (PIPA 25(5)).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app import clock
from app.access.codes import USE_PURPOSES
from app.access.rights import agreement_covers
from app.access.roles import ROLES
from app.actor import Actor
from app.announcements import CHANNEL
from app.audit import entries
from app.errors import (
    CameraNotShared,
    Conflict,
    GrantEnded,
    HeadTaken,
    LeaseEnded,
    Malformed,
    NotFound,
    NotPermitted,
    Refusal,
)
from app.events import record
from app.events.record import Report
from app.ids import new_id
from app.streams.views import ALIVE, ALLOWED
from app.streams.writer import Writer

LEASE_SECONDS = 60  # after so long without a move the next one may drive
PTZ = "ptz"  # the topic on which it is announced that a head has a driver, or has none any more
_DRIVERS = ", ".join(f"'{role}'" for role, may in ROLES.items() if "ptz" in may)
_SHARED = agreement_covers(verb="'ptz'", camera="p", agencies="c.acts_for_ids", agreement="x")
_MAY = f"""(o.role IN ({_DRIVERS}) AND (p.owner_agency_id = ANY(c.acts_for_ids) OR EXISTS (
    SELECT FROM agreements x WHERE {_SHARED}
        AND (x.use_purposes = '{{}}' OR g.use_purpose = ANY(x.use_purposes))
        AND (x.bases = '{{}}' OR g.basis = ANY(x.bases)))))"""
_ASKING = f"""
SELECT g.id AS grant_id, g.at AS grant_at, g.expires_at, g.use_purpose, g.urgency, g.incident_id, g.restriction,
    g.on_behalf_of, c.body_id,
    c.id AS agency_id, p.owner_agency_id, p.owner_agency_id = ANY(c.acts_for_ids) AS own, p.ptz, {_MAY} AS may,
    (SELECT name FROM agencies WHERE id = p.owner_agency_id) AS owner,
    EXISTS (SELECT FROM camera_controls k WHERE k.camera_id = p.id) AS controlled
FROM (SELECT id AS grant_id, at AS grant_at, $2::uuid AS camera_id FROM grants WHERE id = $1 AND session_id = $3) pass
{ALIVE} WHERE {ALLOWED}
"""  # noqa: S608 - our own SQL
_LOCATED = f"""
SELECT true FROM camera_positions p WHERE p.id = $1 AND p.retired_at IS NULL AND (p.owner_agency_id = ANY($2::uuid[])
    OR EXISTS (SELECT FROM agreements a WHERE
        {agreement_covers(verb="'locate'", camera="p", agencies="$2::uuid[]", at_any_hour=True)}))
"""  # noqa: S608 - our own SQL
# Why an open lease may not go on, or empty. A player that is closed and opened again has two seconds for it.
STANDING = f"""
SELECT l.*, u.login, d.body_id, CASE
    WHEN l.expires_at <= now() THEN 'expired'
    WHEN NOT EXISTS (
        SELECT FROM (SELECT l.grant_id, l.grant_at, l.camera_id) pass {ALIVE} WHERE {ALLOWED} AND {_MAY}
    ) THEN 'revoked'
    WHEN EXISTS (
        SELECT FROM views v WHERE v.grant_id = l.grant_id AND v.grant_at = l.grant_at AND v.camera_id = l.camera_id
        HAVING bool_and(v.closed_at IS NOT NULL) AND max(v.closed_at) > l.opened_at
            AND max(v.closed_at) < now() - interval '2 seconds'
    ) THEN 'view_ended'
    ELSE '' END AS over
FROM ptz_leases l JOIN users u ON u.id = l.user_id JOIN agencies d ON d.id = l.agency_id
WHERE l.closed_at IS NULL AND
"""  # noqa: S608 - our own SQL
_OPEN = """
INSERT INTO ptz_leases (id, camera_id, owner_agency_id, grant_id, grant_at, user_id, agency_id, session_id, own,
    purpose, urgency, opened_entry_id, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, least($13, now() + make_interval(secs => $14)))
RETURNING opened_at, expires_at
"""
_CLOSE = """
UPDATE ptz_leases l SET closed_at = now(), cause = $2, preempted_by = $3, closed_entry_id = $4
FROM grants g, appointments o
WHERE l.id = $1 AND l.closed_at IS NULL AND g.id = l.grant_id AND g.at = l.grant_at AND o.id = g.appointment_id
RETURNING extract(epoch FROM now() - l.opened_at)::float8 AS seconds, o.role, g.appointment_id, g.session_id, g.duty_id,
    g.terminal_id, g.restriction, g.incident_id, g.on_behalf_of
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as its holder is told of it."""

    id: UUID
    camera_id: UUID
    purpose: str
    urgency: int
    opened_at: datetime
    expires_at: datetime


async def lock(connection: asyncpg.Connection, camera_id: UUID) -> Mapping[str, Any]:
    """The head's row, locked until this transaction is over: nobody else opens, moves or ends meanwhile."""
    await connection.execute(
        "INSERT INTO ptz_heads (camera_id) SELECT id FROM camera_positions WHERE id = $1 ON CONFLICT DO NOTHING",
        camera_id,
    )
    head: Mapping[str, Any] | None = await connection.fetchrow(
        "SELECT *, busy_until > clock_timestamp() AS busy, moving_until > clock_timestamp() AS moving,"
        " coalesce(home_after <= clock_timestamp(), false) AS is_away"
        " FROM ptz_heads WHERE camera_id = $1 FOR UPDATE",
        camera_id,
    )
    if head is None:
        raise NotFound("there is no such camera, or you may not know of it")
    return head


async def open_lease(writer: Writer, actor: Actor, camera_id: UUID, *, grant_id: UUID, purpose: str) -> Lease:
    """Become the driver of a head, under a grant of one's own that stands; committed with its entry.

    A more urgent driver takes the place of a less urgent one; of equals the owner's. Asked again, the own lease is
    prolonged. Raises NotFound, NotPermitted, CameraNotShared, GrantEnded, HeadTaken, Conflict, Malformed.
    """
    if purpose not in USE_PURPOSES:
        known = list(USE_PURPOSES)
        raise Malformed("purpose is required, one of: " + ", ".join(known), field="purpose", expected=known)

    async def work(connection: asyncpg.Connection) -> Lease:
        asked = await _asked(connection, actor, camera_id, grant_id, purpose)
        await lock(connection, camera_id)
        lease_id, entry_id = new_id(), new_id()
        held = await connection.fetchrow(STANDING + " l.camera_id = $1", camera_id)
        if held is not None:
            cause = _gives_way(held, actor, asked)
            if not cause and held["session_id"] == actor.session_id:
                return await _prolonged(connection, held, asked["expires_at"])
            await close(connection, held, cause, by=lease_id if cause == "pre_empted" else None)
        made = entries.entry(
            actor, "ptz.opened", camera_id=camera_id, owner_agency_id=asked["owner_agency_id"],
            subject=("ptz_lease", lease_id), restriction=asked["restriction"], purpose=purpose, grant_id=grant_id,
            urgency=asked["urgency"], incident_id=asked["incident_id"], on_behalf_of=asked["on_behalf_of"],
        )  # fmt: skip
        await entries.store(connection, [_named(made, entry_id)])
        row = await connection.fetchrow(
            _OPEN, lease_id, camera_id, asked["owner_agency_id"], asked["grant_id"], asked["grant_at"], actor.user_id,
            asked["agency_id"], actor.session_id, asked["own"], purpose, asked["urgency"], entry_id,
            asked["expires_at"], LEASE_SECONDS,
        )  # fmt: skip
        data = {"agency_id": str(asked["agency_id"]), "urgency": asked["urgency"]}
        if not asked["restriction"]:
            data |= {"purpose": purpose, "by": actor.login}
        await _tell(connection, "ptz.opened", camera_id, lease_id, data)
        return Lease(lease_id, camera_id, purpose, asked["urgency"], row["opened_at"], row["expires_at"])

    try:
        lease: Lease = await writer.transact(work)
    except (NotPermitted, CameraNotShared) as refusal:
        await _note_refusal(writer, actor, camera_id, purpose, refusal)
        raise
    return lease


async def _asked(
    connection: asyncpg.Connection, actor: Actor, camera_id: UUID, grant_id: UUID, purpose: str
) -> Mapping[str, Any]:
    """What is known of who asks and of the camera; refuses who may not turn it, or not for this."""
    if not await connection.fetchval(_LOCATED, camera_id, list(actor.acts_for_ids)):
        raise NotFound("there is no such camera, or you may not know of it", camera_id=str(camera_id))
    if not actor.may("ptz"):
        raise NotPermitted(
            f"the role {actor.role} turns no cameras; ask the center's operator to turn it"
            " / 카메라 조작 권한이 없습니다. 관제요원에게 요청하세요",
            missing="ptz",
        )
    row: Mapping[str, Any] | None = await connection.fetchrow(_ASKING, grant_id, camera_id, actor.session_id)
    if row is None:
        raise GrantEnded("turning a camera takes a grant of yours for it that stands; ask with POST /v1/grants")
    if not row["may"]:
        raise CameraNotShared(
            f"{row['owner']} lets you see this camera, not turn it; ask the owner to add ptz to the agreement",
            camera_id=str(camera_id), owner=row["owner"], missing="ptz",
        )  # fmt: skip
    if row["use_purpose"] and row["use_purpose"] != purpose:
        raise Malformed(
            f"the grant is for {row['use_purpose']}; a camera is turned for the purpose that was permitted, no other",
            field="purpose", expected=[row["use_purpose"]],
        )  # fmt: skip
    if not row["ptz"] or not row["controlled"]:
        raise Conflict("this camera cannot be turned: its register says no PTZ, or nobody has set its control")
    return row


def _gives_way(held: Mapping[str, Any], actor: Actor, asked: Mapping[str, Any]) -> str:
    """Why the present driver goes, or empty if that is who asks. Raises HeadTaken."""
    if held["over"]:
        return str(held["over"])
    if held["session_id"] == actor.session_id:
        return "" if held["grant_id"] == asked["grant_id"] else "replaced"
    if asked["urgency"] < held["urgency"]:
        return "pre_empted"
    if asked["urgency"] == held["urgency"] and asked["own"] and not held["own"]:
        return "pre_empted"
    wait = max(1, round((held["expires_at"] - clock.now()).total_seconds()))
    raise HeadTaken(
        "somebody as urgent as you turns this camera; ask again when they are done / 다른 요원이 조작 중입니다",
        retry_after_seconds=min(wait, LEASE_SECONDS), until=held["expires_at"].isoformat(),
    )  # fmt: skip


async def _prolonged(connection: asyncpg.Connection, held: Mapping[str, Any], latest: datetime) -> Lease:
    expires: datetime = await connection.fetchval(
        "UPDATE ptz_leases SET expires_at = least($2, now() + make_interval(secs => $3)) WHERE id = $1"
        " RETURNING expires_at",
        held["id"], latest, LEASE_SECONDS,
    )  # fmt: skip
    return Lease(held["id"], held["camera_id"], held["purpose"], held["urgency"], held["opened_at"], expires)


async def close(
    connection: asyncpg.Connection, lease: Mapping[str, Any], cause: str, *, by: UUID | None = None
) -> None:
    """End a lease (a row of STANDING), with its track summed up in one entry; the caller has locked the head."""
    entry_id = new_id()
    row = await connection.fetchrow(_CLOSE, lease["id"], cause, by, entry_id)
    if row is None:
        return
    track = {"moves": lease["moves"], "seconds": round(row["seconds"], 1), "cause": cause}
    made = entries.entry(
        None, "ptz.closed", camera_id=lease["camera_id"], owner_agency_id=lease["owner_agency_id"],
        subject=("ptz_lease", lease["id"]), restriction=row["restriction"], user_id=lease["user_id"],
        login=lease["login"],
        role=row["role"], appointment_id=row["appointment_id"], agency_id=lease["agency_id"],
        session_id=row["session_id"], duty_id=row["duty_id"], terminal_id=row["terminal_id"],
        incident_id=row["incident_id"], on_behalf_of=row["on_behalf_of"], purpose=lease["purpose"],
        grant_id=lease["grant_id"], presets=lease["presets"], extent=orjson.loads(lease["extent"]),
        preempted_by=by, **track,
    )  # fmt: skip
    await entries.store(connection, [_named(entries.of_body(made, lease["body_id"]), entry_id)])
    data = track | {"agency_id": str(lease["agency_id"])}
    if not row["restriction"]:
        data |= {"purpose": lease["purpose"], "by": lease["login"]}
    await _tell(connection, "ptz.closed", lease["camera_id"], lease["id"], data)


async def camera_of(writer: Writer, actor: Actor, lease_id: UUID) -> UUID:
    """The camera of one's own lease that is not over. Raises NotFound, LeaseEnded."""
    row = await writer.transact(
        lambda connection: connection.fetchrow(
            "SELECT camera_id, cause, closed_at FROM ptz_leases WHERE id = $1 AND session_id = $2",
            lease_id, actor.session_id,
        )
    )  # fmt: skip
    if row is None:
        raise NotFound("there is no such lease of yours")
    if row["closed_at"] is not None:
        raise ended(row["cause"])
    camera_id: UUID = row["camera_id"]
    return camera_id


def ended(cause: str) -> LeaseEnded:
    return LeaseEnded(f"you do not turn this camera any more ({cause}); ask for a new lease", cause=cause)


async def give_back(writer: Writer, actor: Actor, lease_id: UUID) -> None:
    """End one's own lease, or as a supervisor of the camera's owner anybody's. Raises NotFound, Conflict."""

    async def work(connection: asyncpg.Connection) -> None:
        camera_id = await connection.fetchval(
            "SELECT camera_id FROM ptz_leases"
            " WHERE id = $1 AND (session_id = $2 OR ($3 AND owner_agency_id = ANY($4)))",
            lease_id, actor.session_id, actor.may("supervise"), list(actor.acts_for_ids),
        )  # fmt: skip
        if camera_id is None:
            raise NotFound("there is no such lease of yours")
        await lock(connection, camera_id)
        held = await connection.fetchrow(STANDING + " l.id = $1", lease_id)
        if held is None:
            raise Conflict("this lease is over already")
        own = held["session_id"] == actor.session_id
        if not own:  # the lease's own entry names who had it; this one names who took it
            made = entries.entry(
                actor, "ptz.taken_back", camera_id=camera_id, owner_agency_id=held["owner_agency_id"],
                subject=("ptz_lease", lease_id), driver=held["login"],
            )  # fmt: skip
            await entries.store(connection, [made])
        await close(connection, held, "ended" if own else "taken_back")

    await writer.transact(work)


async def _tell(
    connection: asyncpg.Connection, kind: str, camera_id: UUID, lease_id: UUID, data: dict[str, Any]
) -> None:
    """The event, in this transaction; every process looks after this head once it is over.

    Of a restricted use it tells the institution, not who and why.
    """
    report = Report(
        kind=kind, source="gwanje/ptz", source_key=f"{lease_id}/{kind}", subject_kind="cameras", subject_id=camera_id,
        data=data | {"lease_id": str(lease_id)},
    )  # fmt: skip
    await record.record(connection, None, report)
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{PTZ} {camera_id}")


async def _note_refusal(writer: Writer, actor: Actor, camera_id: UUID, purpose: str, refusal: Refusal) -> None:
    """Who tried and was refused, in a transaction of its own."""

    async def work(connection: asyncpg.Connection) -> None:
        owner = await connection.fetchval("SELECT owner_agency_id FROM camera_positions WHERE id = $1", camera_id)
        made = entries.entry(
            actor, "ptz.opened", "refused", camera_id=camera_id, owner_agency_id=owner, purpose=purpose,
            reason=refusal.code, missing=refusal.extra.get("missing"),
        )  # fmt: skip
        await entries.store(connection, [made])

    await writer.transact(work)


def _named(item: entries.Entry, entry_id: UUID) -> entries.Entry:
    return replace(item, id=entry_id)
