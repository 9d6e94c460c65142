"""Grants (영상 접속 승인) are permissions, views (영상 조회) what happened; both by month, like their entries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.ids import new_id
from app.models.base import Identified, Table

GRANT_KINDS = ("duty", "incident", "approved", "emergency")


class Grant(Table):
    """Permission to see a set of cameras, or those a selector names. It cannot be stored without its audit entry.

    Each month's partition refers to the same month's entries, as that of views does: to refer to all months costs
    several times as much with each row.
    """

    __tablename__ = "grants"
    __table_args__ = (
        Index("ix_grants_duty", "duty_id", postgresql_where=text("kind = 'duty' AND revoked_at IS NULL")),
        Index("ix_grants_session", "session_id", postgresql_where=text("revoked_at IS NULL")),
        Index("ix_grants_person_at", "user_id", "at"),
        Index("ix_grants_agency_at", "agency_id", "at"),
        Index("ix_grants_owner_at", "owner_agency_id", "at"),
        Index("ix_grants_of_incident", "incident_id", postgresql_where=text("incident_id IS NOT NULL")),
        Index(
            "ix_grants_refs",
            "refs",
            postgresql_using="gin",
            postgresql_ops={"refs": "jsonb_path_ops"},
            postgresql_where=text("refs <> '[]'::jsonb"),
        ),
        Index(
            "ix_grants_incident", "incident_id", postgresql_where=text("revoked_at IS NULL AND incident_id IS NOT NULL")
        ),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    entry_id: Mapped[UUID]
    kind: Mapped[str]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    on_behalf_of: Mapped[str] = mapped_column(server_default="")
    asserted_by: Mapped[str] = mapped_column(server_default="")
    appointment_id: Mapped[UUID] = mapped_column(ForeignKey("appointments.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id"))
    terminal_id: Mapped[UUID | None] = mapped_column(ForeignKey("terminals.id"))
    duty_id: Mapped[UUID | None] = mapped_column(ForeignKey("duties.id"))
    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    agreement_id: Mapped[UUID | None] = mapped_column(ForeignKey("agreements.id"))
    camera_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    selector: Mapped[dict[str, Any] | None]  # such as {"owner_agency_id": …} of a duty grant
    use_purpose: Mapped[str] = mapped_column(server_default="")  # empty on a duty grant: each camera's own purpose
    basis: Mapped[str]
    conditions: Mapped[str] = mapped_column(server_default="")  # PIPA 18(5)
    refs: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")  # references: 112 number, letter
    incident_id: Mapped[UUID | None]
    event_id: Mapped[UUID | None]  # the alarm that it answers, where there is one
    urgency: Mapped[int] = mapped_column(SmallInteger, server_default="3")  # 0…4, as the codes of 112: 0 is the most
    approval_id: Mapped[UUID | None] = mapped_column(ForeignKey("approvals.id"))
    tour_id: Mapped[UUID | None] = mapped_column(ForeignKey("tours.id"))
    manifested: Mapped[bool] = mapped_column(server_default=text("false"))  # a wall's: showings, not views
    exercise: Mapped[bool] = mapped_column(server_default=text("false"))
    restriction: Mapped[str] = mapped_column(server_default="")
    protocols: Mapped[list[str]] = mapped_column(server_default="{}")
    quality: Mapped[str] = mapped_column(server_default="main")
    bound_address: Mapped[str] = mapped_column(server_default="")
    expires_at: Mapped[datetime]
    latest_expires_at: Mapped[datetime]  # no renewal goes beyond
    renewals: Mapped[int] = mapped_column(server_default="0")
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[UUID | None]
    revoked_cause: Mapped[str] = mapped_column(server_default="")


class View(Table):
    """One stretch of watching: opened before its first byte, closed with a cause."""

    __tablename__ = "views"
    __table_args__ = (
        ForeignKeyConstraint(["grant_id", "grant_at"], ["grants.id", "grants.at"]),
        Index("ix_views_open", "node", postgresql_where=text("closed_at IS NULL")),
        Index("ix_views_grant", "grant_id", "grant_at"),
        Index("ix_views_camera_at", "camera_id", "at"),
        Index("ix_views_user_at", "user_id", "at"),
        Index("ix_views_agency_at", "agency_id", "at"),
        Index("ix_views_owner_at", "owner_agency_id", "at"),
        # The open ones, counted at every opening against what a camera, a person, an agency and a gateway may carry.
        Index("ix_views_open_camera", "camera_id", postgresql_where=text("closed_at IS NULL")),
        Index("ix_views_open_user", "user_id", postgresql_where=text("closed_at IS NULL")),
        Index("ix_views_open_agency", "agency_id", postgresql_where=text("closed_at IS NULL")),
        Index("ix_views_open_gateway", "gateway", postgresql_where=text("closed_at IS NULL")),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    opened_entry_id: Mapped[UUID]
    closed_entry_id: Mapped[UUID | None]
    grant_id: Mapped[UUID]
    grant_at: Mapped[datetime]
    camera_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"))
    owner_agency_id: Mapped[UUID]
    user_id: Mapped[UUID]
    agency_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(server_default="live")  # live | snapshot | playback | wall
    protocol: Mapped[str]
    profile: Mapped[str] = mapped_column(server_default="main")
    gateway: Mapped[str]
    node: Mapped[str]  # process that serves it: node/boot, so that a crash's leftovers are found
    peer: Mapped[str] = mapped_column(server_default="")
    session_ref: Mapped[str] = mapped_column(server_default="")  # the gateway's own name of the player's session
    urgency: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    protected: Mapped[bool] = mapped_column(server_default=text("false"))  # never pre-empted
    preempted_by: Mapped[UUID | None]  # the view that took its place
    first_byte_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    cause: Mapped[str] = mapped_column(server_default="")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    seconds: Mapped[float] = mapped_column(server_default="0")


class Node(Table):
    """A serving process and when it was last alive; views of a dead one are closed by the others."""

    __tablename__ = "nodes"

    name: Mapped[str] = mapped_column(primary_key=True)
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class GatewayRecord(Table):
    """A media gateway as its own processes and its operator describe it: where it is, what it takes, how it is."""

    __tablename__ = "gateways"

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]  # embedded | mediamtx
    zone: Mapped[str] = mapped_column(server_default="default")
    public_urls: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # base by zone; of embedded ones
    capacity_viewers: Mapped[int]
    capacity_cameras: Mapped[int]
    draining: Mapped[bool] = mapped_column(server_default=text("false"))
    ok: Mapped[bool] = mapped_column(server_default=text("true"))
    word: Mapped[str] = mapped_column(server_default="")
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Approval(Identified, Table):
    """A request to view where the owner approves each viewing, and the named officer's decision."""

    __tablename__ = "approvals"
    __table_args__ = (
        Index("ix_approvals_asked", "agency_id", "asked_at"),
        Index("ix_approvals_pending", "owner_agency_id", "asked_at", postgresql_where=text("decided_at IS NULL")),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("agreements.id"))
    camera_ids: Mapped[list[UUID]]
    use_purpose: Mapped[str]
    basis: Mapped[str]
    refs: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")
    note: Mapped[str] = mapped_column(server_default="")
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    asked_to: Mapped[datetime]  # until when viewing is asked for
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    approved: Mapped[bool | None]
    decision_note: Mapped[str] = mapped_column(server_default="")
    valid_to: Mapped[datetime | None]  # of an approval: until when


