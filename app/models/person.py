"""People: persons, how they prove who they are, what they are appointed to, where and when they work."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table


class User(Identified, Table):
    """A person (or a system of an agency); accounts are personal."""

    __tablename__ = "users"

    login: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="person")  # person | system
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str] = mapped_column(server_default="")


class Credential(Identified, Table):
    """One way of proving to be a user; secrets only as hashes."""

    __tablename__ = "credentials"
    __table_args__ = (UniqueConstraint("user_id", "kind", "label"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]  # password | totp | webauthn | oidc | certificate
    label: Mapped[str] = mapped_column(server_default="")
    secret_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]


class Appointment(Identified, Table):
    """A person's office: agency, role and rank, from–to. Rights come from here and end with it."""

    __tablename__ = "appointments"
    __table_args__ = (CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="validity"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"), index=True)
    unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    role: Mapped[str]
    rank: Mapped[str] = mapped_column(server_default="")
    relation: Mapped[str] = mapped_column(server_default="staff")  # staff | processor (수탁자) | seconded (파견)
    valid_from: Mapped[datetime] = mapped_column(server_default=func.now())
    valid_to: Mapped[datetime | None]


class Terminal(Identified, Table):
    """An enrolled console or tablet, with its device key, network zone and vehicle."""

    __tablename__ = "terminals"
    __table_args__ = (UniqueConstraint("agency_id", "name"),)

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    name: Mapped[str]
    kind: Mapped[str]  # console | tablet | system
    zone: Mapped[str] = mapped_column(server_default="default")
    device_key_digest: Mapped[bytes | None] = mapped_column(unique=True)
    unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    enrolled_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]


class Duty(Identified, Table):
    """A person's shift at a console (근무). The next person takes the duty over without blackout."""

    __tablename__ = "duties"
    __table_args__ = (
        Index("ix_duties_open", "appointment_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_duties_appointment_began", "appointment_id", "began_at"),
    )  # fmt: skip

    appointment_id: Mapped[UUID] = mapped_column(ForeignKey("appointments.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    terminal_id: Mapped[UUID | None] = mapped_column(ForeignKey("terminals.id"))
    planned: Mapped[dict[str, Any] | None]  # the roster's entry, where there is one: {"from", "to"}, RFC 3339
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ends_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    taken_over_from: Mapped[UUID | None] = mapped_column(ForeignKey("duties.id"))


class Session(Identified, Table):
    """A sign-in. The bearer token exists only at the client; here stands its SHA-256."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_open", "user_id", postgresql_where=text("ended_at IS NULL")),
    )  # fmt: skip

    token_digest: Mapped[bytes] = mapped_column(unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    appointment_id: Mapped[UUID] = mapped_column(ForeignKey("appointments.id"))
    terminal_id: Mapped[UUID | None] = mapped_column(ForeignKey("terminals.id"))
    duty_id: Mapped[UUID | None] = mapped_column(ForeignKey("duties.id"))
    address: Mapped[str] = mapped_column(server_default="")
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_cause: Mapped[str] = mapped_column(server_default="")


class Ticket(Table):
    """A single-use stand-in for a session, for browsers that cannot set headers on a WebSocket."""

    __tablename__ = "tickets"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id"))
    expires_at: Mapped[datetime]


class LoginPace(Table):
    """How soon the next failed login of a key (account and address) is tolerated: a leaky bucket's state."""

    __tablename__ = "login_paces"

    key: Mapped[bytes] = mapped_column(primary_key=True)
    free_at: Mapped[datetime]


class KnownAddress(Table):
    """From where an account has signed in before: such places are not slowed by an attacker elsewhere."""

    __tablename__ = "known_addresses"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
