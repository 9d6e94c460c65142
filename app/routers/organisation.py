"""The tree of agencies as it changes, and groups of agencies."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.registry import agencies, organisation
from app.routers.dependencies import (
    NO_NUL,
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

router = APIRouter(prefix="/v1", tags=["agencies"])
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]


class NewUnit(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    kind: Annotated[str, Field(max_length=40, pattern="^[a-z_]+$", description="center, division, station, box")]
    parent_id: UUID
    name_en: Annotated[str, Field(max_length=200, pattern=NO_NUL)] = ""


class Move(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parent_id: UUID
    reason: Annotated[str, Field(max_length=500, pattern=NO_NUL)] = ""


class NewGroup(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    name_en: Annotated[str, Field(max_length=200, pattern=NO_NUL)] = ""


class Members(BaseModel):
    model_config = ConfigDict(extra="forbid")

    agency_ids: Annotated[list[UUID], Field(max_length=1000)]


@router.post("/agencies", status_code=201, responses=problems(401, 403, 404, 409))
async def add_unit(body: NewUnit, session: Transaction, actor: Asker) -> Response:
    """Add a unit of your institution (center, division, station, box)."""
    return answer({"id": await agencies.add(session, actor, **body.model_dump())}, status=201)


@router.post("/agencies/{agency_id}/moves", status_code=204, responses=problems(401, 403, 404, 409))
async def move(agency_id: UUID, body: Move, session: Transaction, actor: Asker) -> Response:
    """Put a unit of your institution, with all below it, under another of its agencies; its history is kept."""
    await organisation.move(session, actor, agency_id, body.parent_id, body.reason)
    return Response(status_code=204)


@router.get("/agencies/{agency_id}/moves", responses=problems(401, 404) | {304: {"description": "you have it already"}})
async def moves(
    agency_id: UUID,
    request: Request,
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
) -> Response:
    """Where an agency stood, from when to when, the newest first."""
    await agencies.get(session, agency_id)
    items: list[dict[str, Any]] = [
        {"parent_id": one.parent_id, "parent": name, "from": one.moved_at, "to": one.until}
        for one, name in await organisation.history(session, agency_id)
    ]
    return tagged(request, {"items": items, "next_cursor": None})


@router.get("/agency-groups", responses=problems(401) | {304: {"description": "you have it already"}})
async def list_groups(
    request: Request,
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Groups of agencies, such as councils."""
    after = read_cursor(cursor, UUID)
    rows = await organisation.groups(session, after=after[0] if after else None, limit=limit)
    items = [{"id": one.id, "name": one.name, "name_en": one.name_en, "agency_id": one.agency_id} for one in rows]
    return tagged(request, {"items": items, "next_cursor": write_cursor(rows[-1].id) if len(rows) == limit else None})


@router.post("/agency-groups", status_code=201, responses=problems(401, 403, 409))
async def form_group(body: NewGroup, session: Transaction, actor: Asker) -> Response:
    """Form a group, kept by your institution."""
    return answer({"id": await organisation.form(session, actor, actor.body_id, body.name, body.name_en)}, status=201)


@router.get(
    "/agency-groups/{group_id}/members", responses=problems(401, 404) | {304: {"description": "you have it already"}}
)
async def list_members(
    group_id: UUID,
    request: Request,
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
) -> Response:
    """Who belongs to a group now."""
    items = [
        {"id": agency.id, "name": agency.name, "kind": agency.kind, "parent_id": agency.parent_id, "since": one.since}
        for one, agency in await organisation.members(session, group_id)
    ]
    return tagged(request, {"items": items, "next_cursor": None})


@router.put("/agency-groups/{group_id}/members", responses=problems(401, 403, 404))
async def set_members(group_id: UUID, body: Members, session: Transaction, actor: Asker) -> Response:
    """Say who belongs to a group that your institution keeps, from now on."""
    came, went = await organisation.set_members(session, actor, group_id, body.agency_ids)
    return answer({"came": came, "went": went})
