"""Webhooks: events pushed to a system of an agency, in order, at least once."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table


class Webhook(Identified, Table):
    """A subscription whose events are posted to a URL. Its rights are those of the appointment that made it."""

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("ix_webhooks_next_at", "next_at", postgresql_where=text("ended_at IS NULL AND paused_because = ''")),
    )

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"), index=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    appointment_id: Mapped[UUID] = mapped_column(ForeignKey("appointments.id"))
    name: Mapped[str]
    url_sealed: Mapped[bytes]  # an address may hold a secret
    host: Mapped[str]  # what of the address is shown
    secret_sealed: Mapped[bytes]
    previous_secret_sealed: Mapped[bytes | None]
    previous_until: Mapped[datetime | None]
    key_id: Mapped[str]
    area_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    kinds: Mapped[list[str]] = mapped_column(server_default="{}")
    min_severity: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    position: Mapped[int] = mapped_column(BigInteger)  # every event up to here was delivered, passed over or given up
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")  # of the event that comes next
    first_attempt_at: Mapped[datetime | None]  # of the event that comes next
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_status: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str] = mapped_column(server_default="")
    last_delivered_at: Mapped[datetime | None]
    leased_by: Mapped[str] = mapped_column(server_default="")
    leased_until: Mapped[datetime | None]
    paused_because: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class DeadLetter(Identified, Table):
    """An event that a webhook did not take for a day; it can be sent again."""

    __tablename__ = "webhook_dead_letters"
    __table_args__ = (UniqueConstraint("webhook_id", "position"),)

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id"))
    position: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[UUID]
    attempts: Mapped[int] = mapped_column(Integer)
    last_status: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str] = mapped_column(server_default="")
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    delivered_at: Mapped[datetime | None]
