"""Areas in which a person declares that viewing would be a conflict of interest (이해충돌 구역 신고).

Only the person declares and ends them. Its officers see them, since they review by them; the log names the area,
never why.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import entries
from app.errors import Conflict, Malformed, NotFound, Overloaded
from app.ids import new_id
from app.models import Area, ConflictArea, User
from app.reports.reviews import officers

REASONS = {"home": "자택", "family": "가족", "workplace": "겸직·이전 근무지", "other": "기타"}
MOST_OF_PERSON = 50


async def declare(session: AsyncSession, actor: Actor, area_id: UUID, reason: str) -> UUID:
    """Declare an area of one's own, from now on."""
    if reason not in REASONS:
        raise Malformed(f"reason is one of {', '.join(REASONS)}", field="reason", expected=list(REASONS))
    if await session.scalar(select(Area.id).where(Area.id == area_id)) is None:
        raise NotFound("there is no such area; GET /v1/areas lists them", field="area_id")
    live = select(ConflictArea.area_id).where(ConflictArea.user_id == actor.user_id, _live())
    standing = set((await session.scalars(live.with_for_update())).all())
    if area_id in standing:
        raise Conflict("you have declared this area already", field="area_id")
    if len(standing) >= MOST_OF_PERSON:
        raise Overloaded(f"a person declares at most {MOST_OF_PERSON} areas; end some", retry_after_seconds=60)
    conflict_id = new_id()
    await session.execute(
        insert(ConflictArea).values(
            id=conflict_id, user_id=actor.user_id, agency_id=actor.body_id, area_id=area_id, reason=reason
        )
    )
    await entries.append(
        session,
        entries.entry(
            actor, "conflict.declared", owner_agency_id=actor.body_id, area_id=area_id,
            subject=("conflict", conflict_id),
        ),
    )  # fmt: skip
    return conflict_id


async def end(session: AsyncSession, actor: Actor, conflict_id: UUID) -> None:
    """End a declaration of one's own now: it stays for the months in which it held."""
    ended = await session.scalar(
        update(ConflictArea)
        .where(ConflictArea.id == conflict_id, ConflictArea.user_id == actor.user_id, _live())
        .values(valid_to=func.now())
        .returning(ConflictArea.area_id)
    )
    if ended is None:
        raise NotFound("there is no such declaration of yours")
    await entries.append(
        session,
        entries.entry(
            actor, "conflict.ended", owner_agency_id=actor.body_id, area_id=ended, subject=("conflict", conflict_id)
        ),
    )  # fmt: skip


async def listed(
    session: AsyncSession, actor: Actor, *, after: UUID | None = None, limit: int = 100
) -> Sequence[RowMapping]:
    """One's own declarations; for reviewing officers all of their institution, which is written down."""
    reviews = officers.may_review(actor, actor.body_id)
    known: ColumnElement[bool] = ConflictArea.user_id == actor.user_id
    if reviews:
        known = or_(known, ConflictArea.agency_id == actor.body_id)
    query = (
        select(
            ConflictArea.id, ConflictArea.area_id, Area.name.label("area"), ConflictArea.reason,
            ConflictArea.valid_from, ConflictArea.valid_to, User.id.label("user_id"), User.login,
        )
        .join(Area, Area.id == ConflictArea.area_id)
        .join(User, User.id == ConflictArea.user_id)
        .where(known)
        .order_by(ConflictArea.id)
        .limit(limit)
    )  # fmt: skip
    if after is not None:
        query = query.where(ConflictArea.id > after)
    rows = (await session.execute(query)).mappings().all()
    if reviews:
        await entries.append(session, entries.entry(actor, "audit.read", what="conflict areas", found=len(rows)))
    return rows


def _live() -> ColumnElement[bool]:
    return or_(ConflictArea.valid_to.is_(None), ConflictArea.valid_to > func.now())
