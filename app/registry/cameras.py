"""Cameras as users meet them: found by place, area, purpose or text, always under rights."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import rights
from app.actor import Actor
from app.errors import Malformed, NotFound
from app.models import Agency, CameraPosition, Site
from app.registry.areas import GEOD

DEFAULT_RADIUS_METRES = 500.0
MOST_RADIUS_METRES = 50_000.0
MOST_LATITUDE, MOST_LONGITUDE = 90, 180
_EQUATOR_METRES, _ECCENTRICITY_2 = 6_378_137.0, 0.006_694_379_990_14  # WGS84


@dataclass(frozen=True, slots=True)
class Near:
    """A circle around a point; degrees and metres."""

    latitude: float
    longitude: float
    radius_metres: float = DEFAULT_RADIUS_METRES


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. `bbox` is west, south, east, north in degrees."""

    near: Near | None = None
    bbox: tuple[float, float, float, float] | None = None
    area_id: UUID | None = None
    purpose: str | None = None
    status: str | None = None
    words: str | None = None
    owner_agency_id: UUID | None = None
    with_stream: bool | None = None


_COLUMNS = (
    CameraPosition.id,
    CameraPosition.name,
    CameraPosition.owner_agency_id,
    Agency.name.label("owner"),
    CameraPosition.status,
    CameraPosition.origin,
    CameraPosition.latitude,
    CameraPosition.longitude,
    CameraPosition.installation_purposes,
    CameraPosition.area_ids,
    CameraPosition.ptz,
    CameraPosition.has_stream,
    CameraPosition.pixels_10k,
    CameraPosition.retention_days,
    CameraPosition.installed_on,
    CameraPosition.changed_at,
    Site.road_address,
    Site.lot_address,
)


def _base(actor: Actor) -> Select[*tuple[Any, ...]]:
    return (
        select(*_COLUMNS)
        .select_from(CameraPosition)
        .join(Agency, Agency.id == CameraPosition.owner_agency_id)
        .join(Site, Site.id == CameraPosition.site_id)
        .where(rights.permitted(actor, "locate"), CameraPosition.retired_at.is_(None))
    )


def _metres_per_degree(latitude: float) -> tuple[float, float]:
    """Metres in a degree of latitude here, and in one of longitude where the cosine of the latitude is one."""
    w2 = 1 - _ECCENTRICITY_2 * math.sin(math.radians(latitude)) ** 2
    meridian = _EQUATOR_METRES * (1 - _ECCENTRICITY_2) / w2**1.5
    prime_vertical = _EQUATOR_METRES / math.sqrt(w2)
    return math.radians(1) * meridian, math.radians(1) * prime_vertical


def _distance(near: Near) -> ColumnElement[float]:
    """Metres on the ellipsoid by the mid-latitude formula: within a millimetre at 5 km, a quarter of a metre at 50 km.

    It orders and narrows in the database; the distance that is shown is the geodesic one. (Ordering by degrees would
    be wrong in two of three cases: a degree of longitude is shorter than one of latitude.)
    """
    middle = func.radians((CameraPosition.latitude + near.latitude) / 2)
    w2 = 1 - _ECCENTRICITY_2 * func.power(func.sin(middle), 2)
    prime_vertical = math.radians(1) * _EQUATOR_METRES / func.sqrt(w2)
    north = (CameraPosition.latitude - near.latitude) * prime_vertical * (1 - _ECCENTRICITY_2) / w2
    east = (CameraPosition.longitude - near.longitude) * prime_vertical * func.cos(middle)
    return func.sqrt(north * north + east * east)


def _box(west: float, south: float, east: float, north: float) -> ColumnElement[bool]:
    """Inside a box of degrees, by the GiST index."""
    condition = text("camera_positions.location <@ box(point(:west, :south), point(:east, :north))")
    return condition.bindparams(west=west, south=south, east=east, north=north)  # type: ignore[return-value]


def _around(near: Near) -> ColumnElement[bool]:
    per_latitude, per_longitude = _metres_per_degree(near.latitude)
    reach = near.radius_metres * 1.01 + 1  # a little more than needed: the exact distance narrows it
    high = reach / per_latitude
    edge = min(abs(near.latitude) + high, 89.9)
    wide = reach / (per_longitude * math.cos(math.radians(edge)))
    return _box(near.longitude - wide, near.latitude - high, near.longitude + wide, near.latitude + high)


