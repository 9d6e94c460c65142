"""Approvals: ask the owner to let one view, and decide about such requests."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import approvals
from app.actor import Actor
from app.routers.dependencies import (
    NO_NUL,
    NO_STORE,
    Asker,
    Cursor,
    Limit,
    Transaction,
    answer,
    moment_of,
    problems,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1", tags=["approvals"])

Seconds = Annotated[int, Field(ge=approvals.LEAST_SECONDS, le=approvals.MOST_SECONDS)]
Note = Annotated[str, Field(max_length=500, pattern=NO_NUL)]
State = Literal["waiting", "lapsed", "approved", "over", "refused", "withdrawn"]


class Reference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(min_length=1, max_length=40, pattern=NO_NUL, description="112, 119, letter, statute, …")]
    number: Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]


class NewRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    camera_ids: Annotated[list[UUID], Field(min_length=1, max_length=approvals.MOST_CAMERAS)]
    purpose: Annotated[str, Field(max_length=40)]
    basis: Annotated[str, Field(max_length=40)]
    references: Annotated[list[Reference], Field(max_length=10)] = []
    seconds: Annotated[Seconds, Field(description="until when you want to view, from now")] = 3600
    note: Note = ""


class Decision(BaseModel):
    model_config = ConfigDict(extra="forbid")

    approve: bool
    note: Note = ""
    seconds: Annotated[Seconds | None, Field(description="from now; shortens what was asked for")] = None


def _shape(row: RowMapping) -> dict[str, Any]:
    return {
        "id": row["id"], "state": row["state"], "asked_at": row["asked_at"], "asked_to": row["asked_to"],
        "asked_by": {"login": row["login"], "name": row["name"]},
        "agency": {"id": row["agency_id"], "name": row["agency"]},
        "owner": {"id": row["owner_agency_id"], "name": row["owner"]},
        "agreement_id": row["agreement_id"], "camera_ids": row["camera_ids"], "purpose": row["use_purpose"],
        "basis": row["basis"], "references": row["refs"], "note": row["note"], "decided_at": row["decided_at"],
        "decided_by": row["decided_by"], "decision_note": row["decision_note"], "valid_to": row["valid_to"],
    }  # fmt: skip


async def _one(session: AsyncSession, actor: Actor, approval_id: UUID) -> dict[str, Any]:
    (row,) = await approvals.known_to(session, actor, approval_id=approval_id)
    return _shape(row)


@router.post("/approvals", status_code=201, responses=problems(401, 403, 404, 409, 429))
async def ask(body: NewRequest, session: Transaction, actor: Asker) -> Response:
    """Ask the owner for its approval, where the agreement says that it approves each viewing.

    Once it is approved, POST /v1/grants with the same purpose and basis gives the streams.
    """
    approval_id = await approvals.ask(
        session, actor, body.camera_ids, purpose=body.purpose, basis=body.basis,
        references=[reference.model_dump() for reference in body.references], seconds=body.seconds, note=body.note,
    )  # fmt: skip
    return answer(await _one(session, actor, approval_id), status=201, headers=NO_STORE)


@router.get("/approvals", responses=problems(401))
async def list_approvals(
    session: Transaction,
    actor: Asker,
    state: Annotated[State | None, Query(description="only those in this state")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Requests, newest first: your own, your people's if you supervise, and those to your agency if you decide."""
    before = read_cursor(cursor, moment_of, UUID)
    rows = await approvals.known_to(session, actor, state=state, before=before, limit=limit)
    following = write_cursor(rows[-1]["asked_at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    return answer({"items": [_shape(row) for row in rows], "next_cursor": following}, headers=NO_STORE)


@router.post("/approvals/{approval_id}/decision", responses=problems(401, 403, 404, 409))
async def decide(approval_id: UUID, body: Decision, session: Transaction, actor: Asker) -> Response:
    """Approve or refuse a request, once, as an officer of the owning agency; never one of your own agency."""
    await approvals.decide(session, actor, approval_id, approve=body.approve, note=body.note, seconds=body.seconds)
    return answer(await _one(session, actor, approval_id), headers=NO_STORE)


@router.delete("/approvals/{approval_id}", status_code=204, responses=problems(401, 403, 404))
async def end(approval_id: UUID, session: Transaction, actor: Asker) -> Response:
    """Withdraw your own request, or end one as its owner, also after the approval: grants that stand on it end."""
    await approvals.end(session, actor, approval_id)
    return Response(status_code=204)
