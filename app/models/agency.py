"""Agencies (기관), which form a tree with history, and areas (구역), which are something else."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table
from app.models.camera import Box

# A body (기관) owns cameras and makes agreements; the others are its inner parts and act for it.
AGENCY_KINDS = (
    "municipality", "city", "province", "ministry", "police", "fire", "education", "oversight", "council",
    "civil_group", "health_response", "rail", "other",
)  # fmt: skip
UNIT_KINDS = ("center", "division", "station", "box")


class Agency(Identified, Table):
    """An institution or a part of one; same names under two parents are different agencies."""

    __tablename__ = "agencies"
    __table_args__ = (UniqueConstraint("parent_id", "name", postgresql_nulls_not_distinct=True),)

    name: Mapped[str]
    name_en: Mapped[str] = mapped_column(server_default="")
    kind: Mapped[str]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"), index=True)
    body_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"), index=True)  # itself, or the body it belongs to
    # Itself and those above it in whose name it acts: a unit for its body, a police station for its police agency.
    # A district does not act for its city: municipalities govern themselves.
    acts_for_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    ancestor_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")  # all parents upwards, nearest first
    authority_code: Mapped[str | None] = mapped_column(index=True)  # 개방자치단체코드, 7 digits
    contact: Mapped[str] = mapped_column(server_default="")
    policy: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class AgencyMove(Identified, Table):
    """Where an agency stood in the tree from when to when."""

    __tablename__ = "agency_moves"

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"), index=True)
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))
    moved_at: Mapped[datetime] = mapped_column(server_default=func.now())
    until: Mapped[datetime | None]


class Area(Identified, Table):
    """A place with a boundary: administrative (with codes and validity) or any other kind (park, route, event)."""

    __tablename__ = "areas"
    __table_args__ = (
        UniqueConstraint("code_system", "code", "valid_from", postgresql_nulls_not_distinct=True),
        CheckConstraint("valid_to IS NULL OR valid_from IS NULL OR valid_to >= valid_from", name="validity"),
        Index("ix_areas_kind_name", "kind", "name"),
        Index("ix_areas_extent", "extent", postgresql_using="gist"),
    )

    code_system: Mapped[str]  # legal_dong (법정동코드), or local
    code: Mapped[str]
    kind: Mapped[str]  # sido, sigungu, neighbourhood, village, vulnerable, park, trail, event, …
    subkind: Mapped[str] = mapped_column(server_default="")  # of what type a vulnerable area is, and the like
    owner_agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))  # none: official
    name: Mapped[str]
    name_en: Mapped[str] = mapped_column(server_default="")
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("areas.id"), index=True)
    boundary: Mapped[dict[str, Any] | None]  # GeoJSON geometry, WGS84, valid; a line for a path
    reach_metres: Mapped[float | None]  # how far beside a line is still on the path
    extent: Mapped[Any | None] = mapped_column(Box())  # the box around the boundary and its reach
    area_km2: Mapped[float | None]  # geodesic
    repaired: Mapped[str] = mapped_column(server_default="")  # how an invalid polygon was mended, if it was
    valid_from: Mapped[date | None]
    valid_to: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Jurisdiction(Identified, Table):
    """That an agency (a police station, a fire station) is competent in an area, from when to when."""

    __tablename__ = "jurisdictions"
    __table_args__ = (
        Index("ix_jurisdictions_now", "area_id", "agency_id", unique=True, postgresql_where=text("until IS NULL")),
    )

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"), index=True)
    area_id: Mapped[UUID] = mapped_column(ForeignKey("areas.id"))
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    until: Mapped[datetime | None]


class AgencyGroup(Identified, Table):
    """Agencies that meet or act together, such as a council of institutions; kept by one of them."""

    __tablename__ = "agency_groups"
    __table_args__ = (UniqueConstraint("agency_id", "name"),)

    name: Mapped[str]
    name_en: Mapped[str] = mapped_column(server_default="")
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))  # who keeps it
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class AgencyGroupMember(Identified, Table):
    """That an agency belongs to a group, from when to when."""

    __tablename__ = "agency_group_members"
    __table_args__ = (
        Index(
            "ix_agency_group_members_now", "group_id", "agency_id", unique=True, postgresql_where=text("until IS NULL")
        ),
    )

    group_id: Mapped[UUID] = mapped_column(ForeignKey("agency_groups.id"))
    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    until: Mapped[datetime | None]
