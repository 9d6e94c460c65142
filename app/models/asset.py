"""What stands in the street besides cameras; the life of everything that stands there, and its outages."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Computed, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table
from app.models.camera import Point

ASSET_KINDS = ("bell", "pole", "light", "sign", "speaker", "enforcement", "mirror", "sensor")


class Asset(Identified, Table):
    """A bell, a pole, a light, a sign, a speaker, an enforcement camera, a mirror or a sensor."""

    __tablename__ = "assets"
    __table_args__ = (
        UniqueConstraint("owner_agency_id", "kind", "external_key"),
        Index("ix_assets_location", "location", postgresql_using="gist"),
        Index("ix_assets_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_assets_import_id", "import_id", postgresql_where=text("import_id IS NOT NULL")),
    )

    kind: Mapped[str]
    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    site_id: Mapped[UUID | None] = mapped_column(ForeignKey("sites.id"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("assets.id"))  # the pole that carries it
    external_key: Mapped[str]
    name: Mapped[str]
    address: Mapped[str] = mapped_column(server_default="")
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    location: Mapped[Any | None] = mapped_column(
        Point(), Computed("point(longitude, latitude)", persisted=True)
    )  # fmt: skip
    area_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    status: Mapped[str] = mapped_column(server_default="active")
    quantity: Mapped[int] = mapped_column(server_default="1")  # a row of security lights may stand for several
    details: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # fields of its kind: registry.asset_kinds
    camera_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")  # linked cameras
    camera_link: Mapped[str] = mapped_column(server_default="")  # declared | nearest: how they were found
    manager_name: Mapped[str] = mapped_column(server_default="")
    phone: Mapped[str] = mapped_column(server_default="")
    data_date: Mapped[date | None]
    installed_on: Mapped[date | None]
    programme: Mapped[str] = mapped_column(server_default="")
    programme_year: Mapped[int | None]
    replaces_id: Mapped[UUID | None] = mapped_column(ForeignKey("assets.id"))
    import_id: Mapped[UUID | None]  # the import that brought it
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]


class LifeChange(Identified, Table):
    """One step in the life of a camera or an asset: planned, installed, active, faulty, retired."""

    __tablename__ = "life_changes"
    __table_args__ = (Index("ix_life_changes_subject", "subject_id", "recorded_at"),)

    subject_kind: Mapped[str]  # cameras | assets
    subject_id: Mapped[UUID]
    from_status: Mapped[str]
    to_status: Mapped[str]
    on_date: Mapped[date]  # when it happened, which may be long before it was recorded
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    import_id: Mapped[UUID | None]
    ticket: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")
    cause_id: Mapped[UUID | None]  # the pole whose failure took this with it


class Outage(Identified, Table):
    """A planned outage of a camera or an asset, or a fault, with the ticket under which it is mended."""

    __tablename__ = "outages"
    __table_args__ = (Index("ix_outages_subject_id", "subject_id"),)

    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    kind: Mapped[str]  # planned | fault
    ticket: Mapped[str] = mapped_column(server_default="")
    reason: Mapped[str] = mapped_column(server_default="")
    starts_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ends_at: Mapped[datetime | None]  # as expected
    ended_at: Mapped[datetime | None]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
