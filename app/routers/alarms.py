"""Alarms over HTTP: which are open, who has taken notice, what people made of them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from app.access import rights
from app.errors import NotPermitted
from app.feed import alarms, messages
from app.feed.members import Viewer
from app.routers.dependencies import Asker, Transaction, answer, problems

router = APIRouter(prefix="/v1", tags=["events"])


class Acknowledgement(BaseModel):
    """For which room notice is taken; one's own agency unless said."""

    room: UUID | None = Field(None, description="an agency or unit in whose name you act")


class Verdict(BaseModel):
    """What a person makes of an event."""

    verdict: str = Field(description="real, false, duplicate or escalated", max_length=20)
    note: str = Field("", max_length=alarms.MOST_NOTE)
    duplicate_of: UUID | None = None


async def viewer_of(session: Transaction, actor: Asker) -> Viewer:
    """Who asks, with what it may locate now."""
    if not actor.may("feed"):
        raise NotPermitted(f"the role {actor.role} has no feed", missing="feed")
    return Viewer(actor, await rights.scopes(session, actor, "locate"))


InFeed = Annotated[Viewer, Depends(viewer_of)]


def _moments(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in ("due_at", "reminders", "escalated_at", "acknowledged_at")}


@router.get("/alarms", responses=problems(401, 403))
async def standing(session: Transaction, viewer: InFeed, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
    """The alarms that are open, newest first: when each is told again, whether anybody has taken notice."""
    rows = await alarms.standing(session, viewer, limit)
    items = [
        {"event": messages.cloud_event(row, viewer.sight(row["owner_agency_id"])), **_moments(row)} for row in rows
    ]
    return answer({"items": items})


@router.post("/events/{event_id}/acknowledgements", status_code=201, responses=problems(401, 403, 404))
async def acknowledge(
    session: Transaction, viewer: InFeed, event_id: UUID, asked: Acknowledgement | None = None
) -> Response:
    """Take notice of an event, by name, for a room. It is not told again; who saw it hears that you did."""
    await alarms.acknowledge(session, viewer, event_id, asked.room if asked else None)
    return answer({"event_id": event_id, "by": viewer.actor.login}, status=201)


@router.post("/events/{event_id}/verdicts", status_code=201, responses=problems(401, 403, 404))
async def judge(session: Transaction, viewer: InFeed, event_id: UUID, asked: Verdict) -> Response:
    """Say what an event was: real, false or a duplicate closes an alarm; escalated asks those above at once."""
    await alarms.judge(session, viewer, event_id, asked.verdict, note=asked.note, duplicate_of=asked.duplicate_of)
    return answer({"event_id": event_id, "verdict": asked.verdict, "by": viewer.actor.login}, status=201)


@router.get("/events/{event_id}/verdicts", responses=problems(401, 403, 404))
async def verdicts(session: Transaction, viewer: InFeed, event_id: UUID) -> Response:
    """What people made of an event, in time order, acknowledgements included."""
    rows = await alarms.history(session, viewer, event_id)
    items = [
        {"kind": row["kind"], "room": row["room_agency_id"], "by": row["user_id"], "note": row["note"], "at": row["at"]}
        for row in rows
    ]
    return answer({"items": items})
