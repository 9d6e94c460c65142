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


class Box(UserDefinedType[Any]):
    """PostgreSQL's own `box`, in the same degrees."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "box"


class Site(Identified, Table):
    """One place of installation (설치지점); the unit of a city's files.

    What `owner_agency_id` and `import_id` name exists: a statement's rows are checked together (migration 0010).
    """

    __tablename__ = "sites"
    __table_args__ = (UniqueConstraint("owner_agency_id", "external_key"),)

    owner_agency_id: Mapped[UUID]
    external_key: Mapped[str]  # authority code : management number, else a fingerprint of the row
    name: Mapped[str] = mapped_column(server_default="")
    road_address: Mapped[str] = mapped_column(server_default="")
    lot_address: Mapped[str] = mapped_column(server_default="")
    manager_name: Mapped[str] = mapped_column(server_default="")
    phone: Mapped[str] = mapped_column(server_default="")
    purpose_label: Mapped[str] = mapped_column(server_default="")  # as the file said it
    direction_text: Mapped[str] = mapped_column(server_default="")
    data_date: Mapped[date | None]
    import_id: Mapped[UUID | None]  # the import that brought it
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CameraPosition(Identified, Table):
    """What a user calls a camera: a view on a place, whoever's device is mounted there today.

    Its site and its agencies exist: a statement's rows are checked together (migration 0010), since seven foreign keys
    a row would cost an import more than everything else.
    """

    __tablename__ = "camera_positions"
    __table_args__ = (
        UniqueConstraint("site_id", "ordinal"),
        CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name="both_or_none"),
        Index("ix_camera_positions_location", "location", postgresql_using="spgist"),
        Index("ix_camera_positions_area_ids", "area_ids", postgresql_using="gin"),
        Index("ix_camera_positions_owner_agency_id_id", "owner_agency_id", "id"),
        Index("ix_camera_positions_replaces_id", "replaces_id", postgresql_where=text("replaces_id IS NOT NULL")),
        Index("ix_camera_positions_pole_id", "pole_id", postgresql_where=text("pole_id IS NOT NULL")),
        Index("ix_camera_positions_numbered", "ordinal", postgresql_where=text("ordinal >= 10")),
    )

    site_id: Mapped[UUID]
    ordinal: Mapped[int]
    name: Mapped[str]
    # False only where the name is its site's, with the ordinal behind it or not: then the site's letters find it.
    own_name: Mapped[bool] = mapped_column(server_default=text("true"))
    owner_agency_id: Mapped[UUID]
    controller_agency_id: Mapped[UUID | None]
    manager_agency_id: Mapped[UUID | None]
    monitoring_agency_id: Mapped[UUID | None]
    processor_agency_id: Mapped[UUID | None]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    location: Mapped[Any | None] = mapped_column(
        Point(), Computed("point(longitude, latitude)", persisted=True)
    )  # fmt: skip
    area_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")  # every area that holds it, and their parents
    status: Mapped[str] = mapped_column(server_default="active")
    origin: Mapped[str] = mapped_column(server_default="own")  # own | linked
    installation_purposes: Mapped[list[str]] = mapped_column(server_default="{}")
    legal_ground: Mapped[str] = mapped_column(server_default="")  # items of PIPA 25(1), separated by a space
    hours: Mapped[dict[str, Any] | None]
    retention_days: Mapped[int | None]
    pixels_10k: Mapped[int | None]  # 만 화소: 200 is two megapixels
    azimuth_degrees: Mapped[float | None]
    field_of_view_degrees: Mapped[float | None]
    range_metres: Mapped[float | None]
    ptz: Mapped[bool] = mapped_column(server_default=text("false"))
    moving: Mapped[bool] = mapped_column(server_default=text("false"))  # PIPA 25-2
    privacy_mask: Mapped[bool] = mapped_column(server_default=text("false"))
    indoor: Mapped[str] = mapped_column(server_default="")  # what room, where PIPA 25(2) asks: registry.privacy
    analytics: Mapped[list[str]] = mapped_column(server_default="{}")
    certificates: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # of analytics: {code: {number, until}}
    operator: Mapped[str] = mapped_column(server_default="")  # who runs it, where that is no agency here
    sign_contact: Mapped[str] = mapped_column(server_default="")  # of the notice at the place (PIPA 25(4))
    opinion_contact: Mapped[str] = mapped_column(server_default="")  # of the gathering of opinions (PIPA 25(3))
    installed_on: Mapped[date | None]
    programme: Mapped[str] = mapped_column(server_default="")
    programme_year: Mapped[int | None]
    replaces_id: Mapped[UUID | None]
    pole_id: Mapped[UUID | None]  # the smart pole that carries it
    has_stream: Mapped[bool] = mapped_column(server_default=text("false"))
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]


# The letters of addresses and names, for finding them by any part: an index of pairs of letters (migration 0015).
_PENDING = {"gin_pending_list_limit": "32768"}
Index(
    "ix_sites_letters",
    func.letter_runs(Site.name, Site.road_address, Site.lot_address),
    postgresql_using="gin",
    postgresql_with=_PENDING,
)
Index(
    "ix_camera_positions_letters",
    func.letter_runs(CameraPosition.name, text("''"), text("''")),
    postgresql_using="gin",
    postgresql_where=CameraPosition.own_name,
    postgresql_with=_PENDING,
)


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


class RegisterChange(Identified, Table):
    """A transaction that changed cameras; kept by a trigger, and forgotten after minutes. All of them are a version."""

    __tablename__ = "register_changes"

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
