"""Orders to erase what audit entries say of persons: one officer orders, another decides."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.audit import erasures
from app.audit.erasures import Selection
from app.errors import Malformed, NotFound
from app.routers.dependencies import (
    FIRST_YEAR,
    LAST_YEAR,
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

router = APIRouter(prefix="/v1/audit/erasures", tags=["audit"])
MOST_IDS = 5000

Note = Annotated[str, Field(max_length=500, pattern=NO_NUL)]


class NewOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    basis: Annotated[str, Field(min_length=2, max_length=200, pattern=NO_NUL, description="the statute, in words")]
    document_number: Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]
    entry_ids: Annotated[list[UUID], Field(max_length=MOST_IDS)] = []
    user_id: Annotated[UUID | None, Field(description="the acts of this person")] = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    note: Note = ""


class Decision(BaseModel):
    model_config = ConfigDict(extra="forbid")

    approve: bool
    note: Note = ""


def _shape(row: RowMapping) -> dict[str, Any]:
    return {
        "id": row["id"], "state": row["state"], "ordered_at": row["asked_at"],
        "ordered_by": {"login": row["login"], "name": row["name"]}, "basis": row["basis"],
        "document_number": row["document_number"], "selection": row["selection"], "entries": row["entries"],
        "note": row["note"], "decided_at": row["decided_at"], "decided_by": row["decided_by"],
        "decision_note": row["decision_note"],
    }  # fmt: skip


async def _one(session: AsyncSession, actor: Actor, order_id: UUID) -> dict[str, Any]:
    rows = await erasures.known_to(session, actor, order_id=order_id)
    if not rows:
        raise NotFound("there is no such order at your institution")
    return _shape(rows[0])


@router.post("", status_code=201, responses=problems(401, 403, 404))
async def order(body: NewOrder, session: Transaction, actor: Asker) -> Response:
    """Order that the contents of entries be erased: those named, or of a person, or of a period.

    Nothing is erased until another officer of the institution has approved.
    """
    for name, moment in (("since", body.since), ("until", body.until)):
        if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise Malformed(f"{name} lies between the years {FIRST_YEAR} and {LAST_YEAR}", field=name)
    order_id = await erasures.order(
        session, actor, Selection(tuple(body.entry_ids), body.user_id, body.since, body.until), basis=body.basis,
        document_number=body.document_number, note=body.note,
    )  # fmt: skip
    return answer(await _one(session, actor, order_id), status=201, headers=NO_STORE)


@router.get("", responses=problems(401, 403))
async def list_orders(session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The orders of your institution, newest first, for its officers and auditors."""
    rows = await erasures.known_to(session, actor, before=read_cursor(cursor, moment_of, UUID), limit=limit)
    following = write_cursor(rows[-1]["asked_at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    return answer({"items": [_shape(row) for row in rows], "next_cursor": following}, headers=NO_STORE)


@router.post("/{order_id}/decision", responses=problems(401, 403, 404, 409))
async def decide(order_id: UUID, body: Decision, session: Transaction, actor: Asker) -> Response:
    """Approve or refuse another officer's order, once. What is approved is erased at once; proofs still hold."""
    await erasures.decide(session, actor, order_id, approve=body.approve, note=body.note)
    return answer(await _one(session, actor, order_id), headers=NO_STORE)
