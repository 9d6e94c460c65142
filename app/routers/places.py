"""Areas of an agency's own, and who is competent at a place."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.models import Agency, Area
from app.registry import agencies, places
from app.registry.places import NewArea
from app.routers.dependencies import NO_NUL, Asker, Transaction, answer, problems, tagged

router = APIRouter(prefix="/v1", tags=["areas"])


class Drawn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(max_length=40, description=", ".join(places.OWN_KINDS))]
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
    boundary: Annotated[dict[str, Any], Field(description="GeoJSON: a polygon, or a line for a path")]
    code: Annotated[str, Field(max_length=40, pattern="^[A-Za-z0-9_-]*$")] = ""
    name_en: Annotated[str, Field(max_length=200, pattern=NO_NUL)] = ""
    subkind: Annotated[str, Field(max_length=40, pattern="^[a-z_]*$", description="the type of a vulnerable area")] = ""
    reach_metres: Annotated[float | None, Field(gt=0, le=500, allow_inf_nan=False)] = None
    parent_id: UUID | None = None
    valid_from: date | None = None
    valid_to: Annotated[date | None, Field(description="the last day; an event has one")] = None


class Ending(BaseModel):
    model_config = ConfigDict(extra="forbid")

    valid_to: date


class Areas(BaseModel):
    model_config = ConfigDict(extra="forbid")

    area_ids: Annotated[list[UUID], Field(max_length=2000)]


def _area(area: Area) -> dict[str, Any]:
    return {"id": area.id, "code": area.code, "kind": area.kind, "name": area.name}


def _agency(agency: Agency) -> dict[str, Any]:
    return {"id": agency.id, "name": agency.name, "kind": agency.kind, "contact": agency.contact}


@router.post("/areas", status_code=201, responses=problems(401, 403, 404, 409))
async def draw(body: Drawn, session: Transaction, actor: Asker) -> Response:
    """Draw an area of your agency: a park, a path, an event, …; `repaired` says how its shape was mended."""
    area_id, repaired = await places.add(session, actor, NewArea(**body.model_dump()))
    return answer({"id": area_id, "repaired": repaired}, status=201)


@router.post("/areas/{area_id}/end", status_code=204, responses=problems(401, 403, 404))
async def end(area_id: UUID, body: Ending, session: Transaction, actor: Asker) -> Response:
    """Say on which day an area of your agency is valid for the last time."""
    await places.end(session, actor, area_id, body.valid_to)
    return Response(status_code=204)


@router.get("/places/competent", responses=problems(401) | {304: {"description": "you have it already"}})
async def competent(
    request: Request,
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
    lat: Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False)],
    lon: Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False)],
) -> Response:
    """In which areas a place lies (smallest first), and which police, fire, … agency is competent there."""
    held, found = await places.competent(session, lat, lon)
    told = {"areas": [_area(one) for one in held], "agencies": {kind: _agency(one) for kind, one in found.items()}}
    return tagged(request, told)


@router.get(
    "/agencies/{agency_id}/jurisdiction", responses=problems(401, 404) | {304: {"description": "you have it already"}}
)
async def jurisdiction(
    agency_id: UUID,
    request: Request,
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
) -> Response:
    """The areas in which an agency is competent."""
    await agencies.get(session, agency_id)
    held = await places.jurisdiction(session, agency_id)
    return tagged(request, {"items": [_area(one) for one in held], "next_cursor": None})


@router.put("/agencies/{agency_id}/jurisdiction", responses=problems(401, 403, 404))
async def set_jurisdiction(agency_id: UUID, body: Areas, session: Transaction, actor: Asker) -> Response:
    """Say in which areas a station or unit of your institution is competent; what is not named ends today."""
    came, went = await places.set_jurisdiction(session, actor, agency_id, body.area_ids)
    return answer({"came": came, "went": went})
