"""Terminals: consoles, tablets and systems of one's institution, each with a device key."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.access import terminals
from app.models import Terminal
from app.routers.dependencies import (
    NO_STORE,
    Asker,
    Cursor,
    Limit,
    Transaction,
    answer,
    problems,
    read_cursor,
    write_cursor,
)

router = APIRouter(prefix="/v1", tags=["terminals"])


class NewTerminal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="such as 관제석 3")]
    kind: Annotated[str, Field(max_length=20, description="console, tablet or system")]
    zone: Annotated[str, Field(pattern=terminals.ZONE, description="network zone from which it watches")] = "default"
    agency_id: Annotated[UUID | None, Field(description="agency or unit it belongs to; left out, your own")] = None


class Enrolled(BaseModel):
    id: UUID
    device_key: str


def _shape(terminal: Terminal) -> dict[str, Any]:
    names = ("id", "agency_id", "name", "kind", "zone", "enrolled_at", "retired_at")
    return {name: getattr(terminal, name) for name in names}


@router.post("/terminals", status_code=201, response_model=Enrolled, responses=problems(401, 403, 404, 409))
async def enrol(body: NewTerminal, session: Transaction, actor: Asker) -> Response:
    """Enrol a terminal. Its device key is shown this once; it goes into `terminal_key` when signing in there."""
    made = await terminals.enrol(
        session, actor, name=body.name, kind=body.kind, zone=body.zone, agency_id=body.agency_id
    )  # fmt: skip
    return answer({"id": made.terminal_id, "device_key": made.device_key}, status=201, headers=NO_STORE)


@router.get("/terminals", responses=problems(401, 403))
async def list_terminals(session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The terminals of your institution, retired ones included."""
    after = read_cursor(cursor, UUID)
    rows = await terminals.listed(session, actor, after=after[0] if after else None, limit=limit)
    following = write_cursor(rows[-1].id) if len(rows) == limit else None
    return answer({"items": [_shape(row) for row in rows], "next_cursor": following}, headers=NO_STORE)


@router.delete("/terminals/{terminal_id}", status_code=204, responses=problems(401, 403, 404))
async def retire(terminal_id: UUID, session: Transaction, actor: Asker) -> Response:
    """Retire a terminal, such as a lost tablet: its key opens nothing, its sessions end and their views are cut."""
    await terminals.retire(session, actor, terminal_id)
    return Response(status_code=204)
