"""Agencies, areas and the agreements between agencies."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.access import agreements
from app.access.agreements import Terms
from app.access.hours import CLOCK, EVERY_DAY
from app.errors import Malformed
from app.models import Agency, Agreement, Area
from app.registry import agencies, areas
from app.registry.codes import INSTALLATION_PURPOSES
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
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "you have it already"}}

Kind = Annotated[str | None, Query(max_length=40, pattern="^[a-z_]+$")]
Code = Annotated[str, Field(max_length=40, pattern="^[A-Za-z0-9_-]+$")]


class Hours(BaseModel):
    """A daily window in Korean time. One that ends before it begins goes over midnight; equal ends: the whole day."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    days: Annotated[
        list[Annotated[int, Field(ge=1, le=7)]], Field(min_length=1, max_length=7, description="1 is Monday")
    ] = list(EVERY_DAY)
    begins: Annotated[str, Field(alias="from", pattern=CLOCK)] = "00:00"
    ends: Annotated[str, Field(alias="to", pattern=CLOCK)] = "00:00"


class NewAgreement(BaseModel):
    """Empty lists do not narrow."""

    model_config = ConfigDict(extra="forbid")

    grantee_agency_id: UUID
    title: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
    verbs: Annotated[list[Code], Field(min_length=1, max_length=6)]
    area_ids: Annotated[list[UUID], Field(max_length=1000)] = []
    installation_purposes: Annotated[list[Code], Field(max_length=20)] = []
    use_purposes: Annotated[list[Code], Field(max_length=20)] = []
    bases: Annotated[list[Code], Field(max_length=20)] = []
    approval: Code = "auto"
    condition: Annotated[str, Field(max_length=500, pattern=NO_NUL)] = ""
    document_number: Annotated[str, Field(max_length=100, pattern=NO_NUL)] = ""
    grant_seconds: Annotated[int | None, Field(ge=10, le=86_400)] = None
    hours: Hours | None = None
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None


class Withdrawal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=NO_NUL)]


def _agency(agency: Agency) -> dict[str, Any]:
    return {
        "id": agency.id,
        "name": agency.name,
        "name_en": agency.name_en,
        "kind": agency.kind,
        "parent_id": agency.parent_id,
        "authority_code": agency.authority_code,
    }


def _area(area: Area, *, boundary: bool) -> dict[str, Any]:
    item = {
        "id": area.id,
        "code": area.code,
        "kind": area.kind,
        "name": area.name,
        "name_en": area.name_en,
        "parent_id": area.parent_id,
        "area_km2": area.area_km2,
        "subkind": area.subkind,
        "owner_agency_id": area.owner_agency_id,
        "valid_from": area.valid_from,
        "valid_to": area.valid_to,
    }
    shape = {"boundary": area.boundary, "reach_metres": area.reach_metres, "repaired": area.repaired}
    return item | (shape if boundary else {})


def _agreement(agreement: Agreement) -> dict[str, Any]:
    names = (
        "id", "owner_agency_id", "grantee_agency_id", "title", "document_number", "verbs", "area_ids",
        "installation_purposes", "use_purposes", "bases", "approval", "condition", "grant_seconds", "hours",
        "valid_from", "valid_to", "withdrawn_at",
    )  # fmt: skip
    return {name: getattr(agreement, name) for name in names}


@router.get("/agencies", responses=problems(401) | UNCHANGED)
async def list_agencies(
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
    request: Request,
    kind: Kind = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The agencies that this control center knows."""
    after = read_cursor(cursor, UUID)
    rows = await agencies.listed(session, kind=kind, after=after[0] if after else None, limit=limit)
    following = write_cursor(rows[-1].id) if len(rows) == limit else None
    return tagged(request, {"items": [_agency(row) for row in rows], "next_cursor": following})


@router.get("/areas", responses=problems(401, 404) | UNCHANGED)
async def list_areas(
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
    request: Request,
    kind: Kind = None,
    parent: Annotated[str | None, Query(description="id or code: the areas directly below it", max_length=40)] = None,
    q: Annotated[str | None, Query(description="a part of the name", max_length=100, pattern=NO_NUL)] = None,
    on: Annotated[date | None, Query(description="only those valid on this day")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Areas without their boundaries; ask for one to get its boundary."""
    after = read_cursor(cursor, UUID)
    parent_id = (await areas.get(session, parent)).id if parent is not None else None
    rows = await areas.listed(
        session, kind=kind, parent_id=parent_id, words=q, valid_on=on, after=after[0] if after else None, limit=limit
    )
    following = write_cursor(rows[-1].id) if len(rows) == limit else None
    return tagged(request, {"items": [_area(row, boundary=False) for row in rows], "next_cursor": following})


@router.get("/areas/{area}", responses=problems(401, 404) | UNCHANGED)
async def one_area(
    area: str,
    session: Transaction,
    actor: Asker,  # noqa: ARG001 - signed in is all it takes
    request: Request,
) -> Response:
    """One area by id or code, with its boundary (GeoJSON) and what it belongs to, nearest first."""
    found = await areas.get(session, area)
    above = [{"id": one.id, "code": one.code, "name": one.name} for one in await areas.above(session, found)]
    return tagged(request, _area(found, boundary=True) | {"above": above})


@router.get("/agreements", responses=problems(401))
async def list_agreements(session: Transaction, actor: Asker) -> Response:
    """The agreements to which your agency is a party."""
    rows = await agreements.known_to(session, actor)
    return answer({"items": [_agreement(row) for row in rows], "next_cursor": None})


@router.post("/agreements", status_code=201, responses=problems(401, 403, 404))
async def make_agreement(body: NewAgreement, session: Transaction, actor: Asker) -> Response:
    """Share your agency's cameras with another agency, from now on or from a date."""
    unknown = set(body.installation_purposes) - INSTALLATION_PURPOSES.keys()
    if unknown:
        known = ", ".join(INSTALLATION_PURPOSES)
        raise Malformed(
            f"installation_purposes: {', '.join(unknown)} unknown; any of {known}", field="installation_purposes"
        )
    agreement_id = await agreements.make(session, actor, actor.body_id, Terms(**body.model_dump(by_alias=True)))
    return answer({"id": agreement_id}, status=201)


@router.post("/agreements/{agreement_id}/withdrawal", status_code=204, responses=problems(401, 403, 404))
async def withdraw_agreement(agreement_id: UUID, body: Withdrawal, session: Transaction, actor: Asker) -> Response:
    """Withdraw an agreement of your agency: what stands on it is cut at once."""
    await agreements.withdraw(session, actor, agreement_id, body.reason)
    return Response(status_code=204)
