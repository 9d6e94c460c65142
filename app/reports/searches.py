"""Who has seen this camera, what did this person see, what was seen for this incident: single views and walls alike.

An auditor searches the remit, who supervises the own institution, everybody the own acts. A restricted access is told
in full to who may know it (`audit.restricted`); others learn that there was one, when and at which of their cameras,
and find it neither by person nor by incident. Every search takes a reason and is an entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, RowMapping, Text, Uuid, bindparam, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.audit.restricted import Circle, circle_of, grant_is_restricted
from app.errors import Malformed
from app.models import Agency, CameraPosition
from app.streams import manifests
from app.streams.manifests import Span

MOST_REASON, MOST_REFERENCE = 200, 100
LONGEST = timedelta(days=1)  # of a view: no longer than a sign-in
LONGEST_PERIOD = timedelta(days=366)
_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)
VIEW, WALL = "view", "wall"  # in this order where they began at the same moment

_COLUMNS = """v.id, v.at, v.camera_id, v.closed_at AS ended_at, v.seconds, v.user_id, v.agency_id, v.owner_agency_id,
    v.grant_id, v.grant_at, v.protocol, v.kind, v.cause, v.bytes, v.opened_entry_id AS entry_id"""
# A view touches the period when it began within it, or within the longest a view lasts before and had not ended.
_IN_PERIOD = """v.at < :until AND v.at >= :reaching AND coalesce(v.closed_at, now()) >= :since
    AND (v.at, v.id) < (:before_at, :before_id)"""
_ORDER = "ORDER BY v.at DESC, v.id DESC LIMIT :limit"
_HIDDEN = f"""EXISTS (
        SELECT FROM grants h WHERE h.id = v.grant_id AND h.at = v.grant_at
        AND {grant_is_restricted("h")})
    AND NOT (v.user_id = :me OR v.agency_id = ANY(:own_ids) OR v.owner_agency_id = ANY(:kept_ids))"""
_KNOWN = "(v.user_id = :me OR v.agency_id = ANY(:agency_ids) OR v.owner_agency_id = ANY(:agency_ids))"

# `OFFSET 0` keeps a lookup of few rows by their keys a lookup: joined freely, all grants of a year would be hashed.
# What is given narrows from the left: the first of these that is named is found by its index.
_OF_GRANTS = f"""
SELECT {_COLUMNS} FROM (SELECT id, at FROM grants f WHERE {{grants}}) f
CROSS JOIN LATERAL (SELECT * FROM views v WHERE v.grant_id = f.id AND v.grant_at = f.at AND {_IN_PERIOD} OFFSET 0) v
WHERE {_KNOWN} AND NOT ({_HIDDEN}) {{more}} {_ORDER}
"""  # noqa: S608 - our own SQL
_OF_PERSON = f"""
SELECT {_COLUMNS} FROM views v
WHERE v.user_id = :user_id AND {_IN_PERIOD} AND {_KNOWN} AND NOT ({_HIDDEN}) {{more}} {_ORDER}
"""  # noqa: S608 - our own SQL
_OF_CAMERA = f"""
SELECT {_COLUMNS} FROM views v WHERE v.camera_id = :camera_id AND {_IN_PERIOD} AND {_KNOWN} {{more}} {_ORDER}
"""  # noqa: S608 - our own SQL
# A scan of each agency's own index, newest first, rather than one of all that happened in the period.
_OF_PERIOD = f"""
SELECT v.* FROM (
    SELECT v.* FROM unnest(:agency_ids) AS one (agency_id) CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM views v WHERE v.agency_id = one.agency_id AND {_IN_PERIOD} {{more}} {_ORDER}) v
    UNION ALL
    SELECT v.* FROM unnest(:agency_ids) AS one (agency_id) CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM views v WHERE v.owner_agency_id = one.agency_id AND NOT v.agency_id = ANY(:agency_ids)
        AND {_IN_PERIOD} {{more}} {_ORDER}) v
) v {_ORDER}
"""  # noqa: S608 - our own SQL
_DRESSED = f"""
SELECT v.*, g.kind AS grant_kind, g.use_purpose, g.basis, g.refs, g.incident_id, g.urgency, g.exercise, g.on_behalf_of,
    {grant_is_restricted("g")}
    AND NOT (v.user_id = :me OR v.agency_id = ANY(:own_ids) OR v.owner_agency_id = ANY(:kept_ids)) AS hidden,
    u.login, u.name, o.role, a.name AS agency, w.name AS owner, p.name AS camera
