"""Revocations (접속 일괄 종료): many grants ended by one decision, about a camera, a person, an agency or an incident.

Deny first, then cut: the rows are over when the transaction commits, and every process that carries a view hears of it.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, exists, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.ending import end_grants
from app.actor import Actor
from app.announcements import announce
from app.audit import entries
from app.errors import Malformed, NotPermitted
from app.models import Agency, Grant, Session
from app.streams.grants import RENEWED

MOST_GRACE_SECONDS = 3600


async def end_where(
    session: AsyncSession,
    actor: Actor,
    *,
    camera_id: UUID | None = None,
    user_id: UUID | None = None,
    agency_id: UUID | None = None,
    incident_id: UUID | None = None,
    reason: str,
) -> int:
    """End what the actor supervises, by exactly one of the four; returns how many grants ended.

    Of the own institution's people that is any grant, of others' those on the own agency's cameras. An agency stands
    for its units and what acts for it. What the owner's people have by their duty, walls too, ends by the person or
    the agency, not by a camera: it is one grant for all of theirs.
    Raises NotPermitted for who does not supervise, Malformed.
    """
    if not actor.may("supervise"):
        raise NotPermitted(
            f"the role {actor.role} ends its own grants only: DELETE /v1/grants/{{id}}", missing="supervise"
        )
    by = {"camera_id": camera_id, "user_id": user_id, "agency_id": agency_id, "incident_id": incident_id}
    named = {name: value for name, value in by.items() if value is not None}
    if len(named) != 1:
        raise Malformed(f"exactly one of {', '.join(by)}", field=next(iter(named), "camera_id"))
    ended = await end_grants(
        session, actor, _supervised_by(actor), *_meant(**by), cause="revoked", reason=reason, by=next(iter(named))
    )
    await entries.append(
        session,
        entries.entry(
            actor, "revocation.made", owner_agency_id=actor.body_id, camera_id=camera_id, reason=reason,
            ended=len(ended), by_user_id=user_id, by_agency_id=agency_id, by_incident_id=incident_id,
        ),
    )  # fmt: skip
    return len(ended)


def _supervised_by(actor: Actor) -> ColumnElement[bool]:
    own_people = select(Agency.id).where(or_(Agency.body_id == actor.body_id, Agency.id.in_(actor.acts_for_ids)))
    return or_(Grant.agency_id.in_(own_people), Grant.owner_agency_id.in_(actor.acts_for_ids))


def _meant(
    *, camera_id: UUID | None, user_id: UUID | None, agency_id: UUID | None, incident_id: UUID | None
) -> list[ColumnElement[bool]]:
    if incident_id is not None:
        return [Grant.incident_id == incident_id]
    # What can be watched under hangs on a session that lasts, of which there are few; grants are many.
    lasting = select(Session.id).where(
        Session.id == Grant.session_id, Session.ended_at.is_(None), Session.expires_at > func.now()
    )
    if user_id is not None:
        return [exists(lasting.where(Session.user_id == user_id)), Grant.user_id == user_id]
    if agency_id is not None:
        within = select(Agency.id).where(or_(Agency.body_id == agency_id, Agency.acts_for_ids.contains([agency_id])))
        return [exists(lasting), Grant.agency_id.in_(within)]
    return [exists(lasting), Grant.camera_ids.contains([camera_id]), ~Grant.manifested]


async def end_of_incident(session: AsyncSession, incident_id: UUID, *, grace_seconds: int = 0) -> int:
    """An incident is closed: its grants end, now or after a grace beyond which none is renewed; returns how many.

    The act is the system's own; each grant has its entry, and who carries them hears of the nearer end.
    """
    if not 0 <= grace_seconds <= MOST_GRACE_SECONDS:
        raise Malformed(f"grace_seconds: 0 to {MOST_GRACE_SECONDS}", field="grace_seconds")
    meant = Grant.incident_id == incident_id
    if grace_seconds == 0:
        return len(await end_grants(session, None, meant, cause="incident_closed", incident_id=incident_id))
    rows = (
        await session.execute(
            select(Grant.id, Grant.at, Grant.owner_agency_id, Grant.camera_ids, Grant.restriction)
            .where(meant, Grant.revoked_at.is_(None), Grant.expires_at > func.now())
            .order_by(Grant.id)
            .with_for_update(key_share=True)
        )
    ).all()
    if not rows:
        return 0
    ids = literal([row.id for row in rows], ARRAY(Uuid()))
    end = func.now() + timedelta(seconds=grace_seconds)
    await session.execute(
        update(Grant)
        .where(Grant.id == any_(ids), Grant.at.between(min(row.at for row in rows), max(row.at for row in rows)))
        .values(
            expires_at=func.least(Grant.expires_at, end), latest_expires_at=func.least(Grant.latest_expires_at, end)
        )
    )
    for row in rows:
        await entries.append(
            session,
            entries.entry(
                None, "grant.shortened", owner_agency_id=row.owner_agency_id,
                camera_id=row.camera_ids[0] if row.camera_ids else None, subject=("grant", row.id),
                restriction=row.restriction, cause="incident_closed", incident_id=incident_id,
                grace_seconds=grace_seconds,
            ),
        )  # fmt: skip
    await announce(session, RENEWED)
    return len(rows)
