"""Ending grants that others hold: each written down and announced, so that its views are cut on every node."""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.sessions import REVOKED
from app.actor import Actor
from app.announcements import CHANNEL
from app.audit import entries
from app.models import Grant

# One statement however many there are; each grant is a message of its own, which is what those who carry it hear.
_TELL = text("SELECT pg_notify(:channel, :topic || ' grant ' || ended.id) FROM unnest(:ids) AS ended (id)").bindparams(
    bindparam("ids", type_=ARRAY(Uuid())), channel=CHANNEL, topic=REVOKED
)


async def end_grants(
    session: AsyncSession, actor: Actor | None, *conditions: ColumnElement[bool], cause: str, **details: Any
) -> list[UUID]:
    """End the standing grants that meet the conditions; their URLs are dead when this commits, their views cut.

    Each has its entry (`grant.revoked`), with the cause and the details. Returns their ids, in the order of the ids.
    """
    rows = (
        await session.execute(
            select(
                Grant.id,
                Grant.at,
                Grant.user_id,
                Grant.owner_agency_id,
                Grant.camera_ids,
                Grant.restriction,
                Grant.incident_id,
            )
            .where(Grant.revoked_at.is_(None), Grant.expires_at > func.now(), *conditions)
            .order_by(Grant.id)  # everybody locks in the same order
            .with_for_update(of=Grant, key_share=True)
        )
    ).all()
    if not rows:
        return []
    ids = [row.id for row in rows]
    await session.execute(
        update(Grant)
        .where(
            Grant.id == any_(literal(ids, ARRAY(Uuid()))),
            Grant.at.between(min(row.at for row in rows), max(row.at for row in rows)),
        )
        .values(revoked_at=func.now(), revoked_by=actor.user_id if actor else None, revoked_cause=cause)
    )
    for row in rows:
        await entries.append(
            session,
            entries.entry(
                actor, "grant.revoked", owner_agency_id=row.owner_agency_id,
                camera_id=row.camera_ids[0] if row.camera_ids else None, subject=("grant", row.id),
                restriction=row.restriction, cause=cause, holder_user_id=row.user_id,
                **{"incident_id": row.incident_id, **details},
            ),
        )  # fmt: skip
    await session.execute(_TELL, {"ids": ids})
    return ids