FROM ({{core}}) v
CROSS JOIN LATERAL (SELECT * FROM grants g WHERE g.id = v.grant_id AND g.at = v.grant_at OFFSET 0) g
JOIN users u ON u.id = v.user_id JOIN appointments o ON o.id = g.appointment_id
JOIN agencies a ON a.id = v.agency_id JOIN agencies w ON w.id = v.owner_agency_id
JOIN camera_positions p ON p.id = v.camera_id
ORDER BY v.at DESC, v.id DESC
"""  # noqa: S608 - our own SQL
_MOMENT = DateTime(timezone=True)
_TYPES: dict[str, Any] = {
    "me": Uuid(), "agency_ids": ARRAY(Uuid()), "own_ids": ARRAY(Uuid()), "kept_ids": ARRAY(Uuid()),
    "since": _MOMENT, "until": _MOMENT, "reaching": _MOMENT,
    "before_at": _MOMENT, "before_id": Uuid(), "limit": Integer(), "user_id": Uuid(), "camera_id": Uuid(),
    "incident_id": Uuid(), "reference": Text(),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is searched for, and why. `before` is (began_at, source, id, camera id) of the last row that is known."""

    reason: str
    since: datetime
    until: datetime
    camera_id: UUID | None = None
    user_id: UUID | None = None
    incident_id: UUID | None = None
    reference: str | None = None
    before: tuple[datetime, str, UUID, UUID] | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Access:
    """One stretch of watching: a single view, or a camera on a wall within an hour; `row` as it was found."""

    source: str
    began_at: datetime
    id: UUID
    camera_id: UUID
    row: Mapping[str, Any]

    @property
    def key(self) -> tuple[datetime, str, UUID, UUID]:
        return self.began_at, self.source, self.id, self.camera_id


async def remit(session: AsyncSession, actor: Actor) -> list[UUID]:
    """The agencies whose accesses the actor may search: for an auditor all below, for who supervises the own ones."""
    query = select(Agency.id).order_by(Agency.id)
    if actor.may("read_audit"):
        query = query.where(or_(Agency.id == actor.body_id, Agency.ancestor_ids.contains([actor.body_id])))
    elif actor.may("supervise"):
        query = query.where(Agency.body_id == actor.body_id)
    else:
        return []
    return list((await session.scalars(query)).all())


async def accesses(session: AsyncSession, actor: Actor, wanted: Wanted) -> list[Access]:
    """Accesses within the actor's remit that touch the period, newest first; walls where a camera or person is named.

    Raises Malformed without a reason, or for a period that is none or longer than a year.
    """
    reason = wanted.reason.strip()
    if not reason or len(reason) > MOST_REASON or "\0" in reason:
        raise Malformed(f"reason: say why you search, in 1 to {MOST_REASON} characters", field="reason")
    if not wanted.since < wanted.until <= wanted.since + LONGEST_PERIOD:
        raise Malformed(f"until lies after since, by at most {LONGEST_PERIOD.days} days", field="until")
    if wanted.reference is not None and not 0 < len(wanted.reference) <= MOST_REFERENCE:
        raise Malformed(f"reference: 1 to {MOST_REFERENCE} characters", field="reference")
    agency_ids = await remit(session, actor)
    circle = await circle_of(session, actor)
    views = await _views(session, statement(actor, agency_ids, circle, wanted))
    found = [*views, *await _walls(session, actor, agency_ids, wanted)]
    # Newest first; of the same moment views before walls, and ids from the highest.
    found.sort(key=lambda one: (one.began_at, one.source == VIEW, one.id, one.camera_id), reverse=True)
    found = found[: wanted.limit]
    await _write_down(session, actor, wanted, reason, len(found))
    return found


async def _views(session: AsyncSession, asked: tuple[str, dict[str, Any]]) -> list[Access]:
    sql, binds = asked
    clause = text(sql).bindparams(*(bindparam(name, type_=_TYPES[name]) for name in binds))
    rows = (await session.execute(clause, binds)).mappings().all()
    return [Access(VIEW, row["at"], row["id"], row["camera_id"], dict(row)) for row in rows]


