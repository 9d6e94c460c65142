"""Grants and views: ask for permission to watch, prolong it, end it, see who watches."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app import ledger
from app.errors import Refusal
from app.routers.dependencies import (
    Asker,
    AskerAlone,
    Cursor,
    House,
    InHouse,
    Limit,
    Transaction,
    answer,
    moment_of,
    problems,
    read_cursor,
    write_cursor,
)
from app.streams import grants, views
from app.streams.urls import Pass
from app.streams.writer import Given

router = APIRouter(prefix="/v1", tags=["grants"])
NO_STORE = {"Cache-Control": "no-store"}


class Reference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(min_length=1, max_length=40, description="112, 119, letter, statute, …")]
    number: Annotated[str, Field(min_length=1, max_length=100)]


class Asked(BaseModel):
    """Without purpose and basis: your own agency's cameras, under your duty."""

    model_config = ConfigDict(extra="forbid")

    camera_ids: Annotated[list[UUID], Field(min_length=1, max_length=grants.MOST_CAMERAS)]
    purpose: Annotated[str | None, Field(max_length=40)] = None
    basis: Annotated[str | None, Field(max_length=40)] = None
    incident_id: UUID | None = None
    references: Annotated[list[Reference], Field(max_length=10)] = []
    protocols: Annotated[list[str], Field(min_length=1, max_length=8)] = list(grants.PROTOCOLS)
    quality: str = "main"
    exercise: bool = False


def _shape(house: House, given: Given, protocols: list[str]) -> dict[str, Any]:
    ticket = Pass(given.grant_id, given.at, given.camera_id, given.expires_at)
    return {
        "grant_id": given.grant_id,
        "camera_id": given.camera_id,
        "expires_at": given.expires_at,
        "streams": house.edge.urls(ticket, protocols),
        "receipt": {"entry_id": given.entry_id, "at": given.at},
    }


@router.post("/grants", status_code=201, responses=problems(401, 403, 404, 409, 429))
async def ask(
    body: Asked,
    request: Request,
    house: InHouse,
    actor: AskerAlone,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Ask to watch up to 64 cameras. Answers per camera: 201 if any is granted, else the first refusal's status."""
    asked = grants.Request(
        camera_ids=body.camera_ids,
        purpose=body.purpose,
        basis=body.basis,
        references=[reference.model_dump() for reference in body.references],
        incident_id=body.incident_id,
        protocols=body.protocols,
        quality=body.quality,
        exercise=body.exercise,
        idempotency_key=idempotency_key,
        body=await request.body(),
    )
    results = await grants.give(house.database, house.writer, actor, asked, seconds=house.settings.grant_seconds)
    house.poke({ledger.AUDIT.name})
    first = next((result for result in results if isinstance(result, Refusal)), None)
    if first is not None and not any(isinstance(result, Given) for result in results):
        first.extra["grants"] = [_refused(result) for result in results if isinstance(result, Refusal)]
        raise first
    items = [
        _shape(house, result, body.protocols) if isinstance(result, Given) else _refused(result) for result in results
    ]
    return answer({"grants": items}, status=201, headers=NO_STORE)


def _refused(refusal: Refusal) -> dict[str, Any]:
    problem = {name: value for name, value in refusal.problem().items() if name != "grants"}
    return {"camera_id": refusal.extra.get("camera_id"), "refusal": problem}


@router.post("/grants/{grant_id}/renewals", status_code=201, responses=problems(401, 403, 404))
async def renew(grant_id: UUID, session: Transaction, actor: Asker, house: InHouse) -> Response:
    """Prolong a grant while its reason lasts; running views go on, the URLs are new."""
    given = await grants.renew(session, actor, grant_id, seconds=house.settings.grant_seconds)
    return answer(_shape(house, given, list(grants.PROTOCOLS)), status=201, headers=NO_STORE)


@router.delete("/grants/{grant_id}", status_code=204, responses=problems(401, 404))
async def end(grant_id: UUID, session: Transaction, actor: Asker) -> Response:
    """End a grant: its URLs are dead, its views are cut within a second on every node."""
    await grants.revoke(session, actor, grant_id)
    return Response(status_code=204)


@router.get("/views", responses=problems(401))
async def list_views(
    session: Transaction,
    actor: Asker,
    running: Annotated[bool, Query(description="only who watches now")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Views, newest first: your own; for who supervises, those of and on the own agency."""
    before = read_cursor(cursor, moment_of, UUID)
    rows = await views.listed(session, actor, running=running, before=before, limit=limit)
    following = write_cursor(rows[-1]["at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    items = [
        {**{name: row[name] for name in row if name != "at"}, "opened_at": row["at"]} for row in rows
    ]  # fmt: skip
    return answer({"items": items, "next_cursor": following}, headers=NO_STORE)
