"""Cameras as devices: where they are spoken with, and what they say of themselves."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.registry import controls
from app.registry.addresses import camera_networks
from app.routers.dependencies import (
    NO_NUL,
    NO_STORE,
    Asker,
    AskerAlone,
    Cursor,
    InHouse,
    Limit,
    Transaction,
    answer,
    problems,
    read_cursor,
    write_cursor,
)
from app.streams.onvif import probe as probing
from app.streams.reach import losses

router = APIRouter(prefix="/v1", tags=["devices"])


class NewControl(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        min_length=1, max_length=2000,
        description="http(s)://user:password@host/onvif/device_service; never shown again",
    )  # fmt: skip
    home_preset: Annotated[str, Field(max_length=64, pattern=NO_NUL)] = ""
    listens: Annotated[bool, Field(description="take the camera's own events (PullPoint)")] = False
    bell_id: Annotated[UUID | None, Field(description="the bell on the camera's digital input")] = None


class Acceptance(BaseModel):
    model_config = ConfigDict(extra="forbid")

    proposal: Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[A-Za-z0-9_=-]+$")]
    profile: str = Field("main", pattern="^(main|sub)$")


@router.put("/cameras/{camera_id}/control", status_code=204, responses=problems(401, 403, 404))
async def set_control(
    camera_id: UUID, body: NewControl, session: Transaction, actor: Asker, house: InHouse
) -> Response:
    """Set where the camera is spoken with (ONVIF). The address is sealed and never shown again."""
    allowed = camera_networks(house.settings)
    await controls.put(
        session, actor, house.keys, camera_id, body.url, allowed, home_preset=body.home_preset, listens=body.listens,
        bell_id=body.bell_id,
    )  # fmt: skip
    return Response(status_code=204)


@router.post("/cameras/{camera_id}/probe", responses=problems(401, 403, 404, 504))
async def probe(camera_id: UUID, actor: AskerAlone, house: InHouse) -> Response:
    """Ask the camera what it is, which streams it has and which views it remembers.

    Each part is asked for by itself: `problems` says what could not be learnt, and why. A stream on the camera's own
    host is a proposal, sealed: POST it to …/proposals to make it a source. Nothing is changed by asking.
    """
    async with house.database.begin() as session:
        await controls.administered(session, actor, camera_id)
    found = await probing.probe(
        house.database, house.keys, camera_id, camera_networks(house.settings),
        house.settings.camera_ca_file,
    )  # fmt: skip
    async with house.database.begin() as session:
        await probing.note(session, actor, camera_id, found)
    return answer(found.shape(), headers=NO_STORE)


@router.post("/cameras/{camera_id}/proposals", status_code=204, responses=problems(401, 403, 404))
async def accept(camera_id: UUID, body: Acceptance, session: Transaction, actor: Asker, house: InHouse) -> Response:
    """Take a stream that a probe of this camera within the last hour proposed as its source."""
    allowed = camera_networks(house.settings)
    await probing.accept(session, actor, house.keys, camera_id, body.proposal, allowed, profile=body.profile)
    return Response(status_code=204)


@router.get("/losses/{loss_id}", responses=problems(401, 404))
async def loss(
    loss_id: UUID, session: Transaction, actor: Asker, limit: Limit = 1000, cursor: Cursor = None
) -> Response:
    """The cameras that were lost together (event `cameras.lost`), of those that you may locate, and which are back."""
    after = read_cursor(cursor, UUID)
    rows = await losses.members(session, actor, loss_id, after=after[0] if after else None, limit=limit)
    items = [{"camera_id": row.camera_id, "lost_at": row.lost_at, "restored_at": row.restored_at} for row in rows]
    following = write_cursor(rows[-1].camera_id) if len(rows) == limit else None
    return answer({"id": loss_id, "items": items, "next_cursor": following}, headers=NO_STORE)
