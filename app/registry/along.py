"""Cameras along a route: within so many metres of a line, in the order in which who follows it comes by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry import shape
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.database import Arguments, read
from app.errors import Malformed
from app.registry import cameras
from app.registry.areas import GEOD
from app.registry.searches import Search, box_around, check_point, conditions, metres_per_degree

DEFAULT_BUFFER_METRES, MOST_BUFFER_METRES = 50.0, 2_000.0
MOST_ROUTE_METRES, MOST_CORNERS = 300_000.0, 2_000
STEP_METRES = 500.0  # pieces so short are straight, whatever the projection: the error stays below a centimetre
MOST_FOUND = 20_000


@dataclass(frozen=True)
class Route:
    """A line cut into short pieces: their ends, and how far along the line each one begins, in metres."""

    longitudes: np.ndarray
    latitudes: np.ndarray
    begins: np.ndarray
    buffer_metres: float


def read_route(said: Any, buffer_metres: float = DEFAULT_BUFFER_METRES, field: str = "route") -> Route:
    """A route from a GeoJSON LineString; Malformed says what is wrong with it."""
    try:
        line = shape(said)
        usable = line.geom_type == "LineString" and not line.is_empty
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, shapely.errors.ShapelyError):
        usable = False
    if not usable:
        raise Malformed(f"{field} is a GeoJSON LineString of [longitude, latitude]", field=field)
    corners = shapely.get_coordinates(line)
    if len(corners) > MOST_CORNERS:
        raise Malformed(f"{field} has more than {MOST_CORNERS} corners: simplify it", field=field)
    for longitude, latitude in corners:
        check_point(latitude, longitude, field)
    _, _, lengths = GEOD.inv(corners[:-1, 0], corners[:-1, 1], corners[1:, 0], corners[1:, 1])
    if not 0 < float(np.sum(lengths)) <= MOST_ROUTE_METRES:
        raise Malformed(f"{field} is longer than {MOST_ROUTE_METRES / 1000:.0f} km, or no line at all", field=field)
    points: list[tuple[float, float]] = [tuple(corners[0])]
    for (lon, lat), (lon2, lat2), metres in zip(corners[:-1], corners[1:], lengths, strict=True):
        pieces = int(metres // STEP_METRES)
        points += GEOD.npts(lon, lat, lon2, lat2, pieces) if pieces else []
        points.append((lon2, lat2))
    longitudes, latitudes = np.array(points).T
    _, _, steps = GEOD.inv(longitudes[:-1], latitudes[:-1], longitudes[1:], latitudes[1:])
    return Route(longitudes, latitudes, np.concatenate([[0.0], np.cumsum(steps)[:-1]]), buffer_metres)


def _project(route: Route, longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each point how far along the route its nearest place is, and how far aside it stands, in metres."""
    along, aside = np.empty(len(longitude)), np.empty(len(longitude))
    west, south = route.longitudes[:-1], route.latitudes[:-1]
    scales = [metres_per_degree(float(middle)) for middle in (south + route.latitudes[1:]) / 2]
    high, wide = np.array(scales).T
    east_by, north_by = (route.longitudes[1:] - west) * wide, (route.latitudes[1:] - south) * high
    square = np.maximum(east_by**2 + north_by**2, 1e-12)
    for number, (x, y) in enumerate(zip(longitude, latitude, strict=True)):
        east, north = (x - west) * wide, (y - south) * high
        share = np.clip((east * east_by + north * north_by) / square, 0, 1)
        apart = np.hypot(east - share * east_by, north - share * north_by)
        piece = int(np.argmin(apart))
        near_x = west[piece] + share[piece] * (route.longitudes[piece + 1] - west[piece])
        near_y = south[piece] + share[piece] * (route.latitudes[piece + 1] - south[piece])
        aside[number] = GEOD.inv(near_x, near_y, x, y)[2]
        along[number] = route.begins[piece] + share[piece] * np.sqrt(square[piece])
    return along, aside


async def visible_to(
    session: AsyncSession,
    actor: Actor,
    route: Route,
    search: Search,
    *,
    limit: int,
    after: tuple[float, UUID] | None = None,
) -> tuple[list[dict[Any, Any]], int]:
    """The cameras beside the route that the actor may locate, in its order, and how many there are in all.

    Each row carries `along_metres` (from the beginning) and `aside_metres` (from the line, geodesic); `after` is the
    (along_metres, id) of the last one seen. Malformed when there are more than can be put in order.
    """
    arguments = Arguments()
    boxes = [
        box_around(min(lon, lon2), min(lat, lat2), max(lon, lon2), max(lat, lat2), route.buffer_metres)
        for lon, lon2, lat, lat2 in zip(
            route.longitudes[:-1].tolist(), route.longitudes[1:].tolist(), route.latitudes[:-1].tolist(),
            route.latitudes[1:].tolist(), strict=True,
        )
    ]  # fmt: skip
    sides = ", ".join(arguments.put([box[side] for box in boxes], "float8[]") for side in range(4))
    wanted = [*conditions(search, arguments), cameras.permitted(actor, arguments)]
    most = arguments.put(MOST_FOUND + 1, "int")
    statement = (
        "SELECT DISTINCT p.id, p.longitude, p.latitude"  # noqa: S608 - our own SQL
        f" FROM unnest({sides}) AS piece(west, south, east, north) JOIN camera_positions p"
        " ON p.location <@ box(point(piece.west, piece.south), point(piece.east, piece.north))"
        f" WHERE {' AND '.join(wanted)} LIMIT {most}"
    )
    found = await read(session, statement, arguments)
    if len(found) > MOST_FOUND:
        raise Malformed(f"more than {MOST_FOUND:,} cameras stand there: ask for a part of the route", field="route")
    along, aside = _project(
        route, np.array([row["longitude"] for row in found]), np.array([row["latitude"] for row in found])
    )
    beside = sorted(
        (float(far), row["id"], float(off))
        for row, far, off in zip(found, along, aside, strict=True)
        if off <= route.buffer_metres
    )
    page = [one for one in beside if after is None or one[:2] > after][:limit]
    rows: Mapping[UUID, Mapping[Any, Any]] = await cameras.shown(session, actor, [one[1] for one in page])
    return [
        {**rows[camera_id], "along_metres": far, "aside_metres": round(off, 2)}
        for far, camera_id, off in page
        if camera_id in rows
    ], len(beside)
