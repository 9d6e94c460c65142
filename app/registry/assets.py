"""Assets besides cameras: found under the same rights as the cameras of their owner in their areas."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.access import rights
from app.actor import Actor
from app.models import Agency, Asset


async def visible_to(
    session: AsyncSession, actor: Actor, *, kind: str | None, after: UUID | None, limit: int
) -> Sequence[RowMapping]:
    """The assets in the actor's scopes to locate, in the order of their ids."""
    scopes, now = await rights.scopes(session, actor, "locate"), clock.now()  # some begin within the hour
    within = [
        (Asset.owner_agency_id == scope.owner_agency_id)
        & (Asset.area_ids.overlap(list(scope.area_ids)) if scope.area_ids else True)
        for scope in scopes
        if scope.open_at(now)
        and not scope.installation_purposes  # an agreement on cameras of one purpose says nothing of bells
    ]
    if not within:
        return []
    query = (
        select(
            Asset.id, Asset.kind, Asset.name, Asset.address, Asset.latitude.label("lat"), Asset.longitude.label("lon"),
            Asset.status, Asset.camera_ids, Asset.owner_agency_id, Agency.name.label("owner"), Asset.external_key,
        )
        .join(Agency, Agency.id == Asset.owner_agency_id)
        .where(or_(*within))
        .order_by(Asset.id)
        .limit(limit)
    )  # fmt: skip
    if kind is not None:
        query = query.where(Asset.kind == kind)
    if after is not None:
        query = query.where(Asset.id > after)
    return (await session.execute(query)).mappings().all()
