"""What stands in the street besides cameras: bells, poles, lights, signs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.registry import assets
from app.routers.dependencies import Asker, Cursor, Limit, Transaction, problems, read_cursor, tagged, write_cursor

router = APIRouter(prefix="/v1", tags=["assets"])


@router.get("/assets", responses=problems(401) | {304: {"description": "you have it already"}})
async def list_assets(
    request: Request,
    session: Transaction,
    actor: Asker,
    kind: Annotated[
        str | None, Query(max_length=20, pattern="^[a-z_]+$", description="bell, pole, light, sign, …")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The assets you may know of, in the order of their ids."""
    after = read_cursor(cursor, UUID)
    rows = await assets.visible_to(session, actor, kind=kind, after=after[0] if after else None, limit=limit)
    following = write_cursor(rows[-1]["id"]) if len(rows) == limit else None
    return tagged(request, {"items": [dict(row) for row in rows], "next_cursor": following})
