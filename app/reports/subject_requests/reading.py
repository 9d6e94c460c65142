"""The list of requests with their due dates, and one of them with who asks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, RowMapping, case, false, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import NotFound
from app.keys import Keys
from app.models import Agency, SubjectRequest, SubjectRequestPerson, User
from app.reports.subject_requests.receiving import SEAL, may_handle

STATE = case(
    (SubjectRequest.closed_at.is_not(None), "closed"),
    (SubjectRequest.decided_at.is_not(None), "decided"),
    (SubjectRequest.due_at <= func.now(), "overdue"),
    else_="waiting",
)


def may_know(actor: Actor) -> ColumnElement[bool]:
    """Requests to the own institution for who handles them; to those of the remit for auditors, without the person."""
    known: list[ColumnElement[bool]] = []
    if may_handle(actor):
        known.append(SubjectRequest.agency_id == actor.body_id)
    if actor.may("read_audit"):
        below = select(Agency.id).where(or_(Agency.id == actor.body_id, Agency.ancestor_ids.contains([actor.body_id])))
        known.append(SubjectRequest.agency_id.in_(below))
    return or_(*known) if known else false()


async def listed(
    session: AsyncSession,
    actor: Actor,
    *,
    request_id: UUID | None = None,
    state: str | None = None,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> Sequence[RowMapping]:
    """Requests that the actor may know of, the next due first, with their state and officers; without who asks."""
    recorder, decider, closer = (User.__table__.alias(name) for name in ("recorder", "decider", "closer"))
    query = (
        select(
            *SubjectRequest.__table__.columns, Agency.name.label("agency"), STATE.label("state"),
            recorder.c.login.label("recorder"), decider.c.login.label("decider"), closer.c.login.label("closer"),
        )
        .join(Agency, Agency.id == SubjectRequest.agency_id)
        .join(recorder, recorder.c.id == SubjectRequest.recorded_by)
        .outerjoin(decider, decider.c.id == SubjectRequest.decided_by)
        .outerjoin(closer, closer.c.id == SubjectRequest.closed_by)
        .where(may_know(actor))
        .order_by(SubjectRequest.due_at, SubjectRequest.id)
        .limit(limit)
    )  # fmt: skip
    if request_id is not None:
        query = query.where(SubjectRequest.id == request_id)
    if state is not None:
        query = query.where(STATE.in_([state]))
    if after is not None:
        query = query.where(tuple_(SubjectRequest.due_at, SubjectRequest.id) > tuple_(*after))
    return (await session.execute(query)).mappings().all()


async def get(
    session: AsyncSession, actor: Actor, keys: Keys, request_id: UUID
) -> tuple[RowMapping, dict[str, Any] | None]:
    """A request, and who asks (`name`, `contact`) for who handles it: reading that is an entry."""
    rows = await listed(session, actor, request_id=request_id)
    if not rows:
        raise NotFound("there is no such request in your remit")
    row = rows[0]
    if not may_handle(actor) or row["agency_id"] != actor.body_id:
        return row, None
    sealed = await session.scalar(
        select(SubjectRequestPerson.sealed).where(SubjectRequestPerson.request_id == request_id)
    )
    if sealed is None:
        return row, None
    read = entries.entry(
        actor, "audit.read", owner_agency_id=row["agency_id"], subject=("request", request_id), what="subject request"
    )
    await entries.append(session, read)
    person: dict[str, Any] = orjson.loads(keys.unseal(SEAL, sealed, request_id.bytes))
    return row, person
