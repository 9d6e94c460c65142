"""Sharing agreements (연계 협약): who may do what with whose cameras, when, for what and on which condition."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Identified, Table


class Agreement(Identified, Table):
    """What one agency lets another do. An empty list of areas, purposes or bases means all of them."""

    __tablename__ = "agreements"
    __table_args__ = (
        CheckConstraint("owner_agency_id <> grantee_agency_id", name="not_with_oneself"),
        CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="validity"),
        Index(
            "ix_agreements_live",
            "grantee_agency_id",
            "owner_agency_id",
            postgresql_where=text("withdrawn_at IS NULL"),
        ),
    )

    owner_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    grantee_agency_id: Mapped[UUID] = mapped_column(ForeignKey("agencies.id"))
    title: Mapped[str]
    document_number: Mapped[str] = mapped_column(server_default="")
    relation: Mapped[str] = mapped_column(server_default="third_party")  # third_party | same_controller | processor
    service: Mapped[str] = mapped_column(server_default="")
    verbs: Mapped[list[str]]
    area_ids: Mapped[list[UUID]] = mapped_column(server_default="{}")
    installation_purposes: Mapped[list[str]] = mapped_column(server_default="{}")
    use_purposes: Mapped[list[str]] = mapped_column(server_default="{}")
    bases: Mapped[list[str]] = mapped_column(server_default="{}")
    approval: Mapped[str] = mapped_column(server_default="auto")  # auto | center | none
    condition: Mapped[str] = mapped_column(server_default="")  # in words, shown to who is refused
    hours: Mapped[dict[str, Any] | None]
    radius_metres: Mapped[int | None]
    max_cameras: Mapped[int | None]
    grant_seconds: Mapped[int | None]
    valid_from: Mapped[datetime] = mapped_column(server_default=func.now())
    valid_to: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
