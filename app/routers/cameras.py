"""Cameras: listed, found near a point, in a box or an area, one by one; as JSON or GeoJSON."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.errors import Malformed
from app.registry import along, areas, cameras, searches, sources
from app.registry.addresses import camera_networks
from app.registry.cameras import DEFAULT_RADIUS_METRES, FACETS, MOST_RADIUS_METRES, Near, Search
from app.routers.dependencies import (
    MOST_PER_PAGE,
    Asker,
    Cursor,
    InHouse,
    Limit,
    Transaction,
    answer,
    problems,
    read_cursor,
    tagged,
    write_cursor,
)

router = APIRouter(prefix="/v1", tags=["cameras"])
GEOJSON = "application/geo+json"


class NewSource(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=2000, description="rtsp, rtsps, http or https; never shown again")
    profile: str = Field("main", pattern="^(main|sub)$")


def _numbers(text: str, count: int, field: str, expected: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise Malformed(f"{field} is {expected}", field=field)
    return numbers


def _metres(text: str) -> float:
    metres = float(text)
    if not 0 <= metres <= MOST_RADIUS_METRES:
        raise ValueError(text)
    return metres


def _near(near: str | None, radius: float | None) -> Near | None:
    if near is None:
        if radius is not None:
            raise Malformed("radius_m goes with near", field="radius_m")
        return None
    latitude, longitude = _numbers(near, 2, "near", "lat,lon in degrees, such as 37.5894,127.0167")
    cameras.check_point(latitude, longitude, "near")
    return Near(latitude, longitude, DEFAULT_RADIUS_METRES if radius is None else radius)


def _bbox(bbox: str | None) -> tuple[float, float, float, float] | None:
    if bbox is None:
        return None
    west, south, east, north = _numbers(bbox, 4, "bbox", "west,south,east,north in degrees")
    cameras.check_point(south, west, "bbox")
    cameras.check_point(north, east, "bbox")
    if west >= east or south >= north:
        raise Malformed("bbox is west,south,east,north: west of east and south of north", field="bbox")
    return west, south, east, north


def shape(row: Mapping[str, Any]) -> dict[str, Any]:
    """A camera on the wire."""
    item: dict[str, Any] = {
        "id": row["id"],
        "name": row["name"],
        "owner": {"id": row["owner_agency_id"], "name": row["owner"]},
        "status": row["status"],
        "source": row["origin"],
        "lat": row["latitude"],
        "lon": row["longitude"],
        "address": row["road_address"] or row["lot_address"],
        "purposes": row["installation_purposes"],
        "area_ids": row["area_ids"],
        "ptz": row["ptz"],
        "streaming": row["has_stream"],
        "pixels_10k": row["pixels_10k"],
        "retention_days": row["retention_days"],
        "installed_on": row["installed_on"],
    }
    for name in ("distance_metres", "bearing_degrees", "along_metres", "aside_metres"):
        if name in row:
            item[name] = row[name]
    return item


def _feature(row: Mapping[str, Any]) -> dict[str, Any]:
    properties = shape(row)
    place = (row["longitude"], row["latitude"])
    return {
        "type": "Feature",
        "id": row["id"],
        "geometry": {"type": "Point", "coordinates": place} if place[0] is not None else None,
        "properties": {name: value for name, value in properties.items() if name not in ("id", "lat", "lon")},
    }


def _next(rows: Sequence[Mapping[str, Any]], limit: int, *, near: bool) -> str | None:
    if len(rows) < limit:
        return None
    return write_cursor(repr(rows[-1]["order_metres"]) if near else 0.0, rows[-1]["id"])


class Wishes(BaseModel):
    """What is looked for; everything narrows."""

    near: Annotated[str | None, Field(description="lat,lon: nearest first", max_length=60)] = None
    radius_m: Annotated[float | None, Field(gt=0, le=MOST_RADIUS_METRES, allow_inf_nan=False)] = None
    bbox: Annotated[str | None, Field(description="west,south,east,north", max_length=120)] = None
    area: Annotated[str | None, Field(description="id or code of an area", max_length=40)] = None
    purpose: Annotated[str | None, Field(max_length=40, pattern="^[a-z_]+$")] = None
    status: Annotated[str | None, Field(max_length=20, pattern="^[a-z_]+$")] = None
    owner: Annotated[UUID | None, Field(description="id of the agency that owns the camera")] = None
    q: Annotated[str | None, Field(description="words in name or address, any part of them", max_length=100)] = None
    streaming: Annotated[bool | None, Field(description="only cameras with (or without) a live stream")] = None


class Shape(Wishes):
    """A search by a shape: in a polygon, or along a route; both are GeoJSON geometries."""

    model_config = ConfigDict(extra="forbid")

    polygon: Annotated[dict[str, Any] | None, Field(description="Polygon or MultiPolygon")] = None
    route: Annotated[dict[str, Any] | None, Field(description="LineString: cameras come in its order")] = None
    buffer_m: Annotated[
        float | None,
        Field(gt=0, le=along.MOST_BUFFER_METRES, allow_inf_nan=False, description="how far beside the route; else 50"),
    ] = None


async def _search(session: Transaction, wishes: Wishes) -> Search:
    if wishes.q is not None and "\0" in wishes.q:
        raise Malformed("q holds a NUL", field="q")
    return Search(
        near=_near(wishes.near, wishes.radius_m),
        bbox=_bbox(wishes.bbox),
        area_id=(await areas.get(session, wishes.area)).id if wishes.area is not None else None,
        purpose=wishes.purpose,
        status=wishes.status,
        words=wishes.q,
        owner_agency_id=wishes.owner,
        with_stream=wishes.streaming,
    )


class Page(Wishes):
    format: Annotated[str, Field(pattern="^(json|geojson)$")] = "json"
    limit: Annotated[int, Field(ge=1, le=MOST_PER_PAGE, description="how many items at most")] = 100
    cursor: Annotated[str | None, Field(max_length=200, description="`next_cursor` of the page before")] = None


@router.get(
    "/cameras",
    responses=problems(401, 404)
    | {200: {"content": {GEOJSON: {"schema": {"type": "object"}}}}, 304: {"description": "you have it already"}},
)
async def find(request: Request, session: Transaction, actor: Asker, asked: Annotated[Page, Query()]) -> Response:
    """The cameras you may locate. `near` orders by distance in metres on the ellipsoid; else by id."""
    search = await _search(session, asked)
    after = read_cursor(asked.cursor, _metres, UUID)
    rows = await cameras.visible_to(session, actor, search, limit=asked.limit, after=after)
    following = _next(rows, asked.limit, near=search.near is not None)
    if asked.format == "geojson":
        collection = {
            "type": "FeatureCollection",
            "features": [_feature(row) for row in rows],
            "next_cursor": following,
        }
        return tagged(request, collection, media_type=GEOJSON)
    return tagged(request, {"items": [shape(row) for row in rows], "next_cursor": following})


class Counting(Wishes):
    by: Annotated[str, Field(max_length=100, description=f"facets, comma-separated: {', '.join(FACETS)}")] = ""


@router.get("/camera-counts", responses=problems(401, 404) | {304: {"description": "you have it already"}})
async def counts(request: Request, session: Transaction, actor: Asker, asked: Annotated[Counting, Query()]) -> Response:
    """How many cameras (and sites) a search finds, and how many for each value of facets."""
    by = list(dict.fromkeys(one.strip() for one in asked.by.split(",") if one.strip()))
    unknown = [one for one in by if one not in FACETS]
    if unknown:
        raise Malformed(f"by: {', '.join(unknown)[:40]} unknown; any of {', '.join(FACETS)}", field="by")
    return tagged(request, await cameras.facets(session, actor, await _search(session, asked), by))


@router.post("/camera-searches", responses=problems(401, 404, 413))
async def find_in_a_shape(
    body: Shape, session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """The cameras you may locate in a polygon, or along a route in its order (`along_metres`, `aside_metres`)."""
    search = await _search(session, body)
    if body.polygon is not None:
        search = replace(search, polygon=searches.read_polygon(body.polygon))
    if body.route is None:
        if body.buffer_m is not None:
            raise Malformed("buffer_m goes with route", field="buffer_m")
        after = read_cursor(cursor, _metres, UUID)
        rows = await cameras.visible_to(session, actor, search, limit=limit, after=after)
        return answer(
            {
                "items": [shape(row) for row in rows],
                "next_cursor": _next(rows, limit, near=search.near is not None),
                "found": await cameras.count(session, actor, search),
            }
        )
    if search.near is not None:
        raise Malformed("near and route order differently: ask for one of them", field="near")
    buffer = along.DEFAULT_BUFFER_METRES if body.buffer_m is None else body.buffer_m
    route = along.read_route(body.route, buffer)
    place = read_cursor(cursor, float, UUID)
    passed, found = await along.visible_to(session, actor, route, search, limit=limit, after=place)
    following = write_cursor(repr(passed[-1]["along_metres"]), passed[-1]["id"]) if len(passed) == limit else None
    return answer({"items": [shape(row) for row in passed], "next_cursor": following, "found": found})


@router.get("/cameras/{camera_id}", responses=problems(401, 404) | {304: {"description": "you have it already"}})
async def one(camera_id: UUID, request: Request, session: Transaction, actor: Asker) -> Response:
    """One camera with its streams; addresses are never among what is told."""
    row = await cameras.get(session, actor, camera_id)
    return tagged(request, {**shape(row), "streams": await sources.described(session, camera_id)})


@router.put("/cameras/{camera_id}/source", status_code=204, responses=problems(401, 403, 404))
async def set_source(camera_id: UUID, body: NewSource, session: Transaction, actor: Asker, house: InHouse) -> Response:
    """Set where the camera's pictures come from. The address is sealed and never shown again."""
    allowed = camera_networks(house.settings)
    await sources.put(session, actor, house.keys, camera_id, body.url, allowed, profile=body.profile)
    return Response(status_code=204)
