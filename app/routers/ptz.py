"""Turning cameras: a lease, commands under it, and giving it back."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.routers.dependencies import NO_NUL, NO_STORE, AskerAlone, InHouse, answer, problems
from app.streams.onvif.device import Move
from app.streams.ptz import leases, moves

router = APIRouter(prefix="/v1", tags=["ptz"])
Part = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class NewLease(BaseModel):
    model_config = ConfigDict(extra="forbid")

    grant_id: Annotated[UUID, Field(description="your permission to see this camera")]
    purpose: Annotated[str, Field(max_length=40, description="for which purpose it is turned; that of the grant")]


class NewMove(BaseModel):
    """`preset` goes to a view; `absolute` to a position; `continuous` moves for `seconds`; `stop` stops."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["preset", "absolute", "continuous", "stop"]
    preset: Annotated[str, Field(max_length=64, pattern=NO_NUL)] = ""
    pan: Part = 0.0
    tilt: Part = 0.0
    zoom: Part = 0.0
    seconds: Annotated[float, Field(ge=0, le=moves.MOST_CONTINUOUS_SECONDS, allow_inf_nan=False)] = 1.0


@router.post("/cameras/{camera_id}/ptz-leases", status_code=201, responses=problems(401, 403, 404, 409, 504))
async def take(camera_id: UUID, body: NewLease, actor: AskerAlone, house: InHouse) -> Response:
    """Become the one who turns this camera, for a minute after each command; a more urgent one takes your place.

    It is one entry of the audit log now, and one with all that was done when it ends.
    """
    lease = await leases.open_lease(house.writer, actor, camera_id, grant_id=body.grant_id, purpose=body.purpose)
    shape: dict[str, Any] = {
        "id": lease.id, "camera_id": lease.camera_id, "purpose": lease.purpose, "urgency": lease.urgency,
        "opened_at": lease.opened_at, "expires_at": lease.expires_at,
    }  # fmt: skip
    return answer(shape, status=201, headers=NO_STORE)


@router.get("/ptz-leases/{lease_id}/presets", responses=problems(401, 404, 409, 504))
async def presets(lease_id: UUID, actor: AskerAlone, house: InHouse) -> Response:
    """The views that the camera of your lease remembers."""
    camera_id = await leases.camera_of(house.writer, actor, lease_id)
    found = await house.heads.presets(camera_id)
    return answer({"items": [{"token": one.token, "name": one.name} for one in found]}, headers=NO_STORE)


@router.post("/ptz-leases/{lease_id}/moves", responses=problems(401, 403, 404, 409, 504))
async def move(lease_id: UUID, body: NewMove, actor: AskerAlone, house: InHouse) -> Response:
    """Turn the camera of your lease. `turn` grows with every command; 409 `lease_ended` once you drive no more."""
    wanted = Move(**body.model_dump())
    moves.check(wanted)
    await house.heads.prepare(await leases.camera_of(house.writer, actor, lease_id))
    turn = await moves.move(house.writer, house.heads.drive, actor, lease_id, wanted)
    return answer({"turn": turn}, headers=NO_STORE)


@router.delete("/ptz-leases/{lease_id}", status_code=204, responses=problems(401, 404, 409))
async def give_back(lease_id: UUID, actor: AskerAlone, house: InHouse) -> Response:
    """End your lease, or as a supervisor of the camera's owner anybody's; the camera goes home if nobody follows."""
    await leases.give_back(house.writer, actor, lease_id)
    return Response(status_code=204)
