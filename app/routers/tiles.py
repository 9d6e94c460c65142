"""The map of cameras as vector tiles, for MapLibre, OpenLayers and QGIS."""

import gzip
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from app.registry import tiles
from app.registry.tiles import LAYER, MOST_ZOOM, SINGLE_ZOOM, Tile
from app.routers.dependencies import Asker, InHouse, Transaction, answer, problems

router = APIRouter(prefix="/v1", tags=["maps"])
MVT = "application/vnd.mapbox-vector-tile"
Number = Annotated[str, Path(pattern="^[0-9]{1,5}$")]


@router.get("/tiles", responses=problems(401))
async def described(request: Request, actor: Asker) -> Response:  # noqa: ARG001 - signed in is all it takes
    """What the tiles hold, as TileJSON 3.0: give its address to a map."""
    fields: dict[str, Any] = {
        "id": f"the camera's id; below zoom {SINGLE_ZOOM} only where it stands alone",
        "cameras": f"how many cameras the cell holds, below zoom {SINGLE_ZOOM}",
        "streaming": f"whether there is a live stream; below zoom {SINGLE_ZOOM} how many cameras have one",
        "status": "planned, installed, active, faulty",
        "purpose": "the first purpose of installation",
        "name": f"from zoom {MOST_ZOOM}", "ptz": f"from zoom {MOST_ZOOM}", "owner_id": f"from zoom {MOST_ZOOM}",
    }  # fmt: skip
    return answer(
        {
            "tilejson": "3.0.0",
            "name": "Gwanje cameras / 관제 카메라",
            "scheme": "xyz",
            "tiles": [f"{request.base_url}v1/tiles/{{z}}/{{x}}/{{y}}.mvt"],
            "minzoom": 0,
            "maxzoom": MOST_ZOOM,
            "vector_layers": [{"id": LAYER, "fields": fields}],
        }
    )


@router.get(
    "/tiles/{z}/{x}/{y}.mvt",
    responses=problems(401, 404)
    | {
        200: {"content": {MVT: {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "you have it already"},
    },
)
async def one(
    z: Number,
    x: Number,
    y: Number,
    request: Request,
    session: Transaction,
    actor: Asker,
    house: InHouse,
) -> Response:
    """A tile (MVT 2.1) with the cameras that you may locate: singly from zoom 12, else counted in cells."""
    tile = Tile(int(z), int(x), int(y))
    key = tiles.key_of(await tiles.state(session, actor), tile)
    headers = {"ETag": f'"{key}"', "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding, Authorization"}
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if known & {headers["ETag"], "*"}:
        return Response(status_code=304, headers=headers)
    packed = await tiles.packed(session, actor, house.tiles, tile, key)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=MVT)
    return Response(gzip.decompress(packed), headers=headers, media_type=MVT)
