"""Alarms: acknowledged by a named person for a room, judged, told again and escalated while nobody takes notice.

What becomes of an alarm is itself an event about it, with the rights of the alarm: it reaches whoever saw the alarm.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ledger
from app.announcements import Announcements
from app.database import LOST, Database
from app.errors import Malformed, NotFound, NotPermitted
from app.events import record
from app.events.catalogue import KINDS
from app.feed.members import Viewer
from app.models import Alarm, Event, EventVerdict

log = logging.getLogger("gwanje.alarms")

_ANY_DUE = "SELECT EXISTS (SELECT FROM alarms WHERE due_at <= now())"
AT_ONCE = 100
MOST_NOTE = 1000
REMINDERS = 2  # before an alarm is escalated
VERDICTS = ("real", "false", "duplicate", "escalated")
CLOSING = ("real", "false", "duplicate")

# Whom an alarm that nobody acknowledged is escalated to, as the `target` of the event that says so.
Escalation = Callable[[AsyncSession, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


async def to_the_owner(_: AsyncSession, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The owner's shift leads, until a room on a higher floor knows better."""
    return {"agency_id": str(event["owner_agency_id"]), "role": "shift_lead"}


async def seen(session: AsyncSession, viewer: Viewer, event_id: UUID) -> Mapping[str, Any]:
    """The event, if the viewer may see it; else there is none."""
    found = (await session.execute(select(Event.__table__).where(Event.id == event_id))).mappings().first()
    row = _plain(found) if found else None
    if row is None or not viewer.may_see(row, clock.now()):
        raise NotFound("event_id: there is no such event for you", field="event_id")
    return row


async def acknowledge(session: AsyncSession, viewer: Viewer, event_id: UUID, room: UUID | None) -> None:
    """This person has taken notice of an event, for a room of its own agency. A second time changes nothing."""
    event, actor = await seen(session, viewer, event_id), viewer.actor
    room = room or actor.agency_id
    if room not in (actor.agency_id, *actor.acts_for_ids):
        raise NotPermitted("room: acknowledge for a room of your own agency", field="room")
    await _lock(session, event_id)
    known = await session.scalar(
        select(EventVerdict.id).where(
            EventVerdict.event_id == event_id,
            EventVerdict.kind == "acknowledged",
            EventVerdict.room_agency_id == room,
            EventVerdict.user_id == actor.user_id,
        )
    )
    if known is not None:
        return
    await _write(session, viewer, event, "acknowledged", room, "")
    await session.execute(
        update(Alarm)
        .where(Alarm.event_id == event_id)
        .values(acknowledged_at=func.coalesce(Alarm.acknowledged_at, func.now()), due_at=None)
    )
    await record.follow_up(session, event, "alarm.acknowledged", {"room": str(room), "by": actor.login}, actor=actor)


async def judge(
    session: AsyncSession,
    viewer: Viewer,
    event_id: UUID,
    verdict: str,
    *,
    note: str = "",
    duplicate_of: UUID | None = None,
) -> None:
    """What a person makes of an event: real, false, a duplicate of another, or for somebody above to decide."""
    event, actor = await seen(session, viewer, event_id), viewer.actor
    if verdict not in VERDICTS:
        raise Malformed(f"verdict is one of {', '.join(VERDICTS)}", field="verdict", expected=list(VERDICTS))
    if not (actor.may("view") or actor.may("supervise")):
        raise NotPermitted(f"the role {actor.role} judges no events; it takes one who sees them", missing="view")
    if len(note) > MOST_NOTE or "\0" in note:
        raise Malformed(f"note has at most {MOST_NOTE} characters and no NUL", field="note")
    if (verdict == "duplicate") != (duplicate_of is not None):
        raise Malformed("duplicate_of names the event that this one repeats", field="duplicate_of")
    if duplicate_of is not None:
        if duplicate_of == event_id:
            raise Malformed("duplicate_of: an event is no duplicate of itself", field="duplicate_of")
        await seen(session, viewer, duplicate_of)
    await _lock(session, event_id)
    await _write(session, viewer, event, verdict, actor.agency_id, note)
    said = {"verdict": verdict, "room": str(actor.agency_id), "by": actor.login, "note": note}
    if duplicate_of is not None:
        said["duplicate_of"] = str(duplicate_of)
    await record.follow_up(session, event, "alarm.judged", said, actor=actor)
    alarm = update(Alarm).where(Alarm.event_id == event_id)
    if verdict in CLOSING:
        await session.execute(alarm.values(due_at=None, closed_at=func.now()))
    else:
        waiting = alarm.where(Alarm.escalated_at.is_(None), Alarm.closed_at.is_(None))
        await session.execute(waiting.values(due_at=func.now(), reminders=REMINDERS))


