"""Walls and tours, and what they showed: run one at a console, ask who saw a camera, read a sealed manifest."""

import asyncio
import base64
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping

from app import clock
from app.actor import Actor
from app.errors import GatewayUnavailable, Malformed
from app.routers.dependencies import (
    FIRST_YEAR,
    LAST_YEAR,
    NO_NUL,
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
from app.streams import manifests, tours, walls
from app.streams.manifests import Span
from app.streams.profiles import Wanted
from app.streams.tours import MOST_CAMERAS, MOST_STEPS, Step
from app.streams.walls import PROTOCOLS, Wall
from app.streams.writer import Given

router = APIRouter(prefix="/v1", tags=["walls"])
footage = APIRouter(route_class=ToFootage)
DAY = timedelta(days=1)

Cameras = Annotated[list[UUID], Field(min_length=1, max_length=MOST_CAMERAS)]


class NewStep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    camera_ids: Cameras
    seconds: Annotated[int, Field(ge=tours.LEAST_SECONDS, le=tours.MOST_SECONDS)]


class NewTour(BaseModel):
    """Each step is a wall of your own agency's cameras."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]
    steps: Annotated[list[NewStep], Field(min_length=1, max_length=MOST_STEPS)]


class NewWall(BaseModel):
    """Cameras of your own agency, or one of its tours."""

    model_config = ConfigDict(extra="forbid")

    camera_ids: Cameras | None = None
    tour_id: UUID | None = None
    protocols: Annotated[list[str], Field(min_length=1, max_length=8)] = list(PROTOCOLS)
    quality: Annotated[str, Field(description="sub (where a camera has it), main or auto")] = "sub"


# Tours


@router.post("/tours", status_code=201, responses=problems(401, 403))
async def define_tour(body: NewTour, session: Transaction, actor: Asker) -> Response:
    """Define a tour, or the next version of it when the name exists. Takes `supervise`."""
    steps = [Step(tuple(step.camera_ids), step.seconds) for step in body.steps]
    made = await tours.define(session, actor, name=body.name, steps=steps)
    content = {"id": made.id, "name": made.name, "version": made.version, "created_at": made.created_at}
    return answer(content, status=201)


@router.get("/tours", responses=problems(401))
async def list_tours(
    session: Transaction,
    actor: Asker,
    name: Annotated[str | None, Query(max_length=100, pattern=NO_NUL, description="with its steps")] = None,
    version: Annotated[int | None, Query(ge=1, lt=1 << 31, description="instead of the newest")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Your agency's tours by name, each in its newest version; a tour asked for by name comes with its steps."""
    after = read_cursor(cursor, _plain_text, UUID)
    rows = await tours.listed(session, actor, name=name, version=version, after=after, limit=limit)
    following = write_cursor(rows[-1]["name"], rows[-1]["agency_id"]) if len(rows) == limit else None
    items = [{**row, "steps": row["steps"]["steps"]} if "steps" in row else dict(row) for row in rows]
    return answer({"items": items, "next_cursor": following}, headers=NO_STORE)


def _plain_text(text: str) -> str:
    if "\0" in text:
        raise ValueError(text)
    return text


# Walls


async def _shape(house: House, actor: Actor, wall: Wall) -> dict[str, Any]:
    wanted = Wanted(wall.quality, actor.role == "field")

    async def tile(given: Given) -> dict[str, Any]:
        shape: dict[str, Any] = {"camera_id": given.camera_id, "streams": []}
        try:
            shape["streams"] = await house.gateways.streams(
                given, wanted, wall.protocols, actor.zone, kind="embedded"
            )  # the others refuse what a manifest tells of
        except GatewayUnavailable as refusal:  # the other tiles play; GET the wall again for this one
            shape["refusal"] = refusal.problem()
        return shape

    return {
        "wall_id": wall.id,
        "expires_at": wall.expires_at,
        "tour": wall.tour,
        "steps": [{"camera_ids": step.camera_ids, "seconds": step.seconds} for step in wall.steps],
        "cameras": await asyncio.gather(*map(tile, wall.cameras)),
        "next_step": wall.next_step,
        "left_out": wall.left_out,
        "receipt": {"entry_id": wall.entry_id, "at": wall.at},
    }


@footage.post("/walls", status_code=201, responses=problems(401, 403, 404, 409))
async def start_wall(
    body: NewWall,
    request: Request,
    house: InHouse,
    actor: AskerAlone,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Start a wall or a tour at your console, under your duty: one audit entry, and one URL a camera and protocol.

    Its tiles are written down by the hour, in a sealed manifest. URLs of a long tour come in several answers:
    `next_step` says where `GET /v1/walls/{id}?step=` goes on.
    """
    asked = walls.Request(
        camera_ids=body.camera_ids or (),
        tour_id=body.tour_id,
        protocols=body.protocols,
        quality=body.quality,
        idempotency_key=idempotency_key,
        body=await request.body(),
    )
    house.notary.check_pending(urgent=False)
    wall = await walls.start(house.writer, actor, asked)
    return answer(await _shape(house, actor, wall), status=201, headers=NO_STORE)


@footage.get("/walls/{wall_id}", responses=problems(401, 404))
async def show_wall(
    wall_id: UUID,
    house: InHouse,
    actor: AskerAlone,
    step: Annotated[int, Query(ge=0, lt=MOST_STEPS, description="the first step whose URLs are wanted")] = 0,
) -> Response:
    """A wall that runs in your session, with fresh URLs: after a reload, or for the next steps of a long tour."""
    wall = await walls.find(house.writer, actor, wall_id, step=step)
    return answer(await _shape(house, actor, wall), headers=NO_STORE)


@router.delete("/walls/{wall_id}", status_code=204, responses=problems(401, 404))
async def stop_wall(wall_id: UUID, session: Transaction, actor: Asker) -> Response:
    """Stop a wall: its URLs are dead, its tiles are cut within a second on every node."""
    await walls.stop(session, actor, wall_id)
    return Response(status_code=204)


# What they showed


def _span(since: datetime | None, until: datetime | None, limit: int, cursor: str | None) -> Span:
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise Malformed(f"{name} lies between the years {FIRST_YEAR} and {LAST_YEAR}", field=name)
    last = until or clock.now()
    first = since or last - DAY
    if first >= last:
        raise Malformed("since lies before until", field="since")
    return Span(first, last, read_cursor(cursor, moment_of, UUID, UUID), limit)


def _interval(hour: datetime, interval: list[Any]) -> dict[str, Any]:
    offset, length, protocol, cause, carried = interval
    began_at = hour + timedelta(milliseconds=offset)
    ended_at = None if length is None else began_at + timedelta(milliseconds=length)
    return {"began_at": began_at, "ended_at": ended_at, "protocol": protocol, "cause": cause, "bytes": carried}


def _stretch(row: RowMapping) -> dict[str, Any]:
    manifest = {"id": row["manifest_id"], "entry_id": row["entry_id"]} if row["manifest_id"] else None
    return {
        **{name: row[name] for name in ("camera_id", "hour", "began_at", "ended_at", "seconds", "duty_id", "terminal")},
        "who": {name: row[name] for name in ("user_id", "login", "role", "agency_id", "agency")},
        "manifest": {**manifest, "digest": row["digest"].hex()} if manifest else None,
        "intervals": [_interval(row["hour"], one) for one in row["intervals"]],
    }


def _page(rows: list[RowMapping], limit: int) -> Response:
    following = None
    if len(rows) == limit:
        following = write_cursor(rows[-1]["began_at"].isoformat(), rows[-1]["duty_id"], rows[-1]["camera_id"])
    return answer({"items": [_stretch(row) for row in rows], "next_cursor": following}, headers=NO_STORE)


Few = Annotated[int, Query(ge=1, le=200, description="how many items at most")]
Since = Annotated[AwareDatetime | None, Query(description="a day before `until`, if not given")]
Until = Annotated[AwareDatetime | None, Query(description="now, if not given")]


@router.get("/cameras/{camera_id}/showings", responses=problems(401, 403, 404))
async def who_saw(
    camera_id: UUID,
    session: Transaction,
    actor: Asker,
    since: Since = None,
    until: Until = None,
    limit: Few = 100,
    cursor: Cursor = None,
) -> Response:
    """Who had this camera on a wall, newest first; views stand in `/v1/views`. For the owner's supervisors, auditors.

    An item is the camera at one console in one hour. `manifest` is null until the hour is sealed.
    """
    span = _span(since, until, limit, cursor)
    return _page(list(await manifests.who_saw(session, actor, camera_id, span)), limit)


@router.get("/showings", responses=problems(401, 403))
async def seen_by(
    session: Transaction,
    actor: Asker,
    user_id: Annotated[UUID | None, Query(description="yourself, if not given")] = None,
    since: Since = None,
    until: Until = None,
    limit: Few = 100,
    cursor: Cursor = None,
) -> Response:
    """What a person had on walls, newest first: your own; others' for supervisors and auditors of their agency."""
    span = _span(since, until, limit, cursor)
    return _page(list(await manifests.seen_by(session, actor, user_id or actor.user_id, span)), limit)


@router.get("/manifests/{manifest_id}", responses=problems(401, 404))
async def read_manifest(manifest_id: UUID, session: Transaction, actor: Asker) -> Response:
    """A sealed manifest, byte for byte as it was digested: `sha256sum` of this body is the digest in its audit entry.

    The header `Repr-Digest` (RFC 9530) holds the digest with which it was sealed.
    """
    sealed = await manifests.find(session, actor, manifest_id)
    digest = base64.b64encode(sealed.digest).decode()
    headers = {**NO_STORE, "Repr-Digest": f"sha-256=:{digest}:"}
    return Response(sealed.document, headers=headers, media_type="application/json")


router.include_router(footage)
