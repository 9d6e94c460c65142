"""Cameras as devices: where they are spoken with, who turns them, which of them cannot be reached."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.ids import new_id
from app.models.base import Identified, Table


class CameraControl(Table):
    """Where a camera's ONVIF service is, sealed with its credentials, and what was learnt of it."""

    __tablename__ = "camera_controls"
    __table_args__ = (Index("ix_camera_controls_listens", "camera_id", postgresql_where=text("listens")),)

    camera_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"), primary_key=True)
    address_sealed: Mapped[bytes]
    key_id: Mapped[str]
    services: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # paths by name
    profile: Mapped[str] = mapped_column(server_default="")  # the token whose head is turned
    home_preset: Mapped[str] = mapped_column(server_default="")  # empty: it stays where it was left
    listens: Mapped[bool] = mapped_column(server_default=text("false"))  # whether its own events are taken
    bell_id: Mapped[UUID | None] = mapped_column(ForeignKey("assets.id"))  # what hangs on its digital input
    leased_by: Mapped[str] = mapped_column(server_default="")  # the process that listens
    leased_until: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PtzHead(Table):
    """A head that can be turned: whose turn it is, and until when a command may still be on its way."""

    __tablename__ = "ptz_heads"
    __table_args__ = (
        Index("ix_ptz_heads_moving_until", "moving_until", postgresql_where=text("moving_until IS NOT NULL")),
        Index("ix_ptz_heads_home_after", "home_after", postgresql_where=text("home_after IS NOT NULL")),
    )

    camera_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"), primary_key=True)
    turn: Mapped[int] = mapped_column(BigInteger, server_default="0")
    busy_until: Mapped[datetime | None]
    lease_id: Mapped[UUID | None]  # who moved it last
    moving_until: Mapped[datetime | None]  # a continuous move that has to be stopped by then
    home_after: Mapped[datetime | None]  # it is away from home: when it may be brought back, if nobody drives


class PtzLease(Table):
    """A driver's time at a head. It cannot be stored without its audit entry."""

    __tablename__ = "ptz_leases"
    __table_args__ = (
        Index("ix_ptz_leases_open", "camera_id", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("ix_ptz_leases_camera_id_opened_at", "camera_id", "opened_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    camera_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"))
    owner_agency_id: Mapped[UUID]
    grant_id: Mapped[UUID]
    grant_at: Mapped[datetime]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id"))
    own: Mapped[bool]  # whether the driver is of the owning agency
    purpose: Mapped[str]
    urgency: Mapped[int] = mapped_column(SmallInteger)
    opened_entry_id: Mapped[UUID]
    closed_entry_id: Mapped[UUID | None]
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    moves: Mapped[int] = mapped_column(server_default="0")
    presets: Mapped[list[str]] = mapped_column(server_default="{}")
    extent: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # least and most of what was asked for
    closed_at: Mapped[datetime | None]
    cause: Mapped[str] = mapped_column(server_default="")
    preempted_by: Mapped[UUID | None]


class CameraReach(Table):
    """Whether a camera can be reached, written down only when that changes."""

    __tablename__ = "camera_reaches"
    __table_args__ = (Index("ix_camera_reaches_untold", "since", postgresql_where=text("lost <> told_lost")),)

    camera_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"), primary_key=True)
    owner_agency_id: Mapped[UUID]
    lost: Mapped[bool]
    told_lost: Mapped[bool] = mapped_column(server_default=text("false"))
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    network: Mapped[str] = mapped_column(server_default="")  # the address last tried
    made_faulty: Mapped[bool] = mapped_column(server_default=text("false"))
    loss_id: Mapped[UUID | None]


class ReachShard(Table):
    """A part of all cameras, and the process that looks after it."""

    __tablename__ = "reach_shards"

    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    leased_by: Mapped[str] = mapped_column(server_default="")
    leased_until: Mapped[datetime | None]


class Loss(Identified, Table):
    """Cameras of one owner that were lost together, told as one event."""

    __tablename__ = "losses"
    __table_args__ = (Index("ix_losses_owner_agency_id_told_at", "owner_agency_id", "told_at"),)

    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    event_id: Mapped[UUID]
    network: Mapped[str] = mapped_column(server_default="")
    told_at: Mapped[datetime] = mapped_column(server_default=func.now())
    back_at: Mapped[datetime | None]  # when it was told that they are back


class LossMember(Table):
    """A camera that was lost with others, and when it was back."""

    __tablename__ = "loss_members"
    __table_args__ = (Index("ix_loss_members_camera_id", "camera_id"),)

    loss_id: Mapped[UUID] = mapped_column(ForeignKey("losses.id"), primary_key=True)
    camera_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"), primary_key=True)
    lost_at: Mapped[datetime]
    restored_at: Mapped[datetime | None]
