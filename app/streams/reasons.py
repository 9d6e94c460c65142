"""Reasons to look: what an incident or an alarm has already said, also that few may know of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.actor import Actor
from app.errors import Malformed
from app.events.catalogue import ALARM
from app.models import Event

ALARM_HOURS = 24  # how long an alarm is a reason to look
_OF_INCIDENT = text(
    "SELECT max(restriction) FROM events WHERE incident_id = :incident_id AND restriction <> ''"
    " AND at > now() - interval '31 days'"
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody may look: what an incident (or who opened it) has already said, so that nobody types it again."""

    purpose: str
    basis: str
    references: Sequence[Mapping[str, str]] = ()
    urgency: int | None = None
    restriction: str = ""


Reasons = Callable[[AsyncSession, Actor, UUID], Awaitable[Reason | None]]


async def no_incidents(_session: AsyncSession, _actor: Actor, _incident_id: UUID) -> Reason | None:
    """The reasons of a center that keeps no incidents: none."""
    return None


async def restriction_of(session: AsyncSession, actor: Actor, event_id: UUID | None, incident_id: UUID | None) -> str:
    """The restriction of the alarm or the incident that is looked at; Malformed for what is no alarm of one's own."""
    said = await _alarm(session, actor, event_id) if event_id is not None else ""
    if not said and incident_id is not None:
        said = await session.scalar(_OF_INCIDENT, {"incident_id": incident_id}) or ""
    return said


async def _alarm(session: AsyncSession, actor: Actor, event_id: UUID) -> str:
    """The restriction of an alarm of one's own; Malformed for what is none: a view of it is never pre-empted."""
    rung: str | None = await session.scalar(
        select(Event.restriction).where(
            Event.id == event_id,
            Event.owner_agency_id.in_(actor.acts_for_ids),
            Event.severity >= ALARM,
            Event.at > func.now() - text(f"interval '{ALARM_HOURS} hours'"),
        )
    )
    if rung is None:
        raise Malformed(
            f"event_id: no alarm of your agency in the last {ALARM_HOURS} hours; leave it out, or name one",
            field="event_id",
        )
    return rung
