"""Grants and views: ask for permission to watch, prolong it, end it, see who watches."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app import ledger
from app.actor import Actor
from app.errors import GatewayUnavailable, Refusal
from app.routers.dependencies import (
    NO_STORE,
    Asker,
    AskerAlone,
    Cursor,
    House,
    InHouse,
    Limit,
    ToFootage,
    Transaction,
    answer,
    moment_of,
    problems,
    read_cursor,
    write_cursor,
)
from app.streams import grants, views
from app.streams.profiles import Wanted
from app.streams.writer import Given

router = APIRouter(prefix="/v1", tags=["grants"])
footage = APIRouter(route_class=ToFootage)


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
    incident_id: Annotated[UUID | None, Field(description="brings purpose and basis with it")] = None
    event_id: Annotated[UUID | None, Field(description="an alarm of your own cameras that you look at")] = None
    urgency: Annotated[int | None, Field(ge=0, le=4, description="code 0 to 4 of the call; 0 is the most urgent")] = (
        None
    )
    references: Annotated[list[Reference], Field(max_length=10)] = []
    protocols: Annotated[list[str], Field(max_length=8, description="none: all that the gateway gives")] = []
    quality: Annotated[str, Field(description="auto (main for rooms, sub for cars), main or sub")] = "auto"
    max_kbps: Annotated[int | None, Field(ge=1, description="what the line carries")] = None
    codecs: Annotated[list[str], Field(max_length=4, description="what the player plays: h264, h265")] = []
    exercise: bool = False
    on_behalf_of: Annotated[
        str, Field(max_length=grants.MOST_BEHALF, description="systems only: the officer who will watch")
    ] = ""


async def _shape(
    house: House, given: Given, actor: Actor, wanted: Wanted, protocols: Sequence[str], receipt: str
) -> dict[str, Any]:
    return {
        "grant_id": given.grant_id,
        "camera_id": given.camera_id,
        "expires_at": given.expires_at,
        "streams": await house.gateways.streams(given, wanted, protocols, actor.zone),
        "receipt": {"entry_id": given.entry_id, "at": given.at, "note": receipt},
    }


async def _shapes(
    house: House, actor: Actor, asked: grants.Request, results: Sequence[Given | Refusal]
) -> list[dict[str, Any] | Refusal]:
    """What is told of each camera; a grant whose gateways all fail is taken back, so that none is left without use."""
    wanted = grants.wanted_by(actor, asked)
    made = [result for result in results if isinstance(result, Given)]
    receipts = {one.entry_id: house.notary.receipt(one.entry_id, one.at, one.leaf) for one in made if one.leaf}
    if rest := {(one.entry_id, one.at) for one in made if not one.leaf}:
        receipts |= await house.notary.receipts(rest)

    async def shaped(result: Given | Refusal) -> dict[str, Any] | Refusal:
        if isinstance(result, Refusal):
            return result
        try:
            return await _shape(house, result, actor, wanted, asked.protocols, receipts[result.entry_id])
        except GatewayUnavailable as refusal:
            async with house.database.begin() as session:
                await grants.take_back(session, actor, result)
            return refusal

    return await asyncio.gather(*map(shaped, results))


@footage.post("/grants", status_code=201, responses=problems(401, 403, 404, 409, 429))
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
        event_id=body.event_id,
        urgency=body.urgency,
        protocols=body.protocols,
        quality=body.quality,
        max_kbps=body.max_kbps,
        codecs=body.codecs,
        exercise=body.exercise,
        on_behalf_of=body.on_behalf_of.strip(),
        idempotency_key=idempotency_key,
        body=await request.body(),
    )
    house.notary.check_pending(urgent=asked.is_emergency)
    results = await grants.give(house.database, house.writer, actor, asked, seconds=house.settings.grant_seconds)
    house.poke({ledger.AUDIT.name})
    told = await _shapes(house, actor, asked, results)
    refusals = [one for one in told if isinstance(one, Refusal)]
    if len(refusals) == len(told):
        first = refusals[0]
        first.extra["grants"] = [_refused(refusal) for refusal in refusals]
        raise first
    items = [_refused(one) if isinstance(one, Refusal) else one for one in told]
    return answer({"grants": items}, status=201, headers=NO_STORE)


def _refused(refusal: Refusal) -> dict[str, Any]:
    problem = {name: value for name, value in refusal.problem().items() if name != "grants"}
    return {"camera_id": refusal.extra.get("camera_id"), "refusal": problem}


@footage.post("/grants/{grant_id}/renewals", status_code=201, responses=problems(401, 403, 404))
async def renew(grant_id: UUID, actor: AskerAlone, house: InHouse) -> Response:
    """Prolong a grant while its reason lasts; running views go on, the URLs are new, at the gateway of now."""
    async with house.database.begin() as session:
        renewed = await grants.renew(session, actor, grant_id, seconds=house.settings.grant_seconds)
        house.notary.check_pending(urgent=renewed.request.is_emergency)
    house.poke({ledger.AUDIT.name})
    given, asked = renewed.given, renewed.request
    receipts = await house.notary.receipts([(given.entry_id, given.at)])
    shape = await _shape(house, given, actor, grants.wanted_by(actor, asked), asked.protocols, receipts[given.entry_id])
    return answer(shape, status=201, headers=NO_STORE)


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


router.include_router(footage)
