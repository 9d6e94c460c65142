"""What stands elsewhere than its agency's name says, and the condition under which cameras count in numbers."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.database import Arguments, read
from app.models import Area


def counted(actor: Actor, arguments: Arguments, thing: str) -> str:
    """The condition that a camera or an asset counts for the actor."""
    if actor.may("read_statistics"):
        own = arguments.put(list(actor.acts_for_ids), "uuid[]")
        return (
            f"{thing}.area_ids && ARRAY(SELECT j.area_id FROM jurisdictions j"  # noqa: S608 - our own SQL
            f" WHERE j.agency_id = ANY({own}) AND j.until IS NULL)"
        )
    return rights.permitted_here(actor, "locate", arguments, camera=thing)


async def sites(session: AsyncSession, actor: Actor, area: Area, parts: Iterable[Area]) -> dict[str, Any]:
    """Sites of the parts' own agencies that stand elsewhere: in another part, or outside of the area.

    An agency is that of a part when it bears its name and most of its sites stand there (every large city has a 중구);
    codes are of no help, since those of authorities and those of legal dongs are two systems.
    """
    by_name = {one.name.rsplit(maxsplit=1)[-1]: one.id for one in parts if one.boundary}
    nothing = {"in_another_part": 0, "outside_the_area": 0, "sites_checked": 0, "agencies": []}
    if not by_name:
        return nothing
    arguments = Arguments()
    names, ids = arguments.put(list(by_name), "text[]"), arguments.put(list(by_name.values()), "uuid[]")
    whole = arguments.put(area.id, "uuid")
    may = counted(actor, arguments, "p")
    statement = (
        f"SELECT owner.id, owner.name, part.area_id, p.area_ids @> ARRAY[{whole}] AS inside,"  # noqa: S608
        " count(DISTINCT p.site_id) AS sites FROM camera_positions p"
        " JOIN agencies owner ON owner.id = p.owner_agency_id"
        f" LEFT JOIN LATERAL (SELECT i.area_id FROM unnest({ids}) AS i(area_id) WHERE i.area_id = ANY(p.area_ids)"
        " LIMIT 1) part ON true"
        " WHERE p.retired_at IS NULL AND p.latitude IS NOT NULL AND (regexp_split_to_array(owner.name, '\\s+'))"
        f"[cardinality(regexp_split_to_array(owner.name, '\\s+'))] = ANY({names})"
        f" AND {may} GROUP BY 1, 2, 3, 4"
    )
    owners: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in await read(session, statement, arguments):
        owners.setdefault(row["id"], []).append(row)
    told: dict[str, Any] = nothing | {"agencies": []}
    for rows in owners.values():
        home, sites = by_name[rows[0]["name"].rsplit(maxsplit=1)[-1]], sum(row["sites"] for row in rows)
        at_home = sum(row["sites"] for row in rows if row["area_id"] == home)
        if at_home * 2 < sites:
            continue
        other = sum(row["sites"] for row in rows if row["area_id"] not in (home, None))
        outside = sum(row["sites"] for row in rows if row["area_id"] is None)
        told["sites_checked"] += sites
        told["in_another_part"] += other
        told["outside_the_area"] += outside
        if other or outside:
            told["agencies"].append(
                {
                    "id": rows[0]["id"],
                    "name": rows[0]["name"],
                    "area_id": home,
                    "in_another_part": other,
                    "outside_the_area": outside,
                }
            )
    told["agencies"].sort(key=lambda one: (-one["in_another_part"] - one["outside_the_area"], one["name"]))
    return told
