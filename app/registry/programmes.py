"""What was installed under which programme: "214 cameras at 65 sites", "113 bells at 37 sites", "96 replaced"."""

from typing import Any, Final

from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor

_COUNTED: Final = text("""
WITH things AS (
    SELECT programme, programme_year, 'camera' AS kind, status, 1 AS quantity, replaces_id, site_id AS place
    FROM camera_positions WHERE programme <> '' AND owner_agency_id = ANY(:agencies)
    UNION ALL
    SELECT programme, programme_year, kind, status, quantity, replaces_id,
        coalesce(site_id, parent_id, md5(concat_ws('/', address, latitude, longitude))::uuid)
    FROM assets WHERE programme <> '' AND owner_agency_id = ANY(:agencies)
)
SELECT programme AS name, programme_year AS year, kind, sum(quantity)::int AS number,
    count(DISTINCT place)::int AS sites,
    coalesce(sum(quantity) FILTER (WHERE status = 'planned'), 0)::int AS planned,
    coalesce(sum(quantity) FILTER (WHERE status = 'installed'), 0)::int AS installed,
    coalesce(sum(quantity) FILTER (WHERE status IN ('active', 'faulty')), 0)::int AS active,
    coalesce(sum(quantity) FILTER (WHERE status = 'retired'), 0)::int AS retired,
    count(replaces_id)::int AS replacing
FROM things GROUP BY 1, 2, 3 ORDER BY 2 DESC NULLS LAST, 1, 3
""").bindparams(bindparam("agencies", type_=ARRAY(Uuid())))


async def counted(session: AsyncSession, actor: Actor) -> list[dict[str, Any]]:
    """By programme, year and kind, of the actor's own institution: how many, at how many sites, how far they are.

    `number` counts cameras and pieces, not rows; `replacing` how many took the place of an older one. A bell without
    a site of its own stands where its pole stands, else at its address and point.
    """
    rows = await session.execute(_COUNTED, {"agencies": list(actor.acts_for_ids)})
    return [dict(row) for row in rows.mappings()]