def statement(actor: Actor, agency_ids: list[UUID], circle: Circle, wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """The SQL of a search in single views, and its binds."""
    before_at, before_id = wanted.until, _LAST
    if wanted.before is not None:
        before_at, source, last_id, _ = wanted.before
        before_id = last_id if source == VIEW else _FIRST
    binds: dict[str, Any] = {
        "me": actor.user_id, "agency_ids": agency_ids, "own_ids": list(circle.own), "kept_ids": list(circle.kept),
        "since": wanted.since, "until": wanted.until,
        "reaching": wanted.since - LONGEST, "before_at": before_at, "before_id": before_id, "limit": wanted.limit,
    }  # fmt: skip
    named = {"user_id": wanted.user_id, "camera_id": wanted.camera_id}
    more = "".join(f" AND v.{name} = :{name}" for name, value in named.items() if value is not None)
    binds |= {name: value for name, value in named.items() if value is not None}
    grants = []
    if wanted.incident_id is not None:
        grants.append("f.incident_id = :incident_id")
        binds["incident_id"] = wanted.incident_id
    if wanted.reference is not None:
        number = "jsonb_build_array(jsonb_build_object('number', CAST(:reference AS text)))"
        grants.append(f"f.refs <> '[]'::jsonb AND f.refs @> {number}")
        binds["reference"] = wanted.reference
    if grants:
        core = _OF_GRANTS.format(grants=" AND ".join(grants), more=more)
    elif wanted.user_id is not None:
        core = _OF_PERSON.format(more=more)
    elif wanted.camera_id is not None:
        core = _OF_CAMERA.format(more=more)
    elif agency_ids:
        core = _OF_PERIOD.format(more=more)
    else:
        core = _OF_PERSON.format(more=more)
        binds["user_id"] = actor.user_id
    return _DRESSED.format(core=core), binds


async def _walls(session: AsyncSession, actor: Actor, agency_ids: list[UUID], wanted: Wanted) -> list[Access]:
    """Stretches on walls with an interval in the period. They serve no incident and have no reference."""
    if wanted.incident_id is not None or wanted.reference is not None:
        return []
    user_id = wanted.user_id or (None if agency_ids else actor.user_id)
    if user_id is None and wanted.camera_id is None:
        return []
    before = None
    if wanted.before is not None:
        at, source, duty_id, camera_id = wanted.before
        before = (at, duty_id, camera_id) if source == WALL else (at, _LAST, _LAST)
    found: list[Access] = []
    while True:
        span = Span(wanted.since, wanted.until, before, wanted.limit)
        rows = await manifests.stretches(
            session, span, camera_id=wanted.camera_id, user_id=user_id, anywhere=user_id == actor.user_id,
            agency_ids=agency_ids,
        )  # fmt: skip
        # Only in the hours at the edges of the period a stretch may have no interval within it.
        found += [_stretch(row) for row in rows if row["intervals"]]
        if len(rows) < wanted.limit or len(found) >= wanted.limit:
            return found
        before = (rows[-1]["began_at"], rows[-1]["duty_id"], rows[-1]["camera_id"])


def _stretch(row: RowMapping) -> Access:
    return Access(WALL, row["began_at"], row["duty_id"], row["camera_id"], dict(row))


async def _write_down(session: AsyncSession, actor: Actor, wanted: Wanted, reason: str, found: int) -> None:
    owner = None
    if wanted.camera_id is not None:
        owner = await session.scalar(
            select(CameraPosition.owner_agency_id).where(CameraPosition.id == wanted.camera_id)
        )  # fmt: skip
    item = entries.entry(
        actor, "audit.read", what="accesses", reason=reason, found=found, camera_id=wanted.camera_id if owner else None,
        owner_agency_id=owner, by_camera_id=wanted.camera_id, by_user_id=wanted.user_id,
        by_incident_id=wanted.incident_id, by_reference=wanted.reference, since=wanted.since.isoformat(),
        until=wanted.until.isoformat(),
    )  # fmt: skip
    await entries.append(session, item)
