"""Cameras as users meet them: found by place, area, purpose or text, always under rights.

What is found many times a second goes to the driver itself; its statements narrow and order the cameras alone and join
owners and sites to those that are shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.database import Arguments, read
from app.errors import NotFound
from app.registry.areas import GEOD
from app.registry.searches import (
    DEFAULT_RADIUS_METRES,
    MOST_RADIUS_METRES,
    Near,
    Search,
    around,
    check_point,
    conditions,
    distance,
)

__all__ = [
    "DEFAULT_RADIUS_METRES", "MOST_RADIUS_METRES", "Near", "Search", "check_point", "count", "facets", "get", "shown",
    "visible_to",
]  # fmt: skip

_SHOWN = """
    p.id, p.name, p.owner_agency_id, owner.name AS owner, p.status, p.origin, p.latitude, p.longitude,
    p.installation_purposes, p.area_ids, p.ptz, p.has_stream, p.pixels_10k, p.retention_days, p.installed_on,
    p.changed_at, site.road_address, site.lot_address
"""
_WITH = "JOIN agencies owner ON owner.id = p.owner_agency_id JOIN sites site ON site.id = p.site_id"

# By what cameras may be counted: the value and, where a camera has several, what they come from.
FACETS = {
    "status": ("p.status", ""),
    "owner": ("p.owner_agency_id::text", ""),
    "source": ("p.origin", ""),
    "streaming": ("p.has_stream::text", ""),
    "purpose": ("each.value", "CROSS JOIN LATERAL unnest(p.installation_purposes) AS each(value)"),
    "area": ("each.value::text", "CROSS JOIN LATERAL unnest(p.area_ids) AS each(value)"),
}
MOST_VALUES = 200


def permitted(actor: Actor, arguments: Arguments) -> str:
    """The condition that a camera `p` stands in the register and the actor may locate it."""
    return f"p.retired_at IS NULL AND {rights.permitted_here(actor, 'locate', arguments, camera='p')}"


def _found(actor: Actor, search: Search, arguments: Arguments) -> str:
    """FROM and WHERE of a search; cameras are `p`, and with a point their distance is `reach.metres`."""
    wanted = conditions(search, arguments)
    if search.near is None:
        return f"FROM camera_positions p WHERE {' AND '.join([*wanted, permitted(actor, arguments)])}"
    wanted.append(around(search.near, arguments))
    metres = f"CROSS JOIN LATERAL (SELECT {distance(search.near, arguments)} AS metres OFFSET 0) reach"
    wanted.append(f"reach.metres <= {arguments.put(search.near.radius_metres, 'float8')}")
    wanted.append(permitted(actor, arguments))
    return f"FROM camera_positions p {metres} WHERE {' AND '.join(wanted)}"


async def visible_to(
    session: AsyncSession, actor: Actor, search: Search, *, limit: int, after: tuple[float, UUID] | None = None
) -> Sequence[Mapping[Any, Any]]:
    """The cameras that the actor may locate: by distance when looked for near a point, else in the order of their ids.

    `after` is the (distance, id) or (0, id) of the last one seen. With a point, each row carries `distance_metres`
    (geodesic), `bearing_degrees` from the point, and `order_metres` for the next page.
    """
    arguments = Arguments()
    found, near = _found(actor, search, arguments), search.near
    metres = "reach.metres" if near else "0::float8"
    order = "reach.metres, p.id" if near else "p.id"
    if after is not None:
        last = arguments.put(after[1], "uuid")
        found += f" AND ({order}) > ({arguments.put(after[0], 'float8')}, {last})" if near else f" AND p.id > {last}"
    most = arguments.put(limit, "int")
    # The order ends in the id, which every camera has once: the rows that are joined cannot come in another one.
    statement = (
        f"SELECT {_SHOWN}, page.metres AS order_metres"  # noqa: S608 - our own SQL
        f" FROM (SELECT p.id, {metres} AS metres {found} ORDER BY {order} LIMIT {most}) page"
        f" JOIN camera_positions p ON p.id = page.id {_WITH} ORDER BY page.metres, page.id"
    )
    rows = await read(session, statement, arguments)
    return _with_distances(rows, near) if near else rows


def _with_distances(rows: Sequence[Any], near: Near) -> list[dict[Any, Any]]:
    """The rows with their geodesic distance and bearing from the point, asked for all at once."""
    bearings, _, metres = GEOD.inv(
        [near.longitude] * len(rows),
        [near.latitude] * len(rows),
        [row["longitude"] for row in rows],
        [row["latitude"] for row in rows],
    )
    shown_rows = [dict(row) for row in rows]
    for row, far, bearing in zip(shown_rows, metres, bearings, strict=True):
        row["distance_metres"], row["bearing_degrees"] = round(far, 2), round(bearing % 360, 1)
    return shown_rows


async def shown(session: AsyncSession, actor: Actor, ids: Sequence[UUID]) -> dict[UUID, Mapping[Any, Any]]:
    """Of these cameras those that the actor may locate, by their ids."""
    arguments = Arguments()
    wanted = f"p.id = ANY({arguments.put(list(ids), 'uuid[]')}) AND {permitted(actor, arguments)}"
    statement = f"SELECT {_SHOWN} FROM camera_positions p {_WITH} WHERE {wanted}"  # noqa: S608 - our own SQL
    return {row["id"]: row for row in await read(session, statement, arguments)}


async def get(session: AsyncSession, actor: Actor, camera_id: UUID) -> Mapping[Any, Any]:
    """One camera; it does not exist for who may not locate it."""
    row = (await shown(session, actor, [camera_id])).get(camera_id)
    if row is None:
        raise NotFound("there is no such camera, or you may not know of it")
    return row


async def count(session: AsyncSession, actor: Actor, search: Search) -> int:
    """How many cameras a search finds, under the same rights."""
    arguments = Arguments()
    rows = await read(session, f"SELECT count(*) AS cameras {_found(actor, search, arguments)}", arguments)
    cameras: int = rows[0]["cameras"]
    return cameras


async def facets(session: AsyncSession, actor: Actor, search: Search, by: Sequence[str]) -> dict[str, Any]:
    """How many cameras and sites a search finds, and how many cameras have each value of the facets `by` (`FACETS`).

    A camera with two purposes counts for both, so these sums may be larger than the number of cameras. Of each facet
    the `MOST_VALUES` commonest values are told.
    """
    arguments = Arguments()
    statement = (
        f"WITH found AS MATERIALIZED (SELECT p.site_id, p.status, p.owner_agency_id, p.origin, p.has_stream,"  # noqa: S608
        f" p.installation_purposes, p.area_ids {_found(actor, search, arguments)})"
        " SELECT '' AS facet, '' AS value, count(*) AS cameras, count(DISTINCT site_id) AS sites FROM found"
    )
    for name in by:
        value, source = FACETS[name]
        statement += (
            f" UNION ALL (SELECT '{name}', {value}, count(*), 0 FROM found p {source}"  # noqa: S608 - our own SQL
            f" GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT {MOST_VALUES})"
        )
    rows = await read(session, statement, arguments)
    total = next(row for row in rows if not row["facet"])
    told: dict[str, Any] = {"cameras": total["cameras"], "sites": total["sites"], "by": {name: [] for name in by}}
    for row in rows:
        if row["facet"]:
            told["by"][row["facet"]].append({"value": row["value"], "cameras": row["cameras"]})
    return told
