"""A report: what somebody says has happened, before it is written down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app import clock
from app.errors import Malformed
from app.events import contents
from app.events.catalogue import KINDS, SEVERITIES

FUTURE, PAST = timedelta(minutes=5), timedelta(days=30)
MOST_NAME, MOST_WORDS = 200, 500
OWNERS_ONLY = "owner"  # the restriction of what the house tells to the people of the event's owner alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What somebody says has happened. `source` and `source_key` together name the report: a retry finds the first.

    `area_ids` are those of a place without a subject; whoever calls has looked them up. A subject has its own.
    `owner_agency_id` is for the house alone: whose an event is that it tells of no thing.
    """

    kind: str
    source: str
    source_key: str
    occurred_at: datetime | None = None
    severity: str | None = None
    subject_kind: str = ""
    subject_id: UUID | None = None
    latitude: float | None = None
    longitude: float | None = None
    area_ids: Sequence[UUID] = ()
    owner_agency_id: UUID | None = None
    incident_id: UUID | None = None
    exercise: bool = False
    restriction: str = ""
    media_ref: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def check(report: Report) -> str:
    """The report's data as JSON text; refuses what the catalogue does not know or what cannot stand, by its field."""
    kind = KINDS.get(report.kind)
    if kind is None:
        raise Malformed(
            f"type: {report.kind!r} is not in the catalogue of events", field="type", expected=sorted(KINDS)
        )
    if report.severity is not None and report.severity not in SEVERITIES:
        raise Malformed(f"severity is one of {', '.join(SEVERITIES)}", field="severity", expected=list(SEVERITIES))
    for name, value in (("source", report.source), ("id", report.source_key)):
        if not value or len(value) > MOST_NAME or not value.isprintable():
            raise Malformed(f"{name} has 1 to {MOST_NAME} printable characters", field=name)
        contents.check_text(value, name)
    for name, value in (("restriction", report.restriction), ("mediaref", report.media_ref)):
        if value:
            if len(value) > MOST_WORDS or not value.isprintable():
                raise Malformed(f"{name} has at most {MOST_WORDS} printable characters", field=name)
            contents.check_text(value, name)
    if report.occurred_at is not None:
        _check_time(report.occurred_at)
    if report.subject_id is not None and report.subject_kind not in kind.subjects:
        allowed = [f"{one}/<id>" for one in kind.subjects if one]
        words = f"is {' or '.join(allowed)}" if allowed else "is left out"
        raise Malformed(f"subject of {kind.name} {words}", field="subject", expected=allowed)
    written = contents.check(report.data)
    kind.check(report.data)
    return written


def _check_time(moment: datetime) -> None:
    now = clock.now()
    if moment > now + FUTURE:
        raise Malformed("time lies in the future; set the source's clock", field="time")
    if moment < now - PAST:
        raise Malformed(
            f"time lies more than {PAST.days} days back; set the source's clock, or leave time out", field="time"
        )
