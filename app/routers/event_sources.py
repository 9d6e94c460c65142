"""Sources of events: which reporting account speaks as which source, of what."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.audit import entries
from app.events import sources
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

router = APIRouter(prefix="/v1", tags=["events"])


class NewSource(BaseModel):
    model_config = ConfigDict(extra="forbid")

    login: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$", description="account that reports")]
    name: Annotated[
        str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$", description="`source` of its CloudEvents")
    ]
    kinds: Annotated[
        list[Annotated[str, Field(max_length=100)]],
        Field(max_length=200, description="such as bell.pressed or analytic.*; empty: every kind from outside"),
    ] = []
    subject_ids: Annotated[
        list[UUID], Field(max_length=10_000, description="cameras and assets of your institution; empty: all of them")
    ] = []
    area_ids: Annotated[list[UUID], Field(max_length=200, description="where it reports from; empty: anywhere")] = []


class Bound(BaseModel):
    id: UUID


@router.post("/event-sources", status_code=201, response_model=Bound, responses=problems(401, 403, 404, 409))
async def bind(body: NewSource, session: Transaction, actor: Asker) -> Response:
    """Bind an account of your institution to a source. From then on it reports as its bindings say, nothing else."""
    source_id, user_id = await sources.bind(
        session, actor, login=body.login, name=body.name, kinds=body.kinds, subject_ids=body.subject_ids,
        area_ids=body.area_ids,
    )  # fmt: skip
    bound = entries.entry(
        actor, "event_source.bound", owner_agency_id=actor.body_id, subject=("event_source", source_id),
        name=body.name, bound_user_id=user_id, kinds=body.kinds, subject_ids=body.subject_ids, area_ids=body.area_ids,
    )  # fmt: skip
    await entries.append(session, bound)
    return answer({"id": source_id}, status=201, headers=NO_STORE)


@router.get("/event-sources", responses=problems(401, 403))
async def list_sources(session: Transaction, actor: Asker, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The sources of your institution, ended bindings included."""
    after = read_cursor(cursor, UUID)
    rows = await sources.listed(session, actor, after=after[0] if after else None, limit=limit)
    following = write_cursor(rows[-1]["id"]) if len(rows) == limit else None
    items: list[dict[str, Any]] = [dict(row) for row in rows]
    return answer({"items": items, "next_cursor": following}, headers=NO_STORE)


@router.delete("/event-sources/{source_id}", status_code=204, responses=problems(401, 403, 404))
async def end(source_id: UUID, session: Transaction, actor: Asker) -> Response:
    """End a binding: its account no longer reports as this source. It does not become free to report anything else."""
    ended = await sources.end(session, actor, source_id)
    entry = entries.entry(
        actor, "event_source.ended", owner_agency_id=actor.body_id, subject=("event_source", source_id), **ended
    )
    await entries.append(session, entry)
    return Response(status_code=204)
