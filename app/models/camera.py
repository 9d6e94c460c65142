"""Cameras: a site holds positions, a device is mounted at a position from–to, sources say where pictures come from.

A row of a city's file is a site with 1…104 positions. Agreements, history and ids hang on the position, so a
replaced device changes nothing else.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from app.models.base import Identified, Table

STATUSES = ("planned", "installed", "active", "faulty", "retired")


class Point(UserDefinedType[Any]):
    """PostgreSQL's own `point`: x is longitude, y is latitude, in degrees (WGS84)."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "point"


class Site(Identified, Table):
    """One place of installation (설치지점); the unit of a city's files."""

    __tablename__ = "sites"
    __table_args__ = (UniqueConstraint("owner_agency_id", "external_key"),)

    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    external_key: Mapped[str]  # authority code : management number, else a fingerprint of the row
    name: Mapped[str] = mapped_column(server_default="")
    road_address: Mapped[str] = mapped_column(server_default="")
    lot_address: Mapped[str] = mapped_column(server_default="")
    manager_name: Mapped[str] = mapped_column(server_default="")
    phone: Mapped[str] = mapped_column(server_default="")
    purpose_label: Mapped[str] = mapped_column(server_default="")  # as the file said it
    direction_text: Mapped[str] = mapped_column(server_default="")
    data_date: Mapped[date | None]
    import_id: Mapped[UUID | None] = mapped_column(ForeignKey("imports.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CameraPosition(Identified, Table):
    """What a user calls a camera: a view on a place, whoever's device is mounted there today."""

    __tablename__ = "camera_positions"
    __table_args__ = (
        UniqueConstraint("site_id", "ordinal"),
        CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name="both_or_none"),
        Index("ix_camera_positions_location", "location", postgresql_using="gist"),
        Index("ix_camera_positions_area_ids", "area_ids", postgresql_using="gin"),
        Index("ix_camera_positions_owner_agency_id_id", "owner_agency_id", "id"),
    )

    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id"))
    ordinal: Mapped[int]
    name: Mapped[str]
    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    controller_agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))
    manager_agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))
    monitoring_agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))
    processor_agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    location: Mapped[Any | None] = mapped_column(
        Point(), Computed("point(longitude, latitude)", persisted=True)
    )  # fmt: skip
    area_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")  # every area that holds it, and their parents
    status: Mapped[str] = mapped_column(server_default="active")
    origin: Mapped[str] = mapped_column(server_default="own")  # own | linked
    installation_purposes: Mapped[list[str]] = mapped_column(server_default="{}")
    legal_ground: Mapped[str] = mapped_column(server_default="")  # item of PIPA 25(1)
    hours: Mapped[dict[str, Any] | None]
    retention_days: Mapped[int | None]
    pixels_10k: Mapped[int | None]  # 만 화소: 200 is two megapixels
    azimuth_degrees: Mapped[float | None]
    field_of_view_degrees: Mapped[float | None]
    range_metres: Mapped[float | None]
    ptz: Mapped[bool] = mapped_column(server_default=text("false"))
    moving: Mapped[bool] = mapped_column(server_default=text("false"))  # PIPA 25-2
    privacy_mask: Mapped[bool] = mapped_column(server_default=text("false"))
    analytics: Mapped[list[str]] = mapped_column(server_default="{}")
    installed_on: Mapped[date | None]
    programme: Mapped[str] = mapped_column(server_default="")
    replaces_id: Mapped[UUID | None] = mapped_column(ForeignKey("camera_positions.id"))
    has_stream: Mapped[bool] = mapped_column(server_default=text("false"))
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]


class Device(Identified, Table):
    """A piece of hardware, mounted at a position from–to."""

    __tablename__ = "devices"

    position_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"), index=True)
    maker: Mapped[str] = mapped_column(server_default="")
    model: Mapped[str] = mapped_column(server_default="")
    serial: Mapped[str] = mapped_column(server_default="")
    mounted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]


class Recorder(Identified, Table):
    """An NVR or a vendor's VMS: one address, many channels."""

    __tablename__ = "recorders"
    __table_args__ = (UniqueConstraint("owner_agency_id", "name"),)

    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="nvr")  # nvr | vms | onvif
    zone: Mapped[str] = mapped_column(server_default="cctv")
    address_sealed: Mapped[bytes | None]
    key_id: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StreamSource(Identified, Table):
    """Where a position's pictures come from; the address with its credentials is sealed and never shown."""

    __tablename__ = "stream_sources"
    __table_args__ = (UniqueConstraint("position_id", "mode", "profile"),)

    position_id: Mapped[UUID] = mapped_column(ForeignKey("camera_positions.id"))
    recorder_id: Mapped[UUID | None] = mapped_column(ForeignKey("recorders.id"))
    channel: Mapped[str] = mapped_column(server_default="")
    mode: Mapped[str] = mapped_column(server_default="live")  # live | playback
    profile: Mapped[str] = mapped_column(server_default="main")  # main | sub
    address_sealed: Mapped[bytes]
    algorithm: Mapped[str] = mapped_column(server_default="AES-256-GCM")
    key_id: Mapped[str]
    zone: Mapped[str] = mapped_column(server_default="cctv")
    codec: Mapped[str] = mapped_column(server_default="")
    width: Mapped[int | None]
    height: Mapped[int | None]
    kbps: Mapped[int | None]  # as last measured
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Asset(Identified, Table):
    """What stands in the street besides cameras: bells, poles, lights, signs, speakers."""

    __tablename__ = "assets"
    __table_args__ = (
        UniqueConstraint("owner_agency_id", "kind", "external_key"),
        Index("ix_assets_location", "location", postgresql_using="gist"),
    )

    kind: Mapped[str]  # bell | pole | light | sign | speaker | enforcement | mirror
    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    site_id: Mapped[UUID | None] = mapped_column(ForeignKey("sites.id"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("assets.id"))
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
    details: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    camera_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")  # linked cameras
    installed_on: Mapped[date | None]
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Unit(Identified, Table):
    """A response or patrol unit (출동대) of an agency."""

    __tablename__ = "units"
    __table_args__ = (UniqueConstraint("agency_id", "call_sign"),)

    agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    kind: Mapped[str]  # patrol_car | fire_truck | ambulance | foot | park
    call_sign: Mapped[str]
    crew_size: Mapped[int] = mapped_column(server_default="2")
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    seen_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(server_default="available")


class Import(Identified, Table):
    """One import of a file: what it was, who brought it, what was odd."""

    __tablename__ = "imports"

    agency_id: Mapped[UUID | None] = mapped_column(ForeignKey("agencies.id"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    file_name: Mapped[str]
    file_digest: Mapped[bytes]
    layout: Mapped[str]
    summary: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    applied_at: Mapped[datetime | None]
    undone_at: Mapped[datetime | None]


class ImportFinding(Table):
    """Something odd in a row of an imported file, in words that a person can act on; secrets already scrubbed."""

    __tablename__ = "import_findings"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    row_number: Mapped[int]
    severity: Mapped[str]
    code: Mapped[str]
    field: Mapped[str] = mapped_column(server_default="")
    value: Mapped[str] = mapped_column(server_default="")
    message: Mapped[str]
