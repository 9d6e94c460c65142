"""Ending many grants by one decision."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.routers.dependencies import NO_NUL, Asker, Transaction, answer, problems
from app.streams import revocations

router = APIRouter(prefix="/v1", tags=["grants"])


class Revocation(BaseModel):
    """Exactly one of the four ids says what is ended."""

    model_config = ConfigDict(extra="forbid")

    camera_id: UUID | None = None
    user_id: UUID | None = None
    agency_id: UUID | None = None
    incident_id: UUID | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=NO_NUL)]


class Revoked(BaseModel):
    ended: int


@router.post("/revocations", response_model=Revoked, responses=problems(401, 403))
async def revoke(body: Revocation, session: Transaction, actor: Asker) -> Response:
    """End the grants about a camera, a person, an agency or an incident: their views are cut at once, everywhere.

    Who supervises ends any of the own institution's people, and others' on the own agency's cameras. The answer says
    how many that were.
    """
    ended = await revocations.end_where(
        session, actor, camera_id=body.camera_id, user_id=body.user_id, agency_id=body.agency_id,
        incident_id=body.incident_id, reason=body.reason,
    )  # fmt: skip
    return answer({"ended": ended})