def _narrow(query: Select[*tuple[Any, ...]], search: Search) -> Select[*tuple[Any, ...]]:
    if search.bbox is not None:
        query = query.where(_box(*search.bbox))
    if search.area_id is not None:
        query = query.where(CameraPosition.area_ids.contains([search.area_id]))
    if search.purpose is not None:
        query = query.where(CameraPosition.installation_purposes.contains([search.purpose]))
    if search.status is not None:
        query = query.where(CameraPosition.status == search.status)
    if search.owner_agency_id is not None:
        query = query.where(CameraPosition.owner_agency_id == search.owner_agency_id)
    if search.with_stream is not None:
        query = query.where(CameraPosition.has_stream.is_(search.with_stream))
    for word in (search.words or "").split()[:5]:
        like = "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"
        query = query.where(
            or_(CameraPosition.name.ilike(like), Site.road_address.ilike(like), Site.lot_address.ilike(like))
        )
    return query


async def visible_to(
    session: AsyncSession, actor: Actor, search: Search, *, limit: int, after: tuple[float, UUID] | None = None
) -> Sequence[Mapping[Any, Any]]:
    """The cameras that the actor may locate: by distance when looked for near a point, else in the order of their ids.

    `after` is the (distance, id) or (0, id) of the last one seen. With a point, each row carries `distance_metres`
    (geodesic) and `bearing_degrees` from the point.
    """
    query = _narrow(_base(actor), search).limit(limit)
    if search.near is None:
        if after is not None:
            query = query.where(CameraPosition.id > after[1])
        rows: Sequence[Mapping[Any, Any]] = (await session.execute(query.order_by(CameraPosition.id))).mappings().all()
        return rows
    near = search.near
    distance = _distance(near)
    query = query.add_columns(distance.label("order_metres")).where(
        _around(near), distance <= literal(near.radius_metres)
    )
    if after is not None:
        query = query.where(
            or_(distance > literal(after[0]), (distance == literal(after[0])) & (CameraPosition.id > after[1]))
        )
    rows = (await session.execute(query.order_by(distance, CameraPosition.id))).mappings().all()
    return _with_distances(rows, near)


def _with_distances(rows: Sequence[Mapping[Any, Any]], near: Near) -> list[dict[Any, Any]]:
    """The rows with their geodesic distance and bearing from the point, asked for all at once."""
    bearings, _, metres = GEOD.inv(
        [near.longitude] * len(rows),
        [near.latitude] * len(rows),
        [row["longitude"] for row in rows],
        [row["latitude"] for row in rows],
    )
    return [
        {**row, "distance_metres": round(distance, 2), "bearing_degrees": round(bearing % 360, 1)}
        for row, distance, bearing in zip(rows, metres, bearings, strict=True)
    ]


async def get(session: AsyncSession, actor: Actor, camera_id: UUID) -> Mapping[Any, Any]:
    """One camera; it does not exist for who may not locate it."""
    found = await session.execute(_base(actor).where(CameraPosition.id == camera_id))
    row: Mapping[Any, Any] | None = found.mappings().first()
    if row is None:
        raise NotFound("there is no such camera, or you may not know of it")
    return row


async def count(session: AsyncSession, actor: Actor, search: Search) -> int:
    """How many cameras a search finds, under the same rights."""
    query = _narrow(_base(actor), search)
    if search.near is not None:
        query = query.where(_around(search.near), _distance(search.near) <= literal(search.near.radius_metres))
    return (await session.execute(select(func.count()).select_from(query.subquery()))).scalar_one()


def check_point(latitude: float, longitude: float, field: str) -> None:
    """Refuse what is no point on Earth, NaN and infinities included."""
    if not (abs(latitude) <= MOST_LATITUDE and abs(longitude) <= MOST_LONGITUDE):  # so NaN fails, too
        raise Malformed(f"{field}: latitude is -90…90 and longitude -180…180 degrees, in this order", field=field)
