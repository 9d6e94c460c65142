"""Writing an event down, once, in the transaction of what caused it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ledger
from app.actor import Actor
from app.errors import Malformed, NotFound
from app.events.catalogue import KINDS, SEVERITIES
from app.ids import new_id
from app.models import Asset, CameraPosition, Event, EventKey

MOST_DATA_BYTES = 16_384
MOST_DEPTH = 8
MOST_TEXT = 4_000
FUTURE = timedelta(minutes=5)
# An event points at footage by `media_ref`; what could identify a person without a grant does not belong in it.
FORBIDDEN_FIELDS = ("image", "jpeg", "snapshot", "frame", "plate", "face", "template", "embedding", "biometric")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What somebody says has happened. `source` and `source_key` together name the report: a retry finds the first."""

    kind: str
    source: str
    source_key: str
    occurred_at: datetime | None = None
    severity: str | None = None
    subject_kind: str = ""
    subject_id: UUID | None = None
    latitude: float | None = None
    longitude: float | None = None
    incident_id: UUID | None = None
    exercise: bool = False
    restriction: str = ""
    media_ref: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The event's id; `new` is false when the same report had come before."""

    id: UUID
    new: bool


@dataclass(frozen=True, slots=True)
class _Subject:
    owner_agency_id: UUID
    area_ids: list[UUID]
    installation_purposes: list[str]
    camera_id: UUID | None
    latitude: float | None
    longitude: float | None


def _check_text(text: str, path: str) -> None:
    if len(text) > MOST_TEXT or "\0" in text:
        raise Malformed(f"{path}: texts have at most {MOST_TEXT} characters and no NUL", field=path)


def _check_data(data: Any, path: str = "data", depth: int = 1) -> None:
    if depth > MOST_DEPTH:
        raise Malformed(f"data: at most {MOST_DEPTH} levels, one inside the other", field="data")
    if isinstance(data, Mapping):
        for key, value in data.items():
            _check_text(str(key), path)
            name = str(key).lower()
            if any(word in name.split("_") or name == word for word in FORBIDDEN_FIELDS):
                raise Malformed(
                    f"{path}.{key}: an event carries no image, plate or biometric data; send media_ref", field=path
                )
            _check_data(value, f"{path}.{key}", depth + 1)
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            _check_data(value, f"{path}[{number}]", depth + 1)
    elif isinstance(data, str):
        _check_text(data, path)


def check(report: Report) -> None:
    """Refuse a report that the catalogue does not know or whose fields cannot stand; names the field."""
    if report.kind not in KINDS:
        raise Malformed(
            f"type: {report.kind!r} is not in the catalogue of events", field="type", expected=sorted(KINDS)
        )
    if report.severity is not None and report.severity not in SEVERITIES:
        raise Malformed(f"severity is one of {', '.join(SEVERITIES)}", field="severity", expected=list(SEVERITIES))
    for name, value in (("source", report.source), ("id", report.source_key)):
        if not value or len(value) > 200 or not value.isprintable():  # noqa: PLR2004 - said in the text
            raise Malformed(f"{name} has 1 to 200 printable characters", field=name)
    for name, value in (("restriction", report.restriction), ("mediaref", report.media_ref)):
        if len(value) > 500 or not (value.isprintable()):  # noqa: PLR2004 - said in the text
            raise Malformed(f"{name} has at most 500 printable characters", field=name)
    if report.occurred_at is not None and report.occurred_at > clock.now() + FUTURE:
        raise Malformed("time lies in the future; set the source's clock", field="time")
    _check_data(report.data)
    if len(orjson.dumps(report.data)) > MOST_DATA_BYTES:
        raise Malformed(f"data has at most {MOST_DATA_BYTES} bytes", field="data")


async def record(session: AsyncSession, actor: Actor | None, report: Report) -> Recorded:
    """Store an event of the actor's own agency and append it to the ledger, in the caller's transaction.

    The subject (a camera or an asset) must belong to the actor's agency; without one the event is the agency's own.
    Without an actor the house itself reports, always of a subject: the event is its owner's.
    """
    check(report)
    subject = await _subject(session, actor, report)
    event_id = new_id()
    # Keys are the reporting institution's own: nobody can use up another's.
    source = f"{actor.body_id if actor else 'house'}/{report.source}"
    first = await session.scalar(
        upsert(EventKey)
        .values(source=source, source_key=report.source_key, event_id=event_id)
        .on_conflict_do_nothing()
        .returning(EventKey.event_id)
    )
    if first is None:
        known = await session.scalar(
            select(EventKey.event_id).where(EventKey.source == source, EventKey.source_key == report.source_key)
        )
        assert known is not None
        return Recorded(known, new=False)
    severity = SEVERITIES.index(report.severity) if report.severity else KINDS[report.kind].severity
    await session.execute(
        insert(Event).values(
            id=event_id,
            occurred_at=report.occurred_at or func.now(),
            kind=report.kind,
            source=report.source,
            severity=severity,
            subject_kind=report.subject_kind,
            subject_id=report.subject_id,
            camera_id=subject.camera_id,
            incident_id=report.incident_id,
            owner_agency_id=subject.owner_agency_id,
            area_ids=subject.area_ids,
            installation_purposes=subject.installation_purposes,
            latitude=subject.latitude,
            longitude=subject.longitude,
            exercise=report.exercise,
            restriction=report.restriction,
            media_ref=report.media_ref,
            data=dict(report.data),
        )
    )
    await ledger.append(session, ledger.EVENTS, event_id, urgency=severity)
    return Recorded(event_id, new=True)


async def _subject(session: AsyncSession, actor: Actor | None, report: Report) -> _Subject:
    if report.subject_id is None:
        if actor is None:
            raise Malformed("subject: what the house reports is about a thing", field="subject")
        return _Subject(actor.body_id, [], [], None, report.latitude, report.longitude)
    found: CameraPosition | Asset | None
    if report.subject_kind == "cameras":
        found = await session.get(CameraPosition, report.subject_id)
    elif report.subject_kind == "assets":
        found = await session.get(Asset, report.subject_id)
    else:
        raise Malformed("subject is cameras/<id> or assets/<id>", field="subject")
    if found is None or (actor is not None and found.owner_agency_id not in actor.acts_for_ids):
        raise NotFound("subject: there is no such thing of your agency", field="subject")
    return _Subject(
        found.owner_agency_id,
        found.area_ids,
        found.installation_purposes if isinstance(found, CameraPosition) else [],
        found.id if isinstance(found, CameraPosition) else next(iter(found.camera_ids), None),
        found.latitude,
        found.longitude,
    )
