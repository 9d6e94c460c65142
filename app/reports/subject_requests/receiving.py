"""Writing a request down, with its deadline. Who asks is sealed in a row of its own, and in no log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.actor import Actor
from app.audit import entries
from app.errors import Malformed, NotFound, NotPermitted
from app.ids import new_id
from app.keys import Keys
from app.models import Agency, CameraPosition, SubjectRequest, SubjectRequestPerson
from app.reports.calendar import KOREA, end_of_day_after
from app.reports.subject_requests.codes import CHANNELS, KINDS, RELATIONS

SEAL = "subject-request"
MOST_CAMERAS = 64
MOST_NAME, MOST_CONTACT, MOST_PLACE = 100, 200, 300
OLDEST = timedelta(days=90)  # that one may still be written down
LONGEST = timedelta(days=31)  # of the footage that is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, how it came, and who asks: a name and where to answer, nothing else."""

    kind: str
    channel: str
    relation: str
    name: str
    contact: str
    period_from: datetime
    period_to: datetime
    camera_ids: Sequence[UUID] = ()
    place: str = ""
    received_at: datetime | None = None
    others_shown: bool = True


def may_handle(actor: Actor) -> bool:
    """Whether the actor deals with the requests to the own institution: its leads and its administrator."""
    return actor.may("supervise") or actor.may("administer")


def check_handles(actor: Actor) -> None:
    """Refuse who does not deal with requests."""
    if not may_handle(actor):
        raise NotPermitted(
            f"the role {actor.role} handles no requests of data subjects; it takes who supervises or administers"
        )


def check_text(words: str, field: str, most: int, *, least: int = 1) -> str:
    """The text without its margins; Malformed when it is too short or too long."""
    words = words.strip()
    if not least <= len(words) <= most or "\0" in words:
        raise Malformed(f"{field}: {least} to {most} characters", field=field)
    return words


async def receive(session: AsyncSession, actor: Actor, keys: Keys, asked: Asked, *, days: int) -> UUID:
    """Write a request to the actor's institution down; it is due at the end of the `days`-th day after it came.

    Raises Malformed, NotPermitted, and NotFound for a camera that is not the institution's.
    """
    check_handles(actor)
    received_at = _check(asked)
    person = {
        "name": check_text(asked.name, "name", MOST_NAME),
        "contact": check_text(asked.contact, "contact", MOST_CONTACT),
    }
    own = select(CameraPosition.id).where(
        CameraPosition.id.in_(asked.camera_ids),
        CameraPosition.owner_agency_id.in_(select(Agency.id).where(Agency.body_id == actor.body_id)),
    )
    if len((await session.scalars(own)).all()) != len(asked.camera_ids):
        raise NotFound("camera_ids: cameras of your institution only", field="camera_ids")
    year = received_at.astimezone(KOREA).year
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 8))")
    await session.execute(lock, {"name": f"subject request/{actor.body_id}/{year}"})
    last = await session.scalar(
        select(func.max(SubjectRequest.number)).where(
            SubjectRequest.agency_id == actor.body_id, SubjectRequest.year == year
        )
    )
    request_id, number = new_id(), (last or 0) + 1
    await session.execute(
        insert(SubjectRequest).values(
            id=request_id, agency_id=actor.body_id, year=year, number=number, kind=asked.kind, channel=asked.channel,
            relation=asked.relation, received_at=received_at, recorded_by=actor.user_id,
            camera_ids=list(asked.camera_ids), place=asked.place.strip(), period_from=asked.period_from,
            period_to=asked.period_to, others_shown=asked.others_shown, due_at=end_of_day_after(received_at, days),
        )
    )  # fmt: skip
    sealed = keys.seal(SEAL, orjson.dumps(person), request_id.bytes)
    await session.execute(
        insert(SubjectRequestPerson).values(request_id=request_id, sealed=sealed, key_id=keys.key_id)
    )  # fmt: skip
    await note(
        session, actor, "request.received", actor.body_id, request_id, number=f"{year}-{number:04}", kind=asked.kind,
        channel=asked.channel, relation=asked.relation, cameras=len(asked.camera_ids),
    )  # fmt: skip
    return request_id


def _check(asked: Asked) -> datetime:
    for name, value, known in (
        ("kind", asked.kind, KINDS), ("channel", asked.channel, CHANNELS), ("relation", asked.relation, RELATIONS),
    ):  # fmt: skip
        if value not in known:
            raise Malformed(f"{name} is one of {', '.join(known)}", field=name, expected=list(known))
    now = clock.now()
    received_at = asked.received_at or now
    if not now - OLDEST <= received_at <= now + timedelta(minutes=5):
        raise Malformed(f"received_at lies within the last {OLDEST.days} days", field="received_at")
    if not asked.period_from < asked.period_to <= asked.period_from + LONGEST:
        raise Malformed(f"period_to lies after period_from, by at most {LONGEST.days} days", field="period_to")
    if len(asked.camera_ids) > MOST_CAMERAS or len(set(asked.camera_ids)) != len(asked.camera_ids):
        raise Malformed(f"camera_ids: at most {MOST_CAMERAS} different cameras", field="camera_ids")
    place = check_text(asked.place, "place", MOST_PLACE, least=0)
    if not asked.camera_ids and not place:
        raise Malformed("place: say where, or name the cameras", field="place")
    return received_at


async def note(
    session: AsyncSession, actor: Actor | None, act: str, agency_id: UUID, request_id: UUID, **details: Any
) -> None:
    """An entry about a request. It says what was done and never who asked: free words stay out of the log."""
    item = entries.entry(actor, act, owner_agency_id=agency_id, subject=("request", request_id), **details)
    await entries.append(session, entries.of_body(item, agency_id))
