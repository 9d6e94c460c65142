"""Cameras and areas for geographic information systems: OGC API – Features, part 1, as far as QGIS and GDAL ask for it.

Give QGIS the address `…/v1/ogc` and the bearer token as an HTTP header.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.errors import Malformed, NotFound
from app.models import Area
from app.registry import areas, cameras
from app.registry.cameras import Search
from app.routers.dependencies import (
    Asker,
    Cursor,
    Limit,
    Transaction,
    answer,
    problems,
    read_cursor,
    tagged,
    write_cursor,
)

router = APIRouter(prefix="/v1/ogc", tags=["maps"])
GEOJSON = "application/geo+json"
CONFORMS_TO = [
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
]
CRS = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
TITLES = {
    "cameras": ("Cameras / 카메라", "the cameras that you may locate"),
    "areas": ("Areas / 구역", "areas with a boundary, as they are valid today"),
}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "you have it already"}}
ON_THE_WAY: dict[int | str, dict[str, Any]] = {
    200: {"content": {GEOJSON: {"schema": {"type": "object"}}}},
    **UNCHANGED,
}


def _link(
    request: Request, path: str, rel: str, media_type: str = "application/json", title: str = ""
) -> dict[str, str]:
    link = {"href": f"{request.base_url}v1/ogc{path}", "rel": rel, "type": media_type}
    return link | ({"title": title} if title else {})


def _collection(request: Request, name: str) -> dict[str, Any]:
    title, description = TITLES[name]
    return {
        "id": name,
        "title": title,
        "description": description,
        "itemType": "feature",
        "crs": [CRS],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]], "crs": CRS}},
        "links": [
            _link(request, f"/collections/{name}", "self"),
            _link(request, f"/collections/{name}/items", "items", GEOJSON, title),
        ],
    }


def _check(name: str) -> None:
    if name not in TITLES:
        raise NotFound(f"there is no such collection; there are: {', '.join(TITLES)}")


def _camera(row: Mapping[str, Any]) -> dict[str, Any]:
    place = None if row["longitude"] is None else {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
    told = {
        "name": row["name"],
        "owner": row["owner"],
        "status": row["status"],
        "source": row["origin"],
        "address": row["road_address"] or row["lot_address"],
        "purposes": ", ".join(row["installation_purposes"]),  # a table's cell holds no list
        "streaming": row["has_stream"],
        "ptz": row["ptz"],
        "pixels_10k": row["pixels_10k"],
        "retention_days": row["retention_days"],
        "installed_on": row["installed_on"],
    }
    return {"type": "Feature", "id": row["id"], "geometry": place, "properties": told}


def _area(area: Area) -> dict[str, Any]:
    names = ("code", "kind", "subkind", "name", "name_en", "area_km2", "valid_from", "valid_to")
    told = {name: getattr(area, name) for name in names}
    return {"type": "Feature", "id": area.id, "geometry": area.boundary, "properties": told}


@router.get("", responses=problems(401))
async def landing(request: Request, actor: Asker) -> Response:  # noqa: ARG001 - signed in is all it takes
    """Where everything is."""
    links = [
        _link(request, "", "self"),
        _link(request, "/conformance", "conformance"),
        _link(request, "/collections", "data"),
        {
            "href": f"{request.base_url}openapi.json",
            "rel": "service-desc",
            "type": "application/vnd.oai.openapi+json;version=3.1",
        },
    ]
    return answer({"title": "Gwanje 관제", "description": "Cameras and areas", "links": links})


@router.get("/conformance", responses=problems(401))
async def conformance(actor: Asker) -> Response:  # noqa: ARG001 - signed in is all it takes
    """Which parts of the standard hold here."""
    return answer({"conformsTo": CONFORMS_TO})


@router.get("/collections", responses=problems(401))
async def listed(request: Request, actor: Asker) -> Response:  # noqa: ARG001 - signed in is all it takes
    """What there is."""
    told = [_collection(request, name) for name in TITLES]
    return answer({"links": [_link(request, "/collections", "self")], "collections": told})


@router.get("/collections/{collection}", responses=problems(401, 404))
async def one(collection: str, request: Request, actor: Asker) -> Response:  # noqa: ARG001 - signed in is all it takes
    """One collection."""
    _check(collection)
    return answer(_collection(request, collection))


def _box(said: str | None) -> tuple[float, float, float, float] | None:
    """West, south, east, north; the standard also allows six numbers, with heights, which cameras have not."""
    if said is None:
        return None
    try:
        numbers = [float(one) for one in said.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 6:  # noqa: PLR2004 - with heights
        numbers = [*numbers[:2], *numbers[3:5]]
    if len(numbers) != 4:  # noqa: PLR2004
        raise Malformed("bbox is west,south,east,north in degrees", field="bbox")
    west, south, east, north = (
        max(-most, min(most, number)) for most, number in zip((180, 90) * 2, numbers, strict=True)
    )  # fmt: skip
    cameras.check_point(south, west, "bbox")
    cameras.check_point(north, east, "bbox")
    if west > east or south > north:
        raise Malformed("bbox is west,south,east,north: west of east and south of north", field="bbox")
    return west, south, east, north


@router.get("/collections/{collection}/items", responses=problems(401, 404) | ON_THE_WAY)
async def items(
    collection: str,
    request: Request,
    session: Transaction,
    actor: Asker,
    bbox: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response:
    """A page of features as GeoJSON, with a link to the next one."""
    _check(collection)
    box, place = _box(bbox), read_cursor(cursor, UUID)
    after = place[0] if place else None
    told: dict[str, Any] = {"type": "FeatureCollection"}
    if collection == "cameras":
        search = Search(bbox=box)
        rows = await cameras.visible_to(session, actor, search, limit=limit, after=(0.0, after) if after else None)
        told["features"] = [_camera(row) for row in rows]
        last = rows[-1]["id"] if len(rows) == limit else None
        if after is None:
            told["numberMatched"] = await cameras.count(session, actor, search)
    else:
        shapes = await areas.drawn(session, box, after=after, limit=limit)
        told["features"] = [_area(area) for area in shapes]
        last = shapes[-1].id if len(shapes) == limit else None
    path = f"/collections/{collection}/items"
    links = [_link(request, path, "self", GEOJSON), _link(request, f"/collections/{collection}", "collection")]
    if last is not None:
        said = {"limit": limit, "cursor": write_cursor(last)} | ({"bbox": bbox} if bbox else {})
        links.append(_link(request, f"{path}?{urlencode(said)}", "next", GEOJSON))
    told |= {"numberReturned": len(told["features"]), "links": links}
    return tagged(request, told, media_type=GEOJSON)


@router.get("/collections/{collection}/items/{feature_id}", responses=problems(401, 404) | ON_THE_WAY)
async def item(collection: str, feature_id: UUID, request: Request, session: Transaction, actor: Asker) -> Response:
    """One feature."""
    _check(collection)
    if collection == "cameras":
        feature = _camera(await cameras.get(session, actor, feature_id))
    else:
        feature = _area(await areas.get(session, str(feature_id)))
    path = f"/collections/{collection}"
    feature["links"] = [
        _link(request, f"{path}/items/{feature_id}", "self", GEOJSON),
        _link(request, path, "collection"),
    ]
    return tagged(request, feature, media_type=GEOJSON)
