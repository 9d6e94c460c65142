"""Reading the audit log. The reading is itself an entry."""

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from app.audit import entries
from app.errors import Malformed
from app.routers.dependencies import (
    FIRST_YEAR,
    LAST_YEAR,
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

router = APIRouter(prefix="/v1/audit", tags=["audit"])


def _shape(row: Any) -> dict[str, Any]:
    payload = row["payload"]
    return {
        "id": row["id"],
        "at": row["at"],
        "position": row["position"],
        "act": row["act"],
        "outcome": row["outcome"],
        "camera_id": row["camera_id"],
        "agency_id": row["agency_id"],
        "owner_agency_id": row["owner_agency_id"],
        "subject": f"{row['subject_kind']}/{row['subject_id']}" if row["subject_id"] else None,
        "who_and_why": orjson.loads(payload) if isinstance(payload, str | bytes) else payload,
        "digest": row["digest"].hex(),
    }


@router.get("/entries", responses=problems(401, 403))
async def list_entries(
    session: Transaction,
    actor: Asker,
    act: Annotated[
        str | None, Query(max_length=60, pattern=r"^[a-z_.]+$", description="such as grant.given or view.closed")
    ] = None,
    camera_id: UUID | None = None,
    subject_id: UUID | None = None,
    user_id: UUID | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Entries in your remit, newest first: an auditor's institution and those below; for anybody, one's own acts."""
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise Malformed(f"{name} lies between the years {FIRST_YEAR} and {LAST_YEAR}", field=name)
    before = read_cursor(cursor, moment_of, UUID)
    rows = await entries.search(
        session, actor, act=act, camera_id=camera_id, subject_id=subject_id, user_id=user_id, since=since, until=until,
        before=before, limit=limit,
    )  # fmt: skip
    following = write_cursor(rows[-1]["at"].isoformat(), rows[-1]["id"]) if len(rows) == limit else None
    return answer(
        {"items": [_shape(row) for row in rows], "next_cursor": following}, headers={"Cache-Control": "no-store"}
    )  # fmt: skip