async def _lock(session: AsyncSession, event_id: UUID) -> None:
    """Who says something of the same alarm comes one after the other."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(event_id), 0))))


async def _write(
    session: AsyncSession, viewer: Viewer, event: Mapping[str, Any], kind: str, room: UUID, note: str
) -> None:
    await session.execute(
        insert(EventVerdict).values(
            event_id=event["id"], event_at=event["at"], kind=kind, room_agency_id=room,
            user_id=viewer.actor.user_id, restriction=event["restriction"], note=note,
        )
    )  # fmt: skip


async def remind(session: AsyncSession, escalation: Escalation = to_the_owner) -> int:
    """Tell again of alarms whose time has come, and escalate those told often enough; returns of how many.

    Of several processes each takes some. Each alarm is told again after its kind's time, twice, then escalated once.
    """
    due = (
        (
            await session.execute(
                select(Alarm)
                .where(Alarm.due_at <= func.now())
                .order_by(Alarm.due_at)
                .limit(AT_ONCE)
                .with_for_update(skip_locked=True)
            )
        )
        .scalars()
        .all()
    )
    for alarm in due:
        table = Event.__table__
        event = _plain(
            (await session.execute(select(table).where(table.c.id == alarm.event_id, table.c.at == alarm.event_at)))
            .mappings()
            .one()
        )
        if alarm.reminders >= REMINDERS:
            target = await escalation(session, event)
            await record.follow_up(
                session, event, "alarm.escalated", {"target": dict(target), "times": alarm.reminders}
            )
            alarm.escalated_at, alarm.due_at = func.now(), None
        else:
            alarm.reminders += 1
            await record.follow_up(session, event, "alarm.repeated", {"times": alarm.reminders})
            alarm.due_at = func.now() + timedelta(seconds=KINDS[alarm.kind].acknowledge_seconds)
    return len(due)


async def standing(session: AsyncSession, viewer: Viewer, limit: int) -> Sequence[Mapping[str, Any]]:
    """The open alarms that the viewer may see, newest first, each with its clock."""
    owners = {scope.owner_agency_id for scope in viewer.scopes}
    table = Event.__table__
    rows = await session.execute(
        select(
            table, Alarm.due_at, Alarm.reminders, Alarm.escalated_at, Alarm.acknowledged_at,
        )
        .join(Alarm, (Alarm.event_id == table.c.id) & (Alarm.event_at == table.c.at))
        .where(Alarm.closed_at.is_(None), Alarm.owner_agency_id.in_(owners))
        .order_by(table.c.at.desc())
        .limit(limit)
    )  # fmt: skip
    now = clock.now()
    return [row for row in map(_plain, rows.mappings()) if viewer.may_see(row, now)]


async def history(session: AsyncSession, viewer: Viewer, event_id: UUID) -> Sequence[Mapping[str, Any]]:
    """What people made of an event that the viewer may see, in time order."""
    await seen(session, viewer, event_id)
    rows = await session.execute(
        select(EventVerdict.__table__).where(EventVerdict.event_id == event_id).order_by(EventVerdict.at)
    )
    return [_plain(row) for row in rows.mappings()]


async def keep(
    database: Database, news: Announcements, poke: Callable[[set[str]], None], escalation: Escalation = to_the_owner
) -> None:
    """Remind of alarms that have waited long enough, for as long as the process serves."""
    due = asyncio.Event()
    news.wake(_ANY_DUE, due)
    while True:
        await due.wait()
        due.clear()
        try:
            async with database.begin() as session:
                told = await remind(session, escalation)
        except LOST as error:
            log.warning("alarms wait for the database: %s", type(error).__name__)
            continue
        if told:
            poke(ledger.appended_to(session))


def _plain(row: RowMapping) -> Mapping[str, Any]:
    return {str(name): value for name, value in row.items()}
