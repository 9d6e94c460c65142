"""Events (관제 이벤트), what people made of them, and who may report which."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.ids import new_id
from app.models.base import Identified, Table


class Event(Table):
    """Something that happened. Never an image, plate text or biometric template: `media_ref` opens only by a grant."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_regards_id", "regards_id", postgresql_where=text("regards_id IS NOT NULL")),
        # Whether an incident is restricted is asked with each grant for one; few events are.
        Index(
            "ix_events_restricted_incident",
            "incident_id",
            postgresql_where=text("incident_id IS NOT NULL AND restriction <> ''"),
        ),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())  # received, database time
    occurred_at: Mapped[datetime]
    kind: Mapped[str]
    source: Mapped[str]
    severity: Mapped[int] = mapped_column(SmallInteger)
    gravity: Mapped[int | None] = mapped_column(SmallInteger)  # of what lasts, since it began; none: as the severity
    subject_kind: Mapped[str] = mapped_column(server_default="")
    subject_id: Mapped[UUID | None]
    camera_id: Mapped[UUID | None]
    incident_id: Mapped[UUID | None]
    owner_agency_id: Mapped[UUID]
    area_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    installation_purposes: Mapped[list[str]] = mapped_column(server_default="{}")
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    exercise: Mapped[bool] = mapped_column(server_default=text("false"))
    restriction: Mapped[str] = mapped_column(server_default="")
    media_ref: Mapped[str] = mapped_column(server_default="")
    regards_id: Mapped[UUID | None]  # the event that this one says something about: what became of an alarm
    regards_kind: Mapped[str] = mapped_column(server_default="")
    data: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class EventKey(Table):
    """unique(source, source_key): a retried delivery finds what it made the first time."""

    __tablename__ = "event_keys"

    source: Mapped[str] = mapped_column(primary_key=True)
    source_key: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class EventVerdict(Table):
    """What a named person made of an event: real, false, duplicate, escalated; or an acknowledgement for a room."""

    __tablename__ = "event_verdicts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    event_id: Mapped[UUID] = mapped_column(index=True)
    event_at: Mapped[datetime]
    kind: Mapped[str]  # acknowledged | real | false | duplicate | escalated
    room_agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    restriction: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Alarm(Table):
    """An event that somebody must take notice of, for as long as it is open; how the log tells of it counts."""

    __tablename__ = "alarms"
    __table_args__ = (Index("ix_alarms_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),)

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    event_at: Mapped[datetime]
    kind: Mapped[str]
    owner_agency_id: Mapped[UUID] = mapped_column(index=True)
    due_at: Mapped[datetime | None]  # when it is told again, or escalated; none: acknowledged or judged
    reminders: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    escalated_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class EventSource(Identified, Table):
    """What one reporting system may report: with any of these a person or system reports nothing else."""

    __tablename__ = "event_sources"
    __table_args__ = (UniqueConstraint("agency_id", "name"),)

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str]  # the CloudEvents `source` that it speaks as
    kinds: Mapped[list[str]] = mapped_column(server_default="{}")  # empty: every kind that may come from outside
    subject_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")  # cameras and assets; empty: all of the agency
    area_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")  # empty: anywhere
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class RestrictedIncident(Table):
    """An incident of which a restricted event told, drills aside: what was done about it is for few (see `audit`)."""

    __tablename__ = "restricted_incidents"

    incident_id: Mapped[UUID] = mapped_column(primary_key=True)
    restriction: Mapped[str]


class Condition(Table):
    """What lasts until something ends it, such as a lost camera: the newest event of a family on a subject.

    There is one for each place that it was reported from: who may know of one may not know of another.
    """

    __tablename__ = "conditions"
    __table_args__ = (
        Index("ix_conditions_lasting", "event_at", postgresql_where=text("lasts")),
        Index("ix_conditions_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    family: Mapped[str] = mapped_column(primary_key=True)  # the kind that began it
    subject: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(primary_key=True, server_default="")
    event_id: Mapped[UUID]
    event_at: Mapped[datetime]
    lasts: Mapped[bool]
    gravity: Mapped[int] = mapped_column(SmallInteger, server_default="0")  # the highest severity since it began
    ended_id: Mapped[UUID | None]  # what ended it last, though it may have begun again
    ended_at: Mapped[datetime | None]