class Tour(Identified, Table):
    """A versioned wall or tour of an owner's cameras."""

    __tablename__ = "tours"
    __table_args__ = (UniqueConstraint("agency_id", "name", "version"),)

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    name: Mapped[str]
    version: Mapped[int]
    steps: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Manifest(Identified, Table):
    """What one console showed in one hour of walls and tours; its digest is the audit leaf."""

    __tablename__ = "manifests"
    __table_args__ = (UniqueConstraint("duty_id", "hour"),)

    terminal_id: Mapped[UUID | None] = mapped_column(ForeignKey("terminals.id"))
    duty_id: Mapped[UUID] = mapped_column(ForeignKey("duties.id"))
    hour: Mapped[datetime] = mapped_column(index=True)
    intervals: Mapped[dict[str, Any]]
    digest: Mapped[bytes]
    entry_id: Mapped[UUID]  # its audit entry, which holds the digest
    sealed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ManifestCamera(Table):
    """Index of manifests by camera: "who saw this camera"."""

    __tablename__ = "manifest_cameras"
    __table_args__ = (Index("ix_manifest_cameras_camera_id_began_at", "camera_id", "began_at"),)

    manifest_id: Mapped[UUID] = mapped_column(ForeignKey("manifests.id"), primary_key=True)
    camera_id: Mapped[UUID] = mapped_column(primary_key=True)
    began_at: Mapped[datetime] = mapped_column(primary_key=True)
    ended_at: Mapped[datetime]
    seconds: Mapped[float] = mapped_column(server_default="0")  # shown within it, which may be less than the whole


class Showing(Table):
    """One stretch of one camera on a wall, until the hour's manifest is sealed and takes it in."""

    __tablename__ = "showings"
    __table_args__ = (
        Index("ix_showings_open", "node", postgresql_where=text("ended_at IS NULL")),
        Index("ix_showings_began_at", "began_at"),
        Index("ix_showings_camera_id", "camera_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    grant_id: Mapped[UUID]
    grant_at: Mapped[datetime]
    duty_id: Mapped[UUID] = mapped_column(ForeignKey("duties.id"))
    terminal_id: Mapped[UUID | None] = mapped_column(ForeignKey("terminals.id"))
    user_id: Mapped[UUID]
    agency_id: Mapped[UUID]
    owner_agency_id: Mapped[UUID]
    camera_id: Mapped[UUID]
    protocol: Mapped[str]
    profile: Mapped[str] = mapped_column(server_default="main")
    gateway: Mapped[str]
    node: Mapped[str]
    peer: Mapped[str] = mapped_column(server_default="")
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    cause: Mapped[str] = mapped_column(server_default="")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class IdempotencyKey(Table):
    """What a request with an Idempotency-Key made; ids only, so that a replay signs afresh."""

    __tablename__ = "idempotency_keys"

    principal_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_digest: Mapped[bytes]
    result: Mapped[dict[str, Any] | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
