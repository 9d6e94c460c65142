"""Outages: cameras of one owner that were lost together, as far as the asker may know of them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.errors import NotFound
from app.models import CameraPosition, LossMember


async def members(
    session: AsyncSession, actor: Actor, loss_id: UUID, *, after: UUID | None, limit: int
) -> Sequence[Any]:
    """Members of a loss that the actor may locate, in the order of their ids. NotFound where there is none."""
    query = (
        select(LossMember.camera_id, LossMember.lost_at, LossMember.restored_at)
        .join(CameraPosition, CameraPosition.id == LossMember.camera_id)
        .where(LossMember.loss_id == loss_id, rights.permitted(actor, "locate"))
        .order_by(LossMember.camera_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(LossMember.camera_id > after)
    rows = (await session.execute(query)).all()
    if not rows and after is None:
        raise NotFound("there is no such loss, or of none of its cameras you may know")
    return rows
